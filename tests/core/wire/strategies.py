"""Every record of the wire that its codec can represent, for hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from core.wire import written
from weft.core.record import Record
from weft.core.wire import ctnetlink as ct
from weft.core.wire import inotify as ino
from weft.core.wire import neighbour as nb
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
from weft.core.wire import nsfs, nsid
from weft.core.wire import rtnetlink as rt
from weft.core.wire.buffer import attr
from weft.core.wire.nft_data import Verdict

Codec = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
S32 = st.integers(-(1 << 31), (1 << 31) - 1)
U64 = st.integers(0, (1 << 64) - 1)
#: Any bytes but NUL: names and comments in the kernel are not always UTF-8.
TEXT = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
DATA = st.binary(max_size=64)
BRIDGE_ID = st.binary(min_size=8, max_size=8)
ADDRESS = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def record(cls: type[Record], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The record with exactly these fields drawn, all of them named."""
    assert set(fields) == set(cls._fields), set(fields) ^ set(cls._fields)
    return st.builds(cls, **fields)


BRIDGES = record(
    rt.Bridge,
    stp_state=maybe(U32),
    forward_delay=maybe(U32),
    ageing_time=maybe(U32),
    mcast_snooping=maybe(U8),
    nf_call_iptables=maybe(U8),
    vlan_filtering=maybe(U8),
    default_pvid=maybe(U16),
    hello_time=maybe(U32),
    max_age=maybe(U32),
    priority=maybe(U16),
    root_id=maybe(BRIDGE_ID),
    bridge_id=maybe(BRIDGE_ID),
    root_port=maybe(U16),
    root_path_cost=maybe(U32),
    topology_change=maybe(U8),
)
_PORT_NUMBERS = dict.fromkeys(("priority", "designated_port", "designated_cost", "id", "no"), maybe(U16))
_PORT_IDS = dict.fromkeys(("root_id", "bridge_id"), maybe(BRIDGE_ID))
PORTS = record(
    rt.Port, **{**dict.fromkeys(rt.Port._fields, maybe(U8)), "cost": maybe(U32), **_PORT_NUMBERS, **_PORT_IDS}
)
_PLAIN_LINK: dict[str, st.SearchStrategy[Any]] = {
    "ifindex": S32,
    "flags": U32,
    "change": U32,
    "ifname": maybe(TEXT),
    "altnames": st.lists(TEXT, max_size=3).map(tuple),
    "mac": maybe(st.binary(max_size=20)),
    "mtu": maybe(U32),
    "master": maybe(U32),
    "group": maybe(U32),
    "alias": maybe(TEXT),
    "num_tx_queues": maybe(U32),
    "num_rx_queues": maybe(U32),
    "operstate": maybe(U8),
    "carrier": maybe(U8),
    "link": maybe(U32),
    "link_netnsid": maybe(S32),
    "netns_fd": maybe(U32),
    "netns_pid": maybe(U32),
    "target_netnsid": maybe(S32),
    "new_ifindex": maybe(S32),
    "kind": maybe(TEXT.filter(lambda kind: kind not in ("veth", "bridge"))),
    "peer": st.none(),
    "bridge": st.none(),
    "port": maybe(PORTS),
    "addr_gen_mode": maybe(U8),
    "options": st.none(),
    "family": st.sampled_from((0, 2, 10)),
    "type": U16,
}
_PEERS = record(rt.Link, **_PLAIN_LINK)
LINKS = st.one_of(
    _PEERS,
    record(rt.Link, **{**_PLAIN_LINK, "kind": st.just("veth"), "peer": maybe(_PEERS)}),
    record(rt.Link, **{**_PLAIN_LINK, "kind": st.just("bridge"), "bridge": maybe(BRIDGES)}),
    record(rt.Link, **{**_PLAIN_LINK, "family": st.just(7), "addr_gen_mode": st.none()}),
)
ADDRESSES = record(
    rt.Address,
    ifindex=U32,
    address=ADDRESS,
    prefixlen=U8,
    broadcast=maybe(ADDRESS),
    scope=U8,
    flags=U32,
    label=maybe(TEXT),
    peer=maybe(ADDRESS),
).map(lambda a: a._replace(peer=None) if a.peer == a.address else a)
ROUTES = record(
    rt.Route,
    family=U8,
    dst=maybe(ADDRESS),
    dst_len=U8,
    gateway=maybe(ADDRESS),
    oif=maybe(U32),
    table=U32,
    protocol=U8,
    scope=U8,
    type=U8,
    prefsrc=maybe(ADDRESS),
    priority=maybe(U32),
    flags=U32,
)
RULES = record(
    rt.Rule,
    family=U8,
    priority=maybe(U32),
    iifname=maybe(TEXT),
    oifname=maybe(TEXT),
    src=maybe(ADDRESS),
    src_len=U8,
    dst=maybe(ADDRESS),
    dst_len=U8,
    table=U32,
    action=U8,
    fwmark=maybe(U32),
    fwmask=maybe(U32),
    protocol=maybe(U8),
    flags=U32,
)
NSIDS = record(
    nsid.Nsid,
    nsid=maybe(S32),
    pid=maybe(U32),
    fd=maybe(U32),
    target_nsid=maybe(S32),
    current_nsid=maybe(S32),
)
NEIGHBOURS = record(
    nb.Neighbour,
    ifindex=S32,
    family=U8,
    dst=maybe(ADDRESS),
    lladdr=maybe(st.binary(max_size=20)),
    state=U16,
    flags=U8,
    type=U8,
    vlan=maybe(U16),
    master=maybe(U32),
    cacheinfo=maybe(record(nb.CacheInfo, **dict.fromkeys(nb.CacheInfo._fields, U32))),
    ext_flags=U32,
)
HANDLES = record(nsfs.NsfsHandle, ns_id=U64, ns_type=U32, ns_inum=U32)


