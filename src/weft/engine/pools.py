"""The subnets of a network: as asked for, checked, or chosen where nothing else is."""

from __future__ import annotations

from weft.core.ipam import pool as ipam
from weft.core.model.address import Subnet, parse_address, parse_subnet
from weft.core.model.errors import BadInput, Conflict
from weft.core.model.names import check_name
from weft.core.model.network import Pool
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.ipam.pool import AutoPool
    from weft.core.model.address import Address
    from weft.core.model.facts import HostFacts
    from weft.core.model.network import Network

#: What keeps one network from being most of an address space.
_SHORTEST = {4: 8, 6: 16}


class Asked(Record):
    """What a user asks of a network's addresses, parsed. ``gateways``, ``ranges`` and ``aux`` match
    subnets."""

    subnets: tuple[Subnet, ...]
    gateways: tuple[Address, ...] = ()
    ranges: tuple[Subnet, ...] = ()
    aux: tuple[tuple[str, Address], ...] = ()
    ipv4: bool = True
    ipv6: bool = False


def parse(
    subnets: Sequence[str], gateways: Sequence[str], ranges: Sequence[str], aux: Sequence[str]
) -> Asked:
    """All that can be refused without looking at the machine."""
    found = Asked(
        tuple([_check_subnet(parse_subnet(text)) for text in subnets]),
        tuple([parse_address(text, "gateway") for text in gateways]),
        tuple([parse_subnet(text, "--ip-range") for text in ranges]),
        tuple([_aux(text) for text in aux]),
    )
    for n, subnet in enumerate(found.subnets):
        for other in found.subnets[:n]:
            if subnet.overlaps(other):
                raise BadInput(f"subnets {other} and {subnet} overlap")
    for gateway in found.gateways:
        ipam.check_host(_home(found, gateway, "--gateway"), gateway, "gateway")
    for range_ in found.ranges:
        home = _home(found, range_.first, "--ip-range")
        if range_.prefix < home.prefix:
            raise BadInput(f"--ip-range {range_} is larger than its subnet {home}")
    for name, address in found.aux:
        ipam.check_host(_home(found, address, f"--aux-address {name}"), address, f"--aux-address {name}")
    _check_once(found)
    return found


def _aux(text: str) -> tuple[str, Address]:
    name, equals, address = text.partition("=")
    if not equals:
        raise BadInput(f"--aux-address {text!a} is not NAME=IP")
    return check_name(name, "auxiliary address"), parse_address(address, "auxiliary address")


def _home(asked: Asked, address: Address, flag: str) -> Subnet:
    for subnet in asked.subnets:
        if address in subnet:
            return subnet
    if asked.subnets:
        shown = ", ".join([str(s) for s in asked.subnets])
        raise BadInput(f"{flag} {address} is outside the subnet {shown}")
    raise BadInput(f"{flag} needs --subnet", "add the subnet that it is in")


def _check_once(asked: Asked) -> None:
    """One gateway and one range a subnet, no name or address twice."""
    for what, firsts in (("--gateway", asked.gateways), ("--ip-range", [r.first for r in asked.ranges])):
        homes = [_home(asked, address, what) for address in firsts]
        twice = next((h for n, h in enumerate(homes) if h in homes[:n]), None)
        if twice is not None:
            raise BadInput(f"{what} is given twice for the subnet {twice}")
    names = [name for name, _ in asked.aux]
    if len(set(names)) < len(names):
        raise BadInput("an --aux-address name is given twice")
    addresses = [a for _, a in asked.aux] + list(asked.gateways)
    if len(set(addresses)) < len(addresses):
        raise BadInput("an address is given twice as --aux-address or --gateway")


def _check_subnet(subnet: Subnet) -> Subnet:
    low, high = _SHORTEST[subnet.version], subnet.bits - 1
    if not low <= subnet.prefix <= high:
        raise BadInput(
            f"subnet {subnet} is not between /{low} and /{high}",
            "a gateway and a container need two addresses",
        )
    for reserved, why in ipam.RESERVED:
        if subnet.overlaps(reserved):
            raise BadInput(f"subnet {subnet} overlaps {reserved}: {why}")
    return subnet


def decide(
    asked: Asked, number: str, facts: HostFacts, known: Sequence[Network], auto: Sequence[AutoPool]
) -> tuple[Pool, ...]:
    """The pools of a network; ``number`` is its id. Exhausted when none can be chosen."""
    taken = [f.subnet for f in (*facts.routes, *facts.kept)]
    taken += [p.subnet for n in known for p in n.pools]
    taken += [Subnet(a.version, a.value, a.bits) for a in facts.nameservers]
    subnets = list(asked.subnets)
    versions = {s.version for s in subnets}
    if 4 not in versions and asked.ipv4 and (asked.ipv6 or not subnets):
        subnets.insert(0, ipam.choose_subnet(taken, auto))
    if 6 not in versions and asked.ipv6:
        subnets.append(ipam.choose_ula(facts.machine, number, taken))
    # IPv4 first: an endpoint's first address is the one that is shown where there is room for one.
    return tuple([_pool(asked, s) for s in sorted(subnets, key=lambda s: s.version)])


def _pool(asked: Asked, subnet: Subnet) -> Pool:
    gateway = next((g for g in asked.gateways if g in subnet), None)
    range_ = next((r for r in asked.ranges if r.first in subnet), None)
    aux = tuple([(name, a) for name, a in asked.aux if a in subnet])
    if gateway is None:
        low, high = subnet.usable
        others = {a.value for _, a in aux}
        value = next((v for v in range(low, min(high, low + len(others)) + 1) if v not in others), low)
        gateway = type(subnet.first)(subnet.version, value)
    return Pool(subnet, gateway, range_, aux)


def check_clashes(pools: Sequence[Pool], bridge: str, facts: HostFacts, known: Sequence[Network]) -> None:
    """Nobody else has these subnets. Conflict, naming them."""
    for pool in pools:
        subnet = pool.subnet
        for other in known:
            for theirs in other.pools:
                if subnet.overlaps(theirs.subnet):
                    raise Conflict(f"subnet {subnet} overlaps {theirs.subnet} of network {other.name}")
        for route in facts.routes:
            if subnet.overlaps(route.subnet) and route.by != bridge:
                raise Conflict(
                    f"subnet {subnet} overlaps the host's route to {route.subnet} by {route.by}",
                    "choose another --subnet, or leave it out",
                )
        for theirs_ in facts.kept:
            if subnet.overlaps(theirs_.subnet) and theirs_.bridge != bridge:
                raise Conflict(
                    f"subnet {subnet} overlaps {theirs_.subnet} of {theirs_.by}",
                    "choose another --subnet, or leave it out",
                )
