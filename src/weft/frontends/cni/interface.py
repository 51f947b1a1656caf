"""The plug-ins that make an interface: bridge, ptp, macvlan, and weft, which is all of a chain in one."""

from __future__ import annotations

from weft.core.model.address import Address
from weft.core.model.errors import Conflict, NotFound, WeftError
from weft.core.model.network import DEFAULT_ROUTE, GATEWAY
from weft.core.model.publish import parse_publish
from weft.engine import attachment, foreign
from weft.engine.connect import Called
from weft.frontends.cni import config, ipam
from weft.frontends.cni import result as res
from weft.frontends.cni.answer import BAD_CONFIG, BAD_ENVIRONMENT, UNSUPPORTED_FIELD, Failure
from weft.frontends.cni.result import Interface, Ip, Result, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint, Network
    from weft.engine.network import NetworkRequest
    from weft.engine.request import Join
    from weft.engine.work import Work
    from weft.frontends.cni.call import Call
    from weft.frontends.cni.config import Wish
    from weft.frontends.cni.field import Loose
    from weft.frontends.cni.ipam import Given

ENGINE = "cni"
#: How often a network may go, or an address be taken, between two steps: others work beside us.
_TRIES = 20


def add(work: Work, call: Call, conf: Loose, kind: str) -> Result:
    """ADD: the interface, with all that was asked for, or nothing."""
    wish = config.read(conf, call, kind)
    before = res.previous(conf)
    if attachment.was_other(work, call.member, call.netns, wish.request.name, call.ifname):
        ipam.remove(wish.ipam, call, conf)
    given = ipam.add(work, wish.ipam, call, conf, wish.request.name)
    try:
        network, endpoint = _attached(work, call, wish, given)
    except BaseException:
        _give_back(work, call, conf, wish)
        raise
    found = _result(work, call, wish, given, network, endpoint)
    return found if before is None else _behind(before, found)


def _give_back(work: Work, call: Call, conf: Loose, wish: Wish) -> None:
    """After a failure; what fails about that is told, and does not hide the reason."""
    try:
        ipam.remove(wish.ipam, call, conf)
        attachment.drop_unused(work, wish.request.name)
    except WeftError as error:
        work.say(f"warning: {error}")


def _attached(work: Work, call: Call, wish: Wish, given: Given) -> tuple[Network, Endpoint]:
    """The network, made where it is missing, and the container in it."""
    request, join = _addressed(wish, given)
    called = Called(call.member, wish.hostname, wish.labels, wish.servers)
    for attempt in range(_TRIES):
        network = foreign.ensure(work, request, ENGINE)
        versions = frozenset([p.subnet.version for p in network.pools])
        versions = frozenset([ip.address.version for ip in given.ips]) or versions
        publish = tuple([p for text in config.specs(wish.ports, versions) for p in parse_publish(text)])
        try:
            (endpoint,) = foreign.attach(
                work, call.netns, called, [(_routed(wish, given, join, network), publish)]
            )
        except NotFound:
            # Its last member may have left in between, and taken the network along.
            if work.store.find_network(request.name) is not None or attempt == _TRIES - 1:
                raise
            continue
        return network, endpoint
    raise Conflict(f"network {request.name} went {_TRIES} times while a container was to join it")


def _addressed(wish: Wish, given: Given) -> tuple[NetworkRequest, Join]:
    """The wish with its subnets and addresses."""
    if not given.ips:  # weft chooses
        sets = [r for one in wish.ipam.sets for r in one]
        if any((r.first.value, r.last.value) != r.subnet.usable for r in sets if r.first != r.gateway):
            raise Failure(
                BAD_CONFIG, "ipam: rangeStart and rangeEnd are host-local's", 'use "type": "host-local"'
            )
        request = wish.request._replace(
            subnets=tuple(dict.fromkeys([str(r.subnet) for r in sets])),
            gateways=tuple(dict.fromkeys([str(r.gateway) for r in sets])),
        )
        return request, wish.join._replace(addresses=tuple([str(a) for a in wish.ipam.wanted]))
    subnets = {str(r.subnet): str(r.gateway) for each in wish.ipam.sets for r in each}
    for ip in given.ips:
        shown = f"{Address(ip.address.version, _base(ip))}/{ip.prefix}"
        subnets[shown] = subnets.get(shown, "") or str(ip.gateway or "")
    gateways = tuple([gateway for gateway in subnets.values() if gateway])
    request = wish.request._replace(subnets=tuple(subnets), gateways=gateways)
    return request, wish.join._replace(addresses=tuple([str(ip.address) for ip in given.ips]))


def _base(ip: Ip) -> int:
    step = 1 << (ip.address.bits - ip.prefix)
    return ip.address.value - ip.address.value % step


