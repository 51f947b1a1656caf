"""What a kernel once answered (fixtures/*.bin, made by record.py) decodes to what was asked of it."""

from __future__ import annotations

import errno
import sys

import pytest

from core.wire import record, world
from weft.core.wire import buffer as wire
from weft.core.wire import inotify as ino
from weft.core.wire import neighbour as nb
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
from weft.core.wire import nsfs, nsid
from weft.core.wire import rtnetlink as rt

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little endian machine")

TABLE = 356353


def frames(name: str) -> list[tuple[int, int, int, bytes]]:
    return [frame for datagram in record.load(name) for frame in wire.frames(datagram)]


def payloads(name: str, kind: int) -> list[bytes]:
    """The dump's payloads; it must have ended as dumps do."""
    found = frames(name)
    (done,) = [frame for frame in found if frame[0] == wire.NLMSG_DONE]
    assert found[-1] == done
    assert wire.get_done(done[3], done[1]) == wire.Ack(0)
    assert {frame[0] for frame in found[:-1]} == {kind}
    return [frame[3] for frame in found[:-1]]


def links() -> dict[str | None, rt.Link]:
    return {link.ifname: link for link in map(rt.get_link, payloads("links", rt.RTM_NEWLINK))}


def test_names_alone_are_those_of_the_whole_link() -> None:
    for payload in payloads("links", rt.RTM_NEWLINK):
        link = rt.get_link(payload)
        assert rt.get_link_names(payload) == (link.ifname, link.kind or "", link.altnames)


def test_a_bridge() -> None:
    found = links()["br0"]
    assert (found.ifindex, found.kind, found.alias) == (10, "bridge", "blue net")
    assert found.mac == bytes.fromhex("020000000010")
    assert found.altnames == ("weft:0123456789abcdef", "another")
    assert found.flags & rt.IFF_UP
    assert (found.mtu, found.group, found.master, found.port, found.type) == (1400, 0, None, None, 1)
    assert found.bridge is not None
    options = found.bridge.forward_delay, found.bridge.ageing_time, found.bridge.stp_state
    assert options == (0, 12300, 0)
    assert found.addr_gen_mode == rt.IN6_ADDR_GEN_MODE_EUI64


def test_a_veth_in_a_bridge() -> None:
    found = links()["h0"]
    assert (found.ifindex, found.kind, found.master, found.group) == (11, "veth", 10, 77)
    assert (found.mtu, found.num_tx_queues, found.num_rx_queues) == (1400, 1, 1)
    assert (found.link, found.link_netnsid, found.peer, found.bridge) == (2, 0, None, None)
    assert found.addr_gen_mode == rt.IN6_ADDR_GEN_MODE_NONE
    assert (found.operstate, found.carrier) == (rt.IF_OPER_DOWN, 0)
    assert found.port is not None
    assert (found.port.hairpin, found.port.mcast_flood, found.port.learning) == (1, 0, 1)
    assert (found.port.flood, found.port.isolated, found.port.state) == (1, 0, 0)


def test_loopback() -> None:
    found = links()["lo"]
    assert (found.ifindex, found.kind, found.mac, found.type) == (1, None, bytes(6), 772)
    assert found.flags == rt.IFF_LOOPBACK
    assert (found.alias, found.altnames, found.link) == (None, (), None)


def test_addresses() -> None:
    found = [rt.get_address(p) for p in payloads("addresses", rt.RTM_NEWADDR)]
    four = rt.Address(10, bytes([10, 1, 2, 1]), 24, bytes([10, 1, 2, 255]), flags=0x80, label="br0")
    flags = rt.IFA_F_NODAD | rt.IFA_F_NOPREFIXROUTE | rt.IFA_F_PERMANENT
    six = rt.Address(10, bytes.fromhex("fd000001000000000000000000000001"), 64, flags=flags)
    assert four in found
    assert six in found


