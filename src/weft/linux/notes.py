"""What a search for namespaces has found so far: one note a namespace, which every source adds to."""

from __future__ import annotations

import os
from fcntl import ioctl

from weft.core.model.namespace import Holder
from weft.core.wire import nsfs as wire
from weft.linux import nsfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: More paths to a namespace than these are not kept: the others are for when a process ends meanwhile.
_WAYS = 3
#: So many of its children are named of what lives on as a parent.
_CHILDREN = 8
_HERE = "/proc/thread-self/ns/net"


class Note:
    """A namespace under ``text``, the kernel's name for it (``net:[4026531840]``).

    ``ways`` are paths that lead to it; ``owner`` is None until it has been visited.
    """

    __slots__ = ("former", "holders", "inode", "names", "owner", "parent", "pids", "text", "type", "ways")

    def __init__(self, type: str, inode: int) -> None:
        self.type = type
        self.inode = inode
        self.text = f"{type}:[{inode}]"
        self.names: list[str] = []
        self.pids: list[int] = []
        self.holders: list[Holder] = []
        self.ways: list[str] = []
        self.former: list[str] = []
        self.owner: int | None = None
        self.parent = 0

    def hold(self, kind: str, pid: int = 0, where: str = "", way: str = "") -> None:
        """Something holds it; ``way`` leads there."""
        self.holders.append(Holder(kind, pid, where))
        if way and len(self.ways) < _WAYS:
            self.ways.append(way)

    def open(self) -> int:
        """A descriptor of it; -1 when no path leads there any more."""
        for way in self.ways:
            fd = open_same(way, self.inode)
            if fd >= 0:
                return fd
        return -1


class Notes:
    """All notes of a search for some types. ``device`` is nsfs's number, by which its files are known.

    ``number`` is handed each network namespace that is visited, and a descriptor of it.
    """

    __slots__ = ("_all", "_inodes", "device", "number", "types")

    def __init__(self, types: Iterable[str]) -> None:
        self.types = tuple(types)
        self.device = os.stat(_HERE).st_dev
        self.number: Callable[[Note, int], None] = lambda note, fd: None
        self._all: dict[str, Note] = {}
        self._inodes: dict[int, Note] = {}

    def __iter__(self) -> Iterator[Note]:
        return iter(list(self._all.values()))

    def at(self, text: str) -> Note | None:
        """The note of a namespace by the kernel's name, a new one when needed; None for other types."""
        note = self._all.get(text)
        if note is None:
            kind, _, number = text.partition(":[")
            if kind not in self.types or not number[:-1].isdigit():
                return None
            note = self._all[text] = Note(kind, int(number[:-1]))
            self._inodes[note.inode] = note
        return note

    def by_inode(self, inode: int) -> Note | None:
        """The note of an inode, which no two namespaces share; None when there is none so far."""
        return self._inodes.get(inode)

    def seen(self, fd: int) -> Note | None:
        """The note of the namespace behind a descriptor, visited; None when it is none of our types."""
        kind = nsfs.type_of(fd)
        note = self.at(f"{kind}:[{os.fstat(fd).st_ino}]") if kind else None
        if note is not None:
            self.visit(note, fd)
        return note

    def visit(self, note: Note, fd: int) -> None:
        """Asks for its owner and parent, and for theirs: some live on as such alone (ioctl_nsfs(2))."""
        if note.owner is not None:
            return
        note.owner = self._related(note, fd, wire.NS_GET_USERNS, "user")
        if note.type == "user":
            note.parent = note.owner
        elif note.type == "pid":
            note.parent = self._related(note, fd, wire.NS_GET_PARENT, "pid")
        elif note.type == "net":
            self.number(note, fd)

    def _related(self, note: Note, fd: int, question: int, kind: str) -> int:
        try:
            related = ioctl(fd, question)
        except OSError:
            return 0  # the first of all has none; EPERM: it is outside of what the caller may see
        try:
            inode = os.fstat(related).st_ino
            if kind not in self.types:
                return inode
            other = self.at(f"{kind}:[{inode}]")
            if other is not None:
                if sum([h.kind == "child" for h in other.holders]) < _CHILDREN:
                    other.hold("child", where=note.text)
                self.visit(other, related)
            return inode
        finally:
            os.close(related)

    def visit_all(self) -> None:
        """Visits by their paths those that no descriptor was at hand of."""
        for note in self:
            fd = note.open() if note.owner is None else -1
            if fd >= 0:
                try:
                    self.visit(note, fd)
                finally:
                    os.close(fd)


def open_same(path: str, inode: int) -> int:
    """A descriptor of a namespace by a path that may lead to something else by now: then, or when it is
    gone, -1. By another's descriptor, or in another's root, nothing else is opened for more than a look:
    not a fifo, not a tape."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    look = -1
    try:
        if "/ns/" not in path and path.startswith("/proc/"):
            look = os.open(path, os.O_PATH | os.O_CLOEXEC)
            path = f"/proc/self/fd/{look}"
            if os.fstat(look).st_ino != inode or os.fstat(look).st_dev != os.stat(_HERE).st_dev:
                return -1
        fd = os.open(path, flags)
        if os.fstat(fd).st_ino == inode:
            return fd
        os.close(fd)
    except OSError:
        pass  # it has ended, or the name is off
    finally:
        if look >= 0:
            os.close(look)
    return -1
