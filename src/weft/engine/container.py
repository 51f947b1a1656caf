"""Containers: attached, run, ended, removed."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.ipam import pool as ipam
from weft.core.model.address import Address, Cidr, parse_address
from weft.core.model.errors import BadInput, Conflict, Exhausted, KernelError, NotOurs
from weft.core.model.names import check_hostname, check_ifname, check_mac, check_name, mark
from weft.core.model.network import BRIDGE_PORTS, DEFAULT, Endpoint, Network, Sandbox
from weft.core.model.publish import Publish
from weft.core.model.state import State
from weft.core.ops.base import Op
from weft.core.ops.link import LinkDel
from weft.core.plan.plan import Plan, batched
from weft.core.record import Record
from weft.engine.work import CONTAINER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from weft.engine.work import Work

    T = TypeVar("T")


class RunRequest(Record):
    """What a user asks of ``run`` for the network's part; texts are as typed."""

    name: str
    network: str = DEFAULT
    address: str = ""
    mac: str = ""
    ifname: str = "eth0"
    hostname: str = ""
    aliases: tuple[str, ...] = ()
    publish: tuple[Publish, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    auto_remove: bool = False


class Attached(Record):
    """A container that stands: its wishes, its plan, and the journal entry while that is open.

    ``first``: the default network was made for it.
    """

    network: Network
    sandbox: Sandbox
    endpoint: Endpoint
    plan: Plan
    fixed: bool = False
    entry: int = 0
    first: bool = False


def check(request: RunRequest) -> Address | None:
    """All that can be refused without looking at the machine; the address, if one is asked for."""
    check_name(request.name, "container")
    check_ifname(request.ifname)
    if request.hostname:
        check_hostname(request.hostname)
    for alias in request.aliases:
        check_hostname(alias, "alias")
    if request.mac:
        check_mac(request.mac)
    for server in request.dns:
        if parse_address(server, "DNS server").loopback:
            raise BadInput(f"DNS server {server} is a loopback address", "inside a container that is itself")
    for domain in request.search:
        # A blank would be two domains, a newline another line of resolv.conf; "." is none, as docker has it.
        if domain != ".":
            check_hostname(domain.removesuffix("."), "search domain")
    _check_publish(request.publish)
    return parse_address(request.address) if request.address else None


def _check_publish(publish: Sequence[Publish]) -> None:
    """No two of them clash. Only those of one port are compared: a range may be thousands."""
    ports: dict[tuple[str, int], list[Publish]] = {}
    for one in publish:
        near = ports.setdefault((one.proto, one.host_port), [])
        for other in near:
            if one.clashes(other):
                raise BadInput(f"published port {one} clashes with {other}")
        near.append(one)


class Claims:
    """What the requests of one batch have taken so far, beside what is stored."""

    __slots__ = ("addresses", "hint", "names", "ports")

    def __init__(self) -> None:
        self.addresses: set[Address] = set()
        self.names: set[str] = set()
        self.ports: dict[tuple[str, int], list[Publish]] = {}
        self.hint = 0


def attach(work: Work, request: RunRequest) -> Attached:
    """Makes a container's place in its network. Its journal entry stays open until ``settle``."""
    address = check(request)

    def make(network: Network, first: bool) -> Attached:
        fresh = first and work.dry
        found = _decide(work, network, request, address, Claims(), fresh)
        before = () if fresh else _preparation(work, network, [found])
        ports = _ports(work, [found.endpoint])
        plan = Plan((*before, *ports, *found.plan.ops))
        if work.dry:
            work.show(plan)
            return found._replace(plan=plan)
        entry = work.make(CONTAINER, request.name, plan, lambda: _store(work, found))
        return found._replace(plan=plan, entry=entry, first=first)

    return _in_network(work, request.network, make)


def attach_many(work: Work, requests: Sequence[RunRequest]) -> list[Attached]:
    """Makes many network-only containers in one network as one durable change: all or none."""
    addresses = [check(r) for r in requests]
    if any(r.network != requests[0].network for r in requests):
        raise BadInput("containers of one batch belong to one network")

    def make(network: Network, first: bool) -> list[Attached]:
        fresh = first and work.dry
        claims = Claims()
        found = [
            _decide(work, network, r, a, claims, fresh) for r, a in zip(requests, addresses, strict=True)
        ]
        before = () if fresh else _preparation(work, network, found)
        ports = _ports(work, [f.endpoint for f in found])
        plan = Plan((*before, *ports, *batched([f.plan.ops for f in found]).ops))
        if work.dry:
            work.show(plan)
            return found

        def wish() -> None:
            for one in found:
                _store(work, one)

        entry = work.make(CONTAINER, "\n".join([r.name for r in requests]), plan, wish)

        def running() -> None:
            for request in requests:
                work.store.set_state(request.name, State("running"))

        work.settle(entry, running)
        return found

    return _in_network(work, requests[0].network, make)


def _in_network(work: Work, name: str, make: Callable[[Network, bool], T]) -> T:
    """``make`` with the network, and whether that is the default one, made (in a dry run: planned) for it.

    Takes the lock. A default network that was made in vain goes again.
    """
    with work.machine.lock():
        work.recover()
        if name != DEFAULT:
            return make(work.store.network(name), False)
        from weft.engine.network import drop_default, ensure_default

        first = work.store.find_network(DEFAULT) is None
        network = ensure_default(work)
        try:
            return make(network, first)
        except BaseException:
            if first and not work.dry:
                drop_default(work)
            raise


def _decide(
    work: Work, network: Network, request: RunRequest, address: Address | None, claims: Claims, fresh: bool
) -> Attached:
    """Address, names and ports of a container; every clash with what weft knows is found here."""
    store, pool = work.store, network.pool4
    if request.name in claims.names or store.has_container(request.name):
        raise Conflict(f"container {request.name} exists already", f"`weft rm -f {request.name}` removes it")
    claims.names.add(request.name)
    for publish in request.publish:
        _claim_port(work, publish, claims)
    if not fresh and store.count_endpoints(network.name) + len(claims.names) > BRIDGE_PORTS:
        raise Exhausted(
            f"network {network.name} is full: its bridge takes {BRIDGE_PORTS} ports (BR_MAX_PORTS)",
            "use another network",
        )
    fixed = address is not None
    if address is not None:
        owner = "of this batch" if address in claims.addresses else ""
        if not owner and not fresh:
            owner = store.address_holder(network.name, address)
        ipam.check_free(pool, address, owner)
    else:
        address = _free_address(work, network, claims, fresh)
    claims.addresses.add(address)
    root = store.root
    sandbox = Sandbox(
        root=root,
        name=request.name,
        hostname=request.hostname or request.name,
        dns=request.dns or _upstreams(work),
        search=request.search,
        command=request.command,
        auto_remove=request.auto_remove,
        created=work.machine.now(),
    )
    endpoint = Endpoint(
        root=root,
        network=network.name,
        container=request.name,
        addresses=(Cidr(address, pool.subnet.prefix),),
        mac=request.mac,
        ifname=request.ifname,
        aliases=request.aliases,
        publish=request.publish,
    )
    wants = driver.endpoint_wants(network, sandbox, endpoint, work.hosts_file(network.name))
    return Attached(network, sandbox, endpoint, Plan(wants), fixed)


def _free_address(work: Work, network: Network, claims: Claims, fresh: bool) -> Address:
    def is_free(value: int) -> bool:
        address = Address(pool.subnet.version, value)
        return address not in claims.addresses and (
            fresh or not work.store.address_holder(network.name, address)
        )

    pool = network.pool4
    hint = claims.hint or (0 if fresh else work.store.next_address(network.name))
    found = ipam.next_free(pool, hint, is_free)
    claims.hint = found.value + 1
    return found


def _claim_port(work: Work, publish: Publish, claims: Claims) -> None:
    near = claims.ports.setdefault((publish.proto, publish.host_port), [])
    owner = "of this batch" if any(publish.clashes(p) for p in near) else work.store.port_holder(publish)
    if owner:
        raise Conflict(
            f"port {publish.host_port}/{publish.proto} on {publish.host} is published by container {owner}",
            "choose another host port",
        )
    near.append(publish)


def _upstreams(work: Work) -> tuple[str, ...]:
    servers, _ = work.machine.upstreams()
    if not servers:
        work.say("warning: the host has no name server but loopback ones; give one with --dns")
    return servers


def _preparation(work: Work, network: Network, found: Sequence[Attached]) -> list[Op]:
    """What must go first, after a look at what is there. Only what carries our mark may go."""
    _check_network(work, network)
    return [op for one in found for op in _make_room(work, one)]


def _check_network(work: Work, network: Network) -> None:
    facts = work.machine.network_facts(network.bridge)
    if facts.bridge is None or network.mark not in facts.bridge.altnames:
        raise KernelError(
            f"bridge {network.bridge} of network {network.name} is gone, or no longer weft's",
            hint=f"make it again: weft net rm -f {network.name}, then weft net create",
        )
    if [family for family, said in facts.tables if said == mark(network.root)] != ["inet", "bridge"]:
        raise KernelError(
            "the firewall tables of weft are gone: without its guards no container is attached",
            hint="somebody flushed nftables; remove the networks (weft net rm -f) and make them again",
        )


def _make_room(work: Work, found: Attached) -> tuple[Op, ...]:
    name, endpoint = found.sandbox.name, found.endpoint
    facts = work.machine.place_facts(endpoint.mark, name)
    if facts.netns:
        raise NotOurs(
            f"a network namespace {name} exists under /run/netns and is not weft's", "choose another --name"
        )
    if facts.foreign_file:
        raise NotOurs(f"{facts.foreign_file} exists and is not weft's", "choose another --name")
    # A container of this name was removed a moment ago and its namespace is still dying.
    return (LinkDel(facts.stale.ifname, endpoint.mark),) if facts.stale is not None else ()


def _ports(work: Work, endpoints: Sequence[Endpoint]) -> tuple[Op, ...]:
    """Holding the published ports comes first: most of what can fail about them fails there."""
    publishes = [p for e in endpoints for p in e.publish]
    if not publishes:
        return ()
    running = work.store.needs_proxy()  # ``recover`` has seen to it that it lives
    if not running and not any(p.covers_loopback for p in publishes):
        for publish in publishes:
            work.machine.probe_port(publish)
        return ()
    first: tuple[Op, ...] = ()
    if not running:
        from weft.engine import proxy

        first = proxy.start(work)
    return (*first, *[op for e in endpoints for op in driver.loopback_wants(e)])


def _store(work: Work, found: Attached) -> None:
    work.store.add_container(found.sandbox, "created")
    work.store.add_endpoint(found.endpoint)
    if not found.fixed:
        work.store.set_next_address(found.network.name, found.endpoint.address.value + 1)


def settle(work: Work, found: Attached, state: State) -> None:
    """The container stands: strikes the journal entry out and stores its state.

    Conflict when somebody has removed it meanwhile.
    """
    if not work.settle(found.entry, lambda: work.store.set_state(found.sandbox.name, state)):
        raise removed(found)


def removed(found: Attached) -> Conflict:
    """Why a container is not there, though all went well: nobody keeps the lock while a command starts."""
    return Conflict(f"container {found.sandbox.name} was removed while it started")


def create(work: Work, request: RunRequest) -> Attached:
    """A network-only container: no process, held by its mount; its state is running."""
    found = attach(work, request)
    if not work.dry:
        settle(work, found, State("running"))
    return found


def published_remark(endpoint: Endpoint) -> str:
    """What a user should know of ports published on 127.0.0.1 by default; "" when there are none."""
    local = [p for p in endpoint.publish if p.host.loopback]
    if not local:
        return ""
    ports = ", ".join([f"{p.host}:{p.host_port} -> {p.port}/{p.proto}" for p in local])
    return f"published on loopback only: {ports} (0.0.0.0:PORT:PORT opens it to the network)"
