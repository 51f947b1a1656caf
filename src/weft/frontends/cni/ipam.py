"""Where a container's addresses come from: host-local's files, the configuration itself, weft, or another
plug-in.

host-local and static are done here, as those plug-ins do them; whatever else is named is run.
"""

from __future__ import annotations

from weft.core.ipam import ranges
from weft.core.model.address import Address, parse_address, parse_prefix, parse_subnet
from weft.core.model.errors import BadInput, Conflict, WeftError
from weft.core.record import Record
from weft.engine import hostlocal
from weft.engine.hostlocal import Owner
from weft.frontends.cni import result as res
from weft.frontends.cni.answer import BAD_CONFIG, IO_FAILURE, LIMITED, UNSUPPORTED_FIELD, Failure
from weft.frontends.cni.result import Dns, Ip, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.boundary import Ledger
    from weft.core.ipam.ranges import Range, RangeSet
    from weft.engine.work import Work
    from weft.frontends.cni.call import Call
    from weft.frontends.cni.field import Loose

_DATA_DIR = "/var/lib/cni/networks"
#: What is done here; "weft" is also what "weft-cni" means.
OWN = ("host-local", "static", "weft", "weft-cni")
_MOST = 256
#: What would call itself, and that again, if it were run for its own configuration.
_NO_IPAM = "bridge ptp macvlan loopback portmap firewall bandwidth tuning".split()


class Ipam(Record):
    """``sets`` are host-local's and weft's, ``fixed`` static's, ``wanted`` addresses that were asked for.
    ``alone``: it is for another plug-in's interface, of which weft knows nothing."""

    kind: str
    sets: tuple[RangeSet, ...] = ()
    fixed: tuple[Ip, ...] = ()
    wanted: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    routed: bool = False
    dns: Dns = Dns()
    folder: str = ""
    alone: bool = False


