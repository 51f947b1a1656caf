"""``weft net create``, ``weft net rm``, ``weft rm``."""

from __future__ import annotations

from weft.core.model.errors import BadInput, NotYet
from weft.frontends.cli.main import out, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.cli.args import Args

_DRIVERS = ("macvlan", "vlan", "phys", "overlay", "host", "none")


def _labels(args: Args) -> tuple[tuple[str, str], ...]:
    labels = {}
    for pair in args.many("label"):
        key, _, value = pair.partition("=")
        if not key or not pair.isprintable():
            raise BadInput(f"label {pair!a} is not KEY=VALUE")
        labels[key] = value
    return tuple(labels.items())


def create(args: Args) -> int:
    """``weft net create``."""
    from weft.engine import network

    driver = args.one("driver", "bridge")
    if driver in _DRIVERS:
        raise NotYet(f"driver {driver} is not built yet", "bridge is")
    if driver != "bridge":
        raise BadInput(f"no driver {driver!a}", "use bridge")
    mtu = args.one("mtu", "0")
    if not (mtu.isascii() and mtu.isdigit()) or len(mtu) > 5:
        raise BadInput(f"MTU {mtu!a} is not a number")
    request = network.NetworkRequest(
        name=args.words[0],
        subnets=args.many("subnet"),
        gateway=args.one("gateway"),
        bridge=args.one("bridge"),
        mtu=int(mtu),
        labels=_labels(args),
    )
    network.check(request)
    work = work_for(args)
    made = network.create(work, request)
    if not work.dry:
        out(made.name if args.on("quiet") else made.id)
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
