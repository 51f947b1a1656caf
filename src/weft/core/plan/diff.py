"""Wanted less observed: which operations of a plan would change something, and what stands that nothing
wants.

Pure: an inventory comes in, operations come out. docs/decisions/0015-repair.md
"""

from __future__ import annotations

from weft.core.ops import address as a
from weft.core.ops import file as f
from weft.core.ops import link as ln
from weft.core.ops import netns as n
from weft.core.ops import nft, route, rule
from weft.core.ops import vlan as v
from weft.core.ops.shard import JointAdd
from weft.core.ops.traffic import IfbAdd
from weft.core.ops.wire import LinkMaster
from weft.core.wire import nft_expr as ex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from weft.core.model.inventory import Entry, Inventory, SeenLink, SeenTable
    from weft.core.model.network import Endpoint, Network
    from weft.core.ops.base import Op


class Seen:
    """An inventory, ready to be asked."""

    __slots__ = ("addresses", "by_mark", "by_name", "files", "inventory", "shown", "sysctls")

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.by_name = {link.ifname: link for link in inventory.links}
        self.by_mark = {mark: link for link in inventory.links for mark in link.altnames}
        self.files = dict(inventory.files)
        self.shown = dict(inventory.shown)
        self.sysctls = dict(inventory.sysctls)

    def port(self, op: ln.VethAdd) -> SeenLink | None:
        """The host's end of a cable; None when it is not there."""
        return self.by_mark.get(op.mark)


def host_steps(ops: Sequence[Op], seen: Seen) -> list[Op]:
    """What is missing of a network: of its bridge, addresses, rules, files. Not the firewall's part."""
    found: list[Op] = []
    made: set[str] = set()
    for op in ops:
        if op.kind == "nft":
            continue
        if isinstance(op, ln.BridgeAdd):
            bridge, missing = _bridge(op, seen)
            found += bridge
            if missing:
                made.add(op.ifname)
        elif isinstance(op, JointAdd):
            found += _joint(op, seen)
        elif (_ifname(op) in made and op.kind != "file") or not _stands(op, seen):
            found.append(op)
    return found


def _ifname(op: Op) -> str:
    """The host's link that an operation is about."""
    if isinstance(op, n.Sysctl):
        parts = op.key.split("/")
        return parts[3] if op.key.startswith(("net/ipv4/conf/", "net/ipv6/conf/")) else ""
    return str(getattr(op, "ifname", "")) if not op.netns else ""


def _bridge(op: ln.BridgeAdd, seen: Seen) -> tuple[list[Op], bool]:
    link = seen.by_mark.get(op.mark)
    if link is not None:
        return ([ln.LinkMtu(op.ifname, op.mtu, link.mtu)] if link.mtu != op.mtu else []), False
    stray = seen.by_name.get(op.ifname)
    # Killed between birth and mark: known by its MAC. A stranger of that name makes the plan fail, and stays.
    before = [ln.LinkDel(op.ifname, op.mark, mac=op.mac)] if stray is not None and stray.mac == op.mac else []
    return [*before, op], True


def _joint(op: JointAdd, seen: Seen) -> list[Op]:
    if op.mark not in seen.by_mark:
        return [op]
    near, far = seen.by_name.get(op.ifname), seen.by_name.get(op.peer)
    steps: list[Op] = []
    if near is not None and near.group != op.group:
        steps.append(ln.LinkGroup(op.ifname, op.group))  # first: the chain `joint` goes by it
    if near is not None and (near.master != op.bridge or near.hairpin != op.hairpin):
        steps.append(ln.Replug(op.ifname, op.bridge, op.isolated, op.hairpin))
    elif near is not None and near.isolated != op.isolated:
        steps.append(ln.PortIsolate(op.ifname, op.isolated))
    if far is not None and far.master != op.peer_bridge:
        steps.append(LinkMaster(op.peer, op.peer_bridge))
    return steps


