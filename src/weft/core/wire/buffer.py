"""Netlink framing and attributes, in pairs (netlink(7), linux/netlink.h, lib/nlattr.c).

A message is a tuple (nlmsg_type, nlmsg_flags, payload after nlmsghdr); sequence numbers belong to
the socket. Records are laid out by columns: (attribute, field, codec), where a codec is the pair of
functions that write and read one attribute. The codecs of numbers raise ``struct.error`` when told
to write what does not fit, which is the caller's mistake; what is read is not trusted: WireError.
"""

from __future__ import annotations

from _struct import Struct  # ``struct`` is a file to find and read, and is this
from _struct import error as struct_error  # type: ignore[attr-defined]  # the stubs forgot it

from weft.core.model.errors import WireError
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Message = tuple[int, int, bytes]
    Codec = tuple[Callable[[int, Any], bytes], Callable[[bytes], Any]]
    Column = tuple[int, str, Codec]

NLM_F_REQUEST = 0x01
NLM_F_MULTI = 0x02
NLM_F_ACK = 0x04
NLM_F_ECHO = 0x08
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP_FILTERED = 0x20
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_NONREC = 0x100
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
NLMSG_MIN_TYPE = 16
NLMSGERR_ATTR_MSG = 1
NLMSGERR_ATTR_OFFS = 2

NLA_F_NESTED = 0x8000
NLA_F_NET_BYTEORDER = 0x4000
NLA_TYPE_MASK = 0x3FFF

#: nla_len is 16 bits wide and counts its own header.
MAX_PAYLOAD = 0xFFFF - 4

_HEADER = Struct("=IHHII")
_ATTR = Struct("=HH")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")
_attr_head = _ATTR.pack
_new_bytes = bytes


def attr(kind: int, payload: bytes) -> bytes:
    """One padded attribute. WireError when the payload does not fit nla_len."""
    size = len(payload) + 4
    if size > 0xFFFF:
        raise WireError(f"netlink attribute {kind & NLA_TYPE_MASK}: {len(payload)} bytes are too many")
    return _attr_head(size, kind) + payload + _PAD[size & 3]


def nested(kind: int, *attrs: bytes) -> bytes:
    """An attribute that holds attributes. WireError as for attr()."""
    return attr(kind | NLA_F_NESTED, b"".join(attrs))


def string(kind: int, text: str) -> bytes:
    """A NUL-terminated string. WireError for a NUL inside it."""
    raw = text.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise WireError(f"netlink attribute {kind}: a NUL in the text {text!r}")
    return attr(kind, raw + b"\0")


def get_string(data: bytes) -> str:
    """The text up to its NUL; bytes that are not UTF-8 survive as surrogates."""
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(order: str, letter: str) -> tuple[Callable[[int, int], bytes], Callable[[bytes], int]]:
    """The codec of a fixed-size number: header, value and padding in one struct call."""
    value = Struct(order + letter)
    size, unpack = value.size + 4, value.unpack
    if order == ">":  # the header stays in host order
        head = _attr_head

        def put(kind: int, number: int, pack: Callable[..., bytes] = value.pack) -> bytes:
            return head(size, kind) + pack(number) + _PAD[size & 3]
    else:
        whole = Struct(f"=HH{letter}{-size & 3}x").pack

        def put(kind: int, number: int, pack: Callable[..., bytes] = whole) -> bytes:
            return pack(size, kind, number)

    def get(data: bytes) -> int:
        try:
            found: int = unpack(data)[0]
        except struct_error:
            raise WireError(f"a netlink number of {len(data)} bytes, not {size - 4}") from None
        return found

    return put, get


u8, get_u8 = U8 = _number("=", "B")
u16, get_u16 = U16 = _number("=", "H")
u32, get_u32 = U32 = _number("=", "I")
s32, get_s32 = S32 = _number("=", "i")
u64, get_u64 = U64 = _number("=", "Q")
be16, get_be16 = BE16 = _number(">", "H")
be32, get_be32 = BE32 = _number(">", "I")
sbe32, get_sbe32 = SBE32 = _number(">", "i")
be64, get_be64 = BE64 = _number(">", "Q")
STRING: Codec = (string, get_string)
BYTES: Codec = (attr, _new_bytes)


def put_fields(record: Record, columns: tuple[Column, ...]) -> bytes:
    """The attributes of all fields that are not None, in the order of the columns."""
    found = []
    for kind, field, codec in columns:
        value = getattr(record, field)
        if value is not None:
            found.append(codec[0](kind, value))
    return b"".join(found)


