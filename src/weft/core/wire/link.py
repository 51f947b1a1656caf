"""Links: RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINKPROP (rtnetlink(7), linux/if_link.h).

What the kernel does with them: net/core/rtnetlink.c, drivers/net/veth.c, net/bridge/br_netlink.c.
"""

from __future__ import annotations

from _struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    BYTES,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    S32,
    STRING,
    U8,
    U16,
    U32,
    attr,
    attrs,
    get_fields,
    get_string,
    get_u8,
    iter_attrs,
    nested,
    put_fields,
    s32,
    split,
    string,
    u8,
    u32,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.wire.buffer import Column, Message

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWLINKPROP = 108
RTM_DELLINKPROP = 109

IFNAMSIZ = 16
ALTIFNAMSIZ = 128

IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_LOOPBACK = 0x8
IFF_RUNNING = 0x40
IFF_NOARP = 0x80
IFF_PROMISC = 0x100
IFF_MULTICAST = 0x1000
IFF_LOWER_UP = 0x10000

IF_OPER_UNKNOWN = 0
IF_OPER_NOTPRESENT = 1
IF_OPER_DOWN = 2
IF_OPER_LOWERLAYERDOWN = 3
IF_OPER_TESTING = 4
IF_OPER_DORMANT = 5
IF_OPER_UP = 6

IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_LINK = 5
IFLA_MASTER = 10
IFLA_PROTINFO = 12
IFLA_OPERSTATE = 16
IFLA_LINKINFO = 18
IFLA_NET_NS_PID = 19
IFLA_IFALIAS = 20
IFLA_STATS64 = 23
IFLA_AF_SPEC = 26
IFLA_GROUP = 27
IFLA_NET_NS_FD = 28
IFLA_EXT_MASK = 29
IFLA_NUM_TX_QUEUES = 31
IFLA_NUM_RX_QUEUES = 32
IFLA_CARRIER = 33
IFLA_LINK_NETNSID = 37
IFLA_TARGET_NETNSID = 46
IFLA_NEW_IFINDEX = 49
IFLA_PROP_LIST = 52
IFLA_ALT_IFNAME = 53

IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INFO_SLAVE_KIND = 4
IFLA_INFO_SLAVE_DATA = 5
VETH_INFO_PEER = 1
IFLA_INET6_ADDR_GEN_MODE = 8

IN6_ADDR_GEN_MODE_EUI64 = 0
IN6_ADDR_GEN_MODE_NONE = 1
IN6_ADDR_GEN_MODE_STABLE_PRIVACY = 2
IN6_ADDR_GEN_MODE_RANDOM = 3

BR_STATE_DISABLED = 0
BR_STATE_LISTENING = 1
BR_STATE_LEARNING = 2
BR_STATE_FORWARDING = 3
BR_STATE_BLOCKING = 4

RTEXT_FILTER_SKIP_STATS = 8

_AF_BRIDGE = 7
_AF_INET6 = 10
_IFINFOMSG = Struct("=BxHiII")
_COUNTERS = Struct("=8Q")


def _get_bridge_id(data: bytes) -> bytes:
    if len(data) != 8:
        raise WireError(f"a bridge id of {len(data)} bytes, not 8")
    return data


_BRIDGE_ID = attr, _get_bridge_id


class Bridge(Record):
    """Options of a bridge (IFLA_BR_*), and from ``root_id`` on what the kernel reports and does not
    take. Times are in hundredths of a second. An id is the priority in two bytes, big endian, and
    the MAC in six; ``root_id`` is the bridge's own when it is the root of its spanning tree.
    """

    stp_state: int | None = None
    forward_delay: int | None = None
    ageing_time: int | None = None
    mcast_snooping: int | None = None
    nf_call_iptables: int | None = None
    vlan_filtering: int | None = None
    hello_time: int | None = None
    max_age: int | None = None
    priority: int | None = None
    root_id: bytes | None = None
    bridge_id: bytes | None = None
    root_port: int | None = None
    root_path_cost: int | None = None
    topology_change: int | None = None
    default_pvid: int | None = None


_BRIDGE: tuple[Column, ...] = (
    (1, "forward_delay", U32),
    (2, "hello_time", U32),
    (3, "max_age", U32),
    (4, "ageing_time", U32),
    (5, "stp_state", U32),
    (6, "priority", U16),
    (7, "vlan_filtering", U8),
    (10, "root_id", _BRIDGE_ID),
    (11, "bridge_id", _BRIDGE_ID),
    (12, "root_port", U16),
    (13, "root_path_cost", U32),
    (14, "topology_change", U8),
    (23, "mcast_snooping", U8),
    (36, "nf_call_iptables", U8),
    (39, "default_pvid", U16),
)


