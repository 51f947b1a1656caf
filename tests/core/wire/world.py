"""One nf_tables world twice: as nft's text, and as the records that should say the same.

The shape is the firewall's: maps with concatenated keys, verdict maps, NAT, marks, a bridge table.
"""

from __future__ import annotations

import socket
from sys import byteorder

from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
from weft.core.wire.nft_data import Verdict

INET, BRIDGE = nf.NFPROTO_INET, nf.NFPROTO_BRIDGE

TEXT = """
table inet weft {
    comment "weft:0123456789abcdef"
    set bridges { type ifname; comment "every bridge"; elements = { "br0" comment "blue", "br1" } }
    set same { type ifname . ifname; elements = { "br0" . "br0" } }
    set nat4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/24 } }
    set own { type ifname . ipv4_addr; flags interval; elements = { "br0" . 10.0.0.0/24 comment "net" } }
    set marks { type mark; elements = { 0x00000102 } }
    map publish4 {
        type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
        elements = { tcp . 192.0.2.1 . 80 comment "web" : 10.0.0.2 . 8080 }
    }
    map doors { type ifname : verdict; elements = { "br0" : jump leaving, "br1" : drop } }
    map proxy { type inet_proto : inet_service; elements = { tcp : 4711 } }
    map tags { type ipv4_addr : mark; elements = { 10.0.0.2 : 0x00010203 } }
    chain leaving {
        comment "to elsewhere"
        ct state established,related accept
        reject with icmpx type admin-prohibited comment "other networks"
    }
    chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @publish4 comment "publish"
        meta l4proto tcp redirect to meta l4proto map @proxy
    }
    chain tagging {
        type filter hook prerouting priority -99; policy accept;
        iifname @bridges ct status dnat meta mark set meta mark | 0x01000000
        meta iifgroup & 0xffff0000 != 0x57000000 counter return
        iifname . ip daddr @own accept
        fib saddr . iif oif 0 drop
        meta mark set ip daddr map @tags
        meta mark @marks ct mark set meta mark
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        iifname vmap @doors
        iifname . oifname @same accept
        tcp dport set 80
        tcp dport 22 reject with tcp reset
        limit rate 5/second burst 10 packets goto leaving
    }
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        ip saddr @nat4 oifname != @bridges masquerade
        oifname "up0" masquerade random
        ip saddr 10.9.0.1 snat ip to 192.0.2.9
    }
}
table bridge weft {
    set lease4 {
        type ifname . ether_addr . ipv4_addr
        elements = { "h0" . 02:00:00:00:00:01 . 10.0.0.2 comment "weft:fedcba9876543210 web" }
    }
    chain guard {
        type filter hook prerouting priority -300; policy accept;
        ether type ip iifname . ether saddr . ip saddr @lease4 accept
        ether type arp iifname . arp saddr ether . arp saddr ip @lease4 accept
        ether saddr set 02:77:65:66:00:01
        drop comment "spoofed"
    }
}
"""


def ip4(text: str) -> bytes:
    return socket.inet_aton(text)


def name(text: str) -> bytes:
    return text.encode().ljust(16, b"\0")


def port(number: int) -> bytes:
    return number.to_bytes(2, "big")


def native(number: int) -> bytes:
    return number.to_bytes(4, byteorder)


def _set(table: str, family: int, key: str, data: str = "", **fields: object) -> nf.Set:
    key_type, key_len = nf.concat_type(*key.split(" . "))
    if data:
        data_type, data_len = nf.concat_type(*data.split(" . "))
        fields |= {"data_type": data_type, "data_len": data_len}
    return nf.Set(family=family, table="weft", name=table, key_type=key_type, key_len=key_len, **fields)  # type: ignore[arg-type]


INTERVAL_CONCAT = nf.NFT_SET_INTERVAL | nf.NFT_SET_CONCAT
END = nf.NFT_SET_ELEM_INTERVAL_END
MAP = nf.NFT_SET_MAP
PORT = "ipv4_addr . inet_service"
FIELDS = nf.field_lengths("ifname", "ipv4_addr")
LEASE = "ifname . ether_addr . ipv4_addr"

TABLES = (nf.Table(INET, "weft", comment="weft:0123456789abcdef"), nf.Table(BRIDGE, "weft"))
SETS = (
    _set("bridges", INET, "ifname", comment="every bridge"),
    _set("same", INET, "ifname . ifname"),
    _set("nat4", INET, "ipv4_addr", flags=nf.NFT_SET_INTERVAL),
    _set("own", INET, "ifname . ipv4_addr", flags=INTERVAL_CONCAT, concat=FIELDS),
    _set("marks", INET, "mark"),
    _set("publish4", INET, f"inet_proto . {PORT}", PORT, flags=MAP),
    _set("doors", INET, "ifname", "verdict", flags=MAP),
    _set("proxy", INET, "inet_proto", "inet_service", flags=MAP),
    _set("tags", INET, "ipv4_addr", "mark", flags=MAP),
    _set("lease4", BRIDGE, LEASE),
)

