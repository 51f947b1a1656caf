"""Mounts by descriptor (fsopen(2), open_tree(2), mount_setattr(2), move_mount(2), openat2(2)).

A mount is made whole, with its attributes, before anybody sees it, and is put where a descriptor points:
no path is walked twice, so none can be changed under way.
"""

from __future__ import annotations

import errno
import posix

from weft.core.model.errors import Unsupported
from weft.linux import libc
from weft.linux.paths import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
ATIME, RELATIME, NOATIME, STRICTATIME, NODIRATIME = 0x70, 0, 0x10, 0x20, 0x80
NOSYMFOLLOW = 0x200000

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_OPENAT2, _MOUNT_SETATTR = 437, 442
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_CLONE, _CLOEXEC = 1, posix.O_CLOEXEC
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
#: RESOLVE_NO_MAGICLINKS, and ``..`` and symbolic links end at the directory that a path starts from.
_NO_MAGICLINKS, NO_SYMLINKS, IN_ROOT = 0x02, 0x04, 0x10


def fs(type: str, options: Iterable[tuple[str, str | None]] = (), attributes: int = 0) -> int:
    """A new mount of a new file system, attached nowhere. OSError, with what the file system said."""
    context = _call(_FSOPEN, encode(type) + b"\0", 1)
    try:
        for key, value in options:
            if value is None:
                _call(_FSCONFIG, context, _SET_FLAG, encode(key) + b"\0", 0, 0)
            else:
                _call(_FSCONFIG, context, _SET_STRING, encode(key) + b"\0", encode(value) + b"\0", 0)
        _call(_FSCONFIG, context, _CREATE, 0, 0, 0)
        return _call(_FSMOUNT, context, 1, attributes)
    except OSError as error:
        raise OSError(error.errno, _told(context) or posix.strerror(error.errno or 0)) from None
    finally:
        posix.close(context)


def _told(context: int) -> str:
    """What a file system said of its options: "e TEXT" lines."""
    said = []
    try:
        while line := posix.read(context, 4096):
            said.append(line.decode(errors="replace").strip()[2:])
    except OSError:
        pass  # ENODATA: it has said all
    return "; ".join(said)


def tree(path: str, recursive: bool = False, at: int = libc.AT_FDCWD) -> int:
    """A copy of the mount, or mounts, at a path, attached nowhere; "" is what ``at`` points to."""
    flags = _CLONE | _CLOEXEC | (0 if path else _AT_EMPTY_PATH) | (_AT_RECURSIVE if recursive else 0)
    return _call(_OPEN_TREE, at, encode(path) + b"\0", flags)


def set_attributes(
    mount: int, add: int = 0, remove: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2) of the mount that a descriptor points to; ``recursive``: those below it as well."""
    words = b"".join([word.to_bytes(8, "little") for word in (add, remove, propagation, 0)])
    _call(
        _MOUNT_SETATTR, mount, b"\0", _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0), words, len(words)
    )


def attach(mount: int, target: int) -> None:
    """Puts a mount over what a descriptor points to."""
    _call(_MOVE_MOUNT, mount, b"\0", target, b"\0", 0x04 | 0x40)  # MOVE_MOUNT_{F,T}_EMPTY_PATH


def resolve(root: int, path: str, flags: int = posix.O_PATH, how: int = IN_ROOT, mode: int = 0) -> int:
    """A path, as one whose root directory that is would follow it; magic links lead nowhere."""
    words = (flags | posix.O_CLOEXEC, mode, how | _NO_MAGICLINKS)
    raw = b"".join([word.to_bytes(8, "little") for word in words])
    while True:
        try:
            return _call(_OPENAT2, root, encode(path or ".") + b"\0", raw, len(raw))
        except OSError as error:
            if error.errno != errno.EAGAIN:  # something was renamed while it looked
                raise


def _call(number: int, *args: int | bytes) -> int:
    try:
        return libc.syscall(number, *args)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise Unsupported("the kernel cannot mount by descriptor", "Linux 5.12 is needed") from None
        raise OSError(error.errno, posix.strerror(error.errno or 0)) from None
