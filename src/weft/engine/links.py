"""Links of all namespaces, as plain lists and dictionaries; whose they are; removed by name."""

from __future__ import annotations

from weft.core.model.errors import BadInput, Conflict, NotFound
from weft.core.model.link import Owner, owner_of
from weft.core.model.names import mac_text
from weft.core.model.target import parse_target
from weft.core.ops.wire import LinkRemove
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine.inspect import called
from weft.engine.target import place
from weft.engine.work import WIRE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from weft.core.boundary import Survey
    from weft.core.model.link import Space
    from weft.core.model.namespace import Place
    from weft.core.wire.rtnetlink import Link
    from weft.engine.work import Work

#: RFC 2863's states by their numbers (linux/if.h), in iproute2's words.
STATES = ("UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")
#: Kinds that come in pairs: what IFLA_LINK names is the other end, not a device below.
_PAIRS = ("veth", "netkit", "vxcan")
_ARPHRD_LOOPBACK = 772
_ALTNAME_MAX = 127


class Seen(Record):
    """A link of a namespace of that number, with its addresses."""

    space: int
    link: Link
    addresses: list[str]


def kind_of(link: Link) -> str:
    """What a link is: the kernel's word, or loopback or device for those without one."""
    return link.kind or ("loopback" if link.type == _ARPHRD_LOOPBACK else "device")


def state_of(link: Link) -> str:
    """Its operational state in a word."""
    state = link.operstate or 0
    return STATES[state] if state < len(STATES) else str(state)


class Atlas:
    """A survey that remembers what it has read, and knows what everything is called."""

    __slots__ = ("_known", "_root", "_shown", "_survey", "_work")

    def __init__(self, work: Work, survey: Survey) -> None:
        self._work = work
        self._root = work.store.root
        self._survey = survey
        self._known: dict[int, dict[int, Seen]] = {}
        self._shown: dict[int, tuple[str, str]] = {}

    def links(self, number: int) -> dict[int, Seen]:
        """The links of a namespace by ifindex."""
        found = self._known.get(number)
        if found is None:
            read = self._survey.links(number)
            found = self._known[number] = {link.ifindex: Seen(number, link, a) for link, a in read}
        return found

    def everywhere(self) -> Iterator[Seen]:
        """All links of all namespaces, strangers' last."""
        number = 0
        while number < len(self._survey.spaces):
            yield from self.links(number).values()
            number += 1

    def number(self, inode: int) -> int:
        """The number of a namespace. NotFound."""
        for number, space in enumerate(self._survey.spaces):
            if space.inode == inode:
                return number
        raise NotFound("that namespace ended meanwhile")

    def at(self, number: int) -> tuple[str, str]:
        """What a namespace is called, as a TARGET that leads to it, and its container's name."""
        found = self._shown.get(number)
        if found is None:
            found = self._shown[number] = self._name(number, self._survey.spaces[number])
        return found

    def _name(self, number: int, space: Space) -> tuple[str, str]:
        if number == 0:
            return "host", ""
        if not space.inode:
            strangers = [n for n, other in enumerate(self._survey.spaces) if not other.inode]
            return f"?{strangers.index(number) + 1}", ""
        for name in space.names:
            if self._work.store.has_container(name):
                return name, name
        for sandbox in self._work.store.foreign_at(space.inode):
            return (space.names or (str(space.pid),))[0], sandbox.name
        pid = str(space.pid) if space.pid else f"net:[{space.inode}]"
        return space.names[0] if space.names else pid, space.container

    def other(self, seen: Seen) -> Seen | None:
        """The other end of a pair, or the device below; None when there is none, or it cannot be read."""
        link = seen.link
        if not link.link:
            return None
        number = seen.space if link.link_netnsid is None else link.link_netnsid
        return self.links(number).get(link.link) if number >= 0 else None

    def beyond(self, seen: Seen) -> dict[str, Any] | None:
        """Where the other end is, also when it cannot be read."""
        link = seen.link
        if not link.link:
            return None
        number = seen.space if link.link_netnsid is None else link.link_netnsid
        ns, container = self.at(number) if number >= 0 else ("?", "")
        other = self.other(seen)
        ifname = other.link.ifname if other else "?"
        return {"ns": ns, "ifname": ifname, "ifindex": link.link, "container": container}

    def owner(self, seen: Seen) -> str:
        """What of weft's a link belongs to; its peer's mark counts where it has none of its own."""
        found = owner_of(seen.link.altnames, seen.link.alias)
        if found is None and seen.link.kind == "veth":
            other = self.other(seen)
            found = owner_of(other.link.altnames, other.link.alias) if other else None
        if found is not None and found.kind == "container" and found.root == self._root:
            found = found._replace(name=called(self._work.store, found.name))
        return owner_text(found, self._root)

    def row(self, seen: Seen) -> dict[str, Any]:
        """A link as the command line shows it."""
        link = seen.link
        ns, container = self.at(seen.space)
        master = self.links(seen.space).get(link.master) if link.master else None
        beyond = self.beyond(seen)
        pair = link.kind in _PAIRS
        return {
            "ns": ns,
            "ifname": link.ifname,
            "ifindex": link.ifindex,
            "kind": kind_of(link),
            "mac": mac_text(link.mac or b""),
            "mtu": link.mtu,
            "state": state_of(link),
            "addresses": seen.addresses,
            "master": master.link.ifname if master else "",
            "peer": beyond if pair else None,
            "lower": None if pair else beyond,
            "altnames": list(link.altnames),
            "alias": link.alias or "",
            "container": container,
            "owner": self.owner(seen),
        }


