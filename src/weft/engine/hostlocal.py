"""Addresses out of host-local's own files, so that a node can change between that plug-in and weft.

What is in a weft network of the same name is looked at too: an address is given out once on a host.
"""

from __future__ import annotations

from weft.core.ipam import ranges
from weft.core.model.address import Address, parse_address
from weft.core.model.errors import BadInput, Conflict, Exhausted
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from weft.core.boundary import Ledger, Store
    from weft.core.ipam.ranges import Range, RangeSet


class Owner(Record):
    """Whose an address is: a container's id and its interface."""

    container: str
    ifname: str


class Leased(Record):
    """An address and the range it is out of."""

    address: Address
    range: Range


def held_by_others(store: Store, network: str) -> Callable[[Address], bool]:
    """Whether an address is somebody's in the weft network of that name."""
    found = store.find_network(network)
    if found is None:
        return lambda address: False
    name, gateways = found.name, {p.gateway for p in found.pools}
    return lambda address: address in gateways or bool(store.address_holder(name, address))


def allocate(
    ledger: Ledger,
    sets: Sequence[RangeSet],
    wanted: Sequence[Address],
    owner: Owner,
    held: Callable[[Address], bool],
) -> tuple[Leased, ...]:
    """One address of each set, those wanted where they fit; all or none. BadInput, Conflict, Exhausted."""
    with ledger.locked():
        found: list[Leased] = []
        left = list(wanted)
        try:
            for place, one in enumerate(sets):
                asked = next((a for a in left if ranges.home(one, a) is not None), None)
                if asked is not None:
                    left.remove(asked)
                    found.append(_given(ledger, one, asked, owner, held))
                else:
                    found.append(_next(ledger, place, one, owner, held))
            if left:
                raise BadInput(f"address {left[0]} is in none of the ranges")
        except BaseException:
            for lease in found:
                ledger.drop(str(lease.address))
            raise
        return tuple(found)


def _given(
    ledger: Ledger, one: RangeSet, address: Address, owner: Owner, held: Callable[[Address], bool]
) -> Leased:
    range_ = ranges.home(one, address)
    assert range_ is not None  # whoever asks has looked
    if address == range_.gateway:
        raise BadInput(f"address {address} is the gateway of {range_.subnet}")
    if held(address) or not ledger.take(str(address), owner.container, owner.ifname):
        raise Conflict(f"address {address} is taken", "ask for another, or for none")
    return Leased(address, range_)


def _next(ledger: Ledger, place: int, one: RangeSet, owner: Owner, held: Callable[[Address], bool]) -> Leased:
    taken = ledger.names()
    found = ranges.choose(
        one,
        _address(ledger.last(place)),
        lambda a: str(a) not in taken and not held(a) and ledger.take(str(a), owner.container, owner.ifname),
    )
    if found is None:
        shown = ", ".join([str(r) for r in one])
        raise Exhausted(f"no IP addresses available in range set: {shown}")
    ledger.set_last(place, str(found[1]))
    return Leased(found[1], found[0])


def _address(text: str) -> Address | None:
    """What stands in a file that anybody may have written."""
    try:
        return parse_address(text)
    except BadInput:
        return None


def release(ledger: Ledger, owner: Owner, known: Collection[Address] = ()) -> None:
    """Gives back what a container's interface has. ``known`` are its addresses where that is on record:
    then no other file is read."""
    with ledger.locked():
        mine = [str(a) for a in known]
        if not mine or any(ledger.owner(name) != (owner.container, owner.ifname) for name in mine):
            mine = ledger.of(owner.container, owner.ifname)
        for name in mine:
            ledger.drop(name)


def owned(ledger: Ledger, owner: Owner) -> list[str]:
    """The addresses that a container's interface has."""
    with ledger.locked():
        return ledger.of(owner.container, owner.ifname)


def sweep(ledger: Ledger, valid: Collection[tuple[str, str]]) -> list[str]:
    """Gives back what belongs to nobody of these (container, interface); which addresses."""
    gone = []
    with ledger.locked():
        for name in sorted(ledger.names()):
            container, ifname = ledger.owner(name)
            stays = any(c == container and ifname in ("", i) for c, i in valid)
            if container and not stays:
                ledger.drop(name)
                gone.append(name)
    return gone
