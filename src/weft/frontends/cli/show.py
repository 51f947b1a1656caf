"""``ls``, ``inspect``, ``ps``, ``port``, ``map``: looks, and changes nothing it was not left."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.engine import inspect as engine
from weft.engine.reaping import reap
from weft.frontends.cli.main import out, safe, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

    #: A title, and a key of the row or what is made of it.
    Column = tuple[str, str | Callable[[dict[str, Any]], object]]


def looking(args: Args) -> Work:
    """The engine, after ending what crashed commands and killed monitors left."""
    work = work_for(args)
    with work.machine.lock():
        work.recover()
        reap(work)
    return work


def filtered(rows: list[dict[str, Any]], args: Args, keys: str) -> list[dict[str, Any]]:
    """The rows that the filters leave. BadInput for a key that no row has."""
    for wish in args.many("filter"):
        key, equals, value = wish.partition("=")
        if not equals or key not in keys.split():
            raise BadInput(f"--filter {wish!a} is not KEY=VALUE of a known key", f"keys: {keys}")
        rows = [row for row in rows if _matches(row, key, value)]
    return rows


def _matches(row: dict[str, Any], key: str, value: str) -> bool:
    if key == "exited":
        return row["state"] == "exited" and str(row["exit_code"]) == value
    key = _SAME.get(key, key)
    if key == "health" and not value.startswith("{"):
        return bool((row["health"] or {"status": "none"})["status"] == value)
    if key == "name" and "*" in value:
        from fnmatch import fnmatchcase

        return fnmatchcase(row["name"], value)
    if key == "label":
        name, equals, wanted = value.partition("=")
        return name in row["labels"] and (not equals or row["labels"][name] == wanted)
    return value in _words(row[key])


def _words(found: Any) -> list[str]:
    """What a filter's value may equal: one of a list's items, of their values where those are objects."""
    if isinstance(found, dict):
        return [*found, *[str(value) for value in found.values()]]
    if isinstance(found, list):
        items = [item.values() if isinstance(item, dict) else (item,) for item in found]
        return [str(value) for values in items for value in values]
    return [str(found), str(found).lower()]


def _name(row: dict[str, Any]) -> str:
    return str(row["name"])


def listing(
    rows: list[dict[str, Any]],
    args: Args,
    keys: str,
    columns: Sequence[Column] = (),
    quiet: Callable[[dict[str, Any]], str] = _name,
) -> int:
    """Prints what the filters leave as names (``quiet``), as JSON, or as a table where there is one."""
    rows = filtered(rows, args, keys)
    if args.on("quiet"):
        for row in rows:
            out(quiet(row))
    elif args.one("format") == "json" or not columns:
        as_json(rows)
    else:
        table([title for title, _ in columns], [[_cell(row, key) for _, key in columns] for row in rows])
    return 0


#: Lists longer than this are for programs.
_LONG = 100


def table(titles: list[str], rows: list[list[str]]) -> None:
    """Cells under titles, with nothing in them that could steer a terminal."""
    cells = [titles, *[[safe(cell) for cell in row] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(titles))]
    for line in cells:
        out("  ".join([c.ljust(w) for c, w in zip(line, widths, strict=True)]).rstrip())


def as_json(value: object) -> None:
    """Prints a document as JSON."""
    import json

    if isinstance(value, list) and len(value) > _LONG:
        # One a line: Python's own encoder, which indents, takes ten times as long as the one in C.
        out("[\n" + ",\n".join([json.dumps(row) for row in value]) + "\n]")
    else:
        out(json.dumps(value, indent=2))


def _cell(row: dict[str, Any], key: str | Callable[[dict[str, Any]], object]) -> str:
    if not isinstance(key, str):
        return str(key(row))
    return str(_CELLS[key](row)) if key in _CELLS else str(row[key])


def _ports(row: dict[str, Any]) -> str:
    return ", ".join(
        [
            f"{_bracketed(p['host_ip'])}:{p['host_port']}->{p['container_port']}/{p['proto']}"
            for p in row["publish"]
        ]
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _addresses(row: dict[str, Any]) -> str:
    return ", ".join([f"{net}:{a}" for net, n in row["networks"].items() for a in n["addresses"]])


def _state(row: dict[str, Any]) -> str:
    code, health = row["exit_code"], row["health"]
    if row["state"] in ("running", "paused") and health is not None:
        return f"{row['state']} ({health['status']})"
    return f"{row['state']} ({code})" if code is not None else str(row["state"])


def _called(row: dict[str, Any]) -> str:
    """A container's name; of a pod's also what Kubernetes calls it. Long ids are cut there."""
    labels = row.get("labels", {})
    pod = "/".join([labels.get(f"io.kubernetes.pod.{key}", "") for key in ("namespace", "name")]).strip("/")
    if not pod:
        return str(row["name"])
    engine, _, id = str(row["name"]).partition(":")
    return f"{engine}:{id[:12]} ({pod})"


_CELLS: dict[str, Callable[[dict[str, Any]], object]] = {
    "short": lambda row: row["id"][:12],
    "subnet": lambda row: ", ".join([s["subnet"] for s in row["subnets"]]),
    "gateway": lambda row: ", ".join([s["gateway"] for s in row["subnets"]]),
    "members": lambda row: len(row["endpoints"]),
    "ports": _ports,
    "addresses": _addresses,
    "status": _state,
    "called": _called,
    "cmd": lambda row: " ".join(row["command"]) or "-",
}
#: What may be filtered by: the keys of a row, and ``label`` for one of a network's labels.
_NETWORK_KEYS = (
    "adopted bridge created driver endpoints id internal ipv6 isolated label labels mtu name nat options"
    " parent publish subnets"
)
_CONTAINER_KEYS = (
    "auto_remove command created dns engine exit_code extra_hosts finished_at health hostname id labels"
    " limits log monitor name namespaces network_mode networks pid pids publish restart restart_count"
    " started_at state stdin_open stop_signal stop_timeout"
)
#: What Docker's users filter by, beside those.
_DOCKER_KEYS = " exited network status"
_SAME = {"status": "state", "network": "networks"}
_NETWORKS = (
    ("ID", "short"),
    ("NAME", "name"),
    ("DRIVER", "driver"),
    ("BRIDGE", "bridge"),
    ("SUBNET", "subnet"),
    ("GATEWAY", "gateway"),
    ("CONTAINERS", "members"),
)
_CONTAINERS = (
    ("ID", "short"),
    ("NAME", "called"),
    ("STATE", "status"),
    ("ADDRESSES", "addresses"),
    ("PORTS", "ports"),
    ("COMMAND", "cmd"),
)


def net_ls(args: Args) -> int:
    """``weft net ls``."""
    return listing(engine.networks(looking(args)), args, _NETWORK_KEYS, _NETWORKS)


def net_inspect(args: Args) -> int:
    """``weft net inspect``: one JSON list whatever the format, as people read it too."""
    return listing(engine.networks(looking(args), args.words), args, _NETWORK_KEYS)


def inspect(args: Args) -> int:
    """``weft inspect``: likewise."""
    return listing(engine.containers(looking(args), args.words), args, _CONTAINER_KEYS)


def ps(args: Args) -> int:
    """``weft ps``."""
    # Names alone are for `weft rm`, which others' containers are not.
    rows = engine.containers(looking(args), others=args.on("all") and not args.on("quiet"))
    if not args.on("all"):
        rows = [row for row in rows if row["state"] != "exited"]
    return listing(rows, args, _CONTAINER_KEYS + _DOCKER_KEYS, _CONTAINERS)


def port(args: Args) -> int:
    """``weft port``."""
    work = looking(args)
    sandbox, _ = work.store.container(args.words[0])
    rows = [p for e in work.store.endpoints_of(sandbox.name) for p in engine.publishes(work, e)]
    if args.one("format") == "json":
        as_json(rows)
    else:
        for p in rows:
            out(f"{p['container_port']}/{p['proto']} -> {_bracketed(p['host_ip'])}:{p['host_port']}")
    return 0


def draw(args: Args) -> int:
    """``weft map``: networks and containers as a picture in text."""
    if args.one("format", "text") not in ("text", "table"):
        from weft.core.model.errors import NotYet

        raise NotYet(f"--format {args.one('format')} of `weft map` is not built yet", "text is")
    from weft.core.draw.text import draw as picture

    work = looking(args)
    out(safe(picture(engine.networks(work), engine.containers(work)), "\n"))
    return 0
