"""Repair: the kernel agrees with the wishes again, whatever a foreign hand, a flush or a reboot did to it."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.firewall.elements import endpoint_elements, network_elements, proxy_element
from weft.core.model.errors import NotFound, WeftError
from weft.core.model.state import State
from weft.core.ops.file import HostsSwitch
from weft.core.ops.netns import NetnsAdd, NetnsAttach
from weft.core.ops.nft import ElementAdd, TableAdd
from weft.core.plan import diff
from weft.core.plan.diff import Seen
from weft.core.plan.plan import Plan, batched
from weft.core.record import Record
from weft.engine import dns, driven, rebuild, removal, target
from weft.engine.reaping import reap
from weft.engine.work import REPAIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.core.ops.base import Op
    from weft.engine.work import Work

#: The store's value that names the boot in which all that is on record was made.
_BOOT = "boot"


class Report(Record):
    """What was mended, an operation's description each, and what could not be."""

    mended: tuple[str, ...]
    failed: tuple[str, ...]


class Member(Record):
    """A container with its places in networks, and where its network namespace is found ("": it is gone)."""

    sandbox: Sandbox
    pid: int
    started: int
    places: tuple[tuple[Network, Endpoint], ...]
    where: str
    rooted: bool = False


def repair(work: Work) -> Report:
    """Mends all that differs. Containers whose processes are gone, as after a reboot, have exited first."""
    with work.machine.lock():
        work.recover()
        mended = _settle_boot(work)
        reap(work)
        networks, everyone = _wanted(work)
        inventory = work.machine.inventory(sysctls_of(networks.values()))
        found = rebuild.remember(work, inventory, networks.values(), everyone.values())
        if found:
            mended += found
            networks, everyone = _wanted(work)
        if not networks:
            return Report(tuple(mended), ())
        rooted = work.store.rooted()
        members = [
            _member(work, networks, everyone, s, state)._replace(rooted=s.name in rooted)
            for s, state in _sandboxes(work)
        ]
        seen = Seen(inventory)
        plans = [firewall(work, networks, members, seen)]
        plans += [_network(work, network, members, seen) for network in networks.values()]
        plans.append(_foreign(work, networks.values()))
        failed = [f for ops in plans if ops for f in _apply(work, Plan(tuple(ops)), mended)]
        failed += _containers(work, members, seen, mended)
        if not work.dry:
            work.mend_proxy()
        return Report(tuple(mended), tuple(failed))


class Ready:
    """The whole firewall as one transaction, encoded and kept in memory for the moment when it is flushed."""

    __slots__ = ("_plan", "_version", "_work")

    def __init__(self, work: Work) -> None:
        self._work = work
        self._version = (-1, -1)
        self._plan = Plan(())

    def refresh(self) -> None:
        """Works it out anew, where the database has changed since."""
        work, version = self._work, self._work.store.version()
        if version == self._version:
            return
        networks = {n.name: n for n in work.store.networks()}
        own = bool(_tables(work, networks))
        wanted = elements(work, networks, members_of(work, networks)) if own else []
        self._plan = Plan((*driver.tables_want(work.store.root), *wanted)) if own else Plan(())
        work.machine.prepare(self._plan)
        self._version = version

    def mend(self) -> Report | None:
        """Puts it in place where both tables are gone; None when it does not fit any more."""
        work = self._work
        with work.machine.lock():
            work.recover()
            fits = self._plan.ops and work.store.version() == self._version
            if not fits or work.machine.tables_seen():
                return None
            try:
                work.machine.apply_prepared(self._plan)
            except WeftError:
                return None
        return Report(tuple([op.describe() for op in self._plan.ops[:2]]), ())


def mend_firewall(work: Work) -> Report:
    """Only the firewall, where its tables are gone: what a flush takes is back at once."""
    with work.machine.lock():
        work.recover()
        networks = {n.name: n for n in work.store.networks()}
        if not networks:
            return Report((), ())
        members = members_of(work, networks)
        wanted = elements(work, networks, members)
        tables = _tables(work, networks)
        seen = work.machine.tables_seen()
        missing = [t for t in tables if t.family not in seen]
        families = {t.family for t in missing}
        ops = [*missing, *[e for e in wanted if e.family in families]]
        mended: list[str] = []
        failed = _apply(work, Plan(tuple(ops)), mended) if ops else []
        return Report(tuple(mended), tuple(failed))


def _wanted(work: Work) -> tuple[dict[str, Network], dict[str, list[Endpoint]]]:
    return {n.name: n for n in work.store.networks()}, work.store.everyone()


