"""The calls that nsfs.py and inotify.py in core/wire speak for, made through ctypes: bytes in and out."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from typing import Any

from core.wire.sandbox import libc
from weft.core.wire import inotify as ino
from weft.core.wire import nsfs

AT_EMPTY_PATH = 0x1000
#: The eight types: name in /proc/PID/ns, CLONE_NEW* flag.
TYPES = {
    "cgroup": 0x02000000,
    "ipc": 0x08000000,
    "mnt": 0x00020000,
    "net": 0x40000000,
    "pid": 0x20000000,
    "time": 0x00000080,
    "user": 0x10000000,
    "uts": 0x04000000,
}


def _call(what: str, result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def _numbered(number: int, *args: Any) -> int:
    found = libc.syscall(*[ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in (number, *args)])
    return _call(f"syscall {number}", found)


def listed(number: int, request: bytes, room: int = 4096) -> bytes:
    """listmount(2), listns(2): the ids as they stand in memory."""
    answer = (ctypes.c_uint64 * room)()
    count = _numbered(number, request, answer, room, 0)
    return bytes(answer)[: 8 * count]


def statmount(request: bytes, room: int = 8192) -> bytes:
    """statmount(2): the whole buffer, which is longer than what was written."""
    answer = ctypes.create_string_buffer(room)
    _numbered(nsfs.NR_STATMOUNT, request, answer, room, 0)
    return answer.raw


def handle(fd: int, path: str = "") -> bytes:
    """name_to_handle_at(2)."""
    answer = ctypes.create_string_buffer(nsfs.NO_HANDLE, len(nsfs.NO_HANDLE))
    mount = ctypes.c_int()
    _call(
        "name_to_handle_at",
        libc.name_to_handle_at(fd, path.encode(), answer, ctypes.byref(mount), AT_EMPTY_PATH),
    )
    return answer.raw


def open_handle(data: bytes) -> int:
    """open_by_handle_at(2) of a namespace."""
    return _call("open_by_handle_at", libc.open_by_handle_at(nsfs.FD_NSFS_ROOT, data, os.O_CLOEXEC))


def read_ioctl(fd: int, number: int, data: bytes) -> tuple[int, bytes]:
    """What an ioctl returns, and what it made of the bytes."""
    room = bytearray(data)
    return fcntl.ioctl(fd, number, room), bytes(room)


def ioctl(fd: int, number: int, value: int = 0) -> int:
    """What an ioctl returns that takes a number, or nothing: a descriptor, a pid, a type."""
    return fcntl.ioctl(fd, number, value)


def process(pidfd: int, mask: int = 0) -> nsfs.PidfdInfo:
    """PIDFD_GET_INFO."""
    return nsfs.get_pidfd_info(read_ioctl(pidfd, nsfs.PIDFD_GET_INFO, nsfs.put_pidfd_info(mask))[1])


def mnt_namespaces(fd: int) -> Iterator[tuple[nsfs.MntNsInfo, int]]:
    """All but the descriptor's own, and a descriptor of each: none is held longer than it is looked at, for
    with a mount namespace all live that have a name in it."""
    for step in (nsfs.NS_MNT_GET_NEXT, nsfs.NS_MNT_GET_PREV):
        at = os.dup(fd)
        while True:
            try:
                further, info = read_ioctl(at, step, nsfs.NO_MNT_NS_INFO)
            except FileNotFoundError:
                break
            finally:
                os.close(at)
            yield nsfs.get_mnt_ns_info(info), further
            at = further


def watched(path: str, mask: int) -> int:
    """inotify_init1(2), and one inotify_add_watch(2), whose number is 1."""
    fd = _call("inotify_init1", libc.inotify_init1(ino.IN_CLOEXEC | ino.IN_NONBLOCK))
    watch = libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(mask | ino.IN_ONLYDIR))
    assert _call("inotify_add_watch", watch) == 1
    return fd


def setns(fd: int) -> None:
    """setns(2)."""
    _call("setns", libc.setns(fd, 0))


def ns_id(fd: int) -> int:
    """NS_GET_ID."""
    (found,) = nsfs.get_ids(read_ioctl(fd, nsfs.NS_GET_ID, bytes(8))[1])
    return found


def mounts(mnt_ns_id: int = 0) -> tuple[int, ...]:
    """Every mount of a mount namespace."""
    return nsfs.get_ids(listed(nsfs.NR_LISTMOUNT, nsfs.put_listmount(mnt_ns_id)))


def mount_of(mnt_id: int, mask: int, mnt_ns_id: int = 0) -> nsfs.StatMount:
    """One of them."""
    return nsfs.get_statmount(statmount(nsfs.put_statmount(mnt_id, mask, mnt_ns_id)))