def plugged(network: Network, endpoint: Endpoint, seen: Seen) -> bool:
    """Whether a container's cable is as it should be: asked before all that it wants is worked out."""
    link = seen.by_mark.get(endpoint.mark)
    return (
        link is not None
        and link.master == network.bridge_of(endpoint.shard)
        and link.up
        and link.hairpin
        and link.isolated == network.apart
        and link.mtu == network.mtu
        and (not network.vlan or link.pvid == network.vlan)
    )


def endpoint_steps(ops: Sequence[Op], seen: Seen) -> list[Op]:
    """What is missing of a container's place in a network. A cable that is there has all that was made
    inside."""
    veth = next(op for op in ops if isinstance(op, ln.VethAdd))
    link = seen.port(veth)
    if link is None:
        return [op for op in ops if op.kind != "nft" and not _queued(op, seen)]
    found: list[Op] = []
    if link.master != veth.bridge or not link.hairpin:
        found.append(ln.Replug(veth.ifname, veth.bridge, veth.isolated))
    elif link.isolated != veth.isolated:
        found.append(ln.PortIsolate(veth.ifname, veth.isolated))
    if not link.up:
        found.append(ln.LinkUp(veth.ifname))
    if link.mtu != veth.mtu:
        found.append(ln.LinkMtu(veth.ifname, veth.mtu, link.mtu))
    return [*found, *[_moved(op, link) for op in ops if isinstance(op, v.PortVlan) and link.pvid != op.vlan]]


def _moved(op: v.PortVlan, link: SeenLink) -> Op:
    """From the VLAN that it is in to its own."""
    return op._replace(old=link.pvid or 1)


def _queued(op: Op, seen: Seen) -> bool:
    """Whether it would make a container's queue that is there: it outlives the cable."""
    return isinstance(op, IfbAdd) and op.mark in seen.by_mark


def _address(op: a.AddressAdd, seen: Seen) -> bool:
    return (op.ifname, op.address, op.prefix) in seen.inventory.addresses


def _rule(op: rule.RuleAdd, seen: Seen) -> bool:
    r = op.rule
    wanted = (r.version, r.preference, r.iif, r.table, r.to, r.unmarked)
    return any(s._astuple() == wanted for s in seen.inventory.rules)


def _hosts(op: f.HostsAdd, seen: Seen) -> bool:
    return op.line in seen.files.get(op.path, ())


def _up(op: ln.LinkUp, seen: Seen) -> bool:
    link = seen.by_name.get(op.ifname)
    return link is not None and link.up


def _seen(ifname: str, seen: Seen, field: str) -> object:
    """What is so of a link; None where it is not there."""
    return getattr(seen.by_name.get(ifname), field, None)


def _adopted(op: ln.BridgeAdopt, seen: Seen) -> bool:
    return op.mark in seen.by_mark


_STANDS: dict[type[Op], Callable[[Any, Seen], bool]] = {
    a.AddressAdd: _address,
    a.AddressLend: _address,
    rule.RuleAdd: _rule,
    route.ProhibitAdd: lambda op, seen: op.subnet in seen.inventory.prohibits,
    f.HostsFile: lambda op, seen: op.path in seen.files,
    f.OwnHosts: lambda op, seen: op.path in seen.files,
    f.HostsAdd: _hosts,
    f.HostsCopy: lambda op, seen: op.path in seen.files,
    n.EtcNetns: lambda op, seen: seen.shown.get(op.name) == op.hosts,
    n.NetnsAdd: lambda op, seen: op.name in seen.inventory.names,
    n.NetnsAttach: lambda op, seen: op.name in seen.inventory.names,
    n.Sysctl: lambda op, seen: seen.sysctls.get(op.key, op.value) == op.value,
    ln.LinkUp: _up,
    ln.AddrGenNone: lambda op, seen: op.ifname in seen.by_name,
    ln.LinkGroup: lambda op, seen: op.ifname in seen.by_name,
    ln.BridgeAdopt: _adopted,
    v.BridgeVlan: lambda op, seen: _seen(op.ifname, seen, "vlan") == op.vlan,
    v.VlanFilter: lambda op, seen: _seen(op.ifname, seen, "filters") == op.on,
    v.PortVlan: lambda op, seen: _seen(op.ifname, seen, "pvid") == op.vlan,
    v.VrfJoin: lambda op, seen: _seen(op.ifname, seen, "master") == op.vrf,
}


