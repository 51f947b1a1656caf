"""Containers of other runtimes in weft's networks: what an OCI hook does (docs/oci.md)."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.names import check_hostname
from weft.core.model.publish import parse_publish
from weft.core.record import Record
from weft.engine import connect, foreign
from weft.engine.request import Join, check_join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.model.network import Endpoint
    from weft.core.model.publish import Publish
    from weft.core.oci.state import ContainerState
    from weft.engine.work import Work

#: Who runs hooks: what its containers are called in networks, ``runc:web``. The last is anybody else.
RUNTIMES = ("runc", "crun", "oci")
_PREFIX = "weft."
_KNOWN = ("network", "publish", "hostname")


class Wanted(Record):
    """What a container's annotations ask for."""

    joins: tuple[Join, ...] = ()
    publish: tuple[Publish, ...] = ()
    hostname: str = ""


def wanted(state: ContainerState, parse_join: Callable[[str], Join]) -> Wanted:
    """The annotations ``weft.*`` read; ``parse_join`` takes what ``weft run --network`` takes. BadInput."""
    notes = {k.removeprefix(_PREFIX): v for k, v in state.annotations or () if k.startswith(_PREFIX)}
    unknown = next((key for key in notes if key not in _KNOWN), None)
    if unknown is not None:
        raise BadInput(f"annotation weft.{unknown[:64]} is not known", f"known: {', '.join(_KNOWN)}")
    joins = tuple([parse_join(text) for text in networks(notes.get("network", ""))])
    for join in joins:
        check_join(join)
    names = [join.network for join in joins]
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise BadInput(f"annotation weft.network: {twice} is given twice")
    specs = notes.get("publish", "").replace(";", ",").split(",")
    publish = tuple([p for text in specs if text.strip() for p in parse_publish(text.strip())])
    if publish and not joins:
        raise BadInput("annotation weft.publish needs weft.network")
    hostname = notes.get("hostname", "")
    return Wanted(joins, publish, check_hostname(hostname) if hostname else "")


def networks(text: str) -> list[str]:
    """``NET;NET:ip=..,mac=..``; where no network has options, commas are as good."""
    words = []
    for part in text.split(";"):
        words += [part] if ":" in part else part.split(",")
    return [word.strip() for word in words if word.strip()]


def attach(
    work: Work, runtime: str, state: ContainerState, wish: Wanted, waits: bool = False
) -> tuple[Endpoint, ...]:
    """Connects the container to its networks, all or none; those that it is in already stay as they are.

    ``waits``: the runtime waits for all that its hooks leave running. NotFound when there is no such network,
    or its process has ended; Conflict, BadInput, Exhausted.
    """
    if waits and any(p.covers_loopback for p in wish.publish) and not work.machine.proxy_alive():
        raise BadInput(
            "`crun run` would wait for the proxy of the published ports, and not see its container's end",
            "use `crun run --detach`, or `crun create` and `crun start`",
        )
    if not state.pid:
        raise BadInput("the container's state has no pid", "weft's hook is for createRuntime and poststop")
    name = f"{runtime}:{state.id}"
    called = connect.Called(name, wish.hostname or _as_hostname(state.id))
    foreign.make_room(work, name, str(state.pid))
    wishes = [w for w in _with_ports(work, wish) if work.store.endpoint(name, w[0].network) is None]
    return foreign.attach(work, str(state.pid), called, wishes)


def _with_ports(work: Work, wish: Wanted) -> list[tuple[Join, tuple[Publish, ...]]]:
    """Ports belong to the first network that has a way out."""
    inner = [work.store.network(join.network).internal for join in wish.joins]
    place = inner.index(False) if False in inner else 0
    return [(join, wish.publish if i == place else ()) for i, join in enumerate(wish.joins)]


def _as_hostname(id: str) -> str:
    try:
        return check_hostname(id.lower())
    except BadInput:
        return ""


def detach(work: Work, state: ContainerState) -> list[str]:
    """Takes a container that has ended out of its networks; what it was called. Nothing when it was in none.

    One of that name that still runs is another one, of a runtime with another ``--root``: it stays.
    """
    gone = []
    with work.machine.lock():
        work.recover()
        for name in [f"{runtime}:{state.id}" for runtime in RUNTIMES]:
            if not work.store.has_container(name):
                continue
            sandbox, _ = work.store.container(name)
            try:
                if foreign.lives(work, sandbox):
                    work.say(f"warning: {name} runs still, and stays in its networks")
                else:
                    for error in foreign.leave(work, sandbox):
                        work.say(f"warning: {error}")
                    gone.append(name)
            finally:
                work.machine.unpin()
    return gone


def check_stage(state: ContainerState) -> bool:
    """Whether a container begins (else it has ended). BadInput for a stage that weft's hook is not for."""
    if state.status == "running":
        raise BadInput(
            "the container runs already: its command would have begun without a network",
            "weft's hook is for createRuntime and poststop",
        )
    return state.status != "stopped"