def members_of(work: Work, networks: dict[str, Network]) -> list[Member]:
    """All containers with their places, without a look at their processes."""
    everyone = work.store.everyone()
    return [_placed(networks, everyone, s) for s, _ in _sandboxes(work)]


def _placed(networks: dict[str, Network], everyone: dict[str, list[Endpoint]], sandbox: Sandbox) -> Member:
    places = tuple([(networks[e.network], e) for e in everyone.get(sandbox.name, ())])
    return Member(sandbox, 0, 0, places, "")


def _sandboxes(work: Work) -> list[tuple[Sandbox, State]]:
    found = [*work.store.containers(), *work.store.foreign()]
    return [(s, state) for s, state in found if state.word != "exited"]


def _settle_boot(work: Work) -> list[str]:
    """After a reboot no process of before runs: those containers have exited, their addresses are free."""
    boot = work.machine.boot_id()
    known = work.store.get(_BOOT)
    if known == boot or work.dry:
        return []
    said = []
    if known:
        for sandbox, _ in work.store.supervised():
            work.say(f"container {sandbox.name} ended with the machine")
            removal.lost(work, sandbox)
            said.append(f"container {sandbox.name} has exited: the machine was started anew")
    with work.store.write():
        work.store.put(_BOOT, boot)
    return said


def _member(
    work: Work,
    networks: dict[str, Network],
    everyone: dict[str, list[Endpoint]],
    sandbox: Sandbox,
    state: State,
) -> Member:
    places = _placed(networks, everyone, sandbox).places
    alive = state.pid is not None and work.machine.alive(state.pid, state.started)
    pid, started = (state.pid or 0, state.started or 0) if alive else (0, 0)
    if not sandbox.target:
        return Member(sandbox, pid, started, places, sandbox.name)
    found = target.find(work, sandbox.target)
    return Member(sandbox, 0, 0, places, found.netns if found is not None else "")


def sysctls_of(networks: Iterable[Network]) -> tuple[str, ...]:
    """The host's sysctls that networks depend on."""
    networks = [n for n in networks if n.managed]
    keys = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", driver.ALL_SEND_REDIRECTS]
    for network in networks:
        six = f"net/ipv6/conf/{network.bridge}"
        keys += [f"{six}/disable_ipv6", f"{six}/accept_ra", f"{six}/accept_redirects"]
        keys += [f"net/ipv4/conf/{network.bridge}/{key}" for key in ("send_redirects", "accept_redirects")]
    return tuple(keys)


def firewall(work: Work, networks: dict[str, Network], members: Sequence[Member], seen: Seen) -> list[Op]:
    """The firewall's part, as one transaction."""
    return diff.firewall_steps(_tables(work, networks), elements(work, networks, members), seen.inventory)


def _tables(work: Work, networks: dict[str, Network]) -> list[TableAdd]:
    """Those that are wanted: none where no network is a bridge of weft's."""
    if not any(network.bridged for network in networks.values()):
        return []
    return [op for op in driver.tables_want(work.store.root) if isinstance(op, TableAdd)]


def elements(work: Work, networks: dict[str, Network], members: Sequence[Member]) -> list[ElementAdd]:
    """All elements that are wanted."""
    found = [op for network in networks.values() for op in network_elements(network)]
    found += [op for m in members for network, e in m.places for op in endpoint_elements(network, e)]
    port = work.store.get("proxy_port")
    return [*found, *([proxy_element(int(port))] if port else [])]


def _network(work: Work, network: Network, members: Sequence[Member], seen: Seen) -> list[Op]:
    ops: list[Op] = []
    if network.remote:
        return ops
    if network.managed and not network.internal:
        ops += [driver.forwarding(v) for v in (4, 6) if (network.ipv4 if v == 4 else network.ipv6)]
    ops += driven.network_wants(network, work.hosts_file(network.name))
    hosts = [work.hosts_file(network.name)]
    places = [(m.sandbox, e) for m in members for n, e in m.places if n.name == network.name]
    lines = [op for sandbox, e in places for op in driver.names_want(sandbox, e, hosts)]
    return diff.host_steps([*ops, *lines], seen)


def _foreign(work: Work, networks: Iterable[Network]) -> list[Op]:
    """What other people's firewalls lack."""
    from weft.core.firewall.foreign import all_want

    return list(all_want([n for n in networks if n.managed], work.machine.foreign_facts()))