ACCEPT = ex.Immediate(0, Verdict(ex.NF_ACCEPT))
DROP = ex.Immediate(0, Verdict(ex.NF_DROP))
_WEB = nf.pack_key(("inet_proto", "ipv4_addr", "inet_service"), (b"\x06", ip4("192.0.2.1"), port(80)))
_HARDWARE = bytes.fromhex("020000000001")

ELEMENTS = {
    "bridges": (nf.Element(name("br0"), comment="blue"), nf.Element(name("br1"))),
    "same": (nf.Element(name("br0") * 2),),
    "nat4": (nf.Element(ip4("10.0.0.0")), nf.Element(ip4("10.0.1.0"), flags=END)),
    "own": (
        nf.Element(name("br0") + ip4("10.0.0.0"), key_end=name("br0") + ip4("10.0.0.255"), comment="net"),
    ),
    "marks": (nf.Element(native(0x102)),),
    "publish4": (nf.Element(_WEB, data=ip4("10.0.0.2") + port(8080) + bytes(2), comment="web"),),
    "doors": (
        nf.Element(name("br0"), data=Verdict(ex.NFT_JUMP, "leaving")),
        nf.Element(name("br1"), data=Verdict(ex.NF_DROP)),
    ),
    "proxy": (nf.Element(b"\x06", data=port(4711)),),
    "tags": (nf.Element(ip4("10.0.0.2"), data=native(0x10203)),),
    "lease4": (
        nf.Element(
            nf.pack_key(("ifname", "ether_addr", "ipv4_addr"), (b"h0", _HARDWARE, ip4("10.0.0.2"))),
            comment="weft:fedcba9876543210 web",
        ),
    ),
}


def _base(chain: str, type_: str, hook: int, priority: int, policy: int = 1, family: int = INET) -> nf.Chain:
    return nf.Chain(family, "weft", chain, hook, priority, type_, policy)


CHAINS = (
    nf.Chain(INET, "weft", "leaving", comment="to elsewhere"),
    _base("prerouting", "nat", nf.NF_INET_PRE_ROUTING, -100),
    _base("tagging", "filter", nf.NF_INET_PRE_ROUTING, -99),
    _base("forward", "filter", nf.NF_INET_FORWARD, 0, policy=0),
    _base("postrouting", "nat", nf.NF_INET_POST_ROUTING, 100),
    _base("guard", "filter", nf.NF_INET_PRE_ROUTING, -300, family=BRIDGE),
)

LOAD_MARK = ex.Meta(ex.NFT_META_MARK, dreg=1)
SET_MARK = ex.Meta(ex.NFT_META_MARK, sreg=1)
IIFNAME = ex.Meta(ex.NFT_META_IIFNAME, dreg=1)
OIFNAME = ex.Meta(ex.NFT_META_OIFNAME, dreg=1)
L4PROTO = ex.Meta(ex.NFT_META_L4PROTO, dreg=1)


def equal(data: bytes, op: int = ex.NFT_CMP_EQ) -> ex.Cmp:
    return ex.Cmp(op, 1, data)


def ct_has(key: int, mask: int) -> tuple[ex.Expr, ...]:
    load = ex.Ct(key, dreg=1)
    return load, ex.Bitwise(1, 1, 4, native(mask), bytes(4)), equal(bytes(4), ex.NFT_CMP_NEQ)


def network(offset: int, length: int = 4, dreg: int = 1) -> ex.Payload:
    return ex.Payload(ex.NFT_PAYLOAD_NETWORK_HEADER, offset, length, dreg)


IPV4 = (ex.Meta(ex.NFT_META_NFPROTO, dreg=1), equal(b"\x02"))
TCP = (L4PROTO, equal(b"\x06"))
DPORT = ex.Payload(ex.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 1)
WRITE_DPORT = ex.Payload(
    ex.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, sreg=1, csum_type=ex.NFT_PAYLOAD_CSUM_INET, csum_offset=16
)
LOCAL = (
    ex.Fib(1, ex.NFT_FIB_RESULT_ADDRTYPE, ex.NFTA_FIB_F_DADDR),
    equal(native(2)),
)
SECOND, THIRD = ex.NFT_REG32_00 + 1, ex.NFT_REG32_00 + 2

