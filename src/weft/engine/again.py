"""A container that has exited, started again: with the addresses and ports it had, where they are free."""

from __future__ import annotations

from weft.core.model.errors import BadInput, Conflict
from weft.core.model.launch import Launch
from weft.core.model.network import REST
from weft.core.model.state import State
from weft.core.plan.plan import Plan
from weft.engine import container, events, group, lease, ports, whole
from weft.engine.container import Attached
from weft.engine.lease import Claims
from weft.engine.reaping import reap
from weft.engine.request import Join, RunRequest
from weft.engine.run import Start, bring_up
from weft.engine.spec import complete, resolve_locked
from weft.engine.work import DETACH, START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weft.core.boundary import Process
    from weft.core.model.address import Cidr
    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.core.model.state import Life
    from weft.engine.work import Work


def start(
    work: Work, name: str, size: tuple[int, int] = (0, 0), ready: Callable[[], None] = lambda: None
) -> str:
    """Starts a container that has exited, with a monitor; its name. Nothing is changed for one that runs.

    NotFound, Conflict when what it had is another's by now, and what ``bring_up`` raises.
    """
    with work.machine.lock():
        work.recover()
        reap(work)
        sandbox, state = work.store.container(name)
        if state.word == "paused":
            raise Conflict(
                f"container {sandbox.name} is paused", f"`weft unpause {sandbox.name}` lets it go on"
            )
        if state.word != "exited":
            return sandbox.name
        spec = work.store.spec(sandbox.name)
        if spec is not None and spec.process.args:
            spec = resolve_locked(work, spec)
            work.machine.find_command(Launch(spec, sandbox.name))
        found, verb = _stand(work, sandbox)
    if work.dry:
        return sandbox.name
    life = container.begun(work, work.store.life(sandbox.name).policy)

    def settle(state: State) -> None:
        _settle(work, found, lambda: _record(work, found, state, life._replace(kept=())))

    if spec is None or not spec.process.args:
        settle(State("running"))
        return sandbox.name
    launch = Launch(
        complete(spec, found.sandbox, found.hosts),
        sandbox.name,
        work.log_file(sandbox.name),
        life.policy,
        size,
    )

    def make(launch: Launch) -> Process:
        return work.machine.start(launch, fresh=False)

    bring_up(work, Start(found, launch, verb, make, settle, ready))
    return sandbox.name


def once_more(work: Work, name: str) -> None:
    """What a container's monitor does when its command is to be started again: it is started by this
    program, which becomes its monitor. Returns when it is not to be started any more."""
    with work.machine.lock():
        work.recover()
        if not work.store.has_container(name):
            return
        sandbox, state = work.store.container(name)
        if state.word != "restarting" or not work.machine.is_me(state.watcher, state.watcher_started):
            return
        spec, life = work.store.spec(name), work.store.life(name)
        found = Attached(sandbox, (), Plan(()), work.hosts_of(name))
        if spec is None:
            return
        spec = resolve_locked(work, spec)
        found = found._replace(entry=work.make(START, name, found.plan, lambda: None))
    log = work.log_file(name)
    launch = Launch(complete(spec, sandbox, found.hosts), name, log, life.policy)
    fresh = container.begun(work, life.policy)
    now = life._replace(started_at=fresh.started_at, health=fresh.health, failures=0)

    def settle(state: State) -> None:
        _settle(work, found, lambda: _record(work, found, state, now))

    bring_up(work, Start(found, launch, START, work.machine.start_again, settle))


def _settle(work: Work, found: Attached, record: Callable[[], None]) -> None:
    if not work.settle(found.entry, record):
        raise container.removed(found)


def _record(work: Work, found: Attached, state: State, life: Life) -> None:
    name = found.sandbox.name
    if not work.store.has_container(name):
        raise container.removed(found)
    work.store.set_state(name, state)
    work.store.set_life(name, life)
    events.born(work, found.sandbox, [e for _, e in found.members], made=False)


