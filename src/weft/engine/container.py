"""Containers: attached to their networks, alone or many at once."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.model.errors import BadInput, Conflict, Exhausted, IfnameTaken, KernelError, NotOurs
from weft.core.model.names import mac_text, mark
from weft.core.model.network import (
    ADOPTED_PORTS,
    BRIDGE_PORTS,
    DEFAULT,
    REST,
    SHARDS,
    Endpoint,
    Hop,
    Network,
    Sandbox,
)
from weft.core.model.policy import Policy
from weft.core.model.state import Life, State
from weft.core.ops.link import LinkDel
from weft.core.plan.plan import Plan, batched
from weft.core.record import Record
from weft.engine import dns, driven, events, lease, ports
from weft.engine.lease import Chosen, Claims
from weft.engine.request import HOST_GATEWAY, Join, RunRequest, check, hops_of, interface_sysctls, sysctl_path
from weft.engine.work import CONTAINER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from weft.core.model.publish import Publish
    from weft.core.ops.base import Op
    from weft.engine.work import Work

    T = TypeVar("T")

Members = tuple[tuple[Network, Endpoint], ...]
#: fe80::/10 without its other 118 bits (RFC 4291 section 2.5.6).
_LINK_LOCAL = 0xFE80 >> 6


class Attached(Record):
    """A container that stands: its wishes, its plan, and the journal entry while that is open.

    ``hosts`` is the file of names it sees, ``chosen`` are the addresses nobody asked for. ``first``: the
    default
    network was made for it.
    """

    sandbox: Sandbox
    members: Members
    plan: Plan
    hosts: str = ""
    chosen: tuple[Chosen, ...] = ()
    entry: int = 0
    first: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """Its endpoint in the network that was named first."""
        return self.members[0][1]


def attach(work: Work, request: RunRequest) -> Attached:
    """Makes a container's places in its networks. Its journal entry stays open until ``settle``."""
    check(request)

    claims = Claims()

    def make(networks: dict[str, Network], fresh: frozenset[str]) -> Attached:
        claims.planned = fresh if work.dry else frozenset()
        found = _decide(work, networks, request, claims)
        before = [] if fresh and work.dry else preparation(work, networks.values(), [found])
        before = [*before, *shard_steps(work, found.members)]
        if request.command:
            from weft.engine import group  # not for whoever only connects

            before += group.wants(work, found.sandbox, request.spec)
        plan = Plan((*before, *_ports(work, found.members), *found.plan.ops))
        if work.dry:
            work.show(plan)
            return found._replace(plan=plan)
        entry = work.make(CONTAINER, request.name, plan, lambda: _store(work, [found]))
        return found._replace(plan=plan, entry=entry, first=bool(fresh))

    return _in_networks(work, _wanted([request]), make, claims)


def attach_many(work: Work, requests: Sequence[RunRequest]) -> list[Attached]:
    """Makes many network-only containers as one durable change: all or none."""
    for request in requests:
        check(request)

    claims = Claims()

    def make(networks: dict[str, Network], fresh: frozenset[str]) -> list[Attached]:
        claims.planned = fresh if work.dry else frozenset()
        found = [_decide(work, networks, r, claims) for r in requests]
        before = [] if fresh and work.dry else preparation(work, networks.values(), found)
        members = [m for f in found for m in f.members]
        ports = (*shard_steps(work, members), *_ports(work, members))
        plan = Plan((*before, *ports, *batched([f.plan.ops for f in found]).ops))
        if work.dry:
            work.show(plan)
            return found
        names = "\n".join([r.name for r in requests])
        entry = work.make(CONTAINER, names, plan, lambda: _store(work, found))

        def running() -> None:
            for request in requests:
                work.store.set_state(request.name, State("running"))
            events.note(work, "create", [f.sandbox for f in found])
            events.note_members(work, "connect", [e for _, e in members])
            events.note(work, "start", [f.sandbox for f in found])

        work.settle(entry, running)
        return found

    return _in_networks(work, _wanted(requests), make, claims)


def _wanted(requests: Sequence[RunRequest]) -> list[str]:
    return list(dict.fromkeys([j.network for r in requests if not r.mode for j in r.joins]))


