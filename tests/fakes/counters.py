"""The cgroups of a fake machine, and what its processes use."""

from __future__ import annotations

from collections.abc import Iterable

from weft.core.model.hierarchy import Cgroups, Usage
from weft.core.model.task import Task


class Counters:
    """core/boundary.Machine, as far as it counts; the clock goes on as it is asked."""

    def __init__(self) -> None:
        self.clock = 1_700_000_000
        #: What cgroups there are, the groups made, those that are frozen, what some use.
        self.cgroup_facts = Cgroups()
        self.groups: set[str] = set()
        self.frozen: set[str] = set()
        self.usage: dict[str, Usage] = {}
        self.carried: dict[str, tuple[int, int]] = {}
        self.processes_seen: dict[int, Task] = {}
        self.group_members: dict[str, list[int]] = {}

    def cgroups(self) -> Cgroups:
        return self.cgroup_facts

    def group_pids(self, path: str) -> list[int]:
        return self.group_members.get(path, [])

    def group_names(self, top: str) -> list[str]:
        return sorted(path.partition("/")[2] for path in self.groups if path.startswith(f"{top}/"))

    def group_usage(self, path: str) -> Usage | None:
        return self.usage.get(path)

    def end_group(self, path: str) -> None:
        self.frozen.discard(path)

    def traffic(self, netns: str) -> tuple[int, int] | None:
        return self.carried.get(netns)

    def memory_total(self) -> int:
        return 1 << 34

    def monotonic_ns(self) -> int:
        self.clock += 1
        return self.clock * 1_000_000_000

    def tasks(self, pids: Iterable[int]) -> list[Task]:
        return [self.processes_seen[pid] for pid in pids if pid in self.processes_seen]
