"""VLANs of bridges and their ports (bridge(8)), and bridges in a VRF (ip-vrf(8))."""

from __future__ import annotations

from weft.core.ops.base import VANISHES, Final, Names, Op, quote
from weft.core.wire import rtnetlink as rt
from weft.core.wire.vlan import PortVlans, Vlan, del_vlans, set_vlans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message


class BridgeVlan(Op):
    """A bridge of weft's own is VLAN-aware, and all that is plugged into it, itself too, is in one VLAN:
    the default pvid, so that no port is ever in another one."""

    ifname: str
    vlan: int
    kind = "rtnl"
    later = True

    def describe(self) -> str:
        return f"make VLAN {self.vlan} that of the bridge {self.ifname}"

    def shell(self) -> tuple[str, ...]:
        options = f"vlan_filtering 1 vlan_default_pvid {self.vlan}"
        return (f"ip link set dev {quote(self.ifname)} type bridge {options}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        bridge = rt.Bridge(vlan_filtering=1, default_pvid=self.vlan)
        return (rt.set_link(rt.Link(ifname=self.ifname, kind="bridge", bridge=bridge)),)

    def undo(self) -> Final:
        return VANISHES


class VlanFilter(Op):
    """Makes somebody's bridge VLAN-aware, or no longer: its ports are in VLAN 1 until told otherwise."""

    ifname: str
    on: bool
    kind = "rtnl"
    later = True

    def describe(self) -> str:
        return f"make the bridge {self.ifname} {'VLAN-aware' if self.on else 'ignore VLANs again'}"

    def shell(self) -> tuple[str, ...]:
        return (f"ip link set dev {quote(self.ifname)} type bridge vlan_filtering {int(self.on)}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        bridge = rt.Bridge(vlan_filtering=int(self.on))
        return (rt.set_link(rt.Link(ifname=self.ifname, kind="bridge", bridge=bridge)),)

    def undo(self) -> Op:
        return VlanFilter(self.ifname, not self.on)


class PortVlan(Op):
    """Puts a port into a VLAN, untagged, instead of the VLAN ``old``; ``itself``: the bridge is the port.
    ``keep``: what is in ``old`` still goes out there."""

    ifname: str
    vlan: int
    old: int = 1
    itself: bool = False
    keep: bool = False
    kind = "rtnl"
    later = True

    @property
    def _left(self) -> bool:
        return not self.keep and self.old != self.vlan

    def describe(self) -> str:
        return f"put {self.ifname} into VLAN {self.vlan}"

    def shell(self) -> tuple[str, ...]:
        name, which = quote(self.ifname), " self" if self.itself else ""
        made = f"bridge vlan add dev {name} vid {self.vlan} pvid untagged{which}"
        return (made, f"bridge vlan del dev {name} vid {self.old}{which}") if self._left else (made,)

    def encode(self, names: Names) -> tuple[Message, ...]:
        index = names.index(self.ifname)
        made = set_vlans(PortVlans(index, (Vlan(self.vlan, True, True),), self.itself))
        gone = del_vlans(PortVlans(index, (Vlan(self.old),), self.itself))
        return (made, gone) if self._left else (made,)

    def undo(self) -> Op | Final:
        return PortVlan(self.ifname, self.old, self.vlan, True) if self.itself else VANISHES


class VrfJoin(Op):
    """Puts a bridge of weft's own into a VRF: its addresses' routes are in that one's table."""

    ifname: str
    vrf: str
    kind = "rtnl"
    later = True

    def describe(self) -> str:
        return f"put the bridge {self.ifname} into the VRF {self.vrf}"

    def shell(self) -> tuple[str, ...]:
        return (f"ip link set dev {quote(self.ifname)} master {quote(self.vrf)}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.set_link(rt.Link(ifname=self.ifname, master=names.index(self.vrf))),)

    def undo(self) -> Final:
        return VANISHES