def _in_networks(
    work: Work, names: Sequence[str], make: Callable[[dict[str, Network], frozenset[str]], T], claims: Claims
) -> T:
    """``make`` with the networks, and which of them, the default one, was made (in a dry run: planned) for
    it.

    Takes the lock. A default network that was made in vain goes again.
    """
    with work.machine.lock():
        work.recover()
        known = {name: work.store.network(name) for name in names if name != DEFAULT}
        if DEFAULT not in names:
            try:
                return make(known, frozenset())
            except BaseException:
                claims.give_back()
                raise
        from weft.engine.network import drop_default, ensure_default

        fresh = frozenset([DEFAULT] if work.store.find_network(DEFAULT) is None else [])
        known[DEFAULT] = ensure_default(work)
        try:
            return make(known, fresh)
        except BaseException:
            claims.give_back()
            if fresh and not work.dry:
                drop_default(work)
            raise


def _decide(work: Work, networks: dict[str, Network], request: RunRequest, claims: Claims) -> Attached:
    """Addresses, names and ports of a container; every clash with what weft knows is found here."""
    if request.name in claims.names or work.store.has_container(request.name):
        raise Conflict(f"container {request.name} exists already", f"`weft rm -f {request.name}` removes it")
    claims.names.add(request.name)
    if request.mode:
        return by_mode(work, request)
    members: list[tuple[Network, Endpoint]] = []
    chosen: list[Chosen] = []
    for join in request.joins:
        network = networks[join.network]
        endpoint, found = decide_endpoint(work, network, request.name, join, claims, [e for _, e in members])
        members.append((network, endpoint))
        chosen += found
    members = ports.published(work, members, request.publish, claims)
    sandbox = _sandbox(work, request, [n for n, _ in members])
    return _standing(work, sandbox, members, request.rooted)._replace(chosen=tuple(chosen))


def _standing(
    work: Work, sandbox: Sandbox, members: Sequence[tuple[Network, Endpoint]], rooted: bool
) -> Attached:
    own = len(members) > 1 or bool(sandbox.extra_hosts)
    hosts = work.own_hosts_file(sandbox.name) if own else work.hosts_file(members[0][0].name)
    plan = Plan(_wants(work, sandbox, members, hosts, own, rooted))
    return Attached(sandbox, tuple(members), plan, hosts)


def reattach(work: Work, sandbox: Sandbox, members: Sequence[tuple[Network, Endpoint]]) -> Attached:
    """One that has exited, in places that are decided; the whole plan."""
    spec = work.store.spec(sandbox.name)
    found = _standing(work, sandbox, members, spec is not None and bool(spec.root))
    before = (*preparation(work, [n for n, _ in members], [found]), *shard_steps(work, members))
    return found._replace(plan=Plan((*before, *_ports(work, members), *found.plan.ops)))


def decide_endpoint(
    work: Work, network: Network, container: str, join: Join, claims: Claims, others: Sequence[Endpoint]
) -> tuple[Endpoint, list[Chosen]]:
    """A container's place in one more network, beside ``others`` that it has."""
    store = work.store
    planned = network.name in claims.planned
    if join.mac and not planned:
        owner = store.mac_holder(network.name, join.mac)
        if owner or (network.name, join.mac) in claims.macs:
            raise Conflict(f"MAC {join.mac} is taken by container {owner or 'of this batch'}")
    claims.macs.add((network.name, join.mac))
    cidrs, chosen = lease.addresses(work, network, join, claims)
    ifname = _ifname(network, join, others)
    mac = _parent_mac(work, network) if network.option("mode") == "passthru" else join.mac
    endpoint = Endpoint(
        root=store.root,
        network=network.name,
        container=container,
        addresses=cidrs,
        mac=mac,
        ifname=ifname,
        aliases=join.aliases,
        priority=join.priority,
        sysctls=interface_sysctls(join, ifname),
        routes=_hops(network, join),
        shard=shard_for(work, network, claims),
        options=join.options,
    )
    return endpoint, chosen


