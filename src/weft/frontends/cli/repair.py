"""``weft repair``, ``weft gc``, ``weft watch``."""

from __future__ import annotations

from weft.frontends.cli.main import out, say, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.cli.args import Args


def repair(args: Args) -> int:
    """``weft repair``: 0 when all agrees now, 1 when something could not be mended."""
    from weft.engine import repair

    work = work_for(args)
    done = repair.repair(work)
    if args.one("format") == "json":
        import json

        out(json.dumps({"mended": list(done.mended), "failed": list(done.failed)}, indent=2))
    elif not work.dry and not args.on("quiet") and work.step is None:
        for line in done.mended:
            out(line)
    for line in done.failed:
        say(f"warning: {line}")
    return 1 if done.failed else 0
