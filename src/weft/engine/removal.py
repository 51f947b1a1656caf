"""Containers detached and removed, one or a thousand in one go."""

from __future__ import annotations

from weft.core.firewall.elements import endpoint_elements
from weft.core.model.errors import Conflict
from weft.core.model.network import Endpoint, Sandbox
from weft.core.model.state import State
from weft.core.ops.base import Op
from weft.core.ops.file import HostsDel
from weft.core.ops.loopback import LoopbackDel
from weft.core.ops.netns import NetnsEnd
from weft.core.plan.plan import Plan
from weft.engine import proxy
from weft.engine.work import CONTAINER, DETACH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.engine.work import Work


def remove(work: Work, names: Sequence[str], force: bool = False) -> list[str]:
    """Removes containers and all that was made for them; their full names.

    Conflict when one has processes, unless ``force`` kills those; then none is removed. NotFound.
    """
    with work.machine.lock():
        work.recover()
        return remove_locked(work, names, force)


def remove_locked(work: Work, names: Sequence[str], force: bool) -> list[str]:
    """The same with the lock held."""
    found = [work.store.container(name)[0] for name in dict.fromkeys(names)]
    inside = _inside(work, found)
    if inside and not force:
        name, pids = next(iter(inside.items()))
        shown = ", ".join([str(p) for p in pids[:5]])
        raise Conflict(
            f"container {name} has running processes (pid {shown})", f"`weft rm -f {name}` ends them first"
        )
    ends(work, found, inside)
    plan = detach_plan(work, found)
    if work.dry:
        work.show(plan)
        return [s.name for s in found]

    def wish() -> None:
        proxy.forget(work, plan)

    # Nobody is killed before that is on record: a crash in between would leave a third state.
    work.unmake(CONTAINER, "\n".join([s.name for s in found]), plan, wish, populated=bool(inside))
    return [s.name for s in found]


def ends(
    work: Work, found: Sequence[Sandbox], inside: dict[str, list[int]] | None = None
) -> dict[str, list[int]]:
    """The processes that a forced removal will end, by container; printed plans say so first."""
    inside = _inside(work, found) if inside is None else inside
    if work.step is not None:
        for name in inside:
            work.step(NetnsEnd(name))
    return inside


def _inside(work: Work, found: Sequence[Sandbox]) -> dict[str, list[int]]:
    """Whoever is inside keeps the namespace and its cable alive: the processes by container."""
    inodes = {work.netns_inode(s.name): s.name for s in found}
    return {inodes[i]: pids for i, pids in work.machine.processes(inodes).items() if pids}


def detach_plan(work: Work, found: Sequence[Sandbox]) -> Plan:
    """The way back of attaching, in groups: one message batch, one file change, then the namespaces.

    The veth pairs are not deleted here: they go with their namespaces, in one batch of the kernel's
    own, while deleting them one by one waits 20 ms each.
    """
    endpoints = [e for e in [work.store.endpoint(s.name) for s in found] if e is not None]
    ops: list[Op] = [*_let_go(work, endpoints)]
    lines: dict[str, list[str]] = {}
    for endpoint in endpoints:
        ops += Plan(endpoint_elements(endpoint)).undo().ops
        lines.setdefault(work.hosts_file(endpoint.network), []).append(str(endpoint.address))
    ops += [HostsDel(path, tuple(addresses)) for path, addresses in lines.items()]
    return Plan((*ops, *_names(work, endpoints)))


def _names(work: Work, endpoints: Sequence[Endpoint]) -> list[Op]:
    from weft.core.ops.netns import EtcNetnsDel, NetnsDel

    return [op for e in endpoints for op in (NetnsDel(e.container), EtcNetnsDel(e.container))]


def _let_go(work: Work, endpoints: Sequence[Endpoint]) -> list[Op]:
    """The ports go first. The proxy ends with the last that covers loopback, and its element too."""
    dels: list[Op] = [LoopbackDel(*p.key) for e in endpoints for p in e.publish]
    if not dels or not work.store.needs_proxy():
        return []
    if work.store.proxied().difference([e.container for e in endpoints]):
        return dels
    return [*dels, *proxy.stop(work)]


def finish(work: Work, name: str, pid: int, code: int) -> None:
    """A container's command has ended: frees its address and ports; removes it when it was to be.

    Called by whoever waited for it. Does nothing when the container has been removed meanwhile.
    """
    with work.machine.lock():
        work.recover()
        if not work.store.has_container(name):
            return
        sandbox, state = work.store.container(name)
        if state.pid == pid:
            _finish(work, sandbox, code)


def _finish(work: Work, sandbox: Sandbox, code: int) -> None:
    plan = detach_plan(work, (sandbox,))
    ended = State("exited", exit_code=code)

    def wish() -> None:
        proxy.forget(work, plan)
        if not sandbox.auto_remove:
            work.store.set_state(sandbox.name, ended)

    work.unmake(CONTAINER if sandbox.auto_remove else DETACH, sandbox.name, plan, wish)


def recorded(work: Work, name: str, pid: int) -> bool:
    """Whether a container has this process on record, once what crashed commands left is ended."""
    with work.machine.lock():
        work.recover()
        return work.store.has_container(name) and work.store.container(name)[1].pid == pid


#: What a container's exit code is when whoever waited for it was killed with it.
LOST = 137


def reap(work: Work) -> None:
    """Ends what processes left that died together with their monitor. The lock is held."""
    for sandbox, state in work.store.supervised():
        watched = work.machine.alive(state.watcher, state.watcher_started)
        if not watched and not work.machine.alive(state.pid, state.started):
            work.say(f"container {sandbox.name} and its monitor were killed: cleaning up")
            _finish(work, sandbox, LOST)
