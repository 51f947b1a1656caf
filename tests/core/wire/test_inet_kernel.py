"""Addresses, routes and rules as the kernel takes them, seen through iproute2."""

from __future__ import annotations

import errno
import socket

import pytest

from core.wire.sandbox import Kernel, command, ip, new_netns, sandboxed
from weft.core.wire import buffer as wire
from weft.core.wire import rtnetlink as rt

TABLE = 0x57001
PROTO = 87


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def prepared(kernel: Kernel) -> int:
    """A bridge, up, and its index."""
    kernel.do(rt.new_link(rt.Link(ifname="br0", kind="bridge", flags=rt.IFF_UP, change=rt.IFF_UP)))
    return socket.if_nametoindex("br0")


@sandboxed
def test_an_ipv4_address() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        asked = rt.Address(index, packed("10.1.2.1"), 24, broadcast=packed("10.1.2.255"), label="br0:w")
        kernel.do(rt.new_address(asked))
        ((found,),) = [row["addr_info"] for row in ip("-4 addr show dev br0")]
        seen = {k: found[k] for k in ("local", "prefixlen", "broadcast", "scope", "label")}
        (back,) = [rt.get_address(p) for p in kernel.ask(rt.dump_addresses(rt.AF_INET))]
        kernel.do(rt.del_address(asked))
    broadcast = {"broadcast": "10.1.2.255", "label": "br0:w"}
    assert seen == {"local": "10.1.2.1", "prefixlen": 24, "scope": "global", **broadcast}
    assert back == asked._replace(flags=rt.IFA_F_PERMANENT)
    assert ip("-4 addr show dev br0") == []


@sandboxed
def test_an_ipv6_address_without_dad_or_route() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        flags = rt.IFA_F_NODAD | rt.IFA_F_NOPREFIXROUTE
        kernel.do(rt.new_address(rt.Address(index, packed("fd00:5::1"), 64, flags=flags)))
        (row,) = ip("-6 addr show dev br0 scope global")
        # iproute2 leaves empty objects for what it filters out
        back = [rt.get_address(p) for p in kernel.ask(rt.dump_addresses(rt.AF_INET6))]
    (found,) = [entry for entry in row["addr_info"] if entry]
    assert (found["local"], found["prefixlen"]) == ("fd00:5::1", 64)
    assert found["nodad"] is True
    assert found["noprefixroute"] is True
    assert "tentative" not in found
    (ours,) = [a for a in back if a.address == packed("fd00:5::1")]
    assert ours == rt.Address(index, packed("fd00:5::1"), 64, flags=flags | rt.IFA_F_PERMANENT)


@sandboxed
def test_a_point_to_point_address_and_a_scope() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        asked = rt.Address(
            index, packed("10.9.0.1"), 32, peer=packed("10.9.0.2"), scope=rt.RT_SCOPE_LINK, label="br0"
        )
        kernel.do(rt.new_address(asked))
        ((found,),) = [row["addr_info"] for row in ip("-4 addr show dev br0")]
        (back,) = [rt.get_address(p) for p in kernel.ask(rt.dump_addresses(rt.AF_INET))]
    assert (found["local"], found["address"], found["scope"]) == ("10.9.0.1", "10.9.0.2", "link")
    assert back == asked._replace(flags=rt.IFA_F_PERMANENT)


@sandboxed
def test_addresses_of_another_namespace_by_its_id() -> None:
    netns = new_netns()
    with Kernel(strict=True) as kernel:
        peer = rt.Link(ifname="eth0", netns_fd=netns)
        kernel.do(rt.new_link(rt.Link(ifname="h", kind="veth", peer=peer)))
        command("ip", "addr", "add", "10.3.0.2/24", "dev", "eth0", netns=netns)
        (payload,) = kernel.ask(rt.get_link_request(name="h"))
        nsid = rt.get_link(payload).link_netnsid
        found = [rt.get_address(p) for p in kernel.ask(rt.dump_addresses(rt.AF_INET, nsid))]
        here = kernel.ask(rt.dump_addresses(rt.AF_INET))
    assert [(a.address, a.label) for a in found] == [(packed("10.3.0.2"), "eth0")]
    assert here == []


@sandboxed
def test_routes_of_both_families() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        kernel.do(rt.new_address(rt.Address(index, packed("10.1.2.1"), 24)))
        four = rt.Route(2, gateway=packed("10.1.2.9"), oif=index, prefsrc=packed("10.1.2.1"), priority=50)
        six = rt.Route(10, packed("fd00:9::"), 48, oif=index, priority=77, protocol=PROTO)
        kernel.do(rt.new_route(four), rt.new_route(six))
        (default,) = ip("-4 route show default")
        (wide,) = ip("-6 route show fd00:9::/48")
        back = [rt.get_route(p) for p in kernel.ask(rt.dump_routes(rt.AF_INET))]
        back6 = [rt.get_route(p) for p in kernel.ask(rt.dump_routes(rt.AF_INET6))]
        kernel.do(rt.del_route(four), rt.del_route(six))
    seen = {k: default[k] for k in ("gateway", "dev", "prefsrc", "metric", "protocol")}
    assert seen == {
        "gateway": "10.1.2.9", "dev": "br0", "prefsrc": "10.1.2.1", "metric": 50, "protocol": "boot"
    }  # fmt: skip
    assert (wide["dev"], wide["metric"], wide["protocol"]) == ("br0", 77, str(PROTO))
    # flags tell of the bridge's carrier, which comes and goes
    assert four in [route._replace(flags=0) for route in back]
    assert six in [route._replace(flags=0) for route in back6]
    assert ip("-4 route show default") == ip("-6 route show fd00:9::/48") == []


