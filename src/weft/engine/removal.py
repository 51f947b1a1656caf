"""Containers detached and removed, one or a thousand in one go."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.firewall.elements import endpoint_elements
from weft.core.model.errors import BadInput, Conflict
from weft.core.model.network import Endpoint, Network, Sandbox
from weft.core.model.state import State
from weft.core.ops.base import Op
from weft.core.ops.file import HostsDel, HostsFileDel
from weft.core.ops.loopback import LoopbackDel
from weft.core.ops.netns import NetnsEnd
from weft.core.plan.plan import Plan
from weft.engine import driven, events, proxy
from weft.engine.work import CONTAINER, DETACH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weft.engine.work import Work


def remove(work: Work, names: Sequence[str], force: bool = False) -> list[str]:
    """Removes containers and all that was made for them; their full names.

    Conflict when one has processes, unless ``force`` kills those, or when another one uses its network; then
    none is removed. NotFound.
    """
    with work.machine.lock():
        work.recover()
        return remove_locked(work, names, force)


def remove_locked(work: Work, names: Sequence[str], force: bool) -> list[str]:
    """The same with the lock held."""
    pairs = [work.store.container(name) for name in dict.fromkeys(names)]
    found = [sandbox for sandbox, _ in pairs]
    check_own(found)
    check_joiners(work, found)
    inside = work.inside([s.name for s in found])
    waiting = [(s, state) for s, state in pairs if state.word == "restarting"]
    if waiting and not force:
        name = waiting[0][0].name
        raise Conflict(f"container {name} is about to be started again", f"`weft stop {name}`, or `rm -f`")
    if inside and not force:
        name, pids = next(iter(inside.items()))
        shown = ", ".join([str(p) for p in pids[:5]])
        raise Conflict(
            f"container {name} has running processes (pid {shown})", f"`weft rm -f {name}` ends them first"
        )
    ends(work, found, inside)
    gone = [*found, *_widowed(work, found)]
    plan = detach_plan(work, gone)
    if work.dry:
        work.show(plan)
        return [s.name for s in found]

    def wish() -> None:
        proxy.forget(work, plan)
        killed = [s for s, state in pairs if s.name in inside and state.word == "running"]
        events.note(work, "kill", killed, signal=9)
        events.note(work, "die", killed, exitCode=137)
        note_gone(work, gone)

    # Nobody is killed before that is on record: a crash in between would leave a third state.
    work.unmake(CONTAINER, "\n".join([s.name for s in gone]), plan, wish, populated=bool(inside))
    for _, state in waiting:
        work.machine.signal(state.watcher, state.watcher_started, 9)
    return [s.name for s in found]


def note_gone(work: Work, gone: Sequence[Sandbox]) -> None:
    """Puts down that containers are removed."""
    events.note_members(work, "disconnect", [e for s in gone for e in work.store.endpoints_of(s.name)])
    events.note(work, "destroy", gone)


def check_own(found: Sequence[Sandbox]) -> None:
    """BadInput for a container of another engine: its end is that one's to bring about."""
    for sandbox in found:
        if sandbox.target:
            raise BadInput(
                f"{sandbox.name} is not weft's to remove",
                f"`weft net disconnect NET {sandbox.name}` takes it out of a network",
            )


def check_joiners(work: Work, found: Sequence[Sandbox]) -> None:
    """Conflict when a container that stays shares the network of one that is to go."""
    names = {s.name for s in found}
    for sandbox in found:
        others = [j for j in work.store.joiners(sandbox.name) if j not in names]
        if others:
            raise Conflict(
                f"container {sandbox.name} lends its network to {', '.join(others[:5])}",
                f"remove {'them' if len(others) > 1 else 'that'} first, or together with it",
            )


def _widowed(work: Work, found: Iterable[Sandbox]) -> list[Sandbox]:
    """Donors that were to be removed when they ended, and stayed for these: the last joiner takes them
    along."""
    names = {s.name for s in found}
    gone = []
    donors = dict.fromkeys([s.mode.partition(":")[2] for s in found if s.mode.startswith("container:")])
    for donor in [d for d in donors if d not in names]:
        if not work.store.has_container(donor) or set(work.store.joiners(donor)) - names:
            continue
        sandbox, state = work.store.container(donor)
        if state.word == "exited" and sandbox.auto_remove:
            gone.append(sandbox)
    return gone


