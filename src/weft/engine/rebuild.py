"""A lost database made anew: from the links, elements and files that were made for what stood in it."""

from __future__ import annotations

from weft.core.model.errors import BadInput, Conflict
from weft.core.model.names import check_name, mark
from weft.core.model.network import EGRESS, Sandbox
from weft.core.model.state import State
from weft.core.ops.traffic import queue_mark
from weft.core.plan import rebuild
from weft.engine import target
from weft.engine.work import DNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from weft.core.boundary import Store
    from weft.core.model.inventory import Inventory
    from weft.core.model.network import Endpoint, Network
    from weft.engine.work import Work

#: What leaves no trace outside the database.
UNTRACED = (
    "macvlan and ipvlan networks, and which networks mix or are used as they are",
    "labels, address ranges and reserved addresses of networks",
    "commands, --rm, gateway priorities, sysctls and routes of containers",
    "processes of containers that use another's network, where there are no cgroups",
    "containers that had exited, and those on the host's network",
    "networks of third-party drivers",
    "names given with `weft ns`: `weft ns adopt` gives them again",
)


def rebuild_into(work: Work, swap: Callable[[], None]) -> list[str]:
    """Fills an empty database, and puts it in the old one's place (``swap``); what was lost, in words."""
    with work.machine.lock():
        lost, _ = _remember(work, work.machine.inventory(()))
        if not work.dry:
            swap()
    return [*lost, *UNTRACED]


def remember(
    work: Work, seen: Inventory, networks: Iterable[Network], everyone: Iterable[Sequence[Endpoint]]
) -> list[str]:
    """Puts on record what stands whole in the kernel and is not known: a database that is older than that has
    forgotten it. What was found, a line each. The lock is held, and no journal entry is open."""
    marks = known_marks(networks, everyone)
    mine = f"weft root={work.store.root} network="
    strays = [link for link in seen.links if link.alias.startswith(mine) and marks.isdisjoint(link.altnames)]
    if not strays or work.dry:
        return []
    lost, found = _remember(work, seen)
    for line in lost:
        work.say(f"lost: {line}")
    return [f"put {line} on record, which stood and was forgotten" for line in found]


def known_marks(networks: Iterable[Network], everyone: Iterable[Sequence[Endpoint]]) -> set[str]:
    """The marks of all bridges and cables that are wanted."""
    known = [endpoint for endpoints in everyone for endpoint in endpoints]
    found = {endpoint.mark for endpoint in known} | {queue_mark(e) for e in known if e.option(EGRESS)}
    for network in networks:
        found |= {network.mark, *[mark(network.shard_id(n + 1)) for n in range(network.shards)]}
    return found


def _remember(work: Work, seen: Inventory) -> tuple[list[str], list[str]]:
    read = rebuild.read(work.store.root, seen, work.machine.proxied())
    lost = [*read.lost]
    with work.store.write():
        found = _store(work, read, seen, lost)
    return lost, found


def _store(work: Work, read: rebuild.Found, seen: Inventory, lost: list[str]) -> list[str]:
    store, found = work.store, []
    for network in read.networks:
        if store.find_network(network.name) is None:
            closed = _closed(work, network, read)._replace(created=work.machine.now())
            if not _tried(lost, f"network {network.name}", _adding(store, closed)):
                continue
            found.append(f"network {network.name}")
    endpoints = list(read.endpoints)
    for sandbox in _sandboxes(work, endpoints, seen):
        if not store.has_container(sandbox.name):
            store.add_container(sandbox, "running")
            store.set_state(sandbox.name, _state(work, sandbox))
            found.append(f"container {sandbox.name}")
    for endpoint in endpoints:
        found += _place(work, endpoint, lost)
    shown = dict(seen.shown)
    for name in {e.container for e in endpoints if e.container in shown}:
        if shown[name] == work.own_hosts_file(name):
            store.set_own_hosts(name)
    port = _proxy_port(seen)
    if port and not store.get("proxy_port"):
        store.put("proxy_port", str(port))
    if store.wants_dns():
        store.put(DNS, "true")
    return found


def _place(work: Work, endpoint: Endpoint, lost: list[str]) -> list[str]:
    """Stores an endpoint that is not known."""
    store, said = work.store, f"the place of {endpoint.container} in network {endpoint.network}"
    if store.endpoint(endpoint.container, endpoint.network) is not None:
        return []
    if not store.has_container(endpoint.container):
        lost.append(f"{said}: its namespace is gone")
        return []
    if _tried(lost, said, lambda: store.add_endpoint(endpoint)):
        return [said]
    store.remove_endpoint(endpoint.network, endpoint.container)
    return []


def _adding(store: Store, network: Network) -> Callable[[], None]:
    return lambda: store.add_network(network)


def _tried(lost: list[str], what: str, store: Callable[[], None]) -> bool:
    try:
        store()
    except Conflict as error:
        lost.append(f"{what}: {error}")
        return False
    return True


