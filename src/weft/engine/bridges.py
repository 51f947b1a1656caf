"""What there is to see of bridges: ports, MAC table, spanning tree, counters, as plain values."""

from __future__ import annotations

from weft.core.model.names import mac_text
from weft.core.model.target import parse_target
from weft.core.wire import neighbour as nb
from weft.engine.links import Atlas
from weft.engine.switch import bridge_of
from weft.engine.wire import here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.wire.neighbour import Neighbour
    from weft.core.wire.rtnetlink import Bridge, Counters, Link, Port
    from weft.engine.work import Work

#: A port's states by their numbers (linux/if_bridge.h).
_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
#: USER_HZ: the kernel's times for user space are in hundredths of a second.
_HERTZ = 100


def listing(work: Work, target: str = "host") -> list[dict[str, Any]]:
    """All bridges of a namespace, whoever made them. NotFound, BadInput."""
    with work.machine.survey() as survey:
        atlas = Atlas(work, survey)
        try:
            links = atlas.links(atlas.number(here(work, parse_target(target)).inode))
        finally:
            work.machine.unpin()
        rows = []
        for seen in links.values():
            if seen.link.kind == "bridge":
                ports = [s.link.ifname for s in links.values() if s.link.master == seen.link.ifindex]
                rows.append({**_named(atlas.row(seen)), "stp": _stp(seen.link), "ports": ports})
        return rows


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """A link's row less what bridges have not, and its name first."""
    rest = {k: v for k, v in row.items() if k not in ("ifname", "master", "peer", "lower", "kind")}
    return {"name": row["ifname"], **rest}


def _stp(link: Link) -> bool:
    return link.bridge is not None and bool(link.bridge.stp_state)


def show(work: Work, name: str, target: str = "host") -> dict[str, Any]:
    """All about one bridge. NotFound, BadInput."""
    with work.machine.survey() as survey:
        atlas = Atlas(work, survey)
        try:
            where = here(work, parse_target(target))
            links = atlas.links(atlas.number(where.inode))
            found = bridge_of([seen.link for seen in links.values()], name, where)
            own, counters, ports, macs = work.machine.bridge(where.netns, found.ifindex)
        finally:
            work.machine.unpin()
        names = {index: seen.link.ifname or "" for index, seen in links.items()}
        return {
            **_named(atlas.row(links[found.ifindex])),
            **_tree(own, ports),
            "counters": _counters(counters),
            "ports": [_port(atlas.row(links[p.ifindex]), own, p, c) for p, c in ports if p.ifindex in links],
            "macs": [_mac(entry, names) for entry in macs],
        }


def _counters(counters: Counters) -> dict[str, int]:
    return dict(zip(counters._fields, counters._astuple(), strict=True))


def bridge_id(raw: bytes | None) -> str:
    """Priority and MAC as brctl(8) writes them: ``8000.02420a000001``."""
    return f"{raw[:2].hex()}.{raw[2:].hex()}" if raw else ""


def _seconds(ticks: int | None) -> float:
    return (ticks or 0) / _HERTZ


def _tree(link: Link, ports: Sequence[tuple[Link, Counters]]) -> dict[str, Any]:
    """The spanning tree as the bridge sees it; times in seconds."""
    b = link.bridge
    if b is None:
        return {}
    roots = [p.ifname for p, _ in ports if p.port is not None and b.root_port and p.port.no == b.root_port]
    return {
        "stp": bool(b.stp_state),
        "bridge_id": bridge_id(b.bridge_id),
        "root_id": bridge_id(b.root_id),
        "root_port": roots[0] if roots else "",
        "root_path_cost": b.root_path_cost,
        "priority": b.priority,
        "topology_change": bool(b.topology_change),
        "hello_time": _seconds(b.hello_time),
        "max_age": _seconds(b.max_age),
        "forward_delay": _seconds(b.forward_delay),
        "ageing_time": _seconds(b.ageing_time),
        "vlan_filtering": bool(b.vlan_filtering),
        "multicast_snooping": bool(b.mcast_snooping),
    }


def role_of(port: Port, bridge: Bridge) -> str:
    """A port's part in the spanning tree (IEEE 802.1D-2004 17.7), which the kernel itself does not say."""
    if not bridge.stp_state or not port.state:
        return "" if port.state else "disabled"
    if bridge.root_port and port.no == bridge.root_port:
        return "root"
    speaks = port.bridge_id == bridge.bridge_id and port.designated_port == port.id
    return "designated" if speaks else "alternate"


def _port(row: dict[str, Any], own: Link, link: Link, counters: Counters) -> dict[str, Any]:
    found = {k: row[k] for k in ("ifname", "ifindex", "kind", "mac", "mtu", "peer", "owner")}
    found["link"] = row["state"]
    p, b = link.port, own.bridge
    if p is None or b is None:
        return found  # it has left the bridge meanwhile
    state = p.state or 0
    found |= {
        "number": p.no,
        "state": _STATES[state] if state < len(_STATES) else str(state),
        "role": role_of(p, b),
        "priority": p.priority,
        "cost": p.cost,
        "designated_root": bridge_id(p.root_id),
        "designated_bridge": bridge_id(p.bridge_id),
        "designated_port": p.designated_port,
        "designated_cost": p.designated_cost,
    }
    flags = ("hairpin", "isolated", "learning", "flood", "guard", "protect", "fast_leave", "neigh_suppress")
    found |= {flag: bool(getattr(p, flag)) for flag in flags}
    return {**found, "counters": _counters(counters)}


def _mac(entry: Neighbour, names: dict[int, str]) -> dict[str, Any]:
    """``local`` is a MAC of the bridge's or of a port's own, ``static`` one that was set by hand."""
    local = bool(entry.state & nb.NUD_PERMANENT)
    static = bool(entry.state & nb.NUD_NOARP)
    age = None if local or static or entry.cacheinfo is None else _seconds(entry.cacheinfo.updated)
    return {
        "mac": mac_text(entry.lladdr or b""),
        "port": names.get(entry.ifindex, ""),
        "vlan": entry.vlan,
        "age": age,
        "static": static,
        "local": local,
    }
