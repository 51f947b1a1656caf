"""Networks: made, removed, looked up (docker-network(1), for the bridge driver)."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.ipam import pool as ipam
from weft.core.model.address import Address, Subnet, parse_address, parse_subnet
from weft.core.model.errors import BadInput, Conflict, NotOurs, NotYet
from weft.core.model.names import check_ifname, check_name, mark
from weft.core.model.network import DEFAULT, Network, Pool, derived_bridge
from weft.core.ops.base import Op
from weft.core.ops.link import LinkDel, LinkGroupDel
from weft.core.ops.nft import TableAdd, TableDel
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine.work import NETWORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.facts import HostFacts
    from weft.engine.work import Work


class NetworkRequest(Record):
    """What a user asks of ``net create``; texts are as typed."""

    name: str
    subnets: tuple[str, ...] = ()
    gateway: str = ""
    bridge: str = ""
    mtu: int = 0
    labels: tuple[tuple[str, str], ...] = ()


def create(work: Work, request: NetworkRequest) -> Network:
    """Makes a network. Conflict when its name, bridge or subnet is taken; BadInput, NotYet."""
    subnet, gateway = check(request)
    with work.machine.lock():
        work.recover()
        return make(work, request, subnet, gateway)


def check(request: NetworkRequest) -> tuple[Subnet | None, Address | None]:
    """All that can be refused without looking at the machine."""
    check_name(request.name, "network")
    if request.name == DEFAULT:
        raise BadInput("network name 'default' is reserved", "it is made when a container first needs it")
    if len(request.subnets) > 1:
        raise NotYet("several subnets in one network are not built yet")
    subnet = parse_subnet(request.subnets[0]) if request.subnets else None
    if subnet is not None:
        _check_subnet(subnet)
    gateway = parse_address(request.gateway, "gateway") if request.gateway else None
    if gateway is not None and subnet is None:
        raise BadInput("--gateway needs --subnet", f"add --subnet, for example {gateway}/24 with host bits 0")
    if gateway is not None and subnet is not None:
        ipam.check_host(subnet, gateway, "gateway")
    if request.bridge:
        check_ifname(request.bridge)
    if request.mtu and not 68 <= request.mtu <= 65535:
        raise BadInput(f"MTU {request.mtu} is not between 68 and 65535")
    return subnet, gateway


_RESERVED = (
    (Subnet(4, 0, 8), "this network (RFC 1122)"),
    (Subnet(4, 127 << 24, 8), "loopback"),
    (Subnet(4, (169 << 24) + (254 << 16), 16), "link-local"),
    (Subnet(4, 224 << 24, 3), "multicast and reserved"),
)


def _check_subnet(subnet: Subnet) -> None:
    if subnet.version == 6:
        raise NotYet(f"subnet {subnet}: IPv6 networks are not built yet", "give an IPv4 subnet")
    if not 8 <= subnet.prefix <= 30:
        raise BadInput(
            f"subnet {subnet} is not between /8 and /30", "a gateway and a container need two addresses"
        )
    for reserved, why in _RESERVED:
        if subnet.overlaps(reserved):
            raise BadInput(f"subnet {subnet} overlaps {reserved}: {why}")


def make(work: Work, request: NetworkRequest, subnet: Subnet | None, gateway: Address | None) -> Network:
    """Makes a checked network; the lock is held."""
    if work.store.find_network(request.name) is not None:
        raise Conflict(
            f"network {request.name} exists already", f"`weft net inspect {request.name}` shows it"
        )
    facts = work.machine.host_facts()
    known = work.store.networks()
    network = _decide(work, request, subnet, gateway, facts, known)
    _check_host(network, facts, known)
    plan = _plan(work, network, facts, first=not known)
    if work.dry:
        work.show(plan)
        return network
    entry = work.make(NETWORK, network.name, plan, lambda: work.store.add_network(network))
    work.settle(entry)
    if not facts.forwarding:
        work.say("switched net.ipv4.ip_forward on: containers reach other networks through this host")
    return network


def _decide(
    work: Work,
    request: NetworkRequest,
    subnet: Subnet | None,
    gateway: Address | None,
    facts: HostFacts,
    known: tuple[Network, ...],
) -> Network:
    if subnet is None:
        taken = [f.subnet for f in facts.routes] + [n.pool4.subnet for n in known]
        subnet = ipam.choose_subnet(taken + [Subnet(a.version, a.value, 32) for a in facts.nameservers])
    root = work.store.root
    return Network(
        root=root,
        name=request.name,
        number=work.store.free_number(),
        pools=(Pool(subnet, gateway or ipam.first_host(subnet)),),
        bridge=request.bridge or derived_bridge(root, request.name),
        mtu=request.mtu or 1500,
        labels=request.labels,
        created=work.machine.now(),
    )


def _check_host(network: Network, facts: HostFacts, known: tuple[Network, ...]) -> None:
    """Nothing foreign is in the way: subnet, bridge, tables."""
    subnet = network.pool4.subnet
    for other in known:
        if subnet.overlaps(other.pool4.subnet):
            raise Conflict(f"subnet {subnet} overlaps {other.pool4.subnet} of network {other.name}")
        if other.bridge == network.bridge:
            raise Conflict(f"bridge {network.bridge} belongs to network {other.name}")
    for route in facts.routes:
        if subnet.overlaps(route.subnet) and route.by != network.bridge:
            raise Conflict(
                f"subnet {subnet} overlaps the host's route to {route.subnet} by {route.by}",
                "choose another --subnet, or leave it out",
            )
    link = facts.link(network.bridge)
    if link is not None and network.mark not in link.altnames:
        raise NotOurs(
            f"a link {network.bridge} ({link.kind or 'device'}) exists and is not weft's",
            "choose another --bridge",
        )
    for family, said in facts.tables:
        if said != mark(network.root):
            raise NotOurs(
                f"the firewall table {family} weft exists and is not this root's ({said or 'no mark'})",
                f"another weft root has it, or see: nft list table {family} weft",
            )


def _plan(work: Work, network: Network, facts: HostFacts, first: bool) -> Plan:
    """What is wanted less what is there; leftovers that carry our mark go first."""
    ops: list[Op] = []
    link = facts.link(network.mark)
    if link is not None:
        ops.append(LinkDel(link.ifname, network.mark))
    for op in driver.tables_want(network.root):
        if isinstance(op, TableAdd):
            there = facts.table(op.family) is not None
            if there and first:
                ops.append(TableDel(op.family, op.table))
            if first or not there:
                ops.append(op)
    if not facts.forwarding:
        ops.append(driver.forwarding())
    return Plan((*ops, *driver.network_wants(network, work.hosts_file(network.name))))


def ensure_default(work: Work) -> Network:
    """The network of containers that name none; made when first needed. The lock is held."""
    found = work.store.find_network(DEFAULT)
    return found or make(work, NetworkRequest(DEFAULT), None, None)


def drop_default(work: Work) -> None:
    """Takes the default network back when what it was made for failed, unless somebody has joined it."""
    found = work.store.find_network(DEFAULT)
    if found is not None and not work.store.count_endpoints(DEFAULT):
        _remove(work, found, [])


def remove(work: Work, name: str, force: bool = False) -> Network:
    """Removes a network; Conflict, naming them, while containers use it, unless ``force`` ends those."""
    with work.machine.lock():
        work.recover()
        network = work.store.network(name)
        endpoints = work.store.endpoints(network.name)
        if endpoints and not force:
            names = ", ".join([e.container for e in endpoints[:5]])
            more = f" and {len(endpoints) - 5} more" if len(endpoints) > 5 else ""
            raise Conflict(
                f"network {network.name} is in use by {names}{more}",
                "remove those containers, or use `weft net rm -f`",
            )
        _remove(work, network, [e.container for e in endpoints])
        return network


def _remove(work: Work, network: Network, members: list[str]) -> None:
    """The network and its members as one durable change: a crash in between ends in neither or both."""
    from weft.engine import proxy, removal

    found = [work.store.container(name)[0] for name in members]
    inside = removal.ends(work, found)
    detach = removal.detach_plan(work, found)
    plan = Plan((*detach.ops, *_removal(work, network, last=len(work.store.networks()) == 1).ops))
    if work.dry:
        work.show(plan)
        return
    subject = "\n".join([network.name, *members])
    work.unmake(NETWORK, subject, plan, lambda: proxy.forget(work, plan), populated=bool(inside))


def _removal(work: Work, network: Network, last: bool) -> Plan:
    """The way back of making it. Ports that something still holds go as a group, with one wait."""
    made = (*driver.tables_want(network.root),) if last else ()
    wanted = driver.network_wants(network, work.hosts_file(network.name))
    if last:
        # The elements go with their tables.
        wanted = tuple([op for op in wanted if op.kind != "nft"])
    return Plan((LinkGroupDel(network.group), *Plan((*made, *wanted)).undo().ops))
