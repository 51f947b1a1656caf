"""A command in a container: attached, started, recorded."""

from __future__ import annotations

from weft.core.model.errors import WeftError
from weft.core.model.launch import Launch
from weft.core.model.state import State
from weft.core.ops.netns import ETC_NETNS
from weft.engine import container
from weft.engine.network import drop_default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.boundary import Process
    from weft.engine.container import Attached
    from weft.engine.request import RunRequest
    from weft.engine.work import Work


def launch_of(
    work: Work, found: Attached, env: tuple[tuple[str, str], ...], cwd: str, detach: bool
) -> Launch:
    """The command with the view it gets of names and network."""
    name, host = found.sandbox.name, found.sandbox.mode == "host"
    return Launch(
        netns="" if host else name,
        hostname=found.sandbox.hostname,
        hosts="" if host else found.hosts,
        resolv="" if host else f"{ETC_NETNS}/{name}/resolv.conf",
        argv=found.sandbox.command,
        env=env,
        cwd=cwd,
        log=work.log_file(name) if detach else "",
        name=name,
    )


def run(
    work: Work,
    request: RunRequest,
    env: tuple[tuple[str, str], ...],
    cwd: str,
    detach: bool,
) -> tuple[Attached, Launch, Process | None]:
    """Attaches a container and starts its command; nothing is left when the command cannot start.

    In a dry run nothing is started. CommandNotFound, CommandNotExecutable, and what ``attach`` raises.
    """
    probe = Launch(request.name, "", "", "", request.command, env, cwd)
    work.machine.find_command(probe)
    found = container.attach(work, request)
    launch = launch_of(work, found, env, cwd, detach)
    if work.dry:
        return found, launch, None
    return found, launch, _start(work, found, launch)


def _start(work: Work, found: Attached, launch: Launch) -> Process:
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
        container.settle(work, found, state)
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
