"""Routes inside a container: to a subnet, and the default route changed from one gateway to another
(ip-route(8))."""

from __future__ import annotations

from weft.core.model.address import Address, Subnet
from weft.core.ops.base import VANISHES, Final, Names, Op, inside, quote
from weft.core.ops.route import BOOT, family, metric
from weft.core.wire import rtnetlink as rt
from weft.core.wire.buffer import NLM_F_CREATE, NLM_F_REPLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message


class RouteAdd(Op):
    """A route by an interface, and by a gateway where one is given; ``source`` is what is sent from then. It
    goes with the interface."""

    to: Subnet
    via: Address | None
    ifname: str
    netns: str
    metric: int = 0
    source: Address | None = None
    kind = "rtnl"

    def describe(self) -> str:
        by = f" by {self.via}" if self.via else ""
        return f"route {self.to}{by} over {self.netns}:{self.ifname}"

    def shell(self) -> tuple[str, ...]:
        by = f" via {self.via}" if self.via else ""
        words = f"route add {self.to}{by} dev {quote(self.ifname)}{metric(self.metric)}"
        words += f" src {self.source}" if self.source else ""
        return (inside(self.netns, words),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        route = rt.Route(
            family=family(self.to.first),
            dst=self.to.first.packed if self.to.prefix else None,
            dst_len=self.to.prefix,
            gateway=self.via.packed if self.via else None,
            oif=names.index(self.ifname),
            protocol=BOOT,
            scope=rt.RT_SCOPE_UNIVERSE if self.via else rt.RT_SCOPE_LINK,
            type=rt.RTN_UNICAST,
            priority=self.metric or None,
            prefsrc=self.source.packed if self.source else None,
        )
        return (rt.new_route(route),)

    def undo(self) -> Final:
        return VANISHES


_REFUSING = {"blackhole": rt.RTN_BLACKHOLE, "unreachable": rt.RTN_UNREACHABLE, "prohibit": rt.RTN_PROHIBIT}


def _refusal(op: RefusalAdd | RefusalDel) -> rt.Route:
    return rt.Route(
        family=family(op.to.first),
        dst=op.to.first.packed if op.to.prefix else None,
        dst_len=op.to.prefix,
        protocol=BOOT,
        scope=rt.RT_SCOPE_UNIVERSE,
        type=_REFUSING[op.type],
        priority=op.metric or None,
    )


class RefusalAdd(Op):
    """A route that refuses what goes to a subnet (``blackhole`` without a word, ``unreachable``,
    ``prohibit``)."""

    to: Subnet
    type: str
    netns: str
    metric: int = 0
    kind = "rtnl"

    def describe(self) -> str:
        return f"route {self.to} nowhere in {self.netns} ({self.type})"

    def shell(self) -> tuple[str, ...]:
        return (inside(self.netns, f"route add {self.type} {self.to}{metric(self.metric)}"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.new_route(_refusal(self)),)

    def undo(self) -> Op:
        return RefusalDel(self.to, self.type, self.netns, self.metric)


class RefusalDel(Op):
    """Takes such a route away: no interface takes it along."""

    to: Subnet
    type: str
    netns: str
    metric: int = 0
    kind = "rtnl"

    def describe(self) -> str:
        return f"no longer route {self.to} nowhere in {self.netns} ({self.type})"

    def shell(self) -> tuple[str, ...]:
        return (inside(self.netns, f"route del {self.type} {self.to}{metric(self.metric)} || true"),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.del_route(_refusal(self)),)

    def undo(self) -> Op:
        return RefusalAdd(self.to, self.type, self.netns, self.metric)


class GatewayChange(Op):
    """Turns the default route of a container to another gateway, in one step."""

    gateway: Address
    ifname: str
    old_gateway: Address
    old_ifname: str
    netns: str
    metric: int = 0
    kind = "rtnl"

    def describe(self) -> str:
        return f"route {self.netns} by {self.gateway} instead of {self.old_gateway}"

    def shell(self) -> tuple[str, ...]:
        six = "-6 " if self.gateway.version == 6 else ""
        way = f"via {self.gateway} dev {quote(self.ifname)}{metric(self.metric)}"
        words = f"{six}route replace default {way}"
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
        return (rt.new_route(route, NLM_F_CREATE | NLM_F_REPLACE),)

    def undo(self) -> Op:
        return GatewayChange(
            self.old_gateway, self.old_ifname, self.gateway, self.ifname, self.netns, self.metric
        )
