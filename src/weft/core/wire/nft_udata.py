"""Userdata of nf_tables objects: what only ``nft list`` reads (libnftnl, include/libnftnl/udata.h).

Its format is a type byte, a length byte and a value, again and again. The kernel keeps it unread,
and other tools keep what they like in it, so that bytes which do not fit this format are no error.
"""

from __future__ import annotations

from weft.core.model.errors import WireError

#: The comment's type in the userdata of tables, chains, rules and elements; sets differ.
UDATA_COMMENT = 0
UDATA_SET_KEYBYTEORDER = 0
UDATA_SET_DATABYTEORDER = 1
UDATA_SET_COMMENT = 7
#: NFT_USERDATA_MAXLEN
MAX_USERDATA = 256


def put_udata(kind: int, value: bytes) -> bytes:
    """One item. WireError when it is longer than the kernel keeps."""
    if len(value) > MAX_USERDATA - 2:
        raise WireError(f"{len(value)} bytes of nft userdata are more than {MAX_USERDATA - 2}")
    return bytes((kind, len(value))) + value


def get_udata(data: bytes) -> list[tuple[int, bytes]] | None:
    """All items, or None when this is somebody else's format."""
    items, offset, end = [], 0, len(data)
    while offset < end:
        if end - offset < 2 or end - offset - 2 < data[offset + 1]:
            return None
        size = data[offset + 1]
        items.append((data[offset], data[offset + 2 : offset + 2 + size]))
        offset += 2 + size
    return items


def put_comment(comment: str, kind: int = UDATA_COMMENT) -> bytes:
    """A comment. WireError for a NUL in it, or when it is longer than 253 bytes."""
    raw = comment.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise WireError(f"a NUL in the comment {comment!r}")
    return put_udata(kind, raw + b"\0")


def get_comment(data: bytes | None, kind: int = UDATA_COMMENT) -> str | None:
    """The comment in an object's userdata, None when there is none that ``nft`` would show."""
    for found, value in (get_udata(data) if data else None) or ():
        if found == kind and value[-1:] == b"\0":
            return value[:-1].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return None
