"""A container's log as its monitor writes it: rotated, and never what the command waits for."""

from __future__ import annotations

import posix
from time import time_ns

from weft.core.wire.cri import STDERR, put_entries

_FLAGS = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_NOFOLLOW | posix.O_CLOEXEC


class LogFile:
    """``path``, ``path.1`` and so on, ``files`` in all of about ``size`` bytes each.

    What cannot be written (a full disk, no directory) is counted, and told of once there is room again.
    """

    __slots__ = ("_fd", "_files", "_lost", "_path", "_room", "_size", "_torn", "_why")

    def __init__(self, path: str, size: int, files: int) -> None:
        self._path, self._size, self._files = path, size, files
        self._fd = -1
        self._room = 0
        self._lost = 0
        self._why = ""
        self._torn = False

    def write(self, stream: bytes, data: bytes) -> None:
        """Puts down what the command wrote. No error: what is lost is counted."""
        now = stamp()
        try:
            self._open()
            if self._lost:
                said = f"weft: {self._lost} bytes of output were lost here: {self._why}\n".encode()
                self._append(put_entries(now, STDERR, said))
                self._lost = 0
            self._append(put_entries(now, stream, data))
        except OSError as error:
            self._lost += len(data)
            self._why = posix.strerror(error.errno or 0)

    def _append(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        done = posix.write(self._fd, data)
        self._room -= done
        self._torn = done < len(data) and data[done - 1 : done] != b"\n"
        if done < len(data):
            raise OSError(28, "ENOSPC")

    def _open(self) -> None:
        """The file to write to: another one when this has no room left."""
        if self._fd >= 0 and self._room > 0:
            return
        if self._fd < 0:
            self._fd = posix.open(self._path, _FLAGS, 0o600)
            self._room = self._size - posix.fstat(self._fd).st_size
            if self._room > 0:
                return
        for number in range(self._files - 1, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            try:
                posix.rename(older, f"{self._path}.{number}")
            except FileNotFoundError:
                pass
        flags = _FLAGS | (posix.O_TRUNC if self._files == 1 else 0)
        fresh = posix.open(self._path, flags, 0o600)
        posix.close(self._fd)
        self._fd, self._room, self._torn = fresh, self._size, False


#: The second that was written last, and its text up to the dot.
_last = (-1, b"")


def stamp() -> bytes:
    """Now, as the log has it."""
    global _last  # noqa: PLW0603  a cache of one
    second, rest = divmod(time_ns(), 1_000_000_000)
    if second != _last[0]:
        from time import gmtime

        t = gmtime(second)
        text = f"{t[0]:04}-{t[1]:02}-{t[2]:02}T{t[3]:02}:{t[4]:02}:{t[5]:02}."
        _last = second, text.encode()
    return b"%b%09dZ" % (_last[1], rest)
