"""The engine on a fake machine."""

from __future__ import annotations

from collections.abc import Callable

from fakes.machine import ROOT, FakeMachine
from weft.core.ops.base import Op
from weft.engine.work import Work
from weft.store.sqlite import SqliteStore


class Bench:
    """A machine, a store in memory, and the engine over both; ``remarks`` is what a user would read."""

    def __init__(self) -> None:
        self.machine = FakeMachine()
        self.store = SqliteStore(":memory:", ROOT)
        self.remarks: list[str] = []
        self.shown: list[Op] = []
        self.work = Work(self.store, self.machine, self.remarks.append)

    def dry(self) -> Work:
        return Work(self.store, self.machine, self.remarks.append, self.shown.append, dry=True)

    def plan(self, action: Callable[[], object]) -> list[Op]:
        """The operations that ``action`` had done."""
        before = len(self.machine.done)
        action()
        return self.machine.done[before:]

    def kernel(self) -> tuple[object, ...]:
        """The whole picture as a value: two that are equal are the same machine."""
        m = self.machine
        links = frozenset(m.links.values())
        sets = (frozenset(m.netns), frozenset(m.elements), frozenset(m.held))
        groups = (frozenset(m.groups), frozenset(m.frozen))
        return (links, frozenset(m.tables.items()), *sets, *groups, frozenset(m.hosts.items()), m.proxy_runs)

    def wishes(self) -> tuple[object, ...]:
        endpoints = tuple(e for n in self.store.networks() for e in self.store.endpoints(n.name))
        return self.store.networks(), tuple(self.store.containers()), endpoints, tuple(self.store.journal())

    def clean(self) -> bool:
        return not self.store.journal() and not self.machine.change_lock.held
