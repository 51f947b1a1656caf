"""Limits as people type them: ``--memory 512m``, ``--cpus 1.5``, ``--pids-limit 100``, as Docker has them."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.oci import Resources

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNIT_HINT = "a number with b, k, m or g (of 1024 each), as 512m or 1.5g; without a unit it is bytes"
#: Docker's: less than this no process can be started in.
LEAST_MEMORY = 6 << 20
#: What the kernel counts in pages of 4096 bytes and in 63 bits.
_MOST_MEMORY = (1 << 62) - 1
CPU_PERIOD = 100_000
#: The kernel's min_cfs_quota_period of 1 ms, in a period of 100 ms.
_LEAST_QUOTA = CPU_PERIOD // 100
#: PID_MAX_LIMIT of 64-bit kernels.
_MOST_PIDS = 1 << 22


def resources(memory: str, cpus: str, pids: str, ncpus: int) -> Resources:
    """The limits that these flags ask for; "" is a flag that is not given. ``ncpus``: how many the host has.

    With a limit of memory comes one of memory and swap together, of twice as much. BadInput.
    """
    most = _memory(memory)
    return Resources(memory=most, swap=2 * most, cpu_quota=_quota(cpus, ncpus), pids=_pids(pids))


def _parts(text: str, most: int) -> tuple[int, int, int] | None:
    """A decimal number: its whole part, its fraction as a numerator and a power of ten; None when it is
    none."""
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    good = digits.isascii() and digits.isdigit() and whole and len(whole) <= most and len(fraction) <= 9
    if not good or (point and not fraction):
        return None
    return int(whole), int(fraction or "0"), 10 ** len(fraction)


def _memory(text: str) -> int:
    """Bytes; 0 is no limit."""
    number = text.lower()
    if number.endswith(("ib", "kb", "mb", "gb", "tb")):  # as 64MiB or 64mb
        number = number.removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    parts = _parts(number.removesuffix(unit), 19)
    if not text:
        return 0
    if parts is None:
        raise BadInput(f"--memory {text!a} is not a size", _UNIT_HINT)
    whole, above, below = parts
    size = (whole * below + above) * _UNITS[unit] // below
    if 0 < size < LEAST_MEMORY or (not size and (whole or above)):
        raise BadInput(f"--memory {text} is below the minimum of {LEAST_MEMORY >> 20}m", _UNIT_HINT)
    if 2 * size > _MOST_MEMORY:
        raise BadInput(f"--memory {text} is more than a kernel can count", _UNIT_HINT)
    return size


def _quota(text: str, ncpus: int) -> int:
    """Microseconds in each period of 100 ms; 0 is no limit."""
    if not text:
        return 0
    parts = _parts(text, 6)
    if parts is None:
        raise BadInput(f"--cpus {text!a} is not a number of CPUs", "as 2, 1.5 or 0.25")
    whole, above, below = parts
    quota = (whole * below + above) * CPU_PERIOD // below
    if quota > ncpus * CPU_PERIOD:
        raise BadInput(f"--cpus {text}: this host has {ncpus}", f"give 0.01 to {ncpus}")
    if quota < _LEAST_QUOTA and (whole or above):
        raise BadInput(f"--cpus {text} is below the minimum of 0.01", f"give 0.01 to {ncpus}")
    return quota


def _pids(text: str) -> int:
    """How many processes and threads; 0 is no limit, as is -1."""
    if text in ("", "-1"):
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise BadInput(f"--pids-limit {text!a} is not a number of processes", "1 or more; 0 is no limit")
    number = int(text)
    if number > _MOST_PIDS:
        raise BadInput(f"--pids-limit {text}: a kernel has at most {_MOST_PIDS} processes")
    return number
