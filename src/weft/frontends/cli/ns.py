"""``weft ns add``, ``rm``, ``adopt``, ``forget``: names of network namespaces."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.engine import namespace
from weft.frontends.cli.main import out, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

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


#: So many pids or holders are named, the rest counted.
_SHOWN = 5


def _tell(work: Work, one: Removed) -> None:
    where = f"net:[{one.inode}], which has no name now"
    if one.pids:
        many = "process lives" if len(one.pids) == 1 else "processes live"
        work.say(f"{one.name}: {len(one.pids)} {many} on (pid {_some(one.pids)}) in {where}")
    if one.holders:
        said = _some([f"{holder.kind} {holder.where} of pid {holder.pid}" for holder in one.holders])
        work.say(f"{one.name}: {said} {'keeps' if len(one.holders) == 1 else 'keep'} {where}, alive")
    out(one.name)


def _some(words: Sequence[object]) -> str:
    return ", ".join([str(word) for word in words[:_SHOWN]]) + (" ..." if len(words) > _SHOWN else "")


def forget(args: Args) -> int:
    """``weft ns forget``."""
    work = work_for(args)
    for name in args.words:
        namespace.forget(work, name)
    return 0
