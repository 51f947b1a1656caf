"""The macvlan and ipvlan drivers: a container is on the wire of a link of the host, as a machine of its own.

What it sends does not pass the host's stack: no guard, no NAT and no published port is the host's to give.
"""

from __future__ import annotations

from weft.core.ops.file import HostsFile
from weft.core.ops.sublink import SublinkAdd
from weft.core.ops.wire import LinkMark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint, Network
    from weft.core.ops.base import Op

#: The mode of each driver where none is asked for.
_MODES = {"macvlan": "bridge", "ipvlan": "l2"}


def shares_mac(network: Network) -> bool:
    """Whether its members have the MAC of the link they are on."""
    return network.driver == "ipvlan" or network.option("mode") == "passthru"


def network_wants(hosts: str) -> tuple[Op, ...]:
    """A network: nothing in the kernel, only the names of its members."""
    return (HostsFile(hosts),)


def birth(network: Network, endpoint: Endpoint, where: str) -> tuple[Op, ...]:
    """A container's link, marked, down and without an address. ``where``: its namespace."""
    alias = (
        f"weft root={network.root} network={network.name} container={endpoint.container} if={endpoint.ifname}"
    )
    link = SublinkAdd(
        link_kind=network.driver,
        ifname=endpoint.ifname,
        parent=network.option("parent"),
        mode=network.option("mode", _MODES[network.driver]),
        mac="" if shares_mac(network) else endpoint.hardware,
        mtu=network.mtu,
        peer_netns=where,
        mark=endpoint.mark,
        broadcast_cutoff=network.option("bclim"),
    )
    return link, LinkMark(endpoint.ifname, endpoint.mark, alias, where)
