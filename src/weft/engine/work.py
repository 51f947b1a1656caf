"""How every change goes: take the lock, look, decide, journal, act, commit.

A journal entry is durable before the first change of the kernel, and locked while its writer lives.
Whatever a crash leaves is an unlocked entry, which the next command of any kind ends: backwards for
what was being made, onwards for what was being removed.
"""

from __future__ import annotations

from weft.core.model.errors import Damaged, WeftError
from weft.core.model.names import cgroup_top
from weft.core.model.network import REST
from weft.core.model.publish import parse_publish
from weft.core.plan import plan as plans
from weft.core.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weft.core.boundary import Machine, Store
    from weft.core.model.network import Sandbox
    from weft.core.model.state import Entry
    from weft.core.ops.base import Op


class Work:
    """One command's work: the wishes, the machine, and how to tell the user.

    ``say`` takes remarks, ``step`` each operation as it is done (``--show commands``), and with
    ``dry`` plans are handed to ``step`` and nothing is changed; ``shown`` are the networks whose removal
    a dry run has shown: what it shows next is without them.
    """

    __slots__ = ("dry", "machine", "say", "shown", "step", "store")

    def __init__(
        self,
        store: Store,
        machine: Machine,
        say: Callable[[str], None],
        step: Callable[[Op], None] | None = None,
        dry: bool = False,
    ) -> None:
        self.store = store
        self.machine = machine
        self.say = say
        self.step = step
        self.dry = dry
        self.shown: set[str] = set()

    def hosts_file(self, network: str) -> str:
        """A network's hosts file."""
        return f"{self.machine.run_dir}/hosts/{network}"

    def own_hosts_file(self, container: str) -> str:
        """The hosts file of a container that has one of its own."""
        return f"{self.machine.run_dir}/own-hosts/{container}"

    def hosts_files(self, network: str) -> list[str]:
        """All files that name the members of a network: its own, and those of members in several networks."""
        return [self.hosts_file(network), *map(self.own_hosts_file, self.store.own_hosts(network))]

    def hosts_of(self, container: str) -> str:
        """The hosts file that a container sees; "" for the host's."""
        sandbox = self.store.container(container)[0]
        if sandbox.mode == "host":
            return ""
        kind, _, donor = sandbox.mode.partition(":")
        if kind == "container":
            return self.hosts_of(donor)
        endpoint = self.store.endpoint(sandbox.name)
        if endpoint is None or sandbox.name in self.store.own_hosts(endpoint.network):
            return self.own_hosts_file(sandbox.name)
        return self.hosts_file(endpoint.network)

    def own_hosts_lines(self, sandbox: Sandbox) -> tuple[str, ...]:
        """What a hosts file of its own begins with: what was asked for."""
        return tuple([f"{address}\t{name}" for name, address in sandbox.extra_hosts])

    def log_file(self, container: str) -> str:
        """A detached container's log."""
        return f"{self.machine.state_dir}/logs/{container}.log"

    def show(self, plan: Plan) -> None:
        """A dry run's plan."""
        if self.step is not None:
            for op in plan.ops:
                self.step(op)

    def make(
        self,
        verb: str,
        subject: str,
        plan: Plan,
        wish: Callable[[], None],
        undo: Plan | None = None,
    ) -> int:
        """Stores a wish and makes it true, or takes back both. The entry stays open: see ``settle``.

        ``verb`` and ``subject`` tell recovery which wish goes with the entry; ``undo`` what it takes back,
        where
        that is not the plan's own way back.
        """
        entry = self._begin(verb, subject, plan, plan.undo() if undo is None else undo, wish, forward=False)
        try:
            self.machine.apply(plan, self.step)
        except BaseException:
            self.abandon(entry, verb, subject)
            raise
        return entry

    def unmake(
        self,
        verb: str,
        subject: str,
        plan: Plan,
        wish: Callable[[], None] = lambda: None,
        populated: bool = True,
    ) -> None:
        """Carries a removal out, whatever is missing; the wish goes last. Remarks what stayed.

        Whoever is inside is killed, unless it is known that nobody is (``populated``).
        """

        def wishes() -> None:
            self._supersede(frozenset(members(verb, subject)))
            wish()

        entry = self._begin(verb, subject, plan, plan, wishes, forward=True)
        self._take_away(verb, subject, plan, populated)
        if self.step is not None:
            for op in plan.ops:
                self.step(op)
        self.abandon(entry, verb, subject, rest=True)

    def _supersede(self, names: frozenset[str]) -> None:
        """Whoever is still making one of these containers has no say in it any more: see ``undo``."""
        for entry in self.store.journal():
            if not names.isdisjoint(members(entry.verb, entry.subject)):
                self.store.end(entry.id)

    def _begin(
        self, verb: str, subject: str, plan: Plan, undo: Plan, wish: Callable[[], None], forward: bool
    ) -> int:
        with self.store.write():
            wish()
            entry = self.store.begin(verb, subject, plan.describe(), plans.dump(undo), forward)
            self.machine.take_entry(entry)
        return entry

    def settle(self, entry: int, last: Callable[[], None] | None = None) -> bool:
        """What was made stays: strikes the entry out, with a last change of the wishes.

        False when somebody has removed it since the lock was let go.
        """
        with self.store.write():
            there = self.store.end(entry)
            if there and last is not None:
                last()
        self.machine.release_entry(entry)
        return there

    def abandon(self, entry: int, verb: str, subject: str, rest: bool = False) -> None:
        """Strikes an entry out together with the wish it was about. ``rest``: its addresses were in use."""
        until = self.machine.uptime() + REST if rest else 0
        with self.store.write():
            forget(self.store, verb, subject, until)
            self.store.end(entry)
        self.machine.release_entry(entry)

    def undo(self, entry: int, verb: str, subject: str, plan: Plan) -> bool:
        """Takes back what ``make`` made, when a later step failed.

        False when somebody has removed it meanwhile: what has its name by now is another's.
        """
        if not self.holds(entry):
            self.machine.release_entry(entry)
            return False
        self._take_away(verb, subject, plan.undo())
        self.abandon(entry, verb, subject)
        self.mend_proxy()
        return True

    def holds(self, entry: int) -> bool:
        """Whether an entry is open: nobody has removed what it is about."""
        return any(e.id == entry for e in self.store.journal())

    def recover(self) -> None:
        """Ends what crashed commands left. Called with the lock held, by every command."""
        for entry in self.store.journal():
            if self.machine.take_entry(entry.id):
                self._end(entry)
        self.mend_proxy()
        self.mend_dns()

    def _end(self, entry: Entry) -> None:
        if not self.holds(entry.id):
            # Its writer settled it after we had read of it, and only then let go of its lock.
            self.machine.release_entry(entry.id)
            return
        way = "finishing" if entry.forward else "taking back"
        self.say(f"{way} what a killed command left: {entry.verb} {entry.subject}".replace("\n", " "))
        self._take_away(entry.verb, entry.subject, self._plan_of(entry))
        self.abandon(entry.id, entry.verb, entry.subject, rest=entry.forward)

    def _plan_of(self, entry: Entry) -> Plan:
        try:
            return plans.load(entry.undo)
        except (ValueError, SyntaxError, TypeError, AttributeError, ImportError, MemoryError, RecursionError):
            self.machine.release_entry(entry.id)
            raise Damaged(
                f"journal entry {entry.id} ({entry.verb} {entry.subject}) in the database is damaged"
            ) from None

    def _take_away(self, verb: str, subject: str, plan: Plan, populated: bool = True) -> None:
        """Does a plan of removal. A container's processes go first: they would keep its namespace."""
        names = members(verb, subject)
        if verb != DETACH:
            for name in names:
                self.machine.remove_door(name)  # by this its monitor knows that there is nothing to record
        if names and populated:
            self.end_inside(names)
        for name in names:
            self.machine.forget_runtime(name)
        for error in self.machine.revert(plan):
            self.say(f"warning: {error}")
        if verb != DETACH:
            for name in names:
                self.machine.remove_logs(self.log_file(name))

    def netns_inode(self, name: str) -> int:
        """A container's network namespace, also when somebody took its name off; 0 when it is gone."""
        inode = self.machine.netns_inode(name)
        if inode or not self.store.has_container(name):
            return inode
        sandbox, state = self.store.container(name)
        if sandbox.mode == "host":
            return 0
        if state.pid is None or not self.machine.alive(state.pid, state.started):
            return 0
        return self.machine.inodes_of(state.pid).get("net", 0)

    def inside(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The processes of containers, by name: whoever is inside keeps the namespace and its cable alive.

        A container is known by its network namespace; where that is shared with others, by its mount
        namespace.
        """
        inodes: dict[str, dict[int, str]] = {"net": {}, "mnt": {}}
        for name in names:
            known = self.store.has_container(name)
            sandbox, state = self.store.container(name) if known else (None, None)
            if sandbox is None or state is None or sandbox.mode in ("", "none"):
                inodes["net"][self.netns_inode(name)] = name
            elif state.pid is not None and self.machine.alive(state.pid, state.started):
                inodes["mnt"][self.machine.inodes_of(state.pid).get("mnt", 0)] = name
        found: dict[str, list[int]] = {}
        for kind, wanted in inodes.items():
            wanted.pop(0, None)
            pids = self.machine.processes(wanted, kind) if wanted else {}
            found.update({wanted[i]: inside for i, inside in pids.items() if inside})
        return found

    def end_inside(self, names: Sequence[str]) -> None:
        """Kills all processes in these containers; again while there are new ones, as a fork may win.

        By their cgroups first, at once and though they be frozen.
        """
        for name in names:
            self.machine.end_group(f"{cgroup_top(self.store.root)}/{name}")
        for _ in range(100):
            inside = [pid for pids in self.inside(names).values() for pid in pids]
            if not inside:
                return
            self.machine.end(inside)

    def mend_proxy(self) -> None:
        """Brings the loopback proxy to where it should be. Without published ports on 127.x this is one
        look into the database; with them, one into the database and one at its socket."""
        if self.store.get("proxy_port") and not self._proxy_lives():
            from weft.engine import proxy

            proxy.mend(self)

    def mend_dns(self) -> None:
        """The same of the DNS server: without a network that wants it this is one look into the database."""
        if self.store.get(DNS) and not (self.store.wants_dns() and self.machine.dns_alive()):
            from weft.engine import dns

            dns.mend(self)

    def _proxy_lives(self) -> bool:
        """Asked before anything is imported that could mend it."""
        try:
            return self.store.needs_proxy() and self.machine.proxy_alive()
        except WeftError:
            return False  # whoever mends it says what is wrong


#: The root's value that is stored while a network wants DNS, or may.
DNS = "dns"
NETWORK = "network"
CONTAINER = "container"
DETACH = "detach"
PROXY = "proxy"
#: Names of namespaces that are given, and that are taken off; wires and switches, which are not on record.
NAMESPACE = "namespace"
NAMESPACE_GONE = "namespace-gone"
WIRE = "wire"
#: An endpoint made or removed on a container that stays; a network or its members changed.
CONNECT = "connect"
DISCONNECT = "disconnect"
EDIT = "edit"
PUBLISH = "publish"
UNPUBLISH = "unpublish"
REPAIR = "repair"
#: Containers frozen and let go on: the wish is their state.
PAUSE = "pause"
UNPAUSE = "unpause"
#: A command started where its namespaces stand; a container that has exited renamed.
START = "start"
RENAME = "rename"
_WITHOUT_MEMBERS = (
    CONNECT,
    DISCONNECT,
    EDIT,
    PUBLISH,
    UNPUBLISH,
    REPAIR,
    PAUSE,
    UNPAUSE,
    START,
    RENAME,
    PROXY,
    NAMESPACE,
    NAMESPACE_GONE,
    WIRE,
)


def forget(store: Store, verb: str, subject: str, until: int = 0) -> None:
    """Forgets the wish of an entry. ``until``: its addresses rest so long (seconds since boot)."""
    if verb in (CONNECT, DISCONNECT):
        network, container = subject.split("\n")
        _release(store, container, network, until)
        store.remove_endpoint(network, container)
        store.drop_foreign(container)
    if verb in (NAMESPACE, NAMESPACE_GONE):
        for name in subject.split("\n"):
            (store.drop_namespace if verb == NAMESPACE else store.retire_namespace)(name)
    if verb in (PUBLISH, UNPUBLISH):
        for line in subject.split("\n")[2:]:
            for publish in parse_publish(line):
                store.remove_publish(publish)
    if verb == PAUSE:
        _let_run(store, subject.split("\n"))
    if verb == EDIT:
        _put_back(store, subject)
    elif verb == RENAME:
        store.rename_container(*reversed(subject.split("\n")))
    for name in members(verb, subject):
        _release(store, name, "", until)
        store.remove_endpoints(name)
        if verb != DETACH:
            store.remove_container(name)
    if verb == NETWORK:
        store.remove_network(subject.partition("\n")[0])


def _let_run(store: Store, names: Sequence[str]) -> None:
    for name in names:
        if store.has_container(name):
            state = store.container(name)[1]
            if state.word == "paused":
                store.set_state(name, state._replace(word="running"))


def _put_back(store: Store, subject: str) -> None:
    """A network as it was before an edit (engine/edit.py)."""
    name, isolated, nat, mtu, follows, count, *rest = subject.split("\n")
    network = store.find_network(name)
    if network is not None:
        pairs = [(key, value) for key, _, value in [line.partition("=") for line in rest]]
        store.change_network(
            network._replace(
                isolated=isolated == "1",
                nat=nat,
                mtu=int(mtu),
                follows_mtu=follows == "1",
                options=tuple(pairs[: int(count)]),
                labels=tuple(pairs[int(count) :]),
            )
        )


def _release(store: Store, container: str, network: str, until: int) -> None:
    """Addresses that were in use rest (``until``); those that never were are free at once."""
    for endpoint in store.endpoints_of(container):
        if network in ("", endpoint.network):
            addresses = [c.address for c in endpoint.addresses]
            if until:
                store.rest(endpoint.network, addresses, until)
            else:
                store.give_back(endpoint.network, addresses)


def members(verb: str, subject: str) -> list[str]:
    """The containers of an entry, one name a line; a network's own name comes before its members'."""
    if verb in _WITHOUT_MEMBERS:
        return []
    return subject.split("\n")[1 if verb == NETWORK else 0 :]
