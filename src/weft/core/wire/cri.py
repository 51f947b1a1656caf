"""A container's log, as CRI has it: ``TIME STREAM TAG CONTENT``, a line each.

(kubernetes/design-proposals, node/kubelet-cri-logging.md.) TIME is RFC 3339 with nanoseconds, STREAM stdout
or stderr; TAG ``P`` says that the line goes on in the next entry of its stream, ``F`` that it ends here.
Content is whatever was written, byte for byte, but for its newline.
"""

from __future__ import annotations

from weft.core.record import Record

STDOUT, STDERR = b"stdout", b"stderr"


class Entry(Record):
    """One entry; ``full``: a newline follows."""

    time: bytes
    stream: bytes
    full: bool
    content: bytes

    @property
    def data(self) -> bytes:
        """What was written."""
        return self.content + b"\n" if self.full else self.content


def put_entries(time: bytes, stream: bytes, data: bytes) -> bytes:
    """What was written at a time, as entries: a part of a line at its end is one too."""
    *lines, rest = data.split(b"\n")
    head = b"%b %b " % (time, stream)
    made = b"".join([b"%bF %b\n" % (head, line) for line in lines])
    return made + b"%bP %b\n" % (head, rest) if rest else made


def get_entry(line: bytes) -> Entry | None:
    """An entry, without its newline; None when it is none: a full disk may have cut it short."""
    time, _, rest = line.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, blank, content = rest.partition(b" ")
    if len(time) != 30 or time[10:11] != b"T" or stream not in (STDOUT, STDERR) or tag not in (b"P", b"F"):
        return None
    return Entry(time, stream, tag == b"F", content) if blank else None
