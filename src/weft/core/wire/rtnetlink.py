"""Addresses, routes and routing rules; links are in link.py and stand here too (rtnetlink(7)).
Neighbours are in neighbour.py, the ids of namespaces in nsid.py.

What the kernel does with them: net/ipv4/devinet.c, net/ipv6/addrconf.c, net/ipv4/fib_frontend.c,
net/ipv6/route.c, net/core/fib_rules.c; headers linux/if_addr.h, linux/rtnetlink.h, linux/fib_rules.h.
A dump by ``target_netnsid`` or by table is only heeded on a socket with NETLINK_GET_STRICT_CHK.
"""

from __future__ import annotations

from _struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    BYTES,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    STRING,
    U8,
    U32,
    attr,
    get_fields,
    get_u32,
    put_fields,
    s32,
    split,
    u32,
)
from weft.core.wire.link import (
    BR_STATE_BLOCKING,
    BR_STATE_DISABLED,
    BR_STATE_FORWARDING,
    BR_STATE_LEARNING,
    BR_STATE_LISTENING,
    IF_OPER_DORMANT,
    IF_OPER_DOWN,
    IF_OPER_LOWERLAYERDOWN,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    IN6_ADDR_GEN_MODE_EUI64,
    IN6_ADDR_GEN_MODE_NONE,
    RTM_DELLINK,
    RTM_DELLINKPROP,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
    RTM_SETLINK,
    Bridge,
    Counters,
    Link,
    Port,
    add_altname,
    del_altname,
    del_group,
    del_link,
    dump_links,
    get_counters,
    get_link,
    get_link_names,
    get_link_request,
    new_link,
    put_link,
    set_link,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.wire.buffer import Column, Message

#: What stands here from other modules.
__all__ = [
    "BR_STATE_BLOCKING",
    "BR_STATE_DISABLED",
    "BR_STATE_FORWARDING",
    "BR_STATE_LEARNING",
    "BR_STATE_LISTENING",
    "Bridge",
    "Counters",
    "IFF_BROADCAST",
    "IFF_LOOPBACK",
    "IFF_LOWER_UP",
    "IFF_MULTICAST",
    "IFF_NOARP",
    "IFF_PROMISC",
    "IFF_RUNNING",
    "IFF_UP",
    "IF_OPER_DORMANT",
    "IF_OPER_DOWN",
    "IF_OPER_LOWERLAYERDOWN",
    "IF_OPER_UNKNOWN",
    "IF_OPER_UP",
    "IN6_ADDR_GEN_MODE_EUI64",
    "IN6_ADDR_GEN_MODE_NONE",
    "Link",
    "Port",
    "RTM_DELLINK",
    "RTM_DELLINKPROP",
    "RTM_GETLINK",
    "RTM_NEWLINK",
    "RTM_NEWLINKPROP",
    "RTM_SETLINK",
    "add_altname",
    "del_altname",
    "del_group",
    "del_link",
    "dump_links",
    "get_counters",
    "get_link",
    "get_link_names",
    "get_link_request",
    "new_link",
    "put_link",
    "set_link",
]

RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTM_NEWRULE = 32
RTM_DELRULE = 33
RTM_GETRULE = 34

RTNLGRP_LINK = 1
RTNLGRP_NOTIFY = 2
RTNLGRP_NEIGH = 3
RTNLGRP_IPV4_IFADDR = 5
RTNLGRP_IPV4_ROUTE = 7
RTNLGRP_IPV4_RULE = 8
RTNLGRP_IPV6_IFADDR = 9
RTNLGRP_IPV6_ROUTE = 11
RTNLGRP_IPV6_RULE = 19
RTNLGRP_NSID = 28

AF_UNSPEC = 0
AF_INET = 2
AF_BRIDGE = 7
AF_INET6 = 10

IFA_F_SECONDARY = 0x01
IFA_F_NODAD = 0x02
IFA_F_DADFAILED = 0x08
IFA_F_DEPRECATED = 0x20
IFA_F_TENTATIVE = 0x40
IFA_F_PERMANENT = 0x80
IFA_F_NOPREFIXROUTE = 0x200

RT_SCOPE_UNIVERSE = 0
RT_SCOPE_SITE = 200
RT_SCOPE_LINK = 253
RT_SCOPE_HOST = 254
RT_SCOPE_NOWHERE = 255

RT_TABLE_UNSPEC = 0
RT_TABLE_COMPAT = 252
RT_TABLE_DEFAULT = 253
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255

RTPROT_UNSPEC = 0
RTPROT_REDIRECT = 1
RTPROT_KERNEL = 2
RTPROT_BOOT = 3
RTPROT_STATIC = 4
RTPROT_RA = 9
RTPROT_DHCP = 16

RTN_UNSPEC = 0
RTN_UNICAST = 1
RTN_LOCAL = 2
RTN_BROADCAST = 3
RTN_ANYCAST = 4
RTN_MULTICAST = 5
RTN_BLACKHOLE = 6
RTN_UNREACHABLE = 7
RTN_PROHIBIT = 8
RTN_THROW = 9

RTNH_F_ONLINK = 4

FR_ACT_TO_TBL = 1
FR_ACT_GOTO = 2
FR_ACT_NOP = 3
FR_ACT_BLACKHOLE = 6
FR_ACT_UNREACHABLE = 7
FR_ACT_PROHIBIT = 8
FIB_RULE_INVERT = 2

_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_FLAGS = 8
_IFA_TARGET_NETNSID = 10
_RTA_TABLE = 15
_FRA_TABLE = 15

_IFADDRMSG = Struct("=BBBBI")
_RTMSG = Struct("=BBBBBBBBI")
_FIB_RULE_HDR = Struct("=BBBBBxxBI")

_DEL = NLM_F_REQUEST | NLM_F_ACK
_DUMP = NLM_F_REQUEST | NLM_F_DUMP


def _family(address: bytes) -> int:
    if len(address) == 4:
        return AF_INET
    if len(address) == 16:
        return AF_INET6
    raise WireError(f"an address of {len(address)} bytes")


class Address(Record):
    """An address of a link. ``peer`` is the other end of a point-to-point link, and is left out
    when it equals ``address``."""

    ifindex: int
    address: bytes
    prefixlen: int
    broadcast: bytes | None = None
    scope: int = RT_SCOPE_UNIVERSE
    flags: int = 0
    label: str | None = None
    peer: bytes | None = None

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6. WireError when the address is neither."""
        return _family(self.address)


_ADDRESS: tuple[Column, ...] = ((3, "label", STRING), (4, "broadcast", BYTES))


def put_address(address: Address) -> bytes:
    """ifaddrmsg and attributes, as ``ip address add`` sends them. WireError for a bad address."""
    own, flags = address.address, address.flags
    head = _IFADDRMSG.pack(_family(own), address.prefixlen, flags & 0xFF, address.scope, address.ifindex)
    other = own if address.peer is None else address.peer
    found = head + attr(_IFA_LOCAL, own) + attr(_IFA_ADDRESS, other) + put_fields(address, _ADDRESS)
    # the header's flags are 8 bits wide, and the attribute takes their place
    return found + u32(_IFA_FLAGS, flags) if flags > 0xFF else found


def get_address(data: bytes) -> Address:
    """The payload of RTM_NEWADDR or RTM_DELADDR. WireError."""
    (_, prefixlen, flags, scope, ifindex), found = split(data, _IFADDRMSG)
    other = found.get(_IFA_ADDRESS)
    # IPv6 has no IFA_LOCAL unless there is a peer
    own = found.get(_IFA_LOCAL, other)
    if own is None:
        raise WireError("an address message without an address")
    _family(own)
    if _IFA_FLAGS in found:
        flags = get_u32(found[_IFA_FLAGS])
    peer = None if other == own else other
    rest = get_fields(found, _ADDRESS)
    return Address(ifindex, own, prefixlen, scope=scope, flags=flags, peer=peer, **rest)


def get_own_address(data: bytes) -> tuple[int, bytes, int]:
    """What a list of addresses shows of one: ifindex, address, prefix length; in a third of the time that
    get_address() takes. WireError."""
    (_, prefixlen, _, _, ifindex), found = split(data, _IFADDRMSG)
    own = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    _family(own)
    return ifindex, own, prefixlen


def new_address(address: Address, flags: int = NLM_F_CREATE | NLM_F_EXCL) -> Message:
    """Adds an address. WireError for a bad address."""
    return RTM_NEWADDR, _DEL | flags, put_address(address)


def del_address(address: Address) -> Message:
    """Deletes an address. WireError for a bad address."""
    return RTM_DELADDR, _DEL, put_address(address)


def dump_addresses(family: int = AF_UNSPEC, target_netnsid: int | None = None) -> Message:
    """Asks for all addresses. (RTM_NEWADDR would take a target_netnsid too, and ignore it.)"""
    target = b"" if target_netnsid is None else s32(_IFA_TARGET_NETNSID, target_netnsid)
    return RTM_GETADDR, _DUMP, _IFADDRMSG.pack(family, 0, 0, 0, 0) + target


class Route(Record):
    """A route with one next hop. ``dst`` None is the default route. Tables above 255 are fine."""

    family: int
    dst: bytes | None = None
    dst_len: int = 0
    gateway: bytes | None = None
    oif: int | None = None
    table: int = RT_TABLE_MAIN
    protocol: int = RTPROT_BOOT
    scope: int = RT_SCOPE_UNIVERSE
    type: int = RTN_UNICAST
    prefsrc: bytes | None = None
    priority: int | None = None
    flags: int = 0


_ROUTE: tuple[Column, ...] = (
    (1, "dst", BYTES),
    (4, "oif", U32),
    (5, "gateway", BYTES),
    (6, "priority", U32),
    (7, "prefsrc", BYTES),
)


def put_route(route: Route) -> bytes:
    """rtmsg and attributes."""
    table, small = route.table, route.table <= 0xFF
    head = _RTMSG.pack(
        route.family,
        route.dst_len,
        0,
        0,
        table if small else RT_TABLE_UNSPEC,
        route.protocol,
        route.scope,
        route.type,
        route.flags,
    )
    found = head + put_fields(route, _ROUTE)
    return found if small else found + u32(_RTA_TABLE, table)


def get_route(data: bytes) -> Route:
    """The payload of RTM_NEWROUTE or RTM_DELROUTE. WireError."""
    head, found = split(data, _RTMSG)
    family, dst_len, _, _, table, protocol, scope, rtype, flags = head
    if _RTA_TABLE in found:
        table = get_u32(found[_RTA_TABLE])
    return Route(
        family,
        dst_len=dst_len,
        table=table,
        protocol=protocol,
        scope=scope,
        type=rtype,
        flags=flags,
        **get_fields(found, _ROUTE),
    )


def new_route(route: Route, flags: int = NLM_F_CREATE | NLM_F_EXCL) -> Message:
    """Adds a route."""
    return RTM_NEWROUTE, _DEL | flags, put_route(route)


def del_route(route: Route) -> Message:
    """Deletes a route; scope, type and protocol must be those of the route."""
    return RTM_DELROUTE, _DEL, put_route(route)


def dump_routes(family: int = AF_UNSPEC, table: int = RT_TABLE_UNSPEC) -> Message:
    """Asks for all routes, or for those of one table (see the module on NETLINK_GET_STRICT_CHK)."""
    head = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    return RTM_GETROUTE, _DUMP, head + u32(_RTA_TABLE, table) if table else head


class Rule(Record):
    """A routing policy rule (ip-rule(8)). The kernel does not report a priority or a mark of 0."""

    family: int
    priority: int | None = None
    iifname: str | None = None
    oifname: str | None = None
    src: bytes | None = None
    src_len: int = 0
    dst: bytes | None = None
    dst_len: int = 0
    table: int = RT_TABLE_UNSPEC
    action: int = FR_ACT_TO_TBL
    fwmark: int | None = None
    fwmask: int | None = None
    protocol: int | None = None
    flags: int = 0


_RULE: tuple[Column, ...] = (
    (1, "dst", BYTES),
    (2, "src", BYTES),
    (3, "iifname", STRING),
    (6, "priority", U32),
    (10, "fwmark", U32),
    (16, "fwmask", U32),
    (17, "oifname", STRING),
    (21, "protocol", U8),
)


def put_rule(rule: Rule) -> bytes:
    """fib_rule_hdr and attributes. WireError for a NUL in an interface name."""
    table, small = rule.table, rule.table <= 0xFF
    head = _FIB_RULE_HDR.pack(
        rule.family,
        rule.dst_len,
        rule.src_len,
        0,
        table if small else RT_TABLE_UNSPEC,
        rule.action,
        rule.flags,
    )
    found = head + put_fields(rule, _RULE)
    return found if small else found + u32(_FRA_TABLE, table)


def get_rule(data: bytes) -> Rule:
    """The payload of RTM_NEWRULE or RTM_DELRULE. WireError."""
    head, found = split(data, _FIB_RULE_HDR)
    family, dst_len, src_len, _, table, action, flags = head
    if _FRA_TABLE in found:
        table = get_u32(found[_FRA_TABLE])
    return Rule(
        family,
        src_len=src_len,
        dst_len=dst_len,
        table=table,
        action=action,
        flags=flags,
        **get_fields(found, _RULE),
    )


def new_rule(rule: Rule, flags: int = NLM_F_CREATE | NLM_F_EXCL) -> Message:
    """Adds a rule. WireError for a NUL in an interface name."""
    return RTM_NEWRULE, _DEL | flags, put_rule(rule)


def del_rule(rule: Rule) -> Message:
    """Deletes the first rule that is alike in all that is said. WireError as put_rule()."""
    return RTM_DELRULE, _DEL, put_rule(rule)


def dump_rules(family: int = AF_UNSPEC) -> Message:
    """Asks for all rules of a family."""
    return RTM_GETRULE, _DUMP, _FIB_RULE_HDR.pack(family, 0, 0, 0, 0, 0, 0)
