"""Entering what exists, a container or any namespaces: where a further command goes."""

from __future__ import annotations

from weft.core.model.enter import Way
from weft.core.model.errors import BadInput, Conflict, NotFound
from weft.core.model.launch import Launch
from weft.core.model.namespace import TYPES
from weft.core.ops.netns import ETC_NETNS
from weft.core.record import Record
from weft.engine.removal import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.target import Target
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


def enter(work: Work, name: str, launch: Launch) -> Entrance:
    """The way into a container; NotFound, Conflict when it has exited. The launch gets its view."""
    with work.machine.lock():
        work.recover()
        reap(work)
        sandbox, state = work.store.container(name)
        endpoint = work.store.endpoint(sandbox.name)
    if endpoint is None or state.word == "exited":
        raise Conflict(f"container {sandbox.name} has exited", "start another with `weft run`")
    view = launch._replace(
        netns=sandbox.name,
        hostname=sandbox.hostname,
        hosts=work.hosts_file(endpoint.network),
        resolv=f"{ETC_NETNS}/{sandbox.name}/resolv.conf",
    )
    return Entrance(view, state.pid, state.started)


def way_in(work: Work, target: Target, types: tuple[str, ...] = ()) -> Way:
    """The way into a target's namespaces: ``types`` of them, or all that it has of its own.

    NotFound, BadInput for a path of another type, Conflict for a container that has exited.
    """
    shown = str(target)
    if target.kind == "host":
        return Way(shown)
    if target.kind == "path":
        kind = work.machine.type_of(target.value)
        if types not in ((), TYPES, (kind,)):
            raise BadInput(f"{shown!a} is a {kind} namespace, not {', '.join(types)}")
        return Way(shown, ((kind, target.value),))
    wanted = types if types != TYPES else ()
    if target.kind == "pid":
        return Way(shown, pid=int(target.value), types=wanted)
    if target.kind == "weft" or (target.kind == "name" and work.store.has_container(target.value)):
        return _into_container(work, target, wanted)
    if target.kind in ("name", "netns"):
        return named(work, target.value, wanted)
    pid = work.machine.container_pid(target.kind, target.value)
    return Way(shown, pid=pid, started=work.machine.started(pid), types=wanted)


def _into_container(work: Work, target: Target, types: tuple[str, ...]) -> Way:
    reap(work)
    sandbox, state = work.store.container(target.value)
    if state.word == "exited":
        raise Conflict(f"container {sandbox.name} has exited", "start another with `weft run`")
    if state.pid is None:
        return named(work, sandbox.name, types)
    return Way(str(target), pid=state.pid, started=state.started or 0, types=types)


def named(work: Work, name: str, types: tuple[str, ...] = ()) -> Way:
    """The way to what has a name: the network namespace is seen as ``ip netns exec`` shows it, unless only that
    is asked for, or the name has a mount namespace too. NotFound."""
    found = dict(work.machine.named(name))
    if not found:
        raise NotFound(f"no network namespace {name!a} under /run/netns", "`weft ns ls` lists what there is")
    view = "net" in found and "mnt" not in found and (not types or {"net", "mnt"} <= set(types))
    missing = [t for t in types if t not in found and not (view and t == "mnt")]
    if missing:
        raise NotFound(f"{name!a} names no namespace of type {', '.join(missing)}", f"it names {', '.join(found)}")
    files = tuple([pair for pair in found.items() if not types or pair[0] in types])
    return Way(name, files, view=name if view else "")


def everywhere(work: Work, types: tuple[str, ...] = ()) -> list[Way]:
    """The ways to all names under /run/netns."""
    return [named(work, name, types) for name in work.machine.netns_names()]
