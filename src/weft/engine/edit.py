"""What can change of a network that is in use: labels, isolation, NAT, MTU, and what DNS it has."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.drivers import options
from weft.core.firewall.elements import endpoint_elements, network_elements
from weft.core.model.errors import BadInput
from weft.core.ops.link import LinkMtu, PortIsolate
from weft.core.ops.nft import ElementDel
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine import dns, target
from weft.engine.work import EDIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.network import Endpoint, Network
    from weft.core.ops.base import Op
    from weft.engine.work import Work


class Change(Record):
    """What is to change. A label or option with an empty value goes; "" and 0 leave things as they are."""

    labels: tuple[tuple[str, str], ...] = ()
    isolated: bool | None = None
    nat: str = ""
    mtu: int = 0
    options: tuple[tuple[str, str], ...] = ()


def edit(work: Work, name: str, change: Change) -> Network:
    """Changes a network and all its members as one durable change. NotFound, BadInput."""
    if change.nat not in ("", "nat", "routed"):
        raise BadInput(f"--nat {change.nat!a} is not nat or routed")
    with work.machine.lock():
        work.recover()
        old = work.store.network(name)
        new = _changed(old, change)
        endpoints = work.store.endpoints(old.name)
        try:
            plan = Plan(
                (
                    *_elements(old, new, endpoints),
                    *_ports(old, new, endpoints),
                    *_mtu(work, old, new, endpoints),
                    *_dns(work, old, new, endpoints),
                )
            )
            if work.dry:
                work.show(plan)
                return new

            def wish() -> None:
                work.store.change_network(new)
                dns.note(work, new)

            work.settle(work.make(EDIT, f"{old.name}\n{_words(old)}", plan, wish))
            work.mend_dns()
        finally:
            work.machine.unpin()
        return new


def _changed(network: Network, change: Change) -> Network:
    low = 1280 if network.ipv6 else 68
    if not network.managed and change != Change(change.labels):
        raise BadInput(f"only labels of network {network.name} can change", "make another one in its place")
    if change.mtu and not low <= change.mtu <= 65535:
        raise BadInput(f"MTU {change.mtu} is not between {low} and 65535")
    if network.internal and change.nat == "routed":
        raise BadInput(f"network {network.name} is internal: it cannot be routed")
    labels = {**dict(network.labels), **dict(change.labels)}
    return network._replace(
        labels=tuple([(k, v) for k, v in labels.items() if v or k not in dict(change.labels)]),
        isolated=network.isolated if change.isolated is None else change.isolated,
        nat=change.nat or network.nat,
        mtu=change.mtu or network.mtu,
        follows_mtu=network.follows_mtu and not change.mtu,
        options=_options(network, change),
    )


def _options(network: Network, change: Change) -> tuple[tuple[str, str], ...]:
    """With those that are to change; only some can while a network is used."""
    fixed = next((key for key, _ in change.options if key not in options.EDITABLE), None)
    if fixed is not None:
        raise BadInput(f"option {fixed!a} cannot change", f"those that can: {', '.join(options.EDITABLE)}")
    gone = {key for key, value in change.options if not value}
    given = options.parse([pair for pair in change.options if pair[1]])
    found = {**dict(network.options), **given}
    return tuple(sorted([(k, v) for k, v in found.items() if k not in gone]))


def _dns(work: Work, old: Network, new: Network, endpoints: Sequence[Endpoint]) -> tuple[Op, ...]:
    """The server comes with the first network that wants it, and sees by itself what has changed;
    members see it as their name server, or no more."""
    if (old.dns, old.dns_port) == (new.dns, new.dns_port):
        return ()
    dns.check(work, new)
    seen: list[Op] = []
    for endpoint in endpoints:
        networks = dns.networks_of(work, endpoint.container)
        after = [new if n.name == new.name else n for n in networks]
        seen += dns.servers(work, work.store.container(endpoint.container)[0], networks, after)
    return (*dns.wants(new), *seen)


def _elements(old: Network, new: Network, endpoints: Sequence[Endpoint]) -> list[Op]:
    """The firewall's elements that differ: new ones first, so that nothing is open in between."""
    before = [*network_elements(old), *[op for e in endpoints for op in endpoint_elements(old, e)]]
    after = [*network_elements(new), *[op for e in endpoints for op in endpoint_elements(new, e)]]
    old_ones = [op for op in reversed(before) if op not in set(after)]
    gone = [ElementDel(op.family, op.table, op.set, op.key, op.data, op.comment) for op in old_ones]
    return [*[op for op in after if op not in set(before)], *gone]


def _ports(old: Network, new: Network, endpoints: Sequence[Endpoint]) -> list[Op]:
    if old.isolated == new.isolated:
        return []
    joints = [driver.joint_name(old, shard) for shard in range(1, old.shards + 1)]
    ports = [*[e.host_ifname for e in endpoints], *joints]
    return [PortIsolate(ifname, new.isolated) for ifname in ports]


def _mtu(work: Work, old: Network, new: Network, endpoints: Sequence[Endpoint]) -> list[Op]:
    """Bridge and cables. Containers' ends come first where it grows, the bridge's MTU is the smallest of
    its ports'."""
    if old.mtu == new.mtu:
        return []
    ops: list[Op] = []
    for endpoint in endpoints:
        ops.append(LinkMtu(endpoint.host_ifname, new.mtu, old.mtu))
        where = _inside(work, endpoint)
        if where:
            ops.append(LinkMtu(endpoint.ifname, new.mtu, old.mtu, where))
    for shard in range(1, old.shards + 1):
        ends = (driver.joint_name(old, shard), f"wk{old.shard_id(shard)[:12]}", old.bridge_of(shard))
        ops += [LinkMtu(ifname, new.mtu, old.mtu) for ifname in ends]
    return ops if old.adopted else [*ops, LinkMtu(old.bridge, new.mtu, old.mtu)]


def _inside(work: Work, endpoint: Endpoint) -> str:
    """A member's namespace; "" when it is gone."""
    sandbox = work.store.container(endpoint.container)[0]
    if not sandbox.target:
        return sandbox.name if work.machine.netns_inode(sandbox.name) else ""
    found = target.find(work, sandbox.target)
    return found.netns if found is not None and found.inode == sandbox.inode else ""


def _words(network: Network) -> str:
    """What recovery puts back: see ``work.forget``."""
    return "\n".join(
        [str(int(network.isolated)), network.nat, str(network.mtu), str(int(network.follows_mtu))]
        + [str(len(network.options))]
        + [f"{key}={value}" for key, value in (*network.options, *network.labels)]
    )
