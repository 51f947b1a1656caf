"""Containers stopped, killed, waited for, renamed."""

from __future__ import annotations

from weft.core.model.errors import BadInput, Conflict, KernelError, NotFound
from weft.core.model.names import check_name
from weft.core.model.policy import signal_name
from weft.core.ops.file import FileMove
from weft.core.ops.process import Signal
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine import again, events
from weft.engine.pause import let_go
from weft.engine.reaping import reap
from weft.engine.removal import lost
from weft.engine.work import RENAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weft.core.model.network import Sandbox
    from weft.core.model.state import Life, State
    from weft.engine.work import Work

SIGKILL = 9
#: Seconds that a monitor has to put an end on record, and then that a killed one's command has to go.
_RECORDING = 10.0


class Living(Record):
    """A container as it was when it was looked at."""

    sandbox: Sandbox
    state: State
    life: Life

    @property
    def process(self) -> tuple[int, int]:
        """Its command, or init."""
        return self.state.pid or 0, self.state.started or 0

    @property
    def watcher(self) -> tuple[int, int]:
        """Who waits for that."""
        return self.state.watcher or 0, self.state.watcher_started or 0


def _look(work: Work, names: Sequence[str]) -> list[Living]:
    """The containers of these names; the lock is held. NotFound."""
    work.recover()
    reap(work)
    found = [work.store.container(name) for name in dict.fromkeys(names)]
    return [Living(s, state, work.store.life(s.name)) for s, state in found]


def living(work: Work, name: str) -> Living:
    """A container as it is now. NotFound."""
    with work.machine.lock():
        return _look(work, [name])[0]


def note_health(work: Work, name: str, pid: int, status: str, failures: int, said: str) -> None:
    """Puts a container's health on record, while it is still that process."""
    with work.machine.lock():
        work.recover()
        if not work.store.has_container(name):
            return
        sandbox, state = work.store.container(name)
        if state.pid != pid:
            return
        life = work.store.life(name)
        with work.store.write():
            work.store.set_life(name, life._replace(health=status, failures=failures, said=said))
            events.note(work, "health_status", [sandbox], health_status=status)


def _signal(work: Work, one: Living, number: int, stopped: bool) -> None:
    """Sends a signal to a container's first process, and puts down that; the lock is held.

    In this order: who is killed in between has sent a signal, and nothing else is changed. Whoever waits for
    the command cannot put its end on record before we let the lock go.
    """
    if work.step is not None:
        work.step(Signal(one.process[0], number, signal_name(number)))
    if work.dry:
        return
    work.machine.signal(*one.process, number)
    if one.state.word == "paused" and (stopped or number == SIGKILL):
        # What is frozen takes no signal; under version 1 of cgroups not even SIGKILL.
        let_go(work, [(one.sandbox, one.state)])
    with work.store.write():
        if stopped:
            work.store.set_life(one.sandbox.name, one.life._replace(stopped=True))
        events.note(work, "kill", [one.sandbox], signal=number)


def stop(work: Work, names: Sequence[str], seconds: int | None = None) -> list[str]:
    """Asks containers to end, all at once, and kills those that have not after ``seconds`` (None: as each
    was told; -1: never). Their names; those that had exited already are fine. NotFound; KernelError when a
    monitor does not put an end on record.
    """
    with work.machine.lock():
        found = _look(work, names)
        for one in found:
            if one.state.word == "restarting":
                _stop_waiting(work, one)
            elif one.state.pid is not None:
                _signal(work, one, one.life.policy.stop_signal, stopped=True)
            elif one.state.word != "exited" and not work.dry:
                _stop_empty(work, one)
    running = [one for one in found if one.state.pid is not None]
    if not work.dry:
        _await_stop(work, running, seconds)
        _await_record(work, running)
        with work.store.write():
            events.note(work, "stop", [o.sandbox for o in found if o.state.word != "exited"])
    return [one.sandbox.name for one in found]


def _stop_waiting(work: Work, one: Living) -> None:
    """One that was about to be started again: it has exited, as it did the last time."""
    if work.dry:
        return
    with work.store.write():
        work.store.set_life(one.sandbox.name, one.life._replace(stopped=True))
    code = one.state.exit_code
    lost(work, one.sandbox, 137 if code is None else code)
    work.machine.signal(*one.watcher, SIGKILL)


def _stop_empty(work: Work, one: Living) -> None:
    """A container without a process: what holds it goes."""
    inside = work.inside([one.sandbox.name])
    if inside:
        work.end_inside([one.sandbox.name])
    lost(work, one.sandbox, 0)


def _await_stop(work: Work, running: Sequence[Living], seconds: int | None) -> None:
    """Each has its own time."""
    times = {one: one.life.policy.stop_timeout if seconds is None else seconds for one in running}
    passed = 0
    for limit in sorted({t for t in times.values() if t >= 0}):
        late = [one for one in running if times[one] >= limit or times[one] < 0]
        left = work.machine.wait_ended([one.process for one in late], limit - passed)
        passed = limit
        doomed = [one for one in late if times[one] == limit and one.process in left]
        with work.machine.lock():
            for one in doomed:
                _signal(work, one, SIGKILL, stopped=True)
    work.machine.wait_ended([one.process for one in running if times[one] < 0], None)