class Given(Record):
    """What an IPAM gave: no ``ips`` where weft itself is to choose them."""

    ips: tuple[Ip, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()


def parse(conf: Loose, call: Call, network: str, default: str = "", whole: bool = True) -> Ipam:
    """``ipam`` of a configuration, with what the runtime adds to it. ``whole``: weft makes the interface too,
    so that addresses of ``weft`` are those of its network. BadInput, Failure."""
    field = conf.get("ipam")
    kind = field.get("type").text(default)
    kind = "weft" if kind == "weft-cni" else kind
    if not kind:
        raise Failure(
            BAD_CONFIG,
            "ipam.type is missing: each member of a weft network has an address",
            'name one: "weft"',
        )
    if kind in _NO_IPAM:
        raise Failure(BAD_CONFIG, f"ipam.type: {kind!a} is no IPAM plug-in")
    if kind == "dhcp":
        raise Failure(
            UNSUPPORTED_FIELD, "ipam.type: 'dhcp' needs the interface before the address", "use host-local"
        )
    routes = tuple([res.read_route(f) for f in _few(field.get("routes"))])
    found = Ipam(kind, routes=routes, routed=bool(field.get("routes")), wanted=_wanted(conf, call))
    if kind == "static":
        return _static(found, field, conf, call)
    if kind in OWN:
        sets = _sets(field, conf)
        if kind == "host-local" and not sets:
            raise field.wrong("no IP ranges specified")
        folder = "" if kind == "weft" and whole else _folder(field, network)
        return found._replace(sets=sets, folder=folder, dns=_resolv_conf(field), alone=not whole)
    return found


def _few(field: Loose) -> list[Loose]:
    found = list(field.items())
    if len(found) > _MOST:
        raise field.wrong(f"more than {_MOST} of them")
    return found


def _folder(field: Loose, network: str) -> str:
    folder = field.get("dataDir").text(_DATA_DIR)
    if not folder.startswith("/") or len(folder) > 1000:
        raise field.get("dataDir").wrong(f"{folder[:64]!a} is not an absolute path")
    return f"{folder.rstrip('/')}/{network}"


def _sets(field: Loose, conf: Loose) -> tuple[RangeSet, ...]:
    """Those of the runtime come first, then ``subnet`` of the oldest form, then ``ranges``."""
    found = [_set(one) for one in _few(conf.get("runtimeConfig").get("ipRanges"))]
    if field.get("subnet"):
        found.append((_range(field),))
    found += [_set(one) for one in _few(field.get("ranges"))]
    try:
        ranges.check(found)
    except BadInput as error:
        raise field.wrong(error.message) from None
    return tuple(found)


def _set(field: Loose) -> RangeSet:
    return tuple([_range(one) for one in _few(field)])


def _range(field: Loose) -> Range:
    subnet = field.need("subnet")
    address, prefix = parse_prefix(subnet.text(), subnet.path)
    step = 1 << (address.bits - prefix)
    base = Address(address.version, address.value - address.value % step)
    if base != address:
        raise subnet.wrong("network has host bits set", f"use {base}/{prefix}")
    ends = [field.get(key) for key in ("rangeStart", "rangeEnd", "gateway")]
    try:
        return ranges.make(
            parse_subnet(f"{base}/{prefix}"),
            *[parse_address(one.text(), one.path) if one.text() else None for one in ends],
        )
    except BadInput as error:
        raise field.wrong(error.message) from None


def _wanted(conf: Loose, call: Call) -> tuple[Address, ...]:
    """The addresses that the runtime asks for: of the capability, of ``args.cni``, of CNI_ARGS."""
    texts = [*conf.get("runtimeConfig").get("ips").texts(), *conf.get("args").get("cni").get("ips").texts()]
    texts += [text for text in call.arg("IP").split(",") if text]
    if len(texts) > _MOST:
        raise Failure(BAD_CONFIG, "too many addresses are asked for")
    found = [parse_address(text.partition("/")[0], "address asked for") for text in texts]
    return tuple(dict.fromkeys(found))


def _static(found: Ipam, field: Loose, conf: Loose, call: Call) -> Ipam:
    """plugins/ipam/static: the capability beats ``args.cni``, that beats CNI_ARGS and the configuration."""
    given = list(conf.get("runtimeConfig").get("ips").texts()) or list(
        conf.get("args").get("cni").get("ips").texts()
    )
    fixed = [_fixed(text, "") for text in given]
    if not given:
        fixed = [
            _fixed(f.need("address").text(), f.get("gateway").text()) for f in _few(field.get("addresses"))
        ]
        gateways = [parse_address(g, "GATEWAY") for g in call.arg("GATEWAY").split(",") if g]
        fixed += [_fixed(text, "") for text in call.arg("IP").split(",") if text]
        fixed = [_with_gateway(one, gateways) for one in fixed]
    if not fixed:
        raise field.wrong("static has no addresses")
    return found._replace(fixed=tuple(fixed), wanted=(), dns=res.read_dns(field.get("dns")))


def _fixed(text: str, gateway: str) -> Ip:
    address, prefix = parse_prefix(text, "address of ipam static")
    return Ip(address, prefix, parse_address(gateway, "gateway of ipam static") if gateway else None)


def _with_gateway(ip: Ip, gateways: Sequence[Address]) -> Ip:
    for one in gateways:
        shift = one.bits - ip.prefix
        if one.version == ip.address.version and one.value >> shift == ip.address.value >> shift:
            return ip._replace(gateway=one)
    return ip


def _resolv_conf(field: Loose) -> Dns:
    """The file that ``resolvConf`` names, as resolv.conf(5) has it."""
    path = field.get("resolvConf").text()
    if not path:
        return Dns()
    from weft.wiring import small_file

    lines = [line.split() for line in small_file(path, "ipam.resolvConf").splitlines()]
    words = {key: [w[1:] for w in lines if len(w) > 1 and w[0] == key] for key in _RESOLV}
    servers = tuple([w[0] for w in words["nameserver"]])
    domain = words["domain"][-1][0] if words["domain"] else ""
    search = tuple([one for w in words["search"] for one in w])
    return Dns(servers, domain, search, tuple([one for w in words["options"] for one in w]))


_RESOLV = ("nameserver", "domain", "search", "options")


# what is done


def add(work: Work, ipam: Ipam, call: Call, conf: Loose, network: str) -> Given:
    """Addresses for a container's interface."""
    if ipam.kind == "static":
        return Given(ipam.fixed, ipam.routes, ipam.dns)
    if ipam.kind == "weft" and not ipam.folder:
        return Given((), ipam.routes, ipam.dns)
    if ipam.kind in OWN:
        held = hostlocal.held_by_others(work.store, network)
        sets = ipam.sets or _pools(work, network)
        if ipam.alone and is_used(ipam) and (mine := hostlocal.owned(ledger(ipam), _owner(call))):
            raise Conflict(
                f"{mine[0]} has been allocated to {call.container}, duplicate allocation is not allowed"
            )
        leased = hostlocal.allocate(ledger(ipam), sets, ipam.wanted, _owner(call), held)
        ips = tuple([Ip(one.address, one.range.subnet.prefix, one.range.gateway) for one in leased])
        return Given(ips, ipam.routes, ipam.dns)
    said = delegate(ipam.kind, call, conf, "ADD")
    if said is None:
        raise Failure(IO_FAILURE, f"ipam plugin {ipam.kind} gave no result")
    found = res.read(said)
    if not found.ips:
        remove(ipam, call, conf)
        raise Failure(BAD_CONFIG, f"IPAM plugin {ipam.kind} returned missing IP config")
    return Given(found.ips, found.routes, found.dns)


def _pools(work: Work, network: str) -> tuple[RangeSet, ...]:
    """The subnets of the weft network of that name, for ``"ipam": {"type": "weft"}`` without any."""
    found = work.store.find_network(network)
    if found is None:
        raise Failure(BAD_CONFIG, f"ipam has no subnet, and there is no weft network {network}")
    return tuple([(ranges.make(p.subnet, None, None, p.gateway),) for p in found.pools])


def remove(ipam: Ipam, call: Call, conf: Loose, known: Sequence[Address] = ()) -> None:
    """Gives back what the interface has; nothing is fine. ``known``: which addresses, where weft knows."""
    if ipam.kind in OWN:
        if ipam.folder and is_used(ipam):
            hostlocal.release(ledger(ipam), _owner(call), known)
        return
    delegate(ipam.kind, call, conf, "DEL")


def check(ipam: Ipam, call: Call, conf: Loose) -> None:
    """Failure when the interface has no address any more."""
    if ipam.kind in OWN:
        if ipam.folder and not hostlocal.owned(ledger(ipam), _owner(call)):
            raise Failure(
                FAILED_CHECK, f"host-local: Failed to find address added by container {call.container}"
            )
        return
    delegate(ipam.kind, call, conf, "CHECK")


#: Any code from 100 on is a plug-in's own.
FAILED_CHECK = 110


def sweep(ipam: Ipam, call: Call, conf: Loose, valid: Sequence[tuple[str, str]]) -> None:
    """GC: gives back what nobody of these has."""
    if ipam.kind in OWN:
        if ipam.folder and is_used(ipam):
            hostlocal.sweep(ledger(ipam), valid)
        return
    delegate(ipam.kind, call, conf, "GC")


def status(ipam: Ipam, call: Call, conf: Loose) -> None:
    """STATUS: Failure when no container could get an address."""
    if ipam.kind not in OWN:
        delegate(ipam.kind, call, conf, "STATUS")
        return
    if not ipam.folder or not is_used(ipam):
        return
    taken = ledger(ipam).names()
    for one in ipam.sets:
        if ranges.choose(one, None, lambda a: str(a) not in taken) is None:
            raise Failure(LIMITED, f"no IP addresses available in range set: {', '.join(map(str, one))}")


def _owner(call: Call) -> Owner:
    return Owner(call.container, call.ifname)


def ledger(ipam: Ipam) -> Ledger:
    """host-local's files."""
    from weft.wiring import host_local

    return host_local(ipam.folder)


def is_used(ipam: Ipam) -> bool:
    """Whether there is anything: what only takes away makes no directory."""
    from weft.wiring import exists

    return exists(ipam.folder)


def delegate(kind: str, call: Call, conf: Loose, command: str) -> Loose | None:
    """Another plug-in's answer; None when it says nothing. Failure with its own code when it fails."""
    from weft.core.model import jsontext
    from weft.frontends.cni.field import document
    from weft.wiring import run_plugin

    data = jsontext.dump(conf.value()).encode()
    status, said = run_plugin(kind, call.path, command, data)
    if status == 0 and command != "ADD":
        return None
    try:
        found = document(said, f"the answer of IPAM plugin {kind}")
    except BadInput as error:
        raise Failure(IO_FAILURE, error.message) from None
    if status == 0:
        return found
    raise _failed(kind, status, found)


def _failed(kind: str, status: int, found: Loose) -> WeftError:
    try:
        code, why = found.get("code").number(1, (1 << 31) - 1, 100), found.get("msg").text()
        return Failure(code, f"{kind}: {why or f'exit status {status}'}", found.get("details").text())
    except BadInput:
        return Failure(IO_FAILURE, f"IPAM plugin {kind} failed with status {status}")
