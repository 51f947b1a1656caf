"""Namespaces as files: their types, handles and relatives (ioctl_nsfs(2), name_to_handle_at(2)).

A handle names a namespace for good: its numbers are never used again, so that a stored one tells, long
after the name is gone, whether the namespace is too.
"""

from __future__ import annotations

import errno
import posix
from fcntl import ioctl

from weft.core.wire import nsfs as wire
from weft.linux import libc
from weft.linux.paths import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: namespaces(7): the kernel's names under /proc/PID/ns, and their flags.
TYPES = {
    "net": libc.CLONE_NEWNET,
    "mnt": libc.CLONE_NEWNS,
    "pid": libc.CLONE_NEWPID,
    "uts": libc.CLONE_NEWUTS,
    "ipc": libc.CLONE_NEWIPC,
    "user": libc.CLONE_NEWUSER,
    "cgroup": libc.CLONE_NEWCGROUP,
    "time": libc.CLONE_NEWTIME,
}
_functions: dict[str, Any] = {}
_NAMES = {flag: name for name, flag in TYPES.items()}


def type_of(fd: int) -> str:
    """The type of the namespace behind a descriptor; "" when it is another kind of file."""
    try:
        return _NAMES.get(ioctl(fd, wire.NS_GET_NSTYPE), "")
    except OSError:
        return ""


def _function(name: str) -> Any:
    """A function of the C library that keeps errno; looked up once, as a thousand may be asked for."""
    found = _functions.get(name)
    if found is None:
        import ctypes

        found = _functions[name] = getattr(ctypes.CDLL(None, use_errno=True), name)
    return found


def handle(path: str) -> bytes:
    """A namespace's handle, to be stored. OSError (EOPNOTSUPP) before Linux 6.18, which brought them."""
    import ctypes

    raw = ctypes.create_string_buffer(wire.NO_HANDLE, len(wire.NO_HANDLE))
    mount = ctypes.c_int()
    call = _function("name_to_handle_at")
    if call(libc.AT_FDCWD, encode(path), raw, ctypes.byref(mount), 0x400):  # AT_SYMLINK_FOLLOW
        number = ctypes.get_errno()
        raise OSError(number, f"name_to_handle_at: {posix.strerror(number)}", path)
    return wire.put_handle(wire.get_handle(raw.raw))


def reopen(stored: bytes) -> int:
    """A descriptor of the namespace behind a handle, whatever else still holds it; -1 when it is gone."""
    import ctypes

    call = _function("open_by_handle_at")
    fd = int(call(wire.FD_NSFS_ROOT, stored, posix.O_RDONLY | posix.O_CLOEXEC))
    if fd < 0:
        number = ctypes.get_errno()
        if number == errno.ESTALE:
            return -1
        raise OSError(number, f"open_by_handle_at: {posix.strerror(number)}")
    return fd


def is_gone(stored: bytes) -> bool:
    """Whether the namespace behind a handle has ended."""
    fd = reopen(stored)
    if fd < 0:
        return True
    posix.close(fd)
    return False


def wait_gone(stored: bytes) -> None:
    """Waits until the namespace behind a handle has ended; the kernel's own notice tells."""
    from weft.linux.scratch import Scratch

    with Scratch() as scratch:
        fd = reopen(stored)
        if fd < 0:
            return
        try:
            scratch.number(fd)
        finally:
            posix.close(fd)
        while not is_gone(stored):
            scratch.wait()
