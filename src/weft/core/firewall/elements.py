"""Networks, containers and published ports as elements of the two tables: no rule for any of them."""

from __future__ import annotations

from weft.core.model.network import link_local
from weft.core.ops.nft import ElementAdd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.address import Address
    from weft.core.model.network import Endpoint, Network, Pool
    from weft.core.model.publish import Publish
    from weft.core.ops.nft import Part

TABLE = "weft"


def _inet(name: str, key: tuple[Part, ...], comment: str, data: tuple[Part, ...] = ()) -> ElementAdd:
    return ElementAdd("inet", TABLE, name, key, data, comment)


def _address(address: Address) -> Part:
    return f"ipv{address.version}_addr", str(address)


def network_elements(network: Network) -> tuple[ElementAdd, ...]:
    """What a network adds: its bridge and what that is to others, its gateways, its subnets."""
    if not network.managed:
        return ()
    bridge: Part = ("ifname", network.bridge)
    said = f"{network.mark} {network.name}"
    found = [_inet(name, (bridge,), said) for name in ("bridges", "gateways")]
    found.append(_inet("same", (bridge, bridge), said))
    flags = {
        # An adopted bridge may be the host's own way to its LAN: its services stay reachable by it.
        "shielded": not network.adopted and not network.exposed,
        "exposed": network.exposed,
        "internal": network.internal,
        "isolated": network.isolated,
        "mixing": network.mixes,
        "shared": network.mixes and network.option("isolate") == "false",
    }
    found += [_inet(name, (bridge,), said) for name, wanted in flags.items() if wanted]
    if network.vrf and flags["shielded"]:
        found += _vrf_elements(network, said)
    for pool in network.pools:
        found += _pool_elements(network, pool, said)
    found += _dns_elements(network, said)
    if network.ipv6 and not network.adopted:
        local: Part = ("ipv6_addr", str(link_local(network.mac).address))
        found.append(_inet("own6", (bridge, local), said))
    return (*found, *[e for shard in range(1, network.shards + 1) for e in shard_elements(network, shard)])


def _vrf_elements(network: Network, said: str) -> list[ElementAdd]:
    """What comes by a bridge in a VRF comes a second time, by the VRF's device (drivers/net/vrf.c,
    vrf_ip_rcv()): the host is closed to it there too, but for its gateways."""
    vrf: Part = ("ifname", network.vrf)
    found = [_inet("shielded", (vrf,), said)]
    gateways = [p.gateway for p in network.pools] + (
        [link_local(network.mac).address] if network.ipv6 else []
    )
    return [*found, *[_inet(f"own{a.version}", (vrf, _address(a)), said) for a in gateways]]


def _dns_elements(network: Network, said: str) -> list[ElementAdd]:
    """Where members reach weft's DNS server: at their gateways, and from port 53 where it has another."""
    if not network.dns:
        return []
    found = []
    here, there = ("inet_service", "53"), ("inet_service", str(network.dns_port))
    for pool in network.pools:
        v = pool.subnet.version
        place: tuple[Part, ...] = (("ifname", network.bridge), _address(pool.gateway))
        for proto in ("udp", "tcp"):
            key: tuple[Part, ...] = (*place, ("inet_proto", proto))
            found.append(_inet(f"dns{v}", (*key, there), said))
            if here != there:
                found.append(_inet(f"dns{v}_at", (*key, here), said, (_address(pool.gateway), there)))
    return found


def shard_elements(network: Network, shard: int) -> tuple[ElementAdd, ...]:
    """What a further bridge adds: it has no address, and what it carries is the same network's."""
    other: Part = ("ifname", network.bridge_of(shard))
    said = f"{network.mark} {network.name}"
    return (
        *[_inet(name, (other,), said) for name in ("bridges", "shards", "shielded")],
        _inet("same", (other, other), said),
    )


