"""The processes of containers, with their pids outside and inside."""

from __future__ import annotations

from weft.core.model.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.model.network import Sandbox
    from weft.core.model.state import State
    from weft.core.model.task import Task
    from weft.engine.work import Work


def rows(work: Work, name: str = "") -> list[dict[str, Any]]:
    """The processes of one container, or of all; ``nspid`` is the pid inside. NotFound; Conflict for one that
    has exited."""
    found = [work.store.container(name)] if name else work.store.containers()
    for sandbox, state in found if name else ():
        if state.word == "exited":
            raise Conflict(f"container {sandbox.name} has exited", "it has no processes any more")
    inside = work.inside([s.name for s, _ in found])
    result = []
    for sandbox, state in found:
        pids = sorted({*work.machine.group_pids(sandbox.cgroup), *inside.get(sandbox.name, ())})
        depth = _depth(work, state)
        result += [_row(sandbox, task, depth) for task in work.machine.tasks(pids)]
    return result


def _depth(work: Work, state: State) -> int:
    """How many pid namespaces deep a container's own is, as NSpid counts them."""
    return len(work.machine.nspid(state.pid)) if state.pid is not None else 0


def _row(sandbox: Sandbox, task: Task, depth: int) -> dict[str, Any]:
    # Deeper ones are its own business: the number is that in the namespace which the container was given.
    inner = task.nspid[min(depth, len(task.nspid)) - 1] if depth else task.nspid[-1]
    return {
        "container": sandbox.name,
        "pid": task.pid,
        "nspid": inner,
        "nspids": list(task.nspid),
        "ppid": task.ppid,
        "uid": task.uid,
        "user": task.user,
        "state": task.state,
        "rss": task.rss,
        "time": task.time,
        "elapsed": task.elapsed,
        "comm": task.comm,
        "args": task.args,
    }


def columns(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """Column names as typed, by commas or blanks. BadInput."""
    from weft.core.model.errors import BadInput

    found = [name.lower() for word in words for name in word.split(",") if name]
    for name in found:
        if name not in known:
            raise BadInput(f"`weft top` has no column {name!a}", f"columns: {' '.join(known)}")
    return found
