"""aardvark-dns's configuration directory as the source of names: read on SIGHUP."""

from __future__ import annotations

import posix

from weft.core.model.errors import BadInput, Conflict, KernelError, StoreError
from weft.core.naming import directory
from weft.core.naming.zone import Member, Served, Zone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PID_FILE = "aardvark.pid"
_LARGEST = 16 << 20


class Directory:
    """Names from the files below ``folder``. ``say`` tells of a file that makes no sense: it is left out."""

    fd = -1

    def __init__(self, folder: str, port: int, domain: str, say: Callable[[str], None]) -> None:
        self.zone = Zone(qualified=False, private=(domain,), closed=False)
        self._folder = folder
        self._port = port
        self._say = say
        self._served: list[Served] = []
        self._members: frozenset[Member] = frozenset()
        self._seen: frozenset[Member] = frozenset()
        self.reread()

    def reread(self) -> None:
        """Takes up the files as they are now. OSError when the directory cannot be read."""
        served: dict[str, Served] = {}
        members: dict[tuple[str, str], Member] = {}
        for name in sorted(posix.listdir(self._folder)):
            if name.startswith((PID_FILE, ".")):
                continue
            try:
                network, found = directory.read(name, self._text(name), self._port)
            except (BadInput, OSError, UnicodeDecodeError) as error:
                self._say(f"{name!a} is left out: {error}")
                continue
            served[network.name] = network
            members.update({(m.network, m.address): m for m in found})
        self._served = list(served.values())
        self._members = frozenset(members.values())

    def _text(self, name: str) -> str:
        fd = posix.open(f"{self._folder}/{name}", posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        try:
            data = posix.read(fd, _LARGEST + 1)
        finally:
            posix.close(fd)
        if len(data) > _LARGEST:
            raise BadInput(f"larger than {_LARGEST} bytes")
        return data.decode()

    def changed(self) -> bool:
        """Only SIGHUP tells."""
        return False

    def networks(self) -> list[Served]:
        """The networks there are."""
        return self._served

    def update(self, anew: bool) -> tuple[list[Member], list[Member]]:
        """Members that have come and gone since the last look."""
        seen, self._seen = self._seen, self._members
        return list(self._members - seen), list(seen - self._members)

    def last(self) -> bool:
        """Without a network it is over."""
        return True


def start(folder: str, port: int, domain: str) -> None:
    """Serves a directory in the background; returns when all its addresses are listened on. StoreError
    when it cannot be read, KernelError when that cannot be."""
    import sys

    from weft.linux.daemon import background

    try:
        fd = posix.open(folder, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"cannot read {folder}: {error.strerror}") from None
    folder = posix.readlink(f"/proc/self/fd/{fd}")  # the process will be in another directory

    def say(text: str) -> None:
        sys.stderr.write(f"weft-aardvark: {text}\n")  # once it is in the background to nobody
        sys.stderr.flush()

    def work(ready: Callable[[], None]) -> None:
        _serve(fd, folder, Directory(folder, port, domain, say), say, ready)

    try:
        background(work)
    finally:
        posix.close(fd)


def _serve(
    fd: int, folder: str, source: Directory, say: Callable[[str], None], ready: Callable[[], None]
) -> None:
    """In the process that stays: one for a directory, by a lock on that itself (flock(2))."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    from weft.services.dns import Server, serve

    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"another process serves {folder}", "send it SIGHUP") from None
    server = Server(source, say)
    path = f"{folder}/{PID_FILE}"

    def bound() -> None:
        if server.missing:
            raise KernelError(server.missing)
        _write(path, f"{posix.getpid()}")
        ready()

    try:
        serve(server, bound, source.reread)
    finally:
        if server.bound:
            _remove(path)


def _write(path: str, text: str) -> None:
    fresh = f"{path}.{posix.getpid()}"
    fd = posix.open(fresh, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o644)
    try:
        posix.write(fd, text.encode())
    finally:
        posix.close(fd)
    posix.rename(fresh, path)


def _remove(path: str) -> None:
    try:
        posix.unlink(path)
    except OSError:
        pass
