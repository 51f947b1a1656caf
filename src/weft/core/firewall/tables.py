"""weft's two firewall tables: built once with the first network, gone with the last.

No rule names a network, a container or a port: those are elements of the sets and maps here. The
shape and what it was tried against: docs/decisions/0004-firewall.md. The model carries IPv6; its sets
and rules come with IPv6 networks, and until then the bridge guard lets no IPv6 frame in.
"""

from __future__ import annotations

from weft.core.firewall import lang
from weft.core.firewall.lang import Rule, rule
from weft.core.model.address import Subnet
from weft.core.model.network import PORT_GROUP
from weft.core.ops.nft import FAMILIES, TableAdd
from weft.core.record import Record
from weft.core.wire import nfnetlink as nf

#: The packet mark of a connection that came by a published port: other networks may answer it,
#: past the routing rules that keep networks apart. One bit, so that other people's marks stay.
PUBLISHED_MARK = 0x01000000
GROUP_MASK = 0xFFFF0000
_LOOPBACK = Subnet(4, 127 << 24, 8)
_METADATA = Subnet(4, (169 << 24) + (254 << 16), 16)

_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}


class SetSpec(Record):
    """A set, or a map when it has data types. Types are nft's names, several make a concatenation."""

    name: str
    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    interval: bool = False

    @property
    def text(self) -> str:
        """As nft reads it."""
        types = " . ".join(self.key) + (f" : {' . '.join(self.data)}" if self.data else "")
        flags = "flags interval; " if self.interval else ""
        return f"\t{'map' if self.data else 'set'} {self.name} {{ type {types}; {flags}}}\n"

    def wire(self, family: str, number: int) -> nf.Set:
        """As NFT_MSG_NEWSET takes it. ``number`` is its id within the batch."""
        key_type, key_len = nf.concat_type(*self.key)
        data_type, data_len = nf.concat_type(*self.data) if self.data else (None, None)
        flags = (nf.NFT_SET_INTERVAL if self.interval else 0) | (nf.NFT_SET_MAP if self.data else 0)
        return nf.Set(
            family=FAMILIES[family],
            table="weft",
            name=self.name,
            flags=flags,
            key_type=key_type,
            key_len=key_len,
            data_type=data_type,
            data_len=data_len,
            set_id=number,
        )


class ChainSpec(Record):
    """A chain: a base chain when it has a hook."""

    name: str
    rules: tuple[Rule, ...]
    type: str = ""
    hook: str = ""
    priority: int = 0

    @property
    def text(self) -> str:
        """As nft reads it."""
        base = f"\t\ttype {self.type} hook {self.hook} priority {self.priority}; policy accept;\n"
        rules = "".join([f"\t\t{r.text}\n" for r in self.rules])
        return f"\tchain {self.name} {{\n{base if self.hook else ''}{rules}\t}}\n"

    def wire(self, family: str) -> nf.Chain:
        """As NFT_MSG_NEWCHAIN takes it."""
        based = bool(self.hook)
        return nf.Chain(
            family=FAMILIES[family],
            table="weft",
            name=self.name,
            hook=_HOOKS[self.hook] if based else None,
            priority=self.priority if based else None,
            type=self.type if based else None,
            policy=1 if based else None,
        )


_BRIDGE_SETS = (SetSpec("lease4", ("ifname", "ether_addr", "ipv4_addr")),)

_INET_SETS = (
    SetSpec("bridges", ("ifname",)),
    SetSpec("same", ("ifname", "ifname")),
    SetSpec("own4", ("ifname", "ipv4_addr")),
    SetSpec("subnet4", ("ipv4_addr",), interval=True),
    SetSpec("nat4", ("ipv4_addr",), interval=True),
    SetSpec("publish4", ("inet_proto", "ipv4_addr", "inet_service"), ("ipv4_addr", "inet_service")),
    SetSpec("publish4_any", ("inet_proto", "inet_service"), ("ipv4_addr", "inet_service")),
    SetSpec("loopback4", ("ipv4_addr", "inet_service")),
    SetSpec("loopback4_any", ("inet_service",)),
    SetSpec("proxy", ("inet_proto",), ("inet_service",)),
)


def bridge_chains() -> tuple[ChainSpec, ...]:
    """An allow-list: a deny-list is beaten by VLAN tags and extension headers."""
    guard = (
        rule(lang.not_in_group(PORT_GROUP, GROUP_MASK), lang.accept(), comment="not a weft port"),
        rule(
            lang.ether_type("arp"),
            lang.leased("arp-frame", "lease4"),
            lang.leased("arp", "lease4"),
            lang.accept(),
            comment="ARP: its own MAC and address",
        ),
        rule(
            lang.ether_type("ip"),
            lang.leased("ip", "lease4"),
            lang.accept(),
            comment="IPv4: its own MAC and address",
        ),
        rule(lang.drop(), comment="spoofed, tagged, or not IPv4"),
    )
    return (ChainSpec("guard", guard, "filter", "prerouting", -300),)


