"""Looks into a network namespace: its links, addresses and routes."""

from __future__ import annotations

import posix

from weft.core.model.address import Address, from_packed
from weft.core.model.inside import Inside, SeenInterface, SeenRoute
from weft.core.model.names import mac_text
from weft.core.wire import rtnetlink as rt
from weft.core.wire.buffer import attrs, get_u32
from weft.core.wire.traffic import dump_qdiscs, get_qdisc
from weft.linux import netns
from weft.linux.files import read_sysctl
from weft.linux.netlink import NETLINK_ROUTE, Netlink, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_IFLA_TXQLEN = 13
_IFF_ALLMULTI = 0x200
_IFINFOMSG = 16


def look(path: str) -> Inside:
    """All of a namespace, by its path. NotFound, BadInput."""
    home = posix.open(netns.HERE, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        fd = netns.open_net(path)
        try:
            link = netns.within(home, fd, lambda: Netlink(NETLINK_ROUTE))
        finally:
            posix.close(fd)
    finally:
        posix.close(home)
    try:
        return _read(link)
    finally:
        link.close()


def _read(link: Netlink) -> Inside:
    addresses: dict[int, list[tuple[Address, int]]] = {}
    for payload in link.dump(rt.dump_addresses()):
        ifindex, raw, prefix = rt.get_own_address(payload)
        addresses.setdefault(ifindex, []).append((from_packed(raw), prefix))
    links = tuple([_interface(payload, addresses) for payload in link.dump(rt.dump_links())])
    names = {one.ifindex: one.ifname for one in links}
    found = [rt.get_route(payload) for payload in link.dump(rt.dump_routes())]
    main = [r for r in found if r.table == rt.RT_TABLE_MAIN and r.type == rt.RTN_UNICAST]
    return Inside(links, tuple([_route(r, names) for r in main]))


def _interface(payload: bytes, addresses: dict[int, list[tuple[Address, int]]]) -> SeenInterface:
    found = rt.get_link(payload)
    length = attrs(payload[_IFINFOMSG:]).get(_IFLA_TXQLEN)
    return SeenInterface(
        found.ifindex,
        found.ifname or "",
        mac_text(found.mac or b""),
        found.mtu or 0,
        bool(found.flags & rt.IFF_UP),
        bool(found.flags & rt.IFF_PROMISC),
        bool(found.flags & _IFF_ALLMULTI),
        get_u32(length) if length else 0,
        tuple(addresses.get(found.ifindex, ())),
    )


def _route(route: rt.Route, names: dict[int, str]) -> SeenRoute:
    version = 4 if route.family == 2 else 6
    to = from_packed(route.dst) if route.dst else Address(version, 0)
    gateway = from_packed(route.gateway) if route.gateway else None
    return SeenRoute(to, route.dst_len, gateway, names.get(route.oif or 0, ""))


def sysctls(path: str, keys: Sequence[str]) -> list[str]:
    """The values of sysctls in a namespace, keys with slashes; "" for one that is not there. NotFound,
    BadInput."""
    home = posix.open(netns.HERE, posix.O_RDONLY | posix.O_CLOEXEC)
    fd = -1
    try:
        fd = netns.open_net(path)
        return netns.within(home, fd, lambda: [read_sysctl(key) for key in keys])
    finally:
        for one in (fd, home):
            if one >= 0:
                posix.close(one)


def buckets(ifname: str) -> list[tuple[int, int]]:
    """Rate and limit of the token buckets of a link of the host; none when it is gone."""
    link = Netlink(NETLINK_ROUTE)
    try:
        found = [get_qdisc(payload) for payload in link.dump(dump_qdiscs(link.index(ifname)))]
        return [(one.rate, one.limit) for one in found if one.kind == "tbf"]
    except Refusal:
        return []
    finally:
        link.close()
