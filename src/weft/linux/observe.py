"""Looks at the kernel and says what is there, as frozen facts. It changes nothing."""

from __future__ import annotations

import errno
import posix

from weft.core.model.address import Address, Cidr, Subnet, from_packed, parse_address
from weft.core.model.errors import BadInput, NotPermitted, Unsupported
from weft.core.model.facts import (
    BridgeFact,
    HostFacts,
    LinkFact,
    NetworkFacts,
    PlaceFacts,
    RouteFact,
    VrfFact,
)
from weft.core.wire import nfnetlink as nf
from weft.core.wire import rtnetlink as rt
from weft.linux import files, netns
from weft.linux.netlink import Refusal
from weft.linux.paths import is_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.linux.execute import Hands

_TABLES = (("inet", nf.NFPROTO_INET), ("bridge", nf.NFPROTO_BRIDGE))
_LOCAL_TABLE = 255
#: RTPROT_RA (linux/rtnetlink.h)
_RTPROT_RA = 9
#: BR_STATE_FORWARDING (linux/if_bridge.h)
_FORWARDING = 3


def _fact(payload: bytes) -> LinkFact:
    return LinkFact(*rt.get_link_names(payload))


def find_link(hands: Hands, name: str) -> LinkFact | None:
    """The link of the host that has this name or altname."""
    try:
        return _fact(hands.route.ask(rt.get_link_request(name=name)))
    except Refusal as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def host(hands: Hands) -> HostFacts:
    """All that a network needs to know of the host before it is made."""
    from weft.linux.others import engine_subnets  # not for what is done in a network that is there

    payloads = hands.route.dump(rt.dump_links())
    found = [rt.get_link(p) for p in payloads]
    links = {link.ifindex: link.ifname or "" for link in found}
    return HostFacts(
        links=tuple([_fact(p) for p in payloads]),
        routes=_routes(hands, links),
        tables=tables(hands),
        forwarding=files.read_sysctl("net/ipv4/ip_forward") == "1",
        nameservers=tuple([a for a in map(_address, files.upstreams()[0]) if a is not None]),
        kept=engine_subnets(),
        forwarding6=files.read_sysctl("net/ipv6/conf/all/forwarding") == "1",
        advertised=_advertised(hands, links),
        uplink_mtu=_uplink_mtu(hands, found),
        uplink=_uplink(hands, links),
        machine=_machine_id(),
        vrfs=_vrfs(hands, found),
        # Not there before the module is loaded: then there is no VRF either, and whoever makes one loads it.
        knows_vrfs=bool(files.read_sysctl("net/vrf/strict_mode")),
    )


def _vrfs(hands: Hands, links: list[rt.Link]) -> tuple[VrfFact, ...]:
    """The VRFs, each with the MTU that a network in it has where nobody says another."""
    vrfs = [link for link in links if link.kind == "vrf" and link.options is not None]
    if not vrfs:
        return ()
    from weft.core.wire.vlan import get_vrf

    routes, mtus = _default_routes(hands), {link.ifindex: link.mtu or 1500 for link in links}
    found = []
    for link in vrfs:
        table = get_vrf(link.options or b"")
        ways = [mtus[r.oif] for r in routes if r.table == table and r.oif in mtus]
        found.append(VrfFact(link.ifname or "", table, min(ways, default=1500)))
    return tuple(found)


def _default_routes(hands: Hands) -> list[rt.Route]:
    found = [rt.get_route(p) for family in (2, 10) for p in hands.route.dump(rt.dump_routes(family))]
    return [r for r in found if r.dst is None and r.type == rt.RTN_UNICAST]


def _uplink_mtu(hands: Hands, links: list[rt.Link]) -> int:
    """The smallest MTU of the links with a default route; Ethernet's where there is none."""
    ways = {route.oif for route in _default_routes(hands)}
    return min([link.mtu for link in links if link.ifindex in ways and link.mtu], default=1500)


def _uplink(hands: Hands, links: dict[int, str]) -> str:
    """The link of the default route that is taken: IPv4's with the smallest metric, else IPv6's."""
    routes = sorted(_default_routes(hands), key=lambda r: (r.family, r.priority or 0))
    return next((links[r.oif] for r in routes if r.oif in links and r.table == rt.RT_TABLE_MAIN), "")


