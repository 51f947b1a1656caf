"""The attack matrix: who may not reach what, and in which disguise, with real packets in both families.

Each cell is shown to be able to fail: forged frames land once the guard of the bridge is emptied, and what
is out of reach answers once the chains and the routing rules are gone. Not asked for is ::1, to which the
kernel delivers nothing from a wire, whatever is set.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness import Lan
from scenarios import more_guards, packets
from scenarios.ground import BLUE, BOX, BRIDGES, HOST, NS1, NS2, RED, Ground, restored
from scenarios.packets import ARP, IPV4, IPV6, QINQ, ether, tag
from scenarios.probes import Probe, datagram, ping, to_loopback, web

BOTH = pytest.mark.parametrize(
    "ground", [0, 1], indirect=True, ids=["bridge-nf-0", "bridge-nf-1"], scope="module"
)


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with Ground(request.param) as made:
        for subnet in (f"{BLUE.rpartition('.')[0]}.0/24", "10.8.0.0/24"):
            made.lan.run(["ip", "route", "add", subnet, "via", HOST])
        more_guards.furnish(made)
        yield made


# -- forged frames: s1 attacks s2, its sibling

SIBLING, SIBLING6, STRANGER6 = "10.8.0.3", more_guards.S2, "fd07::99"
OTHER_MAC = "02:00:5e:10:20:30"
FORMS = {
    "plain": b"",
    "vlan-0": tag(0),
    "vlan-7": tag(7),
    "double-tagged": tag(0) + tag(0),
    "802-1ad": tag(0, QINQ),
    "802-1ad-over-vlan": tag(0, QINQ) + tag(0),
}


def _dhcp(source: str, label: str) -> bytes:
    """A server's answer, from another's address."""
    return packets.udp4(source, "255.255.255.255", label, 68)


def _redirect(source: str, label: str) -> bytes:
    return packets.icmp6(source, 137, bytes(4) + packets.ip(SIBLING6) + packets.ip(STRANGER6), label)


def _solicitation(source: str, label: str) -> bytes:
    return packets.icmp6(source, 135, bytes(4) + packets.ip(SIBLING6), label)


def _stolen(source: str, label: str) -> bytes:
    """An advertisement from its own address about its sibling's."""
    body = bytes([0x20, 0, 0, 0]) + packets.ip(SIBLING6)
    return packets.icmp6(source, 136, body, label)


def _headed(kind: int, header: bytes) -> Callable[[bytes], bytes]:
    """A packet with another header before its own."""

    def wrap(plain: bytes) -> bytes:
        head = bytearray(plain[:40])
        head[4:6] = struct.pack("!H", len(plain) - 40 + len(header))
        behind, head[6] = head[6], kind
        return bytes(head) + bytes([behind]) + header[1:] + plain[40:]

    return wrap


_PAD = bytes([0, 0, 1, 4, 0, 0, 0, 0])
HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "dest-options": _headed(60, _PAD),
    "hop-by-hop": _headed(0, _PAD),
    "routing": _headed(43, bytes([0, 0, 0, 0, 0, 0, 0, 0])),
    "fragment": _headed(44, struct.pack("!BBHI", 0, 0, 1, 9)),
    "whole-fragment": _headed(44, struct.pack("!BBHI", 0, 0, 0, 9)),
    "two-headers": lambda plain: _headed(0, _PAD)(_headed(60, _PAD)(plain)),
}


#: What is neither ARP nor IP: PPPoE and MPLS (which bridge-nf looks into), LLDP, EAP, Ethernet loopback.
OTHER_TYPES = (0x8863, 0x8864, 0x8847, 0x88CC, 0x888E, 0x9000)


