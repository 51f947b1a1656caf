"""Living with other people's packet filters: what was seen of them, and what lets weft's bridges pass.

A drop in one table is final, whatever another accepts. So where somebody's forward chain drops by policy
(dockerd's, ufw's) or at its end, weft's bridges are accepted there, last of all: the administrator's rules
and Docker's come first, and weft's own table still decides. docs/decisions/0014-other-firewalls.md
"""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.foreign import PASS, TRUSTED, Filter, FilterRule, ForeignFacts, Place
from weft.core.ops.foreign import (
    PassAdd,
    PassChainAdd,
    PassChainDel,
    PassDel,
    ZoneAdd,
    ZoneDel,
    pass_rules,
)
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
from weft.core.wire.nft_data import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from weft.core.model.network import Network
    from weft.core.ops.base import Op

FAMILIES = {nf.NFPROTO_INET: "inet", nf.NFPROTO_IPV4: "ip", nf.NFPROTO_IPV6: "ip6"}
#: Docker's chain of `-o BRIDGE -j DROP` for each of its bridges, up to release 27; later ones drop anyway.
_DOCKER_APART = "DOCKER-ISOLATION-STAGE-2"
#: Where firewalld looks up the zone of what a packet comes in by, and what it goes to for each.
FIREWALLD = "firewalld"
ZONES = ("filter_FORWARD_ZONES", "filter_FORWARD_IN_ZONES")
_ZONE_CHAINS = ("filter_FWD_", "filter_FWDI_")
#: Chains of ufw's at which a packet counts as refused.
_REFUSING = frozenset(("drop", "reject", "ufw-after-logging-forward", "ufw-reject-forward"))
_WHO = (("DOCKER-USER", "docker"), ("ufw-user-forward", "ufw"), ("LIBVIRT_FWI", "libvirt"))
_CODES = {ex.NF_ACCEPT: "accept", ex.NF_DROP: "drop", ex.NFT_RETURN: "return"}
_NAMES = {ex.NFT_META_IIFNAME: "iif", ex.NFT_META_OIFNAME: "oif"}


def _verdict(expr: ex.Expr) -> str:
    """What an expression decides; "" for none."""
    if isinstance(expr, ex.Immediate) and isinstance(expr.data, Verdict):
        return expr.data.chain or _CODES.get(expr.data.code, "")
    xt_reject = isinstance(expr, ex.Unknown) and expr.name == "target" and b"REJECT" in (expr.data or b"")
    return "reject" if xt_reject or isinstance(expr, ex.Reject) else ""


def _interface(data: bytes) -> str:
    """An interface's name, as iptables writes it: a trailing + is any ending."""
    name = data.rstrip(b"\0").decode(errors="replace")
    return name if data.endswith(b"\0") else name + "+"


def seen_rule(rule: nf.RuleDef) -> FilterRule:
    """What a rule of nf_tables says."""
    said: dict[str, str] = {}
    plain, loaded, verdict = True, "", ""
    for expr in rule.expressions:
        if isinstance(expr, ex.Counter) or (isinstance(expr, ex.Unknown) and expr.name == "log"):
            continue
        if isinstance(expr, ex.Meta) and expr.key in _NAMES and expr.dreg == 1:
            loaded = _NAMES[expr.key]
        elif loaded and isinstance(expr, ex.Cmp) and expr.op == ex.NFT_CMP_EQ and expr.sreg == 1:
            said[loaded] = _interface(expr.data)
            loaded = ""
        elif found := _verdict(expr):
            verdict = found
        else:
            plain = False
    return FilterRule(said.get("iif", ""), said.get("oif", ""), verdict, plain, rule.handle or 0)


def saved_rules(text: str, chain: str) -> tuple[FilterRule, ...]:
    """A chain's rules from what iptables-save(8) printed."""
    lines = [line.split()[2:] for line in text.splitlines() if line.startswith(f"-A {chain} ")]
    return tuple([_saved_rule(words) for words in lines])


