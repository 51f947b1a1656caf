"""Neighbours, and the MAC tables of bridges: RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH (rtnetlink(7)).

One message means two things. Of the family inet or inet6 it says which MAC an address on a link has
(ip-neighbour(8), net/core/neighbour.c). Of the family AF_BRIDGE it says behind which port of a bridge a
MAC is (bridge(8), net/core/rtnetlink.c, net/bridge/br_fdb.c). Header: linux/neighbour.h. No dump takes
the id of another namespace: the socket must be of it.
"""

from __future__ import annotations

from struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    BYTES,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    U16,
    U32,
    attr,
    get_fields,
    get_u32,
    put_fields,
    split,
    u32,
)
from weft.core.wire.rtnetlink import AF_BRIDGE, AF_UNSPEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.wire.buffer import Column, Message

RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29
RTM_GETNEIGH = 30

NUD_NONE = 0x00
NUD_INCOMPLETE = 0x01
NUD_REACHABLE = 0x02
NUD_STALE = 0x04
NUD_DELAY = 0x08
NUD_PROBE = 0x10
NUD_FAILED = 0x20
NUD_NOARP = 0x40
NUD_PERMANENT = 0x80

NTF_USE = 0x01
NTF_SELF = 0x02
NTF_MASTER = 0x04
NTF_PROXY = 0x08
NTF_EXT_LEARNED = 0x10
NTF_OFFLOADED = 0x20
NTF_STICKY = 0x40
NTF_ROUTER = 0x80

#: In ``ext_flags``.
NTF_EXT_MANAGED = 0x01
NTF_EXT_LOCKED = 0x02

_NDA_IFINDEX = 8
_NDA_MASTER = 9
_NDA_FLAGS_EXT = 15

_NDMSG = Struct("=BxxxiHBB")
_CACHEINFO = Struct("=4I")


class CacheInfo(Record):
    """How long ago, in hundredths of a second, and how many hold the entry (nda_cacheinfo)."""

    confirmed: int
    used: int
    updated: int
    refcnt: int


def _put_cacheinfo(kind: int, info: CacheInfo) -> bytes:
    return attr(kind, _CACHEINFO.pack(*info._astuple()))


def _get_cacheinfo(data: bytes) -> CacheInfo:
    if len(data) < _CACHEINFO.size:
        raise WireError(f"a neighbour's cache information of {len(data)} bytes")
    return CacheInfo(*_CACHEINFO.unpack_from(data))


class Neighbour(Record):
    """An entry of a neighbour table or, when ``family`` is AF_BRIDGE, of a bridge's MAC table.

    ``dst`` is the address; in a MAC table a VXLAN's remote, else None. There ``ifindex`` is the port
    and ``master`` its bridge. Each link has a table of its own beside, of the addresses that it listens
    to: NTF_SELF says that it is meant, NTF_MASTER in a request that the bridge's is. ``state`` in a
    bridge's is NUD_PERMANENT for its own and its ports' MACs, NUD_NOARP for one set by hand, else learned.
    """

    ifindex: int
    family: int
    dst: bytes | None = None
    lladdr: bytes | None = None
    state: int = NUD_NONE
    flags: int = 0
    type: int = 0
    vlan: int | None = None
    master: int | None = None
    cacheinfo: CacheInfo | None = None
    ext_flags: int = 0


_NEIGHBOUR: tuple[Column, ...] = (
    (1, "dst", BYTES),
    (2, "lladdr", BYTES),
    (3, "cacheinfo", (_put_cacheinfo, _get_cacheinfo)),
    (5, "vlan", U16),
    (_NDA_MASTER, "master", U32),
)


def put_neighbour(entry: Neighbour) -> bytes:
    """ndmsg and attributes."""
    head = _NDMSG.pack(entry.family, entry.ifindex, entry.state, entry.flags, entry.type)
    found = head + put_fields(entry, _NEIGHBOUR)
    return found + u32(_NDA_FLAGS_EXT, entry.ext_flags) if entry.ext_flags else found


def get_neighbour(data: bytes) -> Neighbour:
    """The payload of RTM_NEWNEIGH or RTM_DELNEIGH. WireError."""
    (family, ifindex, state, flags, kind), found = split(data, _NDMSG)
    fields = get_fields(found, _NEIGHBOUR)
    if _NDA_FLAGS_EXT in found:
        fields["ext_flags"] = get_u32(found[_NDA_FLAGS_EXT])
    return Neighbour(ifindex, family, state=state, flags=flags, type=kind, **fields)


def new_neighbour(entry: Neighbour, flags: int = NLM_F_CREATE | NLM_F_EXCL) -> Message:
    """Adds an entry; it needs a ``state`` to be of use. In a bridge's MAC table NUD_PERMANENT makes frames
    to that MAC the bridge's own: what is behind a port is NUD_NOARP."""
    return RTM_NEWNEIGH, NLM_F_REQUEST | NLM_F_ACK | flags, put_neighbour(entry)


def del_neighbour(entry: Neighbour) -> Message:
    """Deletes an entry, found by ifindex and dst, or in a MAC table by port, MAC, VLAN and flags."""
    return RTM_DELNEIGH, NLM_F_REQUEST | NLM_F_ACK, put_neighbour(entry)


def get_neighbour_request(family: int, ifindex: int, dst: bytes) -> Message:
    """Asks for the neighbour of that address on that link."""
    return RTM_GETNEIGH, NLM_F_REQUEST, put_neighbour(Neighbour(ifindex, family, dst))


def get_fdb_request(bridge: int, mac: bytes, vlan: int | None = None) -> Message:
    """Asks a bridge for the entry of that MAC (``bridge fdb get``)."""
    asked = Neighbour(0, AF_BRIDGE, lladdr=mac, flags=NTF_MASTER, vlan=vlan, master=bridge)
    return RTM_GETNEIGH, NLM_F_REQUEST, put_neighbour(asked)


def dump_neighbours(family: int = AF_UNSPEC, ifindex: int | None = None) -> Message:
    """Asks for all neighbours of a family (AF_UNSPEC: inet and inet6), or for those on one link."""
    only = b"" if ifindex is None else u32(_NDA_IFINDEX, ifindex)
    return RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, _NDMSG.pack(family, 0, 0, 0, 0) + only


def dump_fdb(bridge: int | None = None) -> Message:
    """Asks for the MAC tables of all bridges and links, or for those of one bridge and its ports. Only
    a socket with NETLINK_GET_STRICT_CHK heeds ``bridge``; to another the kernel answers with all."""
    only = b"" if bridge is None else u32(_NDA_MASTER, bridge)
    return RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, _NDMSG.pack(AF_BRIDGE, 0, 0, 0, 0) + only