def _stands(op: Op, seen: Seen) -> bool:
    check = _STANDS.get(type(op))
    return check is not None and check(op, seen)


def files_steps(ops: Iterable[Op], seen: Seen) -> list[Op]:
    """What is missing of files and names."""
    return [op for op in ops if not _stands(op, seen)]


# the firewall


def firewall_steps(
    tables: Sequence[nft.TableAdd], elements: Iterable[nft.ElementAdd], seen: Inventory
) -> list[Op]:
    """One transaction that makes the tables what they should be: elements added and taken out where the rules
    are whole, else all of it anew. Empty when nothing differs."""
    there, wanted = dict(seen.tables), list(elements)
    found: list[Op] = []
    for table in tables:
        mine = [e for e in wanted if e.family == table.family]
        have = there.get(table.family)
        if have is None:
            found += [table, *mine]
            continue
        steps = _element_steps(table, mine, have) if _whole(table, have) else None
        anew = [nft.TableDel(table.family, table.table), table, *mine]
        found += anew if steps is None else steps
    return found


def _whole(table: nft.TableAdd, have: SeenTable) -> bool:
    chains = frozenset([c.name for c in table.chains])
    sets = {s.name for s in table.sets}
    rules: dict[str, list[object]] = {chain: [] for chain in chains}
    for chain, expressions in have.rules:
        rules.setdefault(chain, []).append(_plain(expressions))
    wanted: dict[str, list[object]] = {chain: [] for chain in chains}
    for r in table.rules:
        wanted[r.chain].append(_plain(r.expressions))
    return (
        have.comment == table.comment
        and have.chains == chains
        and {name for name, _ in have.sets} == sets
        and rules == wanted
    )


def _plain(expressions: Iterable[object]) -> tuple[object, ...]:
    """Expressions as the kernel reports them: a single register of a NAT as a range of one."""
    return tuple([_ranged(e) for e in expressions])


def _ranged(e: object) -> object:
    if isinstance(e, ex.Nat):
        flags = e.flags | (1 if e.reg_addr is not None else 0) | (2 if e.reg_proto is not None else 0)
        return e._replace(
            reg_addr_max=e.reg_addr_max if e.reg_addr_max is not None else e.reg_addr,
            reg_proto_max=e.reg_proto_max if e.reg_proto_max is not None else e.reg_proto,
            flags=flags,
        )
    if isinstance(e, ex.Redir):
        return e._replace(reg_proto_max=e.reg_proto_max if e.reg_proto_max is not None else e.reg_proto)
    if isinstance(e, ex.Lookup):
        return e._replace(set_id=None)
    return e


def _element_steps(table: nft.TableAdd, wanted: Sequence[nft.ElementAdd], have: SeenTable) -> list[Op] | None:
    """What to add and to take out; None where a set of intervals has something that cannot be named."""
    kinds = {s.name: s for s in table.sets}
    left = {name: set(entries) for name, entries in have.sets}
    missing: list[Op] = []
    for op in wanted:
        entries = [(e.key, e.data or b"", bool(e.flags & 1)) for e in nft.entries(op)]
        mine = left[op.set]
        if all(e in mine for e in entries):
            mine.difference_update(entries)
        else:
            missing.append(op)
    surplus: list[Op] = []
    for name, entries_left in left.items():
        for entry in sorted(entries_left):
            if entry[2] and not any(entry[0]):
                continue  # nft's own: the end of what is not in the set, before the first interval
            op_del = _surplus(table, kinds[name], entry)
            if op_del is None:
                return None
            surplus.append(op_del)
    return [*surplus, *missing]


def _surplus(table: nft.TableAdd, kind: Any, entry: Entry) -> Op | None:
    from weft.core.wire.nfnetlink import NFT_SET_INTERVAL

    if kind.flags & NFT_SET_INTERVAL:
        return None
    return nft.ElementDel(table.family, table.table, kind.name, nft.unpack(kind, entry[0]))
