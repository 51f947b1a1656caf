"""A network of more containers than a bridge has ports: nobody inside or outside sees that it has several.

The fast form has bridges that take two containers each; the campaign 2500 containers with the real limit.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pytest

from harness import Host, Lan, differences, settle, snapshot
from harness.host import PYTHON, REPO
from scenarios import packets
from scenarios.ground import FRAMES

PORT = 8080
#: Who is published where, by TCP and UDP: on the first bridge, on the second, on the third.
PUBLISHED = {"w0": 8000, "w3": 8003, "w4": PORT}
GATEWAYS = ("10.13.0.1", "::ffff:10.13.0.1", "fd13::1")

#: Makes the network with bridges of argv[2] containers (0: the real limit), argv[3] in all, argv[4] at once.
MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
import weft
from weft.engine import container
limit, count, batch, *flags = [int(word) for word in sys.argv[2:]]
if limit:
    container.BRIDGE_PORTS = limit
network = weft.Network("wide", subnet=("10.13.0.0/16", "fd13::/64"), isolated=bool(flags))
for start in range(0, count, batch):
    network.containers([f"w{n}" for n in range(start, min(start + batch, count))])
"""


class Wide(NamedTuple):
    host: Host
    lan: Lan
    size: int
    bridge_nf: int = 0

    @property
    def last(self) -> str:
        return f"w{self.size - 1}"

    def addresses(self, name: str) -> list[str]:
        (found,) = self.host.weft_json("inspect", name)
        return [a.partition("/")[0] for a in found["networks"]["wide"]["addresses"]]


def make(host: Host, limit: int, count: int, batch: int, *flags: str) -> None:
    source = str(REPO / "src")
    words = [source, str(limit), str(count), str(batch), *flags]
    host.run([*PYTHON, "-c", MAKE, *words], timeout=600)


def bridges(host: Host) -> dict[str, int]:
    """The bridges, and how many containers are plugged into each."""
    links = json.loads(host.ip("-j", "-d", "link", "show"))
    found = {link["ifname"]: 0 for link in links if link.get("linkinfo", {}).get("info_kind") == "bridge"}
    for link in links:
        if link.get("master") in found and not link["ifname"].startswith(("wj", "wk")):
            found[link["master"]] += 1
    return found


@pytest.fixture(scope="module", params=[0, 1], ids=["bridge-nf-off", "bridge-nf-on"])
def wide(request: pytest.FixtureRequest) -> Iterator[Wide]:
    """Three bridges: w0 and w1 on the first, w2 and w3 on the second, w4 on the third."""
    with Host(bridge_nf=request.param) as host, Lan(host) as lan:
        make(host, 2, 5, 3)
        for name, port in PUBLISHED.items():
            ports = [f"{a}:{port}:{p}" for a in ("0.0.0.0", "[::]") for p in ("80", "53/udp")]
            host.weft("net", "publish", "wide", name, *ports)
            host.serve(80, name, netns=name)
            host.serve(53, name, netns=name, kind="udp")
        yield Wide(host, lan, 5, request.param)


def test_no_bridge_takes_more_than_its_share(wide: Wide) -> None:
    assert sorted(bridges(wide.host).values()) == [1, 2, 2]
    assert len(wide.host.weft_json("net", "ls")) == 1


def test_all_reach_each_other(wide: Wide) -> None:
    for one, other in itertools.permutations(range(5), 2):
        for address in wide.addresses(f"w{other}"):
            assert wide.host.pings(address, netns=f"w{one}"), (one, other, address)
        found = wide.host.weft("exec", f"w{one}", "--", "getent", "ahostsv4", f"w{other}").stdout
        assert found.startswith(wide.addresses(f"w{other}")[0] + " ")


def test_the_way_out(wide: Wide) -> None:
    for name in ("w0", "w2", "w4"):
        for address in ("10.13.0.1", "fd13::1", Lan.BOX, Lan.FAR, Lan.BOX6, Lan.FAR6):
            assert wide.host.pings(address, netns=name), (name, address)


