"""weft's two firewall tables: built once with the first network, gone with the last.

No rule names a network, a container or a port: those are elements of the sets and maps here. The
shape and what it was tried against: docs/decisions/0004-firewall.md; what each set and chain is for:
docs/reference/firewall.md.
"""

from __future__ import annotations

from weft.core.firewall import lang
from weft.core.firewall.lang import Rule, rule
from weft.core.model.address import Subnet
from weft.core.model.network import JOINT_GROUP, PORT_GROUP
from weft.core.ops.nft import FAMILIES, TableAdd
from weft.core.record import Record
from weft.core.wire import nfnetlink as nf

#: The packet mark of a connection that came by a published port: other networks may answer it,
#: past the routing rules that keep networks apart. One bit, so that other people's marks stay.
PUBLISHED_MARK = 0x01000000
#: The source MAC of frames that leave the first bridge of a network by the port that they came in by.
RETURNED = "02:77:65:66:00:01"
GROUP_MASK = 0xFFFF0000
_LOOPBACK = Subnet(4, 127 << 24, 8)
_LOOPBACK6 = Subnet(6, 1, 128)
_METADATA = Subnet(4, (169 << 24) + (254 << 16), 16)
#: The metadata service of a cloud by IPv6: fd00:ec2::254.
_METADATA6 = Subnet(6, 0xFD000EC2 << 96 | 0x254, 128)
#: What nft 1.0.6 writes for ``typeof iifname . ether saddr . @th,64,128``, by which it lists the set.
_TYPEOF_TARGET = bytes.fromhex(
    "000400000000035600040d000000014e000e0004090000000106000406000000011400040700000001"
    "0c0004110000000104020000000226000407000000011e0004000000000104000000000204030000000304400000"
    "00040480000000"
)

_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}


class SetSpec(Record):
    """A set, or a map when it has data types. Types are nft's names, several make a concatenation.

    ``typeof`` is how nft must be told of a key for which it has no type, ``userdata`` what it notes down
    then.
    """

    name: str
    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    interval: bool = False
    typeof: str = ""
    userdata: bytes | None = None

    @property
    def text(self) -> str:
        """As nft reads it."""
        types = " . ".join(self.key) + (f" : {' . '.join(self.data)}" if self.data else "")
        types = f"typeof {self.typeof}" if self.typeof else f"type {types}"
        flags = "flags interval; " if self.interval else ""
        return f"\t{'map' if self.data else 'set'} {self.name} {{ {types}; {flags}}}\n"

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
            userdata=self.userdata,
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


_PORT = ("ifname", "ether_addr")
_BRIDGE_SETS = (
    SetSpec("lease4", (*_PORT, "ipv4_addr")),
    SetSpec("lease6", (*_PORT, "ipv6_addr")),
    SetSpec("target6", (*_PORT, "integer"), (), False, "iifname . ether saddr . @th,64,128", _TYPEOF_TARGET),
)


def _both(
    name: str, before: tuple[str, ...], after: tuple[str, ...] = (), interval: bool = False
) -> tuple[SetSpec, ...]:
    """A set for each family, with its address between other parts of the key."""
    return tuple([SetSpec(f"{name}{v}", (*before, f"ipv{v}_addr", *after), (), interval) for v in (4, 6)])


def _maps(version: int) -> tuple[SetSpec, ...]:
    address = f"ipv{version}_addr"
    target = (address, "inet_service")
    return (
        SetSpec(f"snat{version}", (address,), (address,), interval=True),
        SetSpec(f"dns{version}_at", ("ifname", address, "inet_proto", "inet_service"), target),
        SetSpec(f"publish{version}", ("inet_proto", address, "inet_service"), target),
        SetSpec(f"publish{version}_any", ("inet_proto", "inet_service"), target),
    )


_INET_SETS = (
    SetSpec("bridges", ("ifname",)),
    SetSpec("gateways", ("ifname",)),
    SetSpec("shards", ("ifname",)),
    SetSpec("same", ("ifname", "ifname")),
    SetSpec("shielded", ("ifname",)),
    SetSpec("internal", ("ifname",)),
    SetSpec("isolated", ("ifname",)),
    SetSpec("mixing", ("ifname",)),
    SetSpec("shared", ("ifname",)),
    SetSpec("exposed", ("ifname",)),
    *_both("own", ("ifname",)),
    *_both("taken", ("ifname",)),
    *_both("subnet", (), interval=True),
    *_both("nat", (), interval=True),
    *_both("routed", (), interval=True),
    *_both("open", (), ("inet_proto", "inet_service")),
    *_both("dns", ("ifname",), ("inet_proto", "inet_service")),
    *_maps(4),
    *_maps(6),
    SetSpec("loopback4", ("ipv4_addr", "inet_service")),
    SetSpec("loopback4_any", ("inet_service",)),
    SetSpec("proxy", ("inet_proto",), ("inet_service",)),
)


