"""Announcements by ARP (RFC 5227 section 3) and neighbour advertisement (RFC 4861 7.2.6): neighbours forget
who had this address before."""

from __future__ import annotations

from weft.core.model.errors import NotPermitted, Unsupported
from weft.core.wire import rtnetlink as rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.linux.execute import Hands


def announce(hands: Hands, where: str, ifname: str, mac: bytes, versions: frozenset[int]) -> None:
    """Broadcasts from an interface who has its addresses of these families (4, 6).

    An address that was free a moment ago may still stand in the host's and the siblings' caches
    under another MAC, and they would go on sending there for up to a minute. The kernel does it, when it is
    told the MAC that the interface has (NETDEV_CHANGEADDR; ip-sysctl, arp_notify and ndisc_notify): a packet
    socket of our own would take it an RCU grace period of 12 ms to close.
    """
    keys = {4: f"net/ipv4/conf/{ifname}/arp_notify", 6: f"net/ipv6/conf/{ifname}/ndisc_notify"}

    def ask() -> None:
        for version in versions:
            try:
                hands.procfs.write(keys[version], "1")
            except (NotPermitted, Unsupported):
                continue  # a kernel without IPv6 has nobody to tell either

    hands.within(where, ask)
    hands.route_in(where).attempt([rt.set_link(rt.Link(ifname=ifname, mac=mac))])
