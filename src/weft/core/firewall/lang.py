"""Statements of nft rules with both faces: the text people read and the kernel's expressions.

Each returns a Statement; a rule is their sequence. The expressions are those that nft itself
compiles from the same text (``nft --debug=netlink``), which the parity test compares.
"""

from __future__ import annotations

from sys import byteorder

from weft.core.model.address import Subnet
from weft.core.model.names import mac_bytes
from weft.core.ops.nft import PROTOCOLS
from weft.core.record import Record
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
from weft.core.wire.nft_data import Verdict

_IPV4, _IPV6 = bytes([2]), bytes([10])
_ETHERTYPE = {"ip": b"\x08\x00", "arp": b"\x08\x06", "ip6": b"\x86\xdd"}
#: Where source and destination stand in the IP header, and how long they are.
_SIDES = {"ip": {"saddr": (12, 4), "daddr": (16, 4)}, "ip6": {"saddr": (8, 16), "daddr": (24, 16)}}
#: Types of ICMPv6 by nft's names (RFC 4443, RFC 4861).
_ICMPV6 = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
}
_FRAGMENT = 44


class Statement(Record):
    """A part of a rule."""

    text: str
    expressions: tuple[ex.Expr, ...]


class Rule(Record):
    """A rule of a chain."""

    statements: tuple[Statement, ...]
    comment: str = ""

    @property
    def text(self) -> str:
        """As nft reads it."""
        said = f' comment "{self.comment}"' if self.comment else ""
        return " ".join([s.text for s in self.statements]) + said


def rule(*statements: Statement, comment: str = "") -> Rule:
    """A rule of these statements, in order."""
    return Rule(statements, comment)


def _same(data: bytes, register: int = 1) -> ex.Cmp:
    return ex.Cmp(ex.NFT_CMP_EQ, register, data)


def _differs(data: bytes) -> ex.Cmp:
    return ex.Cmp(ex.NFT_CMP_NEQ, 1, data)


def _is(family: str) -> tuple[ex.Expr, ...]:
    """What nft puts before an ``ip`` or ``ip6`` match in an inet table."""
    return ex.Meta(ex.NFT_META_NFPROTO, dreg=1), _same(_IPV4 if family == "ip" else _IPV6)


def _ip(family: str, side: str, register: int = 1) -> ex.Payload:
    return _header(*_SIDES[family][side], register)


def _protocol(name: str) -> tuple[ex.Expr, ...]:
    return ex.Meta(ex.NFT_META_L4PROTO, dreg=1), _same(bytes([PROTOCOLS[name]]))


def _header(offset: int, length: int, register: int = 1) -> ex.Payload:
    return ex.Payload(ex.NFT_PAYLOAD_NETWORK_HEADER, offset, length, register)


def _link(offset: int, length: int, register: int) -> ex.Payload:
    return ex.Payload(ex.NFT_PAYLOAD_LL_HEADER, offset, length, register)


def _dport(register: int) -> ex.Payload:
    return ex.Payload(ex.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, register)


def _lookup(name: str, outside: bool = False) -> ex.Lookup:
    return ex.Lookup(name, 1, flags=ex.NFT_LOOKUP_F_INV if outside else 0)


def lo() -> Statement:
    """``iifname "lo"``."""
    name = b"lo".ljust(16, b"\0")
    return Statement('iifname "lo"', (ex.Meta(ex.NFT_META_IIFNAME, dreg=1), _same(name)))


def device(direction: str, name: str, outside: bool = False) -> Statement:
    """``iifname @SET`` or ``oifname != @SET``; direction is ``iif`` or ``oif``."""
    key = ex.NFT_META_IIFNAME if direction == "iif" else ex.NFT_META_OIFNAME
    text = f"{direction}name {'!= ' if outside else ''}@{name}"
    return Statement(text, (ex.Meta(key, dreg=1), _lookup(name, outside)))


def device_pair(name: str, outside: bool = False) -> Statement:
    """``iifname . oifname @SET`` or ``iifname . oifname != @SET``."""
    load = ex.Meta(ex.NFT_META_IIFNAME, dreg=1), ex.Meta(ex.NFT_META_OIFNAME, dreg=2)
    text = f"iifname . oifname {'!= ' if outside else ''}@{name}"
    return Statement(text, (*load, _lookup(name, outside)))


def ip_in(side: str, name: str, family: str = "ip") -> Statement:
    """``ip saddr @SET``, ``ip daddr @SET``, or the same of ``ip6``."""
    return Statement(f"{family} {side} @{name}", (*_is(family), _ip(family, side), _lookup(name)))


