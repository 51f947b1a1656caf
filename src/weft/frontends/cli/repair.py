"""``weft repair``, ``weft gc``, ``weft watch``."""

from __future__ import annotations

import sys

from weft.frontends.cli.main import out, say, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.repair import Report
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args


def repair(args: Args) -> int:
    """``weft repair``: 0 when all agrees now, 1 when something could not be mended."""
    work, done, lost = _repaired(args)
    if args.one("format") == "json":
        import json

        said = {"mended": list(done.mended), "failed": list(done.failed)}
        out(json.dumps({**said, **({"lost": lost} if lost else {})}, indent=2))
    elif not work.dry and not args.on("quiet") and work.step is None:
        for line in done.mended:
            out(line)
    for line in done.failed:
        say(f"warning: {line}")
    return 1 if done.failed else 0


def _repaired(args: Args) -> tuple[Work, Report, list[str]]:
    """The work on a database that is whole: as it is, or made anew. What was mended, and what was lost."""
    from weft.core.model.errors import Damaged
    from weft.engine.repair import repair

    try:
        work = work_for(args)
        work.store.check()
        return work, repair(work), []
    except Damaged as error:
        say(error.message)
    from weft.frontends.cli.main import printer
    from weft.wiring import rebuild

    work, lost, kept = rebuild(args.one("root"), say, printer(args), args.on("dry-run"))
    if kept:
        say(f"the old database is kept as {kept}")
    networks = work.store.networks()
    count = len(work.store.containers())
    say(f"made a new one from the kernel: {len(networks)} networks, {count} containers")
    for line in lost:
        say(f"lost: {line}")
    return work, repair(work), lost


def watch(args: Args) -> int:
    """``weft watch``: repairs on the kernel's notices, until it is stopped."""
    import time

    from weft.engine.watch import watch as keep

    work = work_for(args)
    as_json = args.one("format") == "json"

    def tell(done: Report) -> None:
        if as_json:
            import json

            out(json.dumps({"mended": list(done.mended), "failed": list(done.failed)}))
        else:
            out(
                f"mended {len(done.mended)} things: {done.mended[0]}"
                if done.mended
                else "nothing could be mended"
            )
            for line in done.failed:
                say(f"warning: {line}")
        sys.stdout.flush()

    with work.machine.heard() as heard:
        try:
            keep(work, heard, time.monotonic, tell)
        except KeyboardInterrupt:
            return 0
    return 0


def gc(args: Args) -> int:
    """``weft gc``: prints what it removed."""
    from weft.engine import gc

    work = work_for(args)
    done = gc.collect(work)
    if not work.dry and work.step is None:
        for line in done:
            out(line)
    return 0
