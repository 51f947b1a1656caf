"""Bridges, their ports, MAC tables and counters, in the kernel and as iproute2 shows them."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.wire.sandbox import Kernel, command, ip, new_netns, run, sandboxed
from weft.core.model.errors import WireError
from weft.core.wire import neighbour as nb
from weft.core.wire import rtnetlink as rt

UP: dict[str, Any] = {"flags": rt.IFF_UP, "change": rt.IFF_UP}
STRANGER, OTHER = bytes.fromhex("0200000000aa"), bytes.fromhex("0200000000bb")


def index(name: str) -> int:
    return socket.if_nametoindex(name)


def bridge(kernel: Kernel, name: str, **options: Any) -> int:
    kernel.do(rt.new_link(rt.Link(ifname=name, kind="bridge", bridge=rt.Bridge(**options), **UP)))
    return index(name)


def cable(kernel: Kernel, name: str, master: int, far: int = 0) -> int:
    """A port of the bridge; the other end is named with a p behind, and may be another's port."""
    peer = rt.Link(ifname=f"{name}p")
    kernel.do(rt.new_link(rt.Link(ifname=name, kind="veth", master=master, peer=peer, **UP)))
    # a peer cannot be born up: it is not tied to the first yet
    kernel.do(rt.set_link(rt.Link(ifname=f"{name}p", master=far, **UP)))
    return index(name)


def quiet() -> None:
    """No IPv6, which sends and listens by itself, on what is made from now on."""
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")