class Port(Record):
    """Options of a bridge's port (IFLA_BRPORT_*), and from ``root_id`` on what the kernel reports
    and does not take. ``guard`` shuts BPDUs out and ``protect`` keeps the root from being behind
    it. Ids are as in Bridge, of the root and of the bridge that speaks for this port's segment;
    ``no`` numbers the bridge's ports, ``id`` is that with the port's priority over it.
    """

    state: int | None = None
    hairpin: int | None = None
    isolated: int | None = None
    learning: int | None = None
    flood: int | None = None
    mcast_flood: int | None = None
    bcast_flood: int | None = None
    neigh_suppress: int | None = None
    priority: int | None = None
    cost: int | None = None
    guard: int | None = None
    protect: int | None = None
    fast_leave: int | None = None
    root_id: bytes | None = None
    bridge_id: bytes | None = None
    designated_port: int | None = None
    designated_cost: int | None = None
    id: int | None = None
    no: int | None = None


_PORT: tuple[Column, ...] = (
    (1, "state", U8),
    (2, "priority", U16),
    (3, "cost", U32),
    (4, "hairpin", U8),
    (5, "guard", U8),
    (6, "protect", U8),
    (7, "fast_leave", U8),
    (8, "learning", U8),
    (9, "flood", U8),
    (13, "root_id", _BRIDGE_ID),
    (14, "bridge_id", _BRIDGE_ID),
    (15, "designated_port", U16),
    (16, "designated_cost", U16),
    (17, "id", U16),
    (18, "no", U16),
    (27, "mcast_flood", U8),
    (30, "bcast_flood", U8),
    (32, "neigh_suppress", U8),
    (33, "isolated", U8),
)


class Link(Record):
    """A network device, as wanted or as the kernel reports it; None is not said.

    ``change`` masks ``flags``. ``link`` is the peer's or the lower device's ifindex, in the
    namespace ``link_netnsid`` when that is given (-1: one that has no id here). ``peer`` is the
    other end of a veth to be made; the kernel never reports it. An ``alias`` of "" clears it.
    ``family`` is 7 (AF_BRIDGE) in a bridge's notifications about its ports: a RTM_DELLINK of that
    family says that a port left its bridge, not that it is gone. An ``ifname`` longer than
    IFNAMSIZ - 1 finds a link by its altname. ``options`` are IFLA_INFO_DATA of a kind that has a codec
    of its own (sublink.py).
    """

    ifindex: int = 0
    flags: int = 0
    change: int = 0
    ifname: str | None = None
    altnames: tuple[str, ...] = ()
    mac: bytes | None = None
    mtu: int | None = None
    master: int | None = None
    group: int | None = None
    alias: str | None = None
    num_tx_queues: int | None = None
    num_rx_queues: int | None = None
    operstate: int | None = None
    carrier: int | None = None
    link: int | None = None
    link_netnsid: int | None = None
    netns_fd: int | None = None
    netns_pid: int | None = None
    target_netnsid: int | None = None
    new_ifindex: int | None = None
    kind: str | None = None
    peer: Link | None = None
    bridge: Bridge | None = None
    port: Port | None = None
    options: bytes | None = None
    addr_gen_mode: int | None = None
    family: int = 0
    type: int = 0


_LINK: tuple[Column, ...] = (
    (IFLA_ADDRESS, "mac", BYTES),
    (IFLA_MTU, "mtu", U32),
    (IFLA_LINK, "link", U32),
    (IFLA_MASTER, "master", U32),
    (IFLA_OPERSTATE, "operstate", U8),
    (IFLA_NET_NS_PID, "netns_pid", U32),
    (IFLA_IFALIAS, "alias", STRING),
    (IFLA_GROUP, "group", U32),
    (IFLA_NET_NS_FD, "netns_fd", U32),
    (IFLA_NUM_TX_QUEUES, "num_tx_queues", U32),
    (IFLA_NUM_RX_QUEUES, "num_rx_queues", U32),
    (IFLA_CARRIER, "carrier", U8),
    (IFLA_LINK_NETNSID, "link_netnsid", S32),
    (IFLA_TARGET_NETNSID, "target_netnsid", S32),
    (IFLA_NEW_IFINDEX, "new_ifindex", S32),
)


def _name(ifname: str) -> bytes:
    """IFLA_IFNAME, or IFLA_ALT_IFNAME where the name would not fit."""
    long = len(ifname) >= IFNAMSIZ or len(ifname.encode("utf-8", "surrogateescape")) >= IFNAMSIZ
    return string(IFLA_ALT_IFNAME if long else IFLA_IFNAME, ifname)


def _put_peer(peer: Link) -> bytes:
    if peer.peer is not None:
        raise WireError("a veth's peer has no peer of its own to be made")
    # without NLA_F_NESTED: an ifinfomsg stands before the attributes
    return nested(IFLA_INFO_DATA, attr(VETH_INFO_PEER, put_link(peer)))


