"""Links: bridges, veth pairs, up and down, deletion by mark or by group (ip-link(8))."""

from __future__ import annotations

from weft.core.model.names import mac_bytes
from weft.core.ops.base import VANISHES, Final, Names, Op, inside, quote
from weft.core.wire import rtnetlink as rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message

#: IN6_ADDR_GEN_MODE_NONE: no link-local address, hence no DAD, MLD or RS from a bridge port, which
#: makes 1000 containers on one bridge three times as cheap (linux/if_link.h).
_NO_IPV6_ADDRESS = 1


class BridgeAdd(Op):
    """A bridge, down, with its mark. Without STP there is no forward delay, so that ports work at once;
    with it the kernel's own delay of 15 s stays, as loops are what it is for."""

    ifname: str
    mac: str
    mtu: int
    mark: str
    alias: str
    stp: bool = False
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"make the bridge {self.ifname}" + (f" in {self.netns}" if self.netns else "")

    def shell(self) -> tuple[str, ...]:
        name, options = quote(self.ifname), "stp_state 1" if self.stp else "stp_state 0 forward_delay 0"
        return (
            inside(
                self.netns, f"link add name {name} mtu {self.mtu} address {self.mac} type bridge {options}"
            ),
            inside(self.netns, f"link property add dev {name} altname {self.mark}"),
            inside(self.netns, f"link set dev {name} alias {quote(self.alias)}"),
        )

    def encode(self, names: Names) -> tuple[Message, ...]:
        bridge = rt.Bridge(stp_state=1) if self.stp else rt.Bridge(stp_state=0, forward_delay=0)
        link = rt.Link(
            ifname=self.ifname, mac=mac_bytes(self.mac), mtu=self.mtu, kind="bridge", bridge=bridge
        )
        return (
            rt.new_link(link),
            rt.add_altname(self.ifname, self.mark),
            rt.set_link(rt.Link(ifname=self.ifname, alias=self.alias)),
        )

    def undo(self) -> Op:
        return LinkDel(self.ifname, self.mark, self.netns, self.mac)


class VethAdd(Op):
    """A veth pair: the host's end up, in a bridge and a group; the peer in its namespace from birth, or,
    without ``peer_netns``, down in the host's until somebody else moves it.

    One queue each, since veth otherwise allocates one per possible CPU and waits for an RCU grace period
    to shrink again. Hairpin is set because with bridge-nf-call-iptables a container that dials its own
    published port is bridged back through its own port.
    """

    ifname: str
    mac: str
    mtu: int
    bridge: str
    group: int
    peer_netns: str
    peer: str
    peer_mac: str
    mark: str
    alias: str
    isolated: bool = False
    kind = "rtnl"

    def describe(self) -> str:
        place = f"{self.peer_netns}:" if self.peer_netns else ""
        return f"plug {place}{self.peer} into {self.bridge} by {self.ifname}"

    def shell(self) -> tuple[str, ...]:
        name, queues = quote(self.ifname), "numtxqueues 1 numrxqueues 1"
        place = f" netns {quote(self.peer_netns)}" if self.peer_netns else ""
        return (
            f"ip link add name {name} up mtu {self.mtu} address {self.mac} {queues} "
            f"master {quote(self.bridge)} group {self.group} "
            f"type veth peer name {quote(self.peer)}{place} "
            f"mtu {self.mtu} address {self.peer_mac} {queues}",
            f"ip link property add dev {name} altname {self.mark}",
            f"ip link set dev {name} alias {quote(self.alias)} addrgenmode none "
            f"type bridge_slave hairpin on{' isolated on' if self.isolated else ''}",
        )

    def encode(self, names: Names) -> tuple[Message, ...]:
        peer = rt.Link(
            ifname=self.peer,
            mac=mac_bytes(self.peer_mac),
            mtu=self.mtu,
            num_tx_queues=1,
            num_rx_queues=1,
            netns_fd=names.netns(self.peer_netns) if self.peer_netns else None,
        )
        link = rt.Link(
            flags=rt.IFF_UP,
            change=rt.IFF_UP,
            ifname=self.ifname,
            mac=mac_bytes(self.mac),
            mtu=self.mtu,
            master=names.index(self.bridge),
            group=self.group,
            num_tx_queues=1,
            num_rx_queues=1,
            kind="veth",
            peer=peer,
        )
        port = rt.Link(
            ifname=self.ifname,
            alias=self.alias,
            addr_gen_mode=_NO_IPV6_ADDRESS,
            port=rt.Port(hairpin=1, isolated=1 if self.isolated else None),
        )
        return rt.new_link(link), rt.add_altname(self.ifname, self.mark), rt.set_link(port)

    def undo(self) -> Op:
        return LinkDel(self.ifname, self.mark, mac=self.mac)


