"""NetworkDriver.*: dockerd's remote network driver (moby, daemon/libnetwork/docs/remote.md and
drivers/remote)."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.engine import docker
from weft.engine.network import NetworkRequest
from weft.frontends.docker import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.engine.work import Work
    from weft.frontends.docker.words import Body

_GENERIC = "com.docker.network.generic"
#: The driver option that names a network of weft's.
NETWORK = "weft.network"
#: Libnetwork's word for "any address", from the IPAM driver `null`.
_NO_POOL = ("0.0.0.0/0", "::/0")


def get_capabilities(work: Work, body: Body) -> Body:
    """Networks are this host's own."""
    return {"Scope": "local", "ConnectivityScope": "local"}


def allocate_network(work: Work, body: Body) -> Body:
    """Asked of drivers for whole swarms only."""
    return {"Options": {}}


def nothing(work: Work, body: Body) -> Body:
    """What weft has no use for: other hosts discovered, networks of swarms freed."""
    return {}


def create_network(work: Work, body: Body) -> Body:
    """``docker network create -d weft``."""
    docker.create_network(work, words.text(body, "NetworkID", needed=True), request(body))
    return {}


def request(body: Body) -> NetworkRequest:
    """What Docker wants of a network. BadInput."""
    options = words.table(body, "Options")
    given = words.pairs(options, _GENERIC)
    name = next((value for key, value in given if key == NETWORK), "")
    pools = [*words.objects(body, "IPv4Data"), *words.objects(body, "IPv6Data")]
    subnets = [words.text(pool, "Pool", needed=True) for pool in pools]
    if any(subnet in _NO_POOL for subnet in subnets) or not subnets:
        raise BadInput("a network of weft's needs subnets", "--ipam-driver weft chooses them")
    routers = [words.text(pool, "Gateway") for pool in pools]
    aux = [pair for pool in pools for pair in words.pairs(pool, "AuxAddresses")]
    return NetworkRequest(
        name=name,
        subnets=tuple(subnets),
        gateways=tuple([docker.gateway_text(router) for router in routers if router]),
        aux=tuple([f"{key}={value.partition('/')[0]}" for key, value in aux]),
        internal=words.flag(options, "com.docker.network.internal"),
        options=tuple([pair for pair in given if pair[0] != NETWORK]),
    )


def delete_network(work: Work, body: Body) -> Body:
    """``docker network rm``."""
    docker.delete_network(work, words.text(body, "NetworkID", needed=True))
    return {}


def _ids(body: Body) -> tuple[str, str]:
    return words.text(body, "NetworkID", needed=True), words.text(body, "EndpointID", needed=True)


def create_endpoint(work: Work, body: Body) -> Body:
    """A container's place in a network, before there is a sandbox. Only what Docker left empty is
    answered."""
    interface = words.table(body, "Interface")
    given = {key: words.text(interface, key) for key in ("Address", "AddressIPv6", "MacAddress")}
    addresses = [docker.gateway_text(given[key]) for key in ("Address", "AddressIPv6") if given[key]]
    told = docker.Told(tuple(addresses), given["MacAddress"].lower())
    endpoint = docker.create_endpoint(work, *_ids(body), told)
    made: dict[str, str] = {}
    for cidr in endpoint.addresses:
        key = "AddressIPv6" if cidr.address.version == 6 else "Address"
        if not given[key] and key not in made:
            made[key] = str(cidr)
    if not given["MacAddress"]:
        made["MacAddress"] = endpoint.hardware
    return {"Interface": made}


def endpoint_info(work: Work, body: Body) -> Body:
    """What `docker inspect` asks beside what Docker knows itself."""
    endpoint = docker.place_of(work, *_ids(body))
    if endpoint is None:
        return {"Value": {}}
    ports = [str(publish) for publish in endpoint.publish]
    about: dict[str, Any] = {"weft.network": endpoint.network, "weft.container": endpoint.container}
    return {"Value": {**about, "weft.interface": endpoint.host_ifname, "weft.publish": ports}}


def delete_endpoint(work: Work, body: Body) -> Body:
    """A container's place is given up."""
    docker.delete_endpoint(work, *_ids(body))
    return {}


def join(work: Work, body: Body) -> Body:
    """A container starts, or is connected: its end of the cable is ready to be taken."""
    found = docker.join(work, *_ids(body), words.text(body, "SandboxKey", needed=True))
    return {
        "InterfaceName": {"SrcName": found.ifname, "DstPrefix": found.prefix},
        "Gateway": found.gateway4,
        "GatewayIPv6": found.gateway6,
        "StaticRoutes": [],
        # Or Docker would add a bridge of its own to what has no way out.
        "DisableGatewayService": not (found.gateway4 or found.gateway6),
    }


def leave(work: Work, body: Body) -> Body:
    """A container ends, or is disconnected. Its cable goes with the endpoint, which Docker deletes next:
    until then it moves its end back."""
    docker.revoke_ports(work, *_ids(body))
    return {}


def program(work: Work, body: Body) -> Body:
    """This endpoint is its container's way out: its ports are published here."""
    network_id, id = _ids(body)
    endpoint = docker.place_of(work, network_id, id)
    six = endpoint is not None and endpoint.address_of(6) is not None
    docker.publish_ports(work, network_id, id, words.mappings(words.table(body, "Options"), six))
    return {}


def revoke(work: Work, body: Body) -> Body:
    """It is no more."""
    docker.revoke_ports(work, *_ids(body))
    return {}


METHODS = {
    "GetCapabilities": get_capabilities,
    "AllocateNetwork": allocate_network,
    "FreeNetwork": nothing,
    "CreateNetwork": create_network,
    "DeleteNetwork": delete_network,
    "CreateEndpoint": create_endpoint,
    "EndpointOperInfo": endpoint_info,
    "DeleteEndpoint": delete_endpoint,
    "Join": join,
    "Leave": leave,
    "DiscoverNew": nothing,
    "DiscoverDelete": nothing,
    "ProgramExternalConnectivity": program,
    "RevokeExternalConnectivity": revoke,
}
