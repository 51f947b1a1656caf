"""A container's /sys/fs/cgroup (cgroups(7)): its own group, not the machine's, in every hierarchy."""

from __future__ import annotations

import os

from weft.linux import mountapi

_HOSTS = "/sys/fs/cgroup"


def _unified() -> bool:
    """Whether the host has one hierarchy, of version 2."""
    return os.path.exists(f"{_HOSTS}/cgroup.controllers")


def made(attributes: int) -> int:
    """What goes to /sys/fs/cgroup, to be filled where it stands. OSError."""
    if not _unified():
        return mountapi.fs("tmpfs", (("mode", "755"),), attributes)
    try:
        return mountapi.fs("cgroup2", (), attributes)
    except OSError:  # a user namespace that does not own the cgroup namespace
        tree = mountapi.tree(_HOSTS, recursive=True)
        mountapi.set_attributes(tree, attributes, recursive=True)
        return tree


def fill(directory: int, attributes: int, own_namespace: bool) -> None:
    """Puts the hierarchies of version 1 into it, each with its old names. OSError."""
    if _unified():
        mountapi.set_attributes(directory, attributes, recursive=True)
        return
    groups = _groups()
    for name in sorted(os.listdir(_HOSTS)):
        path = f"{_HOSTS}/{name}"
        if os.path.islink(path):
            os.symlink(os.readlink(path), name, dir_fd=directory)
        elif name in groups or name == "unified":
            group = _namespaced(name) if own_namespace else _bound(path, groups.get(name, "/"))
            mountapi.set_attributes(group, attributes)
            os.mkdir(name, 0o755, dir_fd=directory)
            target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            mountapi.attach(group, target)
            os.close(group)
            os.close(target)


def _groups() -> dict[str, str]:
    """This process's group by the name of a hierarchy's directory (/proc/self/cgroup)."""
    found = {}
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            found[controllers.removeprefix("name=") or "unified"] = path
    return found


def _bound(hierarchy: str, group: str) -> int:
    return mountapi.tree(hierarchy + group.rstrip("/"))


def _namespaced(name: str) -> int:
    """A mount shows a hierarchy from the cgroup namespace's root on (cgroup_namespaces(7))."""
    if name == "unified":
        return mountapi.fs("cgroup2")
    if name == "systemd":
        return mountapi.fs("cgroup", (("none", None), ("name", name)))
    return mountapi.fs("cgroup", [(controller, None) for controller in name.split(",")])
