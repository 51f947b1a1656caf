"""``weft stats``, ``top``, ``pause``, ``unpause``."""

from __future__ import annotations

import sys

from weft.engine import stats as engine
from weft.engine import top as processes
from weft.frontends.cli.main import out, put, work_for
from weft.frontends.cli.show import as_json, looking, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

#: Between the two looks of ``--no-stream``: the clock of CPU time is nanoseconds, so it need not be long.
_ONCE = 0.2
#: To the first column of the first line, and all below it cleared (console_codes(4)).
_HOME = "\x1b[H\x1b[J"


def _size(value: int | None) -> str:
    """Bytes for people: three digits and a unit of 1024."""
    if value is None:
        return "-"
    number, units = float(value), iter(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = next(units)
    while number >= 1000 and unit != "PiB":
        number, unit = number / 1024, next(units)
    return f"{number:.3g}{unit}" if unit != "B" else f"{value}B"


def _cells(row: dict[str, Any]) -> list[str]:
    cpu, percent = row["cpu_percent"], row["memory_percent"]
    most = f" / {row['pids_limit']}" if row["pids_limit"] else ""
    return [
        row["name"] + (" (paused)" if row["state"] == "paused" else ""),
        "-" if cpu is None else f"{cpu:.2f}%",
        f"{_size(row['memory_usage'])} / {_size(row['memory_limit'])}",
        "-" if percent is None else f"{percent:.2f}%",
        f"{_size(row['net_rx_bytes'])} / {_size(row['net_tx_bytes'])}",
        "-" if row["pids"] is None else f"{row['pids']}{most}",
    ]


_STATS = ["NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "PIDS"]


def stats(args: Args) -> int:
    """``weft stats``: of all that run, or of those named; on a terminal again every second."""
    from time import sleep

    work = looking(args)
    names = tuple(dict.fromkeys(args.words))
    stream = sys.stdout.isatty() and not args.on("no-stream")
    before = engine.sample(work, names)
    sleep(_ONCE)
    while True:
        after = engine.sample(work, names)
        _show(args, engine.rows(work, before, after), stream)
        if not stream:
            return 0
        sys.stdout.flush()
        # One that came meanwhile has its first look now, and is shown next time.
        before = after
        sleep(1)


def _show(args: Args, rows: list[dict[str, Any]], stream: bool) -> None:
    if args.on("quiet"):
        for row in rows:
            out(row["name"])
    elif args.one("format") == "json":
        as_json(rows)
    else:
        if stream:
            put(_HOME)
        table(_STATS, [_cells(row) for row in rows])


def _clock(seconds: float) -> str:
    """As ps(1): [[DD-]hh:]mm:ss."""
    whole = int(seconds)
    days, hours = divmod(whole // 3600, 24)
    head = f"{days}-{hours:02}:" if days else f"{hours:02}:" if hours else ""
    return f"{head}{whole // 60 % 60:02}:{whole % 60:02}"


#: A column: its title, and what is in it.
_COLUMNS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "container": ("CONTAINER", lambda row: row["container"]),
    "pid": ("PID", lambda row: row["pid"]),
    "nspid": ("NSPID", lambda row: row["nspid"]),
    "ppid": ("PPID", lambda row: row["ppid"]),
    "uid": ("UID", lambda row: row["uid"]),
    "user": ("USER", lambda row: row["user"]),
    "state": ("S", lambda row: row["state"]),
    "rss": ("RSS", lambda row: _size(row["rss"])),
    "time": ("TIME", lambda row: _clock(row["time"])),
    "etime": ("ELAPSED", lambda row: _clock(row["elapsed"])),
    "comm": ("COMMAND", lambda row: row["comm"]),
    "args": ("COMMAND", lambda row: row["args"]),
}
#: ps(1)'s other words for the same.
_ALIASES = {"cmd": "args", "command": "args", "s": "state", "stat": "state", "euid": "uid", "euser": "user"}


def top(args: Args) -> int:
    """``weft top [C] [COLUMN...]``."""
    work = looking(args)
    name, wanted = args.words[:1], [_ALIASES.get(w, w) for word in args.words[1:] for w in word.split(",")]
    shown = processes.columns(wanted, tuple(_COLUMNS)) or ["pid", "nspid", "user", "time", "args"]
    rows = processes.rows(work, *name)
    if args.on("quiet"):
        for row in rows:
            out(str(row["pid"]))
    elif args.one("format") == "json":
        as_json(rows)
    else:
        shown = shown if name or "container" in shown else ["container", *shown]
        cells = [[str(_COLUMNS[column][1](row)) for column in shown] for row in rows]
        table([_COLUMNS[column][0] for column in shown], cells)
    return 0


def pause(args: Args) -> int:
    """``weft pause``: the names of what it has paused."""
    from weft.engine.pause import pause as act

    return _each(args, act)


def unpause(args: Args) -> int:
    """``weft unpause``: the names of what goes on."""
    from weft.engine.pause import unpause as act

    return _each(args, act)


def _each(args: Args, act: Callable[[Work, list[str]], list[str]]) -> int:
    work = work_for(args)
    for name in act(work, args.words):
        if not work.dry:
            out(name)
    return 0
