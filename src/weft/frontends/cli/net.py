"""``weft net create``, ``weft net rm``, ``weft rm``."""

from __future__ import annotations

from weft.core.model.errors import BadInput, NotYet
from weft.frontends.cli.main import out, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.publish import Publish
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

_DRIVERS = ("vlan", "phys", "overlay", "host", "none")


def _labels(args: Args) -> tuple[tuple[str, str], ...]:
    labels = {}
    for pair in args.many("label"):
        key, _, value = pair.partition("=")
        if not key or not pair.isprintable():
            raise BadInput(f"label {pair!a} is not KEY=VALUE")
        labels[key] = value
    return tuple(labels.items())


def _mtu(args: Args) -> int:
    mtu = args.one("mtu", "0")
    if not (mtu.isascii() and mtu.isdigit()) or len(mtu) > 5:
        raise BadInput(f"MTU {mtu!a} is not a number")
    return int(mtu)


def create(args: Args) -> int:
    """``weft net create``."""
    from weft.engine import network
    from weft.frontends.cli.run import pairs

    driver = args.one("driver", "bridge")
    if driver in _DRIVERS:
        raise NotYet(f"driver {driver} is not built yet", "bridge, macvlan and ipvlan are")
    request = network.NetworkRequest(
        name=args.words[0],
        subnets=args.many("subnet"),
        gateways=args.many("gateway"),
        bridge=args.one("bridge"),
        mtu=_mtu(args),
        labels=_labels(args),
        ranges=args.many("ip-range"),
        aux=args.many("aux-address"),
        ipv6=args.on("ipv6"),
        internal=args.on("internal"),
        isolated=args.on("isolated"),
        nat=args.one("nat"),
        driver=driver if driver in network.DRIVERS else network.THIRD,
        options=pairs(args.many("opt"), "--opt"),
        remote="" if driver in network.DRIVERS else driver,
        ipam=args.one("ipam-driver"),
        ipam_options=pairs(args.many("ipam-opt"), "--ipam-opt"),
    )
    network.check(request)
    work = work_for(args)
    made = network.create(work, request)
    if not work.dry:
        out(made.name if args.on("quiet") else made.id)
    return 0


def edit(args: Args) -> int:
    """``weft net edit``."""
    from weft.engine import edit
    from weft.frontends.cli.run import pairs

    isolated = args.one("isolated")
    if isolated not in ("", "true", "false"):
        raise BadInput(f"--isolated {isolated!a} is true or false")
    change = edit.Change(
        _labels(args),
        isolated == "true" if isolated else None,
        args.one("nat"),
        _mtu(args),
        pairs(args.many("opt"), "--opt"),
    )
    if change == edit.Change():
        raise BadInput(
            "`weft net edit` needs something to change", "--label, --isolated, --nat, --mtu or --opt"
        )
    work = work_for(args)
    done = edit.edit(work, args.words[0], change)
    if not work.dry:
        out(done.name)
    return 0


def prune(args: Args) -> int:
    """``weft net prune``."""
    from weft.engine import network

    work = work_for(args)
    for name in network.prune(work):
        if not work.dry:
            out(name)
    return 0


def connect(args: Args) -> int:
    """``weft net connect``."""
    from weft.core.model.publish import parse_publish
    from weft.core.model.target import parse_target
    from weft.engine import connect
    from weft.engine.container import published_remark
    from weft.engine.request import Join, check_join
    from weft.frontends.cli.run import number, pairs

    join = Join(
        network=args.words[0],
        addresses=args.many("ip"),
        mac=args.one("mac").lower(),
        ifname=args.one("ifname"),
        aliases=args.many("alias"),
        priority=number(args.one("gw-priority", "0"), "--gw-priority"),
        sysctls=pairs(args.many("sysctl"), "--sysctl"),
        routes=args.many("route"),
    )
    check_join(join)
    parse_target(args.words[1])
    publish = [p for s in args.many("publish") for p in parse_publish(s)]
    work = work_for(args)
    made = connect.connect(work, args.words[1], join, publish)
    remark = published_remark(made.publish)
    if remark:
        work.say(remark)
    if not work.dry:
        connect.introduce(work, made)
        out(" ".join([made.ifname, *[str(c) for c in made.addresses]]))
    return 0


def publish(args: Args) -> int:
    """``weft net publish``: prints what was published, as ``weft port`` does."""
    from weft.engine import publish
    from weft.engine.container import published_remark

    network, name, *specs = args.words
    work = work_for(args)
    done = publish.publish(work, network, name, specs)
    remark = published_remark(done)
    if remark:
        work.say(remark)
    _ports(work, done)
    return 0


def unpublish(args: Args) -> int:
    """``weft net unpublish``."""
    from weft.engine import publish

    network, name, *specs = args.words
    work = work_for(args)
    _ports(work, publish.unpublish(work, network, name, specs))
    return 0


def _ports(work: Work, done: tuple[Publish, ...]) -> None:
    if not work.dry:
        for p in done:
            out(f"{p.port}/{p.proto} -> {p.shown}:{p.host_port}")


def disconnect(args: Args) -> int:
    """``weft net disconnect``."""
    from weft.engine import connect

    connect.disconnect(work_for(args), args.words[0], args.words[1], args.on("force"))
    return 0


def remove(args: Args) -> int:
    """``weft net rm``."""
    from weft.engine import network

    work = work_for(args)
    for name in args.words:
        gone = network.remove(work, name, args.on("force"))
        if not work.dry:
            out(gone.name)
    return 0


def remove_containers(args: Args) -> int:
    """``weft rm``."""
    from weft.engine import removal

    work = work_for(args)
    for name in removal.remove(work, args.words, args.on("force")):
        if not work.dry:
            out(name)
    return 0
