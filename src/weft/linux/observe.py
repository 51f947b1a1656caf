"""Looks at the kernel and says what is there, as frozen facts. It changes nothing."""

from __future__ import annotations

import errno

from weft.core.model.address import Address, Subnet, from_packed, parse_address
from weft.core.model.errors import BadInput, NotPermitted, Unsupported
from weft.core.model.facts import HostFacts, LinkFact, NetworkFacts, PlaceFacts, RouteFact
from weft.core.wire import nfnetlink as nf
from weft.core.wire import rtnetlink as rt
from weft.linux import files, netns
from weft.linux.netlink import Refusal
from weft.linux.paths import is_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.linux.execute import Hands

_TABLES = (("inet", nf.NFPROTO_INET), ("bridge", nf.NFPROTO_BRIDGE))
_LOCAL_TABLE = 255
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
    payloads = hands.route.dump(rt.dump_links())
    found = [rt.get_link(p) for p in payloads]
    links = {link.ifindex: link.ifname or "" for link in found}
    return HostFacts(
        links=tuple([_fact(p) for p in payloads]),
        routes=_routes(hands, links),
        tables=tables(hands),
        forwarding=files.read_sysctl("net/ipv4/ip_forward") == "1",
        nameservers=tuple([a for a in map(_address, files.upstreams()[0]) if a is not None]),
    )


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except BadInput:
        return None


def _routes(hands: Hands, links: dict[int, str]) -> tuple[RouteFact, ...]:
    """The host's IPv4 routes but the default one; weft's own prohibit routes are not the host's."""
    facts = []
    for payload in hands.route.dump(rt.dump_routes(2)):
        route = rt.get_route(payload)
        wanted = route.dst is not None and route.type == rt.RTN_UNICAST and route.table != _LOCAL_TABLE
        if wanted and route.dst is not None:
            base = from_packed(route.dst).value
            facts.append(RouteFact(Subnet(4, base, route.dst_len), links.get(route.oif or 0, "?")))
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


def place(hands: Hands, mark: str, container: str, run_dir: str) -> PlaceFacts:
    """What stands in the way of a container: each look is one short question."""
    return PlaceFacts(
        stale=find_link(hands, mark),
        netns=is_there(netns.path(container)),
        foreign_file=files.foreign_etc_netns(container, run_dir),
    )


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
