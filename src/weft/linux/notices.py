"""The kernel's own notices about firewall, links, addresses, routes and rules (netlink(7), multicast
groups)."""

from __future__ import annotations

import errno
import posix
import select
from _socket import AF_NETLINK, MSG_DONTWAIT, SO_RCVBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

from weft.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE

#: NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h)
_NFTABLES = 7
#: RTNLGRP_LINK; of IPv4 _IFADDR, _ROUTE, _RULE; of IPv6 the same (linux/rtnetlink.h)
_ROUTE_GROUPS = (1, 5, 7, 8, 9, 11, 19)
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_BUFFER = 4 << 20
#: What a notice is about.
FIREWALL, HOST = "firewall", "host"
#: Not a notice, but heard as well: a process has ended.
ENDED = "ended"


class Heard:
    """``with Heard() as heard``: waits for notices. What came while nobody waited is not lost, but may be
    counted
    as one."""

    __slots__ = ("_pid", "_pidfd", "_poll", "_sockets")

    def __init__(self) -> None:
        self._sockets = {
            FIREWALL: _listening(NETLINK_NETFILTER, (_NFTABLES,)),
            HOST: _listening(NETLINK_ROUTE, _ROUTE_GROUPS),
        }
        self._pid, self._pidfd = 0, -1
        self._poll = select.poll()
        for sock in self._sockets.values():
            self._poll.register(sock.fileno(), select.POLLIN)

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        self.attend(0)
        for sock in self._sockets.values():
            sock.close()

    def attend(self, pid: int) -> None:
        """From now on the end of this process is heard, too; 0: of none."""
        if pid == self._pid:
            return
        if self._pidfd >= 0:
            self._poll.unregister(self._pidfd)
            posix.close(self._pidfd)
        self._pid, self._pidfd = pid, -1
        if pid:
            try:
                self._pidfd = posix.pidfd_open(pid)
                self._poll.register(self._pidfd, select.POLLIN)
            except OSError:
                self._pid = 0  # it has ended: whoever looks after it sees that

    def wait(self, seconds: float | None) -> frozenset[str]:
        """What is heard about within that time (None: for ever), all of it taken up; empty when nothing."""
        ready = {fd for fd, _ in self._poll.poll(None if seconds is None else seconds * 1000)}
        found = [kind for kind, sock in self._sockets.items() if sock.fileno() in ready]
        for kind in found:
            _drain(self._sockets[kind])
        if self._pidfd in ready:
            found.append(ENDED)
            self.attend(0)
        return frozenset(found)


def _listening(protocol: int, groups: tuple[int, ...]) -> socket:
    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
    sock.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER)
    sock.bind((0, 0))
    for group in groups:
        sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return sock


def _drain(sock: socket) -> None:
    while True:
        try:
            sock.recv(1 << 16, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # so many that some were lost: it is looked at everything anyway
                raise
