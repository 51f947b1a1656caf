"""A file that takes room on the disk, so that there is some for removals when the disk is full.

Every commit writes to the log before it frees anything (WAL): on a full disk nothing could be removed. What
is short of room gives the ballast up; only removals may use it. It is made again once there is room.
"""

from __future__ import annotations

import posix

from weft.core.model.errors import StoreError

#: Bytes. A removal writes a third as much to the log, which is folded into the database before each when
#: room is short: that takes half, and once.
SIZE = 256 * 1024


class Ballast:
    """The ballast beside a database; none for one that is in memory (``path`` "")."""

    __slots__ = ("_folder", "_path", "_short")

    def __init__(self, path: str) -> None:
        self._folder = path.rpartition("/")[0]
        self._path = f"{self._folder}/ballast" if self._folder else ""
        self._short = False

    @property
    def there(self) -> bool:
        """Whether it exists: then a database was complete here before."""
        try:
            return bool(self._path) and posix.stat(self._path).st_size > 0
        except OSError:
            return False

    def settle(self) -> bool:
        """Before a transaction: it goes where room is short, and comes back where there is enough. Whether
        room is short."""
        if not self._path:
            return False
        self._short = self._room() < SIZE
        if self._short:
            self.give_up()
        elif not self.there:
            self._make()
        return self._short

    def check(self) -> None:
        """StoreError when room is short: what is left is for removals."""
        if self._short:
            raise StoreError(
                f"the disk of {self._folder} is full: nothing new is taken on",
                "free some room; removals (`weft rm`, `weft net rm`) still work",
            )

    def give_up(self) -> bool:
        """Frees its room; whether there was any."""
        if not self.there:
            return False
        try:
            posix.unlink(self._path)
        except OSError:
            return False
        return True

    def _room(self) -> int:
        try:
            found = posix.statvfs(self._folder)
        except OSError:
            return SIZE
        return found.f_bavail * found.f_frsize

    def _make(self) -> None:
        """Allocated, as a file with holes takes no room. Where it does not fit there is none."""
        if self._room() < 3 * SIZE:
            return
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
        try:
            fd = posix.open(self._path, flags, 0o600)
            try:
                posix.posix_fallocate(fd, 0, SIZE)
            finally:
                posix.close(fd)
        except OSError:
            self.give_up()
