"""``weft ns watch``: names, namespaces and links as they come, go and move."""

from __future__ import annotations

import sys

from weft.frontends.cli.main import out, safe, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.watch import Change
    from weft.frontends.cli.args import Args


def watch(args: Args) -> int:
    """``weft ns watch``: a line, or a JSON object, for each change, until it is interrupted."""
    from time import time

    work = work_for(args)
    write = _json if args.one("format") == "json" else _line
    with work.machine.watch() as heard:
        first = heard.look()
        work.say(f"watching {sum(c.event == 'born' for c in first)} network namespaces")
        for change in heard.changes():
            write(time(), change)
            sys.stdout.flush()
    return 0


def _json(now: float, change: Change) -> None:
    import json

    row = {"time": round(now, 6), **dict(zip(change._fields, change._astuple(), strict=True))}
    out(json.dumps(row))


def _line(now: float, change: Change) -> None:
    from time import localtime, strftime

    clock = f"{strftime('%H:%M:%S', localtime(now))}.{int(now * 1000) % 1000:03}"
    out(f"{clock}  {change.event:<12}  {safe(_said(change))}")


def _said(change: Change) -> str:
    where = change.ns or f"net:[{change.inode}]"
    if change.event in ("named", "unnamed", "born", "died"):
        known = f"  net:[{change.inode}]" if change.ns and change.inode else ""
        return f"{where}{known}" + (f"  pid {change.pid}" if change.pid else "")
    kind = f"  {change.kind}" if change.kind else ""
    way = {"link-in": "  from ", "link-renamed": "  was "}.get(change.event, "")
    return f"{where}  {change.ifname} ({change.ifindex}){kind}{way}{change.other if way else ''}"