def _closed(work: Work, network: Network, read: rebuild.Found) -> Network:
    """Where the firewall is gone too, a network stays closed whose members ask no name server: an internal
    one's do not, or weft's own at a gateway."""
    if "inet" in work.machine.tables_seen():
        return network
    members = [e.container for e in read.endpoints if e.network == network.name]
    gateways = _gateways(read.networks)
    asks = any(not gateways.issuperset(work.machine.name_servers(name)[0]) for name in members)
    return network if asks else network._replace(internal=True)


def _gateways(networks: Iterable[Network]) -> frozenset[str]:
    return frozenset([str(p.gateway) for n in networks for p in n.pools])


def _sandboxes(work: Work, endpoints: list[Endpoint], seen: Inventory) -> list[Sandbox]:
    """weft's own containers, by /etc/netns/NAME/hosts; who else has an endpoint is a foreign namespace."""
    run = f"{work.machine.run_dir}/"
    own = [
        name for name, path in seen.shown if path.startswith(run) and name in seen.names and _is_name(name)
    ]
    placed = {e.container for e in endpoints}
    donors = {work.machine.netns_inode(name): name for name in own if name in placed}
    found = [_own(work, name, placed, donors, seen) for name in own]
    for name in sorted(placed.difference(own)):
        path = _sandbox_path(name)
        place = target.find(work, name) or (target.find(work, path) if path else None)
        work.machine.unpin()
        if place is not None:
            hostname, shown = _named(endpoints, name), path if place.netns == path else name
            found.append(Sandbox(work.store.root, name, hostname, target=shown, inode=place.inode))
    return found


def _sandbox_path(name: str) -> str:
    """Where the namespace of a sandbox of Docker's is that is known by its id alone (engine/docker.py)."""
    engine, _, id = name.partition(":")
    return f"/run/docker/netns/{id}" if engine == "docker" and "/" not in id else ""


def _named(endpoints: list[Endpoint], name: str) -> str:
    """The name of a foreign namespace in its networks: the first of its aliases, which is none then."""
    hostname = next((e.aliases[0] for e in endpoints if e.container == name and e.aliases), "")
    for place, endpoint in enumerate(endpoints):
        if endpoint.container == name:
            endpoints[place] = endpoint._replace(
                aliases=tuple([a for a in endpoint.aliases if a != hostname])
            )
    return hostname


def _is_name(name: str) -> bool:
    try:
        return bool(check_name(name, "container"))
    except BadInput:
        return False


def _own(work: Work, name: str, placed: set[str], donors: dict[int, str], seen: Inventory) -> Sandbox:
    dns, search = work.machine.name_servers(name)
    answering = _gateways([n for n in work.store.networks() if n.dns])
    mode, donor = "", ""
    if name not in placed:
        donor = donors.get(work.machine.netns_inode(name), "")
        mode = f"container:{donor}" if donor else "none"
    return Sandbox(
        root=work.store.root,
        name=name,
        hostname=donor or name,
        dns=tuple([server for server in dns if server not in answering]),
        search=search,
        created=work.machine.now(),
        mode=mode,
        extra_hosts=_extra_hosts(work.own_hosts_file(name), seen),
    )


def _extra_hosts(path: str, seen: Inventory) -> tuple[tuple[str, str], ...]:
    """The lines of a hosts file of its own that no network's has."""
    files = dict(seen.files)
    others = {line for p, lines in seen.files if "/own-hosts/" not in p for line in lines}
    lines = [line.split("\t") for line in sorted(files.get(path, frozenset()) - others)]
    return tuple([(words[1], words[0]) for words in lines if len(words) == 2 and "localhost" not in words[1]])


def _state(work: Work, sandbox: Sandbox) -> State:
    """Running, and by which process: the one that is first in its pid namespace, or else the oldest.

    Its cgroup tells which are its own; where there are no cgroups, its network namespace does, unless others
    share that.
    """
    inode = 0 if sandbox.target else work.machine.netns_inode(sandbox.name)
    if not inode:
        return State("running")
    inside = work.machine.group_pids(sandbox.cgroup)
    if not inside and not sandbox.mode.startswith("container:"):
        inside = work.machine.processes([inode]).get(inode, [])
    firsts = [pid for pid in inside if work.machine.nspid(pid)[-1:] == [1]]
    pids = [(work.machine.started(pid), pid) for pid in firsts or inside]
    if not pids:
        return State("running")
    started, pid = min(pids)
    watcher = work.machine.monitor(pid, sandbox.name)
    since = None if watcher is None else work.machine.started(watcher)
    return State("running", pid, started, watcher=watcher, watcher_started=since)


def _proxy_port(seen: Inventory) -> int:
    sets = dict(dict(seen.tables)["inet"].sets) if "inet" in dict(seen.tables) else {}
    return next((int.from_bytes(data[:2], "big") for _, data, _ in sets.get("proxy", ())), 0)
