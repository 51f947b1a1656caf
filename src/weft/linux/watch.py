"""Watches network namespaces and their links come, go and move.

One netlink socket hears every namespace that has an id in our scratch namespace (NETLINK_LISTEN_ALL_NSID in
netlink(7)): its links, ids that it gives to others, and its own end. Names are told by inotify(7) and by
the mount table, as a name is a file first and a mount only then. A namespace that nothing has told of yet
(no name, no link to a known one) has no notice at all: for those /proc is looked through once a second.
"""

from __future__ import annotations

import errno
import os
from _struct import unpack_from
from select import POLLIN, POLLPRI, poll

from weft.core.model.errors import KernelError, WireError
from weft.core.model.names import mac_text
from weft.core.model.watch import Change, Seen, Tracker
from weft.core.wire import buffer, inotify
from weft.core.wire import nsid as ids
from weft.core.wire import rtnetlink as rt
from weft.linux import libc, netns, nsfs, process
from weft.linux.netlink import Refusal
from weft.linux.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_EVERY_MS = 1000
_NSID_CMSG = (270, 8)  # SOL_NETLINK, NETLINK_LISTEN_ALL_NSID
_NAMES = inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED_FROM | inotify.IN_MOVED_TO


class Watch:
    """``with Watch() as watch: for change in watch.changes(): ...``"""

    def __init__(self) -> None:
        self.tracker = Tracker(os.stat(netns.HERE).st_ino)
        self._scratch = Scratch()
        self._scratch.notices.setblocking(False)
        self._inodes: dict[int, int] = {}
        self._pids: dict[int, int] = {}
        self._inotify = libc.inotify_init1(inotify.IN_NONBLOCK | inotify.IN_CLOEXEC)
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = poll()
        self._poll.register(self._scratch.notices, POLLIN)
        self._poll.register(self._inotify, POLLIN)
        self._poll.register(self._mounts, POLLPRI)
        self._watched = False

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()
        os.close(self._inotify)
        os.close(self._mounts)

    def look(self) -> list[Change]:
        """Looks around: names, namespaces, and the links of those that are new."""
        self._watch_names()
        names = {name: netns.inode(name) for name in netns.names()}
        told = self.tracker.names(names)
        known = frozenset(self._inodes.values())
        for inode, (path, pid) in self._there(names).items():
            if inode not in known:
                told += self._meet(inode, path, pid)
        return told

    def changes(self) -> Iterator[Change]:
        """What happens from now on, without end."""
        while True:
            ready = [fd for fd, _ in self._poll.poll(_EVERY_MS)]
            if self._inotify in ready:
                os.read(self._inotify, 1 << 16)
            looks = not ready or self._inotify in ready or self._mounts in ready
            if self._scratch.notices.fileno() in ready:
                again, told = self._hear()
                yield from told
                looks = looks or again
            if looks:
                yield from self.look()

    def _watch_names(self) -> None:
        """/run/netns comes with the first name; until then its parent tells."""
        if self._watched:
            return
        try:
            libc.inotify_add_watch(self._inotify, netns.NETNS_DIR, _NAMES)
            self._watched = True
        except FileNotFoundError:
            libc.inotify_add_watch(self._inotify, os.path.dirname(netns.NETNS_DIR), inotify.IN_CREATE)

    @staticmethod
    def _there(names: dict[str, int]) -> dict[int, tuple[str, int]]:
        """The network namespaces that have a name or a process: a path, and a pid where there is one."""
        found = {inode: (netns.path(name), 0) for name, inode in names.items() if inode}
        for pid in process.pids():
            path = f"/proc/{pid}/ns/net"
            try:
                inode = int(os.readlink(path)[5:-1])
            except (OSError, ValueError):
                continue
            found.setdefault(inode, (path, pid))
        return found

    def _meet(self, inode: int, path: str, pid: int) -> list[Change]:
        """A namespace not met before: from now on it is heard."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return []
        try:
            if os.fstat(fd).st_ino != inode or nsfs.type_of(fd) != "net":
                return []
            number = self._scratch.number(fd)
        except Refusal:
            return []  # it has one: an inode that was used again before we heard of the end
        finally:
            os.close(fd)
        self._inodes[number] = inode
        self._pids[inode] = pid
        return self.tracker.born(inode, pid) + self._links(number)

    def _links(self, number: int) -> list[Change]:
        try:
            found = self._scratch.route.dump(rt.dump_links(target_netnsid=number))
        except (Refusal, KernelError):
            return []  # it has ended meanwhile, and its notice is on the way
        return self.tracker.links(self._inodes[number], [_seen(rt.get_link(p)) for p in found])

    def _hear(self) -> tuple[bool, list[Change]]:
        """Reads all that is there to be heard; whether a look around is due, and what is told."""
        looks, told = False, list[Change]()
        while True:
            try:
                data, ancillary, _, _ = self._scratch.notices.recvmsg(1 << 16, 64)
            except BlockingIOError:
                return looks, told
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                told += [change for number in list(self._inodes) for change in self._links(number)]
                looks = True
                continue
            number = _sender(ancillary)
            for kind, _, _, payload in buffer.frames(data):
                news, changes = self._notice(number, kind, payload)
                looks, told = looks or news, told + changes

    def _notice(self, number: int, kind: int, payload: bytes) -> tuple[bool, list[Change]]:
        if kind == ids.RTM_DELNSID and number < 0:
            gone = self._inodes.pop(ids.get_nsid(payload).nsid or 0, 0)
            self._pids.pop(gone, None)
            return False, self.tracker.died(gone)
        if kind == ids.RTM_NEWNSID:
            return number >= 0, []  # somebody else knows a new one: perhaps we do not
        inode = self._inodes.get(number, 0)
        if not inode or kind not in (rt.RTM_NEWLINK, rt.RTM_DELLINK):
            return False, []
        link = rt.get_link(payload)
        if link.family:  # a bridge's own words about a port
            return False, []
        tell = self.tracker.link if kind == rt.RTM_NEWLINK else self.tracker.gone
        return False, tell(inode, _seen(link))


def _sender(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The id of the namespace that a notice comes from; -1 for the scratch namespace itself."""
    return next((unpack_from("=i", raw)[0] for *kind, raw in ancillary if tuple(kind) == _NSID_CMSG), -1)


def _seen(link: rt.Link) -> Seen:
    if link.ifname is None:
        raise WireError("a link without a name")
    mac = mac_text(link.mac) if link.mac else ""
    return Seen(link.ifindex, link.ifname, link.kind or "", mac, link.new_ifindex or 0)
