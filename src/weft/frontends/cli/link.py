"""``weft link ls``, ``rm``, ``whose``."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.engine import links as engine
from weft.frontends.cli.main import out, put, safe, work_for
from weft.frontends.cli.show import as_json, filtered, looking, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.frontends.cli.args import Args

_KEYS = "addresses alias altnames container ifindex ifname kind lower mac master mtu ns owner peer state"
_TITLES = ["NS", "IFNAME", "KIND", "STATE", "MASTER", "PEER", "ADDRESSES", "OWNER"]


def ls(args: Args) -> int:
    """``weft link ls``."""
    if args.on("all") and args.many("in"):
        raise BadInput("--all and --in do not go together", "--all lists every namespace's links")
    rows = filtered(engine.listing(looking(args), args.one("in", "host"), args.on("all")), args, _KEYS)
    if args.on("quiet"):
        for row in rows:
            out(f"{row['ns']}:{row['ifname']}" if args.on("all") else row["ifname"])
    elif args.one("format") == "json":
        _lines(rows)
    else:
        table(_TITLES, [_cells(row) for row in rows])
    return 0


def _lines(rows: list[dict[str, Any]]) -> None:
    """A row a line: of thousands, indented ones would take longer to write than to find."""
    import json

    for n, row in enumerate(rows):
        put(("[\n" if n == 0 else ",\n") + json.dumps(row))
    put("\n]\n" if rows else "[]\n")


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        _where(row),
        row["ifname"],
        row["kind"],
        row["state"],
        row["master"] or "-",
        end_text(row["peer"] or row["lower"], row["ns"]) or "-",
        ", ".join(row["addresses"]) or "-",
        row["owner"] or "-",
    ]


def _where(row: dict[str, Any]) -> str:
    """The namespace, and what an engine calls it where that is another word."""
    ns, container = row["ns"], row["container"]
    return ns if container in ("", ns) else f"{ns} ({container})"


def end_text(end: dict[str, Any] | None, here: str = "") -> str:
    """The other end of a link: ``web:eth0``, without the namespace when it is the same."""
    if end is None:
        return ""
    return end["ifname"] if end["ns"] == here else f"{_where(end)}:{end['ifname']}"


def remove(args: Args) -> int:
    """``weft link rm``."""
    work = work_for(args)
    for name in engine.remove(work, args.words, args.one("in", "host")):
        if not work.dry:
            out(safe(name))
    return 0


def whose(args: Args) -> int:
    """``weft link whose``."""
    row = engine.whose(looking(args), args.words[0], args.one("in", "host"))
    end = row["peer"] or row["lower"]
    if args.one("format") == "json":
        as_json(row)
    elif args.on("quiet"):
        out(f"{end['ns']}:{end['ifname']}" if end else "")
    else:
        out(safe(_sentence(row, end)))
    return 0


def _sentence(row: dict[str, Any], end: dict[str, Any] | None) -> str:
    name, where = row["ifname"], row["ns"]
    if end is None:
        owner = f", {row['owner']}" if row["owner"] else ""
        return f"{name} in {where} is a {row['kind']}{owner}"
    parts = [f"{end['ifname']} in {end['ns']}"]
    if end["container"]:
        parts.append(f"container {end['container']}")
    parts += end["addresses"]
    said = f"{name}@if{end['ifindex']} in {where}"
    if row["peer"] is None:
        return f"{said} is a {row['kind']} on {', '.join(parts)}"
    owner = f" ({row['owner']})" if row["owner"] and not row["owner"].startswith("container") else ""
    return f"{said} -> {', '.join(parts)}{owner}"