def bridge_chains() -> tuple[ChainSpec, ...]:
    """An allow-list: a deny-list is beaten by VLAN tags and extension headers."""
    six = lang.ether_type("ip6")
    guard = (
        rule(lang.not_in_group("iif", PORT_GROUP, GROUP_MASK), lang.accept(), comment="not a weft port"),
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
        rule(six, lang.leased("ip6", "lease6"), lang.jump("six"), comment="IPv6: its own MAC and address"),
        rule(lang.drop(), comment="spoofed, tagged, or neither ARP nor IP"),
    )
    return _six(), ChainSpec("guard", guard, "filter", "prerouting", -300), _joint()


def _joint() -> ChainSpec:
    """The end of the cable to further bridges, at which frames may leave as they came: those only that the
    host gave a new address, with bridge-nf-call-iptables. Others would come back to who sent them."""
    back = (
        *[rule(lang.not_in_group(end, JOINT_GROUP, GROUP_MASK), lang.accept()) for end in ("iif", "oif")],
        rule(lang.unmarked(PUBLISHED_MARK), lang.drop(), comment="would come back to its sender"),
        # Or further bridges would look for the sender on the side that they got it from.
        rule(lang.set_source(RETURNED)),
    )
    return ChainSpec("joint", back, "filter", "forward", -200)


def _six() -> ChainSpec:
    """What an IPv6 packet with an honest source may be. Router advertisements, redirects, MLD and extension
    headers but the fragment's are not on the list; of a fragmented packet the first part is looked at."""
    six = lang.ether_type("ip6")
    icmp = (six, lang.nexthdr("ipv6-icmp"))
    part = (six, lang.nexthdr("ipv6-frag"))
    plain = "destination-unreachable packet-too-big time-exceeded parameter-problem echo-request echo-reply"
    return ChainSpec(
        "six",
        (
            *[rule(six, lang.nexthdr(name), lang.accept()) for name in ("tcp", "udp")],
            *[rule(*icmp, lang.icmpv6(name), lang.accept()) for name in plain.split()],
            rule(*icmp, lang.icmpv6("nd-neighbor-solicit"), lang.accept()),
            rule(*icmp, lang.icmpv6("nd-neighbor-advert"), lang.leased("target", "target6"), lang.accept()),
            rule(*part, lang.later_fragment(), lang.accept()),
            *[rule(*part, lang.l4proto(name), lang.accept()) for name in ("tcp", "udp")],
            *[
                rule(*part, lang.l4proto("ipv6-icmp"), lang.icmpv6(name), lang.accept())
                for name in ("echo-request", "echo-reply")
            ],
        ),
    )


_OTHER_SOURCE = "source of another network"


def _guard() -> ChainSpec:
    outside = lang.device("iif", "bridges", outside=True)
    straight = [
        rule(
            outside, lang.ip_in("daddr", name, family), lang.drop(), comment="a neighbour routing straight in"
        )
        for name, family in (("subnet4", "ip"), ("subnet6", "ip6"))
    ]
    rules = (
        rule(lang.lo(), lang.accept()),
        rule(lang.ip_to(_LOOPBACK), lang.drop(), comment="loopback from outside"),
        *straight,
        # The same packet comes by the first bridge again, where it is tracked and translated.
        rule(lang.device("iif", "shards"), lang.notrack()),
        rule(lang.device("iif", "gateways"), lang.no_reverse_path(), lang.drop(), comment=_OTHER_SOURCE),
        # What a bridge would pass on by itself is not worth an entry (bridge-nf-call-iptables): what is
        # translated between members shows the gateway's address, so its answers are for this host.
        rule(lang.device("iif", "gateways"), lang.to_same_link(), lang.notrack()),
    )
    return ChainSpec("guard", rules, "filter", "prerouting", -300)


def _nat() -> tuple[ChainSpec, ...]:
    bridges = lang.device("iif", "bridges")
    publish = (
        rule(lang.dnat_by("publish4", True)),
        rule(lang.dnat_by("publish4_any", False)),
        rule(lang.dnat_by("publish6", True, "ip6")),
        rule(lang.dnat_by("publish6_any", False, "ip6")),
    )
    loopback = (
        rule(lang.redirect_by("loopback4", True, "proxy")),
        rule(lang.redirect_by("loopback4_any", False, "proxy")),
    )
    local = rule(lang.to_local(), lang.jump("publish"))
    resolver = [rule(lang.dnat_own(f"dns{v}_at", family)) for v, family in (("4", "ip"), ("6", "ip6"))]
    output = (
        rule(lang.ip_to(_LOOPBACK), lang.jump("loopback", back=False)),
        rule(lang.ip_to(_LOOPBACK6), lang.accept(), comment="the proxy's held sockets serve it"),
        local,
    )
    mark = rule(bridges, lang.ct_dnat(), lang.set_mark(PUBLISHED_MARK))
    return (
        ChainSpec("publish", publish),
        ChainSpec("loopback", loopback),
        ChainSpec("prerouting", (*resolver, local), "nat", "prerouting", -100),
        ChainSpec("published", (mark,), "filter", "prerouting", -99),
        ChainSpec("output", output, "nat", "output", -100),
        ChainSpec("postrouting", _postrouting(), "nat", "postrouting", 100),
    )


