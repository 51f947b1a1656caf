"""weft's own database as the source of names: read again when inotify(7) tells that somebody wrote to it."""

from __future__ import annotations

import posix

from weft.core.naming import wishes
from weft.core.naming.zone import Zone
from weft.core.wire.inotify import (
    IN_CLOEXEC,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MOVED_TO,
    IN_NONBLOCK,
    IN_ONLYDIR,
    IN_UNMOUNT,
    get_events,
)
from weft.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from weft.core.model.network import Network
    from weft.core.naming.zone import Member, Served
    from weft.linux.dns import Lock

    class Store(Protocol):
        """What of the store is needed here."""

        root: str

        def version(self) -> tuple[int, int]: ...
        def answered_networks(self) -> tuple[Network, ...]: ...
        def answered(self, container: str = "") -> list[tuple[Any, ...]]: ...
        def placed(self) -> list[tuple[Any, ...]]: ...
        def touched(self, after: int) -> tuple[int, frozenset[str] | None]: ...
        def close(self) -> None: ...


_IN_MODIFY = 0x00000002
_DATABASE = "weft.db"
#: So many that have changed are read with all others.
_MANY = 100
#: Bytes that its log may have: it says each thing once, and is emptied with each start.
_LOG = 1 << 16


class Wishes:
    """Names from a root's database in ``folder``, which ``opened`` opens; ``lock`` is the one process's."""

    def __init__(self, folder: str, opened: Callable[[], Store], lock: Lock) -> None:
        self.zone = Zone()
        self._opened = opened
        self._store: Store | None = None
        self._lock = lock
        self._version: tuple[int, int] | None = None
        self.fd = libc.inotify_init1(IN_CLOEXEC | IN_NONBLOCK)
        self._gone = False
        self._root = ""
        self._placed: frozenset[tuple[Any, ...]] = frozenset()
        self._event = 0
        self._members: dict[str, list[Member]] = {}
        mask = _IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR
        libc.inotify_add_watch(self.fd, folder, mask)

    def changed(self) -> bool:
        """Takes up what inotify tells; whether somebody has committed something since the last look."""
        try:
            data = posix.read(self.fd, 1 << 16)
        except BlockingIOError:
            return False
        for event in get_events(data):
            mine = event.name in (_DATABASE, "")
            if mine and event.mask & (IN_CREATE | IN_MOVED_TO):
                self._let_go()  # it was made anew: another file
                self._gone, self._event = False, -1
            elif mine and event.mask & (IN_DELETE | IN_DELETE_SELF | IN_IGNORED | IN_UNMOUNT):
                self._gone = True  # and with it all wishes
        if self._gone or self._store is None:
            return True
        try:
            return self._store.version() != self._version
        except Exception:  # it cannot be read: who reads it says so
            return True

    def networks(self) -> list[Served]:
        """The networks that want DNS. StoreError."""
        if self._gone:
            return []
        store = self._open()
        self._version = store.version()
        return [wishes.served(n) for n in store.answered_networks()]

    def update(self, anew: bool) -> tuple[list[Member], list[Member]]:
        """Members that have come and gone since the last look. StoreError.

        Containers whose addresses are others by now, and those that something happened to: what is looked at
        closely is what has changed. ``anew``: all of them, as networks are others.
        """
        if self._gone:
            return self._replace({}, self._members.keys())
        store = self._open()
        self._version = store.version()
        placed = frozenset(store.placed())
        self._event, touched = store.touched(self._event)
        changed = None if anew or touched is None else touched | {row[1] for row in placed ^ self._placed}
        self._placed = placed
        if changed is None or len(changed) > _MANY:
            found = store.answered()
            names = frozenset([*self._members, *[row[1] for row in found]])
        else:
            found, names = [row for name in changed for row in store.answered(name)], changed
        fresh: dict[str, list[Member]] = {}
        for row in found:
            member = self._member(row)
            if member is not None:
                fresh.setdefault(member.key, []).append(member)
        return self._replace(fresh, names)

    def _replace(
        self, fresh: dict[str, list[Member]], names: Iterable[str]
    ) -> tuple[list[Member], list[Member]]:
        """These containers are so now, or not any more."""
        come: list[Member] = []
        gone: list[Member] = []
        for name in list(names):
            old, new = self._members.pop(name, []), fresh.get(name, [])
            if new:
                self._members[name] = new
            if old != new:
                gone += old
                come += new
        return come, gone

    def _member(self, row: tuple[Any, ...]) -> Member | None:
        try:
            return wishes.member(self._root, row)
        except (ValueError, TypeError, AttributeError):
            return None  # a damaged row keeps no other down; `weft repair` finds it

    def last(self) -> bool:
        """Lets the lock go, and looks once more: whoever wanted DNS meanwhile found us running."""
        self._lock.release()
        return self._gone or not self._open().answered_networks() or not self._lock.take()

    def _open(self) -> Store:
        if self._store is None:
            self._store = self._opened()
            self._root = self._store.root
        return self._store

    def _let_go(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def start(wishes: Wishes, lock: Lock, path: str, tells: int) -> None:
    """Serves until nobody wants it any more; tells on that descriptor when it answers. ``path``: its log."""
    from weft.services.dns import Server, serve

    if not lock.take():
        return  # another command was faster: whoever started us sees that one

    def say(text: str) -> None:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC | posix.O_NOFOLLOW
        fd = posix.open(path, flags, 0o600)
        try:
            if posix.fstat(fd).st_size < _LOG:
                posix.write(fd, f"{text}\n".encode())
        finally:
            posix.close(fd)

    def bound() -> None:
        posix.write(tells, b"\0")
        posix.close(tells)

    posix.close(posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600))
    serve(Server(wishes, say), bound)