def _frames(own: str, mac: str) -> dict[str, bytes]:
    """All forged frames by name; ``own`` is s1's IPv6 address, ``mac`` its own."""
    found: dict[str, bytes] = {}
    four: dict[str, tuple[str, bytes, Callable[[str], bytes]]] = {
        "arp-sibling": (mac, ARP, lambda label: packets.arp(mac, SIBLING, label)),
        "arp-gateway": (mac, ARP, lambda label: packets.arp(mac, "10.8.0.1", label)),
        "arp-mac": (OTHER_MAC, ARP, lambda label: packets.arp(OTHER_MAC, "10.8.0.2", label)),
        "arp-inner-mac": (mac, ARP, lambda label: packets.arp(OTHER_MAC, "10.8.0.2", label)),
        "ip-source": (mac, IPV4, lambda label: packets.udp4(SIBLING, "255.255.255.255", label)),
        "ip-mac": (OTHER_MAC, IPV4, lambda label: packets.udp4("10.8.0.2", "255.255.255.255", label)),
        "dhcp": (mac, IPV4, lambda label: _dhcp("10.8.0.1", label)),
        "ra": (mac, IPV6, lambda label: packets.router_advertisement(own, label)),
        "ra-gateway": (mac, IPV6, lambda label: packets.router_advertisement("fe80::1", label)),
        "mld": (mac, IPV6, lambda label: packets.icmp6(own, 143, bytes(4), label)),
        "rs": (mac, IPV6, lambda label: packets.icmp6(own, 133, bytes(4), label)),
        "redirect": (mac, IPV6, lambda label: _redirect(own, label)),
        "na-sibling": (mac, IPV6, lambda label: packets.neighbour_advertisement(SIBLING6, label)),
        "na-stolen": (mac, IPV6, lambda label: _stolen(own, label)),
        "ns-forged": (mac, IPV6, lambda label: _solicitation(STRANGER6, label)),
        "echo-forged": (mac, IPV6, lambda label: packets.echo6(SIBLING6, label)),
        "echo-mac": (OTHER_MAC, IPV6, lambda label: packets.echo6(own, label)),
    }
    for name, (source, kind, payload) in four.items():
        for form, tags in FORMS.items():
            label = f"{name}-{form}"
            found[label] = ether(source, kind, payload(label), tags=tags)
    for name in ("ra", "redirect", "na-stolen"):
        source, kind, payload = four[name]
        for form, wrap in HEADERS.items():
            label = f"{name}-{form}"
            found[label] = ether(source, kind, wrap(payload(label)))
    for number in OTHER_TYPES:
        label = f"type-{number:x}"
        found[label] = ether(mac, number.to_bytes(2, "big"), bytes(40) + f"<<{label}>>".encode())
    return found


def _arrived(ground: Ground, frames: dict[str, bytes]) -> set[str]:
    """Which of s1's frames come to s2; an honest one, which surely does, ends the wait."""
    (one,) = ground.host.weft_json("inspect", "s1")
    mac = one["networks"]["six"]["mac"]
    end = ether(mac, IPV4, packets.udp4("10.8.0.2", "255.255.255.255", "end"))
    with ground.catching("s2") as catcher:
        ground.send("s1", *frames.values(), end)
        assert catcher.stdout
        labels = catcher.communicate(timeout=30)[0].split()
    assert labels[-1] == "end", labels
    return set(labels[:-1])


def _forged(ground: Ground) -> dict[str, bytes]:
    (one,) = ground.host.weft_json("inspect", "s1")
    return _frames(more_guards.S1, one["networks"]["six"]["mac"])


@BOTH
def test_no_forged_frame_lands(ground: Ground) -> None:
    frames = _forged(ground)
    assert len(frames) > 100
    assert _arrived(ground, frames) == set()


@BOTH
def test_each_forged_frame_lands_without_the_guard(ground: Ground) -> None:
    frames = _forged(ground)
    ground.host.nft("flush", "chain", "bridge", "weft", "guard")
    try:
        # Where the kernel looks at bridged packets it drops those from its own address by itself.
        assert set(frames) - _arrived(ground, frames) <= {"dhcp-plain"}
    finally:
        assert ground.host.weft("repair").stdout.startswith("delete the firewall table bridge weft")
    assert _arrived(ground, frames) == set()


# -- who may not reach what

S1, GATEWAY, METADATA = more_guards.S1, more_guards.GATEWAY, more_guards.METADATA