def _containers(work: Work, members: Sequence[Member], seen: Seen, mended: list[str]) -> list[str]:
    """The containers in need, all at once; where that fails one by one, so that one keeps no other down."""
    own = work.store.with_own_hosts()
    plans = [tuple(_container(work, member, own, seen)) for member in members]
    whole = [p for p in plans if p]
    if not whole:
        return []
    failed = _apply(work, batched(whole), mended)
    if not failed or len(whole) == 1:
        return failed
    return [f for ops in whole for f in _apply(work, Plan(ops), mended)]


def _container(work: Work, member: Member, own: frozenset[str], seen: Seen) -> list[Op]:
    sandbox = member.sandbox
    if sandbox.mode == "host" or not member.where:
        return []
    ops: list[Op] = []
    fresh = False
    if not sandbox.target:
        ops += _names(work, member, own, seen)
        fresh = any(isinstance(op, (NetnsAdd, NetnsAttach)) for op in ops) and not member.pid
    inside: list[Op] = []
    for network, endpoint in member.places:
        if network.remote:
            continue
        netns = member.where if sandbox.target else ""
        if not network.bridged:
            inside += _sublink(work, member, network, endpoint, fresh)
        elif not diff.plugged(network, endpoint, seen):
            wants = driven.endpoint_wants(network, sandbox, endpoint, netns)
            inside += diff.endpoint_steps(wants, seen)
    ops += inside
    if fresh:
        ops += driver.sandbox_starts(sandbox)
    if inside or fresh:
        new = {op.ifname for op in inside if op.netns and hasattr(op, "ifname")}
        routes = driver.default_routes(member.places, member.where)
        ops += [r for r in routes if r.ifname in new]
    return ops


def _sublink(work: Work, member: Member, network: Network, endpoint: Endpoint, fresh: bool) -> list[Op]:
    """All of a link on another one's wire, where it is not there: it goes with what it is on."""
    sandbox = member.sandbox
    try:
        links = () if fresh else work.machine.links_of(member.where)
    except NotFound:
        links = ()
    if any(endpoint.mark in link.altnames for link in links):
        return []
    netns = member.where if sandbox.target else ""
    return [*driven.endpoint_wants(network, sandbox, endpoint, netns)]


def _shown(work: Work, member: Member, own: frozenset[str]) -> str:
    """The hosts file that a container sees, as ``hosts_of`` has it."""
    name = member.sandbox.name
    if member.sandbox.mode or name in own or not member.places:
        return work.hosts_of(name)
    return work.hosts_file(member.places[0][0].name)


def _names(work: Work, member: Member, owners: frozenset[str], seen: Seen) -> list[Op]:
    """A container's name files and the name of its namespace, which its process may still have."""
    sandbox = member.sandbox
    shown = _shown(work, member, owners)
    own = shown == work.own_hosts_file(sandbox.name)
    lines = work.own_hosts_lines(sandbox) if own else None
    donor = sandbox.mode.partition(":")[2]
    shared = [work.hosts_file(n.name) for n, _ in member.places] if own else []
    copies = driver.copies_want(shown, shared)
    networks = dns.networks_of(work, donor) if donor else [n for n, _ in member.places]
    made = driver.sandbox_wants(sandbox, shown, lines, donor, member.rooted, networks)
    wants = (*made, *copies)
    steps = diff.files_steps(wants, seen)
    if member.pid:
        steps = [
            NetnsAttach(op.name, f"/proc/{member.pid}/ns/net") if isinstance(op, NetnsAdd) else op
            for op in steps
        ]
    if member.pid and shown not in seen.files:
        steps.append(HostsSwitch(sandbox.name, shown, shown, member.pid, member.started))
    return steps


def _apply(work: Work, plan: Plan, mended: list[str]) -> list[str]:
    """Does a plan as a whole; why it could not be done. What one part cannot have keeps no other down."""
    if work.dry:
        work.show(plan)
    else:
        try:
            births = _births(plan)
            if births.ops:
                work.settle(work.make(REPAIR, "", plan, lambda: None, births))
            else:
                # Nothing that is half done would stand in the way: the next repair goes on from there.
                work.machine.apply(plan, work.step)
        except WeftError as error:
            return [str(error)]
    mended += [op.describe() for op in plan.ops]
    return []


def _births(plan: Plan) -> Plan:
    """What a killed repair's successor takes back: links half made. It never takes a guard away."""
    from weft.core.ops.link import BridgeAdd, VethAdd

    return Plan(tuple([op for op in plan.ops if isinstance(op, (BridgeAdd, VethAdd))])).undo()
