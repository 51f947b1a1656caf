"""What a watched directory tells: struct inotify_event (inotify(7), linux/inotify.h)."""

from __future__ import annotations

from _struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import get_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

IN_ATTRIB = 0x00000004
IN_MOVED_FROM = 0x00000040
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_DELETE = 0x00000200
IN_DELETE_SELF = 0x00000400
IN_MOVE_SELF = 0x00000800
#: The kernel adds these: the file system went, events were lost (of no watch: wd -1), the watch ended.
IN_UNMOUNT = 0x00002000
IN_Q_OVERFLOW = 0x00004000
IN_IGNORED = 0x00008000
IN_ISDIR = 0x40000000
#: For inotify_add_watch(2).
IN_ONLYDIR = 0x01000000
IN_DONT_FOLLOW = 0x02000000
#: For inotify_init1(2).
IN_NONBLOCK = 0o4000
IN_CLOEXEC = 0o2000000

_EVENT = Struct("=iIII")


class Event(Record):
    """One event of the watch ``wd``. ``name`` is the file's in the directory, "" for the directory itself;
    ``cookie`` is the same in the two halves of a renaming."""

    wd: int
    mask: int
    cookie: int
    name: str


def get_events(data: bytes) -> Iterator[Event]:
    """The events of one read(2), in order. WireError when lengths lie."""
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < _EVENT.size:
            raise WireError(f"{end - offset} bytes after the last inotify event")
        wd, mask, cookie, size = _EVENT.unpack_from(data, offset)
        offset += _EVENT.size
        if size > end - offset:
            raise WireError(f"an inotify event's name of {size} bytes in {end - offset}")
        yield Event(wd, mask, cookie, get_string(data[offset : offset + size]))
        offset += size
