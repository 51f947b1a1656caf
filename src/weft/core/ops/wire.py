"""Wires: veth pairs between any namespaces, their marks, and links removed by name (ip-link(8), veth(4))."""

from __future__ import annotations

from weft.core.model.names import mac_bytes
from weft.core.ops.base import VANISHES, Final, Names, Op, inside, quote
from weft.core.ops.link import LinkDel
from weft.core.wire import rtnetlink as rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message

#: The link group of what is about to be deleted. No network's (core/model/network.PORT_GROUP).
_DOOMED = 0x7764FFFF


class VethPairAdd(Op):
    """A veth pair between two namespaces: the first end up, in a bridge if ``master`` is given, the peer
    born in its own namespace under its final name. Both carry the mark.

    ``peer_netns`` is never the host: an end there comes first.
    """

    ifname: str
    mac: str
    peer: str
    peer_mac: str
    peer_netns: str
    mark: str
    alias: str
    netns: str = ""
    master: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        first = f"{self.netns}:{self.ifname}" if self.netns else self.ifname
        port = f" in {self.master}" if self.master else ""
        return f"lay a wire from {first}{port} to {self.peer_netns}:{self.peer}"

    def shell(self) -> tuple[str, ...]:
        name, queues = quote(self.ifname), "numtxqueues 1 numrxqueues 1"
        master = f" master {quote(self.master)}" if self.master else ""
        return (
            inside(
                self.netns,
                f"link add name {name} up address {self.mac} {queues}{master} "
                f"type veth peer name {quote(self.peer)} netns {quote(self.peer_netns)} "
                f"address {self.peer_mac} {queues}",
            ),
            inside(self.netns, f"link property add dev {name} altname {self.mark}"),
            inside(self.netns, f"link set dev {name} alias {quote(self.alias)}"),
        )

    def encode(self, names: Names) -> tuple[Message, ...]:
        peer = rt.Link(
            ifname=self.peer,
            mac=mac_bytes(self.peer_mac),
            num_tx_queues=1,
            num_rx_queues=1,
            netns_fd=names.netns(self.peer_netns),
        )
        link = rt.Link(
            flags=rt.IFF_UP,
            change=rt.IFF_UP,
            ifname=self.ifname,
            mac=mac_bytes(self.mac),
            master=names.index(self.master) if self.master else None,
            num_tx_queues=1,
            num_rx_queues=1,
            kind="veth",
            peer=peer,
        )
        return (
            rt.new_link(link),
            rt.add_altname(self.ifname, self.mark),
            rt.set_link(rt.Link(ifname=self.ifname, alias=self.alias)),
        )

    def undo(self) -> Op:
        return LinkDel(self.ifname, self.mark, self.netns, self.mac)


class LinkMark(Op):
    """Marks the far end of a wire. It goes with the wire."""

    ifname: str
    mark: str
    alias: str
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"mark {self.ifname}" + (f" in {self.netns}" if self.netns else "")

    def shell(self) -> tuple[str, ...]:
        name = quote(self.ifname)
        return (
            inside(self.netns, f"link property add dev {name} altname {self.mark}"),
            inside(self.netns, f"link set dev {name} alias {quote(self.alias)}"),
        )

    def encode(self, names: Names) -> tuple[Message, ...]:
        alias = rt.set_link(rt.Link(ifname=self.ifname, alias=self.alias))
        return rt.add_altname(self.ifname, self.mark), alias

    def undo(self) -> Final:
        return VANISHES


class LinkMaster(Op):
    """Makes a link a port of a bridge."""

    ifname: str
    master: str
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"plug {self.ifname} into {self.master}" + (f" in {self.netns}" if self.netns else "")

    def shell(self) -> tuple[str, ...]:
        return (inside(self.netns, f"link set dev {quote(self.ifname)} master {quote(self.master)}"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.set_link(rt.Link(ifname=self.ifname, master=names.index(self.master))),)

    def undo(self) -> Final:
        return VANISHES


class LinksDel(Op):
    """Deletes links by their marks, all at once: they are brought into one group first, and that is deleted.

    One by one the kernel waits 20 ms for each. What else may be in that group is on its way out too.
    """

    ifnames: tuple[str, ...]
    marks: tuple[str, ...]
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        where = f" in {self.netns}" if self.netns else ""
        return f"delete the links {', '.join(self.ifnames)}{where}"

    def shell(self) -> tuple[str, ...]:
        moves = [inside(self.netns, f"link set dev {mark} group {_DOOMED} || true") for mark in self.marks]
        return (*moves, inside(self.netns, f"link del group {_DOOMED} 2>/dev/null || true"))

    def encode(self, names: Names) -> tuple[Message, ...]:
        moves = [rt.set_link(rt.Link(ifname=mark, group=_DOOMED)) for mark in self.marks]
        return (*moves, rt.del_group(_DOOMED))

    def undo(self) -> Final:
        return Final("deleted links are gone")


class LinkRemove(Op):
    """Deletes a link by its name, whoever made it and whatever is in its name: a user asked for just that."""

    ifname: str
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        where = f" in {self.netns}" if self.netns else ""
        return f"remove the link {self.ifname if self.ifname.isprintable() else ascii(self.ifname)}{where}"

    def shell(self) -> tuple[str, ...]:
        return (inside(self.netns, f"link del dev {quote(self.ifname)}"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.del_link(name=self.ifname),)

    def undo(self) -> Final:
        return Final("a deleted link is gone")
