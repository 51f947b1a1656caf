"""Ranges of addresses as CNI's host-local has them: sets of ranges, each set gives a container one address.

Semantics: plugins/ipam/host-local/backend/allocator of containernetworking/plugins.
"""

from __future__ import annotations

from weft.core.model.address import Address, Subnet
from weft.core.model.errors import BadInput
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    RangeSet = tuple["Range", ...]


class Range(Record):
    """The addresses ``first`` to ``last`` of a subnet, less its gateway."""

    subnet: Subnet
    first: Address
    last: Address
    gateway: Address

    def __contains__(self, address: Address) -> bool:
        return address.version == self.subnet.version and self.first.value <= address.value <= self.last.value

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def make(subnet: Subnet, first: Address | None, last: Address | None, gateway: Address | None) -> Range:
    """A range with what is left out filled in. BadInput."""
    if subnet.bits - subnet.prefix < 2:
        raise BadInput(f"network {subnet} is too small to allocate from")
    low, high = subnet.usable
    lowest, highest = Address(subnet.version, low), Address(subnet.version, high)
    found = Range(subnet, first or lowest, last or highest, gateway or lowest)
    for what, address in (("rangeStart", found.first), ("rangeEnd", found.last), ("gateway", found.gateway)):
        if address not in subnet:
            raise BadInput(f"{what} {address} is not in {subnet}")
        if not low <= address.value <= high:
            raise BadInput(f"{what} {address} is the network or broadcast address of {subnet}")
    if found.last.value < found.first.value:
        raise BadInput(f"rangeStart {found.first} is behind rangeEnd {found.last}")
    return found


def check(sets: Sequence[RangeSet]) -> None:
    """No two ranges overlap, a set is of one family, a subnet has one gateway. BadInput."""
    known: list[Range] = []
    gateways: dict[Subnet, Address] = {}
    for one in sets:
        if not one:
            raise BadInput("a set of ranges is empty")
        if len({r.subnet.version for r in one}) > 1:
            raise BadInput("a set of ranges mixes IPv4 and IPv6")
        for range_ in one:
            other = next((r for r in known if range_.first in r or r.first in range_), None)
            if other is not None:
                raise BadInput(f"ranges {other} and {range_} overlap")
            if gateways.setdefault(range_.subnet, range_.gateway) != range_.gateway:
                raise BadInput(f"subnet {range_.subnet} has two gateways")
            known.append(range_)


def home(one: RangeSet, address: Address) -> Range | None:
    """The range of a set that an address is in."""
    return next((r for r in one if address in r), None)


def after(one: RangeSet, last: Address | None) -> Iterator[tuple[Range, Address]]:
    """All addresses of a set, round and round: behind the one that was given out last."""
    start = next((i for i, r in enumerate(one) if last is not None and last in r), -1)
    if start < 0 or last is None:
        for range_ in one:
            yield from _between(range_, range_.first.value, range_.last.value)
        return
    yield from _between(one[start], last.value + 1, one[start].last.value)
    for step in range(1, len(one)):
        range_ = one[(start + step) % len(one)]
        yield from _between(range_, range_.first.value, range_.last.value)
    yield from _between(one[start], one[start].first.value, last.value)


def _between(range_: Range, low: int, high: int) -> Iterator[tuple[Range, Address]]:
    for value in range(low, high + 1):
        if value != range_.gateway.value:
            yield range_, Address(range_.subnet.version, value)


def choose(
    one: RangeSet, last: Address | None, take: Callable[[Address], bool]
) -> tuple[Range, Address] | None:
    """The next address that could be taken; None when there is none."""
    return next((pair for pair in after(one, last) if take(pair[1])), None)
