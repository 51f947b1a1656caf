"""What is stored beside the wishes: a container's process, and entries of the journal."""

from __future__ import annotations

from weft.core.record import Record


class State(Record):
    """What became of a container's process.

    ``word`` is created, running or exited. ``started`` is the process's start time in clock ticks
    since boot (field 22 of proc_pid_stat(5)): with the pid it names one process for ever.
    ``watcher`` is who waits for it: the monitor of a detached container, or the foreground weft.
    """

    word: str
    pid: int | None = None
    started: int | None = None
    exit_code: int | None = None
    watcher: int | None = None
    watcher_started: int | None = None


class Entry(Record):
    """A journal entry: ``undo`` is the plan that ends it, backwards or (``forward``) onwards."""

    id: int
    verb: str
    subject: str
    undo: str
    forward: bool
