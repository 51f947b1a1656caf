"""Podman's networks and ports in weft's words: what is asked of the engine."""

from __future__ import annotations

from weft.core.model.address import Address, parse_address, parse_subnet
from weft.core.model.errors import BadInput, Unsupported
from weft.core.model.names import check_hostname, check_name
from weft.core.model.network import DEFAULT, HOST_IFNAME
from weft.core.model.publish import Publish
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.address import Subnet
    from weft.engine.network import NetworkRequest
    from weft.engine.request import Join
    from weft.frontends.netavark.read import Net, Place, Port, Range, Way, Wish

OWN = ("bridge", "macvlan", "ipvlan")
#: Metrics of default routes that no option says: netavark's own.
_METRIC = {"bridge": "100", "macvlan": "99", "ipvlan": "99"}
_MODES = {
    "macvlan": ("private", "vepa", "bridge", "passthru", "source"),
    "ipvlan": ("l2", "l3", "l3s"),
}
_FIREWALLS = ("", "nftables", "iptables", "firewalld", "none")
_SEARCH = ("dns.podman",)
_PORTS = 65535


def network_name(net: Net) -> str:
    """What weft calls a network: as Podman does; by its id where that is no name for weft."""
    try:
        found = check_name(net.name, "network")
    except BadInput:
        found = DEFAULT
    return found if found != DEFAULT else f"podman-{net.id[:12]}"


def member_name(id: str, name: str) -> str:
    """What a container is called in weft's networks."""
    fits = len(name) <= 90 and all(c.isascii() and (c.isalnum() or c in "_.-") for c in name)
    return f"podman:{name if fits else id[:12]}"


def check_firewall(firewall: str) -> None:
    """BadInput for a firewall that netavark does not know either."""
    if firewall not in _FIREWALLS:
        raise BadInput(f"Must provide a valid firewall backend, got {firewall[:64]}")


def subnets(net: Net) -> list[tuple[Subnet, Range]]:
    """A network's subnets. BadInput when one is wrong, or two overlap."""
    found: list[tuple[Subnet, Range]] = []
    for one in net.subnets:
        subnet = parse_subnet(one.subnet)
        clash = next((other for other, _ in found if subnet.overlaps(other)), None)
        if clash is not None:
            raise BadInput(f"subnets {clash} and {subnet} of network {net.name} overlap")
        found.append((subnet, one))
    return found


class Asked(Record):
    """A network as the engine is to make it, in that one's words: a NetworkRequest, whose module is much to
    import and seldom needed."""

    name: str
    subnets: tuple[str, ...]
    gateways: tuple[str, ...]
    bridge: str
    mtu: int
    internal: bool
    nat: str
    options: tuple[tuple[str, str], ...]
    driver: str


def request(asked: Asked) -> NetworkRequest:
    """The same for the engine."""
    from weft.engine.network import NetworkRequest

    return NetworkRequest(**{field: getattr(asked, field) for field in Asked._fields})


def asked(net: Net, firewall: str, dns_port: int) -> Asked:
    """The network as the engine is to make it. BadInput, Unsupported."""
    if net.ipam == "dhcp":
        raise Unsupported("unsupported ipam driver dhcp", "weft has no DHCP proxy: give the network a subnet")
    if net.ipam not in ("host-local", "none"):
        raise BadInput(f"unsupported ipam driver {net.ipam[:64]}")
    found = subnets(net)
    if not found:
        raise Unsupported(
            f"network {net.name} has no subnet", "weft makes no network without addresses: give it one"
        )
    unmanaged = _unmanaged(net)
    routed = firewall == "none" and net.driver == "bridge" and not unmanaged
    return Asked(
        name=network_name(net),
        subnets=tuple([str(s) for s, _ in found]),
        gateways=tuple([gateway(s, one) for s, one in found]),
        bridge=net.interface if net.driver == "bridge" else "",
        mtu=_mtu(net),
        internal=net.internal,
        nat="routed" if routed and not net.internal else "",
        options=(*_options(net, found, unmanaged), *(() if unmanaged else _dns(net, dns_port))),
        driver=net.driver,
    )


