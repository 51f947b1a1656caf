"""Wires and switches: what they want, as operations in the order of making.

The mark is derived from (root, kind, where, names), and so are the MACs: the same words give the same.
"""

from __future__ import annotations

from weft.core.model.address import Address
from weft.core.model.link import plug_alias, switch_alias, wire_alias
from weft.core.model.names import mac_of, mark, object_id
from weft.core.model.namespace import Place
from weft.core.ops.address import AddressAdd
from weft.core.ops.link import BridgeAdd, LinkUp
from weft.core.ops.wire import LinkMark, LinkMaster, VethPairAdd
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Op

_MTU = 1500


class Joint(Record):
    """One end of a wire, decided: where, by which name, with which addresses. ``master``: its bridge."""

    place: Place
    ifname: str
    addresses: tuple[tuple[Address, int], ...] = ()
    mac: str = ""
    master: str = ""

    def __str__(self) -> str:
        return f"{self.place.shown}:{self.ifname}"


class Wire(Record):
    """Two ends, the host's first when it has one, and what marks both."""

    first: Joint
    second: Joint
    mark: str
    alias: str


def wire(root: str, one: Joint, other: Joint) -> Wire:
    """A wire between two namespaces."""
    a, b = (other, one) if not other.place.netns else (one, other)
    return Wire(
        a._replace(mac=mac_of(object_id(root, "wire", str(a), str(b)))),
        b._replace(mac=mac_of(object_id(root, "wire", str(b), str(a)))),
        mark(object_id(root, "wire", *sorted((str(a), str(b))))),
        wire_alias(root, str(a), str(b)),
    )


def plug(root: str, place: Place, switch: str, end: Joint) -> Wire:
    """A wire from a switch to a namespace; its port is named after its id."""
    words = (place.shown, switch, str(end))
    oid = object_id(root, "plug", *words)
    port = Joint(place, port_name(oid), (), mac_of(object_id(root, "port", *words)), switch)
    end = end._replace(mac=mac_of(oid))
    a, b = (end, port) if not end.place.netns else (port, end)
    return Wire(a, b, mark(oid), plug_alias(root, switch, str(end)))


def port_name(oid: str) -> str:
    """The name of a switch's port."""
    return "wp" + oid[:12]


def wire_wants(made: Wire) -> tuple[Op, ...]:
    """Both ends up with their addresses. The far end's steps stand between the birth and the near end's
    addresses: the hands look interfaces up before they send what goes to one namespace."""
    near, far = made.first, made.second
    birth = VethPairAdd(
        ifname=near.ifname,
        mac=near.mac,
        peer=far.ifname,
        peer_mac=far.mac,
        peer_netns=far.place.netns,
        mark=made.mark,
        alias=made.alias,
        netns=near.place.netns,
        master=near.master,
    )
    return (
        birth,
        LinkMark(far.ifname, made.mark, made.alias, far.place.netns),
        *([LinkMaster(far.ifname, far.master, far.place.netns)] if far.master else []),
        *addresses(far),
        LinkUp(far.ifname, far.place.netns),
        *addresses(near),
    )


def addresses(joint: Joint) -> list[Op]:
    """An end's addresses."""
    return [AddressAdd(joint.ifname, a, prefix, joint.place.netns) for a, prefix in joint.addresses]


def switch_wants(root: str, bridge: Joint, stp: bool) -> tuple[Op, ...]:
    """A bridge, up, with its addresses."""
    oid = object_id(root, "switch", bridge.place.shown, bridge.ifname)
    alias = switch_alias(root, bridge.ifname)
    where = bridge.place.netns
    return (
        BridgeAdd(bridge.ifname, mac_of(oid), _MTU, mark(oid), alias, stp, where),
        LinkUp(bridge.ifname, where),
        *addresses(bridge),
    )