def _put_info(link: Link) -> bytes:
    """IFLA_LINKINFO: the kind and what only this kind has. WireError for options of another kind."""
    found = [] if link.kind is None else [string(IFLA_INFO_KIND, link.kind)]
    if link.peer is not None:
        if link.kind != "veth":
            raise WireError(f"a link of kind {link.kind} has no peer")
        found.append(_put_peer(link.peer))
    if link.bridge is not None:
        if link.kind != "bridge":
            raise WireError(f"a link of kind {link.kind} has no bridge options")
        found.append(nested(IFLA_INFO_DATA, put_fields(link.bridge, _BRIDGE)))
    if link.options is not None:
        found.append(nested(IFLA_INFO_DATA, link.options))
    if link.port is not None:
        found.append(string(IFLA_INFO_SLAVE_KIND, "bridge"))
        found.append(nested(IFLA_INFO_SLAVE_DATA, put_fields(link.port, _PORT)))
    return nested(IFLA_LINKINFO, *found) if found else b""


def _put_altnames(altnames: tuple[str, ...]) -> bytes:
    return nested(IFLA_PROP_LIST, *[string(IFLA_ALT_IFNAME, name) for name in altnames])


def put_link(link: Link) -> bytes:
    """ifinfomsg and attributes. WireError when options do not belong to the kind, or do not fit."""
    found = _IFINFOMSG.pack(link.family, link.type, link.ifindex, link.flags, link.change)
    found += (b"" if link.ifname is None else _name(link.ifname)) + put_fields(link, _LINK)
    if link.altnames:
        found += _put_altnames(link.altnames)
    if link.addr_gen_mode is not None:
        mode = u8(IFLA_INET6_ADDR_GEN_MODE, link.addr_gen_mode)
        found += nested(IFLA_AF_SPEC, nested(_AF_INET6, mode))
    return found + _put_info(link)


def _get_peer(data: bytes, inner: bool) -> Link | None:
    found = attrs(data).get(VETH_INFO_PEER)
    if found is None:
        return None
    if inner:  # else hostile bytes could nest until Python's stack ends
        raise WireError("a veth's peer within a peer")
    return _get_link(found, inner=True)


def _get_info(data: bytes, inner: bool) -> dict[str, Any]:
    found = attrs(data)
    fields: dict[str, Any] = {}
    kind = found.get(IFLA_INFO_KIND)
    if kind is not None:
        fields["kind"] = get_string(kind)
    options = found.get(IFLA_INFO_DATA)
    if options is not None and fields.get("kind") == "veth":
        fields["peer"] = _get_peer(options, inner)
    if options is not None and fields.get("kind") == "bridge":
        fields["bridge"] = Bridge(**get_fields(attrs(options), _BRIDGE))
    if options is not None and fields.get("kind") in ("macvlan", "ipvlan", "vrf"):
        fields["options"] = bytes(options)
    port = found.get(IFLA_INFO_SLAVE_DATA)
    if port is not None and get_string(found.get(IFLA_INFO_SLAVE_KIND, b"")) == "bridge":
        fields["port"] = Port(**get_fields(attrs(port), _PORT))
    return fields


def _get_addr_gen_mode(data: bytes) -> int | None:
    inet6 = attrs(data).get(_AF_INET6)
    mode = attrs(inet6).get(IFLA_INET6_ADDR_GEN_MODE) if inet6 is not None else None
    return None if mode is None else get_u8(mode)


def _get_altnames(found: dict[int, bytes]) -> tuple[str, ...]:
    names = found.get(IFLA_PROP_LIST, b"")
    return tuple([get_string(v) for k, v in iter_attrs(names) if k == IFLA_ALT_IFNAME])


def _get_link(data: bytes, inner: bool, inet6: bool = True) -> Link:
    (family, arphrd, ifindex, flags, change), found = split(data, _IFINFOMSG)
    fields = get_fields(found, _LINK)
    ifname = found.get(IFLA_IFNAME, found.get(IFLA_ALT_IFNAME))
    if ifname is not None:
        fields["ifname"] = get_string(ifname)
    if IFLA_PROP_LIST in found:
        fields["altnames"] = _get_altnames(found)
    if IFLA_LINKINFO in found:
        fields.update(_get_info(found[IFLA_LINKINFO], inner))
    # a bridge's notice holds the port here, and its IFLA_AF_SPEC VLANs, not address families
    if family == _AF_BRIDGE:
        if IFLA_PROTINFO in found:
            fields["port"] = Port(**get_fields(attrs(found[IFLA_PROTINFO]), _PORT))
    elif inet6 and IFLA_AF_SPEC in found:
        fields["addr_gen_mode"] = _get_addr_gen_mode(found[IFLA_AF_SPEC])
    return Link(ifindex, flags, change, family=family, type=arphrd, **fields)


