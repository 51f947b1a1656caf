"""Waiting for a file of the kernel's to tell of a change (poll(2): POLLPRI)."""

from __future__ import annotations

from select import POLLPRI, poll
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def until(fd: int, holds: Callable[[], bool], seconds: float) -> bool:
    """Whether ``holds`` comes to hold: asked now, and each time that the file has changed."""
    end = monotonic() + seconds
    waiting = poll()
    waiting.register(fd, POLLPRI)
    while not holds():
        left = end - monotonic()
        if left <= 0:
            return False
        waiting.poll(left * 1000)
    return True
