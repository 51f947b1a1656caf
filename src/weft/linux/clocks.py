"""The clocks of a new time namespace (time_namespaces(7))."""

from __future__ import annotations

import errno
import os

from weft.core.model.errors import BadInput
from weft.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def renew(clocks: Iterable[tuple[str, int]]) -> None:
    """Makes a time namespace for the caller's children, with its clocks shifted by so many nanoseconds: they
    can be set until anybody is in it. BadInput for a shift that cannot be, OSError."""
    libc.unshare(libc.CLONE_NEWTIME)
    for clock, shift in clocks:
        try:
            # Both fields are of one sum, and nanoseconds are never negative.
            _set(f"{clock} {shift // 10**9} {shift % 10**9}")
        except OSError as error:
            if error.errno != errno.ERANGE:
                raise
            raise BadInput(
                f"clock {clock} cannot be shifted by {shift / 10**9:g} s", "it would be before 0, or too late"
            ) from None


def enter() -> None:
    """The caller, who has one thread, goes where its children will be."""
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.setns(fd, libc.CLONE_NEWTIME)
    finally:
        os.close(fd)


def _set(text: str) -> None:
    fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
