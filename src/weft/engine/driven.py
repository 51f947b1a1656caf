"""Which driver's wishes a network and its members have."""

from __future__ import annotations

from weft.core.drivers import bridge
from weft.core.ops.hop import RefusalDel
from weft.core.ops.link import LinkDel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.core.ops.base import Op

    Members = Sequence[tuple[Network, Endpoint]]


def network_wants(network: Network, hosts: str) -> tuple[Op, ...]:
    """A network, in the order of making."""
    taken: tuple[Op, ...] = ()
    if network.remote or network.ipam:
        from weft.core.drivers import remote
        from weft.core.ops.file import HostsFile

        if network.remote:
            return (HostsFile(hosts), *remote.network_wants(network))
        taken = remote.pools_taken(network)
    if network.bridged:
        return (*taken, *bridge.network_wants(network, hosts))
    from weft.core.drivers import macvlan

    return (*taken, *macvlan.network_wants(hosts))


def _unshaped(endpoint: Endpoint) -> tuple[Op, ...]:
    """The device that queues what a container sends, where its engine has asked for one."""
    if not endpoint.options:
        return ()
    from weft.core.ops.traffic import unshaped  # not for every command

    return unshaped(endpoint)


def unplugged(network: Network, endpoint: Endpoint, where: str) -> tuple[Op, ...]:
    """What takes a container's link away; ``where``: its namespace, "" when that is gone."""
    refusals = [h for h in endpoint.routes if h.type != "unicast"] if where else []
    left: list[Op] = told(network, endpoint, where or endpoint.container)
    left += [RefusalDel(h.to, h.type, where, h.metric) for h in refusals]
    if network.bridged:
        return (LinkDel(endpoint.host_ifname, endpoint.mark), *_unshaped(endpoint), *left)
    if network.remote:
        return tuple(left)
    return (*([LinkDel(endpoint.ifname, endpoint.mark, where)] if where else []), *left)


def told(network: Network, endpoint: Endpoint, where: str) -> list[Op]:
    """What third-party drivers are told when a network is left; ``where`` may be gone."""
    if not network.remote and not network.ipam:
        return []
    from weft.core.drivers import remote

    found: list[Op] = []
    if network.remote:
        found.append(remote.endpoint_wants(network, endpoint, where, ()).undo())
    return [*found, *[op.undo() for op in remote.addresses_taken(network, endpoint)]]


def endpoint_wants(
    network: Network,
    sandbox: Sandbox,
    endpoint: Endpoint,
    netns: str = "",
    before: Members = (),
    after: Members = (),
) -> tuple[Op, ...]:
    """A container's place in a network, beside those it had ``before``; ``after`` are all of them.
    ``netns`` as for the bridge driver."""
    taken: tuple[Op, ...] = ()
    if network.remote or network.ipam:
        from weft.core.drivers import remote

        taken = remote.addresses_taken(network, endpoint)
        if network.remote:
            families = _ways_out(network, before, after)
            return (*taken, remote.endpoint_wants(network, endpoint, netns or sandbox.name, families))
    if network.bridged:
        return (*taken, *bridge.endpoint_wants(network, sandbox, endpoint, netns))
    from weft.core.drivers import macvlan

    born = macvlan.birth(network, endpoint, netns or sandbox.name)
    return (*taken, *born, *bridge.inside_wants(sandbox, endpoint, netns))


def _ways_out(network: Network, before: Members, after: Members) -> tuple[int, ...]:
    """The families of which a network gives the default route, where there was none."""
    found = []
    for version in (4, 6):
        chosen = bridge.gateway_of(after, version)
        if chosen is not None and chosen[0] == network and bridge.gateway_of(before, version) is None:
            found.append(version)
    return tuple(found)
