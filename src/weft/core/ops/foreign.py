"""Weft's bridges in other people's firewalls: a chain of theirs that lets them pass, firewalld's zone.

In a table that iptables-nft owns only such rules may stand as it can list itself: an expression that it
does not know makes it refuse the whole table, and dockerd would not start any more.
"""

from __future__ import annotations

from weft.core.model.foreign import PASS, TRUSTED, FilterRule, Place
from weft.core.ops.base import Final, Op, quote


def pass_rules(bridge: str, apart: tuple[FilterRule, ...]) -> tuple[FilterRule, ...]:
    """What stands in the chain PASS for a bridge. ``apart`` drops what goes to Docker's bridges: what came
    so far has not been accepted by Docker's own rules."""
    return *apart, FilterRule(iif=bridge, verdict="accept"), FilterRule(oif=bridge, verdict="accept")


def program(place: Place) -> str:
    """The program of a table's family."""
    return place.program if place.family == "ip" else place.program.replace("ip", "ip6", 1)


def iptables(place: Place) -> str:
    """The same, waiting for its lock (iptables(8))."""
    return program(place) + " -w"


def iptables_words(rule: FilterRule) -> str:
    """A rule as iptables(8) takes it."""
    iif = f"-i {quote(rule.iif)} " if rule.iif else ""
    oif = f"-o {quote(rule.oif)} " if rule.oif else ""
    verdict = rule.verdict.upper() if rule.verdict in ("accept", "drop", "return") else rule.verdict
    return f"{iif}{oif}-j {verdict}"


def nft_words(rule: FilterRule) -> str:
    """A rule as nft(8) takes it."""
    iif = f'iifname "{rule.iif}" ' if rule.iif else ""
    oif = f'oifname "{rule.oif}" ' if rule.oif else ""
    verdict = rule.verdict if rule.verdict in ("accept", "drop", "return") else f"jump {rule.verdict}"
    return f"{iif}{oif}{verdict}"


def _chain(place: Place, name: str) -> str:
    return f"{place.family} {place.table} {name}"


def _nft_delete(place: Place, chain: str, pattern: str) -> str:
    """Rules are deleted by their handles, which nft prints behind them."""
    found = f"nft -a list chain {_chain(place, chain)} | sed -n {quote(f'/{pattern}/s/.*# handle //p')}"
    return f"{found} | while read -r n; do nft delete rule {_chain(place, chain)} handle $n; done"


class PassChainAdd(Op):
    """Makes the chain PASS and jumps to it: as rule number ``position`` (from 1), or at the end (0)."""

    place: Place
    position: int = 0
    kind = "foreign"

    def describe(self) -> str:
        return f"make the chain {PASS} in the table {self.place.family} {self.place.table}"

    def shell(self) -> tuple[str, ...]:
        place = self.place
        if place.program == "nft":
            where = f"insert rule {_chain(place, place.chain)} index {self.position - 1}"
            added = where if self.position else f"add rule {_chain(place, place.chain)}"
            return (f"nft add chain {_chain(place, PASS)}", f"nft {added} jump {PASS}")
        tool = iptables(place)
        added = f"-I {place.chain} {self.position}" if self.position else f"-A {place.chain}"
        # It may be there, and not be jumped to.
        return (f"{tool} -N {PASS} 2>/dev/null || :", f"{tool} {added} -j {PASS}")

    def undo(self) -> Op:
        return PassChainDel(self.place)


class PassChainDel(Op):
    """Takes the chain PASS away, and what jumps to it."""

    place: Place
    kind = "foreign"

    def describe(self) -> str:
        return f"delete the chain {PASS} of the table {self.place.family} {self.place.table}"

    def shell(self) -> tuple[str, ...]:
        place = self.place
        if place.program == "nft":
            return (
                _nft_delete(place, place.chain, f"jump {PASS} "),
                f"nft delete chain {_chain(place, PASS)}",
            )
        tool = iptables(place)
        return (f"{tool} -D {place.chain} -j {PASS}", f"{tool} -F {PASS}", f"{tool} -X {PASS}")

    def undo(self) -> Final:
        return Final("made again by the next bridge")


class PassAdd(Op):
    """Lets a bridge's traffic pass. What may pass at all is decided in weft's own table."""

    place: Place
    bridge: str
    apart: tuple[FilterRule, ...] = ()
    kind = "foreign"

    def describe(self) -> str:
        return f"let {self.bridge} pass in the table {self.place.family} {self.place.table}"

    def shell(self) -> tuple[str, ...]:
        rules = pass_rules(self.bridge, self.apart)
        if self.place.program == "nft":
            return tuple([f"nft add rule {_chain(self.place, PASS)} {quote(nft_words(r))}" for r in rules])
        return tuple([f"{iptables(self.place)} -A {PASS} {iptables_words(r)}" for r in rules])

    def undo(self) -> Op:
        return PassDel(self.place, self.bridge, self.apart)


class PassDel(Op):
    """Takes a bridge's rules away."""

    place: Place
    bridge: str
    apart: tuple[FilterRule, ...] = ()
    kind = "foreign"

    def describe(self) -> str:
        return f"forget {self.bridge} in the table {self.place.family} {self.place.table}"

    def shell(self) -> tuple[str, ...]:
        if self.place.program == "nft":
            name = self.bridge.replace(".", "[.]")
            return (_nft_delete(self.place, PASS, f'"{name}"'),)
        tool, rules = iptables(self.place), pass_rules(self.bridge, self.apart)
        return tuple([f"{tool} -D {PASS} {iptables_words(r)} 2>/dev/null || :" for r in rules])

    def undo(self) -> Op:
        return PassAdd(self.place, self.bridge, self.apart)


class ZoneAdd(Op):
    """Binds bridges to firewalld's zone ``trusted``: now, and for good, as a reload forgets the former."""

    bridges: tuple[str, ...]
    kind = "foreign"

    def describe(self) -> str:
        return f"bind {', '.join(self.bridges)} to firewalld's zone {TRUSTED}"

    def shell(self) -> tuple[str, ...]:
        return _quietly(self.calls())

    def calls(self) -> tuple[tuple[str, ...], ...]:
        """The calls of firewall-cmd(1), which takes 0.3 s to start: it is told of all at once."""
        return _zone("add", self.bridges)

    def undo(self) -> Op:
        return ZoneDel(self.bridges)


class ZoneDel(Op):
    """Takes bridges out of it."""

    bridges: tuple[str, ...]
    kind = "foreign"

    def describe(self) -> str:
        return f"take {', '.join(self.bridges)} out of firewalld's zone {TRUSTED}"

    def shell(self) -> tuple[str, ...]:
        return _quietly(self.calls())

    def calls(self) -> tuple[tuple[str, ...], ...]:
        """The calls of firewall-cmd(1)."""
        return _zone("remove", self.bridges)

    def undo(self) -> Op:
        return ZoneAdd(self.bridges)


def _zone(verb: str, bridges: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    words = f"--zone={TRUSTED}", *[f"--{verb}-interface={name}" for name in bridges]
    return ("firewall-cmd", *words), ("firewall-cmd", "--permanent", *words)


def _quietly(calls: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple([" ".join([quote(word) for word in words]) + " >/dev/null" for words in calls])
