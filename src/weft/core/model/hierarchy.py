"""The cgroup file systems of a host, as weft uses them (cgroups(7)): where a container's groups are.

Version 1 has a hierarchy for each controller or few, version 2 one for all; a hybrid host has both, with
the controllers on version 1.
"""

from __future__ import annotations

from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: The controllers of version 1 in whose hierarchies containers get groups.
USED = ("cpu", "cpuacct", "memory", "pids", "devices", "freezer", "cpuset")
_HEX = frozenset("0123456789abcdef")


class Hierarchy(Record):
    """One that is mounted. ``base`` is the directory below which weft makes groups: the top of what is
    mounted, or, inside a container of weft's, that one's group. ``controllers`` of version 2 are those that
    ``base`` can give to its children.
    """

    base: str
    version: int
    controllers: tuple[str, ...]


class Cgroups(Record):
    """What a host has. ``swap``: use of swap can be limited, ``swapping``: there is some."""

    hierarchies: tuple[Hierarchy, ...] = ()
    swap: bool = False
    swapping: bool = False

    @property
    def unified(self) -> Hierarchy | None:
        """That of version 2."""
        return next((h for h in self.hierarchies if h.version == 2), None)

    def of(self, controller: str) -> Hierarchy | None:
        """Where a controller is; None: nowhere."""
        return next((h for h in self.hierarchies if controller in h.controllers), None)

    def directories(self, path: str) -> tuple[str, ...]:
        """Where a container's group is or would be; that of version 2 comes first."""
        found = sorted(self.hierarchies, key=lambda h: -h.version)
        return tuple([f"{h.base}/{path}" for h in found])


class Usage(Record):
    """What a group uses: bytes without the files that could be dropped, CPU time in nanoseconds, processes
    and threads; -1 for what nobody counts. Limits: 0 is none. ``throttled``: microseconds spent waiting for
    its quota; ``oom_kills``: processes that were killed for want of memory."""

    memory: int = -1
    memory_limit: int = 0
    cpu: int = -1
    cpu_quota: int = 0
    cpu_period: int = 100_000
    throttled: int = 0
    pids: int = -1
    pids_limit: int = 0
    oom_kills: int = 0


def hierarchies(mountinfo: str, own: str) -> tuple[Hierarchy, ...]:
    """From proc_pid_mountinfo(5) and /proc/self/cgroup. Of version 2 the controllers are yet to be read."""
    found: dict[tuple[int, tuple[str, ...]], tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, point = left.split()[3:5]
        words = options.split()[-1].split(",")
        key = (2, ()) if kind == "cgroup2" else (1, tuple([w for w in words if w in USED]))
        # What is mounted over the same place covers it; elsewhere it is the same hierarchy once more.
        if (key == (2, ()) or key[1]) and found.get(key, ("", point))[1] == point:
            found[key] = (root, point)
    paths = _paths(own)
    return tuple(
        [
            Hierarchy(_plain(point) + _within(root, paths.get(names, "/")), version, names)
            for (version, names), (root, point) in found.items()
        ]
    )


def _paths(own: str) -> dict[tuple[str, ...], str]:
    """Where a process is, by the controllers of the hierarchy: () is version 2."""
    found = {}
    for line in own.splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        used = tuple([n for n in names.split(",") if n in USED])
        if used or (number == "0" and not names):
            found[used] = path
    return found


def _plain(path: str) -> str:
    """A path as it was before blanks and the like in it were written as octal numbers."""
    head, *rest = path.split("\\")
    return head + "".join([chr(int(part[:3], 8)) + part[3:] for part in rest])


def _within(root: str, own: str) -> str:
    """The group of weft's own container in which the caller is, below the mount's root: what is made there
    stays within the outer limits."""
    if root != "/":
        if own != root and not own.startswith(f"{root}/"):
            return ""
        own = own[len(root) :]
    parts = own.split("/")[1:]
    deep = 0
    while len(parts) >= deep + 2 and _is_top(parts[deep]):
        deep += 2
    return "".join([f"/{part}" for part in parts[:deep]])


def _is_top(name: str) -> bool:
    word, dash, root = name.partition("-")
    return word == "weft" and (not dash or (len(root) == 8 and _HEX.issuperset(root)))


def members(words: str) -> Iterable[int]:
    """The pids of cgroup.procs; those of an outer pid namespace are 0 and left out."""
    return [pid for pid in map(int, words.split()) if pid]
