"""Who holds namespaces: processes, threads, open files and sockets (proc(5), pidfd_getfd(2)).

Processes may end at any moment, and some may not be looked at: neither is an error.
"""

from __future__ import annotations

import os
from _stat import S_ISSOCK
from fcntl import ioctl

from weft.core.wire import nsfs as wire
from weft.linux import libc
from weft.linux.notes import open_same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.linux.notes import Note, Notes

_SYS_PIDFD_GETFD = 438
#: What a process may have for its children only, beside its own.
_FOR_CHILDREN = {"pid": "pid_for_children", "time": "time_for_children"}


def processes(notes: Notes) -> list[int]:
    """Notes the namespaces of all processes and threads; the processes there are, the lowest first."""
    found = sorted([int(name) for name in os.listdir("/proc") if name.isdigit()])
    for pid in found:
        _process(notes, pid)
    return found


def _process(notes: Notes, pid: int) -> None:
    own = []
    for kind in notes.types:
        text = link(f"/proc/{pid}/ns/{kind}")
        own.append(text)
        note = notes.at(text) if text else None
        if note is not None:
            note.pids.append(pid)
            if len(note.ways) < 2:
                note.ways.append(f"/proc/{pid}/ns/{kind}")
    for kind, file in _FOR_CHILDREN.items():
        if kind in notes.types:
            _other(notes, "process", pid, f"/proc/{pid}/ns/{file}", file, own)
    for thread in _threads(pid):
        for kind in notes.types:
            _other(notes, "thread", pid, f"/proc/{pid}/task/{thread}/ns/{kind}", f"thread {thread}", own)


def _other(notes: Notes, holder: str, pid: int, path: str, where: str, own: Iterable[str]) -> None:
    """Notes what a process has beside its own namespaces."""
    text = link(path)
    note = notes.at(text) if text and text not in own else None
    if note is not None:
        note.hold(holder, pid, where, path)


def _threads(pid: int) -> list[str]:
    """The threads but the first; their number is that of the directory's links less two."""
    tasks = f"/proc/{pid}/task"
    try:
        if os.stat(tasks).st_nlink <= 3:
            return []
        return [name for name in os.listdir(tasks) if name != str(pid)]
    except OSError:
        return []


def link(path: str) -> str:
    """What a symbolic link says; "" when it is gone or not to be read."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def files(notes: Notes, pids: Iterable[int], points: frozenset[str]) -> None:
    """Notes what open files and sockets hold. ``points``: where namespaces are mounted.

    A file that was opened by a name is called so; ``/`` when the name is gone since.
    """
    me = os.getpid()
    sockets: dict[str, list[tuple[int, str]]] = {}
    for pid in pids:
        try:
            numbers = os.listdir(f"/proc/{pid}/fd") if pid != me else ()
        except OSError:
            continue
        for number in numbers:
            said = link(f"/proc/{pid}/fd/{number}")
            if said.startswith("socket:"):
                sockets.setdefault(said, []).append((pid, number))
            elif said.endswith("]") or said == "/" or said in points:
                _file(notes, pid, number, said)
    if "net" in notes.types:
        _sockets(notes, sockets)


def _file(notes: Notes, pid: int, number: str, said: str) -> None:
    path = f"/proc/{pid}/fd/{number}"
    note = notes.at(said)
    if note is None and said.startswith("/"):
        try:
            found = os.stat(path)
        except OSError:
            return
        if found.st_dev == notes.device:
            note = notes.by_inode(found.st_ino) or _behind(notes, path, found.st_ino)
    if note is not None:
        note.hold("file", pid, f"fd {number}", path)


def _behind(notes: Notes, path: str, inode: int) -> Note | None:
    """The note of a namespace that only an open file leads to, whose type its name does not say."""
    fd = open_same(path, inode)
    if fd < 0:
        return None
    try:
        return notes.seen(fd)
    finally:
        os.close(fd)


def _sockets(notes: Notes, sockets: dict[str, list[tuple[int, str]]]) -> None:
    """A socket belongs to the namespace it was made in, wherever its process is now. Whoever is inside
    anyway is not named once more for each of his sockets."""
    inside = {pid: note for note in notes if note.type == "net" for pid in note.pids}
    pidfds: dict[int, int] = {}
    try:
        for users in sockets.values():
            note = _socket(notes, users, pidfds)
            if note is not None:
                for pid, number in users:
                    if inside.get(pid) is not note:
                        note.hold("socket", pid, f"fd {number}")
    finally:
        for fd in pidfds.values():
            if fd >= 0:
                os.close(fd)


def _socket(notes: Notes, users: list[tuple[int, str]], pidfds: dict[int, int]) -> Note | None:
    for pid, number in users:
        if pid not in pidfds:
            pidfds[pid] = _pidfd(pid)
        fd = _netns_of(pidfds[pid], int(number))
        if fd >= 0:
            try:
                note = notes.by_inode(os.fstat(fd).st_ino)
                return note if note is not None and note.owner is not None else notes.seen(fd)
            finally:
                os.close(fd)
    return None


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _netns_of(pidfd: int, number: int) -> int:
    """A descriptor of the namespace of another process's socket; -1 when that cannot be had."""
    if pidfd < 0:
        return -1
    try:
        copy = libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0)
    except OSError:
        return -1
    try:
        # It may be another file by now, to which the number means something else.
        return ioctl(copy, wire.SIOCGSKNS) if S_ISSOCK(os.fstat(copy).st_mode) else -1
    except OSError:
        return -1
    finally:
        os.close(copy)
