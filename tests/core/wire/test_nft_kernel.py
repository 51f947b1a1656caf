"""nf_tables as the kernel takes it: against what nft itself makes of the same text."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from core.wire import world
from core.wire.sandbox import NETLINK_NETFILTER, Kernel, command, nft, run, sandboxed
from weft.core.model.errors import WireError
from weft.core.wire import buffer as wire
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex

INET = nf.NFPROTO_INET


def kernel() -> Kernel:
    return Kernel(NETLINK_NETFILTER)


def ours() -> str:
    with kernel() as nfnl:
        nfnl.commit(*world.messages())
    return nft("-s", "-nn", "list", "ruleset")


def theirs() -> str:
    command("nft", "-f", "-", script=world.TEXT)
    return nft("-s", "-nn", "list", "ruleset")


def small() -> list[tuple[int, int, bytes]]:
    return [
        nf.new_table(nf.Table(INET, "t")),
        nf.new_set(nf.Set(INET, "t", "s", key_type=7, key_len=4)),
        nf.new_chain(nf.Chain(INET, "t", "c")),
    ]


def elements_of(nfnl: Kernel, family: int, table: str, name: str) -> list[nf.Element]:
    """A dump may come in several messages, some of them empty."""
    answers = [nf.get_elements(p) for p in nfnl.ask(nf.dump_elements(family, table, name))]
    assert {(a.family, a.table, a.set) for a in answers} == {(family, table, name)}
    return [e for answer in answers for e in answer.elements]


def listed(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(nft("-j", "list", *words))["nftables"]
    return found[1:]


def test_the_firewall_lists_as_if_nft_had_made_it() -> None:
    assert run(ours).splitlines() == run(theirs).splitlines()


def test_nft_reads_its_own_listing_of_ours_back() -> None:
    def again() -> str:
        command("nft", "-f", "-", script=run(ours))
        return nft("-s", "-nn", "list", "ruleset")

    assert run(again).splitlines() == run(theirs).splitlines()


@sandboxed
def test_nfts_rules_decode_to_our_expressions() -> None:
    command("nft", "-f", "-", script=world.TEXT)
    with kernel() as nfnl:
        found = [nf.get_rule(p) for p in nfnl.ask(nf.dump_rules(nf.NFPROTO_UNSPEC))]
    stripped = [rule._replace(handle=None, position=None) for rule in found]
    for rule, wanted in zip(stripped, map(_as_the_kernel_says, world.RULES), strict=True):
        assert rule == wanted
    assert all(rule.handle for rule in found)


def _as_the_kernel_says(rule: nf.RuleDef) -> nf.RuleDef:
    return rule._replace(expressions=tuple([_fuller(e) for e in rule.expressions]))


def _fuller(expr: ex.Expr) -> ex.Expr:
    """What the kernel adds: ranges of one, and the flags that they imply."""
    implied = ex.NF_NAT_RANGE_PROTO_SPECIFIED
    match expr:
        case ex.Nat():
            flags = ex.NF_NAT_RANGE_MAP_IPS | (implied if expr.reg_proto else 0)
            both = {"reg_addr_max": expr.reg_addr, "reg_proto_max": expr.reg_proto}
            return expr._replace(flags=flags, **both)
        case ex.Redir():
            return expr._replace(reg_proto_max=expr.reg_proto)
    return expr


@sandboxed
def test_nfts_sets_chains_and_tables_decode_to_ours() -> None:
    command("nft", "-f", "-", script=world.TEXT)
    with kernel() as nfnl:
        tables = [nf.get_table(p) for p in nfnl.ask(nf.dump_tables())]
        (one,) = nfnl.ask(nf.get_table_request(INET, "weft"))
        chains = [nf.get_chain(p) for p in nfnl.ask(nf.dump_chains())]
        sets = [nf.get_set(p) for p in nfnl.ask(nf.dump_sets(INET, "weft"))]
    assert all([t.handle for t in tables] + [c.handle for c in chains] + [s.handle for s in sets])
    assert [t._replace(handle=None) for t in tables] == list(world.TABLES)
    assert nf.get_table(one) in tables
    assert [c._replace(handle=None) for c in chains] == list(world.CHAINS)
    # nft keeps more in the userdata than we do
    bare = [s._replace(handle=None, userdata=None) for s in sets]
    wanted = {s.name: s for s in world.SETS if s.family == INET}
    assert {s.name: s._replace(data_len=wanted[s.name].data_len) for s in bare} == wanted


@pytest.mark.parametrize("name", sorted(world.ELEMENTS))
@sandboxed
def test_nfts_elements_decode_to_ours(name: str) -> None:
    command("nft", "-f", "-", script=world.TEXT)
    family = nf.NFPROTO_BRIDGE if name == "lease4" else INET
    with kernel() as nfnl:
        found = set(elements_of(nfnl, family, "weft", name))
    before = {nf.Element(bytes(4), flags=world.END)} if name == "nat4" else set()
    assert found == set(world.ELEMENTS[name]) | before


@sandboxed
def test_our_sets_come_back_as_they_went() -> None:
    with kernel() as nfnl:
        nfnl.commit(*world.messages())
        sets = [nf.get_set(p) for p in nfnl.ask(nf.dump_sets())]
    assert all(found.handle for found in sets)
    back = {found.name: found._replace(handle=None) for found in sets}
    # the kernel says 16 for a verdict, which is the size of its own struct
    assert back.pop("doors") == world.SETS[6]._replace(data_len=16)
    assert back == {item.name: item for item in world.SETS if item.name != "doors"}


@sandboxed
def test_comments_show_everywhere() -> None:
    said = "weft:0123456789abcdef é"
    elements = (nf.Element(bytes([10, 0, 0, 1]), comment=said),)
    with kernel() as nfnl:
        nfnl.commit(
            nf.new_table(nf.Table(INET, "t", comment=said)),
            nf.new_set(nf.Set(INET, "t", "s", key_type=7, key_len=4, comment=said)),
            nf.new_chain(nf.Chain(INET, "t", "c", comment=said)),
            nf.new_rule(nf.RuleDef(INET, "t", "c", (world.DROP,), comment=said)),
            *nf.new_elements(INET, "t", "s", elements),
        )
    assert nft("list", "ruleset").count(f'comment "{said}"') == 5


@sandboxed
def test_thousands_of_elements_go_in_few_messages_and_come_back() -> None:
    keys = [(0x0A000000 + n).to_bytes(4, "big") for n in range(5000)]
    elements = [nf.Element(key, comment="weft:0123456789abcdef") for key in keys]
    added = nf.new_elements(INET, "t", "s", elements)
    # a hash that grows during the dump would repeat some and leave out others
    table = nf.new_table(nf.Table(INET, "t"))
    fixed = nf.new_set(nf.Set(INET, "t", "s", key_type=7, key_len=4, size=8192))
    with kernel() as nfnl:
        nfnl.commit(table, fixed, *added)
        (back,) = [nf.get_set(p) for p in nfnl.ask(nf.dump_sets(INET))]
        assert back.size == 8192
        found = elements_of(nfnl, INET, "t", "s")
        assert len(found) == 5000
        assert set(found) == set(elements)
        nfnl.commit(*nf.del_elements(INET, "t", "s", elements[:4999]))
        assert elements_of(nfnl, INET, "t", "s") == [elements[4999]]
        nfnl.commit(nf.flush_set(INET, "t", "s"))
        assert elements_of(nfnl, INET, "t", "s") == []
    assert 3 <= len(added) <= 8
    assert all(len(payload) <= 65600 for _, _, payload in added)


@sandboxed
def test_a_batch_is_all_or_nothing() -> None:
    twice = nf.new_elements(INET, "t", "s", [nf.Element(bytes(4))])
    with kernel() as nfnl:
        acks = nfnl.batch(*small(), *twice, *twice)
    assert [ack.errno for ack in acks] == [0, 0, 0, 0, errno.EEXIST]
    assert nft("list", "ruleset") == ""


@sandboxed
def test_elements_are_added_again_without_excl() -> None:
    element = [nf.Element(bytes(4))]
    with kernel() as nfnl:
        nfnl.commit(*small(), *nf.new_elements(INET, "t", "s", element))
        nfnl.commit(*nf.new_elements(INET, "t", "s", element, nf.NLM_F_CREATE))
        (ack,) = nfnl.batch(*nf.new_elements(INET, "t", "s", element))
        (gone,) = nfnl.batch(*nf.del_elements(INET, "t", "s", [nf.Element(bytes(3) + b"\1")]))
    assert (ack.errno, gone.errno) == (errno.EEXIST, errno.ENOENT)


@sandboxed
def test_a_catch_all_element() -> None:
    elements = [nf.Element(b"", flags=nf.NFT_SET_ELEM_CATCHALL, comment="else")]
    with kernel() as nfnl:
        nfnl.commit(*small(), *nf.new_elements(INET, "t", "s", elements))
        found = elements_of(nfnl, INET, "t", "s")
    assert found == elements
    assert "* comment" in nft("list", "set", "inet", "t", "s")


@sandboxed
def test_rules_go_where_they_are_told_and_are_deleted_by_handle() -> None:
    def rule(comment: str, **fields: int) -> nf.RuleDef:
        return nf.RuleDef(INET, "t", "c", (world.DROP,), comment, **fields)

    def order() -> list[tuple[str, int]]:
        rows = [row["rule"] for row in listed("chain", "inet", "t", "c")[1:]]
        return [(row["comment"], row["handle"]) for row in rows]

    with kernel() as nfnl:
        nfnl.commit(*small(), nf.new_rule(rule("a")), nf.new_rule(rule("c")))
        (_, first), _ = order()
        nfnl.commit(nf.new_rule(rule("b", position=first)), nf.new_rule(rule("0"), nf.NLM_F_CREATE))
        assert [comment for comment, _ in order()] == ["0", "a", "b", "c"]
        nfnl.commit(nf.del_rule(INET, "t", "c", first))
        assert [comment for comment, _ in order()] == ["0", "b", "c"]
        nfnl.commit(nf.flush_chain(INET, "t", "c"))
        assert order() == []


@sandboxed
def test_everything_is_deleted() -> None:
    with kernel() as nfnl:
        nfnl.commit(*small(), nf.new_table(nf.Table(INET, "other")))
        nfnl.commit(nf.del_chain(INET, "t", "c"))
        nfnl.commit(nf.del_set(INET, "t", "s"))
        assert nft("list", "ruleset").split() == "table inet t { } table inet other { }".split()
        nfnl.commit(nf.del_table(INET, "t"))
    assert nft("list", "ruleset").split() == "table inet other { }".split()


@sandboxed
def test_a_dormant_table() -> None:
    table = nf.Table(INET, "t", flags=nf.NFT_TABLE_F_DORMANT)
    with kernel() as nfnl:
        nfnl.commit(nf.new_table(table))
        (found,) = [nf.get_table(p) for p in nfnl.ask(nf.dump_tables())]
    assert found._replace(handle=None) == table
    assert "flags dormant" in nft("list", "ruleset")


@sandboxed
def test_a_chain_of_a_device() -> None:
    with kernel() as nfnl:
        command("ip", "link", "set", "lo", "up")
        chain = nf.Chain(5, "t", "c", nf.NF_NETDEV_INGRESS, -500, "filter", 1, device="lo")
        nfnl.commit(nf.new_table(nf.Table(nf.NFPROTO_NETDEV, "t")), nf.new_chain(chain))
        (found,) = [nf.get_chain(p) for p in nfnl.ask(nf.dump_chains(nf.NFPROTO_NETDEV))]
    assert found._replace(handle=None) == chain
    assert 'hook ingress device "lo" priority -500' in nft("list", "ruleset")


FOREIGN = """
table ip foreign {
    counter seen { }
    chain c {
        tcp dport { 22, 80 } log prefix "x" counter name seen quota over 9 mbytes
        ip saddr != 10.0.0.1-10.0.0.9 meta mark set meta mark << 3
        ip dscp set cs1
    }
}
"""


@sandboxed
def test_foreign_rules_keep_what_we_do_not_know() -> None:
    command("nft", "-f", "-", script=FOREIGN)
    with kernel() as nfnl:
        payloads = nfnl.ask(nf.dump_rules(nf.NFPROTO_IPV4))
    found = [nf.get_rule(p).expressions for p in payloads]
    unknown = [[e.name for e in rule if isinstance(e, ex.Unknown)] for rule in found]
    assert unknown == [["log", "objref", "quota"], ["range"], []]
    shift = [e for e in found[1] if isinstance(e, ex.Bitwise)]
    assert [(e.op, e.data, e.mask) for e in shift] == [(ex.NFT_BITWISE_LSHIFT, world.native(3), None)]
    for payload in payloads:
        rule = nf.get_rule(payload)
        assert nf.get_rule(nf.put_rule(rule)) == rule


@sandboxed
def test_foreign_rules_are_written_back_unharmed() -> None:
    """What is Unknown is encoded as it came: the kernel takes it again."""
    command("nft", "-f", "-", script=FOREIGN)
    before = nft("-s", "list", "chain", "ip", "foreign", "c")
    with kernel() as nfnl:
        rules = [nf.get_rule(p) for p in nfnl.ask(nf.dump_rules(nf.NFPROTO_IPV4, "foreign", "c"))]
        # the anonymous set of the first rule goes with it
        kept = [rule._replace(handle=None, position=None) for rule in rules[1:]]
        nfnl.commit(*[nf.del_rule(2, "foreign", "c", rule.handle or 0) for rule in rules[1:]])
        assert nft("-s", "list", "chain", "ip", "foreign", "c") != before
        nfnl.commit(*[nf.new_rule(rule) for rule in kept])
    assert nft("-s", "list", "chain", "ip", "foreign", "c") == before


MORE = """
table inet t {
    set s { type ipv4_addr; size 16; elements = { 10.0.0.1 } }
    chain c {
        type nat hook postrouting priority 100; policy accept;
        meta l4proto tcp masquerade to :1024-2048 random
        ct original ip saddr 10.0.0.1 ct mark set 0x00000007
        meta l4proto udp snat ip to 192.0.2.1-192.0.2.9:1000-2000
    }
    chain d {
        type filter hook forward priority 0; policy accept;
        ip saddr != @s limit rate over 7 mbytes/minute reject with icmp type host-prohibited
        meta length 40-50 counter
        tcp dport > 1023 tcp flags & (syn | ack) == syn accept
    }
}
"""


@sandboxed
def test_rules_of_nfts_own_making_survive_us() -> None:
    """What nft wrote is decoded, deleted, encoded again: nft sees no difference."""
    command("nft", "-f", "-", script=MORE)
    before = nft("-s", "list", "ruleset")
    with kernel() as nfnl:
        rules = [nf.get_rule(p) for p in nfnl.ask(nf.dump_rules(INET, "t"))]
        nfnl.commit(nf.flush_chain(INET, "t", "c"), nf.flush_chain(INET, "t", "d"))
        assert nft("-s", "list", "ruleset") != before
        nfnl.commit(*[nf.new_rule(rule._replace(handle=None, position=None)) for rule in rules])
    assert nft("-s", "list", "ruleset") == before
    known = [e for rule in rules for e in rule.expressions]
    assert ex.Masq(ex.NF_NAT_RANGE_PROTO_RANDOM | ex.NF_NAT_RANGE_PROTO_SPECIFIED, 1, 2) in known
    assert ex.Ct(19, dreg=1, direction=0) in known
    assert ex.Limit(7 << 20, 60, 0, ex.NFT_LIMIT_PKT_BYTES, ex.NFT_LIMIT_F_INV) in known


@sandboxed
def test_a_set_without_a_name_is_found_by_its_id() -> None:
    flags = nf.NFT_SET_ANONYMOUS | nf.NFT_SET_CONSTANT
    nameless = nf.Set(INET, "t", "__set%d", flags, key_type=13, key_len=2, set_id=9)
    ((kind, sent, payload),) = nf.new_elements(
        INET, "t", "__set%d", [nf.Element(b"\0P"), nf.Element(b"\1\xbb")]
    )
    lookup = ex.Lookup("__set%d", 1, set_id=9)
    rule = nf.RuleDef(INET, "t", "c", (*world.TCP, world.DPORT, lookup, world.ACCEPT))
    with kernel() as nfnl:
        elements = kind, sent, payload + wire.be32(4, 9)
        nfnl.commit(*small(), nf.new_set(nameless), elements, nf.new_rule(rule))
    assert "tcp dport { 80, 443 } accept" in nft("-nn", "list", "ruleset")


@sandboxed
def test_somebody_elses_userdata_is_no_comment_and_no_error() -> None:
    with kernel() as nfnl:
        nfnl.commit(*small())
        rule = nf.RuleDef(INET, "t", "c", (world.DROP,))
        kind, flags, payload = nf.new_rule(rule)
        alien = b"\x00\xffnot a TLV"
        nfnl.commit((kind, flags, payload + wire.attr(7, alien)))
        (found,) = [nf.get_rule(p) for p in nfnl.ask(nf.dump_rules(INET))]
        kind, flags, payload = nf.new_set(nf.Set(INET, "t", "x", key_type=7, key_len=4, userdata=alien))
        nfnl.commit((kind, flags, payload))
        sets = {s.name: s for s in map(nf.get_set, nfnl.ask(nf.dump_sets(INET)))}
    assert found.comment is None
    assert (sets["x"].userdata, sets["x"].comment) == (alien, None)


def test_types_of_keys() -> None:
    assert nf.concat_type("ipv4_addr") == (7, 4)
    assert nf.concat_type("inet_service") == (13, 2)
    assert nf.concat_type("inet_proto", "ipv4_addr", "inet_service") == (12 << 12 | 7 << 6 | 13, 12)
    assert nf.concat_type("ifname", "ether_addr", "ipv4_addr") == (41 << 12 | 9 << 6 | 7, 28)
    assert nf.concat_type("verdict") == (0xFFFFFF00, 0)
    assert nf.datatype("mark") == (19, 4)


def test_keys_are_padded_only_in_concatenations() -> None:
    assert nf.pack_key(["inet_service"], [b"\0P"]) == b"\0P"
    assert nf.pack_key(["inet_proto", "inet_service"], [b"\6", b"\0P"]) == b"\6\0\0\0\0P\0\0"
    assert nf.pack_key(["ifname"], [b"br0"]) == b"br0" + bytes(13)


def test_keys_that_cannot_be_are_refused() -> None:
    for names, values in (
        (["ipv4_addr"], [b"abc"]),
        (["ifname"], [b"a" * 17]),
        (["ipv4_addr"], [bytes(4), bytes(4)]),
        (["nonsense"], [b""]),
    ):
        with pytest.raises(WireError):
            nf.pack_key(names, values)
    with pytest.raises(WireError):
        nf.concat_type("ipv4_addr", "verdict")
    with pytest.raises(WireError):
        nf.put_chain(nf.Chain(INET, "t", "c", priority=3))


def test_comments_that_do_not_fit_are_refused() -> None:
    nf.put_table(nf.Table(INET, "t", comment="x" * 253))
    for comment in ("x" * 254, "a\0b"):
        with pytest.raises(WireError):
            nf.put_table(nf.Table(INET, "t", comment=comment))
