"""How every change goes: take the lock, look, decide, journal, act, commit.

A journal entry is durable before the first change of the kernel, and locked while its writer lives.
Whatever a crash leaves is an unlocked entry, which the next command of any kind ends: backwards for
what was being made, onwards for what was being removed.
"""

from __future__ import annotations

from weft.core.model.errors import StoreError
from weft.core.plan import plan as plans
from weft.core.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weft.core.boundary import Machine, Store
    from weft.core.model.state import Entry
    from weft.core.ops.base import Op


class Work:
    """One command's work: the wishes, the machine, and how to tell the user.

    ``say`` takes remarks, ``step`` each operation as it is done (``--show commands``), and with
    ``dry`` plans are handed to ``step`` and nothing is changed.
    """

    __slots__ = ("dry", "machine", "say", "step", "store")

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

    def hosts_file(self, network: str) -> str:
        """A network's hosts file."""
        return f"{self.machine.run_dir}/hosts/{network}"

    def log_file(self, container: str) -> str:
        """A detached container's log."""
        return f"{self.machine.state_dir}/logs/{container}.log"

    def show(self, plan: Plan) -> None:
        """A dry run's plan."""
        if self.step is not None:
            for op in plan.ops:
                self.step(op)

    def make(self, verb: str, subject: str, plan: Plan, wish: Callable[[], None]) -> int:
        """Stores a wish and makes it true, or takes back both. The entry stays open: see ``settle``.

        ``verb`` and ``subject`` tell recovery which wish goes with the entry.
        """
        entry = self._begin(verb, subject, plan, plan.undo(), wish, forward=False)
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
        self.abandon(entry, verb, subject)

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

    def abandon(self, entry: int, verb: str, subject: str) -> None:
        """Strikes an entry out together with the wish it was about."""
        with self.store.write():
            forget(self.store, verb, subject)
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
        self._mend_proxy()
        return True

    def holds(self, entry: int) -> bool:
        """Whether an entry is open: nobody has removed what it is about."""
        return any(e.id == entry for e in self.store.journal())

    def recover(self) -> None:
        """Ends what crashed commands left. Called with the lock held, by every command."""
        for entry in self.store.journal():
            if self.machine.take_entry(entry.id):
                self._end(entry)
        self._mend_proxy()

    def _end(self, entry: Entry) -> None:
        if not self.holds(entry.id):
            # Its writer settled it after we had read of it, and only then let go of its lock.
            self.machine.release_entry(entry.id)
            return
        way = "finishing" if entry.forward else "taking back"
        self.say(f"{way} what a killed command left: {entry.verb} {entry.subject}".replace("\n", " "))
        self._take_away(entry.verb, entry.subject, self._plan_of(entry))
        self.abandon(entry.id, entry.verb, entry.subject)

    def _plan_of(self, entry: Entry) -> Plan:
        try:
            return plans.load(entry.undo)
        except (ValueError, SyntaxError, TypeError, AttributeError, ImportError, MemoryError, RecursionError):
            self.machine.release_entry(entry.id)
            raise StoreError(
                f"journal entry {entry.id} ({entry.verb} {entry.subject}) in the database is damaged",
                f"nothing was touched; move {self.machine.state_dir} away to start anew",
            ) from None

    def _take_away(self, verb: str, subject: str, plan: Plan, populated: bool = True) -> None:
        """Does a plan of removal. A container's processes go first: they would keep its namespace."""
        names = members(verb, subject)
        if names and populated:
            self.end_inside(names)
        for error in self.machine.revert(plan):
            self.say(f"warning: {error}")
        if verb != DETACH:
            for name in names:
                self.machine.remove_file(self.log_file(name))

    def netns_inode(self, name: str) -> int:
        """A container's network namespace, also when somebody took its name off; 0 when it is gone."""
        inode = self.machine.netns_inode(name)
        if inode or not self.store.has_container(name):
            return inode
        state = self.store.container(name)[1]
        if state.pid is None or not self.machine.alive(state.pid, state.started):
            return 0
        return self.machine.inodes_of(state.pid).get("net", 0)

    def end_inside(self, names: Sequence[str]) -> None:
        """Kills all processes in these containers; again while there are new ones, as a fork may win."""
        inodes = [self.netns_inode(name) for name in names]
        for _ in range(100):
            inside = [pid for pids in self.machine.processes(inodes).values() for pid in pids]
            if not inside:
                return
            self.machine.end(inside)

    def _mend_proxy(self) -> None:
        """Without published ports on 127.x this is one look into the database."""
        if self.store.get("proxy_port"):
            from weft.engine import proxy

            proxy.mend(self)


NETWORK = "network"
CONTAINER = "container"
DETACH = "detach"
PROXY = "proxy"
#: Names of namespaces that are given, and that are taken off; wires and switches, which are not on record.
NAMESPACE = "namespace"
NAMESPACE_GONE = "namespace-gone"
WIRE = "wire"
_WITHOUT_MEMBERS = (PROXY, NAMESPACE, NAMESPACE_GONE, WIRE)


def forget(store: Store, verb: str, subject: str) -> None:
    """Forgets the wish of an entry."""
    if verb == NAMESPACE:
        for name in subject.split("\n"):
            store.drop_namespace(name)
    if verb == NAMESPACE_GONE:
        for name in subject.split("\n"):
            store.retire_namespace(name)
    for name in members(verb, subject):
        store.remove_endpoints(name)
        if verb != DETACH:
            store.remove_container(name)
    if verb == NETWORK:
        store.remove_network(subject.partition("\n")[0])


def members(verb: str, subject: str) -> list[str]:
    """The containers of an entry, one name a line; a network's own name comes before its members'."""
    if verb in _WITHOUT_MEMBERS:
        return []
    return subject.split("\n")[1 if verb == NETWORK else 0 :]