def owner_text(owner: Owner | None, root: str) -> str:
    """``network blue``, and whose when it is not this root's; "" for a link that is not weft's."""
    if owner is None:
        return ""
    return str(owner) if owner.root == root else f"{owner} (root {owner.root or '?'})"


def listing(work: Work, target: str = "host", every: bool = False) -> list[dict[str, Any]]:
    """The links of a namespace, or of every one. NotFound, BadInput."""
    with work.machine.survey() as survey:
        atlas = Atlas(work, survey)
        if every:
            return [atlas.row(seen) for seen in atlas.everywhere()]
        return [atlas.row(seen) for seen in atlas.links(_number(work, atlas, target)).values()]


def _number(work: Work, atlas: Atlas, target: str) -> int:
    try:
        return atlas.number(place(work, target).inode)
    finally:
        work.machine.unpin()


def whose(work: Work, word: str, target: str = "host") -> dict[str, Any]:
    """A link, found as ``ip`` prints it (``eth0@if5``), and in ``peer`` or ``lower`` what it hangs on, with
    addresses and owner. NotFound, also when it hangs on something else than is said."""
    with work.machine.survey() as survey:
        atlas = Atlas(work, survey)
        number = _number(work, atlas, target)
        seen, said = _named(atlas.links(number), word)
        if seen is None:
            where = atlas.at(number)[0]
            raise NotFound(f"no link {word!a} in {where}", f"`weft link ls --in {where}` lists them")
        row = atlas.row(seen)
        end = row["peer"] or row["lower"]
        if said and (end is None or said not in (f"if{end['ifindex']}", end["ifname"])):
            there = f"if{end['ifindex']}" if end else "nothing"
            raise NotFound(f"{row['ifname']!a} in {row['ns']} hangs on {there}, not on {said!a}")
        other = atlas.other(seen)
        if end is not None:
            end["addresses"] = other.addresses if other else []
            end["owner"] = atlas.owner(other) if other else ""
        return row


def _named(links: dict[int, Seen], word: str) -> tuple[Seen | None, str]:
    """The link of a name or altname, and what is said behind an @; names may have one themselves."""
    head, at, tail = word.rpartition("@")
    for name, said in ((word, ""), (head, tail)) if at else ((word, ""),):
        for seen in links.values():
            if name == seen.link.ifname or name in seen.link.altnames:
                return seen, said
    return None, ""


def find(links: Sequence[Link], name: str) -> Link | None:
    """The link that has a name or altname."""
    named = [link for link in links if name == link.ifname]
    return next(iter(named or [link for link in links if name in link.altnames]), None)


def remove(work: Work, names: Sequence[str], target: str = "host") -> list[str]:
    """Removes links by name, whoever made them; the names of those removed. BadInput, NotFound; Conflict for
    a link of a network's or container's; KernelError for one that the kernel keeps."""
    _check_names(names)
    wanted = parse_target(target)
    with work.machine.lock():
        work.recover()
        try:
            where = place(work, wanted)
            links = work.machine.links_of(where.netns)
            found = [_check(work, where, links, name) for name in dict.fromkeys(names)]
            return _remove(work, where, found)
        finally:
            work.machine.unpin()


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        raw = name.encode("utf-8", "surrogateescape")
        if not 0 < len(raw) <= _ALTNAME_MAX or b"\0" in raw or b"/" in raw:
            raise BadInput(f"interface name {name[:64]!a} is not one that the kernel could have")


def _check(work: Work, where: Place, links: Sequence[Link], name: str) -> Link:
    link = find(links, name)
    if link is None:
        raise NotFound(f"no link {name!a} in {where.shown}", f"`weft link ls --in {where.shown}` lists them")
    owner = owner_of(link.altnames, link.alias)
    if owner is not None and owner.kind == "network":
        raise Conflict(f"{name!a} is the bridge of network {owner.name}", f"`weft net rm {owner.name}`")
    holder = owner.name if owner is not None and owner.kind == "container" else _attached(work, where, link)
    if holder:
        raise Conflict(f"{name!a} connects container {holder}", f"`weft rm {holder}` removes both")
    return link


def _attached(work: Work, where: Place, link: Link) -> str:
    """The container whose interface this is, seen from inside."""
    if not where.netns or link.kind != "veth":
        return ""
    for sandbox, _ in work.store.containers():
        endpoint = work.store.endpoint(sandbox.name)
        same = endpoint is not None and endpoint.ifname == link.ifname
        if same and work.netns_inode(sandbox.name) == where.inode:
            return sandbox.name
    return ""


def _remove(work: Work, where: Place, found: Sequence[Link]) -> list[str]:
    gone: set[int] = set()
    ops = []
    for link in found:
        if link.ifindex not in gone:
            ops.append(LinkRemove(link.ifname or "", where.netns))
        gone.add(link.ifindex)
        if link.kind in _PAIRS and link.link and link.link_netnsid is None:
            gone.add(link.link)  # the other end, in the same namespace, goes along
    plan = Plan(tuple(ops))
    if work.dry:
        work.show(plan)
    else:
        work.settle(work.make(WIRE, f"- {where.shown}", plan, lambda: None))
    return [link.ifname or "" for link in found]
