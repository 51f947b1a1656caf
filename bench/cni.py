"""How long does a plug-in of CNI's take, all in one process, against the chain of the reference plug-ins?

Both make the same: a container's interface on a bridge, its address, what firewall and published port need.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from world import Row, against, interleaved, ms, needs, progress, spread

_ROUNDS = 12
_BAR_ADD, _BAR_DEL, _BAR_LAST = 0.3, 0.15, 1.3
_MANY, _PARALLEL, _SOME = 400, 40, 20
_REFERENCE = "/usr/lib/cni"
_PROGRAM = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/weft"
#: As a runtime finds them: by the name that the configuration has.
_OWN = "/run/cni-bin"
_CHAIN: list[dict[str, Any]] = [
    {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "ipam": {"type": "host-local", "subnet": "10.90.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]},
    },
    {"type": "firewall"},
    {"type": "portmap"},
]
_WHOLE: list[dict[str, Any]] = [{"type": "weft", "ipam": {"type": "weft", "subnet": "10.91.0.0/16"}}]


class Side:
    """One of the two, and the containers that it has."""

    def __init__(self, name: str, path: str, plugins: list[dict[str, Any]], first_port: int) -> None:
        self.name, self.path, self.plugins, self.port = name, path, plugins, first_port
        self.results: dict[int, Any] = {}

    def _call(self, command: str, plugin: dict[str, Any], number: int, previous: Any) -> Any:
        ports = [{"hostPort": self.port + number, "containerPort": 80, "protocol": "tcp"}]
        conf = {**plugin, "name": self.name, "cniVersion": "1.0.0", "runtimeConfig": {"portMappings": ports}}
        conf |= {"prevResult": previous} if previous else {}
        env = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"{self.name}{number}",
            "CNI_NETNS": f"/run/netns/{self.name}{number}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": self.path,
        }
        program = f"{self.path}/{plugin['type']}"
        done = subprocess.run(
            [program], input=json.dumps(conf), env=env, check=False, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"{program} {command}: {done.stdout}")
        return json.loads(done.stdout) if done.stdout else None

    def prepare(self, number: int) -> None:
        """A namespace as a runtime has it before it calls."""
        subprocess.run(["ip", "netns", "add", f"{self.name}{number}"], check=True)

    def add(self, number: int) -> float:
        """Seconds of all calls of an ADD."""
        start, result = time.perf_counter(), None
        for plugin in self.plugins:
            result = self._call("ADD", plugin, number, result)
        self.results[number] = result
        return time.perf_counter() - start

    def delete(self, number: int) -> float:
        """Seconds of all calls of a DEL."""
        start, result = time.perf_counter(), self.results.pop(number)
        for plugin in reversed(self.plugins):
            self._call("DEL", plugin, number, result)
        return time.perf_counter() - start

    def forget(self, number: int) -> None:
        """The namespace goes with its container."""
        subprocess.run(["ip", "netns", "del", f"{self.name}{number}"], check=True)


def measure(kind: str) -> list[Row]:
    """State is where ``kind`` says."""
    needs({f"{_REFERENCE}/bridge": "containernetworking-plugins", "iptables": "iptables"})
    os.makedirs(_OWN, exist_ok=True)
    os.symlink(_PROGRAM, f"{_OWN}/weft")
    ours, theirs = Side("ours", _OWN, _WHOLE, 20000), Side("theirs", _REFERENCE, _CHAIN, 30000)
    for side in (ours, theirs):
        for number in (0, 1):  # the networks stand, and stay; byte code is written
            side.prepare(number)
            side.add(number)
        side.delete(1)
        side.forget(1)
    return [*_one_by_one(ours, theirs, kind), *_many(ours, kind), *_parallel(ours)]


def _one_by_one(ours: Side, theirs: Side, kind: str) -> list[Row]:
    times: dict[str, list[float]] = {"weft": [], "peer": []}

    def turn(side: Side, key: str) -> Callable[[], float]:
        def action() -> float:
            number = 100 + len(times[key])
            side.prepare(number)
            took = side.add(number)
            times[key].append(side.delete(number))
            side.forget(number)
            return took

        return action

    adds = interleaved({"peer": turn(theirs, "peer"), "weft": turn(ours, "weft")}, _ROUNDS)
    what = f"CNI {{}}: bridge, addresses, firewall, one port, all in one process, state on {kind}"
    dels = {key: found[-_ROUNDS:] for key, found in times.items()}
    return [
        against(what.format("ADD"), adds["weft"], adds["peer"], _BAR_ADD, ", reference plug-ins"),
        against(what.format("DEL"), dels["weft"], dels["peer"], _BAR_DEL, ", reference plug-ins"),
    ]


def _many(ours: Side, kind: str) -> list[Row]:
    numbers = range(1000, 1000 + _MANY)
    for number in numbers:
        ours.prepare(number)
    adds = [ours.add(number) for number in numbers]
    first, last = adds[:_SOME], adds[-_SOME:]
    dels = [ours.delete(number) for number in numbers]
    for number in numbers:
        ours.forget(number)
    progress(f"{_MANY} DELs: {ms(median(dels))} each")
    what = f"CNI ADD: numbers {_MANY - _SOME + 1} to {_MANY}, against the first {_SOME}, state on {kind}"
    return [against(what, last, first, _BAR_LAST, ", the first ones")]


def _parallel(ours: Side) -> list[Row]:
    numbers = range(2000, 2000 + _PARALLEL)
    for number in numbers:
        ours.prepare(number)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        start = time.perf_counter()
        list(pool.map(ours.add, numbers))
        took = time.perf_counter() - start
        addresses = {ours.results[number]["ips"][0]["address"] for number in numbers}
        list(pool.map(ours.delete, numbers))
    for number in numbers:
        ours.forget(number)
    met = len(addresses) == _PARALLEL
    row = Row(
        f"CNI ADD: {_PARALLEL} at once, until the last returns", spread([took]), bar="all succeed", met=met
    )
    return [row]
