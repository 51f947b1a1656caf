"""Expressions of nf_tables rules (linux/netfilter/nf_tables.h, net/netfilter/nft_*.c).

An expression is its name and its attributes, and each record here is one table of columns. An
expression that is not known here, or that carries an attribute not known here, is Unknown and keeps
its bytes: a foreign rule is never read as less than it says.
"""

from __future__ import annotations

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    BE32,
    BE64,
    NLA_F_NESTED,
    STRING,
    U8,
    attr,
    attrs,
    be32,
    get_be32,
    get_fields,
    get_string,
    iter_attrs,
    nested,
    put_fields,
    string,
)
from weft.core.wire.nft_data import Verdict, get_data, get_value, put_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.wire.buffer import Codec, Column

NFT_REG_VERDICT = 0
NFT_REG_1 = 1
NFT_REG_2 = 2
NFT_REG_3 = 3
NFT_REG_4 = 4
NFT_REG32_00 = 8

NF_DROP = 0
NF_ACCEPT = 1
NF_QUEUE = 3
NFT_CONTINUE = -1
NFT_BREAK = -2
NFT_JUMP = -3
NFT_GOTO = -4
NFT_RETURN = -5

NFT_META_LEN = 0
NFT_META_PROTOCOL = 1
NFT_META_PRIORITY = 2
NFT_META_MARK = 3
NFT_META_IIF = 4
NFT_META_OIF = 5
NFT_META_IIFNAME = 6
NFT_META_OIFNAME = 7
NFT_META_IIFTYPE = 8
NFT_META_OIFTYPE = 9
NFT_META_SKUID = 10
NFT_META_SKGID = 11
NFT_META_NFTRACE = 12
NFT_META_NFPROTO = 15
NFT_META_L4PROTO = 16
NFT_META_BRI_IIFNAME = 17
NFT_META_BRI_OIFNAME = 18
NFT_META_PKTTYPE = 19
NFT_META_IIFGROUP = 21
NFT_META_OIFGROUP = 22

NFT_PAYLOAD_LL_HEADER = 0
NFT_PAYLOAD_NETWORK_HEADER = 1
NFT_PAYLOAD_TRANSPORT_HEADER = 2
NFT_PAYLOAD_CSUM_NONE = 0
NFT_PAYLOAD_CSUM_INET = 1

NFT_CMP_EQ = 0
NFT_CMP_NEQ = 1
NFT_CMP_LT = 2
NFT_CMP_LTE = 3
NFT_CMP_GT = 4
NFT_CMP_GTE = 5

NFT_BITWISE_BOOL = 0
NFT_BITWISE_LSHIFT = 1
NFT_BITWISE_RSHIFT = 2

NFT_LOOKUP_F_INV = 1

NFT_NAT_SNAT = 0
NFT_NAT_DNAT = 1
NF_NAT_RANGE_MAP_IPS = 0x1
NF_NAT_RANGE_PROTO_SPECIFIED = 0x2
NF_NAT_RANGE_PROTO_RANDOM = 0x4
NF_NAT_RANGE_PERSISTENT = 0x8
NF_NAT_RANGE_PROTO_RANDOM_FULLY = 0x10

NFT_FIB_RESULT_OIF = 1
NFT_FIB_RESULT_OIFNAME = 2
NFT_FIB_RESULT_ADDRTYPE = 3
NFTA_FIB_F_SADDR = 0x01
NFTA_FIB_F_DADDR = 0x02
NFTA_FIB_F_MARK = 0x04
NFTA_FIB_F_IIF = 0x08
NFTA_FIB_F_OIF = 0x10
NFTA_FIB_F_PRESENT = 0x20

NFT_CT_STATE = 0
NFT_CT_DIRECTION = 1
NFT_CT_STATUS = 2
NFT_CT_MARK = 3
NFT_CT_ZONE = 17

NFT_REJECT_ICMP_UNREACH = 0
NFT_REJECT_TCP_RST = 1
NFT_REJECT_ICMPX_UNREACH = 2
NFT_REJECT_ICMPX_NO_ROUTE = 0
NFT_REJECT_ICMPX_PORT_UNREACH = 1
NFT_REJECT_ICMPX_HOST_UNREACH = 2
NFT_REJECT_ICMPX_ADMIN_PROHIBITED = 3

NFT_LIMIT_PKTS = 0
NFT_LIMIT_PKT_BYTES = 1
NFT_LIMIT_F_INV = 1

NFT_EXTHDR_OP_IPV6 = 0
NFT_EXTHDR_OP_TCPOPT = 1
NFT_RT_TCPMSS = 3
NFT_BYTEORDER_NTOH = 0
NFT_BYTEORDER_HTON = 1

_EXPR_NAME = 1
_EXPR_DATA = 2


class Expr(Record):
    """One expression of a rule."""