def _saved_rule(words: list[str]) -> FilterRule:
    said = dict.fromkeys(("-i", "-o", "-j", "-g"), "")
    rest = list(words)
    while len(rest) > 1 and rest[0] in said:
        said[rest[0]], rest = rest[1], rest[2:]
    verdict = said["-j"] or said["-g"]
    plain = not rest or (verdict == "REJECT" and rest[0] == "--reject-with")
    if verdict in ("ACCEPT", "DROP", "RETURN", "REJECT"):
        verdict = verdict.lower()
    return FilterRule(said["-i"], said["-o"], verdict, plain)


def saved_filter(place: Place, text: str) -> Filter:
    """What iptables-save(8) printed of the table ``filter``."""
    heads = [line[1:].split() for line in text.splitlines() if line.startswith(":")]
    policies = {words[0]: words[1].lower() for words in heads if len(words) > 1}
    passes = saved_rules(text, PASS) if PASS in policies else None
    rules, apart = saved_rules(text, place.chain), docker_apart(policies)
    bare = docker_bare(rules, saved_rules(text, apart)) if apart else ()
    return Filter(place, policies.get(place.chain, "accept"), rules, passes, apart, bare)


def docker_apart(chains: Iterable[str]) -> str:
    """The chain by which Docker keeps others from its bridges, if it is among a table's."""
    return _DOCKER_APART if _DOCKER_APART in chains else ""


def docker_bare(forward: Iterable[FilterRule], apart: Iterable[FilterRule]) -> tuple[str, ...]:
    """Docker's bridges that its own chain does not know: dockerd 20.10 forgets them when firewalld reloads
    (it makes that chain anew without them)."""
    known = {r.oif for r in apart if r.verdict == "drop" and r.plain}
    bridges = dict.fromkeys([r.oif for r in forward if r.verdict == "DOCKER" and r.oif])
    return tuple([name for name in bridges if name not in known])


def recognised(chains: Iterable[str]) -> tuple[str, ...]:
    """The programs whose chains these are."""
    there = set(chains)
    return tuple([who for chain, who in _WHO if chain in there])


def zones(rules: Iterable[FilterRule]) -> tuple[tuple[str, str], ...]:
    """The interfaces that are in one of firewalld's zones, and which, from the rules that look zones up."""
    found = [(r.iif, r.verdict) for r in rules if r.iif and r.verdict.startswith(_ZONE_CHAINS)]
    return tuple([(iif, chain.split("_", 2)[2]) for iif, chain in found])


def concerns(found: Filter) -> bool:
    """Whether a bridge needs anything there. iptables' own chain always: its policy may change any day
    (``ufw enable``), and Docker's bridges are to stay apart."""
    if found.place.program != "nft" or found.passes is not None:
        return True
    return found.policy == "drop" or any(_refuses(r) for r in found.rules)


def _refuses(rule: FilterRule) -> bool:
    return rule.bare and rule.verdict in _REFUSING


def position(found: Filter) -> int:
    """The number, from 1, of the first rule that refuses all the rest; 0: there is none."""
    rules = [r for r in found.rules if r.verdict != PASS]
    return next((n for n, r in enumerate(rules, 1) if _refuses(r)), 0)


def jumps(found: Filter) -> bool:
    """Whether its chain comes to PASS before all is refused."""
    first = next((r for r in found.rules if r.bare and (r.verdict == PASS or _refuses(r))), None)
    return found.passes is not None and first is not None and first.verdict == PASS


def rules_of(found: Filter, bridge: str) -> tuple[FilterRule, ...]:
    """What stands in PASS for a bridge."""
    return tuple([r._replace(handle=0) for r in found.passes or () if bridge in (r.iif, r.oif)])


def _admit(found: Filter, bridge: str) -> tuple[Op, ...]:
    ops: list[Op] = []
    if not jumps(found):
        ops.append(PassChainAdd(found.place, position(found)))
    there, apart = rules_of(found, bridge), _apart(found, bridge)
    if there != pass_rules(bridge, apart):
        if there:
            ops.append(PassDel(found.place, bridge, _but_accepts(there)))
        ops.append(PassAdd(found.place, bridge, apart))
    return tuple(ops)