@pytest.mark.parametrize(
    ("who", "server"),
    [
        *(("host", "w4"), ("lan", "w4"), ("w0", "w4"), ("w2", "w0")),
        *(("w2", "w3"), ("w2", "w4"), ("w3", "w3"), ("w4", "w3"), ("w4", "w4")),
    ],
)
def test_a_published_port(wide: Wide, who: str, server: str) -> None:
    """From outside, from the same bridge, from others on either side, and from the container itself."""
    machine = wide.lan.box if who == "lan" else wide.host
    netns = who if who.startswith("w") else None
    for address in (Lan.HOST, Lan.HOST6):
        host = f"[{address}]" if ":" in address else address
        page = machine.fetch(f"http://{host}:{PUBLISHED[server]}/", netns=netns)
        answer = machine.ask_udp(address, PUBLISHED[server], netns=netns)
        for found in (page, answer):
            assert (found.ok, found.body) == (True, server), (who, address, found)
            if who == "lan":
                assert found.client in (Lan.BOX, Lan.BOX6, f"::ffff:{Lan.BOX}")
            elif netns:
                assert found.client in GATEWAYS


def test_the_answer_of_another_bridge_is_the_container_s_own(wide: Wide) -> None:
    page = wide.host.fetch(f"http://{wide.addresses('w3')[0]}/", netns="w0")
    assert (page.body, page.client) == ("w3", wide.addresses("w0")[0])


@pytest.mark.parametrize("who", ["w2", "w4"])
def test_frames_of_a_further_bridge_do_not_come_back(wide: Wide, who: str) -> None:
    """What all get comes once to each; to its sender by its own port alone, and its bridge gets it no more,
    hence knows where the sender is."""
    host, (address, _) = wide.host, wide.addresses(who)
    (net,) = host.weft_json("inspect", who)[0]["networks"].values()
    sent = {
        label: packets.ether(net["mac"], packets.IPV4, packets.udp4(address, target, label), to=to)
        for label, target, to in (
            ("broadcast", "255.255.255.255", packets.BROADCAST),
            ("multicast", "224.0.0.1", "01:00:5e:00:00:01"),
            ("unknown", "10.13.0.99", "02:00:00:00:00:99"),
        )
    }
    links = json.loads(host.ip("-j", "link", "show"))
    (master,) = [link["master"] for link in links if link["ifname"] == net["host_ifname"]]
    (cable,) = [k["ifname"] for k in links if k.get("master") == master and k["ifname"].startswith("wk")]
    once = {name: list(sent) for name in ("w0", "w1", "w2", "w3", "w4")}
    assert _received(wide, who, list(sent.values()), [*once, cable]) == {**once, cable: []}
    table = json.loads(host.run(["bridge", "-j", "fdb", "show", "br", master]).stdout)
    assert [e["ifname"] for e in table if e["mac"] == net["mac"]] == [net["host_ifname"]]


def _received(wide: Wide, who: str, frames: list[bytes], places: list[str]) -> dict[str, list[str]]:
    """The labels of what comes in at members and at a link of the host. A broadcast of w0 ends it."""
    host = wide.host
    catchers = {}
    for place in places:
        member = place[1:].isdigit()
        argv = [*PYTHON, FRAMES, "receive", "eth0" if member else place]
        catchers[place] = host.popen(argv, netns=place if member else None)
    for catcher in catchers.values():
        assert catcher.stdout
        assert catcher.stdout.readline() == "ready\n"
    (net,) = host.weft_json("inspect", "w0")[0]["networks"].values()
    last = packets.udp4(wide.addresses("w0")[0], "255.255.255.255", "end")
    for sender, sent in ((who, frames), ("w0", [packets.ether(net["mac"], packets.IPV4, last)])):
        host.run([*PYTHON, FRAMES, "send", "eth0", *[f.hex() for f in sent]], netns=sender)
    found = {place: catcher.communicate(timeout=20)[0].split() for place, catcher in catchers.items()}
    assert {labels.pop() for labels in found.values()} == {"end"}
    return found