def _parent_mac(work: Work, network: Network) -> str:
    """In passthru a container has the MAC of the link that it is on. KernelError when that is gone."""
    for link in work.machine.links_of(""):
        if link.ifname == network.device and link.mac:
            return mac_text(link.mac)
    raise _gone(network)


def _hops(network: Network, join: Join) -> tuple[Hop, ...]:
    """The routes asked for, by gateways that are neighbours in this network."""
    hops = hops_of(join)
    for hop in hops:
        if hop.to.version not in {p.subnet.version for p in network.pools}:
            raise BadInput(f"route {hop.to}: network {network.name} has no IPv{hop.to.version} subnet")
        near = hop.via is None or (hop.via.version == 6 and hop.via.value >> 118 == _LINK_LOCAL)
        if hop.via is not None and not near and all(hop.via not in p.subnet for p in network.pools):
            raise BadInput(
                f"the gateway {hop.via} of route {hop.to} is not in network {network.name}",
                "a gateway is an address of the network's subnets",
            )
    return hops


def shard_for(work: Work, network: Network, claims: Claims) -> int:
    """The first of a network's bridges that has a port left: another one is made before the kernel's
    limit."""
    if not network.bridged:
        return 0
    room = ADOPTED_PORTS if network.adopted else BRIDGE_PORTS
    for shard in range(1 if network.adopted else SHARDS + 1):
        key = network.name, shard
        if key not in claims.shards:
            planned = network.name in claims.planned
            claims.shards[key] = 0 if planned else work.store.count_shard(network.name, shard)
        if claims.shards[key] < room:
            claims.shards[key] += 1
            return shard
    raise Exhausted(
        f"network {network.name} is full: its bridges take {room} containers each",
        "use another network",
    )


def shard_steps(work: Work, members: Iterable[tuple[Network, Endpoint]]) -> list[Op]:
    """The further bridges that these endpoints need and that do not stand yet."""
    ops: list[Op] = []
    for network, shard in sorted(
        {(n, e.shard) for n, e in members if e.shard}, key=lambda p: (p[0].name, p[1])
    ):
        if work.machine.network_facts(network.bridge_of(shard)).bridge is None:
            ops += driver.shard_wants(network, shard)
    return ops


def note_shards(work: Work, members: Iterable[tuple[Network, Endpoint]]) -> None:
    """Puts on record how many bridges the networks have."""
    for network, shard in {(n, e.shard) for n, e in members if e.shard > n.shards}:
        work.store.set_shards(network.name, max(shard, work.store.network(network.name).shards))


def _ifname(network: Network, join: Join, others: Sequence[Endpoint]) -> str:
    """As asked for, else the network's prefix with the lowest number that is free."""
    taken = {e.ifname for e in others}
    if join.ifname:
        if join.ifname in taken:
            raise IfnameTaken(f"interface name {join.ifname} is taken in this container")
        return join.ifname
    prefix = network.option("ifname_prefix", "eth")
    return next(name for n in range(len(taken) + 1) if (name := f"{prefix}{n}") not in taken)


def _sandbox(work: Work, request: RunRequest, networks: Sequence[Network]) -> Sandbox:
    return Sandbox(
        root=work.store.root,
        name=request.name,
        hostname=request.hostname or ("" if request.mode == "host" else request.name),
        dns=request.dns or _upstreams(work, networks),
        search=request.search,
        command=request.command,
        auto_remove=request.auto_remove,
        created=work.machine.now(),
        mode=request.mode,
        extra_hosts=_extra_hosts(request, networks),
        sysctls=tuple([sysctl_path(key, value) for key, value in request.sysctls]),
    )


def _extra_hosts(request: RunRequest, networks: Sequence[Network]) -> tuple[tuple[str, str], ...]:
    gateways = [str(p.gateway) for p in networks[0].pools] if networks else []
    found = []
    for name, address in request.extra_hosts:
        if address == HOST_GATEWAY and not gateways:
            raise BadInput(f"--add-host {name}:{HOST_GATEWAY}: there is no network, hence no gateway")
        found += [(name, a) for a in (gateways if address == HOST_GATEWAY else [address])]
    return tuple(found)


