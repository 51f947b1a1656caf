"""Which address a container gets, and which subnet a network gets, when nobody says."""

from __future__ import annotations

from weft.core.model.address import Address, Subnet
from weft.core.model.errors import BadInput, Conflict, Exhausted
from weft.core.model.names import object_id
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from weft.core.model.network import Pool


class AutoPool(Record):
    """Where networks without --subnet come from: subnets of length ``size`` out of ``base``."""

    base: Subnet
    size: int


#: 256 subnets of /24.
DEFAULT_POOLS = (AutoPool(Subnet(4, (10 << 24) + (81 << 16), 16), 24),)
#: What no network may be in.
RESERVED = (
    (Subnet(4, 0, 8), "this network (RFC 1122)"),
    (Subnet(4, 127 << 24, 8), "loopback"),
    (Subnet(4, (169 << 24) + (254 << 16), 16), "link-local"),
    (Subnet(4, 224 << 24, 3), "multicast and reserved"),
    (Subnet(6, 0, 8), "reserved (RFC 4291)"),
    (Subnet(6, 0xFE80 << 112, 10), "link-local"),
    (Subnet(6, 0xFF << 120, 8), "multicast"),
)
#: RFC 4193: fd00::/8, then 40 bits that are the host's, then 16 that are the network's.
_ULA_LENGTH, _ULA_SUBNETS = 64, 1 << 16


def choose_subnet(taken: Iterable[Subnet], pools: Sequence[AutoPool] = DEFAULT_POOLS) -> Subnet:
    """The first subnet of the IPv4 pools that overlaps nothing taken; Exhausted when there is none."""
    busy = [s for s in taken if s.version == 4]
    for pool in pools:
        step = 1 << (pool.base.bits - pool.size)
        near = [s for s in busy if s.overlaps(pool.base)]
        base = pool.base.base
        while base < pool.base.base + pool.base.size:
            subnet = Subnet(4, base, pool.size)
            found = next((s for s in near if s.overlaps(subnet)), None)
            if found is None:
                return subnet
            # Past all of what is in the way, however large that is.
            base = max(base + step, -(-(found.base + found.size) // step) * step)
    shown = ", ".join([f"{p.base} (as /{p.size})" for p in pools])
    raise Exhausted(f"no free subnet is left in {shown}", "give one with --subnet, or remove a network")


def choose_ula(host: str, network: str, taken: Iterable[Subnet]) -> Subnet:
    """An IPv6 /64 for a network: its own by the host's and its names, the next one where that is taken.

    ``host`` is what no other host has (machine-id(5)), ``network`` the network's id. Exhausted.
    """
    busy = [s for s in taken if s.version == 6]
    prefix = (0xFD << 40 | int(object_id("ula", host)[:10], 16)) << 80
    first = int(network[:4], 16)
    for n in range(_ULA_SUBNETS):
        subnet = Subnet(6, prefix | ((first + n) % _ULA_SUBNETS) << 64, _ULA_LENGTH)
        if not any(subnet.overlaps(other) for other in busy):
            return subnet
    raise Exhausted("no free IPv6 subnet is left for this host", "give one with --subnet")


def first_host(subnet: Subnet) -> Address:
    """The gateway where the user names none: the lowest usable address."""
    return Address(subnet.version, subnet.usable[0])


def check_host(subnet: Subnet, address: Address, what: str) -> None:
    """BadInput unless the address is one that a host in this subnet may have."""
    low, high = subnet.usable
    if address not in subnet:
        raise BadInput(f"{what} {address} is outside the subnet {subnet}")
    if not low <= address.value <= high:
        edge = "network or broadcast address" if subnet.version == 4 else "routers' anycast address"
        raise BadInput(f"{what} {address} is the {edge} of {subnet}")


def check_free(pool: Pool, address: Address, owner: str) -> None:
    """Conflict when the gateway has the address, or a container: ``owner`` names it, or is ""."""
    check_host(pool.subnet, address, "address")
    if address == pool.gateway:
        raise Conflict(f"address {address} is the gateway of {pool.subnet}")
    for name, kept in pool.aux:
        if address == kept:
            raise Conflict(f"address {address} is kept for {name} (--aux-address)")
    if owner:
        raise Conflict(f"address {address} is taken by container {owner}", "leave --ip out to get a free one")


def span(pool: Pool) -> tuple[int, int]:
    """Lowest and highest value that are given away: the subnet's hosts, or those of its range."""
    low, high = pool.subnet.usable
    if pool.ip_range is None:
        return low, high
    first, last = pool.ip_range.first.value, pool.ip_range.last.value
    return max(low, first), min(high, last)


def kept(pool: Pool) -> frozenset[int]:
    """The values that are never given away: the gateway's and the auxiliary ones."""
    return frozenset([pool.gateway.value, *[a.value for _, a in pool.aux]])


def lowest_free(pool: Pool, hint: int, is_free: Callable[[Address], bool]) -> Address | None:
    """The lowest free address at or after ``hint``; None when there is none.

    ``hint``: everything below is known to be taken, so that filling a subnet does not search it anew
    each time.
    """
    low, high = span(pool)
    never, version = kept(pool), pool.subnet.version
    for value in range(max(low, hint), high + 1):
        if value not in never and is_free(found := Address(version, value)):
            return found
    return None


def exhausted(pools: Sequence[Pool], network: str) -> Exhausted:
    """Why a container gets no address."""
    shown = ", ".join([f"{p.ip_range} of {p.subnet}" if p.ip_range else str(p.subnet) for p in pools])
    return Exhausted(
        f"no free address is left in {shown} of network {network}",
        "remove containers, or make a network with a larger subnet",
    )


def room(pool: Pool) -> int:
    """How many addresses there are to give away."""
    low, high = span(pool)
    return high - low + 1 - len([v for v in kept(pool) if low <= v <= high])
