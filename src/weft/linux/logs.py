"""Logs read and followed across their rotation, and the database's changes (inotify(7))."""

from __future__ import annotations

import posix
from select import POLLIN, poll

from weft.core.wire import cri
from weft.core.wire.inotify import (
    IN_CLOEXEC,
    IN_CREATE,
    IN_DELETE,
    IN_MOVED_TO,
    IN_NONBLOCK,
    IN_ONLYDIR,
    get_events,
)
from weft.linux import ends, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_MODIFY = 0x00000002
_CHUNK = 1 << 16
#: A line of more than that is no entry of a monitor's.
_LONGEST = 1 << 20


def files(path: str) -> list[str]:
    """The log and its older parts that exist, the oldest first."""
    folder, _, name = path.rpartition("/")
    try:
        found = posix.listdir(folder)
    except OSError:
        return []
    parts = [n[len(name) + 1 :] for n in found if n.startswith(f"{name}.")]
    numbers = sorted([int(p) for p in parts if p.isascii() and p.isdigit()], reverse=True)
    return [*[f"{path}.{n}" for n in numbers], *([path] if name in found else [])]


def move(path: str, to: str) -> None:
    """Another name for a log, its older parts too."""
    for file in files(path):
        posix.rename(file, to + file.removeprefix(path))


def _open(path: str) -> int:
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except FileNotFoundError:
        return -1


class _Reader:
    """Entries of one open file, as far as it is written."""

    __slots__ = ("_rest", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""

    def entries(self) -> Iterator[cri.Entry]:
        while chunk := posix.read(self.fd, _CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                entry = cri.get_entry(line)
                if entry is not None:
                    yield entry
            if len(self._rest) > _LONGEST:
                self._rest = b""

    def identity(self) -> tuple[int, int]:
        found = posix.fstat(self.fd)
        return found.st_dev, found.st_ino


class _Chain:
    """A log from its oldest part on: goes over to the next part when one is read to its end."""

    __slots__ = ("_path", "_reader")

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader: _Reader | None = None

    def entries(self) -> Iterator[cri.Entry]:
        """All that there is now."""
        while True:
            if self._reader is not None:
                # What comes after the last look at the names is seen at the next.
                newer = self._next()
                yield from self._reader.entries()
                if newer < 0:
                    return
                posix.close(self._reader.fd)
                self._reader = _Reader(newer)
            else:
                first = next((fd for name in files(self._path) if (fd := _open(name)) >= 0), -1)
                if first < 0:
                    return
                self._reader = _Reader(first)

    def _next(self) -> int:
        """The part after the one that is open; -1 when that is the last. If it has been rotated away, the
        oldest there is."""
        if self._reader is None:
            return -1
        mine = self._reader.identity()
        names = files(self._path)
        for place, name in enumerate(names):
            try:
                found = posix.stat(name)
            except FileNotFoundError:
                continue
            if (found.st_dev, found.st_ino) == mine:
                return _open(names[place + 1]) if place + 1 < len(names) else -1
        return _open(names[0]) if names else -1


def _tail(entries: Iterator[cri.Entry], count: int) -> Iterator[cri.Entry]:
    """The last so many lines."""
    kept: list[list[cri.Entry]] = []
    whole = True
    for entry in entries:
        if whole:
            kept.append([])
            if len(kept) > 2 * count + 16:
                del kept[: len(kept) - count - 1]
        kept[-1].append(entry)
        whole = entry.full
    for line in kept[-count:] if count else ():
        yield from line


def read(path: str, since: bytes, tail: int) -> Iterator[cri.Entry]:
    """The entries of a log since a time, as it writes it; the last ``tail`` lines of them, -1: all."""
    found = (e for e in _Chain(path).entries() if e.time >= since)
    return found if tail < 0 else _tail(found, tail)


def follow(path: str, since: bytes, tail: int, watcher: tuple[int, int]) -> Iterator[cri.Entry | None]:
    """The same, and then what comes until the process ``watcher`` has ended; None before each wait."""
    folder, _, name = path.rpartition("/")
    notices = _Notices(folder, name)
    chain = _Chain(path)
    found = (e for e in chain.entries() if e.time >= since)
    yield from found if tail < 0 else _tail(found, tail)
    ended = False
    while not ended:
        yield None
        ended = not notices.wait(watcher)
        yield from [e for e in chain.entries() if e.time >= since]


def changes(folder: str, name: str, until: int | None) -> Iterator[None]:
    """Once now, whenever a file of this name, or with more behind it, changes in a directory, and when a time
    (nanoseconds since 1970) is over: that is the end."""
    from time import time_ns

    notices = _Notices(folder, name)
    while True:
        left = None if until is None else max(0, until - time_ns())
        yield None
        if left == 0:
            return
        notices.wait(None, None if left is None else left // 1_000_000 + 1)


class _Notices:
    """What happens to files in a directory whose names begin so."""

    __slots__ = ("_fd", "_name")

    def __init__(self, folder: str, name: str) -> None:
        self._name = name
        self._fd = libc.inotify_init1(IN_CLOEXEC | IN_NONBLOCK)
        mask = _IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR
        libc.inotify_add_watch(self._fd, folder, mask)

    def wait(self, watcher: tuple[int, int] | None, milliseconds: int | None = None) -> bool:
        """Waits for the next; False when the process has ended first, or the time is over."""
        ended = -1
        if watcher is not None:
            ended = ends.open_process(*watcher)
            if ended < 0:
                return False
        waiting = poll()
        waiting.register(self._fd, POLLIN)
        if ended >= 0:
            waiting.register(ended, POLLIN)
        try:
            while True:
                ready = dict(waiting.poll(milliseconds))
                if self._fd in ready and self._ours(posix.read(self._fd, _CHUNK)):
                    return True
                if ended in ready or not ready:
                    return False
        finally:
            if ended >= 0:
                posix.close(ended)

    def _ours(self, data: bytes) -> bool:
        return any(not e.name or e.name.startswith(self._name) for e in get_events(data))
