"""Containers paused and let go on: the freezer of their cgroups (cgroups(7))."""

from __future__ import annotations

from weft.core.drivers.cgroup import freeze, thaw
from weft.core.model.errors import Conflict, Unsupported
from weft.core.plan.plan import Plan
from weft.engine.reaping import reap
from weft.engine.work import PAUSE, UNPAUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.network import Sandbox
    from weft.core.model.state import State
    from weft.engine.work import Work

    Found = tuple[Sandbox, State]


def pause(work: Work, names: Sequence[str]) -> list[str]:
    """Stops all processes of containers where they are, all or none; their full names.

    NotFound; Conflict for one that has no process, or is paused already; Unsupported; KernelError.
    """
    with work.machine.lock():
        found = _running(work, names)
        for sandbox, state in found:
            if state.word == "paused":
                raise Conflict(
                    f"container {sandbox.name} is paused already", f"`weft unpause {sandbox.name}`"
                )
            if not work.machine.group_pids(sandbox.cgroup):
                raise Unsupported(
                    f"container {sandbox.name} has no cgroup: it cannot be paused",
                    "cgroups could not be written when it started; see `mount -t cgroup,cgroup2`",
                )
        plan = Plan(tuple([freeze(work.machine.cgroups(), s.cgroup) for s, _ in found]))
        if work.dry:
            work.show(plan)
        else:
            subject = "\n".join([s.name for s, _ in found])
            work.settle(work.make(PAUSE, subject, plan, lambda: _note(work, found, "paused")))
        return [s.name for s, _ in found]


def unpause(work: Work, names: Sequence[str]) -> list[str]:
    """Lets paused containers go on, all or none; their full names. NotFound; Conflict for one that is not
    paused."""
    with work.machine.lock():
        found = _running(work, names)
        for sandbox, state in found:
            if state.word != "paused":
                raise Conflict(f"container {sandbox.name} is not paused")
        let_go(work, found)
        return [s.name for s, _ in found]


def let_go(work: Work, found: Sequence[Found]) -> None:
    """Thaws paused containers, also for what comes to them next: a signal that they are to see, an end. The
    lock is held."""
    plan = Plan(tuple([thaw(work.machine.cgroups(), s.cgroup) for s, _ in found]))
    if work.dry:
        work.show(plan)
        return
    subject = "\n".join([s.name for s, _ in found])
    work.unmake(UNPAUSE, subject, plan, lambda: _note(work, found, "running"), populated=False)


def _running(work: Work, names: Sequence[str]) -> list[Found]:
    work.recover()
    reap(work)
    found = {s.name: (s, state) for s, state in [work.store.container(name) for name in names]}
    for sandbox, state in found.values():
        if state.word in ("created", "exited"):
            raise Conflict(
                f"container {sandbox.name} is not running", f"`weft start {sandbox.name}` starts it again"
            )
        if state.word == "restarting":
            raise Conflict(f"container {sandbox.name} is about to be started again", "wait until it runs")
        if state.pid is None:
            raise Conflict(
                f"container {sandbox.name} has no process of its own", "there is nothing of it to pause"
            )
    return list(found.values())


def _note(work: Work, found: Sequence[Found], word: str) -> None:
    for sandbox, state in found:
        work.store.set_state(sandbox.name, state._replace(word=word))
