"""``weft wire``."""

from __future__ import annotations

from weft.engine import wire as engine
from weft.frontends.cli.main import out, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.drivers.wire import Joint, Wire
    from weft.frontends.cli.args import Args


def wire(args: Args) -> int:
    """``weft wire``."""
    work = work_for(args)
    made = engine.lay(work, *args.words)
    if not work.dry:
        tell((made,), args)
    return 0


def tell(wires: Sequence[Wire], args: Args) -> None:
    """What was made: ``red:eth0 -- blue:eth0``, a line a wire; -q both ends as words; JSON a list."""
    if args.on("quiet"):
        for made in wires:
            out(f"{made.first} {made.second}")
    elif args.one("format") == "json":
        from weft.frontends.cli.show import as_json

        as_json([{"ends": [_end(made.first), _end(made.second)], "mark": made.mark} for made in wires])
    else:
        for made in wires:
            out(f"{made.first} -- {made.second}")


def _end(joint: Joint) -> dict[str, Any]:
    return {
        "ns": joint.place.shown,
        "ifname": joint.ifname,
        "mac": joint.mac,
        "addresses": [f"{address}/{prefix}" for address, prefix in joint.addresses],
        "master": joint.master,
    }
