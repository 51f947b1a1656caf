"""Entering a container that exists: where a further command goes."""

from __future__ import annotations

from weft.core.model import isolation
from weft.core.model.errors import Conflict
from weft.core.model.launch import Launch
from weft.core.model.oci import Spec, User
from weft.core.record import Record
from weft.engine.reaping import reap
from weft.engine.spec import asked, complete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.work import Work


class Entrance(Record):
    """How to get in: beside its process, or, where it has none, by its name with a view made anew."""

    launch: Launch
    pid: int | None = None
    started: int | None = None

    def shell(self) -> str:
        """The command line it equals."""
        if self.pid is None:
            return self.launch.shell()
        from weft.core.model.script import further

        return further(self.pid, self.launch.spec)


class Further(Record):
    """A further command for a container. ``env`` is the caller's with ``added``; ``cwd`` is "" unless it was
    given, ``here`` the caller's."""

    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    cwd: str = ""
    here: str = "/"
    user: str = ""
    privileged: bool = False
    terminal: bool = False

    def within(self, spec: Spec) -> Spec:
        """The container with this as its command: of the host's files it sees the caller's place in them."""
        base = spec.process
        env = dict(base.env) | dict(self.added) if spec.root else dict(self.env)
        process = base._replace(
            args=self.args,
            env=tuple(env.items()),
            cwd=self.cwd or (base.cwd if spec.root else self.here),
            user=User(name=self.user) if self.user else base.user,
            terminal=self.terminal,
        )
        if not self.privileged:
            return spec._replace(process=process)
        free = process._replace(capabilities=isolation.capabilities(("ALL",), ()), no_new_privileges=False)
        return spec._replace(process=free, filter="unconfined")


def enter(work: Work, name: str, more: Further) -> Entrance:
    """The way into a container for a further command; NotFound, Conflict when it has exited."""
    with work.machine.lock():
        work.recover()
        reap(work)
        sandbox, state = work.store.container(name)
        hosts = work.hosts_of(sandbox.name)
        spec = work.store.spec(sandbox.name) or asked(())
    if state.word == "exited":
        raise Conflict(f"container {sandbox.name} has exited", f"`weft start {sandbox.name}` starts it again")
    if state.word == "restarting":
        raise Conflict(f"container {sandbox.name} is about to be started again", "wait until it runs")
    if state.word == "paused":
        raise Conflict(f"container {sandbox.name} is paused", f"`weft unpause {sandbox.name}` lets it go on")
    inside = complete(more.within(spec), sandbox, hosts)
    return Entrance(Launch(inside, sandbox.name), state.pid, state.started)