def gateway(subnet: Subnet, one: Range) -> str:
    """A subnet's gateway; where there is to be none the last address, which Podman gives out last: weft's
    bridge has one, and nobody is told."""
    if one.gateway:
        return str(parse_address(one.gateway, "gateway"))
    return str(Address(subnet.version, subnet.usable[1]))


def _unmanaged(net: Net) -> bool:
    mode = net.option("mode")
    if net.driver != "bridge":
        return False
    if mode not in ("", "managed", "unmanaged"):
        raise BadInput(f"invalid bridge mode {mode[:64]!a}")
    if mode == "unmanaged" and not net.interface:
        raise BadInput("no network interface name given for an unmanaged bridge")
    return mode == "unmanaged"


def _mtu(net: Net) -> int:
    text = net.option("mtu", "0")
    if not (text.isascii() and text.isdigit()) or len(text) > 5:
        raise BadInput(f'unable to parse "mtu": invalid digit found in string ({text[:64]!a})')
    return int(text)


def _options(net: Net, found: Sequence[tuple[Subnet, Range]], unmanaged: bool) -> tuple[tuple[str, str], ...]:
    options = [("metric", _metric(net))]
    if _flag(net, "no_default_route") or net.internal or not any(one.gateway for _, one in found):
        options.append(("no_default_route", "true"))
    if net.driver == "bridge":
        return (*options, *_bridge_options(net, unmanaged))
    mode = net.option("mode")
    if mode not in ("", *_MODES[net.driver]):
        raise BadInput(f"invalid {net.driver} mode {mode[:64]!a}")
    if net.interface:
        options.append(("parent", net.interface))
    if mode:
        options.append(("mode", mode))
    if net.option("bclim"):
        options.append(("bclim", net.option("bclim")))
    return tuple(options)


def _bridge_options(net: Net, unmanaged: bool) -> list[tuple[str, str]]:
    vlan = _vlan(net)
    placed = [(key, value) for key, value in (("vlan", vlan), ("vrf", net.option("vrf"))) if value]
    if unmanaged:
        return [("unmanaged", "true"), *placed]
    isolate = net.option("isolate", "strict")
    if isolate not in ("true", "false", "strict"):
        raise BadInput(f'unable to parse "isolate": {isolate[:64]!a} is not true, false or strict')
    if net.option("vrf"):
        isolate = "strict"  # where it is apart from all others, whatever they say
    shown = [(f"host_ipv{v}", net.option(f"outbound_addr{v}")) for v in (4, 6)]
    return [("isolate", isolate), *placed, *[pair for pair in shown if pair[1]]]


def _vlan(net: Net) -> str:
    text = net.option("vlan")
    if text and not (text.isascii() and text.isdigit() and len(text) <= 4 and 0 < int(text) < 4095):
        raise BadInput(f'unable to parse "vlan": {text[:64]!a} is not from 1 to 4094')
    return text