def test_routes() -> None:
    found = [rt.get_route(p)._replace(flags=0) for p in payloads("routes", rt.RTM_NEWROUTE)]
    default = rt.Route(2, gateway=bytes([10, 1, 2, 9]), oif=10, priority=50)
    prohibit = rt.Route(2, bytes([10, 77, 0, 0]), 16, table=TABLE, protocol=87, type=rt.RTN_PROHIBIT)
    own = bytes([10, 1, 2, 1])
    local = rt.Route(
        2, own, 32, oif=10, table=255, protocol=2, scope=rt.RT_SCOPE_HOST, type=rt.RTN_LOCAL, prefsrc=own
    )
    for route in (default, prohibit, local):
        assert route in found


def test_rules() -> None:
    found = [rt.get_rule(p) for p in payloads("rules", rt.RTM_NEWRULE)]
    ours = rt.Rule(2, 5700, iifname="br0", table=TABLE, fwmark=0x100, fwmask=0xFF00, protocol=87)
    assert ours in found
    assert rt.Rule(2, 32766, table=rt.RT_TABLE_MAIN, protocol=rt.RTPROT_KERNEL) in found
    # the kernel leaves a priority of 0 out
    assert rt.Rule(2, table=rt.RT_TABLE_LOCAL, protocol=rt.RTPROT_KERNEL) in found


def switch() -> dict[str | None, bytes]:
    return {rt.get_link(p).ifname: p for p in payloads("switch", rt.RTM_NEWLINK)}


def test_a_bridge_with_spanning_tree() -> None:
    found = rt.get_link(switch()["br0"]).bridge
    assert found is not None
    own = bytes.fromhex("2000020000000010")
    assert found == rt.Bridge(
        stp_state=1, forward_delay=1500, ageing_time=30000, mcast_snooping=1, nf_call_iptables=0,
        vlan_filtering=0, hello_time=150, max_age=2500, priority=8192, root_id=own, bridge_id=own,
        root_port=0, root_path_cost=0, topology_change=0,
    )  # fmt: skip


def test_a_port_and_its_counters() -> None:
    payload = switch()["v0"]
    own = bytes.fromhex("2000020000000010")
    assert rt.get_link(payload).port == rt.Port(
        state=0, hairpin=0, isolated=0, learning=1, flood=1, mcast_flood=1, bcast_flood=1, neigh_suppress=0,
        priority=5, cost=77, guard=1, protect=0, fast_leave=1, root_id=own, bridge_id=own,
        designated_port=0x1401, designated_cost=0, id=0x1401, no=1,
    )  # fmt: skip
    assert rt.get_counters(payload) == rt.Counters(0, 0, 0, 0, 0, 0, 0, 0)


def test_neighbours() -> None:
    found = [nb.get_neighbour(p) for p in payloads("neighbours", nb.RTM_NEWNEIGH)]
    assert None not in [entry.cacheinfo for entry in found]
    plain = [entry._replace(cacheinfo=None) for entry in found]
    nine, eight = bytes([10, 1, 2, 9]), bytes([10, 1, 2, 8])
    mac = bytes.fromhex("020000000099"), bytes.fromhex("020000000088")
    assert nb.Neighbour(10, 2, nine, mac[0], nb.NUD_PERMANENT, type=rt.RTN_UNICAST) in plain
    assert nb.Neighbour(10, 2, eight, mac[1], nb.NUD_STALE, nb.NTF_ROUTER, rt.RTN_UNICAST) in plain


def test_a_mac_table() -> None:
    found = [nb.get_neighbour(p)._replace(cacheinfo=None) for p in payloads("fdb", nb.RTM_NEWNEIGH)]
    by_hand, own = bytes.fromhex("0200000000aa"), bytes.fromhex("020000000011")
    entry = nb.Neighbour(11, rt.AF_BRIDGE, lladdr=by_hand, state=nb.NUD_NOARP, master=10)
    assert entry._replace(flags=nb.NTF_STICKY) in found
    assert entry._replace(lladdr=own, state=nb.NUD_PERMANENT) in found
    assert {bool(other.flags & nb.NTF_SELF) for other in found if other.master is None} <= {True}


