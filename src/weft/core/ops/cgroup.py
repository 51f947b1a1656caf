"""A container's cgroup: one directory in each hierarchy, its limits, and its freezing (cgroups(7))."""

from __future__ import annotations

from weft.core.ops.base import Final, Op, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: A directory, and what is written to files in it.
    Group = tuple[str, tuple[tuple[str, str], ...]]


class CgroupAdd(Op):
    """Makes a group in every hierarchy and sets its limits.

    In ``groups`` the value "" is what the directory above has. ``enable`` are the directories above on which
    version 2 is told the controllers that their children get. Not ``limited``: nobody asked for a limit, and
    where groups cannot be made it goes without.
    """

    path: str
    groups: tuple[Group, ...]
    enable: tuple[tuple[str, str], ...] = ()
    limited: bool = False
    kind = "cgroup"

    @property
    def directories(self) -> tuple[str, ...]:
        """Where its group is."""
        return tuple([directory for directory, _ in self.groups if directory.endswith(f"/{self.path}")])

    def describe(self) -> str:
        values = [f"{file}={value}" for _, settings in self.groups for file, value in settings if value]
        shown = f" with {', '.join(values)}" if self.limited else ""
        return f"make the cgroup {self.path}{shown}"

    def shell(self) -> tuple[str, ...]:
        rest = "" if self.limited else " || true"
        return (
            f"mkdir -p {' '.join([quote(d) for d in self.directories])}{rest}",
            *[f"echo {quote(w)} > {quote(f'{d}/cgroup.subtree_control')}{rest}" for d, w in self.enable],
            *[
                f"{_source(directory, file, value)} > {quote(f'{directory}/{file}')}"
                for directory, settings in self.groups
                for file, value in settings
            ],
        )

    def undo(self) -> Op:
        return CgroupDel(self.path, self.directories)


def _source(directory: str, file: str, value: str) -> str:
    above = directory.rpartition("/")[0]
    return f"echo {quote(value)}" if value else f"cat {quote(f'{above}/{file}')}"


class CgroupDel(Op):
    """Ends what is left in a group and removes it, with the directory above when it was the last there."""

    path: str
    directories: tuple[str, ...]
    kind = "cgroup"

    def describe(self) -> str:
        return f"remove the cgroup {self.path}"

    def shell(self) -> tuple[str, ...]:
        words = " ".join([quote(d) for d in self.directories])
        above = " ".join([quote(d.rpartition("/")[0]) for d in self.directories])
        # Processes that were killed a moment ago are in it until they have ended.
        gone = 'while [ -d "$at" ] && ! find "$at" -depth -type d -delete 2>/dev/null; do sleep 0.05; done'
        return (f"for at in {words}; do {gone}; done", f"rmdir {above} 2>/dev/null || true")

    def undo(self) -> Final:
        return Final("what was in the group has ended")


class CgroupFreeze(Op):
    """Stops all processes of a group where they are. ``directory`` is in the hierarchy of ``version`` that
    can do it: 2, or that of the controller freezer."""

    path: str
    directory: str
    version: int
    kind = "cgroup"

    def describe(self) -> str:
        return f"freeze the cgroup {self.path}"

    def shell(self) -> tuple[str, ...]:
        word, file = ("1", "cgroup.freeze") if self.version == 2 else ("FROZEN", "freezer.state")
        return (f"echo {word} > {quote(f'{self.directory}/{file}')}",)

    def undo(self) -> Op:
        return CgroupThaw(self.path, self.directory, self.version)


class CgroupThaw(Op):
    """Lets them go on."""

    path: str
    directory: str
    version: int
    kind = "cgroup"

    def describe(self) -> str:
        return f"thaw the cgroup {self.path}"

    def shell(self) -> tuple[str, ...]:
        word, file = ("0", "cgroup.freeze") if self.version == 2 else ("THAWED", "freezer.state")
        return (f"echo {word} > {quote(f'{self.directory}/{file}')}",)

    def undo(self) -> Op:
        return CgroupFreeze(self.path, self.directory, self.version)
