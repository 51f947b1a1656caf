"""create: a network that a user asks Podman for, checked and completed (netavark 2.0 on)."""

from __future__ import annotations

import posix

from weft.core.model.address import Address, Subnet, parse_address, parse_subnet
from weft.core.model.errors import BadInput, Conflict, Exhausted
from weft.core.model.names import check_ifname
from weft.core.oci.fields import Field
from weft.frontends.netavark import translate
from weft.frontends.netavark.read import need, net

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from weft.engine.work import Work

_HEX = frozenset("0123456789abcdef")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_OPTIONS = {
    "bridge": (
        "mtu vlan isolate metric no_default_route vrf mode outbound_addr4 outbound_addr6"
        " com.docker.network.driver.mtu com.docker.network.bridge.name"
    ).split(),
    "macvlan": "mode mtu metric no_default_route bclim parent com.docker.network.driver.mtu".split(),
    "ipvlan": "mode mtu metric no_default_route parent com.docker.network.driver.mtu".split(),
}
_MTU = "com.docker.network.driver.mtu"
_BRIDGE = "com.docker.network.bridge.name"
_MOST = 1 << 16


def create(root: Field, plugins: Sequence[str], opened: Callable[[], Work]) -> dict[str, Any]:
    """The network, completed. BadInput, Conflict, Exhausted."""
    given, used, wishes = need(root, "network"), root.get("used"), root.get("options")
    network = dict(_members(given))
    driver = str(network.get("driver") or "bridge")
    network["driver"] = driver
    _check_name(str(network.get("name", "")), str(network.get("id", "")), used)
    if driver not in translate.OWN:
        return _by_plugin(network, driver, plugins, opened)
    for key in ("dns_enabled", "internal", "ipv6_enabled"):
        network[key] = given.get(key).flag()
    options = _checked_options(driver, network, given)
    network["options"] = options
    if driver == "bridge":
        _interface(network, used, wishes)
    _addresses(network, driver, given, used, wishes, options)
    network.setdefault("created", _now())
    translate.asked(net(Field(network, "")), "", 53)
    return network


def _members(field: Field) -> dict[str, Any]:
    return {key: one.value() for key, one in field.members()}


def _now() -> str:
    from time import gmtime, strftime

    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())


def _check_name(name: str, id: str, used: Field) -> None:
    if not name or frozenset(name) - _NAME or not name[0].isalnum():
        raise BadInput(f"network name {name[:64]!a} invalid: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*")
    if len(id) != 64 or frozenset(id) - _HEX:
        raise BadInput(f"invalid network ID {id[:80]!a}")
    names = {key: one.text() for key, one in used.get("names").members()}
    if name in names:
        raise Conflict(f"network name {name} already used: network already exists")
    if id in names.values():
        raise Conflict(f"network ID {id} already used")


def _checked_options(driver: str, network: dict[str, Any], given: Field) -> dict[str, str]:
    options = {key: one.text() for key, one in given.get("options").members()}
    for key in options:
        if key not in _OPTIONS[driver]:
            raise BadInput(f"unsupported {driver} network option: {key[:64]}")
    if _MTU in options:
        options["mtu"] = options.pop(_MTU)
    for key in (_BRIDGE, "parent"):
        if key in options:
            network["network_interface"] = options.pop(key)
    return options


def _interface(network: dict[str, Any], used: Field, wishes: Field) -> None:
    """The bridge's name: as given, else the first free of podman1 and on."""
    taken = set(used.get("interfaces").texts())
    name = network.get("network_interface")
    if name:
        if not isinstance(name, str):
            raise BadInput("network_interface is not a string")
        check_ifname(name)
        if name in taken and (network["options"]).get("mode") != "unmanaged":
            raise Conflict(f"bridge name {name} already in use")
        return
    prefix = wishes.get("default_interface_name").text("podman")
    links = set(posix.listdir("/sys/class/net"))
    network["network_interface"] = check_ifname(
        next(n for i in range(1, _MOST) if (n := f"{prefix}{i}") not in taken and n not in links)
    )