def host_link_local(ground: Ground, patience: float) -> str:
    """The host's own service at its bridge's link-local address, which every container can guess."""
    bridge = ground.host.weft_json("net", "inspect", "six")[0]["bridge"]
    shown = ground.host.ip("-o", "-6", "address", "show", "dev", bridge, "scope", "link").split()
    address = shown[shown.index("inet6") + 1].partition("/")[0]
    return web("s2", f"http://[{address}%25eth0]:9999/")(ground, patience)


CELLS: dict[str, Probe] = {
    "container to another network": web("ns2", "http://10.8.0.2/"),
    "container to another network, UDP": datagram("far", NS1, 53),
    "container to another network, ping": ping("ns2", "10.8.0.2"),
    "container to another network, IPv6": web("h1", f"http://[{S1}]/"),
    "container to another network, IPv6, UDP": datagram("h1", S1, 53),
    "container to another network, IPv6, ping": ping("h1", S1),
    "container to an internal network": web("ns2", "http://10.9.0.2/"),
    "container to an internal network, ping": ping("ns2", "10.9.0.2"),
    "container to an isolated network": web("ns2", "http://10.10.0.3/"),
    "container to a routed network": web("ns2", "http://10.11.0.2:81/"),
    "container to a routed network, open port": web("ns2", "http://10.11.0.2/"),
    "container to a routed network, IPv6": web("s2", "http://[fd11::2]:81/"),
    "container to a routed network, IPv6, open port": web("s2", "http://[fd11::2]/"),
    "internal network to the LAN": web("n1", f"http://{BOX}/"),
    "internal network to the LAN, UDP": datagram("n1", BOX, 53),
    "internal network to another": web("n1", f"http://{NS2}/"),
    "internal network to DNS": datagram("n1", "10.9.0.1", 53),
    "internal network to the host": web("n1", "http://10.9.0.1:9999/"),
    "isolated member to its sibling": web("i1", "http://10.10.0.3/"),
    "isolated member to its sibling, ping": ping("i1", "10.10.0.3"),
    "container to the host, by its gateway": web("ns2", f"http://{BLUE}:9999/"),
    "container to the host, by its gateway, IPv6": web("s2", f"http://[{GATEWAY}]:9999/"),
    "container to the host, by its link-local address": host_link_local,
    "container to the host, by its uplink": web("ns2", f"http://{HOST}:9999/"),
    "container to the host, by its uplink, IPv6": web("s2", f"http://[{more_guards.HOST6}]:9999/"),
    "container to the host, by UDP": datagram("ns2", HOST, 9998),
    "container to the host's loopback": to_loopback("ns2", NS2, BRIDGES["blue"]),
    "container to another gateway": web("ns2", f"http://{RED}:9999/"),
    "container to another gateway, DNS": datagram("far", BLUE, 53),
    "container to another gateway, ping": ping("ns2", RED),
    "container to another gateway, IPv6": web("h1", f"http://[{GATEWAY}]:9999/"),
    "container to another gateway, IPv6, DNS": datagram("h1", GATEWAY, 53),
    "container to another gateway, IPv6, ping": ping("h1", GATEWAY),
    "container to a port published on loopback": web("ns2", f"http://{HOST}:8080/"),
    "container to a cloud's metadata": web("ns2", "http://169.254.169.254/"),
    "container to a cloud's metadata, UDP": datagram("ns2", "169.254.169.254", 53),
    "container to a cloud's metadata, IPv6": web("s2", f"http://[{METADATA}]/"),
    "LAN to the host's loopback": to_loopback("lan", BOX, Lan.UPLINK),
    "LAN to a port published on loopback": web("lan", f"http://{HOST}:8080/"),
    "LAN straight to a container": web("lan", f"http://{NS2}/"),
    "LAN straight to a container, UDP": datagram("lan", NS1, 53),
    "LAN straight to a container, ping": more_guards.lan_ping(NS2),
    "LAN straight to a container, IPv6": web("lan", f"http://[{S1}]/"),
    "LAN straight to a container, IPv6, UDP": datagram("lan", S1, 53),
    "LAN straight to a container, IPv6, ping": more_guards.lan_ping(S1),
    "LAN straight to an internal network": web("lan", "http://10.9.0.2/"),
    "LAN straight to an isolated network": web("lan", "http://10.10.0.3/"),
    "LAN to a gateway address": web("lan", f"http://{BLUE}:9999/"),
    "LAN to a gateway address, IPv6": web("lan", f"http://[{GATEWAY}]:9999/"),
    "LAN to a routed container's other ports": web("lan", "http://10.11.0.2:81/"),
    "LAN to a routed container's other ports, UDP": datagram("lan", "10.11.0.2", 53),
    "LAN to a routed container's other ports, IPv6": web("lan", "http://[fd11::2]:81/"),
}
#: These run always, in both values of bridge-nf; the others in the campaigns.
SAMPLE = frozenset(name for number, name in enumerate(CELLS) if number % 6 == 0)
#: What has to go before every cell gets its answer.
CHAINS = ("guard", "leaving", "entering", "host")


