"""Finds every namespace there is (namespaces(7)), and what holds each alive.

Each source finds what no other does: processes and their threads, what they have ready for their
children, mounts in every mount namespace, open files, sockets, children and what they own, devices
whose other end is elsewhere, the handles of those that weft made, and listns(2) where the kernel has it.
"""

from __future__ import annotations

import errno
import os

from weft.core.model.namespace import Holder, NsFact
from weft.core.wire import nsfs as wire
from weft.linux import engines, holders, netns, nsfs, nsmounts
from weft.linux.notes import Notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weft.core.model.namespace import EngineName
    from weft.linux.notes import Note

_UNKNOWN = Holder("unknown", 0, "nothing that can be seen")


def find(
    types: Iterable[str], removed: Sequence[tuple[str, bytes]] = (), kept: str = ""
) -> tuple[NsFact, ...]:
    """All namespaces of these types, by type and inode; then strangers, then stale names.

    ``removed`` are names that weft took off, with the handles of their namespaces; ``kept`` is the
    directory where it keeps named ones of other types, as NAME/TYPE.
    """
    wanted = frozenset(types)
    notes = Notes([kind for kind in nsfs.TYPES if kind in wanted])
    if "net" not in wanted:
        _collect(notes, removed, kept)
        return _facts(notes, {})
    from weft.linux.strangers import Numbers

    with Numbers() as numbers:
        notes.number = numbers.take
        stale = _collect(notes, removed, kept)
        here = os.stat(netns.HERE).st_ino
        # The ids that are asked for here are known before strangers get theirs.
        given = numbers.ids_in(here)
        strangers = numbers.strangers(here)
    return (*_facts(notes, given), *strangers, *stale)


def left_alive(names: Mapping[str, int]) -> dict[int, tuple[tuple[int, ...], tuple[Holder, ...]]]:
    """What keeps named network namespaces (name to inode) alive once their names are off: the processes in
    each, and the threads, files and sockets of others."""
    notes = Notes(("net",))
    mine = [note for note in [notes.at(f"net:[{inode}]") for inode in names.values()] if note is not None]
    pids = holders.processes(notes)
    holders.files(notes, pids, frozenset([netns.path(name) for name in names]))
    return {note.inode: (tuple(note.pids), tuple(note.holders)) for note in mine}


def elsewhere(known: Iterable[int]) -> list[tuple[int, str]]:
    """Inode and path of the network namespaces to which a mount or an open file leads, but for known ones."""
    notes, seen = Notes(("net",)), frozenset(known)
    pids = holders.processes(notes)
    holders.files(notes, pids, nsmounts.mounts(notes, pids))
    return [(note.inode, note.ways[0]) for note in notes if note.inode not in seen and note.ways]


def _collect(notes: Notes, removed: Sequence[tuple[str, bytes]], kept: str) -> list[NsFact]:
    """Asks all sources; the stale names."""
    pids = holders.processes(notes)
    points = nsmounts.mounts(notes, pids)
    _kept_names(notes, f"{kept}/")
    stale = _names(notes) if "net" in notes.types else []
    holders.files(notes, pids, points)
    notes.visit_all()
    for name, handle in removed:
        _leaked(notes, name, handle)
    _listed(notes)
    return stale


def _names(notes: Notes) -> list[NsFact]:
    """Puts the names under /run/netns down, symbolic links too (ip-netns(8)); those that lead nowhere."""
    stale = []
    for name in netns.names():
        path = netns.path(name)
        try:
            found = os.stat(path)
        except OSError:
            found = None
        note = None
        if found is not None and found.st_dev == notes.device:
            note = notes.by_inode(found.st_ino) or _by_path(notes, path)
        if note is None:
            stale.append(NsFact(0, "net", names=(name,), stale=True))
        else:
            note.names.append(name)
    return stale


def _kept_names(notes: Notes, start: str) -> None:
    """Puts the names down that weft gave to those of other types."""
    for note in notes:
        for holder in note.holders:
            ours = holder.kind == "mount" and not holder.pid and holder.where.startswith(start)
            name, _, kind = holder.where[len(start) :].partition("/")
            if ours and kind == note.type:
                note.names.append(name)


