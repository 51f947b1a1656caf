"""What the questions share: weft as a library and as a program, its peer, clocks, and rows of the table."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from weft.core.model.names import root_id
from weft.core.model.publish import parse_publish
from weft.engine import network
from weft.engine.container import RunRequest
from weft.engine.request import Join
from weft.engine.work import Work
from weft.machine import LinuxMachine, Places, launcher
from weft.store.sqlite import SqliteStore

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
NETWORK = "blue"
SUBNET = "10.90.0.0/16"
#: An address of the host that is neither loopback nor every address.
LAN = "203.0.113.1"
#: Rounds that come first and do not count.
_WARM = 3


class Row(NamedTuple):
    """A line of the table. ``met`` is None where the issue sets no bar."""

    what: str
    weft: str
    peer: str = ""
    ratio: str = ""
    bar: str = ""
    met: bool | None = None


def needs(programs: Mapping[str, str]) -> None:
    """Ends with what to install where a peer is missing: a program, and the package that it is in."""
    path = f"{ENVIRONMENT['PATH']}:{os.environ['PATH']}"
    missing = {package for program, package in programs.items() if shutil.which(program, path=path) is None}
    if missing:
        raise SystemExit(f"not installed: apt-get install {' '.join(sorted(missing))}")


def ms(seconds: float) -> str:
    """Milliseconds with three digits that count."""
    value = seconds * 1000
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def spread(times: Sequence[float]) -> str:
    """The median, and the least, which is what disturbs least."""
    return f"{ms(median(times))} (min {ms(min(times))})"


def against(what: str, weft: Sequence[float], peer: Sequence[float], bar: float | None, why: str = "") -> Row:
    """A row that compares medians."""
    ratio = median(weft) / median(peer)
    met = None if bar is None else ratio <= bar
    limit = "" if bar is None else f"<= {bar} x"
    return Row(what, spread(weft), spread(peer) + why, f"{ratio:.2f}", limit, met)


def library(kind: str) -> Work:
    """weft in this process, with one network. ``kind`` memory: commits are not durable."""
    places = Places()
    for path in (places.state, places.run):
        os.makedirs(path, 0o700, exist_ok=True)
    path = ":memory:" if kind == "memory" else f"{places.state}/weft.db"
    work = Work(SqliteStore(path, root_id(places.state)), LinuxMachine(places), lambda _: None)
    network.create(work, network.NetworkRequest(NETWORK, (SUBNET,)))
    return work


def request(name: str, publish: str = "") -> RunRequest:
    """A network-only container, with a port published as ``-p`` says."""
    return RunRequest(name, (Join(NETWORK),), publish=tuple(parse_publish(publish)) if publish else ())


def weft(*words: str) -> list[str]:
    """A command line of the program."""
    return [launcher(), *words]


def ip(*words: str) -> list[str]:
    """A command line of iproute2."""
    return [shutil.which("ip", path=ENVIRONMENT["PATH"]) or "ip", *words]


class Spent(NamedTuple):
    """What a process took, in seconds."""

    wall: float
    cpu: float


#: The interpreter alone, as weft's launcher starts it.
BARE = ["/usr/bin/python3", "-IS", "-c", "pass"]
_SAID = "/run/said"
_FILES = [
    *[(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)],
    (os.POSIX_SPAWN_OPEN, 2, _SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
]


def spawn(argv: Sequence[str], allowed: tuple[int, ...] = (0,)) -> Spent:
    """Runs a command to its end, as cheaply as one can: posix_spawn, no shell, no pipes."""
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], list(argv), ENVIRONMENT, file_actions=_FILES)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in allowed:
        with open(_SAID) as file:
            raise SystemExit(f"{' '.join(argv[:8])} failed: {file.read()}")
    return Spent(wall, usage.ru_utime + usage.ru_stime)


class Peer:
    """What a careful script does: three processes a container, the peer born in its namespace.

    Nothing of weft's firewall, names, isolation or record is asked of it. What it reads is written
    beforehand and its bridge is its own.
    """

    def __init__(self) -> None:
        os.makedirs("/run/peer", exist_ok=True)
        for line in ("link add peer0 type bridge", "addr add 10.99.0.1/16 dev peer0", "link set peer0 up"):
            spawn(ip(*line.split()))
        self._made = 0

    def prepare(self) -> str:
        """Writes the batch files of the next container; its name."""
        self._made += 1
        n, queues = self._made, "numtxqueues 1 numrxqueues 1"
        name, address = f"peer{n}", f"10.99.{(n + 1) >> 8}.{(n + 1) & 255}"
        born = f"type veth peer name eth0 netns {name} {queues}"
        lines = {
            "outside": [f"link add pv{n} up {queues} master peer0 group 99 {born}"],
            "inside": [
                "link set lo up",
                f"addr add {address}/16 dev eth0",
                "link set eth0 up",
                "route add default via 10.99.0.1",
            ],
        }
        for kind, batch in lines.items():
            with open(f"/run/peer/{name}.{kind}", "w") as file:
                file.write("\n".join(batch) + "\n")
        return name

    def attach(self, name: str) -> Spent:
        """Makes a container, without a published port: the peer gets only what ``ip`` does."""
        steps = (
            ip("netns", "add", name),
            ip("-batch", f"/run/peer/{name}.outside"),
            ip("-n", name, "-batch", f"/run/peer/{name}.inside"),
        )
        spent = [spawn(step) for step in steps]
        return Spent(sum([s.wall for s in spent]), sum([s.cpu for s in spent]))

    def detach(self, name: str, link_first: bool) -> float:
        """Removes one. After its namespace the link may be gone already, which ends ip with 1."""
        steps = [ip("netns", "del", name), ip("link", "del", f"pv{name[4:]}")]
        if link_first:
            steps.reverse()
        return sum([spawn(step, (0, 1)).wall for step in steps])


def timed(action: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def interleaved(actions: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each action once a round, beginning with another each time, so that none has a favoured place."""
    names = list(actions)
    found: dict[str, list[float]] = {name: [] for name in names}
    for n in range(-_WARM, rounds):
        for name in names[n % len(names) :] + names[: n % len(names)]:
            seconds = actions[name]()
            if n >= 0:
                found[name].append(seconds)
    return found


def cables() -> int:
    """How many of weft's and the peer's cables are there."""
    with open("/proc/self/net/dev") as file:
        return sum([line.lstrip().startswith(("wv", "pv")) for line in file])


def until_gone(but: int = 0) -> float:
    """Waits until all cables are gone but so many; how long that took.

    Asked every millisecond: the kernel's notices of a thousand would cost more than they tell.
    """
    start = time.perf_counter()
    while cables() > but:
        time.sleep(0.001)
    return time.perf_counter() - start


def settle(but: int = 0) -> None:
    """Lets the kernel end what was deleted, so that it does not work during the next measurement.

    Nothing tells when its last RCU grace period is over, hence the pause.
    """
    until_gone(but)
    time.sleep(0.05)


def progress(text: str) -> None:
    """For who waits."""
    sys.stderr.write(f"{text}\n")