def test_ids_of_namespaces() -> None:
    assert [nsid.get_nsid(p) for p in payloads("nsids", nsid.RTM_NEWNSID)] == [nsid.Nsid(3), nsid.Nsid(12)]


def test_the_mounts_of_named_namespaces() -> None:
    *others, blue = map(nsfs.get_statmount, record.load("mounts"))
    (handle,) = map(nsfs.get_handle, record.load("handle"))
    (place,) = map(nsfs.get_mnt_ns_info, record.load("mnt_ns_info"))
    assert (blue.fs_type, blue.mnt_point) == ("nsfs", "/run/netns/blue")
    assert blue.mnt_root == f"net:[{handle.ns_inum}]"
    assert handle.ns_type == 0x40000000
    assert nsfs.put_handle(handle) == record.load("handle")[0]
    assert {mount.mnt_ns_id for mount in (*others, blue)} == {place.mnt_ns_id}
    assert ("tmpfs", "/", "/run") in [(m.fs_type, m.mnt_root, m.mnt_point) for m in others]
    assert blue.mnt_parent_id in [mount.mnt_id for mount in others]
    assert blue.mnt_propagation == 1 << 20
    assert blue.sb_source is None


def test_processes() -> None:
    running, ended = map(nsfs.get_pidfd_info, record.load("processes"))
    assert running.pid == running.tgid != running.ppid
    assert (running.ruid, running.rgid, running.euid, running.egid, running.exit_code) == (0, 0, 0, 0, None)
    assert (ended.pid, ended.ruid, ended.exit_code) == (None, None, 3 << 8)


def test_names_that_come_and_go() -> None:
    (data,) = record.load("inotify")
    assert list(ino.get_events(data)) == [
        ino.Event(1, ino.IN_CREATE, 0, "blue"),
        ino.Event(1, ino.IN_DELETE, 0, "green"),
    ]


def test_a_refusal_with_the_whole_request_in_it() -> None:
    ((kind, flags, seq, payload),) = frames("refusal")
    assert (kind, seq) == (wire.NLMSG_ERROR, 1)
    assert not flags & wire.NLM_F_CAPPED
    ack = wire.get_ack(payload, flags)
    assert (ack.errno, ack.text) == (errno.EOPNOTSUPP, "Unknown device type")


def test_nft_rules() -> None:
    found = [nf.get_rule(p) for p in payloads("nft_rules", 0xA06)]
    assert [(r.family, r.chain, r.comment) for r in found] == [
        (r.family, r.chain, r.comment) for r in world.RULES
    ]
    assert not [e for r in found for e in r.expressions if isinstance(e, ex.Unknown)]
    assert found[0].expressions == world.RULES[0].expressions


def test_nft_sets() -> None:
    found = {item.name: item for item in map(nf.get_set, payloads("nft_sets", 0xA09))}
    assert set(found) == {item.name for item in world.SETS if item.family == nf.NFPROTO_INET}
    own = found["own"]
    assert (own.flags, own.concat, own.key_len) == (world.INTERVAL_CONCAT, (16, 4), 20)
    assert found["bridges"].comment == "every bridge"
    assert found["bridges"].userdata is None
    assert found["doors"].data_type == nf.NFT_DATA_VERDICT


def test_nft_elements() -> None:
    # empty messages end a dump
    answers = [nf.get_elements(p) for p in payloads("nft_elements", 0xA0C)]
    assert {(a.family, a.table, a.set) for a in answers} == {(nf.NFPROTO_INET, "weft", "publish4")}
    assert tuple([e for a in answers for e in a.elements]) == world.ELEMENTS["publish4"]
