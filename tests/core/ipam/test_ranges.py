"""Ranges as host-local has them."""

from __future__ import annotations

import pytest

from weft.core.ipam import ranges
from weft.core.model.address import Address, parse_address, parse_subnet
from weft.core.model.errors import BadInput


def made(subnet: str, first: str = "", last: str = "", gateway: str = "") -> ranges.Range:
    ends = [parse_address(text) if text else None for text in (first, last, gateway)]
    return ranges.make(parse_subnet(subnet), *ends)


def order(one: tuple[ranges.Range, ...], last: str = "") -> list[str]:
    return [str(a) for _, a in ranges.after(one, parse_address(last) if last else None)]


def test_left_out_ends_are_the_subnets() -> None:
    found = made("10.1.0.0/29")
    assert (str(found), str(found.gateway)) == ("10.1.0.1-10.1.0.6", "10.1.0.1")
    assert str(made("fd00::/126")) == "fd00::1-fd00::3"


def test_round_and_round_behind_the_last() -> None:
    one = (made("10.1.0.0/29", "10.1.0.2", "10.1.0.4"), made("10.2.0.0/30", gateway="10.2.0.2"))
    assert order(one) == ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.2.0.1"]
    assert order(one, "10.1.0.3") == ["10.1.0.4", "10.2.0.1", "10.1.0.2", "10.1.0.3"]
    assert order(one, "10.2.0.1") == ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.2.0.1"]
    assert order(one, "10.9.0.1") == order(one)
    free = {Address(4, 0x0A020001)}
    assert ranges.choose(one, None, free.__contains__) == (one[1], Address(4, 0x0A020001))
    assert ranges.choose(one, None, lambda a: False) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("10.1.0.0/31",), "too small"),
        (("10.1.0.0/24", "10.2.0.1"), "rangeStart 10.2.0.1 is not in"),
        (("10.1.0.0/24", "10.1.0.0"), "network or broadcast"),
        (("10.1.0.0/24", "10.1.0.9", "10.1.0.8"), "is behind rangeEnd"),
        (("10.1.0.0/24", "", "", "fd00::1"), "gateway fd00::1 is not in"),
    ],
)
def test_what_cannot_be_a_range(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        made(*given)


def test_ranges_stand_beside_each_other() -> None:
    four, six = made("10.1.0.0/24"), made("fd00::/64")
    ranges.check([(four,), (six,)])
    for sets, said in (
        ([()], "is empty"),
        ([(four, six)], "mixes"),
        ([(four,), (made("10.1.0.0/25"),)], "overlap"),
        (
            [(made("10.1.0.0/24", last="10.1.0.9"), made("10.1.0.0/24", "10.1.0.10", "", "10.1.0.10"))],
            "two gateways",
        ),
    ):
        with pytest.raises(BadInput, match=said):
            ranges.check(sets)
