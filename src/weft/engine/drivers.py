"""Which driver a network is of, weft's bridges or a third party's, and what each wants."""

from __future__ import annotations

from weft.core.drivers import bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.core.ops.base import Op

    Members = Sequence[tuple[Network, Endpoint]]


def network_wants(network: Network, hosts: str) -> tuple[Op, ...]:
    """A network, and what its IPAM driver has given it."""
    if not network.remote and not network.ipam:
        return bridge.network_wants(network, hosts)
    from weft.core.drivers import remote
    from weft.core.ops.file import HostsFile

    if network.remote:
        return (HostsFile(hosts), *remote.network_wants(network))
    return (*remote.pools_taken(network), *bridge.network_wants(network, hosts))


def endpoint_wants(
    network: Network,
    sandbox: Sandbox,
    endpoint: Endpoint,
    netns: str = "",
    before: Members = (),
    after: Members = (),
) -> tuple[Op, ...]:
    """A container's place in a network, beside those it had ``before``; ``after`` are all of them."""
    if not network.remote and not network.ipam:
        return bridge.endpoint_wants(network, sandbox, endpoint, netns)
    from weft.core.drivers import remote

    taken = remote.addresses_taken(network, endpoint)
    if not network.remote:
        return (*taken, *bridge.endpoint_wants(network, sandbox, endpoint, netns))
    defaults = []
    for version in (4, 6):
        chosen = bridge.gateway_of(after, version)
        if chosen is not None and chosen[0] == network and bridge.gateway_of(before, version) is None:
            defaults.append(version)
    where = netns or sandbox.name
    return (*taken, remote.endpoint_wants(network, endpoint, where, tuple(defaults)))


def endpoint_goes(network: Network, endpoint: Endpoint, where: str) -> list[Op]:
    """What third-party drivers are told when it is left; ``where`` is its namespace, which may be gone."""
    if not network.remote and not network.ipam:
        return []
    from weft.core.drivers import remote

    found: list[Op] = []
    if network.remote:
        found.append(remote.endpoint_wants(network, endpoint, where, ()).undo())
    return [*found, *[op.undo() for op in remote.addresses_taken(network, endpoint)]]
