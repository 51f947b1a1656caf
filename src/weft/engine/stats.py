"""What containers use: two looks at the kernel's counters, and what lies between them."""

from __future__ import annotations

from weft.core.model.hierarchy import Usage
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.model.network import Sandbox
    from weft.core.model.state import State
    from weft.engine.work import Work


class Sample(Record):
    """What a container had used at a time (nanoseconds of a clock that is never set). ``usage`` None: it has
    no cgroup; ``traffic`` bytes received and sent since its interfaces were made, None: it has none of its
    own."""

    time: int
    state: str
    usage: Usage | None = None
    traffic: tuple[int, int] | None = None


def sample(work: Work, names: Sequence[str] = ()) -> dict[str, Sample]:
    """The containers of these names, or all that run. NotFound."""
    found = [work.store.container(n) for n in names] if names else work.store.containers()
    if not names:
        found = [(s, state) for s, state in found if state.word in ("running", "paused")]
    return {sandbox.name: _sample(work, sandbox, state) for sandbox, state in found}


def _sample(work: Work, sandbox: Sandbox, state: State) -> Sample:
    if state.word not in ("running", "paused"):
        return Sample(work.machine.monotonic_ns(), state.word)
    usage = work.machine.group_usage(sandbox.cgroup) if state.pid is not None else None
    # The host's interfaces are not its own; in another container's they are not its alone, and are shown.
    traffic = None if sandbox.mode == "host" else work.machine.traffic(sandbox.name)
    return Sample(work.machine.monotonic_ns(), state.word, usage, traffic)


def rows(work: Work, before: dict[str, Sample], after: dict[str, Sample]) -> list[dict[str, Any]]:
    """One for each container that is in both: sizes in bytes, None for what is not counted. CPU in per cent
    of one CPU; a memory limit that nobody set is all that the host has."""
    total = work.machine.memory_total()
    pairs = [(name, before[name], now) for name, now in after.items() if name in before]
    return [_row(name, first, second, total) for name, first, second in pairs]


def _row(name: str, before: Sample, after: Sample, total: int) -> dict[str, Any]:
    first, usage = before.usage or Usage(), after.usage or Usage()
    limit = min(usage.memory_limit or total, total)
    counted = usage.memory >= 0
    received, sent = after.traffic or (None, None)
    return {
        "name": name,
        "state": after.state,
        "cpu_percent": _percent(first.cpu, usage.cpu, after.time - before.time),
        "cpu_ns": _known(usage.cpu),
        "memory_usage": _known(usage.memory),
        "memory_limit": limit if counted else None,
        "memory_percent": round(100 * usage.memory / limit, 2) if counted and limit else None,
        "net_rx_bytes": received,
        "net_tx_bytes": sent,
        "pids": _known(usage.pids),
        "pids_limit": usage.pids_limit or None,
        "oom_kills": usage.oom_kills,
        "throttled_us": usage.throttled,
    }


def _percent(before: int, after: int, passed: int) -> float | None:
    if before < 0 or after < 0:
        return None
    return round(max(100 * (after - before) / passed, 0.0), 2) if passed > 0 else 0.0


def _known(value: int) -> int | None:
    return value if value >= 0 else None


def limits(work: Work, sandbox: Sandbox, state: State, used: bool) -> dict[str, Any]:
    """What ``inspect`` says: the limits that were asked for (None: none), and what is ``used`` now."""
    spec = work.store.spec(sandbox.name) if sandbox.command else None
    wanted = spec.resources if spec is not None else None
    cpus = wanted.cpu_quota / wanted.cpu_period if wanted and wanted.cpu_quota > 0 else None
    return {
        "memory": (wanted.memory or None) if wanted else None,
        "memory_swap": (wanted.swap or None) if wanted else None,
        "cpus": cpus,
        "pids": (wanted.pids or None) if wanted else None,
        "usage": _used(work, sandbox, state) if used else None,
    }


def _used(work: Work, sandbox: Sandbox, state: State) -> dict[str, Any] | None:
    running = state.pid is not None and state.word in ("running", "paused")
    usage = work.machine.group_usage(sandbox.cgroup) if running else None
    if usage is None:
        return None
    return {
        "memory": _known(usage.memory),
        "cpu_ns": _known(usage.cpu),
        "pids": _known(usage.pids),
        "oom_kills": usage.oom_kills,
        "throttled_us": usage.throttled,
    }
