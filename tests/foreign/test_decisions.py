"""What is decided from what was seen of other people's filters, without any kernel."""

from __future__ import annotations

import pytest

from weft.core.firewall import foreign as decide
from weft.core.model.address import Subnet
from weft.core.model.errors import BadInput
from weft.core.model.foreign import PASS, Filter, FilterRule, ForeignFacts, Place
from weft.core.model.network import Network, Pool
from weft.core.ops.foreign import PassAdd, PassChainAdd, PassChainDel, PassDel, ZoneAdd, ZoneDel
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
from weft.core.wire.nft_data import Verdict

TABLE = Place("iptables-nft", "ip", "filter", "FORWARD")
MINE = Place("nft", "inet", "mine", "forward")
APART = "DOCKER-ISOLATION-STAGE-2"
SUBNET = Subnet(4, 10 << 24, 24)
BLUE = Network("0123abcd", "blue", 1, (Pool(SUBNET, SUBNET.first),), "br1")
JUMP = FilterRule(verdict=PASS, handle=7)


def accepted(bridge: str, *before: FilterRule) -> tuple[FilterRule, ...]:
    """The rules of a bridge with handles, as the kernel gives them."""
    rules = (*before, FilterRule(bridge, verdict="accept"), FilterRule(oif=bridge, verdict="accept"))
    return tuple(rule._replace(handle=n) for n, rule in enumerate(rules, 20))


def wants(*filters: Filter, zones: tuple[tuple[str, str], ...] | None = None) -> tuple[object, ...]:
    return decide.foreign_wants(BLUE, ForeignFacts(filters, zones))


def test_nothing_where_there_is_nobody() -> None:
    assert wants() == ()


def test_all_where_nothing_is() -> None:
    assert wants(Filter(TABLE, "drop", ())) == (PassChainAdd(TABLE), PassAdd(TABLE, "br1"))


def test_nothing_where_all_is() -> None:
    assert wants(Filter(TABLE, "drop", (JUMP,), accepted("br1"))) == ()


def test_other_peoples_rules_in_the_chain_stay_as_they_are() -> None:
    mixed = (*accepted("br2"), FilterRule("tun0", verdict="drop"), *accepted("br1"))
    assert wants(Filter(TABLE, "drop", (JUMP,), mixed)) == ()
    facts = ForeignFacts((Filter(TABLE, "drop", (JUMP,), mixed),))
    assert decide.foreign_unwants("br1", facts) == (PassDel(TABLE, "br1"),)


def test_the_chain_goes_with_the_last_bridge() -> None:
    facts = ForeignFacts((Filter(TABLE, "drop", (JUMP,), accepted("br1")),), (("br1", "trusted"),))
    gone = decide.foreign_unwants("br1", facts)
    assert gone == (PassDel(TABLE, "br1"), PassChainDel(TABLE), ZoneDel(("br1",)))
    assert decide.foreign_unwants("br2", facts) == ()


def test_a_jump_behind_the_end_is_none() -> None:
    """Everything was refused before it."""
    end = FilterRule(verdict="reject")
    late = Filter(TABLE, "accept", (FilterRule("eth0", verdict="drop"), end, JUMP), accepted("br1"))
    assert wants(late) == (PassChainAdd(TABLE, 2),)
    narrow = FilterRule(verdict="reject", plain=False)
    assert wants(late._replace(rules=(narrow, JUMP))) == ()


def test_docker_was_seen_since() -> None:
    found = Filter(TABLE, "drop", (JUMP,), accepted("br1"), APART)
    keep = FilterRule("br1", verdict=APART)
    assert wants(found) == (PassDel(TABLE, "br1"), PassAdd(TABLE, "br1", (keep,)))
    assert wants(found._replace(passes=accepted("br1", keep))) == ()
    lost = found._replace(passes=accepted("br1", keep), bare=("docker0",))
    whole = (FilterRule("br1", "docker0", "drop"), keep)
    assert wants(lost) == (PassDel(TABLE, "br1", (keep,)), PassAdd(TABLE, "br1", whole))


def test_the_other_family_is_left_alone() -> None:
    assert wants(Filter(TABLE._replace(family="ip6"), "drop", ())) == ()
    assert wants(Filter(MINE, "drop", ())) == (PassChainAdd(MINE), PassAdd(MINE, "br1"))


def test_firewalld() -> None:
    assert wants(zones=()) == wants(zones=(("br2", "trusted"),)) == (ZoneAdd(("br1",)),)
    assert wants(zones=(("br1", "trusted"),)) == ()


def test_what_is_left_of_bridges_that_are_no_more() -> None:
    theirs = FilterRule("tun0", verdict="drop")
    gone, whole = "wb0123456789ab", FilterRule("br1", verdict=APART)
    zones = ((gone, "trusted"), ("lab0", "trusted"), ("br1", "trusted"))
    found = Filter(TABLE, "drop", (JUMP,), (*accepted("br1", whole), theirs, *accepted("br2")))
    facts = ForeignFacts((found,), zones)
    left = decide.leftovers({"br2"}, facts)
    assert left == (PassDel(TABLE, "br1", (whole,)), ZoneDel(("br1", gone)))
    assert decide.leftovers({"br1", "br2", gone}, facts) == ()
    alone = ForeignFacts((found._replace(passes=(*accepted("br1"), *accepted("br2"))),))
    assert decide.leftovers((), alone)[-1] == PassChainDel(TABLE)


