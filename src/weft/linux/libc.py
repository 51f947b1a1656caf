"""System calls that Python lacks, one function each, under their man-page names (section 2).

``ctypes`` takes 2 to 4 ms to import, and cannot be imported where another root is in place; ``_ctypes``,
the C module under it, takes 0.4 and has all that is needed. Errors are OSError with the call's name.
"""

from __future__ import annotations

import posix

from weft.linux.paths import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
_CAPABILITY_VERSION_3 = 0x20080522


class _Lean:
    """Calls through ``_ctypes`` alone, of whose names ``ctypes`` makes its own. AttributeError and TypeError
    where that private module is not what we know."""

    __slots__ = ("_error", "_function", "_library", "_long", "_names", "_symbol")

    def __init__(self) -> None:
        import _ctypes as c

        number = type("c_int", (c._SimpleCData,), {"_type_": "i"})
        self._long = type("c_long", (c._SimpleCData,), {"_type_": "l"})
        flags = c.FUNCFLAG_CDECL | c.FUNCFLAG_USE_ERRNO
        self._function = type("_FuncPtr", (c.CFuncPtr,), {"_flags_": flags, "_restype_": number})
        self._error, self._symbol = c.get_errno, c.dlsym
        self._library = c.dlopen(None, 0)  # type: ignore[arg-type]
        self._names: dict[str, Any] = {}

    def __call__(self, name: str, args: tuple[Any, ...]) -> tuple[int, int]:
        """The result, and errno."""
        function = self._names.get(name)
        if function is None:
            function = self._names[name] = self._function(self._symbol(self._library, name))
        result = function(*[self._long(a) if isinstance(a, int) else a for a in args])
        return int(result), self._error()


def _full(name: str, args: tuple[Any, ...]) -> tuple[int, int]:
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    result = int(function(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args]))
    return result, ctypes.get_errno()


_ways: list[Callable[[str, tuple[Any, ...]], tuple[int, int]]] = []


def _call(name: str, *args: Any) -> int:
    if not _ways:
        try:
            _ways.append(_Lean())
        except (ImportError, AttributeError, TypeError):
            _ways.append(_full)
    result, error = _ways[0](name, args)
    if result < 0:
        raise OSError(error, f"{name}: {posix.strerror(error)}")
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


def prctl(option: int, value: int | bytes, more: int = 0) -> int:
    """prctl(2) with one argument, or two."""
    return _call("prctl", option, value, more, 0, 0)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _call("pivot_root", encode(new_root), encode(put_old))


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    _call("setdomainname", encode(name), len(encode(name)))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of the calling thread; sets as numbers, bit N for capability N."""
    words = (_CAPABILITY_VERSION_3, 0)
    header = b"".join([word.to_bytes(4, "little") for word in words])
    sets = (effective, permitted, inheritable)
    data = [(s >> shift & 0xFFFFFFFF).to_bytes(4, "little") for shift in (0, 32) for s in sets]
    _call("capset", header, b"".join(data))


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
CLONE_PARENT = 0x00008000
_SIGCHLD = 17


def clone3(flags: int) -> int:
    """clone3(2) as a fork(2) into new namespaces. The child must execute something or end: the interpreter
    knows nothing of this fork. With CLONE_PARENT its end is told as the caller's would be."""
    signal = 0 if flags & CLONE_PARENT else _SIGCHLD
    words = (flags, 0, 0, 0, signal, 0, 0, 0)  # struct clone_args as first published
    raw = b"".join([word.to_bytes(8, "little") for word in words])
    return syscall(_SYS_CLONE3, raw, len(raw))
