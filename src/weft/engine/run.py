"""A command in a container: attached, started, recorded."""

from __future__ import annotations

from weft.core.model.errors import WeftError
from weft.core.model.launch import Launch
from weft.core.model.state import State
from weft.core.record import Record
from weft.engine import container
from weft.engine.network import drop_default
from weft.engine.spec import asked, complete, opened, resolve
from weft.engine.work import CONTAINER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.boundary import Process
    from weft.engine.container import Attached
    from weft.engine.request import RunRequest
    from weft.engine.work import Work


def monitored(request: RunRequest, detach: bool) -> bool:
    """Whether a command needs a monitor beside it: nobody waits for it, or it has more than an end."""
    terminal = request.spec is not None and request.spec.process.terminal
    return detach or terminal or request.policy.restarts or request.policy.health is not None


def run(
    work: Work,
    request: RunRequest,
    detach: bool = False,
    size: tuple[int, int] = (0, 0),
    ready: Callable[[], None] = lambda: None,
) -> tuple[Attached, Launch, Process | None]:
    """Attaches a container and starts its command; nothing is left when the command cannot start.

    ``ready`` is called when all is there and the command has not begun; ``size`` is that of its terminal.
    In a dry run nothing is started. CommandNotFound, CommandNotExecutable, and what ``attach`` raises.
    """
    spec = request.spec or asked(request.command)
    resolved = resolve(work, spec)
    request = request._replace(spec=spec)
    if "user" in spec.fresh() and not request.mode:
        request = request._replace(sysctls=opened(request.sysctls))
    work.machine.find_command(Launch(resolved, request.name))
    found = container.attach(work, request)
    log = work.log_file(request.name) if monitored(request, detach) else ""
    launch = Launch(complete(resolved, found.sandbox, found.hosts), request.name, log, request.policy, size)
    if work.dry:
        return found, launch, None

    def settle(state: State) -> None:
        container.settle(work, found, state, request)

    start = Start(found, launch, CONTAINER, work.machine.start, settle, ready)
    return found, launch, bring_up(work, start)


class Start(Record):
    """A command to be started in a container that stands: by what, and how that goes on record.

    ``verb`` is the journal entry's.
    """

    found: Attached
    launch: Launch
    verb: str
    make: Callable[[Launch], Process]
    settle: Callable[[State], None]
    ready: Callable[[], None] = lambda: None


def bring_up(work: Work, start: Start) -> Process:
    """Starts the command and puts it on record; when that fails what was attached for it is taken back."""
    found, child = start.found, None
    try:
        child = start.make(start.launch)
        for network, endpoint in found.members:
            if network.bridged and not work.machine.wait_port(endpoint.host_ifname):
                work.say(f"warning: the bridge port {endpoint.host_ifname} does not forward after 5 s")
        with work.machine.lock():  # for a moment this program is inside, where a removal kills everybody
            if not work.holds(found.entry):
                raise container.removed(found)
            for network, endpoint in found.members:
                if network.driver != "ipvlan":  # its MAC is the host's, which the neighbours know
                    work.machine.announce(endpoint)
        child.prepared(start.launch.argv[0])
        start.ready()
        child.go(start.launch.argv[0])
        start.settle(
            State(
                "running",
                child.pid,
                child.started,
                watcher=child.watcher,
                watcher_started=child.watcher_started,
            )
        )
        child.settled()
    except (WeftError, OSError, KeyboardInterrupt):
        if child is not None:
            child.cancel()
        with work.machine.lock():
            there = work.undo(found.entry, start.verb, found.sandbox.name, found.plan)
            if found.first:
                drop_default(work)
        if not there:
            raise container.removed(found) from None
        raise
    return child