def ends(
    work: Work, found: Sequence[Sandbox], inside: dict[str, list[int]] | None = None
) -> dict[str, list[int]]:
    """The processes that a forced removal will end, by container; printed plans say so first."""
    inside = work.inside([s.name for s in found]) if inside is None else inside
    if work.step is not None:
        for name in inside:
            work.step(NetnsEnd(name))
    return inside


def detach_plan(work: Work, found: Sequence[Sandbox]) -> Plan:
    """The way back of attaching, in groups: one message batch, one file change, then the namespaces.

    The veth pairs are not deleted here: they go with their namespaces, in one batch of the kernel's
    own, while deleting them one by one waits 20 ms each.
    """
    endpoints = [e for s in found for e in work.store.endpoints_of(s.name)]
    networks = {name: work.store.network(name) for name in dict.fromkeys([e.network for e in endpoints])}
    going = frozenset([s.name for s in found])
    ops: list[Op] = [*let_go(work, endpoints)]
    for endpoint in endpoints:
        network = networks[endpoint.network]
        ops += Plan(endpoint_elements(network, endpoint)).undo().ops
        ops += driven.told(network, endpoint, endpoint.container)
    ops += driver.flush_wants([p for e in endpoints for p in e.publish])
    ops += forget_names(work, networks, endpoints, going)
    from weft.engine import group  # not for whoever only leaves a network

    return Plan((*ops, *_own_files(work, found), *_names(found), *group.goes(work, found)))


def forget_names(
    work: Work, networks: dict[str, Network], endpoints: Sequence[Endpoint], going: frozenset[str]
) -> list[HostsDel]:
    """Takes the names of endpoints out of all hosts files but those of containers that go too."""
    lines: dict[str, list[str]] = {}
    for name in networks:
        gone = [str(c.address) for e in endpoints if e.network == name for c in e.addresses]
        own = [work.own_hosts_file(c) for c in work.store.own_hosts(name) if c not in going]
        for path in (work.hosts_file(name), *own):
            lines.setdefault(path, []).extend(gone)
    return [HostsDel(path, tuple(addresses)) for path, addresses in lines.items()]


def _own_files(work: Work, found: Sequence[Sandbox]) -> list[HostsFileDel]:
    paths = [(work.own_hosts_file(s.name), s) for s in found]
    return [
        HostsFileDel(path) for path, s in paths if s.mode in ("", "none") and work.hosts_of(s.name) == path
    ]


def _names(found: Sequence[Sandbox]) -> list[Op]:
    from weft.core.ops.netns import EtcNetnsDel, NetnsDel

    named = [s.name for s in found if s.mode != "host"]
    return [op for name in named for op in (NetnsDel(name), EtcNetnsDel(name))]


def let_go(work: Work, endpoints: Sequence[Endpoint]) -> list[Op]:
    """The ports go first. The proxy ends with the last that covers loopback, and its element too."""
    dels: list[Op] = [LoopbackDel(*p.key) for e in endpoints for p in e.publish]
    if not dels or not work.store.needs_proxy():
        return []
    if work.store.proxied().difference([(e.container, e.network) for e in endpoints]):
        return dels
    return [*dels, *proxy.stop(work)]


#: Milliseconds before a command is started again: twice as long each time, but for one that ran so long.
FIRST_PAUSE, LONGEST_PAUSE = 100, 60_000
_WELL = 10_000_000_000  # nanoseconds


def finish(work: Work, name: str, pid: int | None, code: int) -> int | None:
    """A container's command has ended: frees its address and ports; removes it when it was to be.

    Called by whoever waited for it. Does nothing when the container has been removed meanwhile. Where it is
    to be started again all stays, and the answer is after how many milliseconds.
    """
    with work.machine.lock():
        work.recover()
        if not work.store.has_container(name):
            return None
        sandbox, state = work.store.container(name)
        if state.pid != pid:
            return None
        if pid is None and not work.machine.is_me(state.watcher, state.watcher_started):
            return None
        if code == LOST:
            _note_oom(work, sandbox)
        pause = _once_more(work, sandbox, state, code)
        if pause is None:
            _finish(work, sandbox, code)
        return pause