@pytest.fixture(scope="module")
def targets(ground: Ground) -> Ground:
    """What the cells ask for is there."""
    host, lan = ground.host, ground.lan
    lan.run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"])
    for subnet in ("10.9.0.0/24", "10.10.0.0/24"):
        lan.run(["ip", "route", "add", subnet, "via", HOST])
    host.ip("route", "add", "169.254.169.254/32", "via", BOX)
    host.serve(80, "n1", netns="n1")
    host.serve(81, "r1", netns="r1")
    host.serve(53, "r1", netns="r1", kind="udp")
    return ground


@contextmanager
def _defenceless(ground: Ground) -> Iterator[None]:
    """No guard of either layer, and a port published on loopback let in for everybody."""
    host = ground.host
    ports = [link["ifname"] for link in json.loads(host.ip("-j", "-d", "link")) if _is_isolated(link)]
    assert ports
    opened = f"element inet weft publish4_any {{ tcp . 8080 : {NS1} . 80 }}\n"
    host.nft("add " + opened + "".join(f"flush chain inet weft {chain}\n" for chain in CHAINS))
    host.sh("".join(f"bridge link set dev {port} isolated off\n" for port in ports))
    try:
        with ground.without_routing_guard():
            yield
    finally:
        host.sh("".join(f"bridge link set dev {port} isolated on\n" for port in ports))
        host.nft("delete " + opened + "".join(restored("inet", chain) for chain in CHAINS))


def _is_isolated(link: dict[str, Any]) -> bool:
    return bool(link.get("linkinfo", {}).get("info_slave_data", {}).get("isolated"))


@BOTH
@pytest.mark.parametrize(
    "cell", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.campaign) for name in CELLS]
)
def test_unreachable(targets: Ground, cell: str) -> None:
    assert CELLS[cell](targets, 0.4) == "nothing"


@BOTH
def test_everything_is_reached_without_the_guards(targets: Ground) -> None:
    """No cell rests on a target that is not there."""
    with _defenceless(targets):
        silent = [name for name, ask in CELLS.items() if ask(targets, 5.0) == "nothing"]
    assert silent == []
    assert CELLS["container to another network"](targets, 0.4) == "nothing"


@BOTH
def test_no_router_is_believed_on_a_bridge(targets: Ground) -> None:
    """Not even one that got past the guard: the host's routes stay as they are."""
    before = targets.host.ip("-6", "route")
    targets.host.nft("flush", "chain", "bridge", "weft", "guard")
    try:
        (one,) = targets.host.weft_json("inspect", "s1")
        net = one["networks"]["six"]
        frame = ether(
            net["mac"], IPV6, packets.router_advertisement(more_guards.S1, "ra"), to="33:33:00:00:00:01"
        )
        assert _arrived(targets, {"ra": frame}) == {"ra"}
        assert targets.host.ip("-6", "route") == before
        inside = targets.host.ip("-6", "route", netns="s2")
        assert "ra" not in inside.split()
    finally:
        targets.host.weft("repair")
