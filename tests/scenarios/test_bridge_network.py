"""C11: Docker's bridge network, with real packets, with and without bridge-nf-call-iptables."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from harness import Host, Lan, differences, settle, snapshot
from harness.host import PYTHON, REPO
from scenarios.ground import BLUE, BOX, BRIDGES, FAR, HOST, INTERNET, NS1, NS2, RED, Ground


@pytest.fixture(scope="module", params=[0, 1], ids=["bridge-nf-0", "bridge-nf-1"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with Ground(request.param) as made:
        yield made


def test_the_namespace_is_as_made_by_hand(ground: Ground) -> None:
    """eth0 with its address, lo up, the default route by the gateway, and nothing else."""
    links = {link["ifname"]: link for link in json.loads(ground.host.ip("-j", "address", netns="ns1"))}
    assert list(links) == ["lo", "eth0"]
    (address,) = links["eth0"]["addr_info"]
    shown = address["family"], address["local"], address["prefixlen"], address["broadcast"]
    assert shown == ("inet", NS1, 24, "192.168.10.255")
    assert "UP" in links["lo"]["flags"]
    routes = ground.host.ip("route", netns="ns1").splitlines()
    assert [" ".join(line.split()) for line in routes] == [
        f"default via {BLUE} dev eth0",
        f"192.168.10.0/24 dev eth0 proto kernel scope link src {NS1}",
    ]
    bridge = json.loads(ground.host.ip("-j", "-4", "address", "show", BRIDGES["blue"]))[0]
    assert [a["local"] for a in bridge["addr_info"]] == [BLUE]
    assert "ns1" in ground.host.ip("netns", "list")


def test_members_find_each_other_by_every_name(ground: Ground) -> None:
    for name in ("ns1", "alpha", "www"):
        assert ground.inside("ns2", "curl", "-sS", "--max-time", "5", f"http://{name}/") == "ns1"
    assert ground.inside("ns1", "curl", "-sS", "--max-time", "5", "http://ns2/") == "ns2"
    assert ground.inside("ns1", "curl", "-sS", "--max-time", "5", "http://alpha/") == "ns1"
    by_ip = ["ip", "netns", "exec", "ns2", "curl", "-sS", "--max-time", "5", "http://www/"]
    assert ground.host.run(by_ip).stdout == "ns1"


def test_names_of_another_network_are_unknown(ground: Ground) -> None:
    asked = ground.inside("far", "getent", "-s", "files", "hosts", "ns1", check=False)
    assert asked == ""
    assert FAR in ground.inside("far", "getent", "ahosts", "far")


def test_a_newcomer_and_a_leaver_are_known_at_once(ground: Ground) -> None:
    ground.host.weft("run", "--name", "guest", "--network", "blue:ip=192.168.10.40,alias=visitor")
    assert ground.inside("ns1", "getent", "ahostsv4", "visitor").split()[0] == "192.168.10.40"
    ground.host.weft("rm", "guest")
    assert ground.inside("ns1", "getent", "-s", "files", "hosts", "visitor", check=False) == ""


def test_resolv_conf_is_what_dns_says(ground: Ground) -> None:
    wanted = "search example.org\nnameserver 8.8.8.8\n"
    assert ground.inside("ns1", "cat", "/etc/resolv.conf") == wanted
    by_ip = ground.host.run(["ip", "netns", "exec", "ns1", "cat", "/etc/resolv.conf"]).stdout
    assert by_ip == wanted
    assert ground.inside("ns1", "hostname").strip() == "alpha"


def test_a_loopback_stub_is_never_passed_on(host: Host) -> None:
    """systemd-resolved's 127.0.0.53 is another place in a container: its upstreams are used instead."""
    host.path("/etc/resolv.conf").unlink(missing_ok=True)
    host.write("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0\n")
    host.write("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\nnameserver 192.0.2.54\n")
    host.weft("run", "--name", "one")
    said = host.weft("exec", "one", "--", "cat", "/etc/resolv.conf").stdout
    assert said == "nameserver 192.0.2.53\nnameserver 192.0.2.54\n"
    host.write("/run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\n")
    made = host.weft("run", "--name", "two")
    assert "--dns" in made.stderr
    assert "nameserver" not in host.weft("exec", "two", "--", "cat", "/etc/resolv.conf").stdout


def test_siblings_gateway_and_host_are_reached(ground: Ground) -> None:
    assert ground.host.pings(NS2, netns="ns1")
    assert ground.host.pings(NS1, netns="ns2")
    assert ground.host.pings(BLUE, netns="ns1")
    assert ground.host.pings(NS1)
    page = ground.fetch("ns2", f"http://{NS1}:8888/")
    assert (page.body, page.client) == ("ns1", NS2)
    assert ground.fetch("host", f"http://{NS2}/").body == "ns2"


def test_the_lan_and_beyond_are_reached_through_nat(ground: Ground) -> None:
    """Replies come back, and the LAN sees the host's address."""
    for name in ("ns1", "ns2", "far"):
        for address in (BOX, INTERNET):
            page = ground.fetch(name, f"http://{address}/")
            assert (page.body, page.client) == ("box", HOST), (name, address, page)
            asked = ground.ask_udp(name, address, 53)
            assert (asked.body, asked.client) == ("box", HOST), (name, address, asked)
        assert ground.host.pings(INTERNET, netns=name)


