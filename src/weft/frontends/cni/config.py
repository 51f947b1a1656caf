"""The configuration of a plug-in that makes an interface (bridge, ptp, macvlan, weft) as a wish of weft's.

Every option of the reference plug-ins is honoured, or refused by name: none is passed over in silence. What
has no meaning here because weft does it always, or by other means, is listed in docs/cni.md.
"""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.names import check_hostname, check_mac, check_name
from weft.core.model.network import DEFAULT, EGRESS, INGRESS
from weft.core.record import Record
from weft.engine.network import NetworkRequest
from weft.engine.request import Join
from weft.frontends.cni import ipam as addresses
from weft.frontends.cni import result as res
from weft.frontends.cni.answer import UNSUPPORTED_FIELD, Failure
from weft.frontends.cni.result import Dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.address import Address
    from weft.frontends.cni.call import Call
    from weft.frontends.cni.field import Loose
    from weft.frontends.cni.ipam import Ipam

#: Where the reference plug-in bridge has its bridge.
_BRIDGE = "cni0"
_MOST_PORTS = 5000
_LONGEST_LABEL = 200
#: A rate is bits a second; a burst may be all that 32 bits hold, in bytes.
_MOST_BITS = ((1 << 32) - 1) * 8
#: Options of bridge that would make it something else than weft's bridges are.
_NOT_OF_BRIDGES = {
    "vlanTrunk": "a member's guard lets no tagged frame by",
    "promiscMode": "hairpin is always on, and a container gets no frames of others",
    "enabledad": "weft gives no address out twice, and does not wait to see",
    "disableContainerInterface": "each member of a weft network has an address, and is up",
}
_NOT_OF_MACVLAN = {
    "linkInContainer": "the parent is a link of the host",
    "bcqueuelen": "the kernel's own is used",
}


class Port(Record):
    """A published port; ``host`` is None for all addresses of the families that the container has."""

    proto: str
    host: Address | None
    host_port: int
    port: int


class Wish(Record):
    """What a configuration asks for. ``request`` is without subnets, ``join`` without addresses: the IPAM has
    those. ``default``: the container's default routes lead by its network, whatever the IPAM says."""

    kind: str
    request: NetworkRequest
    join: Join
    ipam: Ipam
    ports: tuple[Port, ...] = ()
    dns: Dns = Dns()
    servers: tuple[str, ...] = ()
    default: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    hostname: str = ""


def name_of(conf: Loose) -> str:
    """The network's name. BadInput."""
    name = check_name(conf.need("name").text(), "network")
    if name == DEFAULT:
        raise conf.get("name").wrong("'default' is weft's own network for containers that name none")
    return name


def read(conf: Loose, call: Call, kind: str) -> Wish:
    """The wish of a configuration. BadInput, Failure."""
    run = conf.get("runtimeConfig")
    name = name_of(conf)
    ipam = addresses.parse(conf, call, name, "weft" if kind == "weft" else "")
    wish = Wish(
        kind,
        _request(conf, kind, name),
        Join(name, mac=_mac(conf, call), ifname=call.ifname, aliases=_aliases(run), options=_options(conf)),
        ipam,
        ports(run.get("portMappings")),
        res.read_dns(conf.get("dns")),
        res.read_dns(run.get("dns")).servers,
        _is_default(conf, kind, ipam),
        labels(conf, call),
        _hostname(call),
    )
    if wish.ports and kind == "macvlan":
        raise run.get("portMappings").wrong("what comes to a macvlan does not pass this host")
    return wish


def _is_default(conf: Loose, kind: str, ipam: Ipam) -> bool:
    if kind == "weft":
        return conf.get("isDefaultGateway").flag(not ipam.routed)
    return kind == "bridge" and conf.get("isDefaultGateway").flag()


def _refuse(conf: Loose, which: dict[str, str]) -> None:
    for key, why in which.items():
        field = conf.get(key)
        if field.full():
            raise Failure(
                UNSUPPORTED_FIELD, f"{field.path}: {str(field.value())[:64]!a} is not supported: {why}"
            )


