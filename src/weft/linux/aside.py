"""A link deleted by a child that outlives this process: the kernel keeps whoever asks for 20 ms."""

from __future__ import annotations

import posix
from time import sleep

from weft.core.wire import rtnetlink as rt
from weft.linux.netlink import NETLINK_ROUTE, Netlink, Refusal

#: Seconds between two looks: a name is gone after some 0.2 ms.
_LOOK = 0.0001


def delete(route: Netlink, ifname: str, name: str) -> list[Refusal]:
    """Deletes a link by its name or altname, and waits until its ``ifname`` is gone; why it was refused."""
    pid = posix.fork()
    if not pid:
        _delete(name)
    while True:
        try:
            route.index(ifname)
        except Refusal:
            return []
        done, status = posix.waitpid(pid, posix.WNOHANG)
        if done:
            number = status >> 8 & 0xFF or (status and 5)  # EIO where it was killed
            return [Refusal(0, number, "")] if number else []
        sleep(_LOOK)


def _delete(name: str) -> None:
    """The child: it holds nothing that anybody waits for the end of."""
    number = 5
    try:
        for fd in (0, 1, 2):
            posix.close(fd)
        errors = Netlink(NETLINK_ROUTE).attempt([rt.del_link(name=name)])
        number = errors[0].errno if errors else 0
    finally:
        posix._exit(number & 0xFF)
