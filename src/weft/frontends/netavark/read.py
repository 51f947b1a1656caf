"""What Podman says on standard input: JSON of netavark 1.x, where networks are a map, and 2.x, where they are
an array. Unknown keys are ignored, as netavark does; what is there must be of its type."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.jsontext import load
from weft.core.oci.fields import Field
from weft.core.record import Record

#: Bytes of input: 65535 ports, each in an object of its own, are 8 MiB.
MOST = 32 << 20
_MOST_NETWORKS = 100
_LONGEST = 64


class Range(Record):
    """A subnet of a network, texts as they were given; no gateway is ""."""

    subnet: str
    gateway: str = ""
    start: str = ""
    end: str = ""


class Way(Record):
    """A static route of a network."""

    destination: str
    gateway: str = ""
    metric: int = 0
    type: str = "unicast"


class Net(Record):
    """A network, as its file in /etc/containers/networks has it. ``plain`` is all of it, for plug-ins."""

    name: str
    id: str
    driver: str
    interface: str
    subnets: tuple[Range, ...]
    routes: tuple[Way, ...]
    dns: bool
    internal: bool
    ipv6: bool
    options: tuple[tuple[str, str], ...]
    ipam: str
    dns_servers: tuple[str, ...]
    plain: Field

    def option(self, key: str, default: str = "") -> str:
        """The value of an option."""
        return dict(self.options).get(key, default)


class Place(Record):
    """What a container is to have in one network. ``plain`` is all of it, for plug-ins."""

    net: Net
    interface: str
    addresses: tuple[str, ...]
    mac: str
    aliases: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    plain: Field


class Port(Record):
    """A port mapping: ``count`` ports from both numbers on, for each of the protocols."""

    host_ip: str
    container_port: int
    host_port: int
    count: int
    protocols: tuple[str, ...]


class Wish(Record):
    """All of the input of setup and teardown."""

    id: str
    name: str
    hostname: str
    places: tuple[Place, ...]
    ports: tuple[Port, ...]
    dns_servers: tuple[str, ...]
    plain: Field


def document(data: bytes) -> Field:
    """The input as JSON. BadInput, in netavark's words."""
    try:
        if len(data) > MOST:
            raise ValueError(f"more than {MOST} bytes")
        found = load(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(f"IO error: stream did not contain valid UTF-8 (byte {error.start})") from None
    except (RecursionError, MemoryError):
        raise BadInput("JSON Decoding error: recursion limit exceeded") from None
    except ValueError as error:
        raise BadInput(f"JSON Decoding error: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise BadInput("JSON Decoding error: invalid type: expected a map")
    return Field(found, "")


def need(field: Field, key: str) -> Field:
    """A key that must be there."""
    found = field.get(key)
    if not found:
        raise BadInput(f"JSON Decoding error: missing field `{key}`", f"at {field.path or 'the top'}")
    return found


def read(root: Field) -> Wish:
    """The wish of setup and teardown. BadInput."""
    nets = {name: net(info) for name, info in need(root, "network_info").members()}
    return Wish(
        id=_word(need(root, "container_id").text(), "container_id"),
        name=_word(need(root, "container_name").text(), "container_name"),
        hostname=root.get("container_hostname").text(),
        places=tuple(_places(need(root, "networks"), nets)),
        ports=tuple([_port(p) for p in root.get("port_mappings").items()]),
        dns_servers=_shorts(root.get("dns_servers")),
        plain=root,
    )


def _short(field: Field) -> str:
    """An address, a subnet, a number in words: nothing of that is long."""
    found = field.text()
    if len(found) > _LONGEST:
        raise BadInput(f"{field.path}: {found[:_LONGEST]!a} is not valid")
    return found


def _shorts(field: Field) -> tuple[str, ...]:
    field.texts()  # none of them is null
    return tuple([_short(one) for one in field.items()])


def _word(text: str, what: str) -> str:
    if not text or len(text) > 255 or not text.isprintable():
        raise BadInput(f"{what} {text[:64]!a} is not valid")
    return text


def _places(networks: Field, nets: dict[str, Net]) -> list[Place]:
    found: list[Place] = []
    for name, field in _named(networks):
        if name not in nets:
            raise BadInput(f"network options for network {name} not found")
        if any(place.net.name == nets[name].name for place in found):
            raise BadInput(f"network {name} is given twice")
        found.append(_place(nets[name], field))
    if len(found) > _MOST_NETWORKS:
        raise BadInput(f"more than {_MOST_NETWORKS} networks for one container")
    return found


def _named(networks: Field) -> list[tuple[str, Field]]:
    """2.x has an array, whose elements have a name; 1.x a map."""
    if networks.is_array():
        return [(need(one, "name").text(), one) for one in networks.items()]
    return list(networks.members())


def _place(network: Net, field: Field) -> Place:
    interface = need(field, "interface_name").text()
    if not interface:
        raise BadInput("no container interface name given")
    return Place(
        net=network,
        interface=interface,
        addresses=_shorts(field.get("static_ips")),
        mac=_short(field.get("static_mac")).lower(),
        aliases=field.get("aliases").texts(),
        options=_pairs(field.get("options")),
        plain=field,
    )


def net(field: Field) -> Net:
    """A network. BadInput."""
    ipam = dict(_pairs(field.get("ipam_options")))
    return Net(
        name=_word(need(field, "name").text(), "network name"),
        id=_word(need(field, "id").text(), "network id"),
        driver=_word(need(field, "driver").text(), "network driver"),
        interface=field.get("network_interface").text(),
        subnets=tuple([_range(s) for s in field.get("subnets").items()]),
        routes=tuple([_way(r) for r in field.get("routes").items()]),
        dns=_must(field, "dns_enabled"),
        internal=_must(field, "internal"),
        ipv6=_must(field, "ipv6_enabled"),
        options=_pairs(field.get("options")),
        ipam=ipam.get("driver", "host-local"),
        dns_servers=_shorts(field.get("network_dns_servers")),
        plain=field,
    )


def _must(field: Field, key: str) -> bool:
    return need(field, key).flag()


def _pairs(field: Field) -> tuple[tuple[str, str], ...]:
    return tuple([(key, value.text()) for key, value in field.members()])


def _range(field: Field) -> Range:
    lease = field.get("lease_range")
    return Range(
        subnet=_short(need(field, "subnet")),
        gateway=_short(field.get("gateway")),
        start=_short(lease.get("start_ip")),
        end=_short(lease.get("end_ip")),
    )


def _way(field: Field) -> Way:
    return Way(
        destination=_short(need(field, "destination")),
        gateway=_short(field.get("gateway")),
        metric=field.get("metric").number(0, (1 << 32) - 1),
        type=_short(field.get("route_type")) or "unicast",
    )


def _port(field: Field) -> Port:
    return Port(
        host_ip=_short(field.get("host_ip")),
        container_port=need(field, "container_port").number(1, 65535),
        host_port=need(field, "host_port").number(1, 65535),
        count=max(field.get("range").number(0, 65535, 1), 1),
        protocols=tuple(field.get("protocol").text("tcp").split(",")),
    )