@pytest.mark.parametrize(("liar", "other"), [("w4", "w0"), ("w2", "w4"), ("w0", "w2"), ("w3", "w2")])
def test_the_guards_hold_between_bridges(wide: Wide, liar: str, other: str) -> None:
    """Whoever takes another's address, or another MAC, reaches nobody; with its own it does."""
    host = wide.host
    (target, target6), (free, free6) = wide.addresses(other), ("10.13.9.9", "fd13::99")
    assert host.pings(target, netns=liar)
    (mac,) = [link["address"] for link in json.loads(host.ip("-j", "link", "show", "eth0", netns=liar))]
    host.ip("address", "add", f"{free}/16", "dev", "eth0", netns=liar)
    host.ip("address", "add", f"{free6}/64", "dev", "eth0", "nodad", netns=liar)
    ping = ("ping", "-n", "-c1", "-W0.4")
    try:
        for address, source in ((target, free), (target6, free6)):
            sent = host.run([*ping, "-I", source, address], netns=liar, check=False)
            assert sent.returncode == 1, sent
        host.ip("link", "set", "eth0", "address", "02:00:00:00:00:99", netns=liar)
        assert not host.pings(target, netns=liar, timeout=0.4)
    finally:
        host.ip("link", "set", "eth0", "address", mac, netns=liar)
        host.ip("address", "del", f"{free}/16", "dev", "eth0", netns=liar)
        host.ip("address", "del", f"{free6}/64", "dev", "eth0", netns=liar)
    assert settle(host, lambda: host.pings(target, netns=liar))


def test_nobody_wants_them_removed(wide: Wide) -> None:
    before = snapshot(wide.host)
    assert wide.host.weft("gc").stdout == ""
    assert wide.host.weft("repair").stdout == ""
    assert differences(wide.host, before) == []


def test_a_further_bridge_that_a_foreign_hand_deleted_comes_back(wide: Wide) -> None:
    before = sorted(bridges(wide.host).values())
    (taken,) = [name for name, count in bridges(wide.host).items() if count == 1]
    wide.host.ip("link", "del", taken)
    assert not wide.host.pings(wide.addresses("w4")[0], netns="w0", timeout=1)
    wide.host.weft("repair")
    assert sorted(bridges(wide.host).values()) == before
    assert settle(wide.host, lambda: wide.host.pings(wide.addresses("w4")[0], netns="w0"))
    for name in ("w0", "w2", "w4"):
        assert wide.host.fetch(f"http://{Lan.HOST}:{PORT}/", netns=name).body == "w4"
    assert wide.host.weft("repair").stdout == ""


def test_a_joint_that_lost_its_flag_gets_it_again(wide: Wide) -> None:
    host = wide.host
    bridge = host.weft_json("net", "inspect", "wide")[0]["bridge"]
    ports = json.loads(host.ip("-j", "link", "show", "master", bridge))
    (joint,) = [port["ifname"] for port in ports if port["ifname"].startswith("wj")]
    for harm in ("type bridge_slave hairpin off", "nomaster"):
        host.ip("link", "set", joint, *harm.split())
        said = host.weft("repair").stdout
        assert said.splitlines() == [f"plug {joint} into {bridge} again"]
        (link,) = json.loads(host.ip("-d", "-j", "link", "show", "master", bridge, "dev", joint))
        assert link["linkinfo"]["info_slave_data"]["hairpin"] is True
        assert settle(host, lambda: host.fetch(f"http://{Lan.HOST}:{PORT}/", netns="w2").ok)
        assert host.weft("repair").stdout == ""


def test_a_flush_is_repaired(wide: Wide) -> None:
    """Without its chain the joint sends broadcasts back, and members' bridges lose them; not for ever."""
    host, (target, _) = wide.host, wide.addresses("w0")
    host.nft("flush", "ruleset")
    host.ip("neigh", "flush", "all", netns="w4")
    assert not host.pings(target, netns="w4", timeout=1)
    host.weft("repair")
    for one, other in (("w4", "w0"), ("w0", "w4"), ("w2", "w4")):
        assert settle(host, partial(host.pings, wide.addresses(other)[0], netns=one))
    assert settle(host, lambda: host.fetch(f"http://{Lan.HOST}:{PORT}/", netns="w4").ok)


def test_isolated_members_stay_apart_across_bridges(host: Host) -> None:
    make(host, 1, 3, 3, "1")
    for one, other in itertools.permutations(range(3), 2):
        (found,) = host.weft_json("inspect", f"w{other}")
        for address in found["networks"]["wide"]["addresses"]:
            assert not host.pings(address.partition("/")[0], netns=f"w{one}", timeout=0.3)
    for name in ("w0", "w1", "w2"):
        assert host.pings("10.13.0.1", netns=name)
        assert host.pings("fd13::1", netns=name)
    host.weft("net", "edit", "wide", "--isolated", "false")
    (found,) = host.weft_json("inspect", "w2")
    addresses = [a.partition("/")[0] for a in found["networks"]["wide"]["addresses"]]
    assert settle(host, lambda: all(host.pings(a, netns="w0") for a in addresses))