def _postrouting() -> tuple[Rule, ...]:
    away, outside = lang.device("oif", "bridges", outside=True), lang.device("iif", "bridges", outside=True)
    families = (("4", "ip"), ("6", "ip6"))
    hairpin = rule(lang.ct_dnat(), lang.device_pair("same"), lang.masquerade(), comment="hairpin, sibling")
    # With bridge-nf-call-iptables the DNATed frame is bridged, and then it has no input interface.
    bridged = [
        rule(
            lang.ct_dnat(),
            outside,
            lang.ip_in("saddr", f"nat{v}", family),
            lang.device("oif", "bridges"),
            lang.masquerade(),
            comment="hairpin, sibling, bridged",
        )
        for v, family in families
    ]
    shown = [rule(away, lang.snat_by(f"snat{v}", family)) for v, family in families]
    out = [rule(lang.ip_in("saddr", f"nat{v}", family), away, lang.masquerade()) for v, family in families]
    return (hairpin, *bridged, *shown, *out)


def _filter() -> tuple[ChainSpec, ...]:
    forward = (
        rule(lang.device("iif", "bridges"), lang.jump("leaving")),
        rule(lang.device("oif", "bridges"), lang.jump("entering")),
    )
    return (
        ChainSpec("leaving", _leaving()),
        ChainSpec("entering", _entering()),
        ChainSpec("forward", forward, "filter", "forward", 0),
        ChainSpec("host", _host()),
        ChainSpec("input", (rule(lang.device("iif", "shielded"), lang.jump("host")),), "filter", "input", 0),
    )


def _leaving() -> tuple[Rule, ...]:
    inside, outside = lang.device_pair("same"), lang.device_pair("same", outside=True)
    isolated = lang.device("iif", "isolated"), lang.device("oif", "isolated")
    return (
        rule(
            lang.device("iif", "shards"),
            lang.device("oif", "shards", outside=True),
            lang.drop(),
            comment="a further bridge is no gateway",
        ),
        rule(lang.clamp_mss()),
        rule(lang.device("iif", "internal"), outside, lang.drop(), comment="out of an internal network"),
        rule(lang.ct_dnat(), lang.accept()),
        rule(*isolated, lang.drop(), comment="members that cannot talk to each other"),
        rule(inside, lang.accept(), comment="bridge-nf-call-iptables"),
        *[
            rule(lang.device("iif", a), lang.device("oif", b), lang.accept(), comment="networks that mix")
            for a, b in (("mixing", "shared"), ("shared", "mixing"))
        ],
        rule(lang.device("oif", "bridges"), lang.drop(), comment="other networks"),
        rule(lang.ip_to(_METADATA), lang.drop(), comment="link-local, cloud metadata"),
        rule(lang.ip_to(_METADATA6), lang.drop(), comment="cloud metadata"),
    )


def _entering() -> tuple[Rule, ...]:
    inside, outside = lang.device_pair("same"), lang.device_pair("same", outside=True)
    routed = lang.ip_in("daddr", "routed4"), lang.ip_in("daddr", "routed6", "ip6")
    return (
        rule(lang.clamp_mss()),
        rule(lang.device("oif", "internal"), outside, lang.drop(), comment="into an internal network"),
        rule(lang.ct_known(), lang.accept()),
        rule(lang.ct_dnat(), lang.accept()),
        rule(inside, lang.accept(), comment="bridge-nf-call-iptables"),
        rule(routed[0], lang.ip_protocol("icmp"), lang.accept(), comment="routed"),
        rule(routed[1], lang.l4proto("ipv6-icmp"), lang.accept(), comment="routed"),
        rule(lang.open_port("open4", "ip"), lang.accept(), comment="routed and published"),
        rule(lang.open_port("open6", "ip6"), lang.accept(), comment="routed and published"),
        rule(lang.device("oif", "exposed"), lang.accept(), comment="reached by their own addresses"),
        rule(lang.drop(), comment="not published"),
    )


def _host() -> tuple[Rule, ...]:
    own, own6 = lang.own_address("own4"), lang.own_address("own6", "ip6")
    return (
        rule(lang.ct_known(), lang.accept()),
        rule(own, lang.ip_protocol("icmp"), lang.accept()),
        rule(own6, lang.l4proto("ipv6-icmp"), lang.accept()),
        rule(lang.icmpv6("nd-neighbor-solicit", inet=True), lang.accept()),
        rule(lang.own_port("dns4", "ip"), lang.accept(), comment="weft dns"),
        rule(lang.own_port("dns6", "ip6"), lang.accept(), comment="weft dns"),
        rule(lang.device("iif", "internal"), lang.drop(), comment="the host's DNS is no way out"),
        *[rule(o, lang.dport(p, 53), lang.accept()) for o in (own, own6) for p in ("udp", "tcp")],
        rule(lang.drop(), comment="the host's own services"),
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
