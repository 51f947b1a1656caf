"""Locks between weft's processes: one file lock for changes, one byte lock for each journal entry.

Open-file-description locks (F_OFD_SETLK in fcntl(2)) belong to the descriptor, so that threads of
one process exclude each other too, and go when their holder dies, however it dies.
"""

from __future__ import annotations

import errno
import posix
from _struct import Struct
from fcntl import LOCK_EX, LOCK_UN, fcntl, flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_F_OFD_SETLK = 37
_SEEK_SET = 0
_F_WRLCK = 1
_F_UNLCK = 2
_FLOCK = Struct("hhqqi4x")


class ChangeLock:
    """Held while a plan is made and applied, never while a command runs."""

    __slots__ = ("_fd", "_path")

    def __init__(self, run_dir: str) -> None:
        self._path = f"{run_dir}/lock"
        self._fd = -1

    def __enter__(self) -> None:
        try:
            self._fd = posix.open(self._path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return  # a dry run before the first change: nobody can be changing anything
        flock(self._fd, LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            flock(self._fd, LOCK_UN)  # a child that was forked meanwhile has a copy
            posix.close(self._fd)
            self._fd = -1


class EntryLocks:
    """Byte N of the journal's lock file is locked while the writer of entry N lives."""

    __slots__ = ("_fds", "_path")

    def __init__(self, run_dir: str) -> None:
        self._path = f"{run_dir}/journal.lock"
        self._fds: dict[int, int] = {}

    def take(self, entry: int) -> bool:
        """Locks an entry; False when its writer lives."""
        fd = posix.open(self._path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
        try:
            fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(_F_WRLCK, _SEEK_SET, entry, 1, 0))
        except OSError as error:
            posix.close(fd)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        self._fds[entry] = fd
        return True

    def release(self, entry: int) -> None:
        """Unlocks an entry."""
        fd = self._fds.pop(entry, -1)
        if fd >= 0:
            fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(_F_UNLCK, _SEEK_SET, entry, 1, 0))
            posix.close(fd)
