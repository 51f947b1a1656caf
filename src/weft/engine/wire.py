"""Wires: a veth pair between any two network namespaces (veth(4)).

The kernel's marks are the record of wires and switches. The journal holds them while they are made, so that a
crash leaves none half-made.
"""

from __future__ import annotations

from weft.core.drivers.wire import Joint, Wire, wire, wire_wants
from weft.core.model.errors import BadInput, Conflict, NotFound
from weft.core.model.namespace import Place
from weft.core.model.target import End, parse_end
from weft.core.ops.link import LinkDel
from weft.core.ops.wire import LinksDel
from weft.core.plan.plan import Plan
from weft.engine.links import find
from weft.engine.target import place
from weft.engine.work import WIRE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.target import Target
    from weft.engine.work import Work


def lay(work: Work, one: str, other: str) -> Wire:
    """Lays a wire between two ends, each written ``NS[:IF][=ADDR,..]``; both carry when this returns.

    BadInput, NotFound, Conflict, before anything is made.
    """
    ends = check_ends((one, other))
    with work.machine.lock():
        work.recover()
        try:
            a, b = decide(work, ends)
            if a.place.inode == b.place.inode:
                raise BadInput(
                    f"both ends of the wire would be in {b.place.shown}",
                    "a wire connects two network namespaces",
                )
            made = wire(work.store.root, a, b)
            do(work, f"{made.first} {made.second}", (made,))
        finally:
            work.machine.unpin()
    return made


def check_ends(words: Sequence[str]) -> list[End]:
    """What can be refused without looking at the machine: BadInput."""
    ends = [parse_end(word) for word in words]
    taken: set[object] = set()
    for end in ends:
        for address, _ in end.addresses:
            if address in taken:
                raise BadInput(f"address {address} is given twice", "each end needs its own")
            taken.add(address)
    return ends


def here(work: Work, target: Target | str) -> Place:
    """A target's place. The host has one name only, by whatever words one got there. NotFound, BadInput."""
    found = place(work, target)
    if found.netns and found.inode == work.machine.pin(""):
        return Place("", "host", found.inode)
    return found


def decide(work: Work, ends: Sequence[End]) -> list[Joint]:
    """Where each end is and what it is called there. NotFound, BadInput; Conflict for a taken name."""
    names: dict[int, set[str]] = {}
    found = []
    for end in ends:
        where = here(work, end.target)
        if where.inode not in names:
            links = work.machine.links_of(where.netns)
            names[where.inode] = {name for link in links for name in (link.ifname or "", *link.altnames)}
        ifname = _name(end.ifname, where, names[where.inode])
        names[where.inode].add(ifname)
        found.append(Joint(where, ifname, end.addresses))
    return found


def _name(wish: str, where: Place, taken: set[str]) -> str:
    if not wish:
        return next(name for name in map("eth{}".format, range(len(taken) + 1)) if name not in taken)
    if wish in taken:
        raise Conflict(
            f"{where.shown} has an interface {wish} already", f"`weft link ls --in {where.shown}` lists them"
        )
    return wish


def do(work: Work, subject: str, wires: Sequence[Wire], forwards: bool = True) -> None:
    """Lays checked wires as one change, and waits until they carry, and their ports forward unless a spanning
    tree takes its time. Conflict when one is there already."""
    for made in wires:
        for joint in (made.first, made.second):
            link = find(work.machine.links_of(joint.place.netns), made.mark)
            if link is not None:
                raise Conflict(
                    f"the wire from {made.first} to {made.second} is there already, as {link.ifname!a}"
                    f" in {joint.place.shown}",
                    "give the interface another name",
                )
    wants = [wire_wants(made) for made in wires]
    # All births first: neighbours of one namespace go out in one send.
    plan = Plan((*[ops[0] for ops in wants], *[op for ops in wants for op in ops[1:]]))
    if work.dry:
        work.show(plan)
        return
    work.settle(work.make(WIRE, subject, plan, lambda: None))
    for made in wires:
        _wait(work, made.first, forwards)
        _wait(work, made.second, forwards)


def _wait(work: Work, joint: Joint, forwards: bool) -> None:
    try:
        up = work.machine.wait_up(joint.place.netns, joint.ifname, forwards)
    except NotFound:
        return  # its process has ended meanwhile, and maybe its namespace
    if not up:
        work.say(f"warning: {joint} is made, and does not carry yet")


def remove(work: Work, made: Wire) -> None:
    """Removes a wire that was laid, by its mark. NotFound when it is gone."""
    where = made.first.place
    with work.machine.lock():
        work.recover()
        try:
            link = find(work.machine.links_of(where.netns), made.mark)
            if link is None:
                raise NotFound(f"the wire from {made.first} to {made.second} is gone")
            take_away(work, str(made.first), [LinkDel(link.ifname or "", made.mark, where.netns)])
        finally:
            work.machine.unpin()


def take_away(work: Work, subject: str, ops: Sequence[LinkDel]) -> None:
    """Removes links of one namespace by their marks as one change."""
    if len(ops) > 1:
        marks = tuple([op.mark for op in ops])
        plan = Plan((LinksDel(tuple([op.ifname for op in ops]), marks, ops[0].netns),))
    else:
        plan = Plan(tuple(ops))
    if work.dry:
        work.show(plan)
    else:
        work.unmake(WIRE, subject, plan, populated=False)
