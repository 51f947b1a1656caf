"""Announcements by ARP (RFC 5227 section 3) and neighbour advertisement (RFC 4861 7.2.6): neighbours forget
who had this address before."""

from __future__ import annotations

from weft.core.wire import rtnetlink as rt
from weft.linux.files import sysctl
from weft.linux.netlink import NETLINK_ROUTE, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def announce(ifname: str, mac: bytes, addresses: Iterable[bytes]) -> None:
    """Has the kernel tell the neighbours of an interface of the calling thread's namespace that ``mac``,
    which it has, has these addresses.

    An address that was free a moment ago may still stand in the host's and the siblings' caches under another
    MAC, and they would go on sending there for up to a minute. With arp_notify and ndisc_notify (ip-sysctl)
    the kernel announces all of an interface's addresses when its MAC is set (inetdev_event(),
    ndisc_netdev_event()), also to what it was. A packet socket would do as well, but closing one takes an RCU
    grace period, 10 ms."""
    for size in {len(address) for address in addresses}:
        sysctl(f"net/ipv{4 if size == 4 else 6}/conf/{ifname}/{'arp' if size == 4 else 'ndisc'}_notify", "1")
    link = Netlink(NETLINK_ROUTE)
    try:
        link.send([rt.set_link(rt.Link(ifname=ifname, mac=mac))])
    finally:
        link.close()