def get_link(data: bytes, inet6: bool = True) -> Link:
    """The payload of RTM_NEWLINK or RTM_DELLINK, without ``addr_gen_mode`` unless ``inet6``: what the kernel
    says of IPv6 takes a third of the time of reading it. WireError."""
    return _get_link(data, inner=False, inet6=inet6)


class Counters(Record):
    """What a link has carried since it was made (rtnl_link_stats64, whose further fields nobody here
    asks for). ``dropped`` counts what was fine and for which there was no room or no use."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


def get_counters(data: bytes) -> Counters:
    """The counters in the payload of RTM_NEWLINK, whose Link lacks them: they change with every packet,
    and most readers have no use for them. WireError, also for a bridge's notice, which has none."""
    _, found = split(data, _IFINFOMSG)
    counters = found.get(IFLA_STATS64, b"")
    if len(counters) < _COUNTERS.size:
        raise WireError(f"a link's counters in {len(counters)} bytes")
    return Counters(*_COUNTERS.unpack_from(counters))


def get_link_names(data: bytes) -> tuple[str, str, tuple[str, ...]]:
    """Only name, kind ("" when there is none) and altnames of what get_link() reads. WireError."""
    _, found = split(data, _IFINFOMSG)
    kind = attrs(found.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b"")
    return get_string(found.get(IFLA_IFNAME, b"")), get_string(kind), _get_altnames(found)


def _newborn(link: Link) -> None:
    """A name too long would go as IFLA_ALT_IFNAME, and the kernel would make up another."""
    if link.ifname is not None and len(link.ifname.encode("utf-8", "surrogateescape")) >= IFNAMSIZ:
        raise WireError(f"{link.ifname!r} is longer than {IFNAMSIZ - 1} bytes and cannot name a link")
    if link.altnames:
        raise WireError("the kernel ignores altnames in RTM_NEWLINK: use add_altname()")


def new_link(link: Link, flags: int = NLM_F_CREATE | NLM_F_EXCL) -> Message:
    """Makes a link, with its peer when it is a veth. WireError for a name that the kernel would
    silently replace, for altnames (they have their own message), and as put_link()."""
    _newborn(link)
    if link.peer is not None:
        _newborn(link.peer)
    return RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | flags, put_link(link)


def set_link(link: Link) -> Message:
    """Changes a link found by ifindex or ifname, as ``ip link set`` does. WireError as put_link()."""
    return RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, put_link(link)


def _which(ifindex: int, name: str | None) -> bytes:
    head = _IFINFOMSG.pack(0, 0, ifindex, 0, 0)
    return head if name is None else head + _name(name)


def del_link(ifindex: int = 0, name: str | None = None) -> Message:
    """Deletes the link of that ifindex or name, an altname when longer than 15 bytes. WireError
    when neither is given: the kernel would take it for something else."""
    if not ifindex and not name:
        raise WireError("which link to delete is not said")
    return RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, _which(ifindex, name)


def del_group(group: int) -> Message:
    """Deletes all links of a group at once. WireError for group 0, which is where all others are."""
    if not group:
        raise WireError("group 0 holds every link that has no group")
    return RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, _which(0, None) + u32(IFLA_GROUP, group)


def _asked(target_netnsid: int | None) -> bytes:
    """No IPv6 statistics, which are a quarter of an answer; the namespace of that id instead of the
    socket's."""
    target = b"" if target_netnsid is None else s32(IFLA_TARGET_NETNSID, target_netnsid)
    return u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS) + target


def get_link_request(ifindex: int = 0, name: str | None = None, target_netnsid: int | None = None) -> Message:
    """Asks for one link. WireError when neither ifindex nor name is given."""
    if not ifindex and not name:
        raise WireError("which link to read is not said")
    return RTM_GETLINK, NLM_F_REQUEST, _which(ifindex, name) + _asked(target_netnsid)


def dump_links(target_netnsid: int | None = None, master: int | None = None) -> Message:
    """Asks for all links, of another namespace when its id is given, or for those of one master."""
    ports = b"" if master is None else u32(IFLA_MASTER, master)
    return RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, _which(0, None) + ports + _asked(target_netnsid)


def add_altname(ifname: str, *altnames: str) -> Message:
    """Gives a link further names (``ip link property add``). WireError when they do not fit."""
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND
    return RTM_NEWLINKPROP, flags, _which(0, ifname) + _put_altnames(altnames)


def del_altname(ifname: str, *altnames: str) -> Message:
    """Takes further names away (``ip link property del``). WireError when they do not fit."""
    return RTM_DELLINKPROP, NLM_F_REQUEST | NLM_F_ACK, _which(0, ifname) + _put_altnames(altnames)
