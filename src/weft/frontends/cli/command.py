"""Commands in containers: where they come from, and ``weft exec``."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.frontends.cli.main import show, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    if not args.tail:
        raise BadInput("`weft exec` needs a command", "usage: weft exec C [--] CMD...")
    from weft.engine.enter import Further, enter

    given = args.one("workdir")
    more = Further(
        tuple(args.tail),
        env=environment(args),
        added=added(args),
        cwd=given,
        here=given or here(),
        user=args.one("user"),
        privileged=args.on("privileged"),
    )
    work = work_for(args)
    place = enter(work, args.words[0], more)
    show(work, place.shell)
    if work.dry:
        return 0
    return work.machine.become(place.launch, place.pid, place.started)
