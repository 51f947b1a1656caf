"""Links as the kernel takes them, seen through iproute2, in throw-away namespaces."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from typing import Any

import pytest

from core.wire.sandbox import Kernel, ip, new_netns, process_in, sandboxed
from weft.core.model.errors import WireError
from weft.core.wire import buffer as wire
from weft.core.wire import rtnetlink as rt

MAC, PEER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
MARK = "weft:0123456789abcdef"
UP = rt.IFF_UP


def link(name: str, netns: int | None = None) -> dict[str, Any]:
    (found,) = ip(f"link show dev {name}", netns)
    return found


def veth(name: str, **fields: Any) -> rt.Link:
    return rt.Link(ifname=name, kind="veth", peer=rt.Link(ifname=f"{name}p"), **fields)


def bridge(name: str) -> tuple[int, int, bytes]:
    return rt.new_link(rt.Link(ifname=name, kind="bridge", flags=UP, change=UP))


def attach(netns: int, master: int) -> rt.Link:
    """The one message by which a container is plugged in."""
    queues: dict[str, Any] = {"num_tx_queues": 1, "num_rx_queues": 1}
    peer = rt.Link(ifname="eth0", mac=PEER_MAC, mtu=1400, netns_fd=netns, **queues)
    up: dict[str, Any] = {"flags": UP, "change": UP}
    return rt.Link(
        ifname="h", kind="veth", mac=MAC, mtu=1400, master=master, group=77, peer=peer, **up, **queues
    )


@sandboxed
def test_one_message_makes_a_veth_and_its_peer_in_another_namespace() -> None:
    netns = new_netns()
    with Kernel() as kernel:
        kernel.do(bridge("br0"))
        kernel.do(rt.new_link(attach(netns, socket.if_nametoindex("br0"))))
    host, peer = link("h"), link("eth0", netns)
    assert host["master"] == "br0"
    assert "UP" in host["flags"]
    assert (host["address"], host["mtu"], host["group"]) == ("02:00:00:00:00:01", 1400, "77")
    assert (host["num_tx_queues"], host["num_rx_queues"]) == (1, 1)
    assert host["linkinfo"]["info_kind"] == "veth"
    assert "UP" not in peer["flags"]
    assert (peer["address"], peer["mtu"], peer["ifindex"]) == ("02:00:00:00:00:02", 1400, 2)
    assert (peer["num_tx_queues"], peer["num_rx_queues"]) == (1, 1)


@sandboxed
def test_the_peer_reads_back_with_its_namespace() -> None:
    netns = new_netns()
    with Kernel() as kernel:
        kernel.do(bridge("br0"))
        kernel.do(rt.new_link(attach(netns, socket.if_nametoindex("br0"))))
        (payload,) = kernel.ask(rt.get_link_request(name="h"))
        nsid = rt.get_link(payload).link_netnsid
        assert nsid is not None
        there = {found.ifname: found for found in map(rt.get_link, kernel.ask(rt.dump_links(nsid)))}
    here = rt.get_link(payload)
    assert (here.kind, here.link, here.mac, here.group) == ("veth", 2, MAC, 77)
    assert here.port is not None
    assert there["eth0"].mac == PEER_MAC
    assert there["eth0"].target_netnsid == nsid
    assert there["lo"].flags & rt.IFF_LOOPBACK


@sandboxed
def test_bridge_options() -> None:
    times: dict[str, Any] = {"forward_delay": 0, "ageing_time": 12300}
    asked = rt.Bridge(stp_state=0, mcast_snooping=0, nf_call_iptables=1, **times)
    with Kernel() as kernel:
        kernel.do(rt.new_link(rt.Link(ifname="br0", kind="bridge", mtu=9000, bridge=asked)))
        (payload,) = kernel.ask(rt.get_link_request(name="br0"))
    data = link("br0")["linkinfo"]["info_data"]
    names = [name for name in rt.Bridge._fields if getattr(asked, name) is not None]
    wanted = {name: getattr(asked, name) for name in names}
    assert {name: data[name] for name in names} == wanted
    back = rt.get_link(payload).bridge
    assert {name: getattr(back, name) for name in names} == wanted
    assert link("br0")["mtu"] == 9000


@sandboxed
def test_vlan_filtering_as_iproute2_sets_it() -> None:
    """Kernels without VLAN filtering refuse both."""
    words = ["ip", "link", "add", "br0", "type", "bridge", "vlan_filtering", "1"]
    theirs = subprocess.run(words, capture_output=True, check=False).returncode
    asked = rt.Link(ifname="br1", kind="bridge", bridge=rt.Bridge(vlan_filtering=1))
    with Kernel() as kernel:
        (ours,) = kernel.acks([rt.new_link(asked)])
    assert ours.errno == (errno.EOPNOTSUPP if theirs else 0)
    if not theirs:
        assert link("br1")["linkinfo"]["info_data"]["vlan_filtering"] == 1


@sandboxed
def test_a_bridge_is_changed_later() -> None:
    with Kernel() as kernel:
        kernel.do(bridge("br0"))
        kernel.do(rt.set_link(rt.Link(ifname="br0", kind="bridge", bridge=rt.Bridge(mcast_snooping=0))))
    assert link("br0")["linkinfo"]["info_data"]["mcast_snooping"] == 0


PORT_WORDS = {
    "hairpin": "hairpin",
    "isolated": "isolated",
    "learning": "learning",
    "flood": "flood",
    "mcast_flood": "mcast_flood",
    "bcast_flood": "bcast_flood",
    "neigh_suppress": "neigh_suppress",
    "guard": "guard",
    "protect": "root_block",
    "fast_leave": "fastleave",
}


@pytest.mark.parametrize("option", sorted(PORT_WORDS))
@sandboxed
def test_each_port_option_turns_over_alone(option: str) -> None:
    with Kernel() as kernel:
        kernel.do(bridge("br0"))
        kernel.do(rt.new_link(veth("v0", master=socket.if_nametoindex("br0"))))
        before = link("v0")["linkinfo"]["info_slave_data"]
        turned = not before[PORT_WORDS[option]]
        wanted: dict[str, Any] = {option: int(turned)}
        kernel.do(rt.set_link(rt.Link(ifname="v0", port=rt.Port(**wanted))))
        after = link("v0")["linkinfo"]["info_slave_data"]
        (payload,) = kernel.ask(rt.get_link_request(name="v0"))
    changed = {word for word in PORT_WORDS.values() if after[word] != before[word]}
    assert changed == {PORT_WORDS[option]}
    port = rt.get_link(payload).port
    assert port is not None
    assert getattr(port, option) == int(turned)


@sandboxed
def test_port_alias_and_address_mode_in_one_message() -> None:
    with Kernel() as kernel:
        kernel.do(bridge("br0"))
        kernel.do(rt.new_link(veth("v0", master=socket.if_nametoindex("br0"))))
        port = rt.Link(ifname="v0", alias="blue web", addr_gen_mode=1, port=rt.Port(hairpin=1))
        kernel.do(rt.set_link(port))
        (payload,) = kernel.ask(rt.get_link_request(name="v0"))
        found = link("v0")
        kernel.do(rt.set_link(rt.Link(ifname="v0", alias="")))
    assert found["ifalias"] == "blue web"
    assert found["inet6_addr_gen_mode"] == "none"
    assert found["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert rt.get_link(payload).alias == "blue web"
    assert rt.get_link(payload).addr_gen_mode == rt.IN6_ADDR_GEN_MODE_NONE
    assert "ifalias" not in link("v0")


@sandboxed
def test_altnames_find_and_delete_a_link() -> None:
    long = "weft-readable-name.blue.web.eth0"
    with Kernel() as kernel:
        kernel.do(rt.new_link(veth("v0")), rt.add_altname("v0", MARK, long, "short"))
        assert link("v0")["altnames"] == [MARK, long, "short"]
        for name in (MARK, long):
            (payload,) = kernel.ask(rt.get_link_request(name=name))
            assert rt.get_link(payload).ifname == "v0"
        assert rt.get_link(payload).altnames == (MARK, long, "short")
        kernel.do(rt.set_link(rt.Link(ifname=long, mtu=1300)))
        assert link("v0")["mtu"] == 1300
        kernel.do(rt.del_altname(MARK, long))
        assert link("v0")["altnames"] == [MARK, "short"]
        kernel.do(rt.del_link(name=MARK))
    assert [found["ifname"] for found in ip("link")] == ["lo"]


@sandboxed
def test_a_link_is_found_by_index_and_renamed() -> None:
    with Kernel() as kernel:
        kernel.do(rt.new_link(veth("v0")))
        index = socket.if_nametoindex("v0")
        kernel.do(rt.set_link(rt.Link(ifindex=index, ifname="v1", flags=UP, change=UP)))
        assert "UP" in link("v1")["flags"]
        kernel.do(rt.set_link(rt.Link(ifindex=index, flags=0, change=UP)))
        assert "UP" not in link("v1")["flags"]
        kernel.do(rt.del_link(index))
    assert [found["ifname"] for found in ip("link")] == ["lo"]


@sandboxed
def test_a_link_moves_to_the_namespace_of_a_process() -> None:
    with Kernel() as kernel, process_in(new_netns()) as process:
        kernel.do(rt.new_link(veth("v0")), rt.set_link(rt.Link(ifname="v0p", netns_pid=process.pid)))
        born = rt.Link(ifname="v1p", netns_pid=process.pid)
        kernel.do(rt.new_link(rt.Link(ifname="v1", kind="veth", peer=born)))
        there = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
        assert {found["ifname"] for found in ip("link", there)} == {"lo", "v0p", "v1p"}
        assert {found["ifname"] for found in ip("link")} == {"lo", "v0", "v1"}


@sandboxed
def test_a_link_moves_and_leaves_its_bridge() -> None:
    netns = new_netns()
    with Kernel() as kernel:
        kernel.do(bridge("br0"))
        kernel.do(rt.new_link(veth("v0", master=socket.if_nametoindex("br0"))))
        kernel.do(
            rt.set_link(rt.Link(ifname="v0", master=0)), rt.set_link(rt.Link(ifname="v0p", netns_fd=netns))
        )
    assert "master" not in link("v0")
    assert link("v0p", netns)["ifname"] == "v0p"


@sandboxed
def test_a_group_goes_at_once_and_others_stay() -> None:
    with Kernel() as kernel:
        kernel.do(*[rt.new_link(veth(f"v{n}", group=0x57000001)) for n in range(3)])
        kernel.do(rt.new_link(veth("other", group=5)), rt.set_link(rt.Link(ifname="v2", group=6)))
        kernel.do(rt.del_group(0x57000001))
    assert {found["ifname"] for found in ip("link")} == {"lo", "v2", "v2p", "other", "otherp"}


@pytest.mark.parametrize("cap", [True, False])
@sandboxed
def test_refusals_carry_the_kernels_words(cap: bool) -> None:
    with Kernel(cap=cap) as kernel:
        kernel.do(rt.new_link(veth("v0")))
        again, unknown, name = kernel.acks(
            [
                rt.new_link(veth("v0")),
                rt.new_link(rt.Link(ifname="x0", kind="nosuchkind")),
                rt.set_link(rt.Link(ifname="v0", mtu=1)),
            ]
        )
    assert again.errno == errno.EEXIST
    assert (unknown.errno, unknown.text) == (errno.EOPNOTSUPP, "Unknown device type")
    assert (name.errno, name.text) == (errno.EINVAL, "mtu less than device minimum")


@pytest.mark.parametrize("cap", [True, False])
@sandboxed
def test_a_refusal_points_at_the_attribute(cap: bool) -> None:
    kind, flags, payload = rt.new_address(rt.Address(1, bytes([10, 0, 0, 1]), 33))
    with Kernel(cap=cap) as kernel:
        (mask,) = kernel.acks([(kind, flags, payload)])
        # IFLA_MTU of two bytes
        (short,) = kernel.acks([(rt.RTM_NEWLINK, 1, bytes(16) + wire.string(3, "lo") + wire.u16(4, 9))])
    assert (mask.errno, mask.text) == (errno.EINVAL, "ipv4: Invalid prefix length")
    assert short.errno == errno.ERANGE
    assert short.offset == 16 + 16 + 8


@sandboxed
def test_a_name_too_long_is_refused_before_the_kernel_makes_up_another() -> None:
    long = "a" * 16
    with pytest.raises(WireError):
        rt.new_link(rt.Link(ifname=long, kind="dummy"))
    with pytest.raises(WireError):
        rt.new_link(rt.Link(ifname="v0", kind="veth", peer=rt.Link(ifname=long)))
    made_up = rt.Link(ifname=long, kind="veth", peer=rt.Link(ifname="p"))
    with Kernel() as kernel:
        kernel.do((rt.RTM_NEWLINK, wire.NLM_F_REQUEST | wire.NLM_F_CREATE, rt.put_link(made_up)))
    assert {found["ifname"] for found in ip("link")} == {"lo", "veth0", "p"}


def test_deleting_nothing_in_particular_is_refused() -> None:
    with pytest.raises(WireError):
        rt.del_link()
    with pytest.raises(WireError):
        rt.del_group(0)
    with pytest.raises(WireError):
        rt.get_link_request()


def test_options_of_another_kind_are_refused() -> None:
    for bad in (
        rt.Link(ifname="a", kind="bridge", peer=rt.Link()),
        rt.Link(ifname="a", kind="veth", bridge=rt.Bridge()),
        rt.Link(ifname="a", kind="veth", peer=rt.Link(kind="veth", peer=rt.Link())),
        rt.Link(ifname="a", altnames=("b",)),
    ):
        with pytest.raises(WireError):
            rt.new_link(bad)