def _upstreams(work: Work, networks: Sequence[Network]) -> tuple[str, ...]:
    """The host's name servers; none where all networks are internal: a query must not get out. None either
    where weft's DNS server answers: it asks those that the host has by then."""
    if all(network.internal for network in networks) or any(network.dns for network in networks):
        return ()
    servers, _ = work.machine.upstreams()
    if not servers:
        work.say("warning: the host has no name server but loopback ones; give one with --dns")
    return servers


def by_mode(work: Work, request: RunRequest, known: Sandbox | None = None) -> Attached:
    """A container without a network of weft's: the host's, none, or another container's. ``known``: as it was
    before."""
    kind, _, donor = request.mode.partition(":")
    if kind == "container":
        return _shared(work, request, donor, known)
    sandbox = known or _sandbox(work, request, ())
    if kind == "host":
        return Attached(sandbox, (), Plan(()))
    lines = tuple([f"{address}\t{name}" for name, address in sandbox.extra_hosts])
    hosts = work.own_hosts_file(request.name)
    sandbox = sandbox._replace(dns=request.dns)
    wants = (
        *driver.sandbox_wants(sandbox, hosts, lines, rooted=request.rooted),
        *driver.sandbox_starts(sandbox),
    )
    return Attached(sandbox, (), Plan(wants), hosts)


def _shared(work: Work, request: RunRequest, donor: str, known: Sandbox | None) -> Attached:
    """Another container's network namespace, with its names; Conflict when that has exited, NotFound."""
    other, state = work.store.container(donor)
    if other.mode == "host" or other.mode.startswith("container:"):
        word = "the host's" if other.mode == "host" else f"{other.mode.partition(':')[2]}'s"
        raise Conflict(f"container {other.name} has no network namespace of its own: it uses {word}")
    if state.word not in ("running", "paused") or not work.netns_inode(other.name):
        raise Conflict(f"container {other.name} is not running", "its network namespace is gone")
    sandbox = (known or _sandbox(work, request, ()))._replace(
        hostname=other.hostname, dns=other.dns, search=other.search, mode=f"container:{other.name}"
    )
    hosts = work.hosts_of(other.name)
    networks = dns.networks_of(work, other.name)
    wants = driver.sandbox_wants(sandbox, hosts, None, other.name, request.rooted, networks)
    return Attached(sandbox, (), Plan(wants), hosts)


def _wants(
    work: Work,
    sandbox: Sandbox,
    members: Sequence[tuple[Network, Endpoint]],
    shown: str,
    own: bool,
    rooted: bool,
) -> tuple[Op, ...]:
    lines = work.own_hosts_lines(sandbox) if own else None
    ops = list(driver.sandbox_wants(sandbox, shown, lines, "", rooted, [n for n, _ in members]))
    for network, endpoint in members:
        ops += driven.endpoint_wants(network, sandbox, endpoint, after=members)
    ops += [*driver.sandbox_starts(sandbox), *driver.default_routes(members, sandbox.name)]
    ops += driver.fresh_wants([p for _, e in members for p in e.publish])
    for network, endpoint in members:
        ops += driver.names_want(sandbox, endpoint, work.hosts_files(network.name))
    if own:
        ops += driver.copies_want(shown, [work.hosts_file(n.name) for n, _ in members])
    return tuple(ops)


def preparation(work: Work, networks: Iterable[Network], found: Sequence[Attached]) -> list[Op]:
    """What must go first, after a look at what is there. Only what carries our mark may go."""
    for network in networks:
        check_network(work, network)
    return [op for one in found for op in _make_room(work, one)]


def check_network(work: Work, network: Network) -> None:
    """A network is whole: without its bridge and the guards nothing is attached. KernelError."""
    if network.remote:
        return
    facts = work.machine.network_facts(network.device)
    if not network.bridged:
        if facts.bridge is None:
            raise _gone(network)
        return
    if facts.bridge is None or network.mark not in facts.bridge.altnames:
        raise KernelError(
            f"bridge {network.bridge} of network {network.name} is gone, or no longer weft's",
            hint="`weft repair` makes it again",
        )
    if [family for family, said in facts.tables if said == mark(network.root)] != ["inet", "bridge"]:
        raise KernelError(
            "the firewall tables of weft are gone: without its guards no container is attached",
            hint="somebody flushed nftables; `weft repair` makes them again",
        )