def get_fields(found: dict[int, bytes], columns: tuple[Column, ...]) -> dict[str, Any]:
    """The fields of those columns whose attributes are there. WireError for a wrong size."""
    return {field: codec[1](found[kind]) for kind, field, codec in columns if kind in found}


def iter_attrs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Attributes in order, their types without flag bits. WireError when lengths lie."""
    offset, end = 0, len(data)
    head = _ATTR.unpack_from
    while offset < end:
        if end - offset < 4:
            raise WireError(f"{end - offset} bytes after the last netlink attribute")
        size, kind = head(data, offset)
        if not 4 <= size <= end - offset:
            raise WireError(f"netlink attribute {kind & 0x3FFF}: length {size} of {end - offset}")
        yield kind & 0x3FFF, data[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def attrs(data: bytes) -> dict[int, bytes]:
    """Attributes by type; the last of one type wins, as in nla_parse(). WireError as iter_attrs().

    What iter_attrs() does, without a generator: this is where reading a thousand links spends its time.
    """
    found = {}
    offset, end = 0, len(data)
    head = _ATTR.unpack_from
    while offset < end - 3:
        size, kind = head(data, offset)
        stop = offset + size
        if size < 4 or stop > end:
            break
        found[kind & 0x3FFF] = data[offset + 4 : stop]
        offset = (stop + 3) & ~3
    if offset < end:
        return dict(iter_attrs(data))  # it says what is wrong
    return found


def split(data: bytes, header: Struct) -> tuple[tuple[Any, ...], dict[int, bytes]]:
    """A family's fixed header and the attributes behind it. WireError when there is less."""
    if len(data) < header.size:
        raise WireError(f"a netlink payload of {len(data)} bytes, shorter than its header")
    return header.unpack_from(data), attrs(data[header.size :])


def frame(mtype: int, flags: int, seq: int, payload: bytes) -> bytes:
    """A whole message: nlmsghdr with port id 0, payload, padding."""
    size = len(payload) + 16
    return _HEADER.pack(size, mtype, flags, seq, 0) + payload + _PAD[size & 3]


def frames(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, seq, payload) of each message in a datagram. WireError when lengths lie."""
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < 16:
            raise WireError(f"{end - offset} bytes after the last netlink message")
        size, mtype, flags, seq, _ = _HEADER.unpack_from(data, offset)
        if not 16 <= size <= end - offset:
            raise WireError(f"netlink message of type {mtype}: length {size} of {end - offset}")
        yield mtype, flags, seq, data[offset + 16 : offset + size]
        offset += (size + 3) & ~3


class Ack(Record):
    """What the kernel says to a request: errno (0 is success), its words, and the offset of the
    attribute that it did not like, counted from the request's nlmsghdr."""

    errno: int
    text: str = ""
    offset: int | None = None


def _ack(code: int, tlvs: bytes) -> Ack:
    if code > 0:
        raise WireError(f"netlink acknowledgement with the error {code}, which is not negative")
    found = attrs(tlvs)
    text = found.get(NLMSGERR_ATTR_MSG, b"").split(b"\0", 1)[0].decode("utf-8", "replace")
    offset = found.get(NLMSGERR_ATTR_OFFS)
    return Ack(-code, text, None if offset is None else get_u32(offset))


def get_ack(payload: bytes, flags: int) -> Ack:
    """NLMSG_ERROR: nlmsgerr, the request (only its header when NLM_F_CAPPED), then the extended
    acknowledgement when NLM_F_ACK_TLVS (netlink_ack() in net/netlink/af_netlink.c). WireError."""
    if len(payload) < 20:
        raise WireError(f"a netlink acknowledgement of {len(payload)} bytes")
    code = get_s32(payload[:4])
    if not flags & NLM_F_ACK_TLVS:
        return _ack(code, b"")
    start = 20
    if not flags & NLM_F_CAPPED:
        size = get_u32(payload[4:8])
        if not 16 <= size <= len(payload) - 4:
            raise WireError(f"a netlink acknowledgement of a request of {size} bytes, truncated")
        start = 4 + ((size + 3) & ~3)
    return _ack(code, payload[start:])


def get_done(payload: bytes, flags: int) -> Ack:
    """NLMSG_DONE: the end of a dump, which carries the error of a dump that failed. WireError."""
    if not payload:
        return Ack(0)
    return _ack(get_s32(payload[:4]), payload[4:] if flags & NLM_F_ACK_TLVS else b"")
