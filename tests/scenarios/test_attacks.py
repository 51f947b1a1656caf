"""The attack matrix: who may not reach what, and in which disguise, with real packets in both families.

Each cell is shown to be able to fail: forged frames land once the guard of the bridge is emptied, and for the
rest test_guards.py takes away the very rule that each cell rests on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from scenarios import more_guards, packets
from scenarios.ground import BLUE, BOX, HOST, NS2, RED, Ground
from scenarios.packets import ARP, IPV4, IPV6, QINQ, ether, tag
from scenarios.probes import datagram, web

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

#: ``answers`` is what proves that the target is there: the same question by somebody who may.
CELLS = {
    "container to another network": web("ns2", "http://10.8.0.2/"),
    "container to another network, IPv6": web("h1", f"http://[{more_guards.S1}]/"),
    "container to an internal network": web("ns2", "http://10.9.0.2/"),
    "internal network to the LAN": web("n1", f"http://{BOX}/"),
    "internal network to another": web("n1", f"http://{NS2}/"),
    "internal network to DNS": datagram("n1", "10.9.0.1", 53),
    "internal network to the host": web("n1", "http://10.9.0.1:9999/"),
    "isolated member to its sibling": web("i1", "http://10.10.0.3/"),
    "container to the host, by its gateway": web("ns2", f"http://{BLUE}:9999/"),
    "container to the host, by its gateway, IPv6": web("s2", f"http://[{more_guards.GATEWAY}]:9999/"),
    "container to the host, by its uplink": web("ns2", f"http://{HOST}:9999/"),
    "container to the host, by its uplink, IPv6": web("s2", f"http://[{more_guards.HOST6}]:9999/"),
    "container to the host, by UDP": datagram("ns2", HOST, 9998),
    "container to another gateway": web("ns2", f"http://{RED}:9999/"),
    "container to another gateway, IPv6": web("h1", f"http://[{more_guards.GATEWAY}]:9999/"),
    "container to a port published on loopback": web("ns2", f"http://{HOST}:8080/"),
    "LAN to a port published on loopback": web("lan", f"http://{HOST}:8080/"),
    "LAN straight to a container": web("lan", f"http://{NS2}/"),
    "LAN straight to a container, IPv6": web("lan", f"http://[{more_guards.S1}]/"),
    "LAN to a gateway address": web("lan", f"http://{BLUE}:9999/"),
    "LAN to a gateway address, IPv6": web("lan", f"http://[{more_guards.GATEWAY}]:9999/"),
    "LAN to a routed container's other ports": web("lan", "http://10.11.0.2:81/"),
    "container to a cloud's metadata": web("ns2", "http://169.254.169.254/"),
    "container to a cloud's metadata, IPv6": web("s2", f"http://[{more_guards.METADATA}]/"),
}


@pytest.fixture(scope="module")
def targets(ground: Ground) -> Ground:
    """What the cells ask for is there, and answers whoever is beside it."""
    host, lan = ground.host, ground.lan
    lan.run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"])
    host.ip("route", "add", "169.254.169.254/32", "via", BOX)
    host.serve(80, "n1", netns="n1")
    host.serve(81, "r1", netns="r1")
    for who, url in (
        *(("host", "http://10.8.0.2/"), ("host", "http://10.9.0.2/"), ("host", "http://10.10.0.3/")),
        *(("host", f"http://{BLUE}:9999/"), ("host", f"http://[{more_guards.GATEWAY}]:9999/")),
        *(("host", "http://127.0.0.1:8080/"), ("host", "http://10.11.0.2:81/")),
        *(("host", "http://169.254.169.254/"), ("host", f"http://[{more_guards.METADATA}]/")),
        *(("host", f"http://[{more_guards.S1}]/"), ("host", f"http://{NS2}/")),
    ):
        page = ground.fetch(who, url)
        assert page.ok, (who, url, page)
    return ground


@BOTH
@pytest.mark.parametrize("cell", CELLS)
def test_unreachable(targets: Ground, cell: str) -> None:
    assert CELLS[cell](targets, 0.4) == "nothing"


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