EXPRESSIONS: dict[tuple[int, str], tuple[tuple[tuple[ex.Expr, ...], str | None], ...]] = {
    (INET, "leaving"): (
        ((*ct_has(ex.NFT_CT_STATE, 6), ACCEPT), None),
        (
            (ex.Reject(ex.NFT_REJECT_ICMPX_UNREACH, ex.NFT_REJECT_ICMPX_ADMIN_PROHIBITED),),
            "other networks",
        ),
    ),
    (INET, "prerouting"): (
        (
            (
                *LOCAL,
                *IPV4,
                L4PROTO,
                network(16, dreg=SECOND),
                ex.Payload(ex.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, THIRD),
                ex.Lookup("publish4", 1, dreg=1),
                ex.Nat(ex.NFT_NAT_DNAT, nf.NFPROTO_IPV4, 1, reg_proto=SECOND),
            ),
            "publish",
        ),
        (
            (
                *TCP,
                L4PROTO,
                ex.Lookup("proxy", 1, dreg=1),
                ex.Redir(1, flags=ex.NF_NAT_RANGE_PROTO_SPECIFIED),
            ),
            None,
        ),
    ),
    (INET, "tagging"): (
        (
            (
                IIFNAME,
                ex.Lookup("bridges", 1),
                *ct_has(ex.NFT_CT_STATUS, 0x20),
                LOAD_MARK,
                ex.Bitwise(1, 1, 4, native(0xFEFFFFFF), native(0x01000000)),
                SET_MARK,
            ),
            None,
        ),
        (
            (
                ex.Meta(ex.NFT_META_IIFGROUP, dreg=1),
                ex.Bitwise(1, 1, 4, native(0xFFFF0000), bytes(4)),
                equal(native(0x57000000), ex.NFT_CMP_NEQ),
                ex.Counter(),
                ex.Immediate(0, Verdict(ex.NFT_RETURN)),
            ),
            None,
        ),
        ((*IPV4, IIFNAME, network(16, dreg=2), ex.Lookup("own", 1), ACCEPT), None),
        (
            (
                ex.Fib(1, ex.NFT_FIB_RESULT_OIF, ex.NFTA_FIB_F_SADDR | ex.NFTA_FIB_F_IIF),
                equal(bytes(4)),
                DROP,
            ),
            None,
        ),
        ((*IPV4, network(16), ex.Lookup("tags", 1, dreg=1), SET_MARK), None),
        ((LOAD_MARK, ex.Lookup("marks", 1), LOAD_MARK, ex.Ct(ex.NFT_CT_MARK, sreg=1)), None),
    ),
    (INET, "forward"): (
        ((IIFNAME, ex.Lookup("doors", 1, dreg=ex.NFT_REG_VERDICT)), None),
        (
            (IIFNAME, ex.Meta(ex.NFT_META_OIFNAME, dreg=2), ex.Lookup("same", 1), ACCEPT),
            None,
        ),
        ((*TCP, ex.Immediate(1, port(80)), WRITE_DPORT), None),
        ((*TCP, DPORT, equal(port(22)), ex.Reject(ex.NFT_REJECT_TCP_RST)), None),
        (
            (ex.Limit(5, 1, burst=10), ex.Immediate(0, Verdict(ex.NFT_GOTO, "leaving"))),
            None,
        ),
    ),
    (INET, "postrouting"): (
        (
            (
                *IPV4,
                network(12),
                ex.Lookup("nat4", 1),
                OIFNAME,
                ex.Lookup("bridges", 1, flags=ex.NFT_LOOKUP_F_INV),
                ex.Masq(),
            ),
            None,
        ),
        ((OIFNAME, equal(name("up0")), ex.Masq(ex.NF_NAT_RANGE_PROTO_RANDOM)), None),
        (
            (
                *IPV4,
                network(12),
                equal(ip4("10.9.0.1")),
                ex.Immediate(1, ip4("192.0.2.9")),
                ex.Nat(ex.NFT_NAT_SNAT, nf.NFPROTO_IPV4, 1),
            ),
            None,
        ),
    ),
    (BRIDGE, "guard"): (
        (
            (
                ex.Payload(ex.NFT_PAYLOAD_LL_HEADER, 12, 2, 1),
                equal(b"\x08\x00"),
                IIFNAME,
                ex.Payload(ex.NFT_PAYLOAD_LL_HEADER, 6, 6, 2),
                network(12, dreg=14),
                ex.Lookup("lease4", 1),
                ACCEPT,
            ),
            None,
        ),
        (
            (
                ex.Payload(ex.NFT_PAYLOAD_LL_HEADER, 12, 2, 1),
                equal(b"\x08\x06"),
                IIFNAME,
                network(8, 6, 2),
                network(14, dreg=14),
                ex.Lookup("lease4", 1),
                ACCEPT,
            ),
            None,
        ),
        (
            (
                ex.Immediate(1, bytes.fromhex("027765660001")),
                ex.Payload(ex.NFT_PAYLOAD_LL_HEADER, 6, 6, sreg=1),
            ),
            None,
        ),
        ((DROP,), "spoofed"),
    ),
}

RULES = tuple(
    [
        nf.RuleDef(family, "weft", chain, expressions, comment)
        for (family, chain), rules in EXPRESSIONS.items()
        for expressions, comment in rules
    ]
)


def messages() -> list[tuple[int, int, bytes]]:
    """All of it, for one transaction."""
    families = {item.name: item.family for item in SETS}
    found = [nf.new_table(table) for table in TABLES]
    found += [nf.new_set(item._replace(set_id=number)) for number, item in enumerate(SETS, 1)]
    found += [nf.new_chain(chain) for chain in CHAINS]
    for key, elements in ELEMENTS.items():
        found += nf.new_elements(families[key], "weft", key, elements)
    return found + [nf.new_rule(rule) for rule in RULES]