class LinkUp(Op):
    """Sets a link up."""

    ifname: str
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"set {self.ifname} up" + (f" in {self.netns}" if self.netns else "")

    def shell(self) -> tuple[str, ...]:
        return (inside(self.netns, f"link set dev {quote(self.ifname)} up"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.set_link(rt.Link(ifname=self.ifname, flags=rt.IFF_UP, change=rt.IFF_UP)),)

    def undo(self) -> Final:
        return VANISHES


class PortIsolate(Op):
    """Keeps a bridge port from talking to the other isolated ports, or lets it."""

    ifname: str
    isolated: bool
    kind = "rtnl"

    def describe(self) -> str:
        return f"{'isolate' if self.isolated else 'no longer isolate'} the port {self.ifname}"

    def shell(self) -> tuple[str, ...]:
        word = "on" if self.isolated else "off"
        return (f"ip link set dev {quote(self.ifname)} type bridge_slave isolated {word}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.set_link(rt.Link(ifname=self.ifname, port=rt.Port(isolated=int(self.isolated)))),)

    def undo(self) -> Op:
        return PortIsolate(self.ifname, not self.isolated)


class Replug(Op):
    """Makes a cable of weft's, which lost its bridge or its flags, a port again as it was from birth."""

    ifname: str
    bridge: str
    isolated: bool = False
    hairpin: bool = True
    kind = "rtnl"

    def describe(self) -> str:
        return f"plug {self.ifname} into {self.bridge} again"

    def shell(self) -> tuple[str, ...]:
        name, hairpin = quote(self.ifname), f"hairpin {'on' if self.hairpin else 'off'}"
        return (
            f"ip link set dev {name} master {quote(self.bridge)}",
            f"ip link set dev {name} type bridge_slave {hairpin}{' isolated on' if self.isolated else ''}",
        )

    def encode(self, names: Names) -> tuple[Message, ...]:
        port = rt.Port(hairpin=int(self.hairpin), isolated=1 if self.isolated else None)
        return (
            rt.set_link(rt.Link(ifname=self.ifname, master=names.index(self.bridge))),
            rt.set_link(rt.Link(ifname=self.ifname, port=port)),
        )

    def undo(self) -> Final:
        return Final("a port without its bridge is nobody's wish")


class LinkGroup(Op):
    """Puts a link into a group, by which many are deleted at once."""

    ifname: str
    group: int
    kind = "rtnl"

    def describe(self) -> str:
        return f"put {self.ifname} into group {self.group}"

    def shell(self) -> tuple[str, ...]:
        return (f"ip link set dev {quote(self.ifname)} group {self.group}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.set_link(rt.Link(ifname=self.ifname, group=self.group)),)

    def undo(self) -> Final:
        return VANISHES


class LinkMtu(Op):
    """Sets a link's MTU. ``old`` is what it had."""

    ifname: str
    mtu: int
    old: int
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"set the MTU of {self.ifname} to {self.mtu}" + (f" in {self.netns}" if self.netns else "")

    def shell(self) -> tuple[str, ...]:
        return (inside(self.netns, f"link set dev {quote(self.ifname)} mtu {self.mtu}"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.set_link(rt.Link(ifname=self.ifname, mtu=self.mtu)),)

    def undo(self) -> Op:
        return LinkMtu(self.ifname, self.old, self.mtu, self.netns)


class AddrGenNone(Op):
    """The kernel makes up no link-local address for a link: one that it makes is probed for 1.5 s (DAD)."""

    ifname: str
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"no addresses of the kernel's own on {self.ifname}"

    def shell(self) -> tuple[str, ...]:
        return (inside(self.netns, f"link set dev {quote(self.ifname)} addrgenmode none"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.set_link(rt.Link(ifname=self.ifname, addr_gen_mode=_NO_IPV6_ADDRESS)),)

    def undo(self) -> Final:
        return VANISHES


class BridgeAdopt(Op):
    """Marks a bridge that somebody else made as used by a network; it is never deleted."""

    ifname: str
    mark: str
    kind = "rtnl"

    def describe(self) -> str:
        return f"use the bridge {self.ifname}"

    def shell(self) -> tuple[str, ...]:
        return (f"ip link property add dev {quote(self.ifname)} altname {self.mark}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.add_altname(self.ifname, self.mark),)

    def undo(self) -> Op:
        return BridgeRelease(self.ifname, self.mark)


class BridgeRelease(Op):
    """Takes weft's mark off a bridge that was somebody else's all along."""

    ifname: str
    mark: str
    kind = "rtnl"

    def describe(self) -> str:
        return f"leave the bridge {self.ifname} as it was"

    def shell(self) -> tuple[str, ...]:
        return (f"ip link property del dev {self.mark} altname {self.mark}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.del_altname(self.mark, self.mark),)

    def undo(self) -> Op:
        return BridgeAdopt(self.ifname, self.mark)


class LinkDel(Op):
    """Deletes a link by its mark, so that a foreign link of the same name is never touched.

    ``mac`` is what it had from birth: whoever was killed between a link's birth and its mark left one without
    any altname, which is known by that.
    """

    ifname: str
    mark: str
    netns: str = ""
    mac: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"delete the link {self.ifname}" + (f" in {self.netns}" if self.netns else "")

    def shell(self) -> tuple[str, ...]:
        # Gone meanwhile is as good: its namespace may have been dying.
        return (inside(self.netns, f"link del dev {self.mark} || true"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.del_link(name=self.mark),)

    def undo(self) -> Final:
        return Final("a deleted link is gone")


class LinkGroupDel(Op):
    """Deletes all links of a group in one go: 0.3 ms each where one by one takes 20 ms."""

    group: int
    kind = "rtnl"

    def describe(self) -> str:
        return f"delete all links of group {self.group}"

    def shell(self) -> tuple[str, ...]:
        # The kernel refuses a group without links.
        return (f"ip link del group {self.group} 2>/dev/null || true",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.del_group(self.group),)

    def undo(self) -> Final:
        return Final("deleted links are gone")
