"""A running container, or any namespace of any engine, connected to a network and disconnected from it."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.firewall.elements import endpoint_elements
from weft.core.model.errors import BadInput, Conflict, NotFound
from weft.core.model.network import REST, Endpoint, Network, Sandbox
from weft.core.model.state import State
from weft.core.model.target import parse_target
from weft.core.ops.base import Op
from weft.core.ops.file import HostsSwitch, HostsUncopy, OwnHosts
from weft.core.ops.hop import GatewayChange
from weft.core.ops.link import LinkUp
from weft.core.ops.route import DefaultRoute
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine import dns, driven, events, whole
from weft.engine.work import CONNECT, DISCONNECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.publish import Publish
    from weft.core.model.target import Target
    from weft.engine import container
    from weft.engine.lease import Claims
    from weft.engine.request import Join
    from weft.engine.work import Work

#: What may stand in a firewall element's comment and in a link's alias.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:/@")


class Called(Record):
    """What a namespace is called in networks, ``runc:web``, and its host name there, where somebody knows
    better than TARGET says; ``labels`` are what its engine knows it by, ``dns`` its own name servers.
    ``loopback``: nobody else sets its ``lo`` up."""

    name: str
    hostname: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    loopback: bool = False


def connect(
    work: Work, name: str, join: Join, publish: Sequence[Publish] = (), called: Called | None = None
) -> Endpoint:
    """Connects a container or TARGET to ``join.network``. Conflict when it is in that network already, or the
    address is taken; NotFound, BadInput, Exhausted."""
    # Whoever only leaves a network needs none of this.
    from weft.engine.lease import Claims
    from weft.engine.request import check_join

    check_join(join)
    target = parse_target(name)
    with work.machine.lock():
        work.recover()
        network = work.store.network(join.network)
        sandbox, netns = _sandbox(work, target, called)
        members = members_of(work, sandbox.name)
        if any(e.network == network.name for _, e in members):
            raise Conflict(
                f"container {sandbox.name} is in network {network.name} already",
                f"`weft net disconnect {network.name} {name}` takes it out",
            )
        whole.check_network(work, network)
        claims = Claims()
        try:
            first = [LinkUp("lo", netns)] if called is not None and called.loopback else []
            return _connect(work, network, sandbox, netns, join, tuple(publish), members, claims, first)
        except BaseException:
            claims.give_back()
            raise
        finally:
            work.machine.unpin()


def _connect(
    work: Work,
    network: Network,
    sandbox: Sandbox,
    netns: str,
    join: Join,
    publish: tuple[Publish, ...],
    members: container.Members,
    claims: Claims,
    first: Sequence[Op] = (),
) -> Endpoint:
    join = join._replace(network=network.name)
    others = [e for _, e in members] + _taken_names(work, sandbox, netns)
    from weft.engine import container, ports

    endpoint, chosen = container.decide_endpoint(work, network, sandbox.name, join, claims, others)
    ((_, endpoint),) = ports.published(work, [(network, endpoint)], publish, claims)
    after = (*members, (network, endpoint))
    own = not sandbox.target and (bool(members) or _has_own_hosts(work, sandbox))
    hosts = work.hosts_files(network.name)
    ops = [
        *whole.stale_links(work, [endpoint]),
        *container.shard_steps(work, [(network, endpoint)]),
        *ports.hold_ports(work, [endpoint]),
        *(_own_hosts(work, sandbox) if own else []),
        *driven.endpoint_wants(network, sandbox, endpoint, netns, members, after),
        *first,
        *_gateways(members, after, netns or sandbox.name),
        *driver.fresh_wants(endpoint.publish),
        *driver.names_want(sandbox, endpoint, hosts),
        *(_copies(work, sandbox, after) if own else []),
        *dns.servers(work, sandbox, [n for n, _ in members], [n for n, _ in after]),
    ]
    plan = Plan(tuple(ops))
    if work.dry:
        work.show(plan)
        return endpoint

    def wish() -> None:
        work.store.wake(work.machine.uptime(), REST)
        if sandbox.target and not members:
            work.store.add_container(sandbox, "running")
        work.store.add_endpoint(endpoint)
        container.note_shards(work, [(network, endpoint)])
        if own:
            work.store.set_own_hosts(sandbox.name)
        for one in chosen:
            behind = one.address._replace(value=one.address.value + 1)
            work.store.set_next_address(one.network, one.place, behind)

    entry = work.make(CONNECT, f"{network.name}\n{sandbox.name}", plan, wish)
    work.settle(entry, lambda: events.note_members(work, "connect", [endpoint]))
    return endpoint


def members_of(work: Work, name: str) -> container.Members:
    """A container's endpoints with their networks."""
    return tuple([(work.store.network(e.network), e) for e in work.store.endpoints_of(name)])


