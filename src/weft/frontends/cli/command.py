"""Commands in containers: where they come from, and ``weft exec``."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.frontends.cli.main import show, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.engine.enter import Entrance
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(args: Args) -> tuple[tuple[str, str], ...]:
    """PATH, HOME and TERM of the caller, and what -e gives; ``-e NAME`` passes the caller's on."""
    import os

    env = {"PATH": os.environ.get("PATH", _PATH), "HOME": os.environ.get("HOME", "/root")}
    if "TERM" in os.environ:
        env["TERM"] = os.environ["TERM"]
    env.update(added(args))
    return tuple(env.items())


def added(args: Args) -> tuple[tuple[str, str], ...]:
    """What -e gives."""
    import os

    found = {}
    for pair in args.many("env"):
        key, equals, value = pair.partition("=")
        if not key or "\0" in pair:
            raise BadInput(f"--env {pair!a} is not KEY=VALUE")
        if equals or key in os.environ:
            found[key] = value if equals else os.environ[key]
    return tuple(found.items())


def here() -> str:
    """The caller's directory; BadInput when it is not there any more."""
    import os

    try:
        return os.getcwd()
    except FileNotFoundError:
        raise BadInput("the current directory does not exist any more", "give one with --workdir") from None


def execute(args: Args) -> int:
    """``weft exec``: joins the container's namespaces and becomes the command, or waits for it where that is
    in another pid namespace; its status."""
    import os

    if not args.tail:
        raise BadInput("`weft exec` needs a command", "usage: weft exec C [--] CMD...")
    from weft.engine.enter import Further, enter

    given, terminal = args.one("workdir"), args.on("tty")
    keys = _keys(args) if terminal else b""
    more = Further(
        tuple(args.tail),
        env=environment(args),
        added=(("TERM", os.environ.get("TERM", "xterm")), *added(args)) if terminal else added(args),
        cwd=given,
        here=given or here(),
        user=args.one("user"),
        privileged=args.on("privileged"),
        terminal=terminal,
    )
    work = work_for(args)
    place = enter(work, args.words[0], more)
    show(work, place.shell)
    if work.dry:
        return 0
    if terminal or args.on("detach"):
        return _apart(work, place, args, keys)
    return work.machine.become(place.launch, place.pid, place.started)


def _keys(args: Args) -> bytes:
    """The detach keys. BadInput for those, and where a terminal is wanted and there is none."""
    from weft.core.model.policy import parse_detach_keys
    from weft.frontends.cli.life import check_terminal

    check_terminal(args)
    return parse_detach_keys(args.one("detach-keys"))


def _apart(work: Work, place: Entrance, args: Args, keys: bytes) -> int:
    """A command with a terminal of its own, or in the background."""
    machine: Any = work.machine
    work.store.close()
    if args.on("detach"):
        machine.detached(place.launch, place.pid, place.started)
        return 0
    code = machine.on_terminal(place.launch, place.pid, place.started, args.on("interactive"), keys)
    if code is None:
        work.say("detached: the command goes on")
    return code or 0
