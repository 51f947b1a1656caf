"""Signals to others' processes, and their ends awaited, by pidfd (pidfd_open(2)): never another process's."""

from __future__ import annotations

import posix
from select import POLLIN, poll
from time import monotonic

from weft.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
else:
    import _signal as signal  # as in linux/process


def open_process(pid: int | None, started: int | None) -> int:
    """A pidfd of that very process; -1 when it has ended."""
    if pid is None:
        return -1
    try:
        fd = posix.pidfd_open(pid)
    except OSError:
        return -1
    if process.alive(pid, started):
        return fd
    posix.close(fd)
    return -1


def alive(pid: int | None, started: int | None) -> bool:
    """Whether that very process lives."""
    return process.alive(pid, started)


def send(pid: int | None, started: int | None, number: int) -> bool:
    """Sends a signal; whether the process was there to get it."""
    fd = open_process(pid, started)
    if fd < 0:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        posix.close(fd)
    return True


def wait(processes: Sequence[tuple[int, int]], seconds: float | None) -> list[tuple[int, int]]:
    """Waits until all have ended (None: however long that takes); those that have not."""
    left = {fd: one for one in processes if (fd := open_process(*one)) >= 0}
    until = None if seconds is None else monotonic() + seconds
    waiting = poll()
    for fd in left:
        waiting.register(fd, POLLIN)
    try:
        while left:
            rest = None if until is None else max(0, int((until - monotonic()) * 1000))
            ready = waiting.poll(rest)
            for fd, _ in ready:
                waiting.unregister(fd)
                posix.close(fd)
                del left[fd]
            if not ready and rest == 0:
                break
    finally:
        for fd in left:
            posix.close(fd)
    return list(left.values())


def wake(pid: int | None, started: int | None) -> None:
    """Lets a process go on that somebody has stopped."""
    send(pid, started, signal.SIGCONT)


def forward(pid: int, started: int) -> None:
    """Signals that this program gets are that process's from now on."""

    def pass_on(number: int, _: object) -> None:
        send(pid, started, number)

    for number in process.FORWARDED:
        signal.signal(number, pass_on)
