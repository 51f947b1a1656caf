"""Addresses and subnets, with ``ipaddress`` as the oracle, and what people and attackers write."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weft.core.model.address import (
    Address,
    Subnet,
    from_packed,
    parse_address,
    parse_prefix,
    parse_subnet,
)
from weft.core.model.errors import BadInput

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
ANY = st.one_of(V4, V6)
#: Texts that are nearly addresses, so that both parsers have something to disagree about.
NEARLY = st.one_of(
    st.text(alphabet="0123456789abcdef.:/% \n٣", max_size=24),
    st.lists(st.integers(-1, 300).map(str), min_size=1, max_size=6).map(".".join),
    st.lists(st.text("0123456789", max_size=4), min_size=4, max_size=4).map(".".join),
)
PREFIXED4 = st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 32))

HOSTILE = [
    "",
    " ",
    "10.0.0.1\n",
    "\n10.0.0.1",
    " 10.0.0.1",
    "10.0.0.1 ",
    "10.0.0.1\0",
    "10.0.0",
    "10.0.0.0.1",
    "10.0.0.256",
    "10.0.0.-1",
    "10.0.0.+1",
    "10.0.0.1_0",
    "010.0.0.1",
    "10.0.0.01",
    "10.0.0.00",
    "0x0a.0.0.1",
    "167772161",
    "١٠.٠.٠.١",
    "10.0.0.1\N{SUPERSCRIPT TWO}",
    "10\N{FULLWIDTH FULL STOP}0.0.1",
    "10.0.0.\u202e1",
    "localhost",
    "1:2",
    ":::",
    "fe80::1%eth0",
    "::1%",
    "::ffff:10.0.0.256",
    "12345::",
    "::1\n",
    "9" * 5000,
    ("9" * 5000) + ".0.0.1",
]


def oracle(text: str) -> int | None:
    """What ``ipaddress`` makes of it; zones are not addresses to us."""
    try:
        return None if "%" in text else int(ipaddress.ip_address(text))
    except ValueError:
        return None


@given(ANY)
def test_every_address_reads_and_writes_as_the_oracle_does(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mine = parse_address(str(address))
    assert (mine.version, mine.value, str(mine)) == (address.version, int(address), str(address))
    assert (mine.packed, mine.loopback) == (address.packed, address.is_loopback)
    assert from_packed(mine.packed) == mine


@given(NEARLY)
@example("1.2.3.4")
@example("::")
def test_both_accept_and_refuse_the_same(text: str) -> None:
    try:
        mine: int | None = parse_address(text).value
    except BadInput:
        mine = None
    assert mine == oracle(text)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_address(text: str) -> None:
    with pytest.raises(BadInput, match=r"is not an IP address") as caught:
        parse_address(text, "DNS server")
    assert caught.value.message.startswith("DNS server ")
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


@given(PREFIXED4)
def test_subnet_agrees_with_the_oracle(pair: tuple[int, int]) -> None:
    value, prefix = pair
    theirs = ipaddress.IPv4Network((value, prefix), strict=False)
    mine = parse_subnet(str(theirs))
    assert str(mine) == str(theirs)
    assert mine.size == theirs.num_addresses
    assert (mine.first.value, mine.last.value) == (int(theirs[0]), int(theirs[-1]))
    hosts = theirs.hosts() if prefix >= 24 else None
    if hosts is not None:
        values = [int(h) for h in hosts]
        assert mine.usable == (values[0], values[-1])


@given(PREFIXED4)
def test_host_bits_are_refused_with_what_was_meant(pair: tuple[int, int]) -> None:
    value, prefix = pair
    text = f"{ipaddress.IPv4Address(value)}/{prefix}"
    theirs = ipaddress.IPv4Network(text, strict=False)
    if int(theirs[0]) == value:
        assert str(parse_subnet(text)) == text
        return
    with pytest.raises(BadInput, match="host bits set") as caught:
        parse_subnet(text)
    assert caught.value.hint == f"did you mean {theirs}?"
    assert parse_prefix(text) == (Address(4, value), prefix)


@given(PREFIXED4, PREFIXED4)
@example((0, 0), (1, 32))
@example((10 << 24, 8), ((10 << 24) + 5, 32))
def test_overlap_and_membership(one: tuple[int, int], two: tuple[int, int]) -> None:
    theirs = [ipaddress.IPv4Network(pair, strict=False) for pair in (one, two)]
    mine = [parse_subnet(str(network)) for network in theirs]
    assert mine[0].overlaps(mine[1]) == theirs[0].overlaps(theirs[1])
    assert mine[0].overlaps(mine[1]) == mine[1].overlaps(mine[0])
    assert (Address(4, two[0]) in mine[0]) == (ipaddress.IPv4Address(two[0]) in theirs[0])


def test_families_never_meet() -> None:
    everything4, everything6 = parse_subnet("0.0.0.0/0"), parse_subnet("::/0")
    assert not everything4.overlaps(everything6)
    assert parse_address("::1") not in everything4
    assert parse_address("0.0.0.1") not in everything6
    assert parse_address("::1") != Address(4, 1)


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/ 8",
        "10.0.0.0/8\n",
        "10.0.0.0/8 ",
        "10.0.0.0/٨",
        "10.0.0.0/0.0.0.255",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/8/8",
        "10.0.0.0/" + "9" * 5000,
        "10.0.0.0/0008",
        "::/129",
        "/8",
        "",
    ],
    ids=ascii,
)
def test_hostile_subnet(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_subnet(text)
    assert re.fullmatch(r"[ -~]+", caught.value.message)


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("192.168.10.0/24", ("192.168.10.1", "192.168.10.254")),
        ("192.168.10.4/30", ("192.168.10.5", "192.168.10.6")),
        ("192.168.10.4/31", ("192.168.10.4", "192.168.10.5")),
        ("192.168.10.4/32", ("192.168.10.4", "192.168.10.4")),
        ("255.255.255.0/24", ("255.255.255.1", "255.255.255.254")),
        ("2001:db8::/126", ("2001:db8::1", "2001:db8::3")),
        ("2001:db8::/127", ("2001:db8::", "2001:db8::1")),
    ],
)
def test_usable_addresses(text: str, usable: tuple[str, str]) -> None:
    subnet = parse_subnet(text)
    assert tuple(str(Address(subnet.version, value)) for value in subnet.usable) == usable


def test_subnet_of_everything() -> None:
    assert Subnet(4, 0, 0).size == 1 << 32
    assert str(Subnet(4, 0, 0).last) == "255.255.255.255"