def _sandbox(work: Work, target: Target, called: Called | None) -> tuple[Sandbox, str]:
    """What is to be connected, and the path or name of its namespace where that is not weft's own ("")."""
    if target.kind == "host":
        raise BadInput("the host is in every network already: it has each gateway's address")
    own = target.kind in ("weft", "name") and work.store.has_container(target.value)
    if own or target.kind == "weft":
        sandbox, state = work.store.container(target.value)
        _check_own(work, sandbox, state)
        return sandbox, ""
    from weft.engine.target import place

    found = place(work, target)
    name = called.name if called else foreign_name(target)
    mine = next(
        (s for s, _ in work.store.containers() if work.machine.netns_inode(s.name) == found.inode), None
    )
    if mine is not None and mine.mode != "host":
        raise BadInput(f"{target} is the namespace of container {mine.name}", f"connect {mine.name} instead")
    other = _connected_as(work, found.inode)
    if other not in ("", name):
        raise BadInput(f"{target} is the namespace of {other}", "call it by that in every network")
    if found.inode == work.machine.pin(""):
        raise BadInput(f"{target} is in the host's own network namespace", "it reaches every network already")
    hostname = "" if target.kind in ("pid", "path") else target.value.lower()
    hostname = called.hostname if called else hostname
    plain = hostname if is_hostname(hostname) else ""
    sandbox = Sandbox(
        work.store.root,
        name,
        plain,
        dns=called.dns if called else (),
        created=work.machine.now(),
        target=str(target),
        inode=found.inode,
        labels=called.labels if called else (),
    )
    if work.store.has_container(name) and work.store.container(name)[0].inode != found.inode:
        raise Conflict(
            f"{name} was another namespace when it was connected", "`weft gc` forgets those that are gone"
        )
    return sandbox, found.netns


def _connected_as(work: Work, inode: int) -> str:
    """What a foreign namespace is called in the networks that it is in; "" when it is in none."""
    from weft.engine.target import find

    for sandbox in work.store.foreign_at(inode):
        # Inode numbers are used again: what it was called then must lead there now.
        now = find(work, sandbox.target)
        if now is not None and now.inode == inode:
            return sandbox.name
    return ""


def is_hostname(text: str) -> bool:
    """Whether it can stand in a hosts file."""
    from weft.core.model.names import check_hostname

    try:
        return bool(text) and bool(check_hostname(text))
    except BadInput:
        return False


def foreign_name(target: Target) -> str:
    """What a namespace that is not weft's is called in networks: ``podman:web``, ``netns:blue``,
    ``pid:4913``."""
    kind = "netns" if target.kind == "name" else target.kind
    name = f"{kind}:{target.value}"
    if frozenset(name) - _PLAIN or len(name) > 100:
        raise BadInput(
            f"{name[:100]!a} cannot be connected by this path", "give its pid, or a name by `weft ns adopt`"
        )
    return name


def _check_own(work: Work, sandbox: Sandbox, state: State) -> None:
    if sandbox.mode:
        raise Conflict(
            f"container {sandbox.name} has --network {sandbox.mode}: it cannot be connected",
            "a container is in weft's networks, or in none of them",
        )
    if state.word == "exited" or not work.netns_inode(sandbox.name):
        raise Conflict(f"container {sandbox.name} is not running")


def _taken_names(work: Work, sandbox: Sandbox, netns: str) -> list[Endpoint]:
    """The interfaces that are there already, whoever made them, as if they were endpoints."""
    links = work.machine.links_of(netns or sandbox.name)
    return [Endpoint("", "", "", (), ifname=link.ifname or "") for link in links]


def _has_own_hosts(work: Work, sandbox: Sandbox) -> bool:
    return work.hosts_of(sandbox.name) == work.own_hosts_file(sandbox.name)


def _copies(work: Work, sandbox: Sandbox, after: container.Members) -> list[Op]:
    """The names of its networks' members: of all with the second, of the new one from then on."""
    joined = after[-1:] if _has_own_hosts(work, sandbox) else after
    shared = [work.hosts_file(n.name) for n, _ in joined]
    return driver.copies_want(work.own_hosts_file(sandbox.name), shared)


def _own_hosts(work: Work, sandbox: Sandbox) -> list[Op]:
    """The hosts file of a container in several networks, made with the second."""
    if _has_own_hosts(work, sandbox):
        return []
    path = work.own_hosts_file(sandbox.name)
    return [OwnHosts(path, work.own_hosts_lines(sandbox)), *_switches(work, sandbox, path)]


def _switches(work: Work, sandbox: Sandbox, path: str) -> list[HostsSwitch]:
    """For the container and all that share its network: one stack, one set of names."""
    old = work.hosts_of(sandbox.name)
    return [_switch(work, name, path, old) for name in (sandbox.name, *work.store.joiners(sandbox.name))]


def _switch(work: Work, name: str, path: str, old: str) -> HostsSwitch:
    state = work.store.container(name)[1]
    alive = state.pid is not None and work.machine.alive(state.pid, state.started)
    pid, started = (state.pid or 0, state.started or 0) if alive else (0, 0)
    return HostsSwitch(name, path, old, pid, started)


