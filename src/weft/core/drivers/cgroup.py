"""What a container's cgroup needs on this host: limits to files of version 1 and 2 (the kernel's
admin-guide/cgroup-v1 and cgroup-v2)."""

from __future__ import annotations

from weft.core.model.errors import Unsupported
from weft.core.ops.cgroup import CgroupAdd, CgroupDel, CgroupFreeze, CgroupThaw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.hierarchy import Cgroups, Hierarchy
    from weft.core.model.oci import Resources
    from weft.core.ops.cgroup import Group

    Settings = tuple[tuple[str, str], ...]

#: The controllers of version 2 that are given to containers, limited or not: they count as well.
_GIVEN = ("cpu", "memory", "pids")
#: What is made whether or not a limit is asked for; freezing and ending are version 2's where it is there.
_ALWAYS = frozenset(("cpu", "cpuacct", "memory", "pids", "devices"))


def group_wants(found: Cgroups, path: str, wanted: Resources) -> tuple[CgroupAdd, ...]:
    """The operation that makes a group with these limits; none where there are no cgroups and no limit.

    Unsupported, with the name of the controller that is missing.
    """
    if wanted.limited:
        _check(found, wanted)
    groups: list[Group] = []
    for at in found.hierarchies:
        if _takes(found, at, wanted):
            groups += _above(at, path)
            groups.append((f"{at.base}/{path}", _settings(found, at, wanted)))
    if not groups:
        return ()
    return (CgroupAdd(path, tuple(groups), _enable(found.unified, path, wanted), wanted.limited),)


def group_goes(found: Cgroups, path: str) -> tuple[CgroupDel, ...]:
    """The operation that removes it; none where there are no cgroups."""
    directories = found.directories(path)
    return (CgroupDel(path, directories),) if directories else ()


def freezer(found: Cgroups) -> Hierarchy:
    """Where groups are frozen. Unsupported."""
    at = found.unified or found.of("freezer")
    if at is None:
        raise Unsupported(
            "the kernel's cgroup controller freezer is not mounted", "without it nothing can be paused"
        )
    return at


def freeze(found: Cgroups, path: str) -> CgroupFreeze:
    """The operation that stops a group. Unsupported."""
    at = freezer(found)
    return CgroupFreeze(path, f"{at.base}/{path}", at.version)


def thaw(found: Cgroups, path: str) -> CgroupThaw:
    """The operation that lets it go on. Unsupported."""
    at = freezer(found)
    return CgroupThaw(path, f"{at.base}/{path}", at.version)


def _check(found: Cgroups, wanted: Resources) -> None:
    asked = {
        "memory": wanted.memory or wanted.swap,
        "cpu": wanted.cpu_quota or wanted.cpu_shares,
        "cpuset": wanted.cpuset_cpus,
        "pids": wanted.pids,
    }
    for controller, value in asked.items():
        if value and found.of(controller) is None:
            raise Unsupported(
                f"the cgroup controller {controller} is not there: its limit cannot be set",
                "/proc/cgroups and the cgroup mounts in /proc/self/mountinfo tell what is; see cgroups(7)",
            )
    if wanted.swap > 0 and found.swapping and not found.swap:
        raise Unsupported(
            "the cgroup controller memory does not count swap: a limit would be none",
            "start the kernel with swapaccount=1, or switch swap off",
        )


def _takes(found: Cgroups, at: Hierarchy, wanted: Resources) -> bool:
    if at.version == 2:
        return True
    needed = set(_ALWAYS)
    if found.unified is None:
        needed.add("freezer")
    if wanted.cpuset_cpus:
        needed.add("cpuset")
    return not needed.isdisjoint(at.controllers)


#: Empty in a new group of version 1, which takes no process before.
_CPUSET = (("cpuset.cpus", ""), ("cpuset.mems", ""))


def _above(at: Hierarchy, path: str) -> list[Group]:
    """The directories between, where version 1 needs something in them."""
    if at.version == 2 or "cpuset" not in at.controllers:
        return []
    parts = path.split("/")
    return [("/".join([at.base, *parts[: n + 1]]), _CPUSET) for n in range(len(parts) - 1)]


