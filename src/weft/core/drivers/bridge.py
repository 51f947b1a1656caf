"""The bridge driver: what a network and an endpoint want, as operations in the order of making."""

from __future__ import annotations

from weft.core.firewall.elements import endpoint_elements, network_elements, proxy_element
from weft.core.ops.address import AddressAdd
from weft.core.ops.file import HostsAdd, HostsFile
from weft.core.ops.link import BridgeAdd, LinkUp, VethAdd
from weft.core.ops.loopback import LoopbackAdd, LoopbackStart
from weft.core.ops.netns import EtcNetns, NetnsAdd, Sysctl
from weft.core.ops.route import DefaultRoute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.core.ops.base import Op

#: Routing rules and prohibit routes of weft: `ip rule` shows them by this protocol number.
PROTOCOL = 119
TABLE = 7765
MAIN = 254
OWN_PREFERENCE = 117
APART_PREFERENCE = 118


def isolation(network: Network) -> tuple[Op, ...]:
    """The second layer between networks, which survives `nft flush ruleset`: rules and prohibits.

    From its bridge a packet may be routed to its own subnet, and to no other network's, unless its
    connection came by a published port (the mark).
    """
    from weft.core.firewall.tables import PUBLISHED_MARK
    from weft.core.ops.route import ProhibitAdd
    from weft.core.ops.rule import Rule, RuleAdd

    subnet = network.pool4.subnet
    own = Rule(OWN_PREFERENCE, network.bridge, MAIN, PROTOCOL, to=subnet)
    apart = Rule(APART_PREFERENCE, network.bridge, TABLE, PROTOCOL, unmarked=PUBLISHED_MARK)
    return ProhibitAdd(subnet, TABLE, PROTOCOL), RuleAdd(own), RuleAdd(apart)


def network_wants(network: Network, hosts: str) -> tuple[Op, ...]:
    """A network: its bridge and address, its isolation, its elements, its hosts file."""
    pool, bridge = network.pool4, network.bridge
    alias = f"weft root={network.root} network={network.name}"
    return (
        HostsFile(hosts),
        BridgeAdd(bridge, network.mac, network.mtu, network.mark, alias),
        Sysctl(f"net/ipv6/conf/{bridge}/disable_ipv6", "1"),
        *network_elements(network),
        *isolation(network),
        AddressAdd(bridge, pool.gateway, pool.subnet.prefix),
        LinkUp(bridge),
    )


def tables_want(root: str) -> tuple[Op, ...]:
    """What comes with the first network and goes with the last."""
    from weft.core.firewall.tables import tables

    return tables(root)


def forwarding() -> Op:
    """The host forwards: switched on when first needed, never switched off."""
    return Sysctl("net/ipv4/ip_forward", "1", stays="others may rely on it by now")


def resolv_conf(sandbox: Sandbox) -> str:
    """The container's resolv.conf(5)."""
    search = f"search {' '.join(sandbox.search)}\n" if sandbox.search else ""
    return search + "".join([f"nameserver {a}\n" for a in sandbox.dns])


def endpoint_wants(network: Network, sandbox: Sandbox, endpoint: Endpoint, hosts: str) -> tuple[Op, ...]:
    """A container's place in a network. Its guard stands before its address works."""
    name, ifname = sandbox.name, endpoint.ifname
    alias = f"weft root={network.root} network={network.name} container={name} if={ifname}"
    veth = VethAdd(
        ifname=endpoint.host_ifname,
        mac=_host_mac(endpoint.hardware),
        mtu=network.mtu,
        bridge=network.bridge,
        group=network.group,
        peer_netns=name,
        peer=ifname,
        peer_mac=endpoint.hardware,
        mark=endpoint.mark,
        alias=alias,
    )
    names = (*sandbox.hosts_names, *endpoint.aliases)
    return (
        EtcNetns(name, hosts, resolv_conf(sandbox)),
        NetnsAdd(name),
        veth,
        *endpoint_elements(endpoint),
        LinkUp("lo", name),
        AddressAdd(ifname, endpoint.address, endpoint.addresses[0].prefix, name),
        LinkUp(ifname, name),
        DefaultRoute(network.pool4.gateway, ifname, name),
        HostsAdd(hosts, str(endpoint.address), names),
    )


def _host_mac(mac: str) -> str:
    """The host end's MAC: the container's with another first byte, so that the two never meet.

    It is higher than any bridge's own, so the bridge would keep its MAC even if it had to choose.
    """
    return "fe" + mac[2:]


def loopback_wants(endpoint: Endpoint) -> tuple[LoopbackAdd, ...]:
    """The ports that the loopback proxy holds for a container."""
    return tuple(
        [
            LoopbackAdd(p.proto, str(p.host), p.host_port, str(endpoint.address), p.port)
            for p in endpoint.publish
        ]
    )


def proxy_wants(port: int) -> tuple[Op, ...]:
    """The loopback proxy itself, and where the redirect finds it."""
    return LoopbackStart(port), proxy_element(port)
