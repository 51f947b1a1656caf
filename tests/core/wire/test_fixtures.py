"""What a kernel once answered (fixtures/*.bin, made by record.py) decodes to what was asked of it."""

from __future__ import annotations

import errno
import sys

import pytest

from core.wire import record, world
from weft.core.wire import buffer as wire
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
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