def test_the_lan_opens_no_connection_to_a_container(ground: Ground) -> None:
    """Not even a neighbour who knows the way and routes straight in."""
    ground.lan.run(["ip", "route", "add", "192.168.10.0/24", "via", HOST])
    try:
        for address, port in ((NS2, 80), (NS1, 80), (NS1, 8888), (BLUE, 9999)):
            page = ground.fetch("lan", f"http://{address}:{port}/", timeout=0.5)
            assert not page.ok, (address, port)
        assert not ground.lan.box.pings(NS2, timeout=0.5)
        assert not ground.ask_udp("lan", NS1, 53, timeout=0.3).ok
    finally:
        ground.lan.run(["ip", "route", "del", "192.168.10.0/24", "via", HOST])
    assert ground.fetch("lan", f"http://{HOST}:8081/").body == "ns1"


def test_networks_do_not_reach_each_other(ground: Ground) -> None:
    for who, address in (("ns1", FAR), ("ns2", FAR), ("far", NS1), ("far", NS2)):
        assert not ground.fetch(who, f"http://{address}/", timeout=0.5).ok, (who, address)
        assert not ground.host.pings(address, netns=who, timeout=0.5), (who, address)


def test_what_a_container_gets_of_the_host(ground: Ground) -> None:
    """Ping and DNS at its own gateway; nothing else, by any of the host's addresses."""
    assert ground.fetch("ns1", f"http://{BLUE}:53/").body == "host"
    assert ground.ask_udp("ns1", BLUE, 53).body == "host"
    for address in (BLUE, RED, HOST):
        assert not ground.fetch("ns1", f"http://{address}:9999/", timeout=0.5).ok, address
    assert not ground.ask_udp("ns1", HOST, 9998, timeout=0.3).ok
    assert not ground.host.pings(RED, netns="ns1", timeout=0.5)
    assert not ground.fetch("far", f"http://{BLUE}:53/", timeout=0.5).ok
    assert ground.fetch("host", f"http://{HOST}:9999/").body == "host"


def test_ipv6_is_off_inside_and_on_the_bridge(ground: Ground) -> None:
    for name in ("ns1", "far"):
        assert ground.host.ip("-6", "address", netns=name) == ""
        assert ground.host.sysctl("net.ipv6.conf.all.disable_ipv6", netns=name) == "1"
        ground.host.ip("link", "add", "late", "type", "bridge", netns=name)
        assert ground.host.sysctl("net/ipv6/conf/late/disable_ipv6", netns=name) == "1"
        ground.host.ip("link", "del", "late", netns=name)
    for bridge in BRIDGES.values():
        assert ground.host.sysctl(f"net/ipv6/conf/{bridge}/disable_ipv6") == "1"
        assert ground.host.ip("-6", "address", "show", bridge) == ""
    for member in ground.members.values():
        # A bridge port takes part in nothing above layer 2: no link-local address either.
        assert ground.host.ip("-6", "address", "show", member.host_ifname) == ""


def test_ipv6_is_off_in_each_of_many(host: Host) -> None:
    """One process makes so many that it goes through several mounts of procfs."""
    made = f"""
import os, sys
sys.path.insert(0, {str(REPO / "src")!r})
from weft.linux import netns
from weft.linux.procfs import Procfs
netns.prepare()
home, off = os.open(netns.HERE, os.O_RDONLY), Procfs()
for n in range(70):
    netns.add(f"many{{n}}", home, off.switch_ipv6_off)
"""
    host.run([*PYTHON, "-c", made])
    look = "for n in $(seq 0 69); do ip netns exec many$n cat /proc/sys/net/ipv6/conf/all/disable_ipv6; done"
    assert host.run(["sh", "-c", look]).stdout.split() == ["1"] * 70
    assert host.run(["cat", "/proc/sys/net/ipv6/conf/all/disable_ipv6"]).stdout.strip() == "0"


def test_bridge_nf_settings_are_left_alone(ground: Ground) -> None:
    before = ground.host.sysctl("net.bridge.bridge-nf-call-iptables")
    ground.host.weft("net", "create", "third")
    ground.host.weft("run", "--name", "short", "--network", "third", "--", "true")
    ground.host.weft("rm", "short")
    ground.host.weft("net", "rm", "third")
    assert ground.host.sysctl("net.bridge.bridge-nf-call-iptables") == before


def test_forwarding_is_switched_on_once_said_and_never_off(host: Host) -> None:
    first = host.weft("net", "create", "one")
    assert "ip_forward" in first.stderr
    assert host.sysctl("net.ipv4.ip_forward") == "1"
    assert "ip_forward" not in host.weft("net", "create", "two").stderr
    host.weft("net", "rm", "one", "two")
    assert host.sysctl("net.ipv4.ip_forward") == "1"
    assert "ip_forward" not in host.weft("net", "create", "one").stderr


def test_all_goes_and_nothing_stays(host: Host, lan: Lan) -> None:
    """Containers with processes, ports and a proxy: after rm and net rm only ip_forward differs."""
    host.sysctl("net.ipv4.ip_forward", "1")
    host.weft("net", "create", "warm")
    host.weft("run", "--name", "warm", "--network", "warm")
    host.weft("net", "rm", "-f", "warm")  # /run/netns and the state files exist from now on
    assert settle(host, lambda: "wv" not in host.ip("link"))
    before = snapshot(host)
    host.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
    published = ("-p", "0.0.0.0:8080:80")
    host.weft("run", "-d", "--name", "web", "--network", "blue", *published, "--", "sleep", "1000")
    host.weft("run", "--name", "bare", "--network", "blue", "-p", "0.0.0.0:5300:53/udp")
    host.serve(80, "web", netns="web")
    assert lan.fetch(f"http://{HOST}:8080/").body == "web"
    host.weft("net", "rm", "-f", "blue")
    assert json.loads(host.weft("ps", "-a", "--format", "json").stdout) == []
    assert differences(host, before) == []
