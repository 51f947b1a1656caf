"""Where namespaces are mounted: in every mount namespace, also those that no process is in.

Those with a process are read as /proc/PID/mountinfo (proc_pid_mountinfo(5)): one read for all of its
mounts, where statmount(2) takes a call for each. The others are met on a walk over all (NS_MNT_GET_NEXT),
and read by listmount(2) and statmount(2); before Linux 6.12 they cannot be found.
"""

from __future__ import annotations

import os
from fcntl import ioctl
from sys import byteorder

from weft.core.model.errors import WireError
from weft.core.wire import nsfs as wire
from weft.linux import holders, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from weft.linux.notes import Note, Notes

_ESCAPES = {rb"\040": b" ", rb"\011": b"\t", rb"\012": b"\n", rb"\134": b"\\"}
_MARK = b" - nsfs "
_MASK = wire.STATMOUNT_MNT_ROOT | wire.STATMOUNT_MNT_POINT | wire.STATMOUNT_FS_TYPE | wire.STATMOUNT_MNT_BASIC
#: How much is asked for at once: ids of mounts, bytes of one's description (PATH_MAX and more).
_IDS, _ROOM = 4096, 16384


class _Mount:
    """``groups``: the peer groups it is in or follows; in one of those it goes when its original does."""

    __slots__ = ("groups", "point", "text")

    def __init__(self, text: str, point: str, groups: frozenset[str]) -> None:
        self.text = text
        self.point = point
        self.groups = groups


def mounts(notes: Notes, pids: Iterable[int]) -> frozenset[str]:
    """Notes what is mounted anywhere; all mount points of namespaces."""
    points: set[str] = set()
    ours: dict[str, set[str]] = {}
    here = holders.link("/proc/thread-self/ns/mnt")
    for mount in _of_process("thread-self"):
        ours.setdefault(mount.text, set()).update(mount.groups)
        _note(notes, mount, 0, mount.point, mount.point, points)
    readers, narrow = _readers(pids)
    readers.pop(here, 0)
    for space, fd, number in _walk({here, *readers}):
        narrow.pop(space, 0)
        _note_space(notes, fd)
        for mount in _of_number(number):
            if not mount.groups & ours.get(mount.text, set()):
                note = _note(notes, mount, 0, f"{mount.point} in {space}", "", points)
                if note is not None and not note.ways and note.owner is None:
                    _visit_there(notes, note, fd, mount.point)
    for pid in (*readers.values(), *narrow.values()):
        for mount in _of_process(pid):
            if not mount.groups & ours.get(mount.text, set()):
                _note(notes, mount, pid, mount.point, f"/proc/{pid}/root{mount.point}", points)
    return frozenset(points)


def _readers(pids: Iterable[int]) -> tuple[dict[str, int], dict[str, int]]:
    """A process of each mount namespace that sees all of it; and of those where all are in a chroot, one
    which sees what is below that."""
    readers: dict[str, int] = {}
    narrow: dict[str, int] = {}
    for pid in pids:
        space = holders.link(f"/proc/{pid}/ns/mnt")
        if space and space not in readers:
            wide = holders.link(f"/proc/{pid}/root") == "/"
            (readers if wide else narrow).setdefault(space, pid)
    return readers, {space: pid for space, pid in narrow.items() if space not in readers}


def _note(notes: Notes, mount: _Mount, pid: int, where: str, way: str, points: set[str]) -> Note | None:
    points.add(mount.point)
    note = notes.at(mount.text)
    if note is not None:
        note.hold("mount", pid, where, way)
    return note


def _of_process(pid: int | str) -> Iterator[_Mount]:
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            data = file.read()
    except OSError:
        return
    if _MARK not in data:
        return
    for line in data.split(b"\n"):
        head, mark, _ = line.partition(_MARK)
        words = head.split(b" ")
        if mark and len(words) > 5:
            groups = [
                w.rpartition(b":")[2].decode() for w in words[6:] if w.startswith((b"shared:", b"master:"))
            ]
            yield _Mount(words[3].decode(errors="replace"), _unescaped(words[4]), frozenset(groups))


def _unescaped(word: bytes) -> str:
    if b"\\" in word:
        parts = word.split(b"\\")
        word = parts[0] + b"".join([_ESCAPES.get(b"\\" + p[:3], b"\\" + p[:3]) + p[3:] for p in parts[1:]])
    return os.fsdecode(word)


def _walk(known: set[str]) -> Iterator[tuple[str, int, int]]:
    """The mount namespaces but the known: the kernel's name, a descriptor that is closed after it has been
    looked at (all that is mounted there lives as long as it), the id. None where the kernel lacks that."""
    for step in (wire.NS_MNT_GET_NEXT, wire.NS_MNT_GET_PREV):
        at = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        while at >= 0:
            room = bytearray(wire.NO_MNT_NS_INFO)
            try:
                further = ioctl(at, step, room)
            except OSError:
                further = -1  # ENOENT: that was the last; ENOTTY: before Linux 6.12; EPERM
            finally:
                os.close(at)
            at = further
            if at >= 0:
                text = f"mnt:[{os.fstat(at).st_ino}]"
                if text not in known:
                    yield text, at, wire.get_mnt_ns_info(bytes(room)).mnt_ns_id


def _note_space(notes: Notes, fd: int) -> None:
    """A mount namespace that only the walk has met. What else holds it, is found elsewhere or not at all."""
    if "mnt" in notes.types:
        notes.seen(fd)


def _of_number(number: int) -> Iterator[_Mount]:
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syscall
    room = ctypes.create_string_buffer(_ROOM)
    for mount_id in _ids(number):
        request = wire.put_statmount(mount_id, _MASK, number)
        if call(ctypes.c_long(wire.NR_STATMOUNT), request, room, ctypes.c_size_t(_ROOM), 0) < 0:
            continue  # it is gone, or a path is longer than any that names a namespace
        try:
            found = wire.get_statmount(
                ctypes.string_at(room, int.from_bytes(ctypes.string_at(room, 4), byteorder))
            )
        except WireError:
            continue
        if found.fs_type == "nsfs":
            groups = [str(group) for group in (found.mnt_peer_group, found.mnt_master) if group]
            yield _Mount(found.mnt_root or "", found.mnt_point or "", frozenset(groups))


def _ids(number: int) -> Iterator[int]:
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syscall
    room = (ctypes.c_uint64 * _IDS)()
    last = 0
    while True:
        request = wire.put_listmount(number, last)
        count = call(ctypes.c_long(wire.NR_LISTMOUNT), request, room, ctypes.c_size_t(_IDS), 0)
        if count <= 0:
            return
        yield from room[:count]
        last = room[count - 1]
        if count < _IDS:
            return


def _visit_there(notes: Notes, note: Note, space: int, point: str) -> None:
    """Visits a namespace that has a path only in a mount namespace without processes: a thread goes there."""
    import threading

    def go() -> None:
        try:
            libc.unshare(libc.CLONE_FS)  # setns(2): who shares his root with others may not
            libc.setns(space, libc.CLONE_NEWNS)
            if os.stat(point, follow_symlinks=False).st_dev != notes.device:
                return
            fd = os.open(point, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            if notes.device == os.fstat(fd).st_dev and note.inode == os.fstat(fd).st_ino:
                notes.visit(note, fd)
        finally:
            os.close(fd)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
