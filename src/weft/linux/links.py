"""Reads links: of one namespace, of all by their ids in a scratch namespace, and all about a bridge."""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, inet_ntop

from weft.core.model.errors import NotFound
from weft.core.model.link import Space
from weft.core.wire import neighbour as nb
from weft.core.wire import rtnetlink as rt
from weft.linux import netns, nsfs
from weft.linux.find import elsewhere
from weft.linux.netlink import NETLINK_ROUTE, Netlink, Notices, Refusal
from weft.linux.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from weft.linux.execute import Hands

    #: Addresses with their prefix lengths, by ifindex.
    Addresses = dict[int, list[str]]

#: Namespaces that are open at once while they get their ids: the usual limit is 1024 descriptors.
_OPEN = 200
#: Which other namespaces an id may stand for although we gave it none.
_STRANGER = Space(0)


def namespaces() -> list[Space]:
    """The network namespaces that can be opened: the caller's own, the named by name, those with processes,
    those that only a mount elsewhere or an open file holds."""
    home = os.stat(netns.HERE).st_ino
    device = os.stat(netns.HERE).st_dev
    names: dict[int, list[str]] = {}
    for name in netns.names():
        try:
            found = os.stat(netns.path(name))
        except OSError:
            continue
        if found.st_dev == device:  # else a stale name: a plain file
            names.setdefault(found.st_ino, []).append(name)
    pids = _processes()
    order = [home, *[i for i in names if i != home], *[i for i in pids if i != home and i not in names]]
    spaces = [_space(inode, names.get(inode, []), pids.get(inode, 0), inode == home) for inode in order]
    return spaces + [Space(inode, (), 0, path) for inode, path in elsewhere(order)]


def _space(inode: int, names: list[str], pid: int, here: bool) -> Space:
    way = netns.HERE if here else netns.path(names[0]) if names else f"/proc/{pid}/ns/net"
    return Space(inode, tuple(names), pid, way)


def _processes() -> dict[int, int]:
    """The lowest pid in each network namespace."""
    found: dict[int, int] = {}
    for name in sorted([n for n in os.listdir("/proc") if n.isdigit()], key=int):
        try:
            found.setdefault(os.stat(f"/proc/{name}/ns/net").st_ino, int(name))
        except OSError:
            continue  # it has ended
    return found


class Survey:
    """``with Survey() as survey``: the links of every namespace, each read when it is asked for.

    ``spaces`` are numbered by their place, and a link's ``link_netnsid`` is such a number. A stranger is
    appended when a link first tells of it, so that they grow while one reads on.
    """

    __slots__ = ("_scratch", "spaces")

    def __init__(self) -> None:
        self._scratch = Scratch()
        self.spaces: list[Space] = []
        try:
            found = namespaces()
            for start in range(0, len(found), _OPEN):
                self._number(found[start : start + _OPEN])
        except BaseException:
            self._scratch.close()
            raise

    def __enter__(self) -> Survey:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def _number(self, found: Iterable[Space]) -> None:
        fds = []
        try:
            for space in found:
                fd = _open(space)
                if fd >= 0:
                    fds.append(fd)
                    self.spaces.append(space)
            self._scratch.number_all(fds)
        finally:
            for fd in fds:
                os.close(fd)

    def links(self, number: int) -> list[tuple[rt.Link, list[str]]]:
        """The links of a namespace with their addresses; none when it has ended."""
        route = self._scratch.route
        try:
            links = [rt.get_link(p, inet6=False) for p in route.dump(rt.dump_links(number))]
            found = _addresses(route.dump(rt.dump_addresses(target_netnsid=number)))
        except Refusal as error:
            if error.errno != errno.EINVAL:
                raise
            return []
        most = max([link.link_netnsid or 0 for link in links], default=0)
        self.spaces += [_STRANGER] * (most + 1 - len(self.spaces))
        return [(link, found.get(link.ifindex, [])) for link in links]


def _open(space: Space) -> int:
    """A descriptor of what is still the same namespace; -1 when it has gone."""
    try:
        fd = os.open(space.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    if nsfs.type_of(fd) == "net" and os.fstat(fd).st_ino == space.inode:
        return fd
    os.close(fd)
    return -1


def _addresses(payloads: Iterable[bytes]) -> Addresses:
    found: Addresses = {}
    for payload in payloads:
        ifindex, own, prefix = rt.get_own_address(payload)
        text = inet_ntop(AF_INET if len(own) == 4 else AF_INET6, own)
        found.setdefault(ifindex, []).append(f"{text}/{prefix}")
    return found


def traffic(hands: Hands, where: str) -> tuple[int, int] | None:
    """Bytes that a namespace's links but lo have received and sent; None when it is gone."""
    try:
        dumped = hands.within(where, _dump)
    except NotFound:
        return None
    found = [c for link, c in _counted(dumped) if not link.flags & rt.IFF_LOOPBACK]
    return sum([c.rx_bytes for c in found]), sum([c.tx_bytes for c in found])


def _dump() -> list[bytes]:
    route = Netlink(NETLINK_ROUTE)
    try:
        return list(route.dump(rt.dump_links()))
    finally:
        route.close()


def bridge(
    hands: Hands, where: str, ifindex: int
) -> tuple[rt.Link, rt.Counters, list[tuple[rt.Link, rt.Counters]], list[nb.Neighbour]]:
    """A bridge, its ports, both with their counters, and its MAC table. NotFound; Refusal when it is gone."""
    route = hands.within(where, lambda: Netlink(NETLINK_ROUTE, strict=True))
    try:
        own = route.ask(rt.get_link_request(ifindex))
        ports = route.dump(rt.dump_links(master=ifindex))
        macs = [nb.get_neighbour(p) for p in route.dump(nb.dump_fdb(ifindex))]
    finally:
        route.close()
    # Its and its ports' own tables, of addresses they listen to, come along.
    table = [m for m in macs if not m.flags & nb.NTF_SELF]
    return rt.get_link(own), rt.get_counters(own), list(_counted(ports)), table


def _counted(payloads: Iterable[bytes]) -> Iterator[tuple[rt.Link, rt.Counters]]:
    for payload in payloads:
        yield rt.get_link(payload), rt.get_counters(payload)


def wait_up(hands: Hands, where: str, ifname: str, forwards: bool, timeout: float = 5.0) -> bool:
    """Waits until a link works, and when it is a bridge's port ``forwards``; False when it does not in so
    many seconds.

    A veth's queue opens when the kernel has looked at its carrier: at once, or a second later when both
    ends have the same number. Asking for one link makes it look (rtnl_getlink() since Linux 6.8).
    """
    route = hands.route_in(where)

    def works() -> bool:
        link = rt.get_link(route.ask(rt.get_link_request(name=ifname)))
        held = forwards and link.port is not None and link.port.state != rt.BR_STATE_FORWARDING
        return link.operstate == rt.IF_OPER_UP and not held

    if works():
        return True
    with hands.within(where, lambda: Notices(rt.RTNLGRP_LINK, timeout)) as heard:
        while not works():
            if not heard.next():
                return False
    return True
