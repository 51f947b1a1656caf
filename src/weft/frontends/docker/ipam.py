"""IpamDriver.*: dockerd's remote IPAM driver (moby, daemon/libnetwork/docs/ipam.md)."""

from __future__ import annotations

from weft.engine import docker_ipam as ipam
from weft.frontends.docker import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.work import Work
    from weft.frontends.docker.words import Body

_TYPE, _GATEWAY = "RequestAddressType", "com.docker.network.gateway"
_MAC = "com.docker.network.endpoint.macaddress"


def get_capabilities(work: Work, body: Body) -> Body:
    """The MAC tells whose an address is when Docker asks for all of them again."""
    return {"RequiresMACAddress": True, "RequiresRequestReplay": True}


def get_spaces(work: Work, body: Body) -> Body:
    """What pools are asked for in."""
    return {"LocalDefaultAddressSpace": ipam.LOCAL, "GlobalDefaultAddressSpace": ipam.GLOBAL}


def request_pool(work: Work, body: Body) -> Body:
    """A subnet for a network."""
    space = words.text(body, "AddressSpace", needed=True)
    asked = words.text(body, "Pool"), words.text(body, "SubPool")
    id, lent = ipam.request_pool(work, space, *asked, words.flag(body, "V6"))
    return {"PoolID": id, "Pool": str(lent.subnet), "Data": {}}


def release_pool(work: Work, body: Body) -> Body:
    """A network is gone."""
    ipam.release_pool(work, words.text(body, "PoolID", needed=True))
    return {}


def request_address(work: Work, body: Body) -> Body:
    """An address for an endpoint, or a network's gateway."""
    options = words.table(body, "Options")
    pool = words.text(body, "PoolID", needed=True)
    address = words.text(body, "Address").partition("/")[0]
    gateway = words.text(options, _TYPE) == _GATEWAY
    found = ipam.request_address(work, pool, address, gateway, words.text(options, _MAC).lower())
    return {"Address": str(found), "Data": {}}


def release_address(work: Work, body: Body) -> Body:
    """An endpoint is gone."""
    address = words.text(body, "Address", needed=True).partition("/")[0]
    ipam.release_address(work, words.text(body, "PoolID", needed=True), address)
    return {}


METHODS = {
    "GetCapabilities": get_capabilities,
    "GetDefaultAddressSpaces": get_spaces,
    "RequestPool": request_pool,
    "ReleasePool": release_pool,
    "RequestAddress": request_address,
    "ReleaseAddress": release_address,
}