def ip_to(subnet: Subnet) -> Statement:
    """``ip daddr SUBNET`` for prefix lengths of whole bytes, which nft compares without a mask; or of one
    IPv6 address."""
    family = "ip" if subnet.version == 4 else "ip6"
    length = subnet.prefix // 8
    match = _header(_SIDES[family]["daddr"][0], length), _same(subnet.first.packed[:length])
    shown = subnet.first if subnet.prefix == subnet.bits else subnet
    return Statement(f"{family} daddr {shown}", (*_is(family), *match))


def own_address(name: str, family: str = "ip") -> Statement:
    """``iifname . ip daddr @SET``: the packet is for the address that this bridge itself has."""
    load = ex.Meta(ex.NFT_META_IIFNAME, dreg=1), _ip(family, "daddr", 2)
    return Statement(f"iifname . {family} daddr @{name}", (*_is(family), *load, _lookup(name)))


def ip_protocol(name: str) -> Statement:
    """``ip protocol NAME`` after a match that made sure of IPv4."""
    return Statement(f"ip protocol {name}", (_header(9, 1), _same(bytes([PROTOCOLS[name]]))))


def l4proto(name: str) -> Statement:
    """``meta l4proto NAME``: the transport protocol, behind whatever extension headers."""
    return Statement(f"meta l4proto {name}", _protocol(name))


def nexthdr(name: str) -> Statement:
    """``ip6 nexthdr NAME`` in a rule that made sure of IPv6: the header that comes first."""
    return Statement(f"ip6 nexthdr {name}", (_header(6, 1), _same(bytes([PROTOCOLS[name]]))))


def icmpv6(name: str, inet: bool = False) -> Statement:
    """``icmpv6 type NAME``; ``inet``: in a rule of that family where nothing else made sure of the
    protocol."""
    known = (*_is("ip6"), *_protocol("ipv6-icmp")) if inet else ()
    load = ex.Payload(ex.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, 1)
    return Statement(f"icmpv6 type {name}", (*known, load, _same(bytes([_ICMPV6[name]]))))


def later_fragment() -> Statement:
    """``frag frag-off != 0``: not the first, which holds the transport header."""
    load = ex.Exthdr(_FRAGMENT, 2, 2, dreg=1)
    cut = ex.Bitwise(1, 1, 2, b"\xff\xf8", bytes(2))
    return Statement("frag frag-off != 0", (load, cut, _differs(bytes(2))))


def open_port(name: str, family: str) -> Statement:
    """``ip daddr . meta l4proto . th dport @SET``."""
    wide = family == "ip6"
    load = (
        _ip(family, "daddr"),
        ex.Meta(ex.NFT_META_L4PROTO, dreg=2 if wide else 9),
        _dport(13 if wide else 10),
    )
    text = f"{family} daddr . meta l4proto . th dport @{name}"
    return Statement(text, (*_is(family), *load, _lookup(name)))


def _named_port(family: str) -> tuple[str, tuple[ex.Expr, ...]]:
    """The bridge, its address, protocol and port, as a key."""
    wide = family == "ip6"
    load = (
        ex.Meta(ex.NFT_META_IIFNAME, dreg=1),
        _ip(family, "daddr", 2),
        ex.Meta(ex.NFT_META_L4PROTO, dreg=3 if wide else 13),
        _dport(17 if wide else 14),
    )
    return f"iifname . {family} daddr . meta l4proto . th dport", (*_is(family), *load)


def own_port(name: str, family: str) -> Statement:
    """``iifname . ip daddr . meta l4proto . th dport @SET``: a service at the bridge's own address."""
    text, load = _named_port(family)
    return Statement(f"{text} @{name}", (*load, _lookup(name)))


def dnat_own(name: str, family: str) -> Statement:
    """``dnat ip to iifname . ip daddr . meta l4proto . th dport map @MAP``: it is elsewhere."""
    text, load = _named_port(family)
    wide = family == "ip6"
    find = ex.Lookup(name, 1, dreg=1)
    number = nf.NFPROTO_IPV6 if wide else nf.NFPROTO_IPV4
    nat = ex.Nat(ex.NFT_NAT_DNAT, number, 1, reg_proto=2 if wide else 9)
    return Statement(f"dnat {family} to {text} map @{name}", (*load, find, nat))


