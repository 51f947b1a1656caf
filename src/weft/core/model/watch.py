"""What ``weft ns watch`` tells: from what is seen of namespaces and links to what became of them.

A tracker is fed with what the kernel says and with what a look around found, in any order and perhaps twice:
it tells only what is new. No clock and no kernel in here.
"""

from __future__ import annotations

from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Change(Record):
    """One thing that happened. ``event``: named, unnamed (a name under /run/netns); born, died (a namespace);
    link-new, link-gone, link-out, link-in (moved from or to ``other``), link-renamed (``other``: the old
    name). ``ns`` is the namespace's name, "host", or "" for one without a name.
    """

    event: str
    ns: str = ""
    inode: int = 0
    ifname: str = ""
    ifindex: int = 0
    kind: str = ""
    other: str = ""
    pid: int = 0


class Seen(Record):
    """A link as it is seen: ``moved`` is its number in the namespace it has gone to, 0 if it has not."""

    ifindex: int
    ifname: str
    kind: str = ""
    mac: str = ""
    moved: int = 0


class Tracker:
    """Names, namespaces and links as last told."""

    def __init__(self, home: int) -> None:
        self._home = home
        self._names: dict[str, int] = {}
        self._alive: set[int] = set()
        self._links: dict[int, dict[int, Seen]] = {}
        #: Links that have left a namespace and have not been seen in another yet: (number there, MAC).
        self._away: dict[tuple[int, str], str] = {}

    def label(self, inode: int) -> str:
        """What people call a namespace: "host", a name, or "" when it has none."""
        if inode == self._home:
            return "host"
        return next((name for name, found in sorted(self._names.items()) if found == inode), "")

    def _shown(self, inode: int) -> str:
        return self.label(inode) or f"net:[{inode}]"

    def names(self, found: Mapping[str, int]) -> list[Change]:
        """All names there are now, each with its namespace's inode.

        Stale ones (inode 0) are none: a name is for a moment a file that leads nowhere, when it comes and
        when it goes.
        """
        found = {name: inode for name, inode in found.items() if inode}
        told = [
            Change("unnamed", name, inode) for name, inode in self._names.items() if found.get(name) != inode
        ]
        new = [(name, inode) for name, inode in found.items() if self._names.get(name) != inode]
        self._names = found
        return told + [Change("named", name, inode) for name, inode in new]

    def born(self, inode: int, pid: int = 0) -> list[Change]:
        """A namespace that exists."""
        if inode in self._alive:
            return []
        self._alive.add(inode)
        return [Change("born", self.label(inode), inode, pid=pid)]

    def died(self, inode: int) -> list[Change]:
        """A namespace that the kernel has ended, its links with it."""
        if inode not in self._alive:
            return []
        self._alive.discard(inode)
        self._links.pop(inode, None)
        return [Change("died", self.label(inode), inode)]

    def link(self, inode: int, seen: Seen) -> list[Change]:
        """A link that is in a namespace."""
        there = self._links.setdefault(inode, {})
        old = there.get(seen.ifindex)
        there[seen.ifindex] = seen
        if old is None:
            origin = self._away.pop((seen.ifindex, seen.mac), "")
            return [self._change("link-in" if origin else "link-new", inode, seen, origin)]
        return [] if old.ifname == seen.ifname else [self._change("link-renamed", inode, seen, old.ifname)]

    def gone(self, inode: int, seen: Seen) -> list[Change]:
        """A link that has left a namespace, or ended."""
        old = self._links.get(inode, {}).pop(seen.ifindex, None)
        if old is None:
            return []
        if seen.moved:
            self._away[seen.moved, seen.mac] = self._shown(inode)
        return [self._change("link-out" if seen.moved else "link-gone", inode, old, "")]

    def links(self, inode: int, found: Iterable[Seen]) -> list[Change]:
        """All links of a namespace: what is not among them has gone."""
        now = {seen.ifindex: seen for seen in found}
        lost = [seen for index, seen in self._links.get(inode, {}).items() if index not in now]
        told = [change for seen in lost for change in self.gone(inode, seen)]
        return told + [change for seen in now.values() for change in self.link(inode, seen)]

    def _change(self, event: str, inode: int, seen: Seen, other: str) -> Change:
        return Change(event, self.label(inode), inode, seen.ifname, seen.ifindex, seen.kind, other)