def _pool_elements(network: Network, pool: Pool, said: str) -> list[ElementAdd]:
    v, bridge = pool.subnet.version, ("ifname", network.bridge)
    gateway, subnet = _address(pool.gateway), (f"ipv{v}_addr", str(pool.subnet))
    found = [_inet(f"own{v}", (bridge, gateway), said), _inet(f"taken{v}", (bridge, gateway), said)]
    if network.nat == "routed":
        return [*found, _inet(f"routed{v}", (subnet,), said)]
    # In a VRF all that comes by its bridge is seen coming by the VRF too, as from outside; what is not for
    # members is refused on its way to the bridge.
    found += [] if network.exposed or network.vrf else [_inet(f"subnet{v}", (subnet,), said)]
    found.append(_inet(f"nat{v}", (subnet,), said))
    shown = network.option(f"host_ipv{v}")
    if shown:
        found.append(_inet(f"snat{v}", (subnet,), said, ((f"ipv{v}_addr", shown),)))
    return found


def endpoint_elements(network: Network, endpoint: Endpoint) -> tuple[ElementAdd, ...]:
    """What a container adds: its leases on the bridge, and its published ports.

    ``taken4`` and ``taken6`` have an address once: even with a damaged database none is given out twice.
    """
    if not network.bridged:
        return ()
    said = f"{endpoint.mark} {endpoint.container}"
    bridge: Part = ("ifname", network.bridge)
    found: list[ElementAdd] = []
    for cidr in endpoint.addresses:
        found += _lease(endpoint, cidr.address, said)
        if network.managed:
            found.append(_inet(f"taken{cidr.address.version}", (bridge, _address(cidr.address)), said))
    if endpoint.address_of(6) is not None:
        found += _lease(endpoint, link_local(endpoint.hardware).address, said)
    for publish in endpoint.publish:
        found += publish_elements(network, endpoint, publish)
    return (*found, *open_elements(network, endpoint))


def _lease(endpoint: Endpoint, address: Address, said: str) -> list[ElementAdd]:
    port: tuple[Part, ...] = (("ifname", endpoint.host_ifname), ("ether_addr", endpoint.hardware))
    lease = ElementAdd("bridge", TABLE, f"lease{address.version}", (*port, _address(address)), (), said)
    if address.version == 4:
        return [lease]
    target: Part = ("integer", f"{address.value:#034x}")
    return [lease, ElementAdd("bridge", TABLE, "target6", (*port, target), (), said)]


def publish_elements(network: Network, endpoint: Endpoint, publish: Publish) -> list[ElementAdd]:
    """One published port: a map element where the LAN may come, a set element where loopback may.

    Where host and container have no family in common the proxy serves it, and there is no element.
    """
    v = publish.host.version
    address = endpoint.address_of(v)
    if address is None:
        return []
    said = f"{endpoint.mark} {endpoint.container}"
    proto: Part = ("inet_proto", publish.proto)
    host = _address(publish.host)
    port: Part = ("inet_service", str(publish.host_port))
    inner: Part = ("inet_service", str(publish.port))
    target: tuple[Part, ...] = (_address(address), inner)
    found = []
    if publish.every_address:
        found.append(_inet(f"publish{v}_any", (proto, port), said, target))
    elif not publish.host.loopback:
        found.append(_inet(f"publish{v}", (proto, host, port), said, target))
    # UDP and ::1 need no redirect: the proxy's held socket is the one that is dialled.
    if publish.proto == "tcp" and v == 4 and publish.every_address:
        found.append(_inet("loopback4_any", (port,), said))
    elif publish.proto == "tcp" and v == 4 and publish.host.loopback:
        found.append(_inet("loopback4", (host, port), said))
    return found


def open_elements(network: Network, endpoint: Endpoint) -> list[ElementAdd]:
    """The container ports of a routed network that others reach by the container's own address."""
    if network.nat != "routed":
        return []
    said = f"{endpoint.mark} {endpoint.container}"
    ports = {(p.proto, p.port) for p in endpoint.publish if not p.host.loopback}
    return [
        _inet(
            f"open{c.address.version}",
            (_address(c.address), ("inet_proto", proto), ("inet_service", str(port))),
            said,
        )
        for c in endpoint.addresses
        for proto, port in sorted(ports)
    ]


def proxy_element(port: int) -> ElementAdd:
    """Where the loopback proxy listens: the one element that the redirect rules look up."""
    return _inet("proxy", (("inet_proto", "tcp"),), "", (("inet_service", str(port)),))
