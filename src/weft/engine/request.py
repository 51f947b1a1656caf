"""What a user asks of a container's networks, and all of it that can be refused without a look at the
machine."""

from __future__ import annotations

from weft.core.model.address import parse_address, parse_subnet
from weft.core.model.errors import BadInput
from weft.core.model.names import check_hostname, check_ifname, check_mac, check_name
from weft.core.model.network import DEFAULT, REFUSING, Hop
from weft.core.model.policy import Policy
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.address import Address
    from weft.core.model.oci import Spec
    from weft.core.model.publish import Publish


class Join(Record):
    """One network that a container is to be in; texts are as typed. No ``ifname``: the next free one.

    ``sysctls`` are KEY=VALUE with ``IFNAME`` for the interface's name, ``routes`` are CIDR[@GATEWAY],
    ``options`` go to the endpoint. ``exact``: it gets no address beside those.
    """

    network: str = DEFAULT
    addresses: tuple[str, ...] = ()
    mac: str = ""
    ifname: str = ""
    aliases: tuple[str, ...] = ()
    priority: int = 0
    sysctls: tuple[tuple[str, str], ...] = ()
    routes: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    exact: bool = False


class RunRequest(Record):
    """What a user asks of ``run``; texts are as typed.

    ``mode`` is "" for ``joins``, or ``host``, ``none``, ``container:NAME``. ``extra_hosts`` are (name,
    address), where the address ``host-gateway`` is the first network's gateway; ``sysctls`` (KEY, VALUE)
    with dots. ``spec`` is all the rest, for what has a command (None: nothing but that is asked), ``policy``
    how it lives.
    """

    name: str
    joins: tuple[Join, ...] = (Join(),)
    hostname: str = ""
    publish: tuple[Publish, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    auto_remove: bool = False
    mode: str = ""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    spec: Spec | None = None
    policy: Policy = Policy()

    @property
    def rooted(self) -> bool:
        """Whether it has a root of its own."""
        return self.spec is not None and bool(self.spec.root)


#: The interface that gets no name.
_MOST_NETWORKS = 100
HOST_GATEWAY = "host-gateway"


def check(request: RunRequest) -> None:
    """BadInput for all that can be refused without looking at the machine."""
    check_name(request.name, "container")
    if request.hostname:
        check_hostname(request.hostname)
    _check_names(request)
    for name, address in request.extra_hosts:
        check_hostname(name, "--add-host name")
        if address != HOST_GATEWAY:
            parse_address(address, f"--add-host address of {name}")
    for key, value in request.sysctls:
        sysctl_path(key, value)
    _check_publish(request.publish)
    if request.mode:
        _check_mode(request)
        return
    networks = [join.network for join in request.joins]
    twice = next((n for i, n in enumerate(networks) if n in networks[:i]), None)
    if twice is not None:
        raise BadInput(f"network {twice} is given twice", "a container has one endpoint in a network")
    if len(networks) > _MOST_NETWORKS:
        raise BadInput(f"more than {_MOST_NETWORKS} networks for one container")
    for join in request.joins:
        check_join(join)
    ifnames = [j.ifname for j in request.joins if j.ifname]
    if len(set(ifnames)) < len(ifnames):
        raise BadInput("an interface name is given twice")


def _check_names(request: RunRequest) -> None:
    for server in request.dns:
        if parse_address(server, "DNS server").loopback:
            raise BadInput(f"DNS server {server} is a loopback address", "inside a container that is itself")
    for domain in request.search:
        # A blank would be two domains, a newline another line of resolv.conf; "." is none, as docker has it.
        if domain != ".":
            check_hostname(domain.removesuffix("."), "search domain")


def _check_mode(request: RunRequest) -> None:
    """What has no meaning without a network of one's own (daemon/internal/runconfig of moby)."""
    mode = request.mode
    if request.publish:
        why = "the host's ports are its own" if mode == "host" else f"publish on {mode.partition(':')[2]}"
        why = "it has no network" if mode == "none" else why
        raise BadInput(f"--publish conflicts with --network {mode}", why)
    shared = mode.startswith("container:")
    if shared:
        donor = check_name(mode.partition(":")[2], "container")
        if donor == request.name:
            raise BadInput(f"container {donor} cannot share its own network namespace")
    given = {
        "--hostname": shared and request.hostname,
        "--dns": shared and request.dns,
        "--dns-search": shared and request.search,
        "--add-host": mode != "none" and request.extra_hosts,
        "--sysctl": mode != "none" and request.sysctls,
    }
    for flag, value in given.items():
        if value:
            owner = "the host's" if mode == "host" else f"those of {mode.partition(':')[2]}"
            raise BadInput(f"{flag} conflicts with --network {mode}", f"they are {owner}")
    if mode == "host" and not request.command:
        raise BadInput(
            "a container in the host's network needs a command", "without one there is nothing of it"
        )


def check_join(join: Join) -> None:
    """BadInput for one network's part."""
    if join.ifname:
        check_ifname(join.ifname)
    for alias in join.aliases:
        check_hostname(alias, "alias")
    if join.mac:
        check_mac(join.mac)
    addresses_of(join)
    interface_sysctls(join, join.ifname or "eth0")
    hops_of(join)
    if not -(1 << 31) <= join.priority < 1 << 31:
        raise BadInput(f"gateway priority {join.priority} is not a 32-bit number")


def addresses_of(join: Join) -> tuple[Address, ...]:
    """The addresses asked for, none twice: at most one of each subnet (lease.py sees to that)."""
    found = tuple([parse_address(text) for text in join.addresses])
    twice = next((a for i, a in enumerate(found) if a in found[:i]), None)
    if twice is not None:
        raise BadInput(f"address {twice} is asked for twice")
    return found


def _ranked(text: str) -> tuple[str, str, int]:
    """``CIDR[@GATEWAY] [TYPE] [metric N]``, taken apart."""
    way, *words = text.split(" ")
    kind = words.pop(0) if words and words[0] != "metric" else "unicast"
    if kind not in ("unicast", *REFUSING):
        raise BadInput(f"route {text!a}: {kind!a} is not a type", f"unicast, {', '.join(REFUSING)}")
    if not words:
        return way, kind, 0
    number = words[1] if len(words) == 2 and words[0] == "metric" else ""
    if not (number.isascii() and number.isdigit()) or len(number) > 10 or not 0 < int(number) < 1 << 32:
        raise BadInput(f"route {text!a} is malformed", "write it as CIDR[@GATEWAY] [TYPE] [metric N]")
    return way, kind, int(number)


def hops_of(join: Join) -> tuple[Hop, ...]:
    """The routes asked for, ``CIDR[@GATEWAY] [TYPE] [metric N]``."""
    found = []
    for text in join.routes:
        text, kind, metric = _ranked(text)
        to, at, via = text.partition("@")
        subnet = parse_subnet(to, "route")
        gateway = parse_address(via, "gateway of a route") if at else None
        if gateway is not None and gateway.version != subnet.version:
            raise BadInput(f"route {text!a} mixes IPv4 and IPv6")
        if kind != "unicast" and at:
            raise BadInput(f"route {text!a} of type {kind} has no gateway")
        if not subnet.prefix and not metric:
            raise BadInput(
                f"route {text!a} is a default route", "--gw-priority chooses whose network gives that"
            )
        found.append(Hop(subnet, gateway, kind, metric))
    return tuple(found)


def _check_word(key: str, value: str) -> None:
    parts = key.split("/")
    plain = all(part and part not in (".", "..") and part.isascii() and part.isprintable() for part in parts)
    if not plain or not value.isascii() or not value.isprintable() or not value or len(value) > 200:
        raise BadInput(f"sysctl {key.replace('/', '.')}={value!a} is not valid")


def sysctl_path(key: str, value: str) -> tuple[str, str]:
    """A namespace's sysctl as a path under /proc/sys: only ``net.``, which a network namespace owns."""
    path = key if "/" in key else key.replace(".", "/")
    if not path.startswith("net/") or path.startswith("net/core/bpf"):
        raise BadInput(f"sysctl {key!a} does not belong to a network namespace", "only net.* can be set")
    if path.endswith("/route_localnet"):
        raise BadInput(
            f"sysctl {key} is refused: it opens 127.0.0.0/8 to the network", "publish a port instead"
        )
    _check_word(path, value)
    return path, value


def interface_sysctls(join: Join, ifname: str) -> tuple[tuple[str, str], ...]:
    """``net.ipv4.conf.IFNAME.X=V`` (Docker's endpoint.sysctls): IFNAME is the interface's name."""
    found = []
    for key, value in join.sysctls:
        parts = key.split(".")
        if "IFNAME" not in parts or parts[0] != "net":
            raise BadInput(
                f"sysctl {key!a} names no interface", "write it as net.ipv4.conf.IFNAME.arp_notify=1"
            )
        path = "/".join([ifname if part == "IFNAME" else part for part in parts])
        found.append(sysctl_path(path, value))
    return tuple(found)


def _check_publish(publish: Sequence[Publish]) -> None:
    """No two of them clash. Only those of one port are compared: a range may be thousands."""
    ports: dict[tuple[str, int], list[Publish]] = {}
    for one in publish:
        near = ports.setdefault((one.proto, one.host_port), [])
        for other in near:
            if one.host_port and one.clashes(other):
                raise BadInput(f"published port {one} clashes with {other}")
        near.append(one)