def send(ifname: str, source: bytes, target: bytes = OTHER, count: int = 1) -> None:
    """Frames of 100 bytes, of a protocol that nobody has."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((ifname, 0))
        for _ in range(count):
            wire.send((target + source + b"\x88\xb5").ljust(100, b"\0"))


def read(kernel: Kernel, name: str) -> rt.Link:
    (payload,) = kernel.ask(rt.get_link_request(name=name))
    return rt.get_link(payload)


def notice(ears: Kernel, wanted: Callable[[Any], bool], get: Callable[[bytes], Any] = rt.get_link) -> Any:
    """The first that the kernel tells and that is wanted."""
    while True:
        for answer in ears.heard():
            found = get(answer.payload)
            if wanted(found):
                return found


def forwards(link: rt.Link) -> bool:
    return link.port is not None and link.port.state == rt.BR_STATE_FORWARDING


def text(bridge_id: bytes | None) -> str:
    """As iproute2 shows it, which leaves leading zeros out of the MAC."""
    assert bridge_id is not None
    return bridge_id[:2].hex() + "." + ":".join([f"{byte:x}" for byte in bridge_id[2:]])


def shown(name: str, part: str) -> dict[str, Any]:
    (found,) = ip(f"link show dev {name}")
    data: dict[str, Any] = found["linkinfo"][part]
    return data


def fdb(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command("bridge", "-j", "fdb", *words))
    return found


@sandboxed
def test_every_fact_about_a_bridge() -> None:
    options = {"stp_state": 1, "hello_time": 150, "max_age": 2500, "forward_delay": 1700, "priority": 0x2000}
    with Kernel() as kernel:
        bridge(kernel, "br0", **options)
        cable(kernel, "v0", index("br0"))
        found, said = read(kernel, "br0").bridge, shown("br0", "info_data")
    assert found is not None
    assert {name: getattr(found, name) for name in options} == options
    ids = {"root_id", "bridge_id"}
    plain = set(rt.Bridge._fields) - ids - {"default_pvid"}
    assert {name: getattr(found, name) for name in plain} == {name: said[name] for name in plain}
    assert {name: text(getattr(found, name)) for name in ids} == {name: said[name].lower() for name in ids}
    assert found.default_pvid == said.get("vlan_default_pvid"), "told where the kernel filters VLANs"
    assert found.root_id == found.bridge_id
    assert found.bridge_id == bytes.fromhex("2000") + (found.bridge_id or b"")[2:]


@sandboxed
def test_every_fact_about_a_port() -> None:
    with Kernel() as kernel:
        cable(kernel, "v0", bridge(kernel, "br0", stp_state=1))
        kernel.do(rt.set_link(rt.Link(ifname="v0", port=rt.Port(priority=7, cost=99))))
        found, said = read(kernel, "v0").port, shown("v0", "info_slave_data")
    assert found is not None
    assert (found.priority, found.cost) == (7, 99)
    assert found.state == ["disabled", "listening", "learning", "forwarding", "blocking"].index(said["state"])
    assert (text(found.root_id), text(found.bridge_id)) == (said["root_id"], said["bridge_id"])
    assert (found.id, found.no) == (int(said["id"], 16), int(said["no"], 16))
    words = {"protect": "root_block", "fast_leave": "fastleave"}
    rest = set(rt.Port._fields) - {"state", "root_id", "bridge_id", "id", "no"}
    assert {name: getattr(found, name) for name in rest} == {
        name: said[words.get(name, name)] for name in rest
    }


@sandboxed
def test_what_was_read_of_a_bridge_can_be_written() -> None:
    """The kernel ignores the facts among the options."""
    with Kernel() as kernel:
        cable(kernel, "v0", bridge(kernel, "br0", priority=0x3000))
        before = read(kernel, "br0").bridge
        assert before
        # kernels without VLAN filtering refuse even its being off
        same = rt.Link(ifname="br0", kind="bridge", bridge=before._replace(vlan_filtering=None))
        kernel.do(rt.set_link(same))
        assert read(kernel, "br0").bridge == before


@sandboxed
def test_two_bridges_and_two_cables_make_one_root_and_one_blocked_port() -> None:
    with Kernel() as kernel, Kernel() as ears:
        root = bridge(kernel, "root", stp_state=1, hello_time=100, priority=0x1000)
        leaf = bridge(kernel, "leaf", stp_state=1, hello_time=100)
        ears.listen(rt.RTNLGRP_LINK)
        for name in ("a", "b"):
            cable(kernel, name, root, leaf)
        blocked = notice(ears, lambda link: link.port and link.port.state == rt.BR_STATE_BLOCKING)
        top, low, far = read(kernel, "root").bridge, read(kernel, "leaf").bridge, read(kernel, "ap").port
    assert blocked.ifname == "bp"
    assert top and low and far
    assert top.root_id == top.bridge_id == low.root_id == far.root_id
    assert low.bridge_id != low.root_id
    assert (top.root_port, top.root_path_cost) == (0, 0)
    assert (low.root_port, low.root_path_cost) == (far.no, far.cost)
    assert far.bridge_id == top.bridge_id


@sandboxed
def test_the_ports_of_one_bridge() -> None:
    with Kernel() as kernel:
        first, second = bridge(kernel, "br0"), bridge(kernel, "br1")
        for name, master in (("a", first), ("b", first), ("c", second)):
            cable(kernel, name, master)
        found = [rt.get_link(payload) for payload in kernel.ask(rt.dump_links(master=first))]
    assert {(link.ifname, link.master) for link in found} == {("a", first), ("b", first)}
    assert [link for link in found if link.port is None] == []


@sandboxed
def test_the_ports_of_a_bridge_in_another_namespace() -> None:
    netns = new_netns()
    with Kernel() as kernel:
        kernel.do(rt.new_link(rt.Link(ifname="v", kind="veth", peer=rt.Link(ifname="eth0", netns_fd=netns))))
        command("ip", "link", "add", "br0", "type", "bridge", netns=netns)
        command("ip", "link", "set", "eth0", "master", "br0", netns=netns)
        (there,) = ip("link show br0", netns)
        nsid = read(kernel, "v").link_netnsid
        found = [rt.get_link(p) for p in kernel.ask(rt.dump_links(nsid, there["ifindex"]))]
    assert [(link.ifname, link.target_netnsid) for link in found] == [("eth0", nsid)]


@sandboxed
def test_counters() -> None:
    quiet()
    with Kernel() as kernel, Kernel() as ears:
        ears.listen(rt.RTNLGRP_LINK)
        cable(kernel, "v0", 0)
        # what is sent before its carrier has gone round is lost
        notice(ears, lambda link: link.ifname == "v0" and link.operstate == rt.IF_OPER_UP)
        send("v0", STRANGER, count=3)
        kernel.do(rt.set_link(rt.Link(ifname="v0p", flags=0, change=rt.IFF_UP)))
        with pytest.raises(OSError, match="down"):
            send("v0p", STRANGER)
        (near,) = kernel.ask(rt.get_link_request(name="v0"))
        (far,) = kernel.ask(rt.get_link_request(name="v0p"))
        both = {name: rt.get_counters(payload) for name, payload in (("v0", near), ("v0p", far))}
    assert (both["v0"].tx_packets, both["v0"].tx_bytes, both["v0"].rx_packets) == (3, 300, 0)
    assert (both["v0p"].rx_packets, both["v0p"].rx_bytes, both["v0p"].rx_dropped) == (3, 300, 3)
    for name, found in both.items():
        (said,) = ip(f"-s link show dev {name}")
        for way in ("rx", "tx"):
            for what in ("packets", "bytes", "errors", "dropped"):
                assert getattr(found, f"{way}_{what}") == said["stats64"][way][what], (name, way, what)


@sandboxed
def test_a_bridges_notice_has_the_port_but_no_counters() -> None:
    with Kernel() as kernel, Kernel() as ears:
        ears.listen(rt.RTNLGRP_LINK)
        master = bridge(kernel, "br0", forward_delay=0)
        port = cable(kernel, "v0", master)
        found = [answer.payload for answer in ears.heard()]
        while not [p for p in found if rt.get_link(p).family == rt.AF_BRIDGE and forwards(rt.get_link(p))]:
            found = [answer.payload for answer in ears.heard()]
        (payload,) = found
    link = rt.get_link(payload)
    assert (link.ifindex, link.master, link.kind) == (port, master, None)
    assert link.port
    assert link.port.no == 1
    with pytest.raises(WireError):
        rt.get_counters(payload)


@sandboxed
def test_a_mac_is_learned_and_found() -> None:
    quiet()
    with Kernel(strict=True) as kernel, Kernel() as ears:
        ears.listen(rt.RTNLGRP_LINK)
        master = bridge(kernel, "br0", forward_delay=0)
        port = cable(kernel, "v0", master)
        notice(ears, forwards)
        with Kernel() as news:
            news.listen(rt.RTNLGRP_NEIGH)
            send("v0p", STRANGER)
            told = notice(news, lambda entry: entry.lladdr == STRANGER, nb.get_neighbour)
        (payload,) = kernel.ask(nb.get_fdb_request(master, STRANGER))
        dumped = [nb.get_neighbour(p) for p in kernel.ask(nb.dump_fdb(master))]
        said = [row for row in fdb("show", "br", "br0") if row["mac"] == "02:00:00:00:00:aa"]
    plain = nb.Neighbour(port, rt.AF_BRIDGE, lladdr=STRANGER, state=nb.NUD_REACHABLE, master=master)
    for entry in (told, nb.get_neighbour(payload), *[e for e in dumped if e.lladdr == STRANGER]):
        assert entry._replace(cacheinfo=None) == plain
        assert entry.cacheinfo
        assert entry.cacheinfo.used < 2000
    assert said == [{"mac": "02:00:00:00:00:aa", "ifname": "v0", "flags": [], "master": "br0", "state": ""}]
    # the port's own
    own = [e for e in dumped if e.ifindex == port and e.master and e.lladdr != STRANGER]
    assert [(e.state, e.flags) for e in own] == [(nb.NUD_PERMANENT, 0)]


@sandboxed
def test_a_mac_is_set_by_hand_and_taken_back() -> None:
    with Kernel() as kernel:
        master = bridge(kernel, "br0")
        port = cable(kernel, "v0", master)
        ours = nb.Neighbour(
            port, rt.AF_BRIDGE, lladdr=STRANGER, state=nb.NUD_NOARP, flags=nb.NTF_MASTER | nb.NTF_STICKY
        )
        kernel.do(nb.new_neighbour(ours))
        command("bridge", "fdb", "add", "02:00:00:00:00:bb", "dev", "v0", "master", "static")
        (again,) = kernel.acks([nb.new_neighbour(ours)])
        said = {row["mac"]: row for row in fdb("show", "brport", "v0")}
        dumped = {e.lladdr: e for e in map(nb.get_neighbour, kernel.ask(nb.dump_fdb()))}
        theirs = nb.Neighbour(port, rt.AF_BRIDGE, lladdr=OTHER, flags=nb.NTF_MASTER)
        kernel.do(nb.del_neighbour(ours), nb.del_neighbour(theirs))
        (gone,) = kernel.acks([nb.del_neighbour(theirs)])
        left = {row["mac"] for row in fdb("show", "brport", "v0")}
    assert again.errno == errno.EEXIST
    assert (said["02:00:00:00:00:aa"]["state"], said["02:00:00:00:00:aa"]["flags"]) == ("static", ["sticky"])
    assert (dumped[STRANGER].state, dumped[STRANGER].flags) == (nb.NUD_NOARP, nb.NTF_STICKY)
    assert (dumped[OTHER].state, dumped[OTHER].flags, dumped[OTHER].master) == (nb.NUD_NOARP, 0, master)
    assert gone.errno == errno.ENOENT
    assert not left & {"02:00:00:00:00:aa", "02:00:00:00:00:bb"}


@sandboxed
def test_the_mac_table_of_one_bridge_is_for_strict_sockets() -> None:
    quiet()
    with Kernel(strict=True) as strict, Kernel() as loose:
        first, second = bridge(strict, "br0"), bridge(strict, "br1")
        for name, master in (("a", first), ("b", second)):
            cable(strict, name, master)
        masters = [
            {nb.get_neighbour(p).master for p in kernel.ask(nb.dump_fdb(first))} - {None}
            for kernel in (strict, loose)
        ]
        beside = [nb.get_neighbour(p) for p in strict.ask(nb.dump_fdb(first))]
    assert masters == [{first}, {first, second}]
    # what the bridge and its ports listen to themselves
    assert {bool(e.flags & nb.NTF_SELF) for e in beside if e.master is None} == {True}


@sandboxed
def test_a_mac_that_is_nowhere() -> None:
    with Kernel() as kernel:
        master = bridge(kernel, "br0")
        with pytest.raises(AssertionError, match="Fdb entry not found"):
            kernel.ask(nb.get_fdb_request(master, STRANGER))


FILTERS = rt.Link(ifname="br0", kind="bridge", bridge=rt.Bridge(vlan_filtering=1), **UP)


def no_vlans() -> bool:
    """Whether this kernel's bridges cannot filter them."""
    with Kernel() as kernel:
        (made,) = kernel.acks([rt.new_link(FILTERS)])
    return made.errno == errno.EOPNOTSUPP


