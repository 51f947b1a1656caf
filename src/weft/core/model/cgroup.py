"""Which engine's container a process is in, as the path of its cgroup says (cgroups(7), /proc/PID/cgroup).

A container may make cgroups within its own, of any name. So the outermost that means something counts, and
below a user's own slice nothing counts as the system's.
"""

from __future__ import annotations

from weft.core.record import Record

_HEX = frozenset("0123456789abcdef")
_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
#: PREFIX-ID.scope under systemd, PREFIX-ID without: how engines call their containers' cgroups.
_PREFIXES = {
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
    "crio": "cri",
    "cri-containerd": "cri",
    "nerdctl": "containerd",
}


class InCgroup(Record):
    """``id`` is the engine's for the container, or its name where the engine has no ids. ``space`` is
    containerd's namespace. ``user``: in a user's own slice, where his word is all there is."""

    engine: str
    id: str
    space: str = ""
    user: bool = False


def _is_id(text: str) -> bool:
    return len(text) == 64 and _HEX.issuperset(text)


def is_word(text: str) -> bool:
    """Whether it can be a part of a path: an engine's name for something, not ``..``."""
    return 0 < len(text) < 128 and _WORD.issuperset(text) and text.strip(".") != ""


def _unit(name: str) -> str:
    """systemd.unit(5): \\x2d and the like in a machine's name."""
    head, *rest = name.split("\\x")
    return head + "".join([_character(part) for part in rest])


def _character(part: str) -> str:
    if len(part) >= 2 and _HEX.issuperset(part[:2].lower()):
        return chr(int(part[:2], 16)) + part[2:]
    return f"\\x{part}"


def _by_name(part: str, before: str, deep: int, user: bool) -> InCgroup | None:
    prefix, _, id = part.removesuffix(".scope").rpartition("-")
    if prefix in _PREFIXES and _is_id(id):
        return InCgroup(_PREFIXES[prefix], id, user=user)
    if _is_id(part):
        if before == "docker":
            return InCgroup("docker", part, user=user)
        if before.startswith(("pod", "kubepods")):
            return InCgroup("cri", part, user=user)
        return InCgroup("containerd", part, before, user=user) if deep == 2 and is_word(before) else None
    name = part.removeprefix("lxc.payload.")
    if is_word(name) and (name != part or before in ("lxc", "lxc.payload")):
        return InCgroup("lxc", name, user=user)
    return None


def _machine(part: str) -> str:
    if part.startswith("machine-") and part.endswith(".scope"):
        return _unit(part[8:-6])
    if part.startswith("systemd-nspawn@") and part.endswith(".service"):
        return _unit(part[15:-8])
    return ""


def in_cgroup(path: str) -> InCgroup | None:
    """What the path of one hierarchy says: a container, else a machine or a unit of systemd's, else None."""
    unit: InCgroup | None = None
    user = False
    before = ""
    for deep, part in enumerate(path.split("/")):
        found = _by_name(part, before, deep, user)
        if found is not None:
            return found
        machine = "" if user else _machine(part)
        if machine:
            return InCgroup("systemd", machine)
        user = user or part.startswith("user@")
        if part.endswith(".service") and not user:
            unit = InCgroup("systemd", part)
        before = part
    return unit


def of_process(text: str) -> InCgroup | None:
    """What /proc/PID/cgroup says, all hierarchies: the first container, else the first unit."""
    unit = None
    for line in text.splitlines():
        found = in_cgroup(line.partition(":")[2].partition(":")[2])
        if found is not None and found.engine != "systemd":
            return found
        unit = unit or found
    return unit