def _apart(found: Filter, bridge: str) -> tuple[FilterRule, ...]:
    """What keeps a bridge from Docker's."""
    chain = (FilterRule(bridge, verdict=found.apart),) if found.apart else ()
    return *[FilterRule(bridge, name, "drop") for name in found.bare], *chain


def _but_accepts(rules: Iterable[FilterRule]) -> tuple[FilterRule, ...]:
    return tuple([r for r in rules if r.verdict != "accept"])


def foreign_wants(network: Network, facts: ForeignFacts) -> tuple[Op, ...]:
    """What is missing in other people's firewalls for a network's bridge; nothing where all is well."""
    return bridge_wants(network.bridge, [p.subnet.version for p in network.pools], facts)


def bridge_wants(bridge: str, versions: Iterable[int], facts: ForeignFacts) -> tuple[Op, ...]:
    """The same for any bridge; ``versions``: of IP."""
    ops: list[Op] = []
    _check_name(bridge, facts)
    for found in facts.filters:
        if any(v in found.place.versions for v in versions):
            ops += _admit(found, bridge)
    # Where the administrator put it himself, it stays.
    if facts.zones is not None and bridge not in dict(facts.zones):
        ops.append(ZoneAdd((bridge,)))
    return tuple(ops)


def all_want(networks: Iterable[Network], facts: ForeignFacts) -> tuple[Op, ...]:
    """The same for many networks: a chain once, firewalld told of all at once."""
    ops = [op for network in networks for op in foreign_wants(network, facts)]
    zoned = tuple([b for op in ops if isinstance(op, ZoneAdd) for b in op.bridges])
    others = dict.fromkeys([op for op in ops if not isinstance(op, ZoneAdd)])
    return *others, *([ZoneAdd(zoned)] if zoned else [])


def _check_name(bridge: str, facts: ForeignFacts) -> None:
    if bridge.endswith("+") and any(f.place.program != "nft" for f in facts.filters):
        raise BadInput(
            f"bridge {bridge}: iptables takes a + at the end for any ending", "choose another --bridge"
        )


def foreign_unwants(bridge: str, facts: ForeignFacts) -> tuple[Op, ...]:
    """What takes a bridge out of other people's firewalls; the chain with the last bridge."""
    return _out([bridge], facts)


def leftovers(links: Container[str], facts: ForeignFacts) -> tuple[Op, ...]:
    """What takes bridges out that are no more: those without a link, and either with weft's two rules or, in
    firewalld's zone, with a name that weft derives."""
    named = {r.iif or r.oif for found in facts.filters for r in found.passes or () if _owned(found, r)}
    zoned = {name for name, zone in facts.zones or () if zone == TRUSTED and _derived(name)}
    return _out(sorted([name for name in named | zoned if name not in links]), facts)


def _owned(found: Filter, rule: FilterRule) -> bool:
    bridge = rule.iif or rule.oif
    return set(pass_rules(bridge, ())) <= set(rules_of(found, bridge))


def _derived(name: str) -> bool:
    return len(name) == 14 and name.startswith("wb") and not set(name[2:]) - set("0123456789abcdef")


def _out(bridges: Sequence[str], facts: ForeignFacts) -> tuple[Op, ...]:
    ops: list[Op] = []
    for found in facts.filters:
        stale = [(bridge, rules) for bridge in bridges if (rules := rules_of(found, bridge))]
        ops += [PassDel(found.place, bridge, _but_accepts(rules)) for bridge, rules in stale]
        if stale and sum([len(rules) for _, rules in stale]) == len(found.passes or ()):
            ops.append(PassChainDel(found.place))
    zoned = tuple([b for b in bridges if (b, TRUSTED) in (facts.zones or ())])
    return *ops, *([ZoneDel(zoned)] if zoned else [])
