"""CHECK: what an ADD left, compared with what is there now."""

from __future__ import annotations

from weft.core.model.errors import NotFound, WeftError
from weft.engine import attachment
from weft.frontends.cni import config
from weft.frontends.cni.answer import BAD_CONFIG, Failure
from weft.frontends.cni.ipam import FAILED_CHECK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.inside import Inside, SeenInterface
    from weft.engine.work import Work
    from weft.frontends.cni.call import Call
    from weft.frontends.cni.config import Port, Wish
    from weft.frontends.cni.result import Interface, Result


def differs(why: str) -> Failure:
    """What CHECK says."""
    return Failure(FAILED_CHECK, why)


def check(work: Work, call: Call, wish: Wish, result: Result) -> None:
    """Failure for the first thing that is not as it was left."""
    try:
        network, endpoint = attachment.place_of(work, call.member, wish.request.name)
        attachment.check_whole(work, network, endpoint)
    except (NotFound, WeftError) as error:
        raise differs(error.message) from None
    check_inside(call, result)
    known = {c.address for c in endpoint.addresses}
    mine = [
        ip for ip in result.ips if ip.interface < 0 or result.interfaces[ip.interface].name == call.ifname
    ]
    other = next((ip for ip in mine if ip.address not in known), None)
    if other is not None:
        raise differs(
            f"address {other.address} of prevResult is not the container's: {', '.join(map(str, known))}"
        )
    check_ports(work, call, wish.request.name, wish.ports)


def check_inside(call: Call, result: Result) -> None:
    """The container's interface, its addresses and routes."""
    from weft.wiring import look_inside

    found = look_inside(call.netns)
    link = found.link(call.ifname)
    place = next(
        (i for i, one in enumerate(result.interfaces) if one.name == call.ifname and one.sandbox), -1
    )
    if place < 0:
        raise Failure(BAD_CONFIG, f"prevResult has no interface {call.ifname} in the container")
    if link is None:
        raise differs(f"Container Interface {call.ifname} is not there")
    _check_link(result.interfaces[place], link, call)
    for ip in result.ips:
        if ip.interface in (-1, place) and (ip.address, ip.prefix) not in link.addresses:
            raise differs(f"Failed to match addr {ip.address}/{ip.prefix} on interface {call.ifname}")
    _check_routes(found, result)


def _check_link(wanted: Interface, link: SeenInterface, call: Call) -> None:
    if wanted.sandbox != call.netns:
        raise differs(f"Sandbox in prevResult {wanted.sandbox} doesn't match configured netns: {call.netns}")
    if wanted.mac and wanted.mac.lower() != link.mac:
        raise differs(f"Interface {link.ifname} Mac {wanted.mac} doesn't match container Mac: {link.mac}")
    if wanted.mtu and wanted.mtu != link.mtu:
        raise differs(f"Interface {link.ifname} MTU {wanted.mtu} doesn't match container MTU: {link.mtu}")
    if not link.up:
        raise differs(f"Interface {link.ifname} is down")


def _check_routes(found: Inside, result: Result) -> None:
    for route in result.routes:
        same = [r for r in found.routes if (r.to, r.prefix) == (route.to, route.prefix)]
        if not same:
            raise differs(f"Expected Route {route.to}/{route.prefix} not found")
        if route.gateway is not None and all(r.gateway != route.gateway for r in same):
            raise differs(f"Expected Route {route.to}/{route.prefix} by {route.gateway} not found")


def check_ports(work: Work, call: Call, name: str, ports: tuple[Port, ...]) -> None:
    """The container's ports are published still."""
    if not ports:
        return
    _, endpoint = attachment.place_of(work, call.member, name)
    versions = frozenset([c.address.version for c in endpoint.addresses])
    there = {str(p) for p in endpoint.publish}
    missing = next((text for text in config.specs(ports, versions) if text not in there), None)
    if missing is not None:
        raise differs(f"port {missing} is not published any more")