def _stand(work: Work, sandbox: Sandbox) -> tuple[Attached, str]:
    """What it stood in, made again where that is gone; and the verb of the journal entry about it."""
    claims = Claims()
    try:
        return _stood(work, sandbox, claims)
    except BaseException:
        claims.give_back()
        raise


def _stood(work: Work, sandbox: Sandbox, claims: Claims) -> tuple[Attached, str]:
    if sandbox.mode == "host" or work.netns_inode(sandbox.name):
        # Others use its network namespace, which is why it is still there.
        found, verb = Attached(sandbox, (), Plan(()), work.hosts_of(sandbox.name)), START
    else:
        found, verb = _again(work, sandbox, claims), DETACH
    if sandbox.command:
        own = group.wants(work, sandbox, work.store.spec(sandbox.name))
        found = found._replace(plan=Plan((*own, *found.plan.ops)))
    if work.dry:
        work.show(found.plan)
        return found, verb

    def wish() -> None:
        if verb == DETACH:
            _store(work, found)

    return found._replace(entry=work.make(verb, sandbox.name, found.plan, wish)), verb


def _store(work: Work, found: Attached) -> None:
    work.store.wake(work.machine.uptime(), REST)
    container.note_shards(work, found.members)
    for _, endpoint in found.members:
        work.store.add_endpoint(endpoint)
    if found.hosts == work.own_hosts_file(found.sandbox.name):
        work.store.set_own_hosts(found.sandbox.name)


def _again(work: Work, sandbox: Sandbox, claims: Claims) -> Attached:
    """Addresses, names and ports as they were. Conflict, NotFound."""
    kept = work.store.life(sandbox.name).kept
    if sandbox.mode:
        spec = work.store.spec(sandbox.name)
        request = RunRequest(sandbox.name, mode=sandbox.mode, dns=sandbox.dns, spec=spec)
        found = container.by_mode(work, request, sandbox)
        return found._replace(plan=Plan((*whole.preparation(work, (), [found]), *found.plan.ops)))
    if not kept:
        raise BadInput(
            f"container {sandbox.name} is in no network of weft's any more",
            f"`weft rm {sandbox.name}` removes it",
        )
    networks = [(work.store.network(e.network), e) for e in kept]
    members = [(n, _place(work, n, e, claims)) for n, e in networks]
    return container.reattach(work, sandbox, members)


def _place(work: Work, network: Network, old: Endpoint, claims: Claims) -> Endpoint:
    """An endpoint as it was, but for addresses that another one has by now."""
    store, name = work.store, old.container
    owner = store.mac_holder(network.name, old.mac) if old.mac else ""
    if owner:
        raise Conflict(f"MAC {old.mac} is taken by container {owner}")
    free = [c for c in old.addresses if _is_free(network, c, store.address_holder(network.name, c.address))]
    cidrs, lost = tuple(free), set(old.addresses) - set(free)
    if lost:
        join = Join(network.name, tuple([str(c.address) for c in free]))
        cidrs, _ = lease.addresses(work, network, join, claims)
        shown = ", ".join(sorted([str(c.address) for c in lost]))
        work.say(
            f"{shown} is another's by now: container {name} gets {', '.join([str(c.address) for c in cidrs])}"
        )
    if network.ipam and not lost and not work.dry:
        from weft.engine import remote

        # It was given back when the container ended.
        wanted = {c.address.version: str(c.address) for c in cidrs}
        cidrs = remote.addresses(work, network, wanted, old.mac, claims)
    shard = container.shard_for(work, network, claims)
    endpoint = old._replace(addresses=cidrs, shard=shard, publish=())
    return endpoint._replace(publish=ports.claim_ports(work, endpoint, old.publish, claims))


def _is_free(network: Network, cidr: Cidr, holder: str) -> bool:
    address = cidr.address
    return not holder and any(address in p.subnet and address != p.gateway for p in network.pools)


def start_all(work: Work, names: Sequence[str]) -> list[str]:
    """Starts containers one after another; their names."""
    return [start(work, name) for name in names]