def _routed(wish: Wish, given: Given, join: Join, network: Network) -> Join:
    """The wish with its routes: the default ones are weft's to make, the others by their gateway."""
    others, options = [], dict(join.options)
    defaults = {4, 6} if wish.default else set()
    for route in given.routes:
        _check_plain(route)
        version = route.to.version
        ranked = f" metric {route.priority}" if route.priority else ""
        if not route.prefix and not ranked:
            defaults.add(version)
            pools = {p.gateway for p in network.pools}
            if route.gateway is not None and route.gateway not in pools:
                options[f"{GATEWAY}{version}"] = str(route.gateway)
            continue
        gateway = route.gateway or next(
            (p.gateway for p in network.pools if p.subnet.version == version), None
        )
        others.append(f"{route.to}/{route.prefix}" + (f"@{gateway}" if gateway is not None else "") + ranked)
    if defaults != {4, 6}:
        options[DEFAULT_ROUTE] = str(next(iter(defaults))) if defaults else "false"
    return join._replace(routes=tuple(others), options=tuple(options.items()))


def _check_plain(route: Route) -> None:
    for key in ("mtu", "advmss", "table", "scope"):
        value = getattr(route, key)
        if value:
            raise Failure(
                UNSUPPORTED_FIELD,
                f"routes: {key}: {value} of {route.to}/{route.prefix} is not supported",
                "a route has a destination, a gateway and a priority",
            )


def _result(work: Work, call: Call, wish: Wish, given: Given, network: Network, endpoint: Endpoint) -> Result:
    place = {"bridge": 2, "weft": 2, "ptp": 1, "macvlan": 0}[wish.kind]
    inner = Interface(endpoint.ifname, endpoint.hardware, call.netns, network.mtu)
    links = [inner]
    if place:
        links.insert(0, Interface(endpoint.host_ifname, f"fe{endpoint.hardware[2:]}", "", network.mtu))
    if place == 2:
        mac = attachment.bridge_mac(work, network)
        links.insert(0, Interface(network.bridge, mac, "", network.mtu))
    ips = [Ip(c.address, c.prefix, network.gateway_for(c.address), place) for c in endpoint.addresses]
    routes = list(given.routes)
    for ip in ips if wish.default else ():
        if not any(r.to.version == ip.address.version and not r.prefix for r in routes):
            routes.append(Route(Address(ip.address.version, 0), 0, ip.gateway))
    dns = wish.dns if wish.dns != res.Dns() else given.dns
    if dns == res.Dns() and network.option("dns") == "true":  # weft's own name server answers there
        dns = res.Dns(tuple([str(p.gateway) for p in network.pools]))
    return Result(tuple(links), tuple(ips), tuple(routes), dns)


def _behind(before: Result, found: Result) -> Result:
    """In a chain, what was there before comes first."""
    shift = len(before.interfaces)
    ips = [ip._replace(interface=ip.interface + shift) for ip in found.ips]
    return Result(
        (*before.interfaces, *found.interfaces),
        (*before.ips, *ips),
        (*before.routes, *found.routes),
        found.dns if found.dns != res.Dns() else before.dns,
    )


def delete(work: Work, call: Call, conf: Loose, kind: str) -> None:
    """DEL: nothing of it is left, whatever is there still; twice is fine."""
    name = config.name_of(conf)
    given = ipam.parse(conf, call, name, "weft" if kind == "weft" else "")
    endpoint = work.store.endpoint(call.member, name) if work.store.has_container(call.member) else None
    if endpoint is not None and endpoint.ifname == call.ifname:
        foreign.detach(work, call.member, [name])
    elif endpoint is None:
        attachment.drop_unused(work, name)  # an ADD may have been killed between the network and its member
    known = [c.address for c in endpoint.addresses] if endpoint is not None else []
    ipam.remove(given, call, conf, known)


def check(work: Work, call: Call, conf: Loose, kind: str) -> None:
    """CHECK: Failure when something is not as it was left."""
    from weft.frontends.cni import checking

    wish = config.read(conf, call, kind)
    result = res.need_previous(conf)
    ipam.check(wish.ipam, call, conf)
    checking.check(work, call, wish, result)


def collect(work: Work, call: Call, conf: Loose, kind: str) -> None:
    """GC: members of this network that came by CNI and that the runtime does not name are taken out."""
    name = config.name_of(conf)
    given = ipam.parse(conf, call, name, "weft" if kind == "weft" else "")
    valid = attachments(conf)
    for endpoint in attachment.members(work, name, "cni:"):
        if (endpoint.container.removeprefix("cni:"), endpoint.ifname) not in valid:
            foreign.detach(work, endpoint.container, [name])
    ipam.sweep(given, call, conf, valid)


def attachments(conf: Loose) -> list[tuple[str, str]]:
    """``cni.dev/valid-attachments``. Failure when the runtime did not say."""
    field = conf.get("cni.dev/valid-attachments")
    if not field:
        raise Failure(BAD_CONFIG, "cni.dev/valid-attachments is missing: GC would take all containers away")
    return [(one.need("containerID").text(), one.need("ifname").text()) for one in field.items()]


def status(work: Work, call: Call, conf: Loose, kind: str) -> None:
    """STATUS: Failure when an ADD could not succeed."""
    name = config.name_of(conf)
    ipam.status(ipam.parse(conf, call, name, "weft" if kind == "weft" else ""), call, conf)
    attachment.check_ready(work, name)


def check_netns(call: Call) -> None:
    """Failure that names the variable when CNI_NETNS leads to no network namespace."""
    from weft.wiring import is_netns

    why = is_netns(call.netns)
    if why:
        raise Failure(BAD_ENVIRONMENT, f"failed to open netns {call.netns!a} (CNI_NETNS): {why}")
