"""Switches: bridges, and the wires that are plugged into them (bridge(8), ip-link(8))."""

from __future__ import annotations

from weft.core.drivers.wire import Joint, plug, switch_wants
from weft.core.model.errors import BadInput, Conflict, NotFound, NotOurs
from weft.core.model.link import mark_of, owner_of
from weft.core.model.names import check_ifname
from weft.core.model.target import interface_address, parse_ends, parse_target
from weft.core.ops.link import LinkDel
from weft.core.plan.plan import Plan
from weft.engine.links import find, kind_of
from weft.engine.wire import check_ends, decide, do, here, take_away
from weft.engine.work import WIRE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.drivers.wire import Wire
    from weft.core.model.link import Owner
    from weft.core.model.namespace import Place
    from weft.core.model.target import Target
    from weft.core.wire.rtnetlink import Link
    from weft.engine.work import Work


def add(
    work: Work, name: str, target: str = "host", addresses: Sequence[str] = (), stp: bool = False
) -> None:
    """Makes a bridge, up. BadInput, NotFound; Conflict when the name is taken."""
    check_ifname(name)
    found = tuple([interface_address(text) for text in addresses])
    for i, (address, _) in enumerate(found):
        if address in [a for a, _ in found[:i]]:
            raise BadInput(f"address {address} is given twice")
    wanted = parse_target(target)
    with work.machine.lock():
        work.recover()
        try:
            where = here(work, wanted)
            if find(work.machine.links_of(where.netns), name) is not None:
                raise Conflict(
                    f"{where.shown} has an interface {name} already",
                    f"`weft link ls --in {where.shown}` lists them",
                )
            plan = Plan(switch_wants(work.store.root, Joint(where, name, found), stp))
            if work.dry:
                work.show(plan)
            else:
                work.settle(work.make(WIRE, f"{where.shown}:{name}", plan, lambda: None))
        finally:
            work.machine.unpin()


def bridge_of(links: Sequence[Link], name: str, where: Place) -> Link:
    """The bridge of that name. NotFound, also when something else has the name."""
    link = find(links, name)
    if link is None:
        raise NotFound(f"no switch {name!a} in {where.shown}", "`weft switch ls` lists them")
    if link.kind != "bridge":
        raise NotFound(f"{name!a} in {where.shown} is no bridge, but a {kind_of(link)}")
    return link


def check_open(link: Link, root: str) -> None:
    """A bridge may be plugged into unless somebody of weft's has it for something else. Conflict, NotOurs."""
    owner = owner_of(link.altnames, link.alias)
    if owner is None:
        return
    if owner.kind == "network":
        raise Conflict(
            f"{link.ifname} is the bridge of network {owner.name}, whose ports are guarded",
            f"`weft run --network {owner.name}` joins it",
        )
    if owner.root != root:
        raise NotOurs(f"switch {link.ifname} belongs to another root of weft's ({owner.root or '?'})")


def put(work: Work, name: str, ends: Sequence[str], target: str = "host") -> list[Wire]:
    """Plugs namespaces into a bridge by wires, all or none; frames pass when this returns, unless a spanning
    tree holds them back. BadInput, NotFound, Conflict."""
    checked = check_ends(ends)
    wanted = parse_target(target)
    with work.machine.lock():
        work.recover()
        try:
            where = here(work, wanted)
            bridge = bridge_of(work.machine.links_of(where.netns), name, where)
            check_open(bridge, work.store.root)
            ifname = bridge.ifname or ""
            joints = decide(work, checked)
            for joint in joints:
                if joint.place.inode == where.inode:
                    raise BadInput(
                        f"switch {ifname} is in {where.shown} itself",
                        "give the switch an address with `weft switch add --addr`",
                    )
            wires = [plug(work.store.root, where, ifname, joint) for joint in joints]
            forwards = bridge.bridge is None or not bridge.bridge.stp_state
            do(work, f"{where.shown}:{ifname} {' '.join(map(str, joints))}", wires, forwards)
            if forwards and not work.dry:
                work.machine.wait_up(where.netns, ifname, forwards)
        finally:
            work.machine.unpin()
    return wires