def _guard() -> ChainSpec:
    bridges = lang.device("iif", "bridges")
    rules = (
        rule(lang.lo(), lang.accept()),
        rule(lang.ip_to(_LOOPBACK), lang.drop(), comment="loopback from outside"),
        rule(
            lang.device("iif", "bridges", outside=True),
            lang.ip_in("daddr", "subnet4"),
            lang.drop(),
            comment="a neighbour routing straight in",
        ),
        rule(bridges, lang.no_reverse_path(), lang.drop(), comment="source of another network"),
    )
    return ChainSpec("guard", rules, "filter", "prerouting", -300)


def _nat() -> tuple[ChainSpec, ...]:
    bridges = lang.device("iif", "bridges")
    away = lang.device("oif", "bridges", outside=True)
    publish = (rule(lang.dnat_by("publish4", True)), rule(lang.dnat_by("publish4_any", False)))
    loopback = (
        rule(lang.redirect_by("loopback4", True, "proxy")),
        rule(lang.redirect_by("loopback4_any", False, "proxy")),
    )
    local = rule(lang.to_local(), lang.jump("publish"))
    output = (rule(lang.ip_to(_LOOPBACK), lang.jump("loopback", back=False)), local)
    mark = rule(bridges, lang.ct_dnat(), lang.set_mark(PUBLISHED_MARK))
    hairpin = rule(lang.ct_dnat(), lang.device_pair("same"), lang.masquerade(), comment="hairpin, sibling")
    # With bridge-nf-call-iptables the DNATed frame is bridged, and then it has no input interface.
    bridged = rule(
        lang.ct_dnat(),
        lang.device("iif", "bridges", outside=True),
        lang.ip_in("saddr", "nat4"),
        lang.device("oif", "bridges"),
        lang.masquerade(),
        comment="hairpin, sibling, bridged",
    )
    out = rule(lang.ip_in("saddr", "nat4"), away, lang.masquerade())
    return (
        ChainSpec("publish", publish),
        ChainSpec("loopback", loopback),
        ChainSpec("prerouting", (local,), "nat", "prerouting", -100),
        ChainSpec("published", (mark,), "filter", "prerouting", -99),
        ChainSpec("output", output, "nat", "output", -100),
        ChainSpec("postrouting", (hairpin, bridged, out), "nat", "postrouting", 100),
    )


def _filter() -> tuple[ChainSpec, ...]:
    known, dnat = rule(lang.ct_known(), lang.accept()), rule(lang.ct_dnat(), lang.accept())
    same = rule(lang.device_pair("same"), lang.accept(), comment="bridge-nf-call-iptables")
    leaving = (
        dnat,
        same,
        rule(lang.device("oif", "bridges"), lang.drop(), comment="other networks"),
        rule(lang.ip_to(_METADATA), lang.drop(), comment="link-local, cloud metadata"),
    )
    entering = (known, dnat, same, rule(lang.drop(), comment="not published"))
    own = lang.own_address("own4")
    host = (
        known,
        rule(own, lang.ip_protocol("icmp"), lang.accept()),
        rule(own, lang.dport("udp", 53), lang.accept()),
        rule(own, lang.dport("tcp", 53), lang.accept()),
        rule(lang.drop(), comment="the host's own services"),
    )
    forward = (
        rule(lang.device("iif", "bridges"), lang.jump("leaving")),
        rule(lang.device("oif", "bridges"), lang.jump("entering")),
    )
    return (
        ChainSpec("leaving", leaving),
        ChainSpec("entering", entering),
        ChainSpec("forward", forward, "filter", "forward", 0),
        ChainSpec("host", host),
        ChainSpec("input", (rule(lang.device("iif", "bridges"), lang.jump("host")),), "filter", "input", 0),
    )


def inet_chains() -> tuple[ChainSpec, ...]:
    """Guard, NAT and filter chains, chains that are jumped to before those that jump."""
    return (_guard(), *_nat(), *_filter())


def _table(family: str, sets: tuple[SetSpec, ...], chains: tuple[ChainSpec, ...], said: str) -> TableAdd:
    body = "".join([s.text for s in sets]) + "".join([c.text for c in chains])
    number = FAMILIES[family]
    rules = [
        nf.RuleDef(
            family=number,
            table="weft",
            chain=chain.name,
            expressions=tuple([e for s in r.statements for e in s.expressions]),
            comment=r.comment or None,
        )
        for chain in chains
        for r in chain.rules
    ]
    return TableAdd(
        family=family,
        table="weft",
        comment=said,
        text=f'table {family} weft {{\n\tcomment "{said}"\n{body}}}\n',
        sets=tuple([s.wire(family, n) for n, s in enumerate(sets, 1)]),
        chains=tuple([c.wire(family) for c in chains]),
        rules=tuple(rules),
    )


def tables(root: str) -> tuple[TableAdd, TableAdd]:
    """Both tables, marked with the root's id."""
    said = f"weft:{root}"
    return (
        _table("bridge", _BRIDGE_SETS, bridge_chains(), said),
        _table("inet", _INET_SETS, inet_chains(), said),
    )
