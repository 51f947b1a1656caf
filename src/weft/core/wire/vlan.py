"""VLANs of bridge ports, as ``bridge vlan`` has them, and the table of a VRF.

linux/if_bridge.h (IFLA_BRIDGE_*, struct bridge_vlan_info), net/bridge/br_netlink.c (br_afspec()),
linux/if_link.h (IFLA_VRF_TABLE), drivers/net/vrf.c.
"""

from __future__ import annotations

from _struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    attr,
    attrs,
    get_u16,
    get_u32,
    iter_attrs,
    nested,
    split,
    u16,
    u32,
)
from weft.core.wire.link import IFLA_AF_SPEC, IFLA_EXT_MASK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from weft.core.wire.buffer import Message

VLANS = range(1, 4095)
RTEXT_FILTER_BRVLAN = 2
_AF_BRIDGE = 7
_BRIDGE_FLAGS = 0
_VLAN_INFO = 2
_SELF = 2
_PVID, _UNTAGGED, _BEGIN, _END = 2, 4, 8, 16
_VRF_TABLE = 1
_IFINFOMSG = Struct("=BxHiII")
_INFO = Struct("=HH")


class Vlan(Record):
    """A VLAN of a port. ``pvid``: what comes in untagged is in it. ``untagged``: what goes out has no tag."""

    vid: int
    pvid: bool = False
    untagged: bool = False


class PortVlans(Record):
    """A port's VLANs; ``itself``: of the bridge itself (``bridge vlan ... self``)."""

    ifindex: int
    vlans: tuple[Vlan, ...] = ()
    itself: bool = False


def _check(vid: int) -> int:
    if vid not in VLANS:
        raise WireError(f"VLAN {vid} is not from 1 to 4094")
    return vid


def put_vlans(port: PortVlans) -> bytes:
    """ifinfomsg and IFLA_AF_SPEC. WireError for a number that is no VLAN's."""
    found = [u16(_BRIDGE_FLAGS, _SELF)] if port.itself else []
    for vlan in port.vlans:
        flags = (_PVID if vlan.pvid else 0) | (_UNTAGGED if vlan.untagged else 0)
        found.append(attr(_VLAN_INFO, _INFO.pack(flags, _check(vlan.vid))))
    return _IFINFOMSG.pack(_AF_BRIDGE, 0, port.ifindex, 0, 0) + nested(IFLA_AF_SPEC, *found)


def _each(spec: bytes) -> Iterator[Vlan]:
    """Each VLAN by itself: the kernel tells those that follow one another as a range (RTEXT_FILTER_BRVLAN_
    COMPRESSED), if it is asked to. A range is no longer than there are VLANs, so nobody's bytes are many."""
    begin = 0
    for kind, data in iter_attrs(spec):
        if kind != _VLAN_INFO:
            continue
        if len(data) != _INFO.size:
            raise WireError(f"a VLAN in {len(data)} bytes, not 4")
        flags, vid = _INFO.unpack(data)
        _check(vid)
        if flags & _BEGIN:
            if begin:
                raise WireError("a range of VLANs within a range")
            begin = vid
            continue
        if bool(flags & _END) != bool(begin) or begin > vid:
            raise WireError(f"a range of VLANs that ends at {vid} and begins nowhere before")
        for one in range(begin or vid, vid + 1):
            yield Vlan(one, bool(flags & _PVID), bool(flags & _UNTAGGED))
        begin = 0


def get_vlans(data: bytes) -> PortVlans:
    """What a port or bridge has, of RTM_NEWLINK of family AF_BRIDGE, or what it is to have. WireError."""
    (_, _, ifindex, _, _), found = split(data, _IFINFOMSG)
    spec = found.get(IFLA_AF_SPEC, b"")
    flags = attrs(spec).get(_BRIDGE_FLAGS)
    itself = flags is not None and bool(get_u16(flags) & _SELF)
    return PortVlans(ifindex, tuple(_each(spec)), itself)


def set_vlans(port: PortVlans) -> Message:
    """Adds VLANs (``bridge vlan add``). A new pvid takes the place of the old one, whose VLAN stays."""
    return RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, put_vlans(port)


def del_vlans(port: PortVlans) -> Message:
    """Takes VLANs away (``bridge vlan del``); one that is not there is no error."""
    return RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, put_vlans(port)


def dump_vlans() -> Message:
    """Asks for the VLANs of all ports and bridges (``bridge vlan show``)."""
    head = _IFINFOMSG.pack(_AF_BRIDGE, 0, 0, 0, 0)
    return RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, head + u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN)


def put_vrf(table: int) -> bytes:
    """IFLA_INFO_DATA of a VRF: its routing table."""
    return u32(_VRF_TABLE, table)


def get_vrf(data: bytes) -> int:
    """The routing table of a VRF. WireError."""
    found = attrs(data).get(_VRF_TABLE)
    if found is None:
        raise WireError("a VRF without a table")
    return get_u32(found)
