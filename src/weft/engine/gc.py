"""What nothing wants any more: links, rules, routes, elements, names and files with this root's mark and
no wish."""

from __future__ import annotations

from weft.core.drivers.bridge import PROTOCOL, TABLE
from weft.core.model.errors import WeftError
from weft.core.model.names import MARK_PREFIX
from weft.core.ops.base import Op
from weft.core.ops.file import HostsFileDel
from weft.core.ops.link import LinkDel
from weft.core.ops.netns import EtcNetnsDel, NetnsDel
from weft.core.ops.nft import TableDel
from weft.core.ops.route import ProhibitDel
from weft.core.ops.rule import Rule, RuleDel
from weft.core.plan import diff
from weft.core.plan.plan import Plan
from weft.engine import connect, foreign, rebuild, repair, target
from weft.engine.network import drop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.core.model.inventory import Inventory
    from weft.core.model.network import Network
    from weft.engine.work import Work


def collect(work: Work) -> list[str]:
    """Removes it; what was removed, an operation's description each. Never anything without this root's
    mark."""
    with work.machine.lock():
        work.recover()
        done = [*_gone_namespaces(work), *_left_networks(work)]
        networks = {n.name: n for n in work.store.networks()}
        seen = work.machine.inventory(())
        ops = [
            *_links(work, seen),
            *_routing(networks, seen),
            *_elements(work, networks, seen),
            *_files(work, networks, seen),
        ]
        ops += _foreign(work, ops, seen)
        plan = Plan(tuple(ops))
        if work.dry:
            work.show(plan)
        else:
            for error in work.machine.revert(plan):
                work.say(f"warning: {error}")
            if work.step is not None:
                for op in ops:
                    work.step(op)
        return [*done, *[op.describe() for op in ops]]


def _gone_namespaces(work: Work) -> list[str]:
    """Endpoints of other people's namespaces that are no more."""
    done = []
    for sandbox, _ in work.store.foreign():
        found = target.find(work, sandbox.target)
        # Without an inode it is Docker's, and about to come.
        if not sandbox.inode or (found is not None and found.inode == sandbox.inode):
            continue
        for network, _ in connect.members_of(work, sandbox.name):
            try:
                connect.disconnect_locked(work, network, sandbox)
            except WeftError as error:
                work.say(f"warning: {error}")
                continue
            done.append(f"take {sandbox.name}, which is gone, out of network {network.name}")
    work.machine.unpin()
    return done


def _left_networks(work: Work) -> list[str]:
    """Networks that engines made and in which nobody is: their last member went while weft was killed."""
    done = []
    for network in work.store.networks():
        if foreign.unused(work, network):
            drop(work, network)
            done.append(f"remove network {network.name}, which an engine made and nobody is in")
    return done


def _foreign(work: Work, ops: Iterable[Op], seen: Inventory) -> tuple[Op, ...]:
    """Bridges that are no more, in other people's firewalls; those that are about to go too."""
    from weft.core.firewall.foreign import leftovers

    going = {op.ifname for op in ops if isinstance(op, LinkDel)}
    staying = {link.ifname for link in seen.links} - going
    return leftovers(staying, work.machine.foreign_facts())


def _links(work: Work, seen: Inventory) -> list[Op]:
    """Bridges and cables of this root that no network and no endpoint has."""
    wanted = rebuild.known_marks(work.store.networks(), work.store.everyone().values())
    mine, queues = [f"weft root={work.store.root} {word}=" for word in ("network", "queue")]
    found: list[Op] = []
    for link in seen.links:
        marks = [name for name in link.altnames if name.startswith(MARK_PREFIX)]
        if marks and link.alias.startswith((mine, queues)) and not wanted.intersection(marks):
            found.append(LinkDel(link.ifname, marks[0]))
    return found


def _routing(networks: dict[str, Network], seen: Inventory) -> list[Op]:
    """Routing rules and prohibit routes by weft's protocol number. Another root's bridges have links of
    theirs."""
    bridges = {n.bridge_of(shard) for n in networks.values() for shard in range(n.shards + 1)}
    subnets = {p.subnet for n in networks.values() for p in n.pools}
    there = {link.ifname for link in seen.links}
    rules = [
        RuleDel(Rule(r.preference, r.iif, r.table, PROTOCOL, r.to, r.unmarked, r.version))
        for r in sorted(seen.rules, key=lambda r: (r.version, r.preference, r.iif))
        if r.iif not in bridges and r.iif not in there
    ]
    gone = sorted(seen.prohibits - subnets, key=lambda s: (s.version, s.base))
    return [*rules, *[ProhibitDel(subnet, TABLE, PROTOCOL) for subnet in gone]]


def _elements(work: Work, networks: dict[str, Network], seen: Inventory) -> list[Op]:
    """Elements without a wish; without any network the tables themselves."""
    from weft.core.drivers import bridge as driver
    from weft.core.ops.nft import ElementDel, TableAdd

    tables = [op for op in driver.tables_want(work.store.root) if isinstance(op, TableAdd)]
    mine = {family for family, table in seen.tables if table.comment == tables[0].comment}
    if not networks:
        return [TableDel(t.family, t.table) for t in tables if t.family in mine]
    members = repair.members_of(work, networks)
    wanted = repair.elements(work, networks, members)
    steps = diff.firewall_steps([t for t in tables if t.family in mine], wanted, seen)
    return [op for op in steps if isinstance(op, ElementDel)]


def _files(work: Work, networks: dict[str, Network], seen: Inventory) -> list[Op]:
    """Hosts files, names under /etc/netns that lead to them, and names under /run/netns of containers that
    are
    no more."""
    known = {s.name for s, _ in work.store.containers()}
    wanted = {work.hosts_file(name) for name in networks} | {work.own_hosts_file(name) for name in known}
    run = f"{work.machine.run_dir}/"
    stale = [name for name, path in seen.shown if path.startswith(run) and name not in known]
    found: list[Op] = [HostsFileDel(path) for path, _ in seen.files if path not in wanted]
    # /etc/netns/NAME is weft's by where it leads; the name under /run/netns is as old as that.
    named: Iterable[str] = [name for name in stale if name in seen.names]
    return [*found, *[NetnsDel(name) for name in named], *[EtcNetnsDel(name) for name in stale]]