def _request(conf: Loose, kind: str, name: str) -> NetworkRequest:
    mtu = conf.get("mtu").number(0, 65535)
    noted = _network_labels(conf)
    if kind == "macvlan":
        return _macvlan(conf, name, mtu)._replace(labels=noted)
    if kind == "ptp":
        return NetworkRequest(name, mtu=mtu, nat=_nat(conf, False), options=(("ptp", "true"),), labels=noted)
    _refuse(conf, _NOT_OF_BRIDGES)
    isolated = conf.get("portIsolation").flag() or conf.get("isolated").flag() or policy(conf) == "isolated"
    given = [(key, value.text()) for key, value in conf.get("options").members()] + _vlan(conf)
    if kind == "weft":
        internal = conf.get("internal").flag()
        return NetworkRequest(
            name,
            bridge=conf.get("bridge").text(),
            mtu=mtu,
            internal=internal,
            isolated=isolated,
            nat="" if internal else _nat(conf, True),
            options=(*given, *_open(conf, given)),
            labels=noted,
        )
    gateway = conf.get("isGateway").flag() or conf.get("isDefaultGateway").flag()
    conf.get("forceAddress").flag()
    conf.get("hairpinMode").flag()
    conf.get("macspoofchk").flag()
    options = (*(() if gateway else (("gateway_address", "false"),)), *_vlan(conf))
    return NetworkRequest(
        name,
        bridge=conf.get("bridge").text(_BRIDGE) or _BRIDGE,
        mtu=mtu,
        isolated=isolated,
        nat=_nat(conf, False),
        options=(*options, *_open(conf, ())),
        labels=noted,
    )


def _vlan(conf: Loose) -> list[tuple[str, str]]:
    """The VLAN of the container's port; 0 is none. That of the others stays beside it unless told otherwise,
    as with the reference plug-in."""
    vlan, kept = conf.get("vlan").number(0, 4094), conf.get("preserveDefaultVlan").flag(True)
    if not vlan:
        return []
    return [("vlan", str(vlan)), ("preserve_default_vlan", "true" if kept else "false")]


def _nat(conf: Loose, default: bool) -> str:
    conf.get("ipMasqBackend").text()
    return "nat" if conf.get("ipMasq").flag(default) else "routed"


def policy(conf: Loose) -> str:
    """``ingressPolicy``, of the firewall plug-in or of weft's own."""
    return conf.get("ingressPolicy").one_of(("open", "same-bridge", "isolated", ""), "")


