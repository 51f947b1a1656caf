"""Routes (ip-route(8)): the default route of a container, the prohibit routes between networks."""

from __future__ import annotations

from weft.core.model.address import Address, Subnet
from weft.core.ops.base import VANISHES, Final, Names, Op, inside, quote
from weft.core.wire import rtnetlink as rt
from weft.core.wire.buffer import NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message

#: RTPROT_BOOT: what ``ip route add`` itself writes.
BOOT = 3


def family(address: Address) -> int:
    """AF_INET or AF_INET6."""
    return 2 if address.version == 4 else 10


def metric(number: int) -> str:
    """As ``ip route`` takes it."""
    return f" metric {number}" if number else ""


class DefaultRoute(Op):
    """The default route of a container, by its gateway. It vanishes with the namespace. ``metric`` 0 is the
    kernel's own choice. ``beside``: others of the same metric may be there, and are taken first."""

    gateway: Address
    ifname: str
    netns: str
    metric: int = 0
    beside: bool = False
    kind = "rtnl"

    def describe(self) -> str:
        return f"route {self.netns} by {self.gateway}"

    def shell(self) -> tuple[str, ...]:
        six = "-6 " if self.gateway.version == 6 else ""
        verb = "append" if self.beside else "add"
        words = f"{six}route {verb} default via {self.gateway} dev {quote(self.ifname)}{metric(self.metric)}"
        return (inside(self.netns, words),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        route = rt.Route(
            family=family(self.gateway),
            gateway=self.gateway.packed,
            oif=names.index(self.ifname),
            protocol=BOOT,
            scope=rt.RT_SCOPE_UNIVERSE,
            type=rt.RTN_UNICAST,
            priority=self.metric or None,
        )
        return (rt.new_route(route, NLM_F_CREATE | (NLM_F_APPEND if self.beside else NLM_F_EXCL)),)

    def undo(self) -> Final:
        return VANISHES


class ProhibitAdd(Op):
    """Packets that are routed by this table to this subnet are refused (ICMP: administratively)."""

    subnet: Subnet
    table: int
    protocol: int
    kind = "rtnl"

    def describe(self) -> str:
        return f"refuse routes to {self.subnet} from other networks (table {self.table})"

    def shell(self) -> tuple[str, ...]:
        return (f"ip route add prohibit {self.subnet} table {self.table} proto {self.protocol}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.new_route(_prohibit(self)),)

    def undo(self) -> Op:
        return ProhibitDel(self.subnet, self.table, self.protocol)


class ProhibitDel(Op):
    """Takes a prohibit route away again."""

    subnet: Subnet
    table: int
    protocol: int
    kind = "rtnl"

    def describe(self) -> str:
        return f"no longer refuse routes to {self.subnet} (table {self.table})"

    def shell(self) -> tuple[str, ...]:
        return (f"ip route del prohibit {self.subnet} table {self.table} proto {self.protocol}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.del_route(_prohibit(self)),)

    def undo(self) -> Op:
        return ProhibitAdd(self.subnet, self.table, self.protocol)


def _prohibit(op: ProhibitAdd | ProhibitDel) -> rt.Route:
    return rt.Route(
        family=family(op.subnet.first),
        dst=op.subnet.first.packed,
        dst_len=op.subnet.prefix,
        table=op.table,
        protocol=op.protocol,
        scope=rt.RT_SCOPE_UNIVERSE,
        type=rt.RTN_PROHIBIT,
    )