def clamp_mss() -> Statement:
    """``tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu``: nobody offers more than the
    way holds."""
    flags = ex.Payload(ex.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, 1)
    match = flags, ex.Bitwise(1, 1, 1, b"\x06", b"\0"), _same(b"\x02")
    route = ex.Rt(1, ex.NFT_RT_TCPMSS), ex.Byteorder(1, 1, ex.NFT_BYTEORDER_HTON, 2, 2)
    write = ex.Exthdr(2, 2, 2, ex.NFT_EXTHDR_OP_TCPOPT, sreg=1)
    text = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
    return Statement(text, (*_protocol("tcp"), *match, *route, write))


def notrack() -> Statement:
    """``notrack``."""
    return Statement("notrack", (ex.Notrack(),))


def snat_by(name: str, family: str) -> Statement:
    """``snat ip to ip saddr map @MAP``: the address that the host shows for a network."""
    number = nf.NFPROTO_IPV4 if family == "ip" else nf.NFPROTO_IPV6
    find = ex.Lookup(name, 1, dreg=1)
    nat = ex.Nat(ex.NFT_NAT_SNAT, number, 1)
    text = f"snat {family} to {family} saddr map @{name}"
    return Statement(text, (*_is(family), _ip(family, "saddr"), find, nat))


def dport(proto: str, port: int) -> Statement:
    """``tcp dport N`` or ``udp dport N``."""
    match = _dport(1), _same(port.to_bytes(2, "big"))
    return Statement(f"{proto} dport {port}", (*_protocol(proto), *match))


def no_reverse_path() -> Statement:
    """``fib saddr . iif oif missing``: no route leads back to the source by this interface."""
    flags = ex.NFTA_FIB_F_SADDR | ex.NFTA_FIB_F_IIF
    fib = ex.Fib(1, ex.NFT_FIB_RESULT_OIF, flags)
    return Statement("fib saddr . iif oif 0", (fib, _same(bytes(4))))


def to_same_link() -> Statement:
    """``fib daddr . iif oif exists``: the packet leaves as it came, and is not for this host."""
    flags = ex.NFTA_FIB_F_DADDR | ex.NFTA_FIB_F_IIF
    fib = ex.Fib(1, ex.NFT_FIB_RESULT_OIF, flags)
    return Statement("fib daddr . iif oif != 0", (fib, _differs(bytes(4))))


def to_local() -> Statement:
    """``fib daddr type local``: the packet is for an address of this host, whichever it is."""
    fib = ex.Fib(1, ex.NFT_FIB_RESULT_ADDRTYPE, ex.NFTA_FIB_F_DADDR)
    return Statement("fib daddr type local", (fib, _same((2).to_bytes(4, byteorder))))


def _ct(key: int, mask: int) -> tuple[ex.Expr, ...]:
    raw = mask.to_bytes(4, byteorder)
    return ex.Ct(key, dreg=1), ex.Bitwise(1, 1, 4, raw, bytes(4)), _differs(bytes(4))


def ct_known() -> Statement:
    """``ct state established,related``."""
    return Statement("ct state established,related", _ct(ex.NFT_CT_STATE, 6))


def ct_dnat() -> Statement:
    """``ct status dnat``: the connection came by a published port."""
    return Statement("ct status dnat", _ct(ex.NFT_CT_STATUS, 0x20))


def set_mark(bit: int) -> Statement:
    """``meta mark set meta mark | BIT``: other bits belong to other people."""
    keep = (0xFFFFFFFF & ~bit).to_bytes(4, byteorder)
    change = ex.Bitwise(1, 1, 4, keep, bit.to_bytes(4, byteorder))
    load, store = ex.Meta(ex.NFT_META_MARK, dreg=1), ex.Meta(ex.NFT_META_MARK, sreg=1)
    return Statement(f"meta mark set meta mark | {bit:#010x}", (load, change, store))


def unmarked(bit: int) -> Statement:
    """``meta mark & BIT == 0``."""
    load, cut = ex.Meta(ex.NFT_META_MARK, dreg=1), ex.Bitwise(1, 1, 4, bit.to_bytes(4, byteorder), bytes(4))
    return Statement(f"meta mark & {bit:#010x} == 0x00000000", (load, cut, _same(bytes(4))))


def set_source(mac: str) -> Statement:
    """``ether saddr set MAC``."""
    write = ex.Payload(ex.NFT_PAYLOAD_LL_HEADER, 6, 6, sreg=1)
    return Statement(f"ether saddr set {mac}", (ex.Immediate(1, mac_bytes(mac)), write))


