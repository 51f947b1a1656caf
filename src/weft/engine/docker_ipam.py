"""What dockerd asks of its IPAM driver: pools and addresses (libnetwork's remote IPAM, docs/ipam.md of
moby).

A pool is known by an id that says what it is, so that a restart of Docker, which asks for all of its
pools and addresses again, finds them. An address is kept with the MAC of whose it is: the same MAC may
ask again, another may not. After a restart nothing counts as confirmed until Docker has asked for it
again; what it does not ask for may be had by others.
"""

from __future__ import annotations

import json

from weft.core.ipam import pool as ipam
from weft.core.model.address import Address, Cidr, Subnet, parse_address, parse_subnet
from weft.core.model.errors import BadInput, Conflict, NotFound
from weft.core.model.network import REST, Network, Pool
from weft.core.record import Record
from weft.engine import pools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.engine.work import Work

LOCAL, GLOBAL = "weft-local", "weft-global"
_POOLS, _LEASES = "docker/pool/", "docker/lease/"
_ID_MAX = 200
_UNCONFIRMED = "?"


class Lent(Record):
    """A pool that Docker has. ``router`` is the gateway that it has, "" where weft is to say; ``confirmed``:
    Docker has asked for it since it was started."""

    subnet: Subnet
    ip_range: Subnet | None = None
    router: str = ""
    confirmed: bool = True

    @property
    def dumped(self) -> str:
        """As it is kept."""
        return json.dumps([str(self.subnet), str(self.ip_range or ""), self.router, self.confirmed])


def _read(text: str) -> Lent:
    subnet, range_, router, confirmed = json.loads(text)
    return Lent(parse_subnet(subnet), parse_subnet(range_) if range_ else None, router, confirmed)


def restarted(work: Work) -> None:
    """Docker begins anew: what it has it will ask for again."""
    with work.machine.lock(), work.store.write():
        for key, text in work.store.below(_POOLS):
            work.store.put(key, _read(text)._replace(confirmed=False).dumped)
        for key, holder in work.store.below(_LEASES):
            if not holder.startswith(_UNCONFIRMED):
                work.store.put(key, _UNCONFIRMED + holder)


# pools


def request_pool(work: Work, space: str, subnet: str, range_: str, six: bool) -> tuple[str, Lent]:
    """A pool: the one asked for, else a free one. Its id, and what it is.

    BadInput; Conflict when another network of Docker's has it, Exhausted.
    """
    if space not in (LOCAL, GLOBAL):
        raise BadInput(f"address space {space[:64]!a} is not weft's")
    if range_ and not subnet:
        raise BadInput("a range needs the subnet that it is in")
    wanted = _asked(subnet, range_, six) if subnet else None
    with work.machine.lock():
        work.recover()
        known = {key.removeprefix(_POOLS): _read(text) for key, text in work.store.below(_POOLS)}
        lent = wanted or _free(work, known.values(), six)
        id = "=".join([space, str(lent.subnet), *([str(lent.ip_range)] if lent.ip_range else [])])
        _check_others(known, lent)
        with work.store.write():
            for other, theirs in known.items():
                if theirs.subnet.overlaps(lent.subnet) and other != id:
                    _drop(work, other)  # Docker has not asked for it again: it has it no more
            work.store.put(_POOLS + id, lent._replace(router=known[id].router if id in known else "").dumped)
        return id, lent


def _check_others(known: dict[str, Lent], lent: Lent) -> None:
    for theirs in known.values():
        if theirs.confirmed and theirs.subnet.overlaps(lent.subnet):
            raise Conflict(f"pool {lent.subnet} overlaps {theirs.subnet} of another network of Docker's")


def _asked(subnet: str, range_: str, six: bool) -> Lent:
    asked = pools.parse([subnet], (), [range_] if range_ else (), ())
    (wanted,) = asked.subnets
    if wanted.version != (6 if six else 4):
        raise BadInput(f"pool {wanted} is not an IPv{6 if six else 4} subnet")
    return Lent(wanted, next(iter(asked.ranges), None))


def _free(work: Work, known: Iterable[Lent], six: bool) -> Lent:
    """One that overlaps nothing: no network of weft's or Docker's, no route."""
    facts, taken = work.machine.host_facts(), [Pool(lent.subnet, lent.subnet.first) for lent in known]
    mine = [*work.store.networks(), Network(work.store.root, "docker", 1, tuple(taken), "docker")]
    asked = pools.Asked((), ipv4=not six, ipv6=six)
    (found,) = pools.decide(asked, "0000", facts, mine, work.machine.auto_pools())
    return Lent(found.subnet)


def release_pool(work: Work, id: str) -> None:
    """Takes a pool back. One that is not known is fine."""
    with work.machine.lock(), work.store.write():
        _drop(work, _check_id(id))


def _drop(work: Work, id: str) -> None:
    work.store.take(_POOLS + id)
    for key, _ in work.store.below(f"{_LEASES}{id}="):
        work.store.take(key)