@pytest.mark.parametrize("kind", ["prohibit", "throw", "blackhole", "unreachable"])
@sandboxed
def test_a_refusing_route_in_a_table_of_its_own(kind: str) -> None:
    number = {"prohibit": 8, "throw": 9, "blackhole": 6, "unreachable": 7}[kind]
    route = rt.Route(2, packed("10.77.0.0"), 16, table=TABLE, protocol=PROTO, type=number)
    with Kernel(strict=True) as kernel:
        kernel.do(rt.new_route(route))
        (found,) = ip(f"route show table {TABLE}")
        (back,) = kernel.ask(rt.dump_routes(rt.AF_INET, TABLE))
        assert kernel.acks([rt.new_route(route)])[0].errno == errno.EEXIST
        other = route._replace(protocol=PROTO + 1)
        assert kernel.acks([rt.del_route(other)])[0].errno == errno.ESRCH
        kernel.do(rt.del_route(route))
        assert ip(f"route show table {TABLE}") == []
    assert (found["type"], found["dst"], found["protocol"]) == (kind, "10.77.0.0/16", str(PROTO))
    assert rt.get_route(back) == route


@sandboxed
def test_a_dump_fails_in_its_last_message() -> None:
    """A dump of a table that is not there: the error stands in NLMSG_DONE, not in NLMSG_ERROR."""
    kind, flags, payload = rt.dump_routes(rt.AF_INET, TABLE)
    with Kernel(strict=True) as kernel:
        (answer,) = kernel.exchange(wire.frame(kind, flags, 1, payload))
    assert answer.kind == wire.NLMSG_DONE
    ack = wire.get_done(answer.payload, answer.flags)
    assert (ack.errno, ack.text) == (errno.ENOENT, "ipv4: FIB table does not exist")


@sandboxed
def test_a_small_table_and_onlink() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        kernel.do(rt.new_address(rt.Address(index, packed("10.1.2.1"), 24)))
        far = rt.Route(2, gateway=packed("192.0.2.1"), oif=index, table=100, flags=rt.RTNH_F_ONLINK)
        kernel.do(rt.new_route(far))
    (found,) = ip("route show table 100")
    assert found["gateway"] == "192.0.2.1"
    assert "onlink" in found["flags"]


@sandboxed
def test_rules_with_everything() -> None:
    rule = rt.Rule(
        2,
        priority=5700,
        iifname="br0",
        oifname="eth9",
        src=packed("10.1.0.0"),
        src_len=16,
        dst=packed("10.2.3.0"),
        dst_len=24,
        table=TABLE,
        fwmark=0x100,
        fwmask=0xFF00,
        protocol=PROTO,
    )
    with Kernel() as kernel:
        kernel.do(rt.new_rule(rule))
        (found,) = [row for row in ip("rule") if row["priority"] == 5700]
        back = [rt.get_rule(p) for p in kernel.ask(rt.dump_rules(rt.AF_INET))]
        assert kernel.acks([rt.new_rule(rule)])[0].errno == errno.EEXIST
        kernel.do(rt.del_rule(rule))
    assert found["iif"] == "br0"
    assert found["oif"] == "eth9"
    assert (found["src"], found["srclen"], found["dst"], found["dstlen"]) == ("10.1.0.0", 16, "10.2.3.0", 24)
    assert (found["fwmark"], found["fwmask"]) == ("0x100", "0xff00")
    assert (found["table"], found["protocol"]) == (str(TABLE), str(PROTO))
    # there is no br0 and no eth9: FIB_RULE_IIF_DETACHED, FIB_RULE_OIF_DETACHED
    assert rule._replace(flags=0x18) in back
    assert {row["priority"] for row in ip("rule")} == {0, 32766, 32767}


@sandboxed
def test_a_rule_for_packets_without_a_mark() -> None:
    rule = rt.Rule(2, priority=5701, iifname="lo", table=100, fwmark=0, fwmask=0x01000000)
    with Kernel() as kernel:
        kernel.do(rt.new_rule(rule))
        back = [rt.get_rule(p) for p in kernel.ask(rt.dump_rules(rt.AF_INET))]
    (found,) = [row for row in ip("rule") if row["priority"] == 5701]
    assert (found["fwmark"], found["fwmask"]) == ("0", "0x1000000")
    assert rule._replace(fwmark=None, protocol=rt.RTPROT_UNSPEC) in back


@pytest.mark.parametrize("family", ["-4", "-6"])
@sandboxed
def test_a_prohibiting_rule(family: str) -> None:
    number = rt.AF_INET if family == "-4" else rt.AF_INET6
    with Kernel() as kernel:
        kernel.do(rt.new_rule(rt.Rule(number, priority=99, iifname="lo", action=rt.FR_ACT_PROHIBIT)))
    (found,) = [row for row in ip(f"{family} rule") if row["priority"] == 99]
    assert found["action"] == "prohibit"


@sandboxed
def test_a_refused_gateway_says_why() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        (ack,) = kernel.acks([rt.new_route(rt.Route(2, gateway=packed("10.1.2.9"), oif=index))])
    assert (ack.errno, ack.text) == (errno.ENETUNREACH, "Nexthop has invalid gateway")