def _await_record(work: Work, ended: Sequence[Living]) -> None:
    """Until those who waited for these have put their ends on record. A monitor that somebody stopped goes
    on; what one that does not answer has not put down is mended."""
    left = work.machine.wait_ended([one.watcher for one in ended], 1.0)
    for watcher in left:
        work.machine.wake(*watcher)
    left = work.machine.wait_ended(left, _RECORDING)
    for watcher in left:
        name = next(one.sandbox.name for one in ended if one.watcher == watcher)
        work.say(f"the monitor of container {name} (pid {watcher[0]}) does not answer: killing it")
        work.machine.signal(*watcher, SIGKILL)
    still = work.machine.wait_ended([*left, *[one.process for one in ended]], _RECORDING)
    if still:
        raise KernelError(f"process {still[0][0]} does not end though it was killed")
    with work.machine.lock():
        work.recover()
        reap(work)


def kill(work: Work, names: Sequence[str], number: int) -> list[str]:
    """Sends a signal to the first process of each; waits for the end where that is certain (SIGKILL).

    NotFound; Conflict when one has no process.
    """
    with work.machine.lock():
        found = _look(work, names)
        for one in found:
            _check_process(one)
        for one in found:
            ends = number in (SIGKILL, one.life.policy.stop_signal)
            _signal(work, one, number, stopped=ends)
    if number == SIGKILL and not work.dry:
        work.machine.wait_ended([one.process for one in found], _RECORDING)
        _await_record(work, found)
    return [one.sandbox.name for one in found]


def _check_process(one: Living) -> None:
    name, word = one.sandbox.name, one.state.word
    if one.state.pid is not None:
        return
    if word in ("exited", "restarting"):
        raise Conflict(
            f"container {name} {'has exited' if word == 'exited' else 'is about to be started again'}"
        )
    raise Conflict(f"container {name} has no process", "`weft stop` ends it")


def wait(work: Work, names: Sequence[str]) -> Iterator[int]:
    """The exit codes of containers, in order, each as soon as it is there. NotFound; Conflict for one without
    a process."""
    with work.machine.lock():
        found = _look(work, names)
    for one in found:
        if one.state.pid is None and one.state.word not in ("exited", "restarting"):
            _check_process(one)
    for one in found:
        yield _await_code(work, one)


def _await_code(work: Work, one: Living) -> int:
    name = one.sandbox.name
    while one.state.word != "exited":
        work.machine.wait_ended([one.watcher], None)
        work.machine.wait_ended([one.process], None)  # where it outlives who waited for it
        try:
            with work.machine.lock():
                (now,) = _look(work, [name])
        except NotFound:
            return _told(work, one)
        if now.sandbox.created != one.sandbox.created or now.life.started_at < one.life.started_at:
            return _told(work, one)  # another one has its name by now
        if now.state.word != "exited" and now.watcher != one.watcher:
            return _told(work, one)  # it was started once more by hand
        one = now
    return one.state.exit_code or 0


def _told(work: Work, one: Living) -> int:
    """The exit code of one that was removed when it ended, from what happened."""
    deaths = [e for e in work.store.events() if e.name == one.sandbox.name and e.action == "die"]
    code = next((dict(e.attributes)["exitCode"] for e in deaths if e.time >= one.life.started_at), "")
    if not code:
        raise NotFound(f"container {one.sandbox.name} has been removed")
    return int(code)


def restart(work: Work, names: Sequence[str], seconds: int | None = None) -> list[str]:
    """Stops containers, all at once, and starts them again: also those that are removed when they end."""
    with work.machine.lock():
        fleeting = [one.sandbox.name for one in _look(work, names) if one.sandbox.auto_remove]
        _keep(work, fleeting, True)
    try:
        found = stop(work, names, seconds)
    finally:
        with work.machine.lock():
            _keep(work, fleeting, False)
    return found if work.dry else again.start_all(work, found)


def _keep(work: Work, names: Sequence[str], stay: bool) -> None:
    if names and not work.dry:
        with work.store.write():
            for name in names:
                work.store.set_auto_remove(name, not stay)


def rename(work: Work, name: str, new: str) -> str:
    """Gives a container that has exited another name; the new name.

    NotFound, BadInput; Conflict when the name is taken, or the container runs: its network namespace, its
    cables with their MACs, its hosts files and its cgroup carry the name, and processes have them open.
    """
    check_name(new, "container")
    with work.machine.lock():
        (one,) = _look(work, [name])
        old = one.sandbox.name
        if work.store.has_container(new):
            raise Conflict(f"container {new} exists already")
        if one.state.word != "exited":
            raise Conflict(
                f"container {old} is {one.state.word}: its namespace, cables and files carry its name",
                f"`weft stop {old}` first, and `weft start {new}` after",
            )
        joiners = work.store.joiners(old)
        if joiners:
            raise Conflict(f"container {old} lends its network to {', '.join(joiners[:5])}")
        if work.netns_inode(new):
            raise Conflict(f"a network namespace {new} exists under /run/netns")
        plan = Plan((FileMove(work.log_file(old), work.log_file(new)),))
        if work.dry:
            work.show(plan)
            return new
        entry = work.make(RENAME, f"{old}\n{new}", plan, lambda: work.store.rename_container(old, new))
        renamed = one.sandbox._replace(name=new)
        work.settle(entry, lambda: events.note(work, "rename", [renamed], oldName=old))
    return new


def parse_seconds(text: str) -> int | None:
    """``-t`` of stop and restart; None when it is not given."""
    from weft.core.model.policy import parse_stop_timeout

    if not text:
        return None
    try:
        return parse_stop_timeout(text)
    except BadInput:
        raise BadInput(
            f"--time {text!a} is not a number of seconds", "-1 waits as long as it takes"
        ) from None
