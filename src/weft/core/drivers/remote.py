"""Third-party drivers: what a network and an endpoint want of them (libnetwork's remote driver and IPAM)."""

from __future__ import annotations

from _blake2 import blake2b

from weft.core.ops.remote import RemoteJoin, RemoteNetworkAdd, RemoteTaken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint, Network
    from weft.core.ops.base import Op


def network_id(network: Network) -> str:
    """The 64 hex digits by which its driver knows a network."""
    return _id(network.root, "remote network", network.name)


def endpoint_id(endpoint: Endpoint) -> str:
    """The same for an endpoint."""
    return _id(endpoint.root, "remote endpoint", endpoint.network, endpoint.container)


def _id(*words: str) -> str:
    return blake2b("\0".join(words).encode(), digest_size=32).hexdigest()


def network_wants(network: Network) -> tuple[Op, ...]:
    """What its IPAM driver has given, and the network itself."""
    return (*pools_taken(network), *_made(network))


def pools_taken(network: Network) -> tuple[RemoteTaken, ...]:
    """The pools of its IPAM driver, and their gateways."""
    if not network.ipam:
        return ()
    found = []
    for pool in network.pools:
        others = tuple([str(address) for _, address in pool.aux])
        id = network.pool_id(pool.subnet.version)
        found.append(RemoteTaken(network.ipam, id, (str(pool.gateway), *others), whole=True))
    return tuple(found)


def _made(network: Network) -> tuple[Op, ...]:
    if not network.remote:
        return ()
    pools = tuple([(str(p.subnet), f"{p.gateway}/{p.subnet.prefix}") for p in network.pools])
    given = network.given_options
    return (RemoteNetworkAdd(network.remote, network_id(network), pools, given, network.internal),)


def addresses_taken(network: Network, endpoint: Endpoint) -> tuple[RemoteTaken, ...]:
    """What the IPAM driver has given to an endpoint."""
    if not network.ipam:
        return ()
    return tuple(
        [
            RemoteTaken(network.ipam, network.pool_id(c.address.version), (str(c.address),))
            for c in endpoint.addresses
        ]
    )


def endpoint_wants(network: Network, endpoint: Endpoint, where: str, defaults: tuple[int, ...]) -> RemoteJoin:
    """A container's place in a network of such a driver; ``defaults`` are the families whose way out it
    is."""
    return RemoteJoin(
        driver=network.remote,
        network=network_id(network),
        id=endpoint_id(endpoint),
        where=where,
        ifname=endpoint.ifname,
        addresses=tuple([str(c) for c in endpoint.addresses]),
        mac=endpoint.hardware,
        mark=endpoint.mark,
        defaults=defaults,
    )
