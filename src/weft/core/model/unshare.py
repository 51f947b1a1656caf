"""A command in new namespaces (unshare(1), unshare(2), time_namespaces(7))."""

from __future__ import annotations

from weft.core.model.enter import OPTION
from weft.core.model.errors import BadInput
from weft.core.model.launch import OWN_SYS
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.enter import Command

_CLOCKS = ("monotonic", "boottime")
_UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
#: The kernel's KTIME_SEC_MAX, in nanoseconds (timens_offsets in proc_pid(5)).
_MOST = (1 << 63) - 1


class Fresh(Record):
    """New namespaces: their types, how far their clocks are shifted (nanoseconds), and under which paths they
    are kept (by type; none when they have no name)."""

    types: tuple[str, ...]
    clocks: tuple[tuple[str, int], ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    @property
    def forks(self) -> bool:
        """Whether the command is a child: pid 1 must be one, and names are given from outside."""
        return "pid" in self.types or bool(self.files)

    def shell(self, command: Command) -> str:
        """The commands it equals: files to keep the namespaces in, then unshare(1)."""
        from shlex import join, quote

        cd = f"cd {quote(command.cwd)} && " if command.cwd else ""
        words = command.words()
        if {"net", "mnt"} <= set(self.types):
            inner = "; ".join([*OWN_SYS, f"exec {words}"])
            words = join(["sh", "-ec", inner])
        return "".join([*self._keep(), f"{cd}exec unshare {' '.join(self._options())} -- {words}"])

    def _keep(self) -> list[str]:
        from shlex import quote

        lines = []
        for kind, path in self.files:
            folder = path.rpartition("/")[0]
            base, how = (folder, "shared") if kind == "net" else (folder.rpartition("/")[0], "private")
            at = quote(base)
            once = f"mountpoint -q {at} || {{ mount --bind {at} {at} && mount --make-{how} {at}; }}"
            lines += [f"mkdir -p {quote(folder)}\n", f"{once}\n", f"touch {quote(path)}\n"]
        return lines

    def _options(self) -> list[str]:
        from shlex import quote

        kept = dict(self.files)
        words = [f"--{OPTION[t]}" + (f"={quote(kept[t])}" if t in kept else "") for t in self.types]
        if "user" in self.types:
            words.append("--map-root-user")
        if "pid" in self.types:
            words += ["--fork", "--kill-child"] + (["--mount-proc"] if "mnt" in self.types else [])
        return words + [f"--{clock}={shift // 10**9}" for clock, shift in self.clocks]


def parse_clocks(texts: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """``+30s``, ``boottime=-1d``: clocks and nanoseconds; without a clock both are shifted. BadInput."""
    found: dict[str, int] = {}
    for text in texts:
        clock, equals, offset = text.rpartition("=")
        if equals and clock not in _CLOCKS:
            raise BadInput(f"clock {clock!a} cannot be shifted", f"one of {', '.join(_CLOCKS)}")
        shift = _offset(offset, text)
        for name in (clock,) if equals else _CLOCKS:
            if name in found:
                raise BadInput(f"clock {name} is given twice")
            found[name] = shift
    return tuple(found.items())


def _offset(offset: str, text: str) -> int:
    sign = -1 if offset[:1] == "-" else 1
    number = offset[1:] if offset[:1] in ("+", "-") else offset
    digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = number[len(digits) :] or "s"
    whole, dot, part = digits.partition(".")
    good = all(p.isascii() and p.isdigit() and len(p) <= 12 for p in ([whole, part] if dot else [whole]))
    if not good or unit not in _UNITS:
        raise BadInput(f"clock offset {text!a} is not valid", "write it as +30s, -1.5h or boottime=2d")
    scale = int(f"1{'0' * len(part)}")
    nanoseconds = (int(whole) * scale + int(part or "0")) * _UNITS[unit] // scale
    if nanoseconds > _MOST:
        raise BadInput(f"clock offset {text!a} is too far", "the kernel's clocks end after 292 years")
    return sign * nanoseconds
