"""Other people's packet filters, as they were seen: what may drop that weft's bridges forward."""

from __future__ import annotations

from weft.core.record import Record

#: The chain in a foreign table that lets weft's bridges pass.
PASS = "WEFT-FORWARD"
#: firewalld's zone in which all is accepted.
TRUSTED = "trusted"


class Place(Record):
    """A forward chain of somebody else. ``program`` is what its rules are written by: ``nft``, or
    ``iptables-nft`` or ``iptables-legacy`` (for IPv6 ``ip6tables-...``)."""

    program: str
    family: str
    table: str
    chain: str

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions that come through it."""
        return {"ip": (4,), "ip6": (6,)}.get(self.family, (4, 6))


class FilterRule(Record):
    """A rule: what it says of interfaces, and its verdict: ``accept``, ``drop``, ``return``, ``reject``, the
    chain that it jumps or goes to, or "". ``plain``: it says nothing else."""

    iif: str = ""
    oif: str = ""
    verdict: str = ""
    plain: bool = True
    handle: int = 0

    @property
    def bare(self) -> bool:
        """Whether it applies to every packet."""
        return self.plain and not self.iif and not self.oif


class Filter(Record):
    """A foreign forward chain, its rules, those of the chain PASS beside it (None: there is none), and by
    which chain Docker drops what goes to its own bridges ("": by none). ``bare``: bridges of Docker's that
    are missing in there."""

    place: Place
    policy: str
    rules: tuple[FilterRule, ...]
    passes: tuple[FilterRule, ...] | None = None
    apart: str = ""
    bare: tuple[str, ...] = ()


class ForeignFacts(Record):
    """``filters``: forward chains that concern weft's bridges. ``zones``: the interfaces that firewalld has
    in a zone, each with its name; None where it does not run. ``who``: the programs that were recognised."""

    filters: tuple[Filter, ...] = ()
    zones: tuple[tuple[str, str], ...] | None = None
    who: tuple[str, ...] = ()