def _enable(at: Hierarchy | None, path: str, wanted: Resources) -> tuple[tuple[str, str], ...]:
    """From the base down to the directory above the group."""
    if at is None:
        return ()
    given = [c for c in (*_GIVEN, *(("cpuset",) if wanted.cpuset_cpus else ())) if c in at.controllers]
    above = path.split("/")[:-1]
    places = ["/".join([at.base, *above[:n]]) for n in range(len(above) + 1)]
    return tuple([(place, " ".join([f"+{c}" for c in given])) for place in places]) if given else ()


def _settings(found: Cgroups, at: Hierarchy, wanted: Resources) -> Settings:
    return _second(found, at, wanted) if at.version == 2 else _first(found, at, wanted)


def _first(found: Cgroups, at: Hierarchy, wanted: Resources) -> Settings:
    """Version 1. A limit of memory and swap together cannot be below that of memory: it comes second."""
    pairs: list[tuple[str, str]] = []
    if "memory" in at.controllers:
        pairs += [("memory.limit_in_bytes", str(wanted.memory))] if wanted.memory else []
        swap = wanted.swap if found.swap else 0
        pairs += [("memory.memsw.limit_in_bytes", str(swap))] if swap else []
    if "cpu" in at.controllers:
        pairs += [("cpu.shares", str(wanted.cpu_shares))] if wanted.cpu_shares else []
        if wanted.cpu_quota:
            pairs += [
                ("cpu.cfs_period_us", str(wanted.cpu_period)),
                ("cpu.cfs_quota_us", str(wanted.cpu_quota)),
            ]
    if "cpuset" in at.controllers:
        pairs += _CPUSET
        pairs += [("cpuset.cpus", wanted.cpuset_cpus)] if wanted.cpuset_cpus else []
    if "pids" in at.controllers and wanted.pids:
        pairs.append(("pids.max", str(wanted.pids) if wanted.pids > 0 else "max"))
    if "devices" in at.controllers:
        pairs += [(f"devices.{'allow' if rule[0] else 'deny'}", device(rule)) for rule in wanted.devices]
    return tuple(pairs)


def device(rule: tuple[bool, str, int, int, str]) -> str:
    """A rule as the controller devices reads it: ``c 1:3 rwm``, or ``a`` for all."""
    _, kind, major, minor, access = rule
    if kind in ("", "a"):
        return "a"
    numbers = ["*" if number < 0 else str(number) for number in (major, minor)]
    return f"{kind} {':'.join(numbers)} {access or 'rwm'}"


def _second(found: Cgroups, at: Hierarchy, wanted: Resources) -> Settings:
    """Version 2, where swap is counted by itself, and shares are weights from 1 to 10000."""
    pairs: list[tuple[str, str]] = []
    if "memory" in at.controllers:
        pairs += [("memory.max", str(wanted.memory))] if wanted.memory > 0 else []
        if wanted.swap and found.swap:
            swap = "max" if wanted.swap < 0 else str(max(wanted.swap - max(wanted.memory, 0), 0))
            pairs.append(("memory.swap.max", swap))
    if "cpu" in at.controllers:
        pairs += [("cpu.weight", str(weight(wanted.cpu_shares)))] if wanted.cpu_shares else []
        if wanted.cpu_quota:
            quota = str(wanted.cpu_quota) if wanted.cpu_quota > 0 else "max"
            pairs.append(("cpu.max", f"{quota} {wanted.cpu_period}"))
    if "cpuset" in at.controllers and wanted.cpuset_cpus:
        pairs.append(("cpuset.cpus", wanted.cpuset_cpus))
    if "pids" in at.controllers and wanted.pids:
        pairs.append(("pids.max", str(wanted.pids) if wanted.pids > 0 else "max"))
    return tuple(pairs)


def weight(shares: int) -> int:
    """cpu.shares (2 to 262144) as cpu.weight, by the runtime specification's way from one to the other."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142
