"""Networks and members that other engines ask for: what the doors for Podman, CNI, Docker and the hook share.

An engine's network is weft's network of that name, whoever made it: so containers of all engines can be in
one.
"""

from __future__ import annotations

from weft.core.model.errors import BadInput, Conflict, WeftError
from weft.core.model.network import ENGINE
from weft.engine import connect
from weft.engine.target import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Protocol

    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.core.model.publish import Publish
    from weft.engine.connect import Called
    from weft.engine.network import Checked, NetworkRequest
    from weft.engine.request import Join
    from weft.engine.work import Work

    class Wanted(Protocol):
        """What is asked of a network, as far as it can be seen of one that is there."""

        @property
        def name(self) -> str: ...
        @property
        def bridge(self) -> str: ...
        @property
        def subnets(self) -> tuple[str, ...]: ...
        @property
        def gateways(self) -> tuple[str, ...]: ...
        @property
        def internal(self) -> bool: ...
        @property
        def options(self) -> tuple[tuple[str, str], ...]: ...

    #: A network to be in, and what is published there.
    Wish = tuple[Join, tuple[Publish, ...]]

#: That of one that Docker asked for, with its id: Docker itself tells when it goes.
DOCKER = "docker.network"
#: Where what is known of Docker's networks is kept, by id.
DOCKER_NETWORKS = "docker/network/"


def ensure(work: Work, request: NetworkRequest, engine: str) -> Network:
    """The network of that name: as it is, where it agrees with what the engine says, else made for it.

    One that an engine made, that nobody is in and that is different by now is made anew. BadInput; Conflict
    when it does not agree, or a subnet or bridge is somebody else's.
    """
    from weft.engine import network

    checked = network.check(request._replace(labels=(*request.labels, (ENGINE, engine))))
    with work.machine.lock():
        work.recover()
        found = work.store.find_network(request.name)
        if found is not None:
            wrong = disagreement(found, checked)
            if not wrong:
                return found
            if work.store.count_endpoints(found.name) or ENGINE not in dict(found.labels):
                raise Conflict(
                    f"network {found.name} exists and {wrong}", "networks of one name are one network"
                )
            network.drop(work, found)
        return network.make(work, checked)


def stands(work: Work, request: Wanted) -> bool:
    """Whether ``ensure`` would only find what is there: a look without the lock, and without all that makes a
    network. Subnets and gateways are as the network's own words are, one gateway a subnet."""
    found = work.store.find_network(request.name)
    if found is None or _elsewhere(found, request):
        return False
    pools = {(str(p.subnet), str(p.gateway)) for p in found.pools}
    wanted = set(zip(request.subnets, request.gateways, strict=True))
    return pools == wanted and request.internal == found.internal


def disagreement(found: Network, checked: Checked) -> str:
    """In what a network is not what is asked for; "" when it is."""
    request, asked = checked.request, checked.asked
    has = {p.subnet: p.gateway for p in found.pools}
    other = next((s for s in asked.subnets if s not in has), None)
    if other is not None:
        return f"has the subnet {', '.join(map(str, has))}, not {other}"
    gateway = next((g for g in asked.gateways if g not in has.values()), None)
    if gateway is not None:
        return f"has the gateway {', '.join(map(str, has.values()))}, not {gateway}"
    if _elsewhere(found, request):
        return f"is on the bridge {found.bridge}, not {request.bridge}"
    if request.internal != found.internal:
        return f"is {'' if found.internal else 'not '}internal"
    for key, value in request.options:
        if key in ("vlan", "vrf") and found.option(key) != value:
            return f"is in the {key} {found.option(key) or 'none'}, not {value}"
    return ""


def _elsewhere(found: Network, request: Wanted) -> bool:
    """Whether a network is not on the bridge that an engine has for it. Podman makes a name up for each, so
    for one that the user made it means nothing; but a bridge to be used as it is is meant."""
    theirs = ENGINE in dict(found.labels) or dict(request.options).get("unmanaged") == "true"
    return theirs and bool(request.bridge) and request.bridge != found.bridge


def attach(work: Work, target: str, called: Called, wishes: Sequence[Wish]) -> tuple[Endpoint, ...]:
    """Connects a namespace to these networks, all or none. An earlier one of that name, whose end nobody
    told, is forgotten.

    NotFound when a network or the namespace is missing; Conflict when another one of that name still lives,
    or what it asks for is taken; BadInput, Exhausted.
    """
    if work.store.has_container(called.name):
        make_room(work, called.name, target)
    made: list[Endpoint] = []
    try:
        for join, publish in wishes:
            made.append(connect.connect(work, target, join, publish, called))
        for endpoint in made if not work.dry else ():
            connect.introduce(work, endpoint)
    except BaseException:
        _take_back(work, called.name, made)
        raise
    return tuple(made)


