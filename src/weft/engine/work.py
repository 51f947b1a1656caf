"""How every change goes: take the lock, look, decide, journal, act, commit.

A journal entry is durable before the first change of the kernel, and locked while its writer lives.
Whatever a crash leaves is an unlocked entry, which the next command of any kind ends: backwards for
what was being made, onwards for what was being removed.
"""

from __future__ import annotations

from weft.core.plan import plan as plans
from weft.core.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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

    def unmake(self, verb: str, subject: str, plan: Plan, wish: Callable[[], None] = lambda: None) -> None:
        """Carries a removal out, whatever is missing; the wish goes last. Remarks what stayed."""
        entry = self._begin(verb, subject, plan, plan, wish, forward=True)
        for error in self.machine.revert(plan):
            self.say(f"warning: {error}")
        if self.step is not None:
            for op in plan.ops:
                self.step(op)
        self.abandon(entry, verb, subject)

    def _begin(
        self, verb: str, subject: str, plan: Plan, undo: Plan, wish: Callable[[], None], forward: bool
    ) -> int:
        with self.store.write():
            wish()
            entry = self.store.begin(verb, subject, plan.describe(), plans.dump(undo), forward)
            self.machine.take_entry(entry)
        return entry

    def settle(self, entry: int, last: Callable[[], None] | None = None) -> None:
        """What was made stays: strikes the entry out, with a last change of the wishes."""
        with self.store.write():
            if last is not None:
                last()
            self.store.end(entry)
        self.machine.release_entry(entry)

    def abandon(self, entry: int, verb: str, subject: str) -> None:
        """Strikes an entry out together with the wish it was about."""
        with self.store.write():
            forget(self.store, verb, subject)
            self.store.end(entry)
        self.machine.release_entry(entry)

    def undo(self, entry: int, verb: str, subject: str, plan: Plan) -> None:
        """Takes back what ``make`` made, when a later step failed."""
        for error in self.machine.revert(plan.undo()):
            self.say(f"warning: {error}")
        self.abandon(entry, verb, subject)

    def recover(self) -> None:
        """Ends what crashed commands left. Called with the lock held, by every command."""
        for entry in self.store.journal():
            if self.machine.take_entry(entry.id):
                self._end(entry)

    def _end(self, entry: Entry) -> None:
        way = "finishing" if entry.forward else "taking back"
        self.say(f"{way} what a killed command left: {entry.verb} {entry.subject}".replace("\n", " "))
        for error in self.machine.revert(plans.load(entry.undo)):
            self.say(f"warning: {error}")
        self.abandon(entry.id, entry.verb, entry.subject)


NETWORK = "network"
CONTAINER = "container"
DETACH = "detach"


def forget(store: Store, verb: str, subject: str) -> None:
    """Forgets the wish of an entry. A subject of several containers has one name a line."""
    if verb == NETWORK:
        store.remove_network(subject)
        return
    for name in subject.split("\n"):
        endpoint = store.endpoint(name)
        if endpoint is not None:
            store.remove_endpoint(endpoint)
        if verb == CONTAINER:
            store.remove_container(name)
