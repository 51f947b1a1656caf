"""How fast a container may send and receive: token buckets, and the device that holds back what it sends (tc(8))."""

from __future__ import annotations

from weft.core.model.names import mac_bytes
from weft.core.ops.base import VANISHES, Final, Names, Op, quote
from weft.core.ops.link import LinkDel
from weft.core.wire import rtnetlink as rt
from weft.core.wire import traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message


class IfbAdd(Op):
    """An intermediate functional block: what comes in by another link goes out by it, and can be queued there
    (Documentation/networking: ifb)."""

    ifname: str
    mac: str
    mtu: int
    mark: str
    alias: str
    kind = "rtnl"

    def describe(self) -> str:
        return f"make the device {self.ifname}, that queues what a container sends"

    def shell(self) -> tuple[str, ...]:
        name = quote(self.ifname)
        return (
            f"ip link add name {name} up mtu {self.mtu} address {self.mac} type ifb",
            f"ip link property add dev {name} altname {self.mark}",
            f"ip link set dev {name} alias {quote(self.alias)} addrgenmode none",
        )

    def encode(self, names: Names) -> tuple[Message, ...]:
        link = rt.Link(
            flags=rt.IFF_UP,
            change=rt.IFF_UP,
            ifname=self.ifname,
            mac=mac_bytes(self.mac),
            mtu=self.mtu,
            kind="ifb",
        )
        more = rt.Link(ifname=self.ifname, alias=self.alias, addr_gen_mode=rt.IN6_ADDR_GEN_MODE_NONE)
        return rt.new_link(link), rt.add_altname(self.ifname, self.mark), rt.set_link(more)

    def undo(self) -> Op:
        return LinkDel(self.ifname, self.mark, mac=self.mac)


class Tbf(Op):
    """A token bucket filter: bytes a second, burst in bytes, and how many bytes may wait. It goes with the link."""

    ifname: str
    rate: int
    burst: int
    limit: int
    kind = "queue"

    def describe(self) -> str:
        return f"let {self.ifname} send {self.rate * 8} bit/s"

    def shell(self) -> tuple[str, ...]:
        words = f"tbf rate {self.rate}bps burst {self.burst} limit {self.limit}"  # tc's "bps" is bytes
        return (f"tc qdisc replace dev {quote(self.ifname)} root handle 1: {words}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (traffic.new_tbf(names.index(self.ifname), traffic.Shape(self.rate, self.burst, self.limit)),)

    def undo(self) -> Final:
        return VANISHES


class Redirect(Op):
    """Sends all that comes in by a link out by another. It goes with the link."""

    ifname: str
    to: str
    kind = "queue"

    def describe(self) -> str:
        return f"send what comes by {self.ifname} through {self.to}"

    def shell(self) -> tuple[str, ...]:
        name, action = quote(self.ifname), f"mirred egress redirect dev {quote(self.to)}"
        return (
            f"tc qdisc add dev {name} handle ffff: ingress",
            f"tc filter add dev {name} parent ffff: prio 1 protocol all u32 match u32 0 0 action {action}",
        )

    def encode(self, names: Names) -> tuple[Message, ...]:
        index, to = names.index(self.ifname), names.index(self.to)
        return traffic.new_ingress(index), traffic.new_redirect(index, to)

    def undo(self) -> Final:
        return VANISHES
