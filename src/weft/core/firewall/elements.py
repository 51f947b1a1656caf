"""Networks, containers and published ports as elements of the two tables: no rule for any of them."""

from __future__ import annotations

from weft.core.ops.nft import ElementAdd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.address import Address
    from weft.core.model.network import Endpoint, Network
    from weft.core.model.publish import Publish
    from weft.core.ops.nft import Part

TABLE = "weft"


def _inet(name: str, key: tuple[Part, ...], comment: str, data: tuple[Part, ...] = ()) -> ElementAdd:
    return ElementAdd("inet", TABLE, name, key, data, comment)


def network_elements(network: Network) -> tuple[ElementAdd, ...]:
    """What a network adds: its bridge, its gateway, its subnet (guarded, and masqueraded)."""
    bridge: Part = ("ifname", network.bridge)
    pool = network.pool4
    said = f"{network.mark} {network.name}"
    subnet: tuple[Part, ...] = (("ipv4_addr", str(pool.subnet)),)
    return (
        _inet("bridges", (bridge,), said),
        _inet("same", (bridge, bridge), said),
        _inet("own4", (bridge, ("ipv4_addr", str(pool.gateway))), said),
        _inet("subnet4", subnet, said),
        _inet("nat4", subnet, said),
    )


def endpoint_elements(network: Network, endpoint: Endpoint) -> tuple[ElementAdd, ...]:
    """What a container adds: its lease on the bridge, and its published ports."""
    said = f"{endpoint.mark} {endpoint.container}"
    lease: tuple[Part, ...] = (
        ("ifname", endpoint.host_ifname),
        ("ether_addr", endpoint.hardware),
        ("ipv4_addr", str(endpoint.address)),
    )
    ports: list[ElementAdd] = []
    for publish in endpoint.publish:
        ports += publish_elements(publish, endpoint.address, said)
    return (ElementAdd("bridge", TABLE, "lease4", lease, (), said), *ports)


def publish_elements(publish: Publish, address: Address, comment: str) -> list[ElementAdd]:
    """One published port: a map element where the LAN may come, a set element where 127.x may."""
    proto: Part = ("inet_proto", publish.proto)
    host: Part = ("ipv4_addr", str(publish.host))
    port: Part = ("inet_service", str(publish.host_port))
    target: tuple[Part, ...] = (("ipv4_addr", str(address)), ("inet_service", str(publish.port)))
    found = []
    if publish.every_address:
        found.append(_inet("publish4_any", (proto, port), comment, target))
    elif not publish.host.loopback:
        found.append(_inet("publish4", (proto, host, port), comment, target))
    # UDP on 127.x needs no redirect: the proxy's held socket is the one that is dialled.
    if publish.proto == "tcp" and publish.every_address:
        found.append(_inet("loopback4_any", (port,), comment))
    elif publish.proto == "tcp" and publish.host.loopback:
        found.append(_inet("loopback4", (host, port), comment))
    return found


def proxy_element(port: int) -> ElementAdd:
    """Where the loopback proxy listens: the one element that the redirect rules look up."""
    return _inet("proxy", (("inet_proto", "tcp"),), "", (("inet_service", str(port)),))