class Meta(Expr):
    """Loads a property of the packet into ``dreg``, or sets it from ``sreg``."""

    key: int
    dreg: int | None = None
    sreg: int | None = None


class Payload(Expr):
    """Loads bytes of a header into ``dreg``, or writes them from ``sreg`` and corrects the checksum."""

    base: int
    offset: int
    length: int
    dreg: int | None = None
    sreg: int | None = None
    csum_type: int = NFT_PAYLOAD_CSUM_NONE
    csum_offset: int = 0
    csum_flags: int = 0


class Cmp(Expr):
    """Goes on with the next rule unless the register compares so with the data."""

    op: int
    sreg: int
    data: bytes


class Bitwise(Expr):
    """(sreg & mask) ^ xor, or a shift by ``data`` as ``op`` says."""

    sreg: int
    dreg: int
    length: int
    mask: bytes | None = None
    xor: bytes | None = None
    op: int = NFT_BITWISE_BOOL
    data: bytes | None = None


class Lookup(Expr):
    """Looks a key up in a set, in a map when there is a ``dreg``."""

    set: str
    sreg: int
    dreg: int | None = None
    flags: int = 0
    set_id: int | None = None


class Immediate(Expr):
    """Loads a constant, or a verdict into NFT_REG_VERDICT."""

    dreg: int
    data: bytes | Verdict


class Nat(Expr):
    """Source or destination NAT from registers. The kernel reports a range even where one was given."""

    type: int
    family: int
    reg_addr: int | None = None
    reg_addr_max: int | None = None
    reg_proto: int | None = None
    reg_proto_max: int | None = None
    flags: int = 0


class Masq(Expr):
    """Source NAT to the outgoing interface's address."""

    flags: int = 0
    reg_proto: int | None = None
    reg_proto_max: int | None = None


class Redir(Expr):
    """Destination NAT to this host."""

    reg_proto: int | None = None
    reg_proto_max: int | None = None
    flags: int = 0


class Fib(Expr):
    """Asks the routing tables."""

    dreg: int
    result: int
    flags: int


class Ct(Expr):
    """Loads a property of the connection into ``dreg``, or sets it from ``sreg``."""

    key: int
    dreg: int | None = None
    sreg: int | None = None
    direction: int | None = None


class Exthdr(Expr):
    """Loads bytes of an IPv6 extension header or a TCP option into ``dreg``, or writes them from ``sreg``."""

    type: int
    offset: int
    length: int
    op: int = NFT_EXTHDR_OP_IPV6
    dreg: int | None = None
    sreg: int | None = None
    flags: int = 0


class Notrack(Expr):
    """Takes the packet past connection tracking."""


class Rt(Expr):
    """Loads a property of the packet's route."""

    dreg: int
    key: int


class Byteorder(Expr):
    """Turns numbers of ``size`` bytes between host and network order."""

    sreg: int
    dreg: int
    op: int
    length: int
    size: int


class Counter(Expr):
    """Counts packets and bytes."""

    packets: int = 0
    bytes: int = 0


class Reject(Expr):
    """Answers with an error; ``code`` is an ICMP code, None for a TCP reset."""

    type: int
    code: int | None = None


class Limit(Expr):
    """A rate per ``unit`` seconds."""

    rate: int
    unit: int
    burst: int = 0
    type: int = NFT_LIMIT_PKTS
    flags: int = 0


class Unknown(Expr):
    """An expression not known here: its name and its attributes as they came."""

    name: str
    data: bytes | None = None


def _put_some(kind: int, number: int) -> bytes:
    return be32(kind, number) if number else b""


def _put_some64(kind: int, number: int) -> bytes:
    return BE64[0](kind, number) if number else b""


_DATA: Codec = (put_data, get_data)
_VALUE: Codec = (put_data, get_value)
#: Left out when 0, which is what the kernel takes its absence for.
_SOME: Codec = (_put_some, get_be32)
_SOME64: Codec = (_put_some64, BE64[1])

_NAT: tuple[Column, ...] = (
    (1, "type", BE32),
    (2, "family", BE32),
    (3, "reg_addr", BE32),
    (4, "reg_addr_max", BE32),
    (5, "reg_proto", BE32),
    (6, "reg_proto_max", BE32),
    (7, "flags", _SOME),
)
_BITWISE: tuple[Column, ...] = (
    (1, "sreg", BE32),
    (2, "dreg", BE32),
    (3, "length", BE32),
    (6, "op", BE32),
    (4, "mask", _VALUE),
    (5, "xor", _VALUE),
    (7, "data", _VALUE),
)
_LOOKUP: tuple[Column, ...] = (
    (1, "set", STRING),
    (2, "sreg", BE32),
    (3, "dreg", BE32),
    (4, "set_id", BE32),
    (5, "flags", _SOME),
)
_LIMIT: tuple[Column, ...] = (
    (1, "rate", BE64),
    (2, "unit", BE64),
    (3, "burst", _SOME),
    (4, "type", BE32),
    (5, "flags", _SOME),
)

