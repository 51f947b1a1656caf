"""Processes as people want to see them: whose, since when, how big (proc(5))."""

from __future__ import annotations

import os

from weft.core.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def look(pids: Iterable[int]) -> list[Task]:
    """Those of these processes that have not ended."""
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found = []
    for pid in pids:
        try:
            found.append(_task(pid, uptime, tick, page))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _task(pid: int, uptime: float, tick: int, page: int) -> Task:
    stat = _read(pid, "stat")
    comm = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 1 :].split()
    status = dict([line.partition(":")[::2] for line in _read(pid, "status").splitlines()])
    uid = int(status["Uid"].split()[1])
    args = " ".join(_read(pid, "cmdline").rstrip("\0").split("\0"))
    return Task(
        pid,
        tuple([int(word) for word in status.get("NSpid", str(pid)).split()]),
        int(fields[1]),
        uid,
        _user(uid),
        fields[0],
        int(fields[21]) * page,
        (int(fields[11]) + int(fields[12])) / tick,
        max(uptime - int(fields[19]) / tick, 0.0),
        comm,
        args or f"[{comm}]",
    )


def _read(pid: int, file: str) -> str:
    with open(f"/proc/{pid}/{file}", encoding="utf-8", errors="surrogateescape") as opened:
        return opened.read()


def _user(uid: int) -> str:
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
