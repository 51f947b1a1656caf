"""Which driver's wishes a network and its members have."""

from __future__ import annotations

from weft.core.drivers import bridge
from weft.core.ops.hop import RefusalDel
from weft.core.ops.link import LinkDel
from weft.core.ops.traffic import unshaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.core.ops.base import Op


def network_wants(network: Network, hosts: str) -> tuple[Op, ...]:
    """A network, in the order of making."""
    if network.bridged:
        return bridge.network_wants(network, hosts)
    from weft.core.drivers import macvlan

    return macvlan.network_wants(hosts)


def unplugged(network: Network, endpoint: Endpoint, where: str) -> tuple[Op, ...]:
    """What takes a container's link away; ``where``: its namespace, "" when that is gone."""
    refusals = [h for h in endpoint.routes if h.type != "unicast"] if where else []
    left = [RefusalDel(h.to, h.type, where, h.metric) for h in refusals]
    if network.bridged:
        return (LinkDel(endpoint.host_ifname, endpoint.mark), *unshaped(endpoint), *left)
    return (*([LinkDel(endpoint.ifname, endpoint.mark, where)] if where else []), *left)


def endpoint_wants(network: Network, sandbox: Sandbox, endpoint: Endpoint, netns: str = "") -> tuple[Op, ...]:
    """A container's place in a network; ``netns`` as for the bridge driver."""
    if network.bridged:
        return bridge.endpoint_wants(network, sandbox, endpoint, netns)
    from weft.core.drivers import macvlan

    born = macvlan.birth(network, endpoint, netns or sandbox.name)
    return (*born, *bridge.inside_wants(sandbox, endpoint, netns))
