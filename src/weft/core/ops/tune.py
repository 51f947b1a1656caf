"""A link's own settings inside a container: MAC, MTU, flags, queue length (ip-link(8))."""

from __future__ import annotations

from weft.core.model.names import mac_bytes
from weft.core.ops.base import Names, Op, inside, quote
from weft.core.wire import rtnetlink as rt
from weft.core.wire.buffer import u32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message

#: linux/if_link.h, linux/if.h
_IFLA_TXQLEN = 13
_IFF_ALLMULTI = 0x200


class LinkTune(Op):
    """Sets one of a link's settings. ``setting`` is address, mtu, promisc, allmulticast or txqueuelen,
    as ip-link(8) has them; ``old`` is what it was."""

    ifname: str
    setting: str
    value: str
    old: str
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        where = f" in {self.netns}" if self.netns else ""
        return f"set {self.setting} of {self.ifname} to {self.value}{where}"

    def shell(self) -> tuple[str, ...]:
        return (inside(self.netns, f"link set dev {quote(self.ifname)} {self.setting} {self.value}"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        link = rt.Link(ifname=self.ifname)
        if self.setting == "address":
            return (rt.set_link(link._replace(mac=mac_bytes(self.value))),)
        if self.setting == "mtu":
            return (rt.set_link(link._replace(mtu=int(self.value))),)
        if self.setting == "txqueuelen":
            kind, flags, payload = rt.set_link(link)
            return ((kind, flags, payload + u32(_IFLA_TXQLEN, int(self.value))),)
        flag = rt.IFF_PROMISC if self.setting == "promisc" else _IFF_ALLMULTI
        return (rt.set_link(link._replace(flags=flag if self.value == "on" else 0, change=flag)),)

    def undo(self) -> Op:
        return LinkTune(self.ifname, self.setting, self.old, self.value, self.netns)
