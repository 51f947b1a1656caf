"""Further commands of containers that have a terminal, or nobody who waits for them (weft exec -t, -d).

Unlike one in the foreground, which dies with weft, they outlive it: what leaves one on a terminal without
weft is the hangup of that.
"""

from __future__ import annotations

import os
from _socket import socketpair

from weft.linux import process, terminal
from weft.linux.launch import start_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from weft.core.model.launch import Launch
else:
    import _signal as signal  # as in linux/process


def on_terminal(launch: Launch, pid: int | None, started: int | None, ends: terminal.Ends) -> int | None:
    """Runs one on a terminal that our streams become; its status, None when the detach keys were typed.

    Conflict when the container has exited; CommandNotFound, CommandNotExecutable, WeftError.
    """
    child, master = _start(launch, pid, started, ends.size())
    code = terminal.relay(master, ends, lambda: process.wait(child.pid), child.pid)
    if code is None:
        _leave(master)
    return code


def detached(launch: Launch, pid: int | None, started: int | None) -> None:
    """Starts one in the background, without anybody's streams; raises as ``on_terminal`` does."""
    if launch.spec.process.terminal:
        _leave(_start(launch, pid, started, terminal.size(0))[1])
        return
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        child = start_inside(launch, pid, started, stdio=(null, null, null), outlives=True)
    finally:
        os.close(null)
    child.go(launch.argv[0])


def _start(
    launch: Launch, pid: int | None, started: int | None, size: tuple[int, int]
) -> tuple[process.Child, int]:
    """One that runs, and the other end of its terminal."""
    ours, theirs = socketpair()
    try:
        child = start_inside(launch, pid, started, console=theirs.fileno(), outlives=True)
        theirs.close()
        child.prepared(launch.argv[0])
        master = terminal.receive(ours)
    finally:
        ours.close()
        theirs.close()
    terminal.set_size(master, *size)
    child.go(launch.argv[0])
    return child, master


def _leave(master: int) -> None:
    """Leaves a terminal to a process that reads it until nobody has its other end: else what writes to it
    would be hung up, or wait for ever.

    Until it has a session of its own, what is typed and the hangup of our terminal (setpgid(2): when weft is
    the first of its session, and ends) are meant for it as well.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        return
    try:
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        process.close_from_3(master)
        terminal.drain(master)
    finally:
        os._exit(0)
