"""What stays in memory while nothing happens?"""

from __future__ import annotations

import os
import subprocess

from world import ENVIRONMENT, NETWORK, Row, library, request, spawn, weft

from weft.engine import container
from weft.engine.work import Work

_MANY = 1000
_BAR_PROXY = 12.0
_BAR_MONITOR = 6.0
_BARE = ("/usr/bin/python3", "-IS", "-c", "import os; os.write(1, b'.'); os.read(0, 1)")


def measure(kind: str) -> list[Row]:
    """Sizes in MiB, as /proc/PID/smaps_rollup tells (proc(5))."""
    work = library(kind)
    bare_rss, bare_private = _bare()
    return [
        _nothing(work),
        *_monitors(work, bare_private),
        _proxy(work, bare_rss),
    ]


def _nothing(work: Work) -> Row:
    before = _processes()
    container.create(work, request("quiet"))
    left = len(_processes() - before)
    return Row("processes resident for a network-only container", str(left), bar="0", met=not left)


def _monitors(work: Work, bare: float) -> list[Row]:
    rows = []
    started = 0
    for many in (1, 10):
        while started < many:
            started += 1
            name = ("--name", f"job{started}")
            spawn(weft("run", "-d", "-q", *name, "--network", NETWORK, "--", "sleep", "1000"))
        watchers = [state.watcher for _, state in work.store.supervised() if state.watcher is not None]
        each = [_size(pid, "Private_Clean", "Private_Dirty") for pid in watchers]
        what = f"a monitor's private memory, {'alone' if many == 1 else f'the largest of {many}'}"
        rows.append(_row(what, max(each), bare, "private", _BAR_MONITOR))
    return rows


def _proxy(work: Work, bare: float) -> Row:
    before = _processes()
    wishes = [request(f"web{n}", f"127.0.0.1:{20000 + n}:80") for n in range(_MANY)]
    container.attach_many(work, wishes)
    resident = sum([_size(pid, "Rss") for pid in _processes() - before])
    return _row(f"the loopback proxy with {_MANY} mappings, resident", resident, bare, "resident", _BAR_PROXY)


def _row(what: str, size: float, bare: float, kind: str, bar: float) -> Row:
    peer = f"{bare:.1f} MiB {kind}, bare interpreter"
    return Row(what, f"{size:.1f} MiB", peer, f"{size / bare:.2f}", f"<= {bar:.0f} MiB", size <= bar)


def _bare() -> tuple[float, float]:
    """What an interpreter takes that does nothing."""
    pipe = subprocess.PIPE
    with subprocess.Popen(_BARE, env=ENVIRONMENT, stdin=pipe, stdout=pipe) as idle:
        assert idle.stdout
        idle.stdout.read(1)
        return _size(idle.pid, "Rss"), _size(idle.pid, "Private_Clean", "Private_Dirty")


def _processes() -> set[int]:
    """All processes of this machine, which has a pid namespace of its own."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _size(pid: int, *fields: str) -> float:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        rows = [line.split() for line in file]
    return sum([int(row[1]) for row in rows if row[0].rstrip(":") in fields]) / 1024