def _advertised(hands: Hands, links: dict[int, str]) -> tuple[str, ...]:
    """The links with IPv6 routes by router advertisements that stop coming once the host forwards."""
    routes = [rt.get_route(p) for p in hands.route.dump(rt.dump_routes(10))]
    names = {links.get(r.oif or 0, "") for r in routes if r.protocol == _RTPROT_RA} - {""}
    return tuple(sorted([n for n in names if files.read_sysctl(f"net/ipv6/conf/{n}/accept_ra") == "1"]))


def _machine_id() -> str:
    """machine-id(5); where there is none, the kernel's own for this boot."""
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            continue
        found = posix.read(fd, 64).decode("ascii", "replace").strip()
        posix.close(fd)
        if found:
            return found
    return ""


def bridge(hands: Hands, ifname: str) -> BridgeFact:
    """A bridge that somebody else made."""
    link = rt.get_link(hands.route.ask(rt.get_link_request(name=ifname)))
    found = [rt.get_address(p) for p in hands.route.dump(rt.dump_addresses())]
    cidrs = [Cidr(from_packed(a.address), a.prefixlen) for a in found if a.ifindex == link.ifindex]
    return BridgeFact(tuple(cidrs), link.mtu or 1500, _filters(link), _master(hands, link))


def _filters(link: rt.Link) -> bool:
    return link.bridge is not None and bool(link.bridge.vlan_filtering)


def _master(hands: Hands, link: rt.Link) -> str:
    if not link.master:
        return ""
    return rt.get_link(hands.route.ask(rt.get_link_request(link.master))).ifname or ""


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except BadInput:
        return None


def _routes(hands: Hands, links: dict[int, str]) -> tuple[RouteFact, ...]:
    """The host's routes but the default ones; weft's own prohibit routes are not the host's."""
    facts = []
    for payload in [p for family in (2, 10) for p in hands.route.dump(rt.dump_routes(family))]:
        route = rt.get_route(payload)
        wanted = route.dst is not None and route.type == rt.RTN_UNICAST and route.table != _LOCAL_TABLE
        if wanted and route.dst is not None:
            first = from_packed(route.dst)
            subnet = Subnet(first.version, first.value, route.dst_len)
            facts.append(RouteFact(subnet, links.get(route.oif or 0, "?")))
    return tuple(facts)


def tables(hands: Hands) -> tuple[tuple[str, str], ...]:
    """Family and comment of the tables named weft."""
    facts = []
    try:
        answers = hands.filter.ask_each([nf.get_table_request(number, "weft") for _, number in _TABLES])
    except Refusal:
        raise NotPermitted("nf_tables cannot be read without CAP_NET_ADMIN", "run weft as root") from None
    for (family, _), answer in zip(_TABLES, answers, strict=True):
        if not isinstance(answer, Refusal):
            facts.append((family, nf.get_table(answer).comment or ""))
        elif answer.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EINVAL, errno.EPROTONOSUPPORT):
            raise Unsupported(
                f"the kernel has no nf_tables for family {family}", "CONFIG_NF_TABLES is needed"
            )
        elif answer.errno != errno.ENOENT:
            raise answer
    return tuple(facts)


def network(hands: Hands, bridge: str) -> NetworkFacts:
    """What must stand before a container is attached to a network."""
    return NetworkFacts(bridge=find_link(hands, bridge), tables=tables(hands))


def place(hands: Hands, marks: Sequence[str], container: str, run_dir: str) -> PlaceFacts:
    """What stands in the way of a container: each look is one short question."""
    found = [(find_link(hands, mark), mark) for mark in marks]
    return PlaceFacts(
        stale=tuple([(link, mark) for link, mark in found if link is not None]),
        netns=is_there(netns.path(container)),
        foreign_file=files.foreign_etc_netns(container, run_dir),
    )


def links(hands: Hands, where: str) -> list[rt.Link]:
    """The links of one namespace, called as plans call it. NotFound."""
    return [rt.get_link(p) for p in hands.route_in(where).dump(rt.dump_links())]


def port_state(hands: Hands, ifname: str) -> bool:
    """Whether a bridge port forwards: what is sent before is lost, and ARP waits a second to retry."""
    link = rt.get_link(hands.route.ask(rt.get_link_request(name=ifname)))
    return link.port is not None and link.port.state == _FORWARDING


def wait_port(hands: Hands, ifname: str, timeout: float = 5.0) -> bool:
    """Waits, by the kernel's own notices, until a bridge port forwards; False when it never does."""
    from weft.linux.netlink import Notices

    with Notices(rt.RTNLGRP_LINK, timeout) as heard:
        while not port_state(hands, ifname):
            if not heard.next():
                return False
    return True
