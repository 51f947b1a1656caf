"""A cgroup file system of version 2 with all controllers, in a directory: this kernel has its controllers
on version 1. It keeps the rules that callers meet (the kernel's admin-guide/cgroup-v2)."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from weft.core.model.hierarchy import Cgroups, Hierarchy
from weft.linux import cgroup

CONTROLLERS = ("cpu", "memory", "pids")
#: What a controller puts into a group that is not the root, with what is in it at first.
FILES = {
    "cpu": {"cpu.max": "max 100000", "cpu.weight": "100"},
    "memory": {"memory.max": "max", "memory.swap.max": "max", "memory.current": "0", "memory.stat": ""},
    "pids": {"pids.max": "max", "pids.current": "0"},
}
CORE = {
    "cgroup.procs": "",
    "cgroup.controllers": "",
    "cgroup.subtree_control": "",
    "cgroup.events": "populated 0\nfrozen 0\n",
    "cgroup.freeze": "0",
    "cgroup.kill": "",
    "cpu.stat": "usage_usec 0\n",
}


class Unified:
    """``top`` is the mounted directory: the root of all, or, with ``root`` off, a container's group."""

    def __init__(self, top: Path, patch: pytest.MonkeyPatch, root: bool = True) -> None:
        self.top, self.root = top, root
        self.real_write = cgroup.write
        self._fill(top, CONTROLLERS)
        patch.setattr(cgroup, "write", self.write)
        patch.setattr(cgroup, "make_directory", self.make)
        patch.setattr(cgroup, "remove_directory", self.remove)

    def facts(self) -> Cgroups:
        return Cgroups((Hierarchy(str(self.top), 2, CONTROLLERS),), swap=True)

    def _fill(self, place: Path, controllers: tuple[str, ...]) -> None:
        for name, text in CORE.items():
            (place / name).write_text(text)
        (place / "cgroup.controllers").write_text(" ".join(controllers))
        if place != self.top:
            for name, text in [pair for c in controllers for pair in FILES[c].items()]:
                (place / name).write_text(text)

    def make(self, path: str) -> None:
        place = Path(path)
        if self.top not in place.parents:
            return os.mkdir(path)
        place.mkdir()
        self._fill(place, tuple((place.parent / "cgroup.subtree_control").read_text().split()))
        return None

    def remove(self, path: str) -> None:
        place = Path(path)
        if self.top not in place.parents:
            return os.rmdir(path)
        if not place.exists():
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        if (place / "cgroup.procs").read_text().split() or any(p.is_dir() for p in place.iterdir()):
            raise OSError(errno.EBUSY, "busy", path)
        shutil.rmtree(place)
        return None

    def write(self, path: str, value: str) -> None:
        place = Path(path)
        if self.top not in place.parents:
            return self.real_write(path, value)
        if not place.exists():
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if place.name == "cgroup.subtree_control":
            return self._enable(place.parent, value)
        if place.name == "cgroup.procs":
            return self._enter(place.parent, str(os.getpid()) if value == "0" else value)
        if place.name == "cgroup.kill":
            (place.parent / "cgroup.procs").write_text("")
        place.write_text(value)
        return None

    def _enable(self, place: Path, value: str) -> None:
        words = [word.removeprefix("+") for word in value.split()]
        if not set(words) <= set((place / "cgroup.controllers").read_text().split()):
            raise FileNotFoundError(errno.ENOENT, "no such controller")
        known = (place / "cgroup.subtree_control").read_text().split()
        fresh = [w for w in words if w not in known]
        inner = place != self.top or not self.root
        if fresh and inner and (place / "cgroup.procs").read_text().split():
            raise OSError(errno.EBUSY, "Device or resource busy")
        (place / "cgroup.subtree_control").write_text(" ".join([*known, *fresh]))
        for child in [c for c in place.iterdir() if c.is_dir()]:
            (child / "cgroup.controllers").write_text(" ".join([*known, *fresh]))
            for name, text in [pair for c in fresh for pair in FILES[c].items()]:
                (child / name).write_text(text)

    def _enter(self, place: Path, pid: str) -> None:
        if (place / "cgroup.subtree_control").read_text().split():
            raise OSError(errno.EBUSY, "Device or resource busy")
        for group in [self.top, *[p for p in self.top.rglob("*") if p.is_dir()]]:
            procs = group / "cgroup.procs"
            procs.write_text("".join(f"{p}\n" for p in procs.read_text().split() if p != pid))
        procs = place / "cgroup.procs"
        procs.write_text(f"{procs.read_text()}{pid}\n")