def test_published_ports_of_isolated_members_are_as_on_one_bridge() -> None:
    """With bridge-nf-call-iptables what is dialled is bridged, hence isolated. `net edit` ends it."""
    with Host(bridge_nf=1) as host, Lan(host) as lan:
        make(host, 1, 3, 3, "1")
        host.weft("net", "publish", "wide", "w2", f"0.0.0.0:{PORT}:80")
        host.serve(80, "w2", netns="w2")
        url = f"http://{Lan.HOST}:{PORT}/"
        assert lan.fetch(url).body == host.fetch(url).body == "w2"
        assert not any(host.fetch(url, netns=name, timeout=0.5).ok for name in ("w0", "w1", "w2"))
        host.weft("net", "edit", "wide", "--isolated", "false")
        assert all(settle(host, lambda n=name: host.fetch(url, netns=n).ok) for name in ("w0", "w1", "w2"))  # type: ignore[misc]
        assert host.weft("repair").stdout == ""


def test_the_mtu_of_all(host: Host) -> None:
    make(host, 1, 3, 3)
    host.weft("net", "edit", "wide", "--mtu", "1300")
    links = json.loads(host.ip("-j", "link", "show"))
    assert {link["mtu"] for link in links if link["ifname"] != "lo"} == {1300}
    (found,) = host.weft_json("inspect", "w2")
    address = found["networks"]["wide"]["addresses"][0].partition("/")[0]
    argv = ["ping", "-n", "-c1", "-W2", "-M", "do", "-s"]
    assert host.run([*argv, "1272", address], netns="w0").returncode == 0
    assert host.run([*argv, "1273", address], netns="w0", check=False).returncode == 1


def test_all_goes_with_the_network(host: Host) -> None:
    host.weft("net", "create", "other")
    make(host, 1, 1, 1)
    host.weft("net", "rm", "-f", "wide")
    # Which is said up to a second after a bridge was made.
    assert settle(host, lambda: "NO-CARRIER" in host.ip("link", "show", "type", "bridge"))
    before = snapshot(host)
    make(host, 1, 4, 4)
    assert len(bridges(host)) == 5
    host.weft("rm", "-f", "w1", "w2", "w3")
    host.weft("net", "rm", "-f", "wide")
    assert differences(host, before) == []
    host.weft("net", "rm", "other")
    assert host.nft("list", "ruleset") == ""


@pytest.mark.campaign
def test_two_thousand_five_hundred(host: Host) -> None:
    """On six bridges: all resolve each other, ports are published across them, guards hold."""
    with Lan(host) as lan:
        make(host, 0, 2500, 500)
        wide = Wide(host, lan, 2500)
        assert sorted(bridges(host).values()) == [100, 480, 480, 480, 480, 480]
        listed = {row["name"] for row in host.weft_json("ps", "-a")}
        assert listed == {f"w{n}" for n in range(2500)}
        samples = [f"w{n}" for n in (0, 1, 479, 480, 1500, 1999, 2000, 2499)]
        for one, other in itertools.permutations(samples, 2):
            found = host.weft("exec", one, "--", "getent", "ahostsv4", other).stdout
            assert found.startswith(wide.addresses(other)[0] + " ")
            for address in wide.addresses(other):
                # All namespaces of the machine share one table of neighbours, of 1024: for five seconds it
                # is full of the multicast groups that the new ones joined (arp(7), gc_thresh3).
                assert settle(host, partial(host.pings, address, netns=one), 20), (one, address)
        hosts = host.weft("exec", "w2100", "--", "cat", "/etc/hosts").stdout.split()
        assert {f"w{n}" for n in range(2500)} <= set(hosts)
        host.weft("net", "publish", "wide", wide.last, f"0.0.0.0:{PORT}:80")
        host.serve(80, wide.last, netns=wide.last)
        assert lan.fetch(f"http://{Lan.HOST}:{PORT}/").body == wide.last
        for name in samples:
            assert host.fetch(f"http://{Lan.HOST}:{PORT}/", netns=name).body == wide.last
        test_the_guards_hold_between_bridges(wide, "w2499", "w0")
        host.weft("net", "rm", "-f", "wide", timeout=300)
        assert bridges(host) == {}
        assert host.nft("list", "ruleset") == ""