def pull(work: Work, name: str, ends: Sequence[str], target: str = "host") -> list[str]:
    """Unplugs namespaces, written ``NS[:IF]``, from a bridge: their wires go; what was plugged. NotFound."""
    checked = [parse_ends(word) for word in ends]
    wanted = parse_target(target)
    with work.machine.lock():
        work.recover()
        try:
            where = here(work, wanted)
            links = work.machine.links_of(where.netns)
            bridge = bridge_of(links, name, where)
            marks = {mark_of(port.altnames): port for port in plugged(links, bridge, work.store.root)}
            found: dict[str, str] = {}
            for end in checked:
                found.update(_pulled(work, bridge, marks, *end))
            ops = [LinkDel(marks[mark].ifname or "", mark, where.netns) for mark in found]
            take_away(work, f"{where.shown}:{name} {' '.join(found.values())}", ops)
        finally:
            work.machine.unpin()
    return list(found.values())


def _pulled(work: Work, bridge: Link, marks: dict[str, Link], target: Target, ifname: str) -> dict[str, str]:
    """The marks of a namespace's wires to a bridge, which both of their ends have. NotFound."""
    where = here(work, target)
    found = {
        mark_of(link.altnames): f"{where.shown}:{link.ifname}"
        for link in work.machine.links_of(where.netns)
        if mark_of(link.altnames) in marks and ifname in ("", link.ifname)
    }
    if not found:
        end = f"{where.shown}:{ifname}" if ifname else where.shown
        raise NotFound(
            f"{end} is not plugged into {bridge.ifname} by weft",
            f"`weft switch show {bridge.ifname}` lists the ports; `weft link rm` removes what others plugged",
        )
    return found


def _own(link: Link, root: str) -> Owner | None:
    owner = owner_of(link.altnames, link.alias)
    return owner if owner is not None and owner.kind == "switch" and owner.root == root else None


def plugged(links: Sequence[Link], bridge: Link, root: str) -> list[Link]:
    """The ports of a bridge that this root of weft's plugged in."""
    ports = [link for link in links if link.master == bridge.ifindex]
    return [link for link in ports if (owner := _own(link, root)) is not None and owner.plug]


def remove(work: Work, names: Sequence[str], target: str = "host") -> list[str]:
    """Removes switches with their wires as one change. NotFound; Conflict for a bridge that is no switch of
    weft's."""
    wanted = parse_target(target)
    with work.machine.lock():
        work.recover()
        try:
            where = here(work, wanted)
            links = work.machine.links_of(where.netns)
            found = [bridge_of(links, name, where) for name in dict.fromkeys(names)]
            for bridge in found:
                _check_own(bridge, work.store.root)
            gone = [link for bridge in found for link in (*plugged(links, bridge, work.store.root), bridge)]
            ops = [LinkDel(link.ifname or "", mark_of(link.altnames), where.netns) for link in gone]
            take_away(work, " ".join([f"{where.shown}:{b.ifname}" for b in found]), ops)
        finally:
            work.machine.unpin()
    return [bridge.ifname or "" for bridge in found]


def _check_own(bridge: Link, root: str) -> None:
    owner = owner_of(bridge.altnames, bridge.alias)
    if owner is None:
        raise Conflict(
            f"bridge {bridge.ifname!a} is not a switch of weft's",
            f"`weft link rm {bridge.ifname}` removes it",
        )
    if owner.kind == "network":
        raise Conflict(
            f"{bridge.ifname!a} is the bridge of network {owner.name}",
            f"`weft net rm {owner.name}` removes it",
        )
    if _own(bridge, root) is None:
        raise NotOurs(f"switch {bridge.ifname!a} belongs to another root of weft's ({owner.root or '?'})")
