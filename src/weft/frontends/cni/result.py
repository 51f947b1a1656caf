"""Results: made, read from ``prevResult``, and written in the version that was asked for.

Inside they are as version 1.1.0 has them. What a version does not have is left out of it.
"""

from __future__ import annotations

from weft.core.model import jsontext
from weft.core.model.address import parse_address, parse_prefix
from weft.core.model.errors import BadInput
from weft.core.record import Record
from weft.frontends.cni.answer import BAD_CONFIG, Failure, order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.model.address import Address
    from weft.frontends.cni.field import Loose

#: Of interfaces, addresses, routes: far more than anybody has.
_MOST = 1000


class Interface(Record):
    """``sandbox`` is "" for one of the host's. ``socket`` and ``pci`` are passed on."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0
    socket: str = ""
    pci: str = ""


class Ip(Record):
    """An address with its prefix length, its gateway, and the place of its interface (-1: not said)."""

    address: Address
    prefix: int
    gateway: Address | None = None
    interface: int = -1


class Route(Record):
    """``to`` and ``prefix`` is where it leads; numbers are None where nothing is said."""

    to: Address
    prefix: int
    gateway: Address | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


class Dns(Record):
    """What goes into the container's resolv.conf."""

    servers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Result(Record):
    """What an ADD has brought about."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[Ip, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()


_ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")


def read(field: Loose) -> Result:
    """A result that somebody else wrote. BadInput."""
    found = Result(
        tuple([_interface(f) for f in _few(field.get("interfaces"))]),
        tuple([_ip(f) for f in _few(field.get("ips"))]),
        tuple([read_route(f) for f in _few(field.get("routes"))]),
        read_dns(field.get("dns")),
    )
    for ip in found.ips:
        if ip.interface >= len(found.interfaces) and found.interfaces:
            raise field.get("ips").wrong(f"{ip.interface} is no interface of the result")
    return found


def _few(field: Loose) -> list[Loose]:
    found = list(field.items())
    if len(found) > _MOST:
        raise field.wrong(f"more than {_MOST} of them")
    return found


def _interface(f: Loose) -> Interface:
    return Interface(
        f.need("name").text(),
        f.get("mac").text(),
        f.get("sandbox").text(),
        f.get("mtu").number(0, 1 << 31),
        f.get("socketPath").text(),
        f.get("pciID").text(),
    )


def _ip(f: Loose) -> Ip:
    address, prefix = parse_prefix(f.need("address").text(), "address of a result")
    gateway = f.get("gateway").text()
    place = f.get("interface")
    return Ip(address, prefix, _address(gateway), place.number(-1, _MOST, -1))


def _address(text: str) -> Address | None:
    return parse_address(text, "gateway") if text else None


def read_route(f: Loose) -> Route:
    """A route of a result, or of a configuration."""
    address, prefix = parse_prefix(f.need("dst").text(), "route")
    gateway = _address(f.get("gw").text())
    if gateway is not None and gateway.version != address.version:
        raise f.wrong("mixes IPv4 and IPv6")
    numbers = [f.get(key).number(0, (1 << 32) - 1) if f.get(key) else None for key in _ROUTE_NUMBERS]
    return Route(address, prefix, gateway, *numbers)


def read_dns(f: Loose) -> Dns:
    """``dns`` of a result or a configuration; containerd's capability has it as servers and searches."""
    servers = f.get("nameservers").texts() or f.get("servers").texts()
    search = f.get("search").texts() or f.get("searches").texts()
    return Dns(servers, f.get("domain").text(), search, f.get("options").texts())


def previous(field: Loose) -> Result | None:
    """``prevResult`` of a configuration; None when it has none. Failure when it cannot be one."""
    found = field.get("prevResult")
    if not found:
        return None
    try:
        return read(found)
    except BadInput as error:
        raise Failure(BAD_CONFIG, f"could not parse prevResult: {error.message}", error.hint) from None


def need_previous(field: Loose) -> Result:
    """The same where there must be one."""
    found = previous(field)
    if found is None:
        raise Failure(BAD_CONFIG, "required prevResult is missing", "it is a plug-in for a chain")
    return found


def text(result: Result, version: str) -> str:
    """The result object of a version."""
    return jsontext.dump(shaped(result, version)) + "\n"


def shaped(result: Result, version: str) -> dict[str, Any]:
    """The same as a value."""
    found: dict[str, Any] = {"cniVersion": version}
    rich = order(version) >= (1, 1)
    if result.interfaces:
        found["interfaces"] = [_shaped_interface(one, rich) for one in result.interfaces]
    if result.ips:
        found["ips"] = [_shaped_ip(one, order(version) < (1,)) for one in result.ips]
    if result.routes:
        found["routes"] = [_shaped_route(one, rich) for one in result.routes]
    found["dns"] = _shaped_dns(result.dns)
    return found


def _shaped_interface(one: Interface, rich: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name}
    extra = (("mtu", one.mtu), ("socketPath", one.socket), ("pciID", one.pci)) if rich else ()
    for key, value in (("mac", one.mac), *extra[:1], ("sandbox", one.sandbox), *extra[1:]):
        if value:
            found[key] = value
    return found


def _shaped_ip(one: Ip, old: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"version": str(one.address.version)} if old else {}
    if one.interface >= 0:
        found["interface"] = one.interface
    found["address"] = f"{one.address}/{one.prefix}"
    if one.gateway is not None:
        found["gateway"] = str(one.gateway)
    return found


def _shaped_route(one: Route, rich: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"dst": f"{one.to}/{one.prefix}"}
    if one.gateway is not None:
        found["gw"] = str(one.gateway)
    for key in _ROUTE_NUMBERS if rich else ():
        if getattr(one, key) is not None:
            found[key] = getattr(one, key)
    return found


def _shaped_dns(dns: Dns) -> dict[str, Any]:
    pairs = (
        ("nameservers", list(dns.servers)),
        ("domain", dns.domain),
        ("search", list(dns.search)),
        ("options", list(dns.options)),
    )
    return {key: value for key, value in pairs if value}