def _gateways(before: container.Members, after: container.Members, where: str) -> list[Op]:
    """What changes about the default routes when a container's networks change."""
    found = driver.default_routes(before, where)
    old = {r.gateway.version: r for r in found if not r.beside}
    ops: list[Op] = [r for r in driver.default_routes(after, where) if r.beside and r not in found]
    for route in [r for r in driver.default_routes(after, where) if not r.beside]:
        was = old.get(route.gateway.version)
        if was is None:
            ops.append(route)
        elif was != route:
            ops.append(
                GatewayChange(route.gateway, route.ifname, was.gateway, was.ifname, where, route.metric)
            )
    return ops


def introduce(work: Work, endpoint: Endpoint) -> None:
    """Waits until a new endpoint's port forwards, then tells its neighbours who has its addresses."""
    network = work.store.find_network(endpoint.network)
    if network is None or network.driver == "ipvlan":
        return  # its MAC is the host's, which the neighbours know
    if network.bridged and not work.machine.wait_port(endpoint.host_ifname):
        work.say(f"warning: the bridge port {endpoint.host_ifname} does not forward after 5 s")
    with work.machine.lock():
        if not work.store.has_container(endpoint.container):
            return
        where = _where(work, work.store.container(endpoint.container)[0])
        if where:
            work.machine.announce(endpoint, where)
        work.machine.unpin()


def disconnect(work: Work, network: str, name: str, force: bool = False) -> None:
    """Takes a container or TARGET out of a network. NotFound when it is not in it.

    ``force``: also an endpoint whose namespace is gone, and one that another root or nobody knows is no
    error.
    """
    target = parse_target(name)
    with work.machine.lock():
        work.recover()
        found = work.store.network(network)
        try:
            sandbox = member(work, found, target)
        except NotFound:
            if force:
                return
            raise
        try:
            disconnect_locked(work, found, sandbox)
        finally:
            work.machine.unpin()


def member(work: Work, network: Network, target: Target) -> Sandbox:
    """Who of a network is meant. NotFound when nobody is."""
    own = target.kind in ("weft", "name") and work.store.has_container(target.value)
    if not own and target.kind in ("weft", "name"):
        for sandbox, _ in work.store.containers():
            own = own or (len(target.value) >= 4 and sandbox.id.startswith(target.value))
    name = work.store.container(target.value)[0].name if own else foreign_name(target)
    if not own and not work.store.has_container(name):
        named = work.store.labelled(f"{target.kind}.name", target.value)
        name = named[0] if len(named) == 1 else name
    if work.store.endpoint(name, network.name) is None:
        raise NotFound(
            f"{target} is not in network {network.name}", f"`weft net inspect {network.name}` shows who is"
        )
    return work.store.container(name)[0]


def disconnect_locked(work: Work, network: Network, sandbox: Sandbox) -> None:
    """The same with the lock held."""
    from weft.engine import proxy, removal

    members = members_of(work, sandbox.name)
    endpoint = next(e for _, e in members if e.network == network.name)
    rest = tuple([m for m in members if m[1].network != network.name])
    where = _where(work, sandbox)
    ops: list[Op] = [*removal.let_go(work, [endpoint])]
    ops += Plan(endpoint_elements(network, endpoint)).undo().ops
    ops += driver.flush_wants(endpoint.publish)
    if where and not sandbox.target:
        ops += _left_hosts(work, sandbox, network, not rest)
        ops += dns.servers(work, sandbox, [n for n, _ in members], [n for n, _ in rest])
    ops += removal.forget_names(work, {network.name: network}, [endpoint], frozenset([sandbox.name]))
    ops += driven.unplugged(network, endpoint, where)
    if where:
        ops += _other_gateways(members, rest, where)
    plan = Plan(tuple(ops))
    if work.dry:
        work.show(plan)
        return
    subject = f"{network.name}\n{sandbox.name}"

    def wish() -> None:
        proxy.forget(work, plan)
        events.note_members(work, "disconnect", [endpoint])

    work.unmake(DISCONNECT, subject, plan, wish, populated=False)


def _left_hosts(work: Work, sandbox: Sandbox, network: Network, last: bool) -> list[Op]:
    """What becomes of the names of a network in the container that leaves it.

    Out of its only network it sees a file of its own: the network's may go, with its members' names.
    """
    path = work.own_hosts_file(sandbox.name)
    if _has_own_hosts(work, sandbox):
        return [HostsUncopy(path, work.hosts_file(network.name))]
    return [OwnHosts(path, ()), *_switches(work, sandbox, path)] if last else []


def _where(work: Work, sandbox: Sandbox) -> str:
    """The namespace to act in; "" when it is gone."""
    if not sandbox.target:
        return sandbox.name if work.machine.netns_inode(sandbox.name) else ""
    from weft.engine.target import find

    found = find(work, sandbox.target)
    return found.netns if found is not None and found.inode == sandbox.inode else ""


def _other_gateways(before: container.Members, after: container.Members, where: str) -> list[DefaultRoute]:
    """The default routes that went with the interface, by whoever is next."""
    gone = driver.default_routes(before, where)
    left = driver.default_routes(after, where)
    return [r for r in left if r not in gone]