def dnat_by(name: str, with_address: bool, family: str = "ip") -> Statement:
    """``dnat ip to ... map @MAP``: protocol, address where asked, and port give address and port."""
    proto = ex.Meta(ex.NFT_META_L4PROTO, dreg=1)
    key: tuple[ex.Expr, ...] = (proto, _dport(9))
    text = "meta l4proto . th dport"
    wide = family == "ip6"
    if with_address:
        key = *_is(family), proto, _ip(family, "daddr", 9), _dport(13 if wide else 10)
        text = f"meta l4proto . {family} daddr . th dport"
    find = ex.Lookup(name, 1, dreg=1)
    number = nf.NFPROTO_IPV6 if wide else nf.NFPROTO_IPV4
    nat = ex.Nat(ex.NFT_NAT_DNAT, number, 1, reg_proto=2 if wide else 9)
    return Statement(f"dnat {family} to {text} map @{name}", (*key, find, nat))


def redirect_by(name: str, with_address: bool, to: str) -> Statement:
    """``... @SET redirect to meta l4proto map @MAP``: TCP to the loopback proxy."""
    key: tuple[ex.Expr, ...] = (_dport(1),)
    text = "tcp dport"
    if with_address:
        key = *_is("ip"), _ip("ip", "daddr"), _dport(9)
        text = "ip daddr . tcp dport"
    port = ex.Meta(ex.NFT_META_L4PROTO, dreg=1), ex.Lookup(to, 1, dreg=1)
    # NF_NAT_RANGE_PROTO_SPECIFIED, as nft sets it when a port is given
    redirect = ex.Redir(1, flags=2)
    words = f"meta l4proto tcp {text} @{name} redirect to meta l4proto map @{to}"
    return Statement(words, (*_protocol("tcp"), *key, _lookup(name), *port, redirect))


def not_in_group(direction: str, group: int, mask: int) -> Statement:
    """``meta iifgroup & MASK != GROUP``; direction is ``iif`` or ``oif``."""
    load = ex.Meta(ex.NFT_META_IIFGROUP if direction == "iif" else ex.NFT_META_OIFGROUP, dreg=1)
    cut = ex.Bitwise(1, 1, 4, mask.to_bytes(4, byteorder), bytes(4))
    text = f"meta {direction}group & {mask:#010x} != {group:#010x}"
    return Statement(text, (load, cut, _differs(group.to_bytes(4, byteorder))))


def ether_type(name: str) -> Statement:
    """``ether type arp``, read from the frame itself, so that a VLAN tag does not match."""
    return Statement(f"ether type {name}", (_link(12, 2, 1), _same(_ETHERTYPE[name])))


def leased(kind: str, name: str) -> Statement:
    """``iifname . MAC . IP @SET``: kind ``ip`` or ``ip6`` (frame's MAC, packet's source), ``arp`` (ARP's own
    two), ``arp-frame`` (frame's MAC, ARP's sender address), or ``target`` (frame's MAC, and the address that
    a neighbour advertisement is about)."""
    texts = {
        "ip": "ether saddr . ip saddr",
        "ip6": "ether saddr . ip6 saddr",
        "arp": "arp saddr ether . arp saddr ip",
        "arp-frame": "ether saddr . arp saddr ip",
        "target": "ether saddr . @th,64,128",
    }
    hardware = _header(8, 6, 2) if kind == "arp" else _link(6, 6, 2)
    senders = {"ip": _header(12, 4, 14), "ip6": _ip("ip6", "saddr", 14)}
    senders["target"] = ex.Payload(ex.NFT_PAYLOAD_TRANSPORT_HEADER, 8, 16, 14)
    sender = senders.get(kind, _header(14, 4, 14))
    load = ex.Meta(ex.NFT_META_IIFNAME, dreg=1), hardware, sender
    return Statement(f"iifname . {texts[kind]} @{name}", (*load, _lookup(name)))


def accept() -> Statement:
    """``accept``."""
    return Statement("accept", (ex.Immediate(0, Verdict(ex.NF_ACCEPT)),))


def drop() -> Statement:
    """``drop``."""
    return Statement("drop", (ex.Immediate(0, Verdict(ex.NF_DROP)),))


def jump(chain: str, back: bool = True) -> Statement:
    """``jump CHAIN``, or ``goto CHAIN`` when evaluation does not come back."""
    code = ex.NFT_JUMP if back else ex.NFT_GOTO
    return Statement(f"{'jump' if back else 'goto'} {chain}", (ex.Immediate(0, Verdict(code, chain)),))


def masquerade() -> Statement:
    """``masquerade``."""
    return Statement("masquerade", (ex.Masq(),))
