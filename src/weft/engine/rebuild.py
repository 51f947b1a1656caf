"""A lost database made anew: from the links, elements and files that were made for what stood in it."""

from __future__ import annotations

from weft.core.model.errors import BadInput, WeftError
from weft.core.model.names import check_name
from weft.core.model.network import Sandbox
from weft.core.model.state import State
from weft.core.plan import rebuild
from weft.engine import target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weft.core.model.inventory import Inventory
    from weft.core.model.network import Endpoint, Network
    from weft.engine.work import Work

#: What leaves no trace outside the database.
UNTRACED = (
    "labels, address ranges and reserved addresses of networks",
    "commands, --rm, gateway priorities, sysctls and routes of containers",
    "containers that had exited, and those on the host's network",
    "names given with `weft ns`: `weft ns adopt` gives them again",
)


def vanished(work: Work) -> bool:
    """Whether a database that knows nothing belongs to a root that has something in the kernel."""
    if work.store.networks() or work.store.containers() or work.store.foreign():
        return False
    return bool(rebuild.read(work.store.root, work.machine.inventory(()), ()).networks)


def rebuild_into(work: Work, swap: Callable[[], None]) -> list[str]:
    """Fills an empty database, and puts it in the old one's place (``swap``); what was lost, in words."""
    with work.machine.lock():
        seen = work.machine.inventory(())
        found = rebuild.read(work.store.root, seen, work.machine.proxied())
        lost = [*found.lost]
        with work.store.write():
            _store(work, found, seen, lost)
        if not work.dry:
            swap()
    return [*lost, *UNTRACED]


def _store(work: Work, found: rebuild.Found, seen: Inventory, lost: list[str]) -> None:
    sandboxes = _sandboxes(work, found.endpoints, seen)
    for network in found.networks:
        network = _closed(work, network, found.endpoints)
        work.store.add_network(network._replace(created=work.machine.now()))
    for sandbox in sandboxes:
        work.store.add_container(sandbox, "running")
        work.store.set_state(sandbox.name, _state(work, sandbox))
    known = {s.name for s in sandboxes}
    for endpoint in found.endpoints:
        if endpoint.container in known:
            try:
                work.store.add_endpoint(endpoint)
            except WeftError as error:
                work.store.remove_endpoint(endpoint.network, endpoint.container)
                lost.append(f"the place of {endpoint.container} in network {endpoint.network}: {error}")
        else:
            lost.append(f"container {endpoint.container}, whose namespace is gone")
    shown = dict(seen.shown)
    for name in sorted(known & {e.container for e in found.endpoints} & shown.keys()):
        if shown[name] == work.own_hosts_file(name):
            work.store.set_own_hosts(name)
    port = _proxy_port(seen)
    if port:
        work.store.put("proxy_port", str(port))


def _closed(work: Work, network: Network, endpoints: Sequence[Endpoint]) -> Network:
    """Where the firewall is gone too, a network stays closed whose members ask no name server: an internal
    one's do not."""
    if "inet" in work.machine.tables_seen():
        return network
    members = [e.container for e in endpoints if e.network == network.name]
    asks = any(work.machine.name_servers(name)[0] for name in members)
    return network if asks else network._replace(internal=True)


def _sandboxes(work: Work, endpoints: Sequence[Endpoint], seen: Inventory) -> list[Sandbox]:
    """weft's own containers, by /etc/netns/NAME/hosts; who else has an endpoint is a foreign namespace."""
    run = f"{work.machine.run_dir}/"
    own = [
        name for name, path in seen.shown if path.startswith(run) and name in seen.names and _is_name(name)
    ]
    placed = {e.container for e in endpoints}
    donors = {work.machine.netns_inode(name): name for name in own if name in placed}
    found = [_own(work, name, placed, donors, seen) for name in own]
    for name in sorted(placed.difference(own)):
        place = target.find(work, name)
        work.machine.unpin()
        if place is not None:
            found.append(Sandbox(work.store.root, name, "", target=name, inode=place.inode))
    return found


def _is_name(name: str) -> bool:
    try:
        return bool(check_name(name, "container"))
    except BadInput:
        return False


def _own(work: Work, name: str, placed: set[str], donors: dict[int, str], seen: Inventory) -> Sandbox:
    dns, search = work.machine.name_servers(name)
    mode = ""
    if name not in placed:
        donor = donors.get(work.machine.netns_inode(name), "")
        mode = f"container:{donor}" if donor else "none"
    return Sandbox(
        root=work.store.root,
        name=name,
        hostname=name,
        dns=dns,
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
    """Running, and by which process: the one that is first in its pid namespace, or else the oldest."""
    inode = 0 if sandbox.target else work.machine.netns_inode(sandbox.name)
    if not inode or sandbox.mode.startswith("container:"):
        return State("running")
    inside = work.machine.processes([inode]).get(inode, [])
    firsts = [pid for pid in inside if work.machine.nspid(pid)[-1:] == [1]]
    pids = [(work.machine.started(pid), pid) for pid in firsts or inside]
    if not pids:
        return State("running")
    started, pid = min(pids)
    return State("running", pid, started)


def _proxy_port(seen: Inventory) -> int:
    sets = dict(dict(seen.tables)["inet"].sets) if "inet" in dict(seen.tables) else {}
    return next((int.from_bytes(data[:2], "big") for _, data, _ in sets.get("proxy", ())), 0)
