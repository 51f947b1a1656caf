"""What does Podman wait for: weft-netavark against Debian's netavark, whole processes, in turn.

Both get the same JSON from a file, with one published port; DNS is off, so that netavark starts no
aardvark-dns. Each has a network of its own that is there already.
"""

from __future__ import annotations

import json
import os
import subprocess

from world import ENVIRONMENT, Row, Spent, against, ip, needs, progress, spawn, spread, weft

_PEER = "/usr/lib/podman/netavark"
_ROUNDS = 30
_FOLDER = "/run/netavark"
_MANY = 400
_AT_ONCE = 40
_NETS = {"weft": ("wefts", "nvw0", 88), "peer": ("peers", "nvp0", 89)}


def _wish(whose: str, number: int) -> str:
    """Podman's words about a container, in a file."""
    name, bridge, middle = _NETS[whose]
    address = f"10.{middle}.{number >> 7}.{2 + (number & 127)}"
    network = {
        "name": name,
        "id": f"{middle:064x}",
        "driver": "bridge",
        "network_interface": bridge,
        "dns_enabled": False,
        "internal": False,
        "ipv6_enabled": False,
        "subnets": [{"subnet": f"10.{middle}.0.0/16", "gateway": f"10.{middle}.0.1"}],
        "ipam_options": {"driver": "host-local"},
    }
    port = 10000 * (1 + (whose == "peer")) + number
    told = {
        "container_id": f"{middle:032x}{number:032x}",
        "container_name": f"{whose}{number}",
        "networks": {name: {"interface_name": "eth0", "static_ips": [address]}},
        "network_info": {name: network},
        "port_mappings": [
            {"host_ip": "", "container_port": 80, "host_port": port, "protocol": "tcp", "range": 1}
        ],
    }
    path = f"{_FOLDER}/{whose}{number}.json"
    with open(path, "w") as file:
        json.dump(told, file)
    return path


def _line(whose: str, command: str, number: int) -> list[str]:
    program = weft("netavark") if whose == "weft" else [_PEER]
    flags = ["--config", _FOLDER, "--rootless=false", "--aardvark-binary=/nonexistent"]
    return [*program, *flags, "-f", _wish(whose, number), command, f"/run/netns/{whose}{number}"]


def _call(whose: str, command: str, number: int) -> Spent:
    line = _line(whose, command, number)
    return spawn(line)


def _namespace(whose: str, number: int) -> None:
    spawn(ip("netns", "add", f"{whose}{number}"))


def _in_turn() -> list[Row]:
    times: dict[tuple[str, str], list[Spent]] = {}
    for whose in _NETS:
        _namespace(whose, 0)
        _call(whose, "setup", 0)
    for number in range(1, _ROUNDS + 4):
        for command in ("setup", "teardown"):
            for whose in _NETS:
                if command == "setup":
                    _namespace(whose, number)
                spent = _call(whose, command, number)
                if number > 3:  # those before warm up
                    times.setdefault((whose, command), []).append(spent)
    rows = []
    for command, bar in (("setup", 0.6), ("teardown", 0.3)):
        mine, theirs = times["weft", command], times["peer", command]
        title = f"`weft-netavark {command}`, one port"
        rows.append(against(title, [s.wall for s in mine], [s.wall for s in theirs], bar))
        cpu = f"CPU of the {'first' if command == 'setup' else 'second'}"
        rows.append(against(cpu, [s.cpu for s in mine], [s.cpu for s in theirs], None))
    return rows


def _many() -> list[Row]:
    first: list[Spent] = []
    last: list[Spent] = []
    start = _ROUNDS + 10
    for n in range(_MANY):
        _namespace("weft", start + n)
        spent = _call("weft", "setup", start + n)
        (first if n < 10 else last if n >= _MANY - 10 else []).append(spent)
    progress(f"netavark: {_MANY} containers")
    title = f"setup of container {_MANY} (median of 10) against the first 10"
    return [
        against(title, [s.wall for s in last], [s.wall for s in first], 1.3),
        against("CPU of it", [s.cpu for s in last], [s.cpu for s in first], None),
    ]


def _at_once() -> Row:
    start = 2000
    for n in range(_AT_ONCE):
        _namespace("weft", start + n)
    lines = [_line("weft", "setup", start + n) for n in range(_AT_ONCE)]
    began = os.times().elapsed
    made = [subprocess.Popen(line, env=ENVIRONMENT, stdout=subprocess.DEVNULL) for line in lines]
    good = sum([process.wait() == 0 for process in made])
    seconds = os.times().elapsed - began
    return Row(
        f"{_AT_ONCE} setups at once", f"{good} succeed, {seconds:.1f} s", bar="all", met=good == _AT_ONCE
    )


def measure(kind: str) -> list[Row]:
    """``kind`` tmpfs or disk: where weft's state is."""
    os.makedirs(_FOLDER, exist_ok=True)
    needs({_PEER: "netavark", "iptables": "iptables"})
    rows = [*_in_turn(), *_many(), _at_once()]
    bare = [spawn(weft("netavark", "--version")).wall for _ in range(20)]
    rows.append(Row("`weft-netavark --version`, whole process", spread(bare)))
    return [row._replace(what=f"{row.what}, state on {kind}") for row in rows]