def _addresses(
    network: dict[str, Any], driver: str, given: Field, used: Field, wishes: Field, options: dict[str, str]
) -> None:
    ipam = dict(_members(given.get("ipam_options")))
    kind = str(ipam.get("driver") or "")
    subnets = [_members(one) for one in given.get("subnets").items()]
    if driver != "bridge":
        network["dns_enabled"] = False
        if not subnets and driver == "ipvlan" and kind != "none":
            raise BadInput("ipam driver dhcp is not supported with ipvlan: a subnet is required")
        kind = kind or ("" if subnets else "dhcp")
    if kind in ("dhcp", "none") and subnets:
        raise BadInput(f"ipam driver {kind} set but subnets are set")
    taken = [parse_subnet(text) for text in used.get("subnets").texts()] + _host_subnets(wishes)
    if kind in ("", "host-local"):
        subnets = _filled(network, subnets, taken, wishes)
        kind = "host-local"
    if network.get("network_dns_servers") and not network["dns_enabled"]:
        raise BadInput("cannot set network_dns_servers when dns_enabled is false")
    for server in given.get("network_dns_servers").texts():
        parse_address(server, "dns server")
    network["subnets"] = [_with_gateway(one, taken, wishes) for one in subnets]
    network["ipv6_enabled"] = network["ipv6_enabled"] or any(":" in s["subnet"] for s in network["subnets"])
    network["ipam_options"] = {**ipam, "driver": kind}


def _host_subnets(wishes: Field) -> list[Subnet]:
    """The host's own routes, where those are to be kept clear of."""
    if not wishes.get("check_used_subnets").flag(True):
        return []
    found = []
    with open("/proc/net/route", encoding="ascii", errors="replace") as file:
        for words in [line.split() for line in file.readlines()[1:]]:
            first = int.from_bytes(bytes.fromhex(words[1]), "little")
            mask = int.from_bytes(bytes.fromhex(words[7]), "little")
            if mask:
                found.append(Subnet(4, first, mask.bit_count()))
    return found


def _filled(
    network: dict[str, Any], subnets: list[dict[str, Any]], taken: list[Subnet], wishes: Field
) -> list[dict[str, Any]]:
    """The families that are wanted and not there: a free subnet of the pools, a random one of IPv6."""
    versions = {6 if ":" in str(one.get("subnet")) else 4 for one in subnets}
    if not subnets:
        subnets = [{"subnet": str(_free(taken, wishes))}]
    if network["ipv6_enabled"] and 6 not in versions:
        subnets = [*subnets, {"subnet": f"fd{posix.urandom(1).hex()}:{_group()}:{_group()}:{_group()}::/64"}]
    return subnets


def _group() -> str:
    return posix.urandom(2).hex()


def _free(taken: list[Subnet], wishes: Field) -> Subnet:
    pools = [
        (need(p, "base").text(), need(p, "size").number(1, 30)) for p in wishes.get("subnet_pools").items()
    ]
    for base, size in pools or [("10.89.0.0/16", 24), ("10.90.0.0/15", 24), ("10.92.0.0/14", 24)]:
        pool = parse_subnet(base)
        step = 1 << (pool.bits - size)
        for n in range(min(1 << max(size - pool.prefix, 0), _MOST)):
            subnet = Subnet(pool.version, pool.first.value + n * step, size)
            if not any(subnet.overlaps(other) for other in taken):
                return subnet
    raise Exhausted("could not find free subnet from subnet pools")


def _with_gateway(one: dict[str, Any], taken: list[Subnet], wishes: Field) -> dict[str, Any]:
    """A subnet with its gateway, the first address where none is given."""
    text = one.get("subnet")
    if not isinstance(text, str):
        raise BadInput("subnet is not a string")
    subnet = parse_subnet(text)
    clash = next((other for other in taken if subnet.overlaps(other)), None)
    if clash is not None:
        raise Conflict(f"subnet {subnet} is already used on the host or by another config")
    gateway = one.get("gateway")
    if gateway:
        found = parse_address(str(gateway), "gateway")
        if found not in subnet:
            raise BadInput(f"gateway {found} not in subnet {subnet}")
    else:
        gateway = str(Address(subnet.version, subnet.usable[0]))
    lease = one.get("lease_range")
    if isinstance(lease, dict):
        for key in ("start_ip", "end_ip"):
            edge = lease.get(key)
            if edge and parse_address(str(edge), key) not in subnet:
                raise BadInput(f"lease range {key} {edge} not in subnet {subnet}")
    return {**one, "subnet": str(subnet), "gateway": gateway}


def _by_plugin(
    network: dict[str, Any], driver: str, directories: Sequence[str], opened: Callable[[], Work]
) -> dict[str, Any]:
    """A plug-in's network: it may complete it, and not call it by another name."""
    from weft.frontends.netavark import plugins

    path = plugins.find(driver, directories)
    found = plugins.call(opened(), path, ["create"], network)
    for key in ("name", "id", "driver"):
        if found.get(key) != network.get(key):
            raise BadInput(f'plugin "{driver}": the network\'s {key} was changed')
    return dict(found)
