"""How fast a container may send and receive: token buckets, and the device that holds back what it sends
(tc(8))."""

from __future__ import annotations

from weft.core.model.names import mac_bytes, mac_of
from weft.core.model.network import EGRESS, INGRESS
from weft.core.ops.base import VANISHES, Final, Names, Op, quote
from weft.core.ops.link import LinkDel
from weft.core.wire import rtnetlink as rt
from weft.core.wire import traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint, Network
    from weft.core.ops.base import Message

#: How long a packet may wait for its tokens, in milliseconds (plugins/meta/bandwidth of
#: containernetworking/plugins).
_LATENCY = 25
#: What a queue may be named for: linux/pkt_sched.h has 32 bits for bytes.
_MOST = (1 << 32) - 1


def shaping(network: Network, endpoint: Endpoint) -> tuple[Op, ...]:
    """What holds a container to its rates: what it receives is queued where the host sends it, what it sends
    on a device of its own."""
    found: list[Op] = []
    if endpoint.option(INGRESS):
        found.append(_bucket(endpoint.host_ifname, endpoint.option(INGRESS)))
    if endpoint.option(EGRESS):
        name, alias = queue_ifname(endpoint), f"weft root={network.root} queue={endpoint.container}"
        found.append(IfbAdd(name, mac_of(endpoint.id), network.mtu, queue_mark(endpoint), alias))
        found += [_bucket(name, endpoint.option(EGRESS)), Redirect(endpoint.host_ifname, name)]
    return tuple(found)


def _bucket(ifname: str, text: str) -> Tbf:
    rate, _, burst = text.partition(":")
    wait = int(rate) * _LATENCY // 1000
    return Tbf(ifname, int(rate), int(burst), min(wait + int(burst), _MOST))


def unshaped(endpoint: Endpoint) -> tuple[LinkDel, ...]:
    """What goes by itself when a container goes: nothing but the device that queues what it sends."""
    if not endpoint.option(EGRESS):
        return ()
    return (LinkDel(queue_ifname(endpoint), queue_mark(endpoint), mac=mac_of(endpoint.id)),)


def unqueued(endpoint: Endpoint) -> tuple[Op, ...]:
    """What takes a container's rates off its cable, which stays."""
    found: list[Op] = [TbfDel(endpoint.host_ifname)] if endpoint.option(INGRESS) else []
    return (*found, *([IngressDel(endpoint.host_ifname)] if endpoint.option(EGRESS) else []))


def queue_ifname(endpoint: Endpoint) -> str:
    """The device that queues what a container sends."""
    return "wq" + endpoint.id[:12]


def queue_mark(endpoint: Endpoint) -> str:
    """Its altname."""
    return f"{endpoint.mark}:ifb"


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
    """A token bucket filter: bytes a second, burst in bytes, and how many bytes may wait. It goes with the
    link."""

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


class TbfDel(Op):
    """Takes a link's root discipline away: it has the kernel's own again."""

    ifname: str
    kind = "queue"

    def describe(self) -> str:
        return f"let {self.ifname} send as fast as it can"

    def shell(self) -> tuple[str, ...]:
        return (f"tc qdisc del dev {quote(self.ifname)} root 2>/dev/null || true",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (traffic.del_root(names.index(self.ifname)),)

    def undo(self) -> Final:
        return Final("what it was is not known")


class IngressDel(Op):
    """Takes away what is done with all that comes in by a link."""

    ifname: str
    kind = "queue"

    def describe(self) -> str:
        return f"leave what comes by {self.ifname} alone"

    def shell(self) -> tuple[str, ...]:
        return (f"tc qdisc del dev {quote(self.ifname)} ingress 2>/dev/null || true",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (traffic.del_ingress(names.index(self.ifname)),)

    def undo(self) -> Final:
        return Final("what it was is not known")


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
