"""Which addresses a container gets: as asked for, or the lowest free of each family."""

from __future__ import annotations

from weft.core.ipam import pool as ipam
from weft.core.model.address import Address, Cidr
from weft.core.model.errors import BadInput, Exhausted
from weft.core.model.network import REST
from weft.core.record import Record
from weft.engine.request import addresses_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.boundary import Store
    from weft.core.model.network import Network, Pool
    from weft.core.model.publish import Publish
    from weft.engine.request import Join
    from weft.engine.work import Work


class Claims:
    """What the requests of one batch have taken so far, beside what is stored.

    ``planned`` are networks that do not exist yet (in a dry run): nothing of theirs is stored.
    """

    __slots__ = ("addresses", "back", "hints", "macs", "names", "planned", "ports", "shards")

    def __init__(self, planned: frozenset[str] = frozenset()) -> None:
        self.addresses: set[tuple[str, Address]] = set()
        self.macs: set[tuple[str, str]] = set()
        self.names: set[str] = set()
        self.ports: dict[tuple[str, int], list[Publish]] = {}
        self.hints: dict[tuple[str, int], int] = {}
        self.shards: dict[tuple[str, int], int] = {}
        self.planned = planned
        #: Gives back what third parties' IPAM drivers have given, where nothing comes of it.
        self.back: list[Callable[[], None]] = []

    def give_back(self) -> None:
        """Whatever was asked for has failed."""
        for action in self.back:
            action()
        self.back.clear()


class Chosen(Record):
    """An address that was chosen: below it nothing of pool number ``place`` is free."""

    network: str
    place: int
    address: Address


def addresses(
    work: Work, network: Network, join: Join, claims: Claims
) -> tuple[tuple[Cidr, ...], list[Chosen]]:
    """The addresses asked for; of a family of the network's without one of those, the lowest free one.
    BadInput, Conflict, Exhausted."""
    if network.ipam and not work.dry:
        from weft.engine import remote

        texts = {a.version: str(a) for a in addresses_of(join)}
        cidrs = remote.addresses(work, network, texts, join.mac, claims)
        claims.addresses.update([(network.name, cidr.address) for cidr in cidrs])
        return cidrs, []
    asked = addresses_of(join)
    found: list[Cidr] = []
    chosen: list[Chosen] = []
    for version in (4, 6):
        pools = [(place, p) for place, p in enumerate(network.pools) if p.subnet.version == version]
        wanted = [a for a in asked if a.version == version]
        _check_one_each(pools, wanted)
        found += [_given(work.store, network, pools, one, claims) for one in wanted]
        if pools and not wanted and not (asked and join.exact):
            cidr, one = _lowest(work, network, pools, claims)
            found.append(cidr)
            chosen.append(one)
    claims.addresses.update([(network.name, cidr.address) for cidr in found])
    return tuple(found), chosen


def _check_one_each(pools: list[tuple[int, Pool]], wanted: list[Address]) -> None:
    for _, pool in pools:
        within = [str(a) for a in wanted if a in pool.subnet]
        if len(within) > 1:
            raise BadInput(
                f"two addresses of the subnet {pool.subnet} are asked for: {' and '.join(within[:2])}",
                "give one address of each subnet at most",
            )


def _given(
    store: Store, network: Network, pools: list[tuple[int, Pool]], wanted: Address, claims: Claims
) -> Cidr:
    pool = next((p for _, p in pools if wanted in p.subnet), None)
    if pool is None:
        shown = ", ".join([str(p.subnet) for _, p in pools])
        if not shown:
            raise BadInput(f"address {wanted}: network {network.name} has no IPv{wanted.version} subnet")
        raise BadInput(f"address {wanted} is outside the subnet {shown}")
    owner = "of this batch" if (network.name, wanted) in claims.addresses else ""
    if not owner and network.name not in claims.planned:
        owner = store.address_holder(network.name, wanted)
    if owner:
        from weft.engine.inspect import called

        owner = called(store, owner)
    ipam.check_free(pool, wanted, owner)
    return Cidr(wanted, pool.subnet.prefix)


def _lowest(
    work: Work, network: Network, pools: list[tuple[int, Pool]], claims: Claims
) -> tuple[Cidr, Chosen]:
    name, now = network.name, work.machine.uptime()
    planned = name in claims.planned

    def is_free(address: Address) -> bool:
        if (name, address) in claims.addresses:
            return False
        store = work.store
        return planned or not (store.address_holder(name, address) or store.rests(name, address, now, REST))

    for place, pool in pools:
        hint = claims.hints.get((name, place), -1)
        if hint < 0:
            hint = 0 if planned else work.store.next_address(name, place, pool.subnet, now, REST)
        found = ipam.lowest_free(pool, hint, is_free)
        if found is not None:
            claims.hints[name, place] = found.value + 1
            return Cidr(found, pool.subnet.prefix), Chosen(name, place, found)
    return _rested_longest(work.store, network, pools, claims)


def _rested_longest(
    store: Store, network: Network, pools: list[tuple[int, Pool]], claims: Claims
) -> tuple[Cidr, Chosen]:
    """Before a network is full, an address that still rests is given out: the one released first."""
    for place, pool in pools:
        low, high = ipam.span(pool)
        for address in store.resting(network.name, pool.subnet):
            fits = low <= address.value <= high and (network.name, address) not in claims.addresses
            if fits and not store.address_holder(network.name, address):
                return Cidr(address, pool.subnet.prefix), Chosen(network.name, place, address)
    raise _full(network, pools)


def _full(network: Network, pools: list[tuple[int, Pool]]) -> Exhausted:
    return ipam.exhausted([p for _, p in pools], network.name)