def _flag(net: Net, key: str) -> bool:
    text = net.option(key, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise BadInput(f'unable to parse "{key}": provided string was not `true` or `false`')
    return text in ("true", "1")


def _dns(net: Net, port: int) -> tuple[tuple[str, str], ...]:
    """Whether weft answers names on the network's gateways (docs/dns.md)."""
    if not net.dns or net.driver != "bridge" or net.option("vrf"):
        return ()
    options = [("dns", "true")]
    if port != 53:
        options.append(("dns_port", str(port)))
    if net.dns_servers:
        options.append(("dns_servers", " ".join(net.dns_servers)))
    return tuple(options)


def join(place: Place, hostname: str) -> Join:
    """A container's part in a network. BadInput."""
    from weft.engine.request import Join

    net = place.net
    found = subnets(net)
    if not place.addresses:
        raise BadInput("no static ips provided", "Podman chooses the addresses of its containers")
    addresses = [parse_address(text, "static ip") for text in place.addresses]
    within = [a for a in addresses if any(a in s for s, _ in found)]
    if len(within) < len(addresses):
        raise BadInput(f"not all static IPs matched a subnet: expected {len(addresses)}, got {len(within)}")
    outer = dict(place.options).get("host_interface_name", "")
    return Join(
        network=network_name(net),
        addresses=tuple([str(a) for a in addresses]),
        mac=_mac(place.mac),
        ifname=place.interface,
        aliases=_aliases(place.aliases, hostname),
        routes=tuple([_route(net, way) for way in net.routes]),
        options=((HOST_IFNAME, outer),) if outer and net.driver == "bridge" else (),
        exact=True,
    )


def _mac(text: str) -> str:
    from weft.core.model.names import check_mac

    try:
        return check_mac(text) if text else ""
    except BadInput as error:
        raise BadInput(f"unable to parse mac address {text[:64]}: {error.message}") from None


def _aliases(names: Sequence[str], hostname: str) -> tuple[str, ...]:
    """The names that are names of hosts, each once: Podman's own may be others too."""
    return tuple([n for n in dict.fromkeys(names) if n != hostname and _is_hostname(n)])


def _is_hostname(text: str) -> bool:
    try:
        return bool(check_hostname(text))
    except BadInput:
        return False


def _metric(net: Net) -> str:
    text = net.option("metric") or _METRIC[net.driver]
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or not 0 < int(text) < 1 << 32:
        raise BadInput(f'unable to parse "metric": invalid digit found in string ({text[:64]!a})')
    return text


def _route(net: Net, way: Way) -> str:
    metric = way.metric or int(_metric(net))
    at = f"@{way.gateway}" if way.gateway else ""
    if way.type == "unicast" and not at:
        raise BadInput(f"route {way.destination} of network {net.name}: no gateway is given")
    return f"{way.destination}{at} {way.type} metric {metric}"


def called(wish: Wish) -> str:
    """The name by which a container is found in its networks."""
    return wish.name if _is_hostname(wish.name) else wish.id[:12]


def publishes(ports: Sequence[Port], sixth: bool) -> tuple[Publish, ...]:
    """The published ports, one value each. ``sixth``: the host has IPv6. BadInput, Unsupported."""
    found: list[Publish] = []
    for port in ports:
        hosts = _hosts(port, sixth)
        if port.container_port + port.count > _PORTS + 1 or port.host_port + port.count > _PORTS + 1:
            raise BadInput(f"the range of port {port.host_port} ends above {_PORTS}")
        for protocol in port.protocols:
            name = protocol.strip()
            if name == "sctp":
                raise Unsupported(f"protocol sctp of port {port.host_port} is not served", "tcp and udp are")
            if name not in ("tcp", "udp"):
                raise BadInput(f"unknown protocol {name[:64]!a} of port {port.host_port}")
            found += [
                Publish(name, host, port.host_port + n, port.container_port + n)
                for host in hosts
                for n in range(port.count)
            ]
    return tuple(dict.fromkeys(found))


def _hosts(port: Port, sixth: bool) -> list[Address]:
    if not port.host_ip:
        return [Address(4, 0), *([Address(6, 0)] if sixth else [])]
    try:
        return [parse_address(port.host_ip, "host ip")]
    except BadInput:
        raise BadInput(f'invalid host ip "{port.host_ip[:64]}" provided for port {port.host_port}') from None


def carries_ports(net: Net) -> bool:
    """Whether ports are published in a network: the host is on the way to its members."""
    return net.driver == "bridge" and not net.internal and net.option("mode") != "unmanaged"


def answer(
    place: Place, mac: str, addresses: Sequence[str], wish: Wish, named: bool = False
) -> dict[str, object]:
    """What Podman is told of a container's place in a network (its status block). ``named``: weft answers
    names on the network's gateways."""
    net = place.net
    gateways = [s.gateway for s in net.subnets if s.gateway]
    rows = []
    for subnet, one in subnets(net):
        rows += [
            {"gateway": one.gateway or None, "ipnet": cidr}
            for cidr in addresses
            if parse_address(cidr.partition("/")[0]) in subnet
        ]
    return {
        "dns_search_domains": list(_SEARCH) if named else [],
        "dns_server_ips": gateways if named else list(wish.dns_servers),
        "interfaces": {place.interface: {"mac_address": mac, "subnets": rows}},
    }
