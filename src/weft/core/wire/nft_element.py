"""Elements of nf_tables sets and maps, and the types of their keys.

Types are nft's own (include/datatype.h): the kernel keeps the number unread, and ``nft list`` shows
keys by it. A concatenation packs the types into one number, six bits each, and pads each part to
four bytes.
"""

from __future__ import annotations

from _struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    MAX_PAYLOAD,
    attr,
    attrs,
    be32,
    get_be32,
    get_string,
    iter_attrs,
    nested,
    split,
    string,
)
from weft.core.wire.nft_data import Verdict, get_data, put_data
from weft.core.wire.nft_udata import get_comment, put_comment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NFT_SET_ELEM_INTERVAL_END = 1
NFT_SET_ELEM_CATCHALL = 2
NFT_DATA_VERDICT = 0xFFFFFF00

NFGENMSG = Struct("=BB2s")
_LIST_ELEM = 1
_KEY = 1
_DATA = 2
_FLAGS = 3
_USERDATA = 6
_KEY_END = 10
_LIST_TABLE = 1
_LIST_SET = 2
_LIST_ELEMENTS = 3

#: nft's data types by name: (number, length in bytes).
DATATYPES = {
    "verdict": (NFT_DATA_VERDICT, 0),
    # of raw payload: here an IPv6 address
    "integer": (4, 16),
    "nf_proto": (2, 1),
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "ether_addr": (9, 6),
    "ether_type": (10, 2),
    "inet_proto": (12, 1),
    "inet_service": (13, 2),
    "icmp_type": (14, 1),
    "mark": (19, 4),
    "iface_index": (20, 4),
    "iface_type": (21, 2),
    "uid": (24, 4),
    "gid": (25, 4),
    "icmpv6_type": (29, 1),
    "pkt_type": (31, 1),
    "devgroup": (35, 4),
    "fib_addrtype": (38, 4),
    "ifname": (41, 16),
}
_HOST_ORDER = frozenset((19, 20, 21, 24, 25, 31, 35, 38, 41))
_BIG_ENDIAN = frozenset((7, 8, 9, 10, 13))


def datatype(name: str) -> tuple[int, int]:
    """The number and the length of one of nft's types. WireError when it is not known here."""
    if name not in DATATYPES:
        raise WireError(f"{name!r} is not an nft data type known here")
    return DATATYPES[name]


def concat_type(*names: str) -> tuple[int, int]:
    """The number and the length of one type or of their concatenation. WireError for unknown types
    and for a concatenation with verdicts."""
    if len(names) == 1:
        return datatype(names[0])
    number = total = 0
    for name in names:
        one, size = datatype(name)
        if one > 63:
            raise WireError(f"{name} cannot be part of a concatenation")
        number, total = number << 6 | one, total + (size + 3 & ~3)
    return number, total


def field_lengths(*names: str) -> tuple[int, ...]:
    """What Set.concat holds for an interval set of a concatenation: each part's length."""
    return tuple([datatype(name)[1] for name in names])


def pack_key(names: Sequence[str], values: Sequence[bytes]) -> bytes:
    """One key or datum from its parts, big endian where the protocol is, interface names unpadded.

    A part that stands alone is not padded to four bytes. WireError for a part of another length.
    """
    if len(names) != len(values):
        raise WireError(f"{len(values)} values for the {len(names)} parts of a key")
    parts = []
    for name, value in zip(names, values, strict=True):
        size = datatype(name)[1]
        if name == "ifname" and len(value) < size:
            value = value.ljust(size, b"\0")
        if len(value) != size:
            raise WireError(f"{len(value)} bytes for {name}, which has {size}")
        parts.append(value if len(names) == 1 else value + bytes(-size & 3))
    return b"".join(parts)


def byteorder_of(number: int) -> int:
    """What nft says in a set's userdata: 1 for host order, 2 for big endian, 0 for concatenations."""
    return 1 if number in _HOST_ORDER else 2 if number in _BIG_ENDIAN else 0


class Element(Record):
    """An element of a set; of a map when it has data. The catch-all element's key is empty.

    Without NFT_SET_CONCAT an interval is two elements, the second with NFT_SET_ELEM_INTERVAL_END and
    the first key past it; with it, one element with ``key_end``.
    """

    key: bytes
    key_end: bytes | None = None
    data: bytes | Verdict | None = None
    flags: int = 0
    comment: str | None = None


class Elements(Record):
    """Elements and the set that they are in."""

    family: int
    table: str
    set: str
    elements: tuple[Element, ...] = ()


def put_element(element: Element) -> bytes:
    """The payload of one NFTA_LIST_ELEM. WireError for a comment that does not fit."""
    found = put_data(_KEY, element.key) if element.key else b""
    if element.key_end is not None:
        found += put_data(_KEY_END, element.key_end)
    if element.data is not None:
        found += put_data(_DATA, element.data)
    if element.flags:
        found += be32(_FLAGS, element.flags)
    if element.comment is not None:
        found += attr(_USERDATA, put_comment(element.comment))
    return found


def _get_key(data: bytes) -> bytes:
    key = get_data(data)
    if isinstance(key, Verdict):
        raise WireError("an nft verdict in place of a key")
    return key


def get_element(data: bytes) -> Element:
    """The payload of one NFTA_LIST_ELEM. WireError."""
    found = attrs(data)
    return Element(
        _get_key(found[_KEY]) if _KEY in found else b"",
        _get_key(found[_KEY_END]) if _KEY_END in found else None,
        get_data(found[_DATA]) if _DATA in found else None,
        get_be32(found[_FLAGS]) if _FLAGS in found else 0,
        get_comment(found.get(_USERDATA)),
    )


def genmsg(family: int) -> bytes:
    """nfgenmsg: the family, version 0, no resource id."""
    return bytes((family, 0, 0, 0))


def _head(family: int, table: str, name: str) -> bytes:
    return genmsg(family) + string(_LIST_TABLE, table) + string(_LIST_SET, name)


def put_elements(elements: Elements) -> bytes:
    """All of them in one payload. WireError when they are too many: see split_elements()."""
    items = [nested(_LIST_ELEM, put_element(e)) for e in elements.elements]
    head = _head(elements.family, elements.table, elements.set)
    return head + nested(_LIST_ELEMENTS, *items) if items else head


def get_elements(data: bytes) -> Elements:
    """The payload of NFT_MSG_NEWSETELEM or NFT_MSG_DELSETELEM. WireError."""
    (family, _, _), found = split(data, NFGENMSG)
    items = [get_element(item) for _, item in iter_attrs(found.get(_LIST_ELEMENTS, b""))]
    table, name = found.get(_LIST_TABLE, b""), found.get(_LIST_SET, b"")
    return Elements(family, get_string(table), get_string(name), tuple(items))


def split_elements(family: int, table: str, name: str, elements: Iterable[Element]) -> Iterator[bytes]:
    """As many payloads as it takes: nla_len is 16 bits wide. WireError for what does not fit."""
    head = _head(family, table, name)
    items: list[bytes] = []
    size = 0
    for element in elements:
        item = nested(_LIST_ELEM, put_element(element))
        if size + len(item) > MAX_PAYLOAD:
            yield head + nested(_LIST_ELEMENTS, *items)
            items, size = [], 0
        items.append(item)
        size += len(item)
    if items:
        yield head + nested(_LIST_ELEMENTS, *items)
