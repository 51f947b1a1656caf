"""``weft run``."""

from __future__ import annotations

import posix

from weft.core.model.errors import BadInput
from weft.core.model.publish import parse_publish
from weft.engine import container, ports
from weft.engine.request import Join, RunRequest, check
from weft.frontends.cli import isolation, life
from weft.frontends.cli.command import environment
from weft.frontends.cli.main import out, show, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

_KEYS = ("ip", "mac", "alias", "ifname", "gw-priority", "sysctl", "route")


def _options(text: str) -> tuple[str, dict[str, list[str]]]:
    """``NET[:ip=..,mac=..]``: the name and its options."""
    name, _, rest = text.partition(":")
    options: dict[str, list[str]] = {}
    for pair in rest.split(",") if rest else ():
        key, equals, value = pair.partition("=")
        if key not in _KEYS or not equals or not value:
            raise BadInput(f"--network option {pair!a} is not one of {', '.join(_KEYS)} with a value")
        options.setdefault(key, []).append(value)
    return name, options


def _once(options: dict[str, list[str]], key: str) -> str:
    found = options.get(key, ())
    if len(found) > 1:
        raise BadInput(f"{key} is given twice")
    return found[0] if found else ""


def number(text: str, what: str) -> int:
    """A signed number of the command line."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10:
        raise BadInput(f"{what} {text!a} is not a number")
    return int(text)


def pairs(values: tuple[str, ...], what: str) -> tuple[tuple[str, str], ...]:
    """``K=V`` of a flag that may be repeated."""
    found = [value.partition("=") for value in values]
    for text, (key, equals, _) in zip(values, found, strict=True):
        if not key or not equals or not text.isprintable():
            raise BadInput(f"{what} {text!a} is not KEY=VALUE")
    return tuple([(key, value) for key, _, value in found])


def _join(text: str) -> Join:
    name, options = _options(text)
    return Join(
        network=name,
        addresses=tuple(options.get("ip", ())),
        mac=_once(options, "mac").lower(),
        ifname=_once(options, "ifname"),
        aliases=tuple(options.get("alias", ())),
        priority=number(_once(options, "gw-priority") or "0", "gw-priority"),
        sysctls=pairs(tuple(options.get("sysctl", ())), "sysctl"),
        routes=tuple(options.get("route", ())),
    )


def _networks(args: Args) -> tuple[str, tuple[Join, ...]]:
    """The mode, or the networks; flat flags are the first one's."""
    given = args.many("network") or ("default",)
    modes = [g for g in given if g in ("host", "none") or g.partition(":")[0] == "container"]
    if modes and len(given) > 1:
        raise BadInput(f"--network {modes[0]} cannot be combined with other networks")
    ip, aliases = args.many("ip"), args.many("network-alias")
    if modes:
        flag = "--ip" if ip else "--network-alias" if aliases else ""
        if flag:
            raise BadInput(f"{flag} conflicts with --network {modes[0]}", "it is for weft's networks")
        return modes[0], ()
    first, *others = [_join(text) for text in given]
    if ip and first.addresses:
        raise BadInput("ip is given twice")
    first = first._replace(addresses=first.addresses or ip, aliases=(*first.aliases, *aliases))
    return "", (first, *others)


def _made_up_name() -> str:
    """A name where the user gave none: short, easy to type, not a number."""
    return "c" + posix.urandom(4).hex()


def _extra_hosts(args: Args) -> tuple[tuple[str, str], ...]:
    found = []
    for text in args.many("add-host"):
        # Docker takes both H:IP and H=IP; an IPv6 address has colons of its own.
        equals = "=" in text
        name, sign, address = text.partition("=" if equals else ":")
        if not sign or not address:
            raise BadInput(f"--add-host {text!a} is not H:IP", "write it as db:10.0.0.5")
        found.append((name, address.removeprefix("[").removesuffix("]")))
    return tuple(found)


def request(args: Args) -> RunRequest:
    """What the flags ask for."""
    mode, joins = _networks(args)
    return RunRequest(
        name=args.one("name") or _made_up_name(),
        joins=joins,
        hostname=args.one("hostname"),
        publish=tuple([p for s in args.many("publish") for p in parse_publish(s)]),
        dns=args.many("dns"),
        search=args.many("dns-search"),
        command=tuple(args.tail),
        auto_remove=args.on("rm"),
        mode=mode,
        extra_hosts=_extra_hosts(args),
        sysctls=pairs(args.many("sysctl"), "--sysctl"),
        spec=isolation.spec(args, environment(args)),
        policy=life.policy(args),
    )


def run(args: Args) -> int:
    """``weft run``: the command's status; 0 with -d or without CMD."""
    wish = request(args)
    if args.one("bundle") or args.one("runtime"):
        from weft.frontends.cli.oci import chosen

        wish = chosen(args, wish)
    check(wish)
    work = work_for(args)
    life.check_terminal(args)
    if not wish.command:
        made = container.create(work, wish)
        _tell(work, made, wish.name, args.on("quiet"))
        return 0
    from weft.engine import run as engine

    detach, door = args.on("detach"), life.Door(work, wish.name, args)
    looks = engine.monitored(wish, detach) and not detach
    ready = door.open if looks else lambda: None
    size = work.machine.window() if looks else (0, 0)
    found, launch, child = engine.run(work, wish, detach, size, ready)
    show(work, launch.shell)
    if child is None:
        return 0
    if detach:
        _tell(work, found, wish.name, args.on("quiet"))
        return 0
    if looks:
        return door.look_on(args.on("interactive"))
    return _foreground(work, wish.name, child.pid)


def _tell(work: Work, found: container.Attached, name: str, quiet: bool) -> None:
    remark = ports.published_remark([p for _, e in found.members for p in e.publish])
    if remark:
        work.say(remark)
    if not work.dry:
        out(name if quiet else found.sandbox.id)


def _foreground(work: Work, name: str, pid: int) -> int:
    from weft.engine.removal import finish

    code = work.machine.wait(pid)
    finish(work, name, pid, code)
    return code
