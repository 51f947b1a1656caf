"""``weft ns ls``, ``identify``, ``pids``, ``same``: looks at namespaces and changes nothing."""

from __future__ import annotations

from weft.core.model.errors import BadInput, WeftError
from weft.core.model.target import parse_target
from weft.engine import namespaces as engine
from weft.frontends.cli.main import out, safe, work_for
from weft.frontends.cli.show import as_json, listing, looking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.frontends.cli.args import Args

_KEYS = (
    "command container former held_by here inode links names nprocs nsid owner parent pids state type user"
)


def _inode(row: dict[str, Any]) -> object:
    return row["inode"] or "-"


def _people(row: dict[str, Any]) -> str:
    """Names, what they were, the container; for the one in which weft is, ``host`` as TARGET has it."""
    said = [f"{name} (stale)" if row["state"] == "stale" else name for name in row["names"]]
    said += [f"{name} (removed)" for name in row["former"] if row["state"] == "leaked"]
    said += ["host"] if row["here"] else []
    box = row["container"]
    said += [f"{box['engine']}:{box['name']}"] if box else []
    return " ".join(said) or "-"


def _plain(holder: dict[str, Any], row: dict[str, Any]) -> bool:
    """What goes without saying in a table which tells the processes."""
    if holder["kind"] == "process":
        return not holder["where"].endswith("_for_children")
    return holder["kind"] == "child" and bool(row["pids"])


#: So many holders are shown, the rest counted.
_HOLDERS = 3


def _held(row: dict[str, Any]) -> str:
    """What but its processes holds it; a name of its own is said already."""
    own = [f"/run/netns/{name}" for name in row["names"]]
    said = []
    for holder in row["held_by"]:
        if _plain(holder, row):
            continue
        if holder["kind"] == "mount" and holder["where"] in own and not holder["pid"]:
            said.append("name")
            continue
        pid = f" of {holder['pid']}" if holder["pid"] else ""
        said.append(f"{holder['kind']} {holder['where']}{pid}".replace("unknown ", "").rstrip())
    more = f" +{len(said) - _HOLDERS}" if len(said) > _HOLDERS else ""
    return ", ".join(said[:_HOLDERS]) + more or "-"


#: So much of a command is shown for people; JSON has all of it.
_COMMAND = 60


def _cut(command: str) -> str:
    return command if len(command) <= _COMMAND else command[: _COMMAND - 3] + "..."


_COLUMNS = (
    ("NS", _inode),
    ("TYPE", "type"),
    ("NPROCS", "nprocs"),
    ("PID", lambda row: row["pids"][0] if row["pids"] else "-"),
    ("USER", lambda row: row["user"] or "-"),
    ("NAMES", _people),
    ("HELD BY", _held),
    ("COMMAND", lambda row: _cut(row["command"]) or "-"),
)


def _quiet(row: dict[str, Any]) -> str:
    return row["names"][0] if row["names"] else str(row["inode"])


def ls(args: Args) -> int:
    """``weft ns ls``."""
    wanted = engine.types(args.one("type") or "net")
    tree = args.on("tree")
    if tree and (args.one("format") == "json" or args.on("quiet")):
        raise BadInput("--tree is for people", "owner and parent are keys of --format json")
    rows = engine.rows(looking(args), dict.fromkeys((*wanted, "user")) if tree else wanted)
    if not tree:
        return listing(rows, args, _KEYS, _COLUMNS, _quiet)
    from weft.core.draw.tree import draw

    out(safe(draw(rows, _line), "\n"))
    return 0


def _line(row: dict[str, Any]) -> str:
    said = [f"{row['type']}:[{row['inode'] or '?'}]"]
    said += [text for text in (_people(row), _held(row)) if text != "-"]
    if row["pids"]:
        said.append(f"{row['nprocs']} x {row['user']}: {row['pids'][0]} {_cut(row['command'])}")
    return safe("  ".join(said))


def identify(args: Args) -> int:
    """``weft ns identify``: as ``ip netns identify``, which says nothing of what has no name."""
    word = args.one("type") or "net"
    wanted = engine.types(word)
    target = parse_target(args.words[0]) if args.words else None
    if target is not None and target.kind != "pid":
        raise BadInput(f"{args.words[0]!a} is not a pid", "`weft ns identify 4913`")
    rows = engine.identify(work_for(args), int(target.value) if target else None, wanted)
    if args.one("format") == "json":
        as_json(rows)
        return 0
    for row in rows:
        if word == "all":
            out(f"{row['type']} {row['inode']} {' '.join(row['names'])}".rstrip())
        else:
            for name in row["names"]:
                out(name)
    return 0


def pids(args: Args) -> int:
    """``weft ns pids``: of a pid namespace with the pid that each has inside."""
    kind = args.one("type") or "net"
    if len(engine.types(kind)) > 1:
        raise BadInput("`weft ns pids` takes one --type", "`weft ns ls --type all` lists all")
    rows = engine.pids(work_for(args), args.words[0], kind)
    if args.one("format") == "json":
        as_json(rows)
        return 0
    for row in rows:
        inside = f" {row['nspid'][-1]}" if kind == "pid" and not args.on("quiet") else ""
        out(f"{row['pid']}{inside}")
    return 0


def same(args: Args) -> int:
    """``weft ns same``: 0 when they share it, 1 when not, 2 when that cannot be told."""
    try:
        one, other = args.words
        found = engine.differing(work_for(args), one, other, engine.types(args.one("type") or "net"))
    except WeftError as error:
        error.status = 2
        raise
    if args.one("format") == "json":
        as_json({"same": not found, "differing": found})
    elif found and args.one("type") == "all" and not args.on("quiet"):
        out(" ".join(found))
    return int(bool(found))
