"""System calls that Python lacks, one function each, under their man-page names (section 2).

``ctypes`` takes 2 to 4 ms to import. ``_ctypes`` alone takes 0.4 but loses errno, so a call is made
through it, and made once more through ctypes when it failed, to learn why. All calls here fail the
same way twice. Errors are OSError with the call's name.
"""

from __future__ import annotations

import posix

from weft.linux.paths import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_FS = 0x00000200
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MNT_DETACH = 2
AT_FDCWD = -100
UMOUNT_NOFOLLOW = 8

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_symbols: dict[str, int] = {}


def _lean(name: str, args: tuple[Any, ...]) -> int:
    """The call through ``_ctypes``; -1 also when that private module is not what we know."""
    try:
        import _ctypes

        address = _symbols.get(name)
        if address is None:
            address = _symbols[name] = _ctypes.dlsym(_ctypes.dlopen(None, 0), name)  # type: ignore[arg-type]
        return int(_ctypes.call_cdeclfunction(address, args))
    except (ImportError, AttributeError, TypeError):
        return -1


def _call(name: str, *args: Any) -> int:
    result = _lean(name, args)
    if result >= 0:
        return result
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    result = int(function(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args]))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {posix.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    known = getattr(posix, "unshare", None)  # from Python 3.12 on
    if known is not None:
        known(flags)
    else:
        _call("unshare", flags)


def setns(fd: int, nstype: int) -> None:
    """setns(2): the calling thread joins the namespace, or those of the process behind a pidfd."""
    known = getattr(posix, "setns", None)  # from Python 3.12 on
    if known is not None:
        known(fd, nstype)
    else:
        _call("setns", fd, nstype)


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    kind = encode(fstype) if fstype else None
    _call("mount", encode(source), encode(target), kind, flags, encode(data) if data else None)


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _call("umount2", encode(target), flags)


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    _call("prctl", option, value, 0, 0, 0)


def inotify_init1(flags: int) -> int:
    """inotify_init1(2): a descriptor."""
    return _call("inotify_init1", flags)


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """inotify_add_watch(2): the watch's number."""
    return _call("inotify_add_watch", fd, encode(path), mask)


def syscall(number: int, *args: int | bytes) -> int:
    """syscall(2), for calls without a wrapper in the C library."""
    return _call("syscall", number, *args)


_SYS_CLONE3 = 435  # on all architectures


def clone3(flags: int) -> int:
    """clone3(2) as a fork(2) into new namespaces. The child must execute something or end: the interpreter
    knows nothing of this fork."""
    words = (flags, 0, 0, 0, 17, 0, 0, 0)  # struct clone_args as first published; 17 is SIGCHLD
    raw = b"".join([word.to_bytes(8, "little") for word in words])
    return syscall(_SYS_CLONE3, raw, len(raw))
