"""How a container lives: what becomes of it when its command ends, how it is stopped, watched and logged."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

RESTARTS = ("no", "on-failure", "always", "unless-stopped")
#: asm-generic/signal.h, in order from 1 (signal(7)). Real-time signals go from 34 to 64 (glibc).
_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN"
    " TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_SAME = {"IOT": 6, "POLL": 29, "CLD": 17}
_RTMIN, _RTMAX = 34, 64
_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1, "us": 0.001, "ns": 0.000001}
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_DETACH_KEYS = "ctrl-p,ctrl-q"
#: Docker's: nothing shorter can be told from nothing.
_SHORTEST = 1


class Health(Record):
    """A command run inside every ``interval``; it is unhealthy after ``retries`` failures in a row.

    Times are milliseconds. Failures do not count within ``start_period``, in which it is run every
    ``start_interval``, until the first success.
    """

    command: tuple[str, ...]
    interval: int = 30_000
    timeout: int = 30_000
    start_period: int = 0
    start_interval: int = 5000
    retries: int = 3


class Policy(Record):
    """``restart_most`` 0: as often as it takes. ``stop_timeout`` in seconds, -1: until it ends by itself.

    ``log_size`` in bytes, ``log_files`` with the one that is written to. ``stdin``: it is kept open for
    ``weft attach``.
    """

    restart: str = "no"
    restart_most: int = 0
    stop_signal: int = 15
    stop_timeout: int = 10
    health: Health | None = None
    log_size: int = 10 << 20
    log_files: int = 3
    stdin: bool = False

    @property
    def restarts(self) -> bool:
        """Whether it may be started again by itself."""
        return self.restart != "no"

    @property
    def restart_shown(self) -> str:
        """The policy as it is typed."""
        return f"{self.restart}:{self.restart_most}" if self.restart_most else self.restart

    def again(self, code: int, times: int) -> bool:
        """Whether a command that ended with this status starts once more, after ``times`` restarts."""
        if self.restart == "on-failure":
            return code != 0 and (not self.restart_most or times < self.restart_most)
        return self.restarts


def parse_signal(text: str) -> int:
    """A signal by name (TERM, SIGTERM, RTMIN+3) or number; BadInput."""
    word = text.upper().removeprefix("SIG")
    if word.isascii() and word.isdigit() and len(word) < 3 and 0 < int(word) <= _RTMAX:
        return int(word)
    if word in _SIGNALS:
        return _SIGNALS.index(word) + 1
    if word in _SAME:
        return _SAME[word]
    for name, base, sign in (("RTMIN", _RTMIN, "+"), ("RTMAX", _RTMAX, "-")):
        rest = word.removeprefix(name)
        digits = rest[1:] if rest[:1] == sign else "" if rest else "0"
        if rest != word and digits.isascii() and digits.isdigit() and int(digits) <= _RTMAX - _RTMIN:
            return base + int(digits) if sign == "+" else base - int(digits)
    raise BadInput(f"no signal {text!a}", "signal(7) lists them: TERM, SIGKILL, 15, RTMIN+3")


def signal_name(number: int) -> str:
    """SIGTERM for 15."""
    if 0 < number <= len(_SIGNALS):
        return f"SIG{_SIGNALS[number - 1]}"
    return f"SIGRTMIN+{number - _RTMIN}" if _RTMIN <= number <= _RTMAX else str(number)


def parse_restart(text: str) -> tuple[str, int]:
    """``no``, ``always``, ``unless-stopped``, ``on-failure[:N]``: the word and N. BadInput."""
    word, colon, most = text.partition(":")
    if word not in RESTARTS:
        raise BadInput(
            f"--restart {text!a} is not one of {', '.join(RESTARTS)}",
            "on-failure:5 starts it again five times at most",
        )
    if not colon:
        return word, 0
    if word != "on-failure":
        raise BadInput(f"--restart {word} takes no number of times", "on-failure:5 does")
    return word, _whole(most, "--restart on-failure", 0, 1_000_000)


def parse_duration(text: str, what: str) -> int:
    """``1m30s``, ``500ms``, ``1.5h`` in milliseconds, as Go writes durations; BadInput."""
    rest, total = text, 0.0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        unit = next((u for u in ("ms", "us", "ns", "h", "m", "s") if rest.startswith(u)), "")
        if not unit or number.count(".") > 1 or not number.strip(".") or len(number) > 12:
            total = -1.0
            break
        total += float(number) * _UNITS[unit]
        rest = rest[len(unit) :]
    if not text or total < 0 or total > 1 << 40:
        raise BadInput(f"{what} {text!a} is not a duration", "write it as 30s, 1m30s or 500ms")
    return round(total)


def parse_size(text: str, what: str) -> int:
    """``10m`` in bytes; BadInput."""
    word = text.lower().removesuffix("b") if len(text) > 1 else text
    digits = word.rstrip("kmg")
    unit = word[len(digits) :]
    if unit not in _SIZES or not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise BadInput(f"{what} {text!a} is not a size", "write it as 10m or 512k")
    return int(digits) * _SIZES[unit]


def parse_log_options(options: Sequence[str]) -> tuple[int, int]:
    """``max-size=10m``, ``max-file=3``: bytes and files. BadInput."""
    size, files = Policy().log_size, Policy().log_files
    for text in options:
        key, equals, value = text.partition("=")
        if key == "max-size" and equals:
            size = parse_size(value, "--log-opt max-size")
            if size < 4096:
                raise BadInput(f"--log-opt max-size {value} is below 4096 bytes")
        elif key == "max-file" and equals:
            files = _whole(value, "--log-opt max-file", 1, 1000)
        else:
            raise BadInput(f"--log-opt {text!a} is not known", "max-size=10m and max-file=3 are")
    return size, files


def parse_health(
    command: str,
    interval: str = "",
    timeout: str = "",
    start_period: str = "",
    start_interval: str = "",
    retries: str = "",
) -> Health | None:
    """What the ``--health-*`` flags say; None without a command. BadInput."""
    given = {
        "interval": interval,
        "timeout": timeout,
        "start_period": start_period,
        "start_interval": start_interval,
    }
    times = {
        key: _period(text, f"--health-{key.replace('_', '-')}", key != "start_period")
        for key, text in given.items()
        if text
    }
    if not command:
        flag = next((key for key in (*times, *(["retries"] if retries else []))), "")
        if flag:
            raise BadInput(f"--health-{flag.replace('_', '-')} needs --health-cmd")
        return None
    if retries:
        times["retries"] = _whole(retries, "--health-retries", 1, 1_000_000)
    if "\0" in command:
        raise BadInput("--health-cmd holds a null byte")
    return Health(("/bin/sh", "-c", command), **times)


def _period(text: str, what: str, must: bool) -> int:
    found = parse_duration(text, what)
    if must and found < _SHORTEST:
        raise BadInput(f"{what} {text} is below 1ms")
    return found


def parse_stop_timeout(text: str) -> int:
    """Seconds, -1 for ever. BadInput."""
    return -1 if text == "-1" else _whole(text, "the stop timeout", 0, 1 << 31)


def parse_policy(
    restart: str = "",
    stop_signal: str = "",
    stop_timeout: str = "",
    health: Health | None = None,
    log_options: Sequence[str] = (),
    stdin: bool = False,
    auto_remove: bool = False,
) -> Policy:
    """What the flags of ``run`` say, each "" where it is not given. BadInput."""
    word, most = parse_restart(restart or "no")
    if auto_remove and word != "no":
        raise BadInput("--restart conflicts with --rm", "a container that is removed is not started again")
    size, files = parse_log_options(log_options)
    return Policy(
        word,
        most,
        parse_signal(stop_signal or "TERM"),
        parse_stop_timeout(stop_timeout or str(Policy().stop_timeout)),
        health,
        size,
        files,
        stdin,
    )


def parse_detach_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q``: what is typed, as bytes. BadInput."""
    keys = b""
    for word in (text or _DETACH_KEYS).split(","):
        low = word.lower()
        if len(word) == 1 and word.isascii():
            keys += word.encode()
        elif low.startswith("ctrl-") and len(low) == 6 and low[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            keys += bytes([ord(low[5].upper()) & 0x1F])
        else:
            raise BadInput(f"--detach-keys {text!a}: {word!a} is no key", "write it as ctrl-p,ctrl-q or x,y")
    return keys


def _whole(text: str, what: str, low: int, high: int) -> int:
    digits = text.isascii() and text.isdigit() and len(text) < 12
    if not digits or not low <= int(text) < high:
        raise BadInput(f"{what} {text!a} is not a number from {low} to {high - 1}")
    return int(text)
