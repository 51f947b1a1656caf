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
    with pytest.raises(Exhausted, match=r"no free subnet is left in 10\.81\.0\.0/16 \(as /24\)") as caught:
        ipam.choose_subnet([parse_subnet("10.0.0.0/8")])
    assert "--subnet" in caught.value.hint


@given(SMALL)
def test_a_pool_gives_each_address_once_until_none_is_left(pool: Pool) -> None:
    theirs = {int(h) for h in ipaddress.IPv4Network(str(pool.subnet)).hosts()} - {pool.gateway.value}
    assert len(theirs) == ipam.room(pool)
    given_out: list[int] = []
    hint = 0
    while (found := ipam.lowest_free(pool, hint, lambda address: address.value not in given_out)) is not None:
        given_out.append(found.value)
        hint = found.value + 1
    assert given_out == sorted(theirs)


@given(SMALL, st.data())
def test_the_lowest_free_address_at_or_after_the_hint(pool: Pool, data: st.DataObject) -> None:
    low, high = pool.subnet.usable
    hint = data.draw(st.integers(low, high))
    free = data.draw(st.sets(st.sampled_from(range(low, high + 1)))) - {pool.gateway.value}
    found = ipam.lowest_free(pool, hint, lambda address: address.value in free)
    assert (found.value if found else None) == min([v for v in free if v >= hint], default=None)


def test_a_range_and_addresses_that_are_kept() -> None:
    aux = (("router", parse_address("192.168.10.130")),)
    pool = BLUE._replace(ip_range=parse_subnet("192.168.10.128/29"), aux=aux)
    assert ipam.room(pool) == 7
    found = [ipam.lowest_free(pool, hint, lambda _: True) for hint in (0, pool.subnet.base + 130)]
    assert [str(a) for a in found] == ["192.168.10.128", "192.168.10.131"]
    assert ipam.lowest_free(pool, pool.subnet.base + 136, lambda _: True) is None
    with pytest.raises(Conflict, match=r"kept for router \(--aux-address\)"):
        ipam.check_free(pool, parse_address("192.168.10.130"), "")
    ipam.check_free(pool, parse_address("192.168.10.7"), "")


@pytest.mark.parametrize(
    ("subnet", "hosts"),
    [
        ("10.0.0.0/31", ["10.0.0.0", "10.0.0.1"]),
        ("10.0.0.0/30", ["10.0.0.1", "10.0.0.2"]),
        ("fd00::/127", ["fd00::", "fd00::1"]),
        ("fd00::/126", ["fd00::1", "fd00::2", "fd00::3"]),
    ],
)
def test_small_subnets(subnet: str, hosts: list[str]) -> None:
    found = parse_subnet(subnet)
    pool = Pool(found, ipam.first_host(found))
    rest = [ipam.lowest_free(pool, 0, lambda _: True)]
    while (last := rest[-1]) is not None:
        rest.append(ipam.lowest_free(pool, last.value + 1, lambda _: True))
    assert [str(pool.gateway), *map(str, rest[:-1])] == hosts


def test_ulas_are_the_hosts_and_the_networks_own() -> None:
    one = ipam.choose_ula("host a", "1234567890abcdef", ())
    assert (one.prefix, one.base >> 120) == (64, 0xFD)
    assert one == ipam.choose_ula("host a", "1234567890abcdef", ()), "the same every time"
    assert one.base >> 80 == ipam.choose_ula("host a", "99", ()).base >> 80, "one /48 a host (RFC 4193)"
    assert one.base >> 80 != ipam.choose_ula("host b", "1234567890abcdef", ()).base >> 80
    assert ipam.choose_ula("host a", "1234567890abcdef", [one]).base == one.base + (1 << 64)


def test_pools_are_used_in_order() -> None:
    pools = [ipam.AutoPool(parse_subnet("10.1.0.0/30"), 31), ipam.AutoPool(parse_subnet("10.2.0.0/16"), 20)]
    assert str(ipam.choose_subnet([], pools)) == "10.1.0.0/31"
    assert (
        str(ipam.choose_subnet([parse_subnet("10.1.0.0/24"), parse_subnet("10.2.0.0/19")], pools))
        == "10.2.32.0/20"
    )


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