def test_where_the_administrator_put_it_it_stays() -> None:
    facts = ForeignFacts((), (("br1", "dmz"),))
    assert decide.foreign_wants(BLUE, facts) == ()
    assert decide.foreign_unwants("br1", facts) == ()


def test_many_at_once() -> None:
    """One chain, one call of firewall-cmd."""
    red = BLUE._replace(name="red", bridge="br2")
    facts = ForeignFacts((Filter(TABLE, "drop", ()),), ())
    assert decide.all_want([BLUE, red], facts) == (
        PassChainAdd(TABLE),
        PassAdd(TABLE, "br1"),
        PassAdd(TABLE, "br2"),
        ZoneAdd(("br1", "br2")),
    )


def test_a_name_that_is_a_pattern() -> None:
    with pytest.raises(BadInput, match="any ending"):
        decide.bridge_wants("br+", (4,), ForeignFacts((Filter(TABLE, "drop", ()),)))
    assert decide.bridge_wants("br+", (4,), ForeignFacts((Filter(MINE, "drop", ()),)))


def test_what_concerns_a_bridge() -> None:
    quiet = Filter(MINE, "accept", (FilterRule("eth0", verdict="drop"), FilterRule(verdict="accept")))
    assert not decide.concerns(quiet)
    assert decide.concerns(quiet._replace(policy="drop"))
    assert decide.concerns(quiet._replace(rules=(FilterRule(verdict="drop"),)))
    assert decide.concerns(quiet._replace(passes=()))
    assert decide.concerns(quiet._replace(place=TABLE))


def rule(*exprs: ex.Expr) -> FilterRule:
    return decide.seen_rule(nf.RuleDef(nf.NFPROTO_IPV4, "filter", "FORWARD", exprs, handle=9))


def load(key: int, name: bytes) -> tuple[ex.Expr, ex.Expr]:
    return ex.Meta(key, dreg=1), ex.Cmp(ex.NFT_CMP_EQ, 1, name)


def test_rules_of_nf_tables() -> None:
    accept = ex.Immediate(0, Verdict(ex.NF_ACCEPT))
    iif, oif = load(ex.NFT_META_IIFNAME, b"br1\0"), load(ex.NFT_META_OIFNAME, b"docker0".ljust(16, b"\0"))
    assert rule(*iif, *oif, ex.Counter(1, 2), accept) == FilterRule("br1", "docker0", "accept", True, 9)
    assert rule(*load(ex.NFT_META_IIFNAME, b"br"), accept).iif == "br+"
    jump = rule(ex.Immediate(0, Verdict(ex.NFT_JUMP, "DOCKER-USER")))
    assert (jump.verdict, jump.bare) == ("DOCKER-USER", True)
    assert rule(ex.Unknown("log", b""), ex.Reject(0, 3)).verdict == "reject"
    assert rule(ex.Unknown("target", b"\x0b\0\1\0REJECT\0\0")).verdict == "reject"
    # What is not understood makes a rule narrower than it says, never wider.
    assert not rule(ex.Unknown("match", b""), accept).bare
    assert not rule(ex.Meta(ex.NFT_META_MARK, dreg=1), ex.Cmp(ex.NFT_CMP_EQ, 1, b"\1\0\0\0"), accept).bare
    unlike = (ex.Meta(ex.NFT_META_OIFNAME, dreg=1), ex.Cmp(ex.NFT_CMP_NEQ, 1, b"docker0\0"))
    assert not rule(*unlike, accept).plain


SAVED = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [3:84]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:WEFT-FORWARD - [0:0]
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker1 -j DOCKER
-A FORWARD -i br1 -g there
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A WEFT-FORWARD -i br1 -j ACCEPT
COMMIT
"""


def test_what_iptables_saves() -> None:
    found = decide.saved_filter(TABLE, SAVED)
    assert found.policy == "drop"
    assert found.rules[0] == FilterRule(oif="docker0", verdict="DOCKER")
    assert not found.rules[1].plain
    assert found.rules[3] == FilterRule("br1", verdict="there")
    assert decide.position(found) == 5
    assert found.passes == (FilterRule("br1", verdict="accept"),)
    assert (found.apart, found.bare) == (APART, ("docker1",))
    assert decide.saved_filter(TABLE, "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n").passes is None


def test_who_is_there() -> None:
    assert decide.recognised(["FORWARD", "DOCKER-USER", "ufw-user-forward"]) == ("docker", "ufw")


def test_the_zone_of_an_interface() -> None:
    rules = (FilterRule("br1", verdict="filter_FWD_trusted"), FilterRule("eth0", verdict="filter_FWDI_a_b"))
    assert decide.zones((*rules, FilterRule(verdict="filter_FWD_public"))) == (
        ("br1", "trusted"),
        ("eth0", "a_b"),
    )
