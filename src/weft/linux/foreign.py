"""Other people's packet filters on this host: seen by nf_tables' own dumps, changed by netlink, by
iptables-legacy(8) where that is in use, and by firewall-cmd(1)."""

from __future__ import annotations

import errno

from weft.core.firewall import foreign as decide
from weft.core.model.errors import KernelError
from weft.core.model.foreign import PASS, Filter, FilterRule, ForeignFacts, Place
from weft.core.ops import foreign as op
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
from weft.core.wire.nft_data import Verdict
from weft.linux.netlink import Netlink, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weft.core.ops.base import Message, Op

_PROC = {"ip": "/proc/thread-self/net/ip_tables_names", "ip6": "/proc/thread-self/net/ip6_tables_names"}
_NUMBERS = {name: number for number, name in decide.FAMILIES.items()}
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_FORWARD = 2


def look(netlink: Netlink) -> ForeignFacts:
    """Every forward chain of somebody else that concerns weft's bridges, and firewalld's zone."""
    chains: dict[tuple[int, str], list[nf.Chain]] = {}
    for payload in netlink.dump(nf.dump_chains()):
        chain = nf.get_chain(payload)
        chains.setdefault((chain.family, chain.table), []).append(chain)
    filters: list[Filter] = []
    who: list[str] = []
    zones = None
    for (family, table), found in chains.items():
        names = [c.name for c in found]
        who += decide.recognised(names)
        if table == decide.FIREWALLD:
            zones = _zones(netlink, family, names)
        elif table != "weft" and family in decide.FAMILIES:
            bases = [c for c in found if c.hook == _FORWARD and c.type == "filter"]
            filters += [_filter(netlink, base, names) for base in bases]
    filters += _legacy()
    who += ["firewalld"] if zones is not None else []
    return ForeignFacts(tuple([f for f in filters if decide.concerns(f)]), zones, tuple(sorted(set(who))))


def _zones(netlink: Netlink, family: int, chains: Sequence[str]) -> tuple[tuple[str, str], ...]:
    (chain,) = [name for name in decide.ZONES if name in chains][:1] or [""]
    return decide.zones(_rules(netlink, family, decide.FIREWALLD, chain)) if chain else ()


def _filter(netlink: Netlink, base: nf.Chain, chains: Sequence[str]) -> Filter:
    family, table = base.family, base.table
    iptables = family != nf.NFPROTO_INET and (table, base.name) == ("filter", "FORWARD")
    program = "iptables-nft" if iptables else "nft"
    rules = _rules(netlink, family, table, base.name)
    apart = decide.docker_apart(chains) if iptables else ""
    return Filter(
        Place(program, decide.FAMILIES[family], table, base.name),
        "drop" if base.policy == 0 else "accept",
        rules,
        _rules(netlink, family, table, PASS) if PASS in chains else None,
        apart,
        decide.docker_bare(rules, _rules(netlink, family, table, apart)) if apart else (),
    )


def _rules(netlink: Netlink, family: int, table: str, chain: str) -> tuple[FilterRule, ...]:
    """A chain's rules; none where it went meanwhile."""
    try:
        payloads = netlink.dump(nf.dump_rules(family, table, chain))
    except Refusal as error:
        if error.errno == errno.ENOENT:
            return ()
        raise
    return tuple([decide.seen_rule(nf.get_rule(payload)) for payload in payloads])


def _legacy() -> list[Filter]:
    """The tables of iptables-legacy, which are not nf_tables'."""
    found = []
    for family, path in _PROC.items():
        try:
            with open(path) as file:
                used = "filter" in file.read().split()
        except OSError:
            used = False  # the kernel has none of it
        if used:
            place = Place("iptables-legacy", family, "filter", "FORWARD")
            text = _run([op.program(place) + "-save", "-t", "filter"])
            found.append(decide.saved_filter(place, text))
    return found


def _run(argv: Sequence[str], text: str = "") -> str:
    """A program's output. KernelError with its own words when it fails."""
    import subprocess

    try:
        ended = subprocess.run(
            argv,
            check=False,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            env=_ENVIRONMENT,
            timeout=60,
        )
    except OSError as error:
        raise KernelError(f"cannot run {argv[0]}: {error.strerror}", error.errno or 0) from None
    except subprocess.TimeoutExpired:
        raise KernelError(f"{argv[0]} did not end in 60 s") from None
    if ended.returncode:
        raise KernelError(f"{argv[0]}: {ended.stderr.strip() or f'status {ended.returncode}'}")
    return ended.stdout


def do(netlink: Netlink, step: Op) -> None:
    """One operation on somebody else's firewall. What is already so, is left so."""
    if isinstance(step, (op.ZoneAdd, op.ZoneDel)):
        _zone(step)
    elif isinstance(step, (op.PassChainAdd, op.PassChainDel, op.PassAdd, op.PassDel)):
        if step.place.program == "iptables-legacy":
            _change_legacy(step)
        else:
            _change(netlink, step)


