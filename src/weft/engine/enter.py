"""Entering a container that exists: where a further command goes."""

from __future__ import annotations

from weft.core.model.errors import Conflict
from weft.core.model.launch import Launch
from weft.core.record import Record
from weft.engine.removal import reap
from weft.engine.spec import asked, complete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.oci import Process
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
        from shlex import join

        env = join([f"{k}={v}" for k, v in self.launch.env])
        spaces = "--net --mount --uts --ipc"
        return f"nsenter --target={self.pid} {spaces} env -i {env} {join(self.launch.argv)}"


def enter(work: Work, name: str, process: Process) -> Entrance:
    """The way into a container for a further command; NotFound, Conflict when it has exited."""
    with work.machine.lock():
        work.recover()
        reap(work)
        sandbox, state = work.store.container(name)
        hosts = work.hosts_of(sandbox.name)
        spec = work.store.spec(sandbox.name) or asked(())
    if state.word == "exited":
        raise Conflict(f"container {sandbox.name} has exited", "start another with `weft run`")
    if state.word == "paused":
        raise Conflict(f"container {sandbox.name} is paused", f"`weft unpause {sandbox.name}` lets it go on")
    inside = complete(spec._replace(process=process), sandbox, hosts)
    return Entrance(Launch(inside, sandbox.name), state.pid, state.started)
