"""``linux.resources`` of config.json: limits (config-linux.md, Control groups)."""

from __future__ import annotations

from weft.core.model.errors import Unsupported
from weft.core.model.oci import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.oci.fields import Field

_PERIOD = 100_000
_UINT64 = (1 << 64) - 1
_CPUS = frozenset("0123456789,-")
#: What weft does not limit, by the object that it is in.
_OTHERS = {
    "": ("blockIO", "hugepageLimits", "network", "rdma", "unified"),
    "memory": ("reservation", "kernel", "kernelTCP", "swappiness", "disableOOMKiller"),
    "cpu": ("burst", "realtimeRuntime", "realtimePeriod", "mems", "idle"),
}


def read_resources(found: Field) -> Resources:
    """Limits; 0 where there is none. BadInput; Unsupported for those that weft does not set."""
    for part, keys in _OTHERS.items():
        where = found.get(part) if part else found
        for key in keys:
            if where.get(key).full():
                raise Unsupported(
                    f"{where.get(key).path}: weft does not limit that", "`--runtime runc` does it"
                )
    memory, cpu = found.get("memory"), found.get("cpu")
    limits = Resources(
        memory=_limit(memory.get("limit")),
        swap=_limit(memory.get("swap")),
        cpu_quota=_limit(cpu.get("quota")),
        cpu_period=cpu.get("period").number(0, 1_000_000) or _PERIOD,
        cpu_shares=cpu.get("shares").number(0, 1 << 18),
        cpuset_cpus=_cpus(cpu.get("cpus")),
        pids=_limit(found.get("pids").get("limit")),
        devices=tuple([_device_rule(one) for one in found.get("devices").items()]),
    )
    if limits.swap and limits.swap < limits.memory:
        raise memory.get("swap").wrong(f"{limits.swap} is below the memory limit, which it includes")
    if limits.swap and not limits.memory:
        raise memory.get("swap").wrong("needs a memory limit")
    return limits


def _limit(found: Field) -> int:
    """-1 is no limit either."""
    return max(found.number(-1), 0)


def _cpus(found: Field) -> str:
    if frozenset(found.text()) - _CPUS:
        raise found.wrong(f"{found.text()[:64]!a} is not a list of CPUs like 0-2,4")
    return found.text()


def _device_rule(found: Field) -> tuple[bool, str, int, int, str]:
    access = found.get("access").text("rwm") or "rwm"
    if frozenset(access) - frozenset("rwm") or len(set(access)) < len(access):
        raise found.get("access").wrong(f"{access[:64]!a} is not of r, w and m")
    return (
        found.get("allow").flag(),
        found.get("type").one_of(("a", "c", "b"), "a"),
        found.get("major").number(-1, _UINT64, -1),
        found.get("minor").number(-1, _UINT64, -1),
        access,
    )


def write_resources(limits: Resources) -> dict[str, Any]:
    """The way back; what is not limited is not there."""
    found: dict[str, Any] = {}
    memory = {k: v for k, v in (("limit", limits.memory), ("swap", limits.swap)) if v}
    cpu: dict[str, Any] = {"shares": limits.cpu_shares, "quota": limits.cpu_quota, "cpus": limits.cpuset_cpus}
    cpu = {k: v for k, v in cpu.items() if v}
    if limits.cpu_quota or limits.cpu_period != _PERIOD:
        cpu["period"] = limits.cpu_period
    for key, part in (
        ("memory", memory),
        ("cpu", cpu),
        ("pids", {"limit": limits.pids} if limits.pids else {}),
    ):
        if part:
            found[key] = part
    if limits.devices:
        found["devices"] = [_write_rule(*rule) for rule in limits.devices]
    return found


def _write_rule(allow: bool, kind: str, major: int, minor: int, access: str) -> dict[str, Any]:
    numbers = {k: v for k, v in (("major", major), ("minor", minor)) if v >= 0}
    return {"allow": allow, "type": kind, **numbers, "access": access}