def _by_path(notes: Notes, path: str) -> Note | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        note = notes.seen(fd)
    finally:
        os.close(fd)
    if note is not None:
        note.ways.append(path)
    return note


def _leaked(notes: Notes, name: str, handle: bytes) -> None:
    """Puts down what lives on behind a handle."""
    try:
        fd = nsfs.reopen(handle)
    except OSError:
        return  # a handle of before a reboot, or a kernel that takes none
    if fd >= 0:
        try:
            note = notes.seen(fd)
        finally:
            os.close(fd)
        if note is not None:
            note.former.append(name)


def _listed(notes: Notes) -> None:
    """Those that listns(2) lists and nothing else has found; before Linux 6.19 there is none."""
    for number in _ids(sum([nsfs.TYPES[kind] for kind in notes.types])):
        try:
            # An id alone is enough for the kernels that have listns(2).
            fd = nsfs.reopen(wire.put_handle(wire.NsfsHandle(number, 0, 0)))
        except OSError:
            continue
        if fd >= 0:
            try:
                notes.seen(fd)
            finally:
                os.close(fd)


def _ids(flags: int) -> list[int]:
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syscall
    room = (ctypes.c_uint64 * 4096)()
    found: list[int] = []
    while True:
        request = wire.put_listns(flags, found[-1] if found else 0)
        count = call(ctypes.c_long(wire.NR_LISTNS), request, room, ctypes.c_size_t(4096), 0)
        if count <= 0:
            return found
        found += room[:count]


def _facts(notes: Notes, given: dict[int, int]) -> tuple[NsFact, ...]:
    order = {kind: place for place, kind in enumerate(notes.types)}
    people = _People()
    own = {kind: os.stat(f"/proc/thread-self/ns/{kind}").st_ino for kind in notes.types if _has(kind)}
    found = []
    for note in sorted(notes, key=lambda note: (order[note.type], note.inode)):
        here = own.get(note.type) == note.inode
        found.append(_fact(note, here, given.get(note.inode), people))
    return tuple(found)


def _has(kind: str) -> bool:
    return os.path.lexists(f"/proc/thread-self/ns/{kind}")


def _fact(note: Note, here: bool, nsid: int | None, people: _People) -> NsFact:
    held = note.holders
    if note.pids:
        more = len(note.pids) - 1
        held = [Holder("process", note.pids[0], f"and {more} more" if more else ""), *held]
    first = note.pids[0] if note.pids else next((h.pid for h in held if h.pid), 0)
    return NsFact(
        note.inode,
        note.type,
        names=tuple(note.names),
        pids=tuple(note.pids),
        command=people.command(note.pids[0]) if note.pids else "",
        user=people.user(note.pids[0]) if note.pids else "",
        owner=note.owner or 0,
        parent=note.parent,
        nsid=nsid,
        held_by=tuple(held) or (_UNKNOWN,),
        container=people.container(first) if first and not here else None,
        former=tuple(note.former),
        here=here,
    )


class _People:
    """What is said of a process, which is often the first of several namespaces."""

    __slots__ = ("_commands", "_containers", "_engines", "_users")

    def __init__(self) -> None:
        self._commands: dict[int, str] = {}
        self._containers: dict[int, EngineName | None] = {}
        self._engines = engines.Engines()
        self._users: dict[int, str] = {}

    def command(self, pid: int) -> str:
        """The command line, or the command's name when it has none, as lsns(8) shows it."""
        if pid not in self._commands:
            words = _read(f"/proc/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ")
            self._commands[pid] = os.fsdecode(words or _read(f"/proc/{pid}/comm").rstrip(b"\n"))
        return self._commands[pid]

    def user(self, pid: int) -> str:
        """The name of the user whose process it is, or his number."""
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
        except OSError:
            return ""
        if uid not in self._users:
            import pwd

            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = str(uid)
        return self._users[uid]

    def container(self, pid: int) -> EngineName | None:
        """The container of an engine that the process belongs to."""
        if pid not in self._containers:
            self._containers[pid] = self._engines.name_of(pid)
        return self._containers[pid]


def _read(path: str) -> bytes:
    """The first 4 KiB of a file in /proc; nothing when its process has ended."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 4096)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise
        return b""
    finally:
        os.close(fd)
