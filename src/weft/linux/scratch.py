"""A network namespace of our own, in which every other one can be given an id (ip-netns(8), "nsid").

An id is one namespace's word for another. Links of any namespace can be read by it on one socket
(IFLA_TARGET_NETNSID), and a veth says by it where its peer is. Giving ids in the host's own namespace would
change what ``ip netns list-id`` says there; so they are given here, from 0 on, and vanish with it. What
got an id although we gave it none, is a namespace that nothing but a device of another one tells of.
"""

from __future__ import annotations

import os
from _socket import AF_NETLINK, SO_RCVBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

from weft.core.wire import nsid as ids
from weft.core.wire import rtnetlink as rt
from weft.linux import libc, netns
from weft.linux.netlink import NETLINK_ROUTE, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SOL_NETLINK = 270
_NETLINK_LISTEN_ALL_NSID = 8
_SO_RCVBUFFORCE = 33
#: What may wait to be read: some five thousand links that come at once.
RECEIVE_BUFFER = 8 << 20
_GROUPS = (rt.RTNLGRP_LINK, rt.RTNLGRP_NSID)


class Scratch:
    """``with Scratch() as scratch``: the namespace, its rtnetlink socket and its ids."""

    __slots__ = ("_notices", "count", "route")

    def __init__(self) -> None:
        self._notices: socket | None = None
        self.count = 0
        home = os.open(netns.HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc.unshare(libc.CLONE_NEWNET)
            try:
                self.route = Netlink(NETLINK_ROUTE, strict=True)
                self._notices = self._listening()
            finally:
                libc.setns(home, libc.CLONE_NEWNET)
        finally:
            os.close(home)

    def _listening(self) -> socket:
        """Hears every namespace that has an id here."""
        heard = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        heard.setsockopt(_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID, 1)
        try:
            heard.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            heard.setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER)
        heard.bind((0, sum([1 << (group - 1) for group in _GROUPS])))
        return heard

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it; the ids go with it."""
        self.route.close()
        if self._notices is not None:
            self._notices.close()

    @property
    def notices(self) -> socket:
        """The socket that hears; the sender's id is in the ancillary data, none for this namespace itself."""
        assert self._notices is not None
        return self._notices

    def number(self, fd: int) -> int:
        """Gives the namespace behind a descriptor an id here, and says it."""
        return self.number_all((fd,))[0]

    def number_all(self, fds: Sequence[int]) -> list[int]:
        """Gives many namespaces ids, in one go. KernelError when one has an id here already."""
        found = list(range(self.count, self.count + len(fds)))
        self.route.send([ids.new_nsid(fd=fd, nsid=n) for fd, n in zip(fds, found, strict=True)])
        self.count += len(fds)
        return found

    def wait(self) -> None:
        """Until the next notice of any kind."""
        try:
            self.notices.recv(1 << 16)
        except OSError:
            return  # so many that some were lost: something surely happened
