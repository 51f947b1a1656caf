"""Routing policy rules (ip-rule(8)): they keep networks apart even when nftables has been flushed."""

from __future__ import annotations

from weft.core.model.address import Subnet
from weft.core.ops.base import Final, Names, Op, quote
from weft.core.record import Record
from weft.core.wire import rtnetlink as rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message


class Rule(Record):
    """``iif BRIDGE [to SUBNET] [fwmark 0/MASK] lookup TABLE`` at a preference."""

    preference: int
    iif: str
    table: int
    protocol: int
    to: Subnet | None = None
    unmarked: int = 0
    version: int = 4

    def words(self) -> str:
        """As ``ip rule add`` takes it."""
        to = f" to {self.to}" if self.to else ""
        fwmark = f" fwmark 0/{self.unmarked:#x}" if self.unmarked else ""
        selector = f"iif {quote(self.iif)}{to}{fwmark}"
        return f"pref {self.preference} {selector} lookup {self.table} protocol {self.protocol}"

    def wire(self) -> rt.Rule:
        """As RTM_NEWRULE takes it."""
        return rt.Rule(
            family=2 if self.version == 4 else 10,
            priority=self.preference,
            iifname=self.iif,
            dst=self.to.first.packed if self.to else None,
            dst_len=self.to.prefix if self.to else 0,
            fwmark=0 if self.unmarked else None,
            fwmask=self.unmarked or None,
            table=self.table,
            action=rt.FR_ACT_TO_TBL,
            protocol=self.protocol,
        )


class RuleAdd(Op):
    """Adds a rule."""

    rule: Rule
    kind = "rtnl"

    def describe(self) -> str:
        return f"add the routing rule {self.rule.words()}"

    def shell(self) -> tuple[str, ...]:
        return (f"ip {'-6 ' if self.rule.version == 6 else ''}rule add {self.rule.words()}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.new_rule(self.rule.wire()),)

    def undo(self) -> Op:
        return RuleDel(self.rule)


class RuleDel(Op):
    """Deletes a rule."""

    rule: Rule
    kind = "rtnl"

    def describe(self) -> str:
        return f"delete the routing rule {self.rule.words()}"

    def shell(self) -> tuple[str, ...]:
        return (f"ip {'-6 ' if self.rule.version == 6 else ''}rule del {self.rule.words()}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (rt.del_rule(self.rule.wire()),)

    def undo(self) -> Op | Final:
        return RuleAdd(self.rule)
