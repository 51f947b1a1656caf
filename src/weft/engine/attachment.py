"""What the plug-ins of CNI ask of the engine beside joining and leaving: see frontends/cni."""

from __future__ import annotations

from weft.core.model.errors import Conflict, NotFound, WeftError
from weft.core.model.names import mac_of, mac_text
from weft.core.model.network import EGRESS, INGRESS
from weft.core.ops.traffic import shaping, unqueued, unshaped
from weft.core.plan.plan import Plan
from weft.engine import connect, container, foreign, network
from weft.engine.lease import Claims
from weft.engine.request import Join
from weft.engine.target import find
from weft.engine.work import REPAIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint, Network
    from weft.engine.work import Work


def was_other(work: Work, member: str, target: str, name: str, ifname: str) -> bool:
    """Whether one of that name in another namespace is in the network still: whoever attaches forgets it.

    Conflict when it is this very namespace: an ADD is not to be done twice.
    """
    endpoint = work.store.endpoint(member, name) if work.store.has_container(member) else None
    if endpoint is None:
        return False
    sandbox = work.store.container(member)[0]
    try:
        now = find(work, target)
    finally:
        work.machine.unpin()
    if now is not None and now.inode == sandbox.inode:
        raise Conflict(
            f"container {member.partition(':')[2]} is in network {name} already, with {endpoint.ifname}",
            "DEL takes it out" if endpoint.ifname == ifname else "a container has one interface in a network",
        )
    return True


def drop_unused(work: Work, name: str) -> None:
    """Takes a network back that was made for somebody who could not join."""
    found = work.store.find_network(name)
    if found is None or not foreign.unused(work, found):
        return
    with work.machine.lock():
        work.recover()
        found = work.store.find_network(name)
        if found is not None and foreign.unused(work, found):
            network.drop(work, found)


def bridge_mac(work: Work, found: Network) -> str:
    """The MAC of a network's bridge: of one that was there before, as it is."""
    if not found.adopted:
        return found.mac
    links = work.machine.links_of("")
    return next((mac_text(one.mac) for one in links if one.ifname == found.bridge and one.mac), "")


def members(work: Work, name: str, prefix: str) -> list[Endpoint]:
    """The members of a network whose names begin so; none when there is no such network."""
    if work.store.find_network(name) is None:
        return []
    return [e for e in work.store.endpoints(name) if e.container.startswith(prefix)]


def place_of(work: Work, member: str, name: str) -> tuple[Network, Endpoint]:
    """A container's place in a network. NotFound."""
    endpoint = work.store.endpoint(member, name) if work.store.has_container(member) else None
    if endpoint is None:
        raise NotFound(f"container {member.partition(':')[2]} is not in the weft network {name}")
    return work.store.network(endpoint.network), endpoint


def check_whole(work: Work, found: Network, endpoint: Endpoint) -> None:
    """KernelError when a network is not whole; WeftError when a member's guard is not."""
    container.check_network(work, found)
    if found.bridged:
        facts = work.machine.place_facts([endpoint.mark], "")
        if not facts.stale:
            raise WeftError(f"the cable of {endpoint.container} in network {found.name} is gone")


def check_ready(work: Work, name: str) -> None:
    """Raises what would keep a container from joining a network, as far as can be seen."""
    found = work.store.find_network(name)
    if found is None:
        work.machine.tables_seen()  # Unsupported, where the kernel has no nf_tables
        return
    container.check_network(work, found)
    container.shard_for(work, found, Claims())


def shape(work: Work, name: str, member: str, rates: tuple[tuple[str, str], ...]) -> None:
    """Holds a member to rates (INGRESS, EGRESS). NotFound, KernelError, Unsupported."""
    with work.machine.lock():
        work.recover()
        found, endpoint = place_of(work, member, name)
        others = tuple([pair for pair in endpoint.options if pair[0] not in (INGRESS, EGRESS)])
        shaped = endpoint._replace(options=(*others, *rates))
        plan = Plan(shaping(found, shaped))
        try:
            work.settle(work.make(REPAIR, "", plan, lambda: work.store.set_endpoint_options(shaped)))
        except BaseException:
            with work.store.write():
                work.store.set_endpoint_options(endpoint)
            raise


def unshape(work: Work, name: str, member: str) -> None:
    """Lets a member go as fast as it can. Nothing when it is not there, or has no rates."""
    with work.machine.lock():
        work.recover()
        endpoint = work.store.endpoint(member, name) if work.store.has_container(member) else None
        if endpoint is None or not (endpoint.option(INGRESS) or endpoint.option(EGRESS)):
            return
        others = tuple([pair for pair in endpoint.options if pair[0] not in (INGRESS, EGRESS)])
        free = endpoint._replace(options=others)
        plan = Plan((*unqueued(endpoint), *unshaped(endpoint)))
        work.unmake(REPAIR, "", plan, lambda: work.store.set_endpoint_options(free), populated=False)


def queue_mac(endpoint: Endpoint) -> str:
    """The MAC of the device that queues what a member sends."""
    return mac_of(endpoint.id)


def change_mac(work: Work, name: str, member: str, mac: str) -> None:
    """A member with another MAC: its cable made anew, all else as it was. Conflict when somebody has it."""
    _, endpoint = place_of(work, member, name)
    sandbox = work.store.container(member)[0]
    called = connect.Called(member, sandbox.hostname, sandbox.labels, sandbox.dns)
    join = _again(endpoint)
    if work.store.mac_holder(endpoint.network, mac):
        raise Conflict(f"MAC {mac} is taken in network {name}")
    foreign.detach(work, member, [name], keep=True)
    try:
        foreign.attach(work, sandbox.target, called, [(join._replace(mac=mac), endpoint.publish)])
    except WeftError:
        foreign.attach(work, sandbox.target, called, [(join, endpoint.publish)])
        raise


def _again(endpoint: Endpoint) -> Join:
    """What was asked of a place, as it came out."""
    routes = [str(r.to) + (f"@{r.via}" if r.via is not None else "") for r in endpoint.routes]
    kinds = [f" {r.type} metric {r.metric}" if r.metric else f" {r.type}" for r in endpoint.routes]
    keys = [("net." + ".".join(key.split("/")[1:]), value) for key, value in endpoint.sysctls]
    sysctls = [(key.replace(f".{endpoint.ifname}.", ".IFNAME."), value) for key, value in keys]
    return Join(
        endpoint.network,
        addresses=tuple([str(c.address) for c in endpoint.addresses]),
        mac=endpoint.mac,
        ifname=endpoint.ifname,
        aliases=endpoint.aliases,
        priority=endpoint.priority,
        sysctls=tuple(sysctls),
        routes=tuple([route + kind for route, kind in zip(routes, kinds, strict=True)]),
        options=endpoint.options,
    )
