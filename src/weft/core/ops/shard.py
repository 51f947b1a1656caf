"""The cable between two bridges of one network (veth(4)): a bridge takes 1023 ports and no more."""

from __future__ import annotations

from weft.core.model.names import mac_bytes
from weft.core.ops.base import Names, Op, quote
from weft.core.ops.link import LinkDel
from weft.core.wire import rtnetlink as rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message


class JointAdd(Op):
    """A veth pair with an end in each of two bridges of the host.

    ``isolated``: members of the network cannot talk to each other. Then the end nearer the gateway is
    isolated like a member's port: from further bridges only the host is reached. ``hairpin``: the same end
    sends back what the host translated (bridge-nf-call-iptables); the chain ``joint`` lets nothing else by.
    """

    ifname: str
    peer: str
    mac: str
    peer_mac: str
    bridge: str
    peer_bridge: str
    mtu: int
    group: int
    peer_group: int
    mark: str
    isolated: bool = False
    hairpin: bool = False
    kind = "rtnl"

    def describe(self) -> str:
        return f"join {self.bridge} and {self.peer_bridge} by {self.ifname}"

    def shell(self) -> tuple[str, ...]:
        name, peer = quote(self.ifname), quote(self.peer)
        queues, off = "numtxqueues 1 numrxqueues 1", "addrgenmode none"
        ends = (
            f"ip link add name {name} mtu {self.mtu} address {self.mac} {queues} group {self.group} "
            f"type veth peer name {peer} mtu {self.mtu} address {self.peer_mac} {queues}",
            f"ip link property add dev {name} altname {self.mark}",
            f"ip link set dev {peer} group {self.peer_group} {off}",
            f"ip link set dev {name} {off} master {quote(self.bridge)} up",
            f"ip link set dev {peer} master {quote(self.peer_bridge)} up",
        )
        flags = f"{' hairpin on' if self.hairpin else ''}{' isolated on' if self.isolated else ''}"
        return (*ends, f"ip link set dev {name} type bridge_slave{flags}") if flags else ends

    def encode(self, names: Names) -> tuple[Message, ...]:
        ends: list[rt.Link] = []
        for ifname, mac in ((self.ifname, self.mac), (self.peer, self.peer_mac)):
            ends.append(
                rt.Link(ifname=ifname, mac=mac_bytes(mac), mtu=self.mtu, num_tx_queues=1, num_rx_queues=1)
            )
        pair = ends[0]._replace(kind="veth", peer=ends[1], group=self.group)
        up = rt.Link(flags=rt.IFF_UP, change=rt.IFF_UP, addr_gen_mode=1)
        first = up._replace(ifname=self.ifname, master=names.index(self.bridge))
        second = up._replace(ifname=self.peer, master=names.index(self.peer_bridge), group=self.peer_group)
        flags = rt.Port(hairpin=1 if self.hairpin else None, isolated=1 if self.isolated else None)
        port = rt.Link(ifname=self.ifname, port=flags)
        return (
            rt.new_link(pair),
            rt.add_altname(self.ifname, self.mark),
            rt.set_link(second),
            rt.set_link(first),
            *([rt.set_link(port)] if flags != rt.Port() else []),
        )

    def undo(self) -> Op:
        return LinkDel(self.ifname, self.mark, mac=self.mac)