def make_room(work: Work, name: str, target: str) -> None:
    """Forgets an earlier container of that name whose end nobody told. Conflict when it still runs."""
    with work.machine.lock():
        work.recover()
        if not work.store.has_container(name):
            return
        sandbox, _ = work.store.container(name)
        now = find(work, target)
        try:
            if now is not None and now.inode == sandbox.inode:
                return
            if lives(work, sandbox):
                raise Conflict(
                    f"another container {name} is connected, and runs", "ids of one runtime must differ"
                )
            for error in leave(work, sandbox):
                work.say(f"warning: {error}")
        finally:
            work.machine.unpin()


def lives(work: Work, sandbox: Sandbox) -> bool:
    """Whether the namespace that was connected is there still."""
    found = find(work, sandbox.target)
    return found is not None and found.inode == sandbox.inode


def detach(work: Work, name: str, networks: Collection[str] = (), keep: bool = False) -> bool:
    """Takes a namespace out of these networks, or of all, whether it is there still or not; whether it was in
    one.

    Networks that an engine made go with their last member, unless ``keep``. What fails is told, the rest
    done, and the first error raised at the end.
    """
    with work.machine.lock():
        work.recover()
        if not work.store.has_container(name):
            return False
        sandbox, _ = work.store.container(name)
        if not sandbox.target:
            raise BadInput(f"container {name} is weft's own", f"`weft rm {name}` removes it")
        try:
            was = [n.name for n, _ in connect.members_of(work, name) if not networks or n.name in networks]
            errors = leave(work, sandbox, was)
            errors += [] if keep else _drop_empty(work, was)
        finally:
            work.machine.unpin()
        for error in errors[1:]:
            work.say(f"warning: {error}")
        if errors:
            raise errors[0]
        return bool(was)


def open_loopback(work: Work, target: str) -> None:
    """Sets ``lo`` up in a namespace of somebody else's. NotFound."""
    from weft.core.ops.link import LinkUp
    from weft.core.plan.plan import Plan

    with work.machine.lock():
        found = find(work, target)
        if found is not None:
            work.machine.apply(Plan((LinkUp("lo", found.netns),)), work.step)
        work.machine.unpin()


def set_option(work: Work, name: str, key: str, value: str) -> None:
    """Sets an option of a network of which nothing in the kernel depends; "" takes it out. NotFound."""
    with work.machine.lock():
        work.recover()
        found = work.store.network(name)
        rest = [pair for pair in found.options if pair[0] != key]
        with work.store.write():
            work.store.set_options(name, (*rest, *([(key, value)] if value else [])))


def tidy(work: Work, names: Sequence[str]) -> None:
    """Removes those of these networks that an engine made and nobody is in. The first error is raised at the
    end."""
    with work.machine.lock():
        work.recover()
        errors = _drop_empty(work, names)
    if errors:
        raise errors[0]


def leave(work: Work, sandbox: Sandbox, networks: Collection[str] | None = None) -> list[WeftError]:
    """Out of these networks, or of all. The lock is held."""
    errors = []
    for found, _ in connect.members_of(work, sandbox.name):
        try:
            if networks is None or found.name in networks:
                connect.disconnect_locked(work, found, sandbox)
        except WeftError as error:
            errors.append(error)
    return errors


def _drop_empty(work: Work, names: Sequence[str]) -> list[WeftError]:
    errors: list[WeftError] = []
    gone = [n for n in map(work.store.find_network, names) if n is not None and unused(work, n)]
    if not gone:
        return errors
    from weft.engine import network

    for found in gone:
        try:
            network.drop(work, found)
        except WeftError as error:
            errors.append(error)
    return errors


def unused(work: Work, found: Network) -> bool:
    """Whether an engine made a network that nobody is in."""
    labels = dict(found.labels)
    if DOCKER in labels and work.store.get(DOCKER_NETWORKS + labels[DOCKER]):
        return False
    return ENGINE in labels and not work.store.count_endpoints(found.name)


def _take_back(work: Work, name: str, made: Sequence[Endpoint]) -> None:
    with work.machine.lock():
        for endpoint in made:
            if work.store.endpoint(name, endpoint.network) is not None:
                found, sandbox = work.store.network(endpoint.network), work.store.container(name)[0]
                connect.disconnect_locked(work, found, sandbox)
        work.machine.unpin()
