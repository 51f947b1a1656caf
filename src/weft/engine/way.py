"""TARGET to the way in: which namespaces are meant, and how they are reached."""

from __future__ import annotations

from weft.core.model.enter import Way
from weft.core.model.errors import BadInput, Conflict, NotFound
from weft.core.model.namespace import TYPES
from weft.engine.reaping import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.target import Target
    from weft.engine.work import Work


def way_in(work: Work, target: Target, types: tuple[str, ...] = ()) -> Way:
    """The way into a target's namespaces: ``types`` of them, or all that it has of its own.

    NotFound, BadInput for a path of another type, Conflict for a container that has exited.
    """
    shown = str(target)
    if target.kind == "host":
        return Way(shown)
    if target.kind == "cni":  # nobody can be asked for it but weft, who was told of its namespace
        from weft.core.model.target import parse_target

        target = parse_target(work.store.container(str(target))[0].target)
    if target.kind == "path":
        kind = work.machine.type_of(target.value)
        if types not in ((), TYPES, (kind,)):
            raise BadInput(f"{shown!a} is a {kind} namespace, not {', '.join(types)}")
        return Way(shown, ((kind, target.value),))
    wanted = types if types != TYPES else ()
    if target.kind == "pid":
        return Way(shown, pid=int(target.value), types=wanted)
    if target.kind == "weft" or (target.kind == "name" and work.store.has_container(target.value)):
        return _into_container(work, target, wanted)
    if target.kind in ("name", "netns"):
        return named(work, target.value, wanted)
    pid = work.machine.container_pid(target.kind, target.value)
    return Way(shown, pid=pid, started=work.machine.started(pid), types=wanted)


def _into_container(work: Work, target: Target, types: tuple[str, ...]) -> Way:
    reap(work)
    sandbox, state = work.store.container(target.value)
    if state.word == "exited":
        raise Conflict(f"container {sandbox.name} has exited", f"`weft start {sandbox.name}` starts it again")
    if state.pid is None:
        return named(work, sandbox.name, types)
    return Way(str(target), pid=state.pid, started=state.started or 0, types=types)


def named(work: Work, name: str, types: tuple[str, ...] = ()) -> Way:
    """The way to what has a name: its network namespace is seen as ``ip netns exec`` shows it, unless only
    that is asked for, or the name has a mount namespace too. NotFound."""
    found = dict(work.machine.named(name))
    if not found:
        raise NotFound(f"no network namespace {name!a} under /run/netns", "`weft ns ls` lists what there is")
    view = "net" in found and "mnt" not in found and (not types or {"net", "mnt"} <= set(types))
    missing = [t for t in types if t not in found and not (view and t == "mnt")]
    if missing:
        raise NotFound(
            f"{name!a} names no namespace of type {', '.join(missing)}", f"it names {', '.join(found)}"
        )
    files = tuple([pair for pair in found.items() if not types or pair[0] in types])
    return Way(name, files, view=name if view else "")


def everywhere(work: Work, types: tuple[str, ...] = ()) -> list[Way]:
    """The ways to all names under /run/netns."""
    found = []
    for name in work.machine.netns_names():
        try:
            found.append(named(work, name, types))
        except NotFound:
            if work.machine.named(name):
                raise
    return found
