"""Which subnet, which address: the first that is free, each once, none that may not be given."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.ipam import pool as ipam
from weft.core.model.address import Address, Subnet, parse_address, parse_subnet
from weft.core.model.errors import BadInput, Conflict, Exhausted
from weft.core.model.network import Pool

BLUE = Pool(parse_subnet("192.168.10.0/24"), parse_address("192.168.10.1"))


def _pool(base: int, prefix: int, gateway: int) -> Pool:
    subnet = parse_subnet(str(ipaddress.ip_network((base, prefix), strict=False)))
    low, high = subnet.usable
    return Pool(subnet, Address(4, low + gateway % (high - low + 1)))


SMALL = st.builds(_pool, st.integers(0, (1 << 32) - 1), st.integers(26, 30), st.integers(0, 63))


def test_the_first_free_subnet() -> None:
    assert str(ipam.choose_subnet(())) == "10.81.0.0/24"
    taken = ["10.81.0.0/24", "10.81.1.128/25", "192.168.0.0/16"]
    assert str(ipam.choose_subnet(parse_subnet(t) for t in taken)) == "10.81.2.0/24"


@given(st.sets(st.integers(0, 255)), st.sets(st.integers(0, 0xFFFF), max_size=20))
def test_a_chosen_subnet_overlaps_nothing(numbers: set[int], singles: set[int]) -> None:
    base = parse_subnet("10.81.0.0/16").base
    taken = [Subnet(4, base + (n << 8), 24) for n in numbers] + [Subnet(4, base + n, 32) for n in singles]
    free = sorted(set(range(256)) - numbers - {n >> 8 for n in singles})
    if not free:
        with pytest.raises(Exhausted):
            ipam.choose_subnet(taken)
        return
    found = ipam.choose_subnet(taken)
    assert found == Subnet(4, base + (free[0] << 8), 24)


def test_no_subnet_left() -> None:
    with pytest.raises(Exhausted, match=r"no free /24 is left in 10\.81\.0\.0/16") as caught:
        ipam.choose_subnet([parse_subnet("10.0.0.0/8")])
    assert "--subnet" in caught.value.hint


@given(SMALL, st.integers(0, 1 << 32))
def test_a_pool_gives_each_address_once_until_none_is_left(pool: Pool, hint: int) -> None:
    theirs = {int(h) for h in ipaddress.IPv4Network(str(pool.subnet)).hosts()} - {pool.gateway.value}
    given_out: set[int] = set()
    for _ in theirs:
        found = ipam.next_free(pool, hint, lambda value: value not in given_out)
        assert found.value not in given_out
        given_out.add(found.value)
        hint = found.value + 1
    assert given_out == theirs
    with pytest.raises(Exhausted, match="no free address is left"):
        ipam.next_free(pool, hint, lambda value: value not in given_out)


@given(SMALL, st.data())
def test_the_search_starts_at_the_hint_and_comes_round(pool: Pool, data: st.DataObject) -> None:
    low, high = pool.subnet.usable
    hint = data.draw(st.integers(low, high))
    free = data.draw(st.sets(st.sampled_from(range(low, high + 1)), min_size=1)) - {pool.gateway.value}
    if not free:
        return
    found = ipam.next_free(pool, hint, free.__contains__)
    assert found.value == min(free, key=lambda value: (value < hint, value))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.168.11.1", "outside the subnet"),
        ("::1", "outside the subnet"),
        ("192.168.10.0", "network or broadcast"),
        ("192.168.10.255", "network or broadcast"),
    ],
)
def test_addresses_no_host_may_have(address: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        ipam.check_free(BLUE, parse_address(address), "")


def test_addresses_that_are_taken() -> None:
    with pytest.raises(Conflict, match="is the gateway"):
        ipam.check_free(BLUE, BLUE.gateway, "")
    with pytest.raises(Conflict, match="is taken by container web"):
        ipam.check_free(BLUE, parse_address("192.168.10.11"), "web")
    ipam.check_free(BLUE, parse_address("192.168.10.11"), "")


def test_the_gateway_where_nobody_names_one() -> None:
    assert str(ipam.first_host(BLUE.subnet)) == "192.168.10.1"
