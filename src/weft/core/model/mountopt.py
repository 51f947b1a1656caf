"""Options of mount(8) as mounts[] of the OCI runtime specification has them, apart by whom they are for."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.oci import Mount

_ATIME = 0x70
#: MOUNT_ATTR_* (mount_setattr(2)): what an option sets, and what it clears first.
_ATTRIBUTES = {
    "ro": (1, 0),
    "rw": (0, 1),
    "nosuid": (2, 0),
    "suid": (0, 2),
    "nodev": (4, 0),
    "dev": (0, 4),
    "noexec": (8, 0),
    "exec": (0, 8),
    "relatime": (0, _ATIME),
    "norelatime": (0, _ATIME),
    "noatime": (0x10, _ATIME),
    "atime": (0, _ATIME),
    "strictatime": (0x20, _ATIME),
    "nostrictatime": (0, _ATIME),
    "nodiratime": (0x80, 0),
    "diratime": (0, 0x80),
    "nosymfollow": (0x200000, 0),
    "symfollow": (0, 0x200000),
}
_PROPAGATION = {"private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20, "unbindable": 1 << 17}
#: Of the file system as a whole: they mean nothing to a bind.
_SUPERBLOCK = (
    "sync",
    "async",
    "dirsync",
    "lazytime",
    "nolazytime",
    "mand",
    "nomand",
    "iversion",
    "noiversion",
)
_NOTHING = ("defaults", "loud", "silent", "nofail", "auto", "noauto", "user", "nouser", "_netdev")
_REFUSED = ("remount", "idmap", "ridmap", "tmpcopyup")

RDONLY = 1


class Options(Record):
    """``add`` and ``clear`` are attributes of the mount, ``all_add`` and ``all_clear`` of those below it too;
    ``propagation`` is MS_SHARED and its kin, ``data`` what the file system is told."""

    add: int = 0
    clear: int = 0
    all_add: int = 0
    all_clear: int = 0
    propagation: int = 0
    propagation_all: bool = False
    bind: bool = False
    recursive: bool = False
    optional: bool = False
    data: tuple[tuple[str, str | None], ...] = ()


def parse(mount: Mount) -> Options:
    """A mount's options. BadInput for one that cannot be honoured."""
    own, below = [0, 0], [0, 0]
    propagation, everywhere = 0, False
    data: list[tuple[str, str | None]] = []
    bind = mount.type == "bind" or bool({"bind", "rbind"}.intersection(mount.options))
    for word in mount.options:
        plain = word[1:] if word[:1] == "r" else ""
        if word in _ATTRIBUTES:
            _set(own, *_ATTRIBUTES[word])
        elif plain in _ATTRIBUTES:
            _set(below, *_ATTRIBUTES[plain])
        elif word in _PROPAGATION or plain in _PROPAGATION:
            propagation = _PROPAGATION[word if word in _PROPAGATION else plain]
            everywhere = word not in _PROPAGATION
        elif word in _REFUSED:
            raise BadInput(f"mount {mount.destination!a}: option {word!a} is not supported")
        elif word not in ("bind", "rbind", "optional", *_NOTHING) and not (bind and word in _SUPERBLOCK):
            data.append(_datum(mount, word, bind))
    recursive, optional = "rbind" in mount.options, "optional" in mount.options
    attributes = own[0], own[1], below[0], below[1]
    return Options(*attributes, propagation, everywhere, bind, recursive, optional, tuple(data))


def _set(attributes: list[int], add: int, clear: int) -> None:
    attributes[0] = attributes[0] & ~clear | add
    attributes[1] = attributes[1] & ~add | clear


def _datum(mount: Mount, word: str, bind: bool) -> tuple[str, str | None]:
    key, equals, value = word.partition("=")
    if bind or not key or "\0" in word:
        raise BadInput(
            f"mount {mount.destination!a}: {word!a} is no option of a {'bind' if bind else 'mount'}"
        )
    if len(value.encode(errors="surrogateescape")) > 255:
        raise BadInput(f"mount {mount.destination!a}: option {key!a} is longer than 255 bytes")
    return key, value if equals else None