def _check_id(id: str) -> str:
    if not 0 < len(id) <= _ID_MAX or not id.isascii() or not id.isprintable():
        raise BadInput(f"pool {id[:64]!a} is none of weft's")
    return id


def _pool(work: Work, id: str) -> Lent:
    text = work.store.get(_POOLS + _check_id(id))
    if not text:
        raise NotFound(f"pool {id} is not known", "Docker asks for it again when it is restarted")
    return _read(text)


# addresses


def request_address(work: Work, id: str, text: str, gateway: bool, mac: str) -> Cidr:
    """An address of a pool: the one asked for, else the lowest free one; the pool's gateway.

    BadInput, NotFound; Conflict when it is somebody else's, Exhausted.
    """
    with work.machine.lock():
        work.recover()
        lent = _pool(work, id)
        network = _network_of(work, lent)
        if gateway:
            found = _router(lent, network, text)
            with work.store.write():
                work.store.put(_POOLS + id, lent._replace(router=str(found)).dumped)
            return Cidr(found, lent.subnet.prefix)
        found = _given(work, id, lent, network, text, mac) if text else _lowest(work, id, lent, network)
        with work.store.write():
            work.store.put(f"{_LEASES}{id}={found}", mac)
            if network is not None:
                # Weft's own containers choose another one until Docker has told of the endpoint.
                work.store.rest(network.name, [found], work.machine.uptime() + REST)
        return Cidr(found, lent.subnet.prefix)


def _network_of(work: Work, lent: Lent) -> Network | None:
    """The network of weft's that has this subnet, where there is one already."""
    return next((n for n in work.store.networks() if any(p.subnet == lent.subnet for p in n.pools)), None)


def _router(lent: Lent, network: Network | None, text: str) -> Address:
    pools_of = network.pools if network is not None else ()
    has = next((str(p.gateway) for p in pools_of if p.subnet == lent.subnet), lent.router)
    found = parse_address(text or has or str(ipam.first_host(lent.subnet)), "gateway")
    ipam.check_host(lent.subnet, found, "gateway")
    if has and str(found) != has and network is not None:
        raise Conflict(f"network {network.name} has the gateway {has}, not {found}")
    return found


def _given(work: Work, id: str, lent: Lent, network: Network | None, text: str, mac: str) -> Address:
    """One that is asked for: free, or confirmed by whose it is."""
    found = parse_address(text, "address")
    ipam.check_host(lent.subnet, found, "address")
    if str(found) == lent.router:
        raise Conflict(f"address {found} is the gateway of {lent.subnet}")
    holder = work.store.get(f"{_LEASES}{id}={found}") if _is_leased(work, id, found) else None
    if holder is not None:
        if holder.startswith(_UNCONFIRMED) or (mac and holder == mac):
            return found
        raise Conflict(f"address {found} is taken by another container of Docker's")
    owner = work.store.address_holder(network.name, found) if network is not None else ""
    if owner:
        raise Conflict(f"address {found} is taken by container {owner}")
    return found


def _is_leased(work: Work, id: str, address: Address) -> bool:
    key = f"{_LEASES}{id}={address}"
    return any(found == key for found, _ in work.store.below(key))


def _lowest(work: Work, id: str, lent: Lent, network: Network | None) -> Address:
    held = work.store.below(f"{_LEASES}{id}=")
    leased = {key.rpartition("=")[2] for key, _ in held}
    name, now = network.name if network is not None else "", work.machine.uptime()

    def is_free(address: Address, resting: bool = False) -> bool:
        if str(address) in leased or (name and work.store.address_holder(name, address)):
            return False
        return resting or not name or not work.store.rests(name, address, now, REST)

    pool = _as_pool(lent, network)
    found = ipam.lowest_free(pool, 0, is_free) or ipam.lowest_free(pool, 0, lambda a: is_free(a, True))
    if found is None:
        # What Docker has not asked for again since it was started may be had.
        leased = {key.rpartition("=")[2] for key, mac in held if not mac.startswith(_UNCONFIRMED)}
        found = ipam.lowest_free(pool, 0, lambda a: is_free(a, True))
    if found is None:
        raise ipam.exhausted([pool], network.name if network is not None else "Docker's")
    return found


def _as_pool(lent: Lent, network: Network | None) -> Pool:
    router = parse_address(lent.router) if lent.router else ipam.first_host(lent.subnet)
    mine = next((p for p in network.pools if p.subnet == lent.subnet), None) if network is not None else None
    if mine is not None:
        return mine._replace(ip_range=lent.ip_range or mine.ip_range)
    return Pool(lent.subnet, router, lent.ip_range)


def release_address(work: Work, id: str, text: str) -> None:
    """Takes an address back; one that is not known is fine."""
    found = parse_address(text, "address")
    with work.machine.lock(), work.store.write():
        work.store.take(f"{_LEASES}{_check_id(id)}={found}")
