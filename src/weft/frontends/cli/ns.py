"""``weft ns add``, ``rm``, ``adopt``, ``forget``: names of network namespaces."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.engine import namespace
from weft.frontends.cli.main import out, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.namespace import Removed
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args


def add(args: Args) -> int:
    """``weft ns add``."""
    namespace.add(work_for(args), args.words)
    return 0


def adopt(args: Args) -> int:
    """``weft ns adopt``."""
    namespace.adopt(work_for(args), *args.words)
    return 0


def remove(args: Args) -> int:
    """``weft ns rm``: returns at once, and says what lives on."""
    every = args.on("all")
    if every and args.words:
        raise BadInput("--all and names do not go together", "--all takes off all names that weft gave")
    if not every and not args.words:
        raise BadInput("`weft ns rm` needs NAME or --all", "usage: weft ns rm [NAME...] | --all")
    work = work_for(args)
    gone = namespace.remove(work, args.words, every)
    for one in gone:
        _tell(work, one)
    if args.on("wait"):
        for one in gone:
            if one.handle:
                work.machine.wait_gone(one.handle)
    return 0


def _tell(work: Work, one: Removed) -> None:
    if one.pids:
        shown = ", ".join([str(pid) for pid in one.pids[:5]]) + (" ..." if len(one.pids) > 5 else "")
        many = "process lives" if len(one.pids) == 1 else "processes live"
        where = f"net:[{one.inode}], which has no name now"
        work.say(f"{one.name}: {len(one.pids)} {many} on (pid {shown}) in {where}")
    out(one.name)


def forget(args: Args) -> int:
    """``weft ns forget``."""
    work = work_for(args)
    for name in args.words:
        namespace.forget(work, name)
    return 0
