"""A command in a container: attached, started, recorded."""

from __future__ import annotations

from weft.core.model.errors import WeftError
from weft.core.model.launch import Launch
from weft.core.model.state import State
from weft.engine import container
from weft.engine.network import drop_default
from weft.engine.spec import asked, complete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.boundary import Process
    from weft.core.model.oci import Spec
    from weft.engine.container import Attached
    from weft.engine.request import RunRequest
    from weft.engine.work import Work


def run(work: Work, request: RunRequest, detach: bool = False) -> tuple[Attached, Launch, Process | None]:
    """Attaches a container and starts its command; nothing is left when the command cannot start.

    In a dry run nothing is started. CommandNotFound, CommandNotExecutable, and what ``attach`` raises.
    """
    spec = request.spec or asked(request.command)
    work.machine.find_command(Launch(spec, request.name))
    found = container.attach(work, request)
    log = work.log_file(request.name) if detach else ""
    launch = Launch(complete(spec, found.sandbox, found.hosts), request.name, log)
    if work.dry:
        return found, launch, None
    return found, launch, _start(work, found, launch, spec)


def _start(work: Work, found: Attached, launch: Launch, spec: Spec) -> Process:
    child: Process | None = None
    try:
        child = work.machine.start(launch)
        for _, endpoint in found.members:
            if not work.machine.wait_port(endpoint.host_ifname):
                work.say(f"warning: the bridge port {endpoint.host_ifname} does not forward after 5 s")
        with work.machine.lock():  # for a moment this program is inside, where a removal kills everybody
            if not work.holds(found.entry):
                raise container.removed(found)
            for _, endpoint in found.members:
                work.machine.announce(endpoint)
        child.go(launch.argv[0])
        state = State(
            "running", child.pid, child.started, watcher=child.watcher, watcher_started=child.watcher_started
        )
        container.settle(work, found, state, spec)
        child.settled()
    except (WeftError, OSError, KeyboardInterrupt):
        if child is not None:
            child.cancel()
        with work.machine.lock():
            there = work.undo(found.entry, "container", found.sandbox.name, found.plan)
            if found.first:
                drop_default(work)
        if not there:
            raise container.removed(found) from None
        raise
    return child