_EXTHDR: tuple[Column, ...] = (
    (1, "dreg", BE32),
    (2, "type", U8),
    (3, "offset", BE32),
    (4, "length", BE32),
    (5, "flags", _SOME),
    (6, "op", _SOME),
    (7, "sreg", BE32),
)
_PAYLOAD: tuple[Column, ...] = (
    (1, "dreg", BE32),
    (2, "base", BE32),
    (3, "offset", BE32),
    (4, "length", BE32),
    (5, "sreg", BE32),
    (6, "csum_type", _SOME),
    (7, "csum_offset", _SOME),
    (8, "csum_flags", _SOME),
)
_BYTEORDER: tuple[Column, ...] = (
    (1, "sreg", BE32),
    (2, "dreg", BE32),
    (3, "op", BE32),
    (4, "length", BE32),
    (5, "size", BE32),
)

_COLUMNS: dict[type[Expr], tuple[str, tuple[Column, ...]]] = {
    Meta: ("meta", ((2, "key", BE32), (1, "dreg", BE32), (3, "sreg", BE32))),
    Payload: ("payload", _PAYLOAD),
    Cmp: ("cmp", ((1, "sreg", BE32), (2, "op", BE32), (3, "data", _VALUE))),
    Bitwise: ("bitwise", _BITWISE),
    Lookup: ("lookup", _LOOKUP),
    Immediate: ("immediate", ((1, "dreg", BE32), (2, "data", _DATA))),
    Nat: ("nat", _NAT),
    Masq: ("masq", ((1, "flags", _SOME), (2, "reg_proto", BE32), (3, "reg_proto_max", BE32))),
    Redir: ("redir", ((1, "reg_proto", BE32), (2, "reg_proto_max", BE32), (3, "flags", _SOME))),
    Fib: ("fib", ((1, "dreg", BE32), (2, "result", BE32), (3, "flags", BE32))),
    Ct: ("ct", ((2, "key", BE32), (1, "dreg", BE32), (3, "direction", U8), (4, "sreg", BE32))),
    Exthdr: ("exthdr", _EXTHDR),
    Notrack: ("notrack", ()),
    Rt: ("rt", ((1, "dreg", BE32), (2, "key", BE32))),
    Byteorder: ("byteorder", _BYTEORDER),
    Counter: ("counter", ((1, "bytes", _SOME64), (2, "packets", _SOME64))),
    Reject: ("reject", ((1, "type", BE32), (2, "code", U8))),
    Limit: ("limit", _LIMIT),
}
_BY_NAME = {name: (cls, columns) for cls, (name, columns) in _COLUMNS.items()}
_KNOWN = {name: {kind for kind, _, _ in columns} for name, columns in _COLUMNS.values()}
_NEEDED = {cls: set(cls._fields) - set(cls._defaults) for cls in _COLUMNS}


def put_expr(expr: Expr) -> bytes:
    """NFTA_EXPR_NAME and NFTA_EXPR_DATA. WireError for text or data that does not fit."""
    if isinstance(expr, Unknown):
        data = b"" if expr.data is None else attr(_EXPR_DATA | NLA_F_NESTED, expr.data)
        return string(_EXPR_NAME, expr.name) + data
    name, columns = _COLUMNS[type(expr)]
    return string(_EXPR_NAME, name) + nested(_EXPR_DATA, put_fields(expr, columns))


def _get_known(name: str, data: bytes) -> Expr | None:
    found = attrs(data)
    if not found.keys() <= _KNOWN[name]:
        return None
    cls, columns = _BY_NAME[name]
    fields: dict[str, Any] = get_fields(found, columns)
    missing = _NEEDED[cls] - fields.keys()
    if missing:
        raise WireError(f"an nft {name} expression without {', '.join(sorted(missing))}")
    return cls(**fields)


def get_expr(data: bytes) -> Expr:
    """The payload of one NFTA_LIST_ELEM of a rule. WireError."""
    found = attrs(data)
    if _EXPR_NAME not in found:
        raise WireError("an nft expression without a name")
    name, inner = get_string(found[_EXPR_NAME]), found.get(_EXPR_DATA)
    bare = name in _KNOWN and not _KNOWN[name]  # one that needs no data may come without
    known = _get_known(name, inner or b"") if name in _KNOWN and (inner is not None or bare) else None
    return Unknown(name, inner) if known is None else known


def put_exprs(kind: int, exprs: tuple[Expr, ...]) -> bytes:
    """A list of expressions. WireError as put_expr()."""
    return nested(kind, *[nested(1, put_expr(e)) for e in exprs])


def get_exprs(data: bytes) -> tuple[Expr, ...]:
    """The payload of a list of expressions. WireError."""
    return tuple([get_expr(item) for _, item in iter_attrs(data)])
