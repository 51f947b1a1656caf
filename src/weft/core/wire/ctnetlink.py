"""Connection tracking: IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_DELETE (linux/netfilter/nfnetlink_conntrack.h).

What the kernel does with them: net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

from _struct import Struct
from sys import byteorder as _native

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    attr,
    attrs,
    nested,
    u8,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.wire.buffer import Message

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET = NFNL_SUBSYS_CTNETLINK << 8 | 1
IPCTNL_MSG_CT_DELETE = NFNL_SUBSYS_CTNETLINK << 8 | 2

_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
#: CTA_IP_V4_SRC, CTA_IP_V4_DST; CTA_IP_V6_SRC, CTA_IP_V6_DST
_SIDES = {2: (1, 2), 10: (3, 4)}
_SIZES = {2: 4, 10: 16}
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
#: CTA_FILTER_F_CTA_PROTO_NUM and CTA_FILTER_F_CTA_PROTO_DST_PORT (net/netfilter/nf_internals.h)
_BY_PORT = 1 << 3 | 1 << 5
_GENMSG = Struct("=BBH")


class Tuple(Record):
    """One direction of a connection: addresses in network order, protocol number, ports (0 without any)."""

    src: bytes
    dst: bytes
    proto: int
    sport: int = 0
    dport: int = 0

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return 2 if len(self.dst) == 4 else 10


class Connection(Record):
    """A tracked connection: what the first packet had, and what an answer has. ``id`` tells it from a later
    one with the same tuple; ``zone`` is 0 unless a rule gave it one."""

    original: Tuple
    reply: Tuple
    id: bytes = b""
    zone: bytes = b""


def _genmsg(family: int) -> bytes:
    return _GENMSG.pack(family, 0, 0)


def _port(kind: int, number: int) -> bytes:
    return attr(kind, number.to_bytes(2, "big"))


def put_tuple(kind: int, found: Tuple) -> bytes:
    """CTA_TUPLE_ORIG or CTA_TUPLE_REPLY."""
    src, dst = _SIDES[found.family]
    ports = _port(_SRC_PORT, found.sport) + _port(_DST_PORT, found.dport)
    return nested(
        kind,
        nested(_TUPLE_IP, attr(src, found.src), attr(dst, found.dst)),
        nested(_TUPLE_PROTO, u8(_PROTO_NUM, found.proto), ports),
    )


def _get_port(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b"")[:2], "big")


def get_tuple(data: bytes, family: int) -> Tuple:
    """The payload of a tuple. WireError when it has no addresses of that family."""
    parts = attrs(data)
    sides, proto = attrs(parts.get(_TUPLE_IP, b"")), attrs(parts.get(_TUPLE_PROTO, b""))
    src, dst = (sides.get(kind, b"") for kind in _SIDES.get(family, (0, 0)))
    if len(src) != len(dst) or len(src) != _SIZES.get(family):
        raise WireError("a conntrack tuple without addresses")
    number = proto.get(_PROTO_NUM, b"\0")[:1]
    return Tuple(
        src, dst, int.from_bytes(number, "big"), _get_port(proto, _SRC_PORT), _get_port(proto, _DST_PORT)
    )


def put_connection(found: Connection) -> bytes:
    """The payload that names a connection."""
    rest = (attr(_ID, found.id) if found.id else b"") + (attr(_ZONE, found.zone) if found.zone else b"")
    reply = put_tuple(_TUPLE_REPLY, found.reply)
    return _genmsg(found.original.family) + put_tuple(_TUPLE_ORIG, found.original) + reply + rest


def get_connection(data: bytes) -> Connection:
    """The payload of an answer. WireError."""
    if len(data) < _GENMSG.size:
        raise WireError("a conntrack message without its head")
    family, found = data[0], attrs(data[_GENMSG.size :])
    if _TUPLE_ORIG not in found or _TUPLE_REPLY not in found:
        raise WireError("a conntrack entry without both directions")
    return Connection(
        get_tuple(found[_TUPLE_ORIG], family),
        get_tuple(found[_TUPLE_REPLY], family),
        found.get(_ID, b""),
        found.get(_ZONE, b""),
    )


def dump_connections(family: int) -> Message:
    """All connections of a family (AF_INET, AF_INET6, or AF_UNSPEC for both)."""
    return IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, _genmsg(family)


def dump_port(family: int, proto: int, dport: int) -> Message:
    """Those to one port, of a family or of both, by the kernel's own filter (since Linux 5.8; before, it
    gives all)."""
    word = _BY_PORT.to_bytes(4, _native)
    wanted = nested(_TUPLE_ORIG, nested(_TUPLE_PROTO, u8(_PROTO_NUM, proto), _port(_DST_PORT, dport)))
    chosen = nested(_FILTER, attr(_FILTER_ORIG_FLAGS, word), attr(_FILTER_REPLY_FLAGS, bytes(4)))
    return IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, _genmsg(family) + wanted + chosen


def del_connection(found: Connection) -> Message:
    """Forgets one connection: by its original direction, and by its id, if that is known."""
    rest = (attr(_ID, found.id) if found.id else b"") + (attr(_ZONE, found.zone) if found.zone else b"")
    payload = _genmsg(found.original.family) + put_tuple(_TUPLE_ORIG, found.original) + rest
    return IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, payload
