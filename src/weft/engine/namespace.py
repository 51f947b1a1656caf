"""Named network namespaces: made, adopted, and their names taken off again (ip-netns(8))."""

from __future__ import annotations

from weft.core.model.errors import BadInput, Conflict, NotFound
from weft.core.model.names import check_name
from weft.core.model.target import parse_target
from weft.core.ops.netns import NetnsAdd, NetnsAttach, NetnsDel, NsUnbind
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine.target import place
from weft.engine.work import NAMESPACE, NAMESPACE_GONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.namespace import Holder
    from weft.core.ops.base import Op
    from weft.engine.work import Work


class Removed(Record):
    """A name that was taken off, and what lives on in its namespace or keeps it alive from elsewhere."""

    name: str
    inode: int
    pids: tuple[int, ...] = ()
    holders: tuple[Holder, ...] = ()
    handle: bytes = b""


def check_new(work: Work, names: Sequence[str]) -> None:
    """That names can be given. BadInput, Conflict."""
    there = frozenset(work.machine.netns_names())
    seen: set[str] = set()
    for name in names:
        check_name(name, "namespace")
        if name in ("host", "none", "all"):
            raise BadInput(f"namespace name {name!a} is reserved", "choose another name")
        if name in seen:
            raise BadInput(f"namespace {name} is given twice")
        seen.add(name)
        if name in there or work.store.has_container(name) or work.machine.named(name):
            raise Conflict(f"namespace {name} exists already", f"`weft ns rm {name}` takes the name off")


def add(work: Work, names: Sequence[str]) -> None:
    """Makes named namespaces, all or none. BadInput, Conflict."""
    with work.machine.lock():
        work.recover()
        check_new(work, names)
        make(work, names, Plan(tuple([NetnsAdd(name, plain=True) for name in names])), "made")


def adopt(work: Work, name: str, target: str) -> None:
    """Names a namespace that exists. BadInput, Conflict, NotFound."""
    wanted = parse_target(target)
    with work.machine.lock():
        work.recover()
        check_new(work, (name,))
        if wanted.kind == "host":
            raise BadInput("the host's own namespace needs no name", "write `host` where a TARGET is wanted")
        try:
            found = place(work, wanted)
            source = found.netns if found.netns.startswith("/") else f"/run/netns/{found.netns}"
            work.machine.pin(source)
            make(work, (name,), Plan((NetnsAttach(name, source),)), "adopted")
        finally:
            work.machine.unpin()


def make(work: Work, names: Sequence[str], plan: Plan, how: str) -> None:
    """Does a plan that gives names. Called with the lock held."""
    if work.dry:
        work.show(plan)
        return
    _bury(work)
    now = work.machine.now()

    def wish() -> None:
        for name in names:
            work.store.add_namespace(name, how, now)

    entry = work.make(NAMESPACE, "\n".join(names), plan, wish)

    def stands() -> None:
        for name in names:
            work.store.set_namespace(name, work.machine.netns_inode(name), work.machine.netns_handle(name))

    work.settle(entry, stands)


def _bury(work: Work) -> None:
    """Forgets removed names whose namespaces are gone by now."""
    gone = [n.id for n in work.store.namespaces() if n.removed and work.machine.is_gone(n.handle)]
    if gone:
        with work.store.write():
            work.store.bury_namespaces(gone)


def remove(work: Work, names: Sequence[str], every: bool = False) -> list[Removed]:
    """Takes names off; what lives on without them is in the answer. ``every``: all that weft gave.

    The kernel ends a namespace once nothing holds it, in its own time. NotFound; Conflict for a container's.
    """
    with work.machine.lock():
        work.recover()
        if every:
            names = [n.name for n in work.store.namespaces() if not n.removed]
        names = list(dict.fromkeys(names))
        there = frozenset(work.machine.netns_names())
        for name in names:
            _check_old(work, name, there, every)
        return _remove(work, names) if names else []


def _check_old(work: Work, name: str, there: frozenset[str], every: bool) -> None:
    # Names that others gave may be strange; none can lead out of the directory.
    if not name or "/" in name or name in (".", "..") or "\0" in name:
        raise BadInput(f"namespace name {name!a} is not valid")
    if work.store.has_container(name):
        raise Conflict(f"namespace {name} belongs to container {name}", f"`weft rm {name}` removes it")
    if name not in there and not every and not work.machine.named(name):
        raise NotFound(f"no network namespace {name!a} under /run/netns", "`weft ns ls` lists what there is")


def _ops_of_removal(work: Work, name: str) -> list[Op]:
    kept = [NsUnbind(path) for kind, path in work.machine.named(name) if kind != "net"]
    return [NetnsDel(name), *kept]


def _remove(work: Work, names: list[str]) -> list[Removed]:
    plan = Plan(tuple([op for name in names for op in _ops_of_removal(work, name)]))
    if work.dry:
        work.show(plan)
        return []
    _bury(work)
    inodes = {name: work.machine.netns_inode(name) for name in names}
    alive = work.machine.left_alive({name: inode for name, inode in inodes.items() if inode})
    known = {n.name: n.handle for n in work.store.namespaces() if not n.removed}
    found = [
        Removed(name, inode, *alive.get(inode, ((), ())), handle=_handle(work, name, inode, known))
        for name, inode in inodes.items()
    ]
    work.unmake(NAMESPACE_GONE, "\n".join(names), plan, populated=False)
    return found


def _handle(work: Work, name: str, inode: int, known: dict[str, bytes]) -> bytes:
    return (known.get(name) or work.machine.netns_handle(name)) if inode else b""


def forget(work: Work, name: str) -> None:
    """Takes a name off a namespace that lives on without it. NotFound; Conflict when it would end."""
    with work.machine.lock():
        work.recover()
        _check_old(work, name, frozenset(work.machine.netns_names()), every=False)
        if not _held(work, name):
            raise Conflict(
                f"nothing but its name keeps namespace {name} alive", f"`weft ns rm {name}` ends it"
            )
        _remove(work, [name])


def _held(work: Work, name: str) -> bool:
    """Whether a process, another name, an open file or a socket keeps a namespace alive."""
    inode = work.machine.netns_inode(name)
    others = [n for n in work.machine.netns_names() if n != name and work.machine.netns_inode(n) == inode]
    return bool(others) or any(map(any, work.machine.left_alive({name: inode}).values()))
