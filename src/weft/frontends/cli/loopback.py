"""``weft loopback``: the loopback proxy's control, as printed plans call it. And the proxy's own start."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.frontends.cli.main import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.cli.args import Args

#: verb -> how many words follow
_VERBS = {"start": 1, "add": 5, "del": 3, "list": 0, "stop": 0}


def control(args: Args) -> int:
    """``weft loopback start PORT | add PROTO IP PORT TARGET PORT | del PROTO IP PORT | list | stop``."""
    from weft.wiring import loopback_control

    verb, *words = args.words
    if _VERBS.get(verb) != len(words):
        raise BadInput("usage: weft loopback start|add|del|list|stop ...")
    for line in loopback_control(args.one("root"), verb, words):
        out(line)
    return 0


def serve(args: Args) -> int:
    """``weft loopback-serve FD FD``."""
    from weft.wiring import loopback_serve

    loopback_serve(int(args.words[0]), int(args.words[1]))
    return 0