def _open(conf: Loose, given: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Members of an open network are reached by whoever routes to them, other open networks too."""
    known = dict(given)
    wanted = {"isolate": "false", "exposed": "true"} if policy(conf) == "open" else {}
    return [pair for pair in wanted.items() if pair[0] not in known]


def _macvlan(conf: Loose, name: str, mtu: int) -> NetworkRequest:
    _refuse(conf, _NOT_OF_MACVLAN)
    master, mode = conf.get("master").text(), conf.get("mode").text("bridge") or "bridge"
    options = [("parent", master)] if master else []
    return NetworkRequest(name, mtu=mtu, driver="macvlan", options=(*options, ("mode", mode)))


def _mac(conf: Loose, call: Call) -> str:
    """The capability beats ``args.cni``, that beats CNI_ARGS, that the configuration."""
    given = (
        conf.get("runtimeConfig").get("mac").text(),
        conf.get("args").get("cni").get("mac").text(),
        call.arg("MAC"),
        conf.get("mac").text(),
    )
    found = next((text for text in given if text), "")
    return check_mac(found) if found else ""


def _aliases(run: Loose) -> tuple[str, ...]:
    """nerdctl's and Podman's: names of the container in this network. Podman's are by network, too."""
    field = run.get("aliases")
    texts = list(field.texts()) if not isinstance(field.value(), dict) else []
    for _, names in field.members() if isinstance(field.value(), dict) else ():
        texts += names.texts()
    return tuple(dict.fromkeys([check_hostname(text.lower(), "alias") for text in texts]))


def _options(conf: Loose) -> tuple[tuple[str, str], ...]:
    """The endpoint's: the metric that the kernel gives, and how fast it may be."""
    return (("metric", "0"), *bandwidth(conf.get("runtimeConfig").get("bandwidth")))


def bandwidth(field: Loose) -> tuple[tuple[str, str], ...]:
    """Rates in bits a second and bursts in bits, as endpoint options (plugins/meta/bandwidth). BadInput."""
    found: list[tuple[str, str]] = []
    for option, direction in ((INGRESS, "ingress"), (EGRESS, "egress")):
        rate = field.get(f"{direction}Rate").number(0, (1 << 63) - 1)
        burst = field.get(f"{direction}Burst").number(0, (1 << 63) - 1)
        if bool(rate) != bool(burst):
            raise field.wrong(f"{direction}Rate and {direction}Burst go together")
        if burst > _MOST_BITS:
            raise field.wrong(f"{direction}Burst is more than {_MOST_BITS} bits")
        if rate and rate < 8:
            raise field.wrong(f"{direction}Rate is less than a byte a second")
        if rate:
            found.append((option, f"{rate // 8}:{max(burst // 8, 1)}"))
    return tuple(found)


def ports(field: Loose) -> tuple[Port, ...]:
    """``portMappings``. BadInput, Failure."""
    from weft.core.model.address import parse_address

    found: list[Port] = []
    for one in field.items():
        if len(found) == _MOST_PORTS:
            raise field.wrong(f"more than {_MOST_PORTS} of them")
        proto = one.get("protocol").text("tcp").lower() or "tcp"
        if proto == "sctp":
            raise Failure(
                UNSUPPORTED_FIELD, f"{one.path}.protocol: 'sctp' is not supported", "tcp and udp are"
            )
        if proto not in ("tcp", "udp"):
            raise one.get("protocol").wrong(f"{proto[:32]!a} is not tcp or udp")
        host = one.get("hostIP").text()
        found.append(
            Port(
                proto,
                parse_address(host, f"{one.path}.hostIP") if host else None,
                one.need("hostPort").number(1, 65535),
                one.need("containerPort").number(1, 65535),
            )
        )
    return tuple(dict.fromkeys(found))


def specs(wanted: tuple[Port, ...], versions: frozenset[int]) -> list[str]:
    """Ports as ``-p`` takes them; without a host address on all of the families that the container has."""
    found = []
    for one in wanted:
        any_ = [text for version, text in ((4, "0.0.0.0"), (6, "[::]")) if version in versions]
        shown = any_ if one.host is None else [f"[{one.host}]" if one.host.version == 6 else str(one.host)]
        found += [f"{host}:{one.host_port}:{one.port}/{one.proto}" for host in shown]
    return found


def _hostname(call: Call) -> str:
    """A pod's name, where it can be one."""
    name = call.arg("K8S_POD_NAME").lower()
    try:
        return check_hostname(name) if name else ""
    except BadInput:
        return ""


def labels(conf: Loose, call: Call) -> tuple[tuple[str, str], ...]:
    """By what its runtime knows a container: kept with it, and shown."""
    found = {"id": call.container}
    for key, label in (
        ("K8S_POD_NAMESPACE", "io.kubernetes.pod.namespace"),
        ("K8S_POD_NAME", "io.kubernetes.pod.name"),
        ("K8S_POD_UID", "io.kubernetes.pod.uid"),
    ):
        found[label] = call.arg(key)
    for one in conf.get("args").get("cni").get("labels").items():
        found[one.get("key").text()] = one.get("value").text()
    return _plain(found)


def _network_labels(conf: Loose) -> tuple[tuple[str, str], ...]:
    """nerdctl's and Podman's labels of a network."""
    found = {"nerdctl.id": conf.get("nerdctlID").text()}
    for field in (conf.get("nerdctlLabels"), conf.get("args").get("podman_labels")):
        found |= {key: value.text() for key, value in field.members()}
    return _plain(found)


def _plain(found: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What can be kept as a line: others' labels are theirs to choose, and are left out where they cannot
    be."""
    return tuple(
        [
            (key, value)
            for key, value in found.items()
            if key
            and value
            and (key + value).isprintable()
            and "=" not in key
            and len(key + value) <= _LONGEST_LABEL
        ]
    )
