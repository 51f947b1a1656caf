"""Links that share another one's wire: macvlan and ipvlan (ip-link(8))."""

from __future__ import annotations

from weft.core.model.names import mac_bytes
from weft.core.ops.base import Names, Op, quote
from weft.core.ops.link import LinkDel
from weft.core.wire import rtnetlink as rt
from weft.core.wire.sublink import IPVLAN_MODES, MACVLAN_MODES, Sublink, put_sublink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message


class SublinkAdd(Op):
    """A macvlan or ipvlan on the host's link ``parent``, in its namespace from birth.

    ``mode`` is that of its kind. ``mac`` is empty for ipvlan and passthru, which have their parent's.
    ``broadcast_cutoff`` "" is the kernel's own choice. A LinkMark after it marks it, in its namespace.
    """

    link_kind: str
    ifname: str
    parent: str
    mode: str
    mac: str
    mtu: int
    peer_netns: str
    mark: str
    broadcast_cutoff: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"make the {self.link_kind} {self.peer_netns}:{self.ifname} on {self.parent}"

    def shell(self) -> tuple[str, ...]:
        mac = f" address {self.mac}" if self.mac else ""
        cutoff = f" bccutoff {self.broadcast_cutoff}" if self.broadcast_cutoff else ""
        return (
            f"ip link add link {quote(self.parent)} name {quote(self.ifname)} "
            f"netns {quote(self.peer_netns)} mtu {self.mtu}{mac} "
            f"type {self.link_kind} mode {self.mode}{cutoff}",
        )

    def encode(self, names: Names) -> tuple[Message, ...]:
        modes = MACVLAN_MODES if self.link_kind == "macvlan" else IPVLAN_MODES
        cutoff = int(self.broadcast_cutoff) if self.broadcast_cutoff else None
        link = rt.Link(
            ifname=self.ifname,
            mac=mac_bytes(self.mac) if self.mac else None,
            mtu=self.mtu,
            link=names.index(self.parent),
            netns_fd=names.netns(self.peer_netns),
            kind=self.link_kind,
            options=put_sublink(self.link_kind, Sublink(modes[self.mode], cutoff)),
        )
        return (rt.new_link(link),)

    def undo(self) -> Op:
        return LinkDel(self.ifname, self.mark, self.peer_netns, self.mac)
