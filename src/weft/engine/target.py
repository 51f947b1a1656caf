"""TARGET to a place: which network namespace is meant, and what operations call it."""

from __future__ import annotations

from weft.core.model.errors import BadInput, NotFound
from weft.core.model.namespace import Place
from weft.core.model.target import Target, parse_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.work import Work


def process_of(work: Work, target: Target) -> int:
    """The pid that stands for a target of kind pid or of an engine: a container's first process. NotFound."""
    if target.kind == "pid":
        return int(target.value)
    if target.kind == "cni":
        raise NotFound(
            f"{target} has no process that weft knows of", "enter its network namespace alone: --ns net"
        )
    if target.kind == "weft":
        sandbox, state = work.store.container(target.value)
        if state.pid is None or not work.machine.alive(state.pid, state.started):
            raise NotFound(
                f"container {sandbox.name} has no process", f"enter it by its name: {sandbox.name}"
            )
        return state.pid
    return work.machine.container_pid(target.kind, target.value)


def place(work: Work, target: Target | str) -> Place:
    """The network namespace of a target; the machine keeps it open for the plan that follows.

    NotFound when there is none, BadInput for a path that leads to no network namespace.
    """
    if isinstance(target, str):
        target = parse_target(target)
    if target.kind == "cni":
        return place(work, work.store.container(str(target))[0].target)
    if target.kind == "host":
        return Place("", "host", work.machine.pin(""))
    if target.kind in ("name", "netns") or (target.kind == "weft" and _has_no_process(work, target)):
        return Place(target.value, target.value, work.machine.pin(target.value))
    path = target.value if target.kind == "path" else f"/proc/{process_of(work, target)}/ns/net"
    return Place(path, str(target), work.machine.pin(path))


def find(work: Work, text: str) -> Place | None:
    """The same for a target that may be gone: None when it leads nowhere."""
    try:
        return place(work, text)
    except (BadInput, NotFound):
        return None


def _has_no_process(work: Work, target: Target) -> bool:
    return work.store.container(target.value)[1].pid is None