def _gone(network: Network) -> KernelError:
    return KernelError(
        f"the interface {network.device} that network {network.name} is on is gone",
        hint="members of it are made on that interface",
    )


def _make_room(work: Work, found: Attached) -> list[Op]:
    name = found.sandbox.name
    if found.sandbox.mode == "host":
        return []
    facts = work.machine.place_facts([e.mark for _, e in found.members], name)
    if facts.netns:
        raise NotOurs(
            f"a network namespace {name} exists under /run/netns and is not weft's", "choose another --name"
        )
    if facts.foreign_file:
        raise NotOurs(f"{facts.foreign_file} exists and is not weft's", "choose another --name")
    # A container of this name was removed a moment ago and its namespace is still dying.
    return [LinkDel(link.ifname, link_mark) for link, link_mark in facts.stale]


def stale_links(work: Work, endpoints: Sequence[Endpoint]) -> list[Op]:
    """Links of earlier endpoints of the same place, which are to go first."""
    facts = work.machine.place_facts([e.mark for e in endpoints], "")
    return [LinkDel(link.ifname, link_mark) for link, link_mark in facts.stale]


def _ports(work: Work, members: Sequence[tuple[Network, Endpoint]]) -> tuple[Op, ...]:
    """Holding the published ports comes first: most of what can fail about them fails there."""
    return ports.hold_ports(work, [e for _, e in members])


def _store(work: Work, found: Sequence[Attached]) -> None:
    store, last = work.store, {}
    store.wake(work.machine.uptime(), REST)
    note_shards(work, [m for one in found for m in one.members])
    for one in found:
        store.add_container(one.sandbox, "created")
        for _, endpoint in one.members:
            store.add_endpoint(endpoint)
        if len(one.members) > 1 or one.sandbox.extra_hosts:
            store.set_own_hosts(one.sandbox.name)
        last.update({(c.network, c.place): c.address for c in one.chosen})
    for (network, place), address in last.items():
        store.set_next_address(network, place, address._replace(value=address.value + 1))


def settle(work: Work, found: Attached, state: State, request: RunRequest | None = None) -> None:
    """The container stands: strikes the journal entry out and stores its state, what it is and how it lives.

    Conflict when somebody has removed it meanwhile.
    """

    def keep() -> None:
        work.store.set_state(found.sandbox.name, state)
        if request is not None and request.spec is not None:
            work.store.set_spec(found.sandbox.name, request.spec)
        work.store.set_life(found.sandbox.name, begun(work, Policy() if request is None else request.policy))
        events.born(work, found.sandbox, [e for _, e in found.members])

    if not work.settle(found.entry, keep):
        raise removed(found)


def begun(work: Work, policy: Policy) -> Life:
    """How a container lives that starts now."""
    return Life(policy, started_at=work.machine.now_ns(), health="starting" if policy.health else "")


def removed(found: Attached) -> Conflict:
    """Why a container is not there, though all went well: nobody keeps the lock while a command starts."""
    return Conflict(f"container {found.sandbox.name} was removed while it started")


def create(work: Work, request: RunRequest) -> Attached:
    """A network-only container: no process, held by its mount; its state is running."""
    if not request.mode:
        from weft.engine.spec import opened

        request = request._replace(sysctls=opened(request.sysctls))
    found = attach(work, request)
    if not work.dry:
        settle(work, found, State("running"), request)
    return found


def published_remark(publishes: Sequence[Publish]) -> str:
    """What a user should know of ports published on 127.0.0.1 by default; "" when there are none."""
    local = [p for p in publishes if p.host.loopback]
    if not local:
        return ""
    ports = ", ".join([f"{p.shown}:{p.host_port} -> {p.port}/{p.proto}" for p in local])
    return f"published on loopback only: {ports} (0.0.0.0:PORT:PORT opens it to the network)"