def _note_oom(work: Work, sandbox: Sandbox) -> None:
    """Tells of a command that was killed because its container had reached its limit of memory."""
    usage = work.machine.group_usage(sandbox.cgroup)
    if usage is None or not usage.oom_kills or work.store.life(sandbox.name).stopped:
        return
    with work.store.write():
        events.note(work, "oom", [sandbox])
    work.say(f"container {sandbox.name} was killed by the kernel: it had reached its limit of memory")


def _once_more(work: Work, sandbox: Sandbox, state: State, code: int) -> int | None:
    """Notes that a command is to be started again, by its monitor; None when it is not."""
    life, now = work.store.life(sandbox.name), work.machine.now_ns()
    if life.stopped or state.watcher is None or not life.policy.again(code, life.restarts):
        return None
    short = life.backoff and now - life.started_at < _WELL
    pause = min(2 * life.backoff, LONGEST_PAUSE) if short else FIRST_PAUSE
    waits = State("restarting", None, None, code, state.watcher, state.watcher_started)
    with work.store.write():
        work.store.set_state(sandbox.name, waits)
        work.store.set_life(
            sandbox.name, life._replace(restarts=life.restarts + 1, backoff=pause, finished_at=now)
        )
        if state.pid is not None:
            events.note(work, "die", [sandbox], exitCode=code)
    return pause


def _finish(work: Work, sandbox: Sandbox, code: int) -> None:
    work.machine.remove_door(sandbox.name)
    if work.store.joiners(sandbox.name):
        # Its network namespace is others' too, and outlives its process: it stays until they are gone.
        with work.store.write():
            _note_end(work, sandbox, code)
        return
    gone = [sandbox, *_widowed(work, [sandbox])] if sandbox.auto_remove else [sandbox]
    plan = detach_plan(work, gone)

    def wish() -> None:
        proxy.forget(work, plan)
        endpoints = work.store.endpoints_of(sandbox.name)
        _note_end(work, sandbox, code, endpoints)
        if sandbox.auto_remove:
            note_gone(work, gone)
        else:
            events.note_members(work, "disconnect", endpoints)

    subject = "\n".join([s.name for s in gone])
    work.unmake(CONTAINER if sandbox.auto_remove else DETACH, subject, plan, wish)


def _note_end(work: Work, sandbox: Sandbox, code: int, kept: tuple[Endpoint, ...] = ()) -> None:
    """Puts on record that a command has ended, and what it gets back when it is started again."""
    state = work.store.container(sandbox.name)[1]
    life = work.store.life(sandbox.name)
    if state.word != "restarting":
        events.note(work, "die", [sandbox], exitCode=code)
    if sandbox.auto_remove and kept:
        return
    work.store.set_state(sandbox.name, State("exited", exit_code=code))
    work.store.set_life(sandbox.name, life._replace(finished_at=work.machine.now_ns(), kept=kept))


def recorded(work: Work, name: str, pid: int) -> bool:
    """Whether a container has this process on record, once what crashed commands left is ended."""
    with work.machine.lock():
        work.recover()
        return work.store.has_container(name) and work.store.container(name)[1].pid == pid


#: What a container's exit code is when whoever waited for it was killed with it.
LOST = 137


def lost(work: Work, sandbox: Sandbox, code: int = LOST) -> None:
    """A container whose process went without anybody to tell. The lock is held."""
    _finish(work, sandbox, code)


def bury(work: Work, sandbox: Sandbox, state: State) -> None:
    """Ends what a process left that died together with its monitor. The lock is held."""
    if state.word == "restarting":
        work.say(f"the monitor of container {sandbox.name} was killed: it is not started again")
        _finish(work, sandbox, LOST if state.exit_code is None else state.exit_code)
    else:
        work.say(f"container {sandbox.name} and its monitor were killed: cleaning up")
        _finish(work, sandbox, LOST)
