"""Network namespaces that only a device tells of: nothing that can be seen holds them, and they have a link
whose other end is in a known one (RTM_GETNSID, net/core/net_namespace.c).

All known ones get an id in a scratch namespace. Then each is asked for the ids that it has given itself:
what of those has no id in the scratch namespace is a stranger. It gets one when the links that lead
there are read from the scratch namespace, and by it its own links can be read.
"""

from __future__ import annotations

import os

from weft.core.model.errors import KernelError
from weft.core.model.namespace import Holder, NsFact
from weft.core.wire import nsid as ids
from weft.core.wire import rtnetlink as rt
from weft.linux import netns
from weft.linux.netlink import NETLINK_ROUTE, Netlink
from weft.linux.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.linux.notes import Note

#: Descriptors that are held until their ids are asked for in one send.
_BATCH = 128


class Numbers:
    """``with Numbers() as numbers``: takes the network namespaces of a search, and tells what they know."""

    __slots__ = ("_notes", "_pending", "_scratch")

    def __init__(self) -> None:
        self._scratch = Scratch()
        self._pending: list[tuple[Note, int]] = []
        #: By id in the scratch namespace, which counts from 0.
        self._notes: list[Note] = []

    def __enter__(self) -> Numbers:
        return self

    def __exit__(self, *_: object) -> None:
        for waits in self._pending:
            os.close(waits[1])
        self._scratch.close()

    def take(self, note: Note, fd: int) -> None:
        """A namespace and a descriptor of it, which stays the caller's."""
        self._pending.append((note, os.dup(fd)))
        if len(self._pending) == _BATCH:
            self.flush()

    def flush(self) -> None:
        """Gives those that wait their ids, and lets go of them."""
        pending, self._pending = self._pending, []
        try:
            if pending:
                self._scratch.number_all([fd for _, fd in pending])
                self._notes += [note for note, _ in pending]
        finally:
            for _, fd in pending:
                os.close(fd)

    def _given(self, number: int) -> list[ids.Nsid]:
        """The ids that a namespace has given, each with the one here."""
        try:
            return [ids.get_nsid(p) for p in self._scratch.route.dump(ids.dump_nsids(number))]
        except KernelError:
            return []  # it has ended meanwhile, or changes all the time

    def _links(self, number: int) -> list[rt.Link]:
        try:
            return [rt.get_link(p) for p in self._scratch.route.dump(rt.dump_links(number))]
        except KernelError:
            return []

    def ids_in(self, here: int) -> dict[int, int]:
        """The ids that the namespace of inode ``here`` has given to those of other inodes."""
        self.flush()
        for number, note in enumerate(self._notes):
            if note.inode == here:
                return {
                    self._notes[n.current_nsid].inode: n.nsid
                    for n in self._given(number)
                    if n.nsid is not None and n.current_nsid is not None and n.current_nsid >= 0
                }
        return {}

    def strangers(self, here: int) -> list[NsFact]:
        """Those that a device in a known namespace, or in another stranger, leads to, and those that are
        known by nothing but an id."""
        self.flush()
        known = len(self._notes)
        labels = [_label(note, here) for note in self._notes]
        suspects = [n for n in range(known) if any(map(_unknown, self._given(n)))]
        tied = self._tied(suspects, labels)
        silent = [fact for n in suspects for fact in self._silent(self._notes[n], labels[n], n)]
        from_here = {
            n.current_nsid: n.nsid for i in suspects if self._notes[i].inode == here for n in self._given(i)
        }
        return [self._fact(number, from_here.get(number), ends) for number, ends in tied.items()] + silent

    def _tied(self, suspects: list[int], labels: list[str]) -> dict[int, list[tuple[str, int]]]:
        """By id of a stranger: the devices that lead to it, and the number of each one's other end there.

        Reading a link gives the namespace of its other end an id in the scratch namespace, if it lives.
        """
        known = len(labels)
        tied: dict[int, list[tuple[str, int]]] = {}
        queue = list(suspects)
        for number in queue:  # which grows
            where = labels[number] if number < known else " in another like it"
            for link in self._links(number):
                other = link.link_netnsid
                if other is not None and other >= known:
                    if other not in tied:
                        queue.append(other)
                    tied.setdefault(other, []).append((f"{link.ifname}{where}", link.link or 0))
        return tied

    def _fact(self, number: int, nsid: int | None, ends: list[tuple[str, int]]) -> NsFact:
        links = {link.ifindex: link.ifname or "" for link in self._links(number)}
        held = [Holder("device", 0, f"{name}{_end(links.get(index))}") for name, index in ends]
        return NsFact(0, "net", held_by=tuple(held), links=tuple(links.values()), nsid=nsid)

    def _silent(self, note: Note, label: str, number: int) -> list[NsFact]:
        """What a namespace has given an id and no device leads to: asked by a socket inside, as only there
        that id means it. One that is ending has an id to the last, and is no namespace any more."""
        left = [n.nsid for n in self._given(number) if _unknown(n) and n.nsid is not None]
        if not left:
            return []
        route = _socket_in(note)
        if route is None:
            return []
        found = []
        for nsid in left:
            try:
                links = [rt.get_link(p).ifname or "" for p in route.dump(rt.dump_links(nsid))]
            except KernelError:
                continue
            held = Holder("unknown", 0, f"it has the id {nsid}{label or ' here'}")
            found.append(NsFact(0, "net", held_by=(held,), links=tuple(links), nsid=None if label else nsid))
        route.close()
        return found


def _socket_in(note: Note) -> Netlink | None:
    fd = note.open()
    if fd < 0:
        return None
    home = os.open(netns.HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return netns.within(home, fd, lambda: Netlink(NETLINK_ROUTE, strict=True))
    finally:
        os.close(home)
        os.close(fd)


def _unknown(given: ids.Nsid) -> bool:
    return given.current_nsid is None or given.current_nsid < 0


def _label(note: Note, here: int) -> str:
    return "" if note.inode == here else f" in {note.names[0] if note.names else note.text}"


def _end(name: str | None) -> str:
    return f" (its other end: {name})" if name else ""
