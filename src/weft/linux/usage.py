"""What containers use, as the kernel counts it: memory, CPU time, processes."""

from __future__ import annotations

from weft.core.model.hierarchy import Usage
from weft.linux.cgroup import read
from weft.linux.paths import is_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.hierarchy import Cgroups, Hierarchy

#: Version 1 writes "no limit" as the most pages that it can count.
_UNLIMITED = 1 << 62


def of_group(found: Cgroups, path: str) -> Usage | None:
    """What a group uses; None when there is none of that path."""
    usage = Usage()
    there = False
    for at in found.hierarchies:
        directory = f"{at.base}/{path}"
        if is_there(directory):
            there = True
            usage = usage._replace(**(_second(directory) if at.version == 2 else _first(at, directory)))
    return usage if there else None


def memory_total() -> int:
    """Bytes of memory that the host has (proc_meminfo(5))."""
    words = read("/proc/meminfo").partition("MemTotal:")[2].split(None, 1)
    return int(words[0]) * 1024 if words else 0


def _number(directory: str, file: str, missing: int = -1) -> int:
    """A file with one number; ``max`` is 0, as no limit is."""
    text = read(f"{directory}/{file}").strip()
    if text == "max":
        return 0
    return int(text) if text.lstrip("-").isdigit() else missing


def _fields(directory: str, file: str) -> dict[str, int]:
    """A file of ``NAME NUMBER`` lines."""
    pairs = [line.split() for line in read(f"{directory}/{file}").splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _first(at: Hierarchy, directory: str) -> dict[str, int]:
    """Version 1, of one hierarchy."""
    found: dict[str, int] = {}
    if "memory" in at.controllers:
        limit = _number(directory, "memory.limit_in_bytes", 0)
        droppable = _fields(directory, "memory.stat").get("total_inactive_file", 0)
        found["memory"] = _less(_number(directory, "memory.usage_in_bytes"), droppable)
        found["memory_limit"] = 0 if limit >= _UNLIMITED else limit
        found["oom_kills"] = _fields(directory, "memory.oom_control").get("oom_kill", 0)
    if "cpuacct" in at.controllers:
        found["cpu"] = _number(directory, "cpuacct.usage")
    if "cpu" in at.controllers:
        found["cpu_quota"] = max(_number(directory, "cpu.cfs_quota_us", 0), 0)
        found["cpu_period"] = _number(directory, "cpu.cfs_period_us", 100_000)
        found["throttled"] = _fields(directory, "cpu.stat").get("throttled_time", 0) // 1000
    if "pids" in at.controllers:
        found["pids"] = _number(directory, "pids.current")
        found["pids_limit"] = _number(directory, "pids.max", 0)
    return found


def _second(directory: str) -> dict[str, int]:
    """Version 2. Its cpu.stat is there without the controller; on a hybrid host version 1 says the rest."""
    found: dict[str, int] = {}
    memory = _number(directory, "memory.current")
    if memory >= 0:
        droppable = _fields(directory, "memory.stat").get("inactive_file", 0)
        found["memory"] = _less(memory, droppable)
        found["memory_limit"] = _number(directory, "memory.max", 0)
        found["oom_kills"] = _fields(directory, "memory.events").get("oom_kill", 0)
    times = _fields(directory, "cpu.stat")
    if "usage_usec" in times:
        found["cpu"] = times["usage_usec"] * 1000
        found["throttled"] = times.get("throttled_usec", 0)
    quota, _, period = read(f"{directory}/cpu.max").strip().partition(" ")
    if period:
        found["cpu_quota"], found["cpu_period"] = 0 if quota == "max" else int(quota), int(period)
    if _number(directory, "pids.current") >= 0:
        found["pids"] = _number(directory, "pids.current")
        found["pids_limit"] = _number(directory, "pids.max", 0)
    return found


def _less(usage: int, droppable: int) -> int:
    """As ``docker stats`` has it: files that were read and can be dropped are not in use."""
    return usage - droppable if usage > droppable else usage
