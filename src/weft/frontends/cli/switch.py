"""``weft switch add``, ``ls``, ``show``, ``rm``, ``plug``, ``unplug``."""

from __future__ import annotations

from weft.engine import switch as engine
from weft.frontends.cli.main import out, safe, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.frontends.cli.args import Args

_KEYS = "addresses alias altnames container ifindex mac mtu name ns owner ports state stp"


def add(args: Args) -> int:
    """``weft switch add``."""
    work = work_for(args)
    engine.add(work, args.words[0], args.one("in", "host"), args.many("addr"), args.on("stp"))
    if not work.dry:
        out(args.words[0])
    return 0


def plug(args: Args) -> int:
    """``weft switch plug``."""
    from weft.frontends.cli.wire import tell

    work = work_for(args)
    made = engine.put(work, args.words[0], args.words[1:], args.one("in", "host"))
    if not work.dry:
        tell(made, args)
    return 0


def unplug(args: Args) -> int:
    """``weft switch unplug``."""
    work = work_for(args)
    for end in engine.pull(work, args.words[0], args.words[1:], args.one("in", "host")):
        if not work.dry:
            out(safe(end))
    return 0


def remove(args: Args) -> int:
    """``weft switch rm``."""
    work = work_for(args)
    for name in engine.remove(work, args.words, args.one("in", "host")):
        if not work.dry:
            out(name)
    return 0


def ls(args: Args) -> int:
    """``weft switch ls``."""
    from weft.engine import bridges
    from weft.frontends.cli.show import as_json, filtered, looking, table

    rows = filtered(bridges.listing(looking(args), args.one("in", "host")), args, _KEYS)
    if args.on("quiet"):
        for row in rows:
            out(row["name"])
    elif args.one("format") == "json":
        as_json(rows)
    else:
        titles = ["NAME", "STATE", "STP", "PORTS", "ADDRESSES", "OWNER"]
        table(titles, [_cells(row) for row in rows])
    return 0


def _cells(row: dict[str, Any]) -> list[str]:
    stp = "yes" if row["stp"] else "no"
    addresses = ", ".join(row["addresses"]) or "-"
    return [row["name"], row["state"], stp, str(len(row["ports"])), addresses, row["owner"] or "-"]


def show(args: Args) -> int:
    """``weft switch show``."""
    from weft.engine import bridges
    from weft.frontends.cli.show import as_json, looking

    found = bridges.show(looking(args), args.words[0], args.one("in", "host"))
    if args.on("quiet"):
        for port in found["ports"]:
            out(port["ifname"])
    elif args.one("format") == "json":
        as_json([found])
    else:
        _print(found)
    return 0


def _print(found: dict[str, Any]) -> None:
    from weft.frontends.cli.link import end_text
    from weft.frontends.cli.show import table

    owner = f", {found['owner']}" if found["owner"] else ""
    addresses = f", {', '.join(found['addresses'])}" if found["addresses"] else ""
    out(safe(f"{found['name']} in {found['ns']}: {found['state']}, {found['mac']}{addresses}{owner}"))
    out(_tree(found))
    out(_counted(found["counters"]))
    out("")
    titles = ["PORT", "STATE", "ROLE", "COST", "PEER", "RX", "TX", "OWNER"]
    table(titles, [_port(port, end_text(port["peer"], found["ns"])) for port in found["ports"]])
    out("")
    table(["MAC", "PORT", "VLAN", "AGE", "KIND"], [_mac(entry) for entry in found["macs"]])


def _tree(found: dict[str, Any]) -> str:
    if not found["stp"]:
        return "spanning tree off"
    root = "is the root" if found["root_id"] == found["bridge_id"] else f"root {found['root_id']}"
    port = f" by {found['root_port']}, cost {found['root_path_cost']}" if found["root_port"] else ""
    return safe(f"spanning tree on: bridge {found['bridge_id']} {root}{port}")


def _counted(c: dict[str, int]) -> str:
    return (
        f"received {c['rx_packets']} packets, {c['rx_bytes']} bytes, {c['rx_dropped']} dropped;"
        f" sent {c['tx_packets']} packets, {c['tx_bytes']} bytes, {c['tx_dropped']} dropped"
    )


def _port(port: dict[str, Any], peer: str) -> list[str]:
    if "state" not in port:
        return [port["ifname"], "left", "-", "-", peer or "-", "-", "-", port["owner"] or "-"]
    moved = [str(port["counters"][key]) for key in ("rx_packets", "tx_packets")]
    words = [port["ifname"], port["state"], port["role"] or "-", str(port["cost"]), peer or "-"]
    return [*words, *moved, port["owner"] or "-"]


def _mac(entry: dict[str, Any]) -> list[str]:
    kind = "local" if entry["local"] else "static" if entry["static"] else "learned"
    age = "-" if entry["age"] is None else f"{entry['age']:.1f} s"
    return [entry["mac"], entry["port"], str(entry["vlan"] or "-"), age, kind]
