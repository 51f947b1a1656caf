"""A process as ``weft top`` shows it."""

from __future__ import annotations

from weft.core.record import Record


class Task(Record):
    """From proc_pid_stat(5), proc_pid_status(5) and proc_pid_cmdline(5).

    ``nspid`` are its pids from the caller's pid namespace to its own. ``user`` is the name of its effective
    uid on the host, ``rss`` in bytes, ``time`` of CPU and ``elapsed`` since its start in seconds; ``args`` is
    its command line, or its name in brackets where it has none.
    """

    pid: int
    nspid: tuple[int, ...]
    ppid: int
    uid: int
    user: str
    state: str
    rss: int
    time: float
    elapsed: float
    comm: str
    args: str
