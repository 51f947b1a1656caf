"""A thousand named namespaces: how long does it take to list them, and how much memory?"""

from __future__ import annotations

import os
import shutil

from world import ENVIRONMENT, Row, interleaved, ip, spawn, spread, weft

_MANY = 1000
_PROCESSES = 300
_ROUNDS = 10
_BAR_MEMORY = 40.0


def measure(kind: str) -> list[Row]:
    """In a machine of its own, where nothing else has names."""
    _name(_MANY)
    for _ in range(_PROCESSES):
        os.posix_spawn("/bin/sleep", ["sleep", "1000"], ENVIRONMENT)
    return listing()


def _name(many: int) -> None:
    with open("/run/names", "w") as file:
        file.writelines([f"netns add ns{n}\n" for n in range(many)])
    spawn(ip("-batch", "/run/names"))


def listing() -> list[Row]:
    """``weft ns ls``, which looks at processes, mounts, files, sockets and devices, against two commands
    each of which tells a part of that."""
    lsns = [shutil.which("lsns", path=ENVIRONMENT["PATH"]) or "lsns", "-t", "net"]
    actions = {
        "weft": lambda: spawn(weft("ns", "ls", "--format", "json")).wall,
        "peer": lambda: spawn(ip("netns", "list")).wall + spawn(lsns).wall,
    }
    times = interleaved(actions, _ROUNDS)
    what = f"weft ns ls, {_MANY} named namespaces and {_PROCESSES} processes"
    peer = f"{spread(times['peer'])}, ip netns list and lsns -t net"
    size = _peak()
    bar = f"<= {_BAR_MEMORY:.0f} MiB"
    return [
        Row(what, spread(times["weft"]), peer),
        Row("its memory at the most, resident", f"{size:.1f} MiB", bar=bar, met=size <= _BAR_MEMORY),
    ]


def _peak() -> float:
    """The most that one listing had resident, in MiB (getrusage(2))."""
    null = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    argv = weft("ns", "ls", "--format", "json")
    pid = os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    assert not status
    return usage.ru_maxrss / 1024
