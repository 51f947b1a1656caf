"""Which address a container gets, and which subnet a network gets, when nobody says."""

from __future__ import annotations

from weft.core.model.address import Address, Subnet
from weft.core.model.errors import BadInput, Conflict, Exhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from weft.core.model.network import Pool

#: Where networks without --subnet come from: 256 subnets of /24.
DEFAULT_POOL = Subnet(4, (10 << 24) + (81 << 16), 16)
DEFAULT_PREFIX = 24


def choose_subnet(taken: Iterable[Subnet]) -> Subnet:
    """The first /24 of the default pool that overlaps nothing taken; Exhausted when there is none."""
    busy = tuple(taken)
    step = 1 << (32 - DEFAULT_PREFIX)
    for base in range(DEFAULT_POOL.base, DEFAULT_POOL.base + DEFAULT_POOL.size, step):
        subnet = Subnet(4, base, DEFAULT_PREFIX)
        if not any(subnet.overlaps(other) for other in busy):
            return subnet
    raise Exhausted(
        f"no free /{DEFAULT_PREFIX} is left in {DEFAULT_POOL}", "give one with --subnet, or remove a network"
    )


def first_host(subnet: Subnet) -> Address:
    """The gateway where the user names none: the lowest usable address."""
    return Address(subnet.version, subnet.usable[0])


def check_host(subnet: Subnet, address: Address, what: str) -> None:
    """BadInput unless the address is one that a host in this subnet may have."""
    low, high = subnet.usable
    if address not in subnet:
        raise BadInput(f"{what} {address} is outside the subnet {subnet}")
    if not low <= address.value <= high:
        raise BadInput(f"{what} {address} is the network or broadcast address of {subnet}")


def check_free(pool: Pool, address: Address, owner: str) -> None:
    """Conflict when the gateway has the address, or a container: ``owner`` names it, or is ""."""
    check_host(pool.subnet, address, "address")
    if address == pool.gateway:
        raise Conflict(f"address {address} is the gateway of {pool.subnet}")
    if owner:
        raise Conflict(f"address {address} is taken by container {owner}", "leave --ip out to get a free one")


def next_free(pool: Pool, hint: int, is_free: Callable[[int], bool]) -> Address:
    """The first free address at or after ``hint``, then from the start; Exhausted when none is free.

    ``hint`` follows the address given last, so that a released one rests while neighbours may still
    have its old MAC in their ARP caches, and filling a subnet does not search it anew each time.
    """
    low, high = pool.subnet.usable
    start = hint if low <= hint <= high else low
    gateway = pool.gateway.value
    for value in range(start, high + 1):
        if value != gateway and is_free(value):
            return Address(pool.subnet.version, value)
    for value in range(low, start):
        if value != gateway and is_free(value):
            return Address(pool.subnet.version, value)
    raise Exhausted(
        f"no free address is left in {pool.subnet}",
        "remove containers, or make a network with a larger subnet",
    )