def mac_of_a_vlan() -> None:
    with Kernel() as kernel:
        kernel.do(rt.new_link(FILTERS))
        port = cable(kernel, "v0", index("br0"))
        ours = nb.Neighbour(port, rt.AF_BRIDGE, lladdr=STRANGER, state=nb.NUD_NOARP, flags=nb.NTF_MASTER)
        kernel.do(nb.new_neighbour(ours._replace(vlan=1)))
        (payload,) = kernel.ask(nb.get_fdb_request(index("br0"), STRANGER, 1))
        (said,) = [row for row in fdb("show", "brport", "v0") if row["mac"] == "02:00:00:00:00:aa"]
    assert nb.get_neighbour(payload).vlan == said["vlan"] == 1


def test_a_mac_of_a_vlan() -> None:
    if run(no_vlans):
        pytest.skip("this kernel's bridges have no VLAN filtering")
    run(mac_of_a_vlan)


@sandboxed
def test_a_vlan_that_cannot_be() -> None:
    """Every kernel looks at the number, whether it filters or not."""
    with Kernel() as kernel:
        port = cable(kernel, "v0", bridge(kernel, "br0"))
        asked = nb.Neighbour(port, rt.AF_BRIDGE, lladdr=STRANGER, state=nb.NUD_NOARP, flags=nb.NTF_MASTER)
        (none, most) = kernel.acks([nb.new_neighbour(asked._replace(vlan=vlan)) for vlan in (0, 4095)])
    assert [(ack.errno, ack.text) for ack in (none, most)] == [(errno.EINVAL, "invalid vlan id")] * 2


@sandboxed
def test_a_mac_behind_a_tunnel() -> None:
    """A VXLAN's own table says at which address a MAC is."""
    there = socket.inet_aton("192.0.2.7")
    command("ip", "link", "add", "vx0", "type", "vxlan", "id", "7", "dstport", "4789")
    ours = nb.Neighbour(
        index("vx0"), rt.AF_BRIDGE, there, STRANGER, nb.NUD_NOARP | nb.NUD_REACHABLE, nb.NTF_SELF
    )
    with Kernel() as kernel:
        kernel.do(nb.new_neighbour(ours))
        found = [nb.get_neighbour(payload) for payload in kernel.ask(nb.dump_fdb())]
        (said,) = [row for row in fdb("show", "dev", "vx0") if row["mac"] == "02:00:00:00:00:aa"]
        kernel.do(nb.del_neighbour(ours))
    assert said["dst"] == "192.0.2.7"
    assert [(e.ifindex, e.dst, e.flags, e.master) for e in found if e.lladdr == STRANGER] == [
        (ours.ifindex, there, nb.NTF_SELF, None)
    ]
    assert not [row for row in fdb("show", "dev", "vx0") if row["mac"] == "02:00:00:00:00:aa"]