def masked(cls: type[Record], parts: dict[int, dict[str, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Any]:
    """The record with some of these parts, whose bits its mask says; other bits mean nothing to us."""
    others = U64.map(lambda mask: mask & ~sum(parts))

    def drawn(bits: list[int], other: int) -> st.SearchStrategy[Any]:
        fields = {name: drawn for bit in bits for name, drawn in parts[bit].items()}
        rest = {name: st.none() for part in parts.values() for name in part if name not in fields}
        return record(cls, mask=st.just(other | sum(bits)), **fields, **rest)

    bits = st.lists(st.sampled_from(sorted(parts)), unique=True)
    return st.tuples(bits, others).flatmap(lambda both: drawn(*both))


MOUNTS = masked(
    nsfs.StatMount,
    {
        nsfs.STATMOUNT_MNT_BASIC: {
            **dict.fromkeys(("mnt_id", "mnt_parent_id", "mnt_propagation", "mnt_peer_group"), U64),
            "mnt_id_old": U32,
            "mnt_master": U64,
        },
        nsfs.STATMOUNT_MNT_ROOT: {"mnt_root": TEXT},
        nsfs.STATMOUNT_MNT_POINT: {"mnt_point": TEXT},
        nsfs.STATMOUNT_FS_TYPE: {"fs_type": TEXT},
        nsfs.STATMOUNT_MNT_NS_ID: {"mnt_ns_id": U64},
        nsfs.STATMOUNT_SB_SOURCE: {"sb_source": TEXT},
    },
)
PROCESSES = masked(
    nsfs.PidfdInfo,
    {
        nsfs.PIDFD_INFO_PID: dict.fromkeys(("pid", "tgid", "ppid"), U32),
        nsfs.PIDFD_INFO_CREDS: dict.fromkeys(("ruid", "rgid", "euid", "egid"), U32),
        nsfs.PIDFD_INFO_CGROUPID: {"cgroupid": U64},
        nsfs.PIDFD_INFO_EXIT: {"exit_code": S32},
    },
)
MNT_NAMESPACES = record(nsfs.MntNsInfo, nr_mounts=U32, mnt_ns_id=U64)


def tuples(size: int) -> st.SearchStrategy[Any]:
    address = st.binary(min_size=size, max_size=size)
    return record(ct.Tuple, src=address, dst=address, proto=U8, sport=U16, dport=U16)


CONNECTIONS = st.sampled_from((4, 16)).flatmap(
    lambda size: record(
        ct.Connection,
        original=tuples(size),
        reply=tuples(size),
        id=st.binary(max_size=4),
        zone=st.binary(max_size=2),
    )
)
IDS = st.lists(U64, max_size=9).map(tuple)
COUNTERS = record(rt.Counters, **dict.fromkeys(rt.Counters._fields, U64))
EVENTS = st.lists(record(ino.Event, wd=S32, mask=U32, cookie=U32, name=TEXT), max_size=5)

VERDICTS = record(Verdict, code=S32, chain=maybe(TEXT))
_REG = maybe(U32)
_STRANGE = ("log", "range", "objref", "xfrm", "")
UNKNOWN = st.one_of(
    record(ex.Unknown, name=st.sampled_from(_STRANGE), data=maybe(DATA)),
    # an attribute that is not known here makes a known expression Unknown
    record(ex.Unknown, name=st.just("meta"), data=DATA.map(lambda data: attr(99, data))),
    record(ex.Unknown, name=st.just("payload"), data=st.none()),
)
_FIELDS: dict[type[Record], dict[str, st.SearchStrategy[Any]]] = {
    ex.Meta: {"key": U32, "dreg": _REG, "sreg": _REG},
    ex.Payload: {
        **dict.fromkeys(("base", "offset", "length", "csum_type", "csum_offset", "csum_flags"), U32),
        **{"dreg": _REG, "sreg": _REG},
    },
    ex.Cmp: {"op": U32, "sreg": U32, "data": DATA},
    ex.Bitwise: {
        **dict.fromkeys(("sreg", "dreg", "length", "op"), U32),
        **dict.fromkeys(("mask", "xor", "data"), maybe(DATA)),
    },
    ex.Lookup: {"set": TEXT, "sreg": U32, "dreg": _REG, "flags": U32, "set_id": _REG},
    ex.Immediate: {"dreg": U32, "data": DATA | VERDICTS},
    ex.Nat: {
        **dict.fromkeys(("type", "family", "flags"), U32),
        **dict.fromkeys(("reg_addr", "reg_addr_max", "reg_proto", "reg_proto_max"), _REG),
    },
    ex.Masq: {"flags": U32, "reg_proto": _REG, "reg_proto_max": _REG},
    ex.Redir: {"reg_proto": _REG, "reg_proto_max": _REG, "flags": U32},
    ex.Fib: dict.fromkeys(("dreg", "result", "flags"), U32),
    ex.Ct: {"key": U32, "dreg": _REG, "sreg": _REG, "direction": maybe(U8)},
    ex.Exthdr: {
        **dict.fromkeys(("offset", "length", "op", "flags"), U32),
        **{"type": U8, "dreg": _REG, "sreg": _REG},
    },
    ex.Notrack: {},
    ex.Rt: dict.fromkeys(("dreg", "key"), U32),
    ex.Byteorder: dict.fromkeys(("sreg", "dreg", "op", "length", "size"), U32),
    ex.Counter: {"packets": U64, "bytes": U64},
    ex.Reject: {"type": U32, "code": maybe(U8)},
    ex.Limit: {"rate": U64, "unit": U64, "burst": U32, "type": U32, "flags": U32},
}
EXPRESSIONS = st.one_of(UNKNOWN, *[record(cls, **fields) for cls, fields in _FIELDS.items()])

TABLES = record(nf.Table, family=U8, name=TEXT, flags=U32, comment=maybe(TEXT), handle=maybe(U64))
_CHAIN: dict[str, st.SearchStrategy[Any]] = {
    "family": U8,
    "table": TEXT,
    "name": TEXT,
    "hook": U32,
    "priority": maybe(S32),
    "type": maybe(TEXT),
    "policy": maybe(U32),
    "comment": maybe(TEXT),
    "device": maybe(TEXT),
    "handle": maybe(U64),
}
_NO_HOOK = dict.fromkeys(("hook", "priority", "device"), st.none())
CHAINS = record(nf.Chain, **_CHAIN) | record(nf.Chain, **{**_CHAIN, **_NO_HOOK})
#: TLVs that are neither the comment nor what None stands for.
_UDATA = st.lists(st.tuples(st.integers(8, 255), st.binary(max_size=20)), max_size=3)
_USERDATA = _UDATA.map(lambda items: b"".join([bytes((kind, len(v))) + v for kind, v in items]))
SETS = record(
    nf.Set,
    family=U8,
    table=TEXT,
    name=TEXT,
    flags=U32,
    key_type=U32,
    key_len=U32,
    data_type=maybe(U32),
    data_len=maybe(U32),
    set_id=maybe(U32),
    concat=st.lists(U32, max_size=5).map(tuple),
    comment=maybe(TEXT),
    userdata=maybe(_USERDATA),
    handle=maybe(U64),
    size=maybe(U32),
)
NFT_RULES = record(
    nf.RuleDef,
    family=U8,
    table=TEXT,
    chain=TEXT,
    expressions=st.lists(EXPRESSIONS, max_size=6).map(tuple),
    comment=maybe(TEXT),
    handle=maybe(U64),
    position=maybe(U64),
)
ELEMENTS = record(
    nf.Element,
    key=DATA,
    key_end=maybe(DATA),
    data=maybe(DATA | VERDICTS),
    flags=U32,
    comment=maybe(TEXT),
)
ELEMENT_LISTS = record(
    nf.Elements, family=U8, table=TEXT, set=TEXT, elements=st.lists(ELEMENTS, max_size=4).map(tuple)
)

CODECS: dict[str, tuple[st.SearchStrategy[Any], Codec]] = {
    "connection": (CONNECTIONS, (ct.put_connection, ct.get_connection)),
    "link": (LINKS, (rt.put_link, rt.get_link)),
    "address": (ADDRESSES, (rt.put_address, rt.get_address)),
    "route": (ROUTES, (rt.put_route, rt.get_route)),
    "rule": (RULES, (rt.put_rule, rt.get_rule)),
    "nsid": (NSIDS, (nsid.put_nsid, nsid.get_nsid)),
    "neighbour": (NEIGHBOURS, (nb.put_neighbour, nb.get_neighbour)),
    "nsfs_handle": (HANDLES, (nsfs.put_handle, nsfs.get_handle)),
    "statmount": (MOUNTS, (written.statmount, nsfs.get_statmount)),
    "pidfd_info": (PROCESSES, (written.pidfd_info, nsfs.get_pidfd_info)),
    "mnt_ns_info": (MNT_NAMESPACES, (written.mnt_ns_info, nsfs.get_mnt_ns_info)),
    "ids": (IDS, (written.ids, nsfs.get_ids)),
    "counters": (COUNTERS, (written.counters, rt.get_counters)),
    "events": (EVENTS, (written.events, lambda data: list(ino.get_events(data)))),
    "expr": (EXPRESSIONS, (ex.put_expr, ex.get_expr)),
    "table": (TABLES, (nf.put_table, nf.get_table)),
    "chain": (CHAINS, (nf.put_chain, nf.get_chain)),
    "set": (SETS, (nf.put_set, nf.get_set)),
    "nft_rule": (NFT_RULES, (nf.put_rule, nf.get_rule)),
    "element": (ELEMENTS, (nf.put_element, nf.get_element)),
    "elements": (ELEMENT_LISTS, (nf.put_elements, nf.get_elements)),
}
