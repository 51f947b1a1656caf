"""Containers' cgroups in plans: those with a command have one from their start to its end."""

from __future__ import annotations

from weft.core.drivers.cgroup import group_goes, group_wants
from weft.core.model.oci import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.core.model.network import Sandbox
    from weft.core.model.oci import Spec
    from weft.core.ops.base import Op
    from weft.engine.work import Work


def wants(work: Work, sandbox: Sandbox, spec: Spec | None) -> tuple[Op, ...]:
    """What makes a container's cgroup, with the limits that are asked for. Unsupported."""
    wanted = spec.resources if spec is not None else Resources()
    return group_wants(work.machine.cgroups(), sandbox.cgroup, wanted)


def runs(work: Work, sandbox: Sandbox) -> bool:
    """Whether it has a process on record: a database made anew knows of no command."""
    return work.store.container(sandbox.name)[1].pid is not None


def goes(work: Work, found: Iterable[Sandbox]) -> list[Op]:
    """What removes those of containers."""
    paths = [s.cgroup for s in found if s.command or runs(work, s)]
    cgroups = work.machine.cgroups() if paths else None
    return [op for path in paths if cgroups is not None for op in group_goes(cgroups, path)]
