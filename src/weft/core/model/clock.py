"""Times as people write them, RFC 3339 above all. All are nanoseconds since 1970, in UTC."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.policy import parse_duration

SECOND = 1_000_000_000
_DAY = 86_400
#: Days from 0000-03-01 to 1970-01-01; and in 400 years.
_EPOCH, _ERA = 719_468, 146_097


def shown(ns: int) -> str:
    """RFC 3339 with all nine digits, so that texts sort as the times they are."""
    seconds, rest = divmod(ns, SECOND)
    days, clock = divmod(seconds, _DAY)
    era, day = divmod(days + _EPOCH, _ERA)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    year += era * 400 + (month <= 2)
    hour, minute = clock // 3600, clock // 60 % 60
    return f"{year:04}-{month:02}-{day + 1:02}T{hour:02}:{minute:02}:{clock % 60:02}.{rest:09}Z"


def _days(year: int, month: int, day: int) -> int:
    year -= month <= 2
    era, years = divmod(year, 400)
    inside = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * _ERA + years * 365 + years // 4 - years // 100 + inside - _EPOCH


def parse_time(text: str, now: int, what: str) -> int:
    """``2026-11-25T08:44:50.5Z`` (also a date alone, also with an offset), seconds since 1970, or a
    duration: so long before ``now``. BadInput."""
    seconds, dot, rest = text.partition(".")
    plain = f"{seconds}{rest}"
    if plain.isascii() and plain.isdigit() and len(seconds) < 12 and (rest or not dot):
        return int(seconds or "0") * SECOND + _fraction(rest)
    if text[4:5] == "-":
        found = _stamp(text)
        if found is None:
            raise BadInput(f"{what} {text!a} is no time", "write it as 2026-11-25T08:44:50Z, or as 10m")
        return found
    try:
        return now - parse_duration(text, what) * 1_000_000
    except BadInput:
        raise BadInput(f"{what} {text!a} is no time", "write it as 2026-11-25T08:44:50Z, or as 10m") from None


def _fraction(digits: str) -> int:
    return int(f"{digits:0<9}"[:9])


def _stamp(text: str) -> int | None:
    """RFC 3339, section 5.6, where what is left out at the end is zero."""
    date, _, clock = text.replace("t", "T").replace(" ", "T").partition("T")
    clock, offset = _zone(clock)
    numbers = date.split("-")
    times = clock.partition(".")[0].split(":") if clock else []
    fraction = clock.partition(".")[2]
    words = [*numbers, *times, *([fraction] if fraction else [])]
    lengths = [len(w) for w in (*numbers, *times)]
    if not all(w.isascii() and w.isdigit() for w in words) or lengths != [4, 2, 2, 2, 2, 2][: len(lengths)]:
        return None
    year, month, day, hour, minute, second = ([int(w) for w in (*numbers, *times)] + [0] * 6)[:6]
    good = 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61
    if len(numbers) != 3 or not good or offset is None:
        return None
    total = _days(year, month, day) * _DAY + hour * 3600 + minute * 60 + second - offset
    return total * SECOND + (_fraction(fraction) if fraction else 0)


def _zone(clock: str) -> tuple[str, int | None]:
    """A time without its zone, and that in seconds; None when it is none."""
    if clock[-1:] in ("Z", "z"):
        return clock[:-1], 0
    for sign, factor in (("+", 1), ("-", -1)):
        head, found, zone = clock.partition(sign)
        hours, colon, minutes = zone.partition(":")
        if found:
            good = colon and f"{hours}{minutes}".isdigit() and len(zone) == 5
            return head, factor * (int(hours) * 3600 + int(minutes) * 60) if good else None
    return clock, 0