def _zone(step: op.ZoneAdd | op.ZoneDel) -> None:
    for words in step.calls():
        try:
            _run(words)
        except KernelError as error:
            dead = "not running" in error.message
            if dead and isinstance(step, op.ZoneAdd):
                hint = "start it, or take away what it left: nft delete table inet firewalld"
                raise KernelError(error.message, hint=hint) from None
            if not dead and not any(word in error.message for word in _SO_ALREADY):
                raise


#: What firewalld answers where it is as it should be (firewalld.dbus(5)).
_SO_ALREADY = ("ALREADY_ENABLED", "ZONE_ALREADY_SET", "NOT_ENABLED", "UNKNOWN_INTERFACE")


Step = op.PassChainAdd | op.PassChainDel | op.PassAdd | op.PassDel


def _change(netlink: Netlink, step: Step) -> None:
    place = step.place
    family = _NUMBERS[place.family]
    base = _rules(netlink, family, place.table, place.chain)
    passes = _rules(netlink, family, place.table, PASS)
    messages = _messages(step, base, passes)
    try:
        if messages:
            netlink.transaction(messages)
    except Refusal as error:
        # The table went meanwhile, and all that was in it.
        if error.errno != errno.ENOENT or isinstance(step, (op.PassChainAdd, op.PassAdd)):
            raise


def _messages(step: Step, base: Sequence[FilterRule], passes: Sequence[FilterRule]) -> list[Message]:
    place = step.place
    family, table = _NUMBERS[place.family], place.table

    def without(chain: str, rules: Iterable[FilterRule]) -> list[Message]:
        return [nf.del_rule(family, table, chain, r.handle) for r in rules]

    jumps = without(place.chain, [r for r in base if r.verdict == PASS])
    mine = without(PASS, [r for r in passes if getattr(step, "bridge", "") in (r.iif, r.oif)])
    if isinstance(step, op.PassChainAdd):
        chain = nf.Chain(family=family, table=table, name=PASS)
        return [nf.new_chain(chain, nf.NLM_F_CREATE), *jumps, _jump(place, base)]
    if isinstance(step, op.PassChainDel):
        return [*jumps, nf.flush_chain(family, table, PASS), nf.del_chain(family, table, PASS)]
    if isinstance(step, op.PassDel):
        return mine
    rules = op.pass_rules(step.bridge, step.apart)
    return [*mine, *[nf.new_rule(_wire(place, PASS, rule)) for rule in rules]]


def _jump(place: Place, base: Sequence[FilterRule]) -> Message:
    """Before the first rule that refuses all the rest, or at the end."""
    number = decide.position(Filter(place, "", tuple(base)))
    rule = _wire(place, place.chain, FilterRule(verdict=PASS))
    if not number:
        return nf.new_rule(rule)
    anchor = [r for r in base if r.verdict != PASS][number - 1]
    return nf.new_rule(rule._replace(position=anchor.handle), nf.NLM_F_CREATE)


def _wire(place: Place, chain: str, rule: FilterRule) -> nf.RuleDef:
    """As iptables-nft writes it: it reads back what it knows, and refuses the table for the rest."""
    exprs: list[ex.Expr] = []
    for key, name in ((ex.NFT_META_IIFNAME, rule.iif), (ex.NFT_META_OIFNAME, rule.oif)):
        if name:
            exprs += [ex.Meta(key, dreg=1), ex.Cmp(ex.NFT_CMP_EQ, 1, name.encode() + b"\0")]
    known = {"accept": Verdict(ex.NF_ACCEPT), "drop": Verdict(ex.NF_DROP)}
    verdict = known.get(rule.verdict) or Verdict(ex.NFT_JUMP, rule.verdict)
    exprs += [ex.Counter(), ex.Immediate(ex.NFT_REG_VERDICT, verdict)]
    return nf.RuleDef(_NUMBERS[place.family], place.table, chain, tuple(exprs))


def _change_legacy(step: Step) -> None:
    """The same by iptables-restore(8): all or nothing."""
    tool = op.program(step.place)
    found = decide.saved_filter(step.place, _run([f"{tool}-save", "-t", "filter"]))
    lines = _restore(step, found)
    if lines:
        text = "\n".join(["*filter", *lines, "COMMIT", ""])
        _run([f"{tool}-restore", "-w", "-n"], text)


def _restore(step: Step, found: Filter) -> list[str]:
    chain, there = step.place.chain, found.passes is not None
    jumps = [f"-D {chain} -j {PASS}" for r in found.rules if r.verdict == PASS and r.bare]
    mine = decide.rules_of(found, getattr(step, "bridge", ""))
    gone = [f"-D {PASS} {op.iptables_words(r)}" for r in mine]
    if isinstance(step, op.PassChainAdd):
        number = decide.position(found)
        added = f"-I {chain} {number}" if number else f"-A {chain}"
        return [*([] if there else [f":{PASS} - [0:0]"]), *jumps, f"{added} -j {PASS}"]
    if isinstance(step, op.PassChainDel):
        return [*jumps, *([f"-F {PASS}", f"-X {PASS}"] if there else [])]
    if isinstance(step, op.PassDel):
        return gone
    return [*gone, *[f"-A {PASS} {op.iptables_words(r)}" for r in op.pass_rules(step.bridge, step.apart)]]
