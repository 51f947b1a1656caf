"""weft-netavark as Podman uses it, without Podman: JSON in, containers in networks, JSON out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from frontends.netavark import podman
from harness import REPO, Host, Lan, Process, differences, settle, snapshot

LINE = (str(REPO / "weft"), "netavark", "--config", "/run/containers/networks", "--rootless=false")


def call(
    host: Host, command: str, netns: str, said: Any, *flags: str, check: bool = True, **env: str
) -> subprocess.CompletedProcess[str]:
    line = [*LINE, *flags, command, f"/run/netns/{netns}"]
    return host.run(line, input=podman.text(said), check=check, env=env)


def setup(host: Host, netns: str, said: Any, *flags: str, **env: str) -> Any:
    done = call(host, "setup", netns, said, *flags, check=True, **env)
    assert done.stderr == ""
    return json.loads(done.stdout)


def failed(host: Host, command: str, netns: str, said: Any, *flags: str, **env: str) -> str:
    done = call(host, command, netns, said, *flags, check=False, **env)
    found = json.loads(done.stdout)
    assert (done.returncode, list(found), done.stderr) == (1, ["error"], "")
    return str(found["error"])


def teardown(host: Host, netns: str, said: Any, *flags: str) -> None:
    done = call(host, "teardown", netns, said, *flags)
    assert (done.stdout, done.stderr) == ("", "")


@contextmanager
def ended(server: Process) -> Iterator[None]:
    """Ends a server afterwards."""
    try:
        yield
    finally:
        server.end()


@pytest.fixture
def machine(host: Host) -> Host:
    for name in ("c1", "c2"):
        host.sh(f"ip netns add {name}\nip -n {name} link set lo up")
    # Directories stay, and that the host forwards.
    said = web(port_mappings=[podman.port(7000)])
    for command in ("setup", "teardown"):
        call(host, command, "c1", said)
    return host


def web(address: str = "10.88.0.2", **changes: Any) -> dict[str, Any]:
    return podman.wish({"podman": (podman.network(), podman.place(address))}, **changes)


def other(address: str = "10.88.0.3", **changes: Any) -> dict[str, Any]:
    return web(address, **{"name": "db", "container_id": "f" * 64, **changes})


def test_a_container_lives_and_ends(machine: Host, lan: Lan) -> None:
    before = snapshot(machine)
    said = web(port_mappings=[podman.port()])
    answer = setup(machine, "c1", said)
    assert list(answer) == ["podman"]
    (interface,) = answer["podman"]["interfaces"].items()
    assert interface[0] == "eth0"
    assert interface[1]["subnets"] == [{"gateway": "10.88.0.1", "ipnet": "10.88.0.2/16"}]
    assert f"link/ether {interface[1]['mac_address']} " in machine.ip("link", "show", "eth0", netns="c1")
    assert (answer["podman"]["dns_search_domains"], answer["podman"]["dns_server_ips"]) == ([], [])
    assert "default via 10.88.0.1 dev eth0 metric 100" in machine.ip("route", netns="c1")
    with ended(machine.serve(80, "from podman", netns="c1")):
        for url in ("http://127.0.0.1:8080", "http://203.0.113.1:8080", "http://[::1]:8080"):
            assert machine.fetch(url).body == "from podman", url
        page = lan.fetch("http://203.0.113.1:8080")
        assert (page.body, page.client) == ("from podman", lan.BOX)
    assert machine.pings(lan.FAR, netns="c1"), "masqueraded"
    teardown(machine, "c1", said)
    teardown(machine, "c1", said)
    assert differences(machine, before, 20) == [], "the last member takes the network along"


def test_dns_and_the_array_of_two(machine: Host) -> None:
    nets = {
        "podman": (podman.network(dns_enabled=True), podman.place()),
        "green": (podman.network("green", 89, id="1" * 64), podman.place("10.89.0.2", "eth1")),
    }
    said = podman.second(podman.wish(nets, dns_servers=["9.9.9.9"]))
    machine.ip("netns", "add", "fresh")
    answer = setup(machine, "fresh", said)
    assert list(answer) == ["podman", "green"]
    assert ",UP" in machine.ip("link", "show", "lo", netns="fresh")
    assert answer["podman"]["dns_search_domains"] == ["dns.podman"]
    assert answer["podman"]["dns_server_ips"] == ["10.88.0.1"]
    assert answer["green"]["dns_server_ips"] == ["9.9.9.9"], "where weft answers no names they are passed on"
    (shown,) = machine.weft_json("net", "inspect", "podman")
    assert shown["options"]["dns"] == "true"
    machine.run([*LINE, "update", "podman", "--network-dns-servers", "1.1.1.1,8.8.8.8"])
    (shown,) = machine.weft_json("net", "inspect", "podman")
    assert shown["options"]["dns_servers"] == "1.1.1.1 8.8.8.8"
    machine.run([*LINE, "update", "podman", "--network-dns-servers", ""])
    assert "dns_servers" not in machine.weft_json("net", "inspect", "podman")[0]["options"]
    teardown(machine, "fresh", said)
    assert machine.weft("net", "ls", "-q").stdout == ""


def test_one_host_one_truth(machine: Host) -> None:
    """weft's container and Podman's in one network: they reach and resolve each other, and are repaired."""
    setup(machine, "c1", web(port_mappings=[podman.port()]))
    machine.weft("run", "-d", "--name", "own", "--network", "podman", "--", "sleep", "1000")
    machine.weft("exec", "own", "ping", "-c1", "-W2", "web")
    names = {row["name"]: row["engine"] for row in machine.weft_json("ps", "-a")}
    assert names == {"own": "weft", "podman:web": "podman"}
    (shown,) = machine.weft_json("net", "inspect", "podman")
    assert {e["container"] for e in shown["endpoints"]} == {"own", "podman:web"}
    port = next(e["host_ifname"] for e in shown["endpoints"] if e["container"] == "podman:web")
    assert machine.weft_json("link", "whose", port)["peer"]["container"] == "podman:web"
    for deed in ("nft flush ruleset", "ip link del podman0"):
        machine.sh(deed)
        machine.weft("repair")
        with ended(machine.serve(80, "mended", netns="c1")):
            assert machine.fetch("http://127.0.0.1:8080").body == "mended", deed
        machine.weft("exec", "own", "ping", "-c1", "-W2", "web")
    taken = failed(machine, "setup", "c2", other("10.88.0.4", port_mappings=[podman.port()]))
    assert "8080" in taken and "podman:web" in taken
    machine.nft("flush", "ruleset")
    machine.run([*LINE, "firewall-reload"])
    assert "lease4" in machine.nft("list", "table", "bridge", "weft")
    teardown(machine, "c1", web())
    assert machine.weft("net", "ls", "-q").stdout == "podman\n", "it is in use still"


def test_a_namespace_that_is_gone_and_another_name(machine: Host) -> None:
    before = snapshot(machine)
    setup(machine, "c1", web(port_mappings=[podman.port()]))
    machine.ip("netns", "del", "c1")
    teardown(machine, "c1", web(name="renamed"))
    machine.sh("ip netns add c1\nip -n c1 link set lo up")
    assert differences(machine, before, 20) == []
    setup(machine, "c1", web())
    machine.ip("netns", "del", "c1")
    machine.ip("netns", "add", "c1")
    setup(machine, "c1", web())
    assert "10.88.0.2" in machine.ip("-br", "addr", netns="c1"), "its end was never told"
    twin = web("10.88.0.9", container_id="e" * 64)
    setup(machine, "c2", twin)
    assert {row["name"] for row in machine.weft_json("ps", "-a")} == {"podman:web", "podman:eeeeeeeeeeee"}
    for netns, said in (("c1", web()), ("c2", twin)):
        teardown(machine, netns, said)
    assert differences(machine, before, 20) == []


def test_connect_and_disconnect(machine: Host) -> None:
    """Ports stay published while the container is in any network that carries them."""
    ports = [podman.port()]
    setup(machine, "c1", web(port_mappings=ports))
    green = {"green": (podman.network("green", 89, id="1" * 64), podman.place("10.89.0.2", "eth1"))}
    setup(machine, "c1", podman.wish(green, port_mappings=ports))
    assert machine.ip("route", netns="c1").count("default via") == 2
    with ended(machine.serve(80, "there", netns="c1")):
        teardown(machine, "c1", web(port_mappings=ports))
        assert machine.fetch("http://127.0.0.1:8080").body == "there"
        assert machine.weft("net", "ls", "-q").stdout == "green\n"
        teardown(machine, "c1", podman.wish(green, port_mappings=ports))
        assert not machine.fetch("http://127.0.0.1:8080").ok


@pytest.mark.parametrize(("one", "two", "reached"), [
    ("true", "false", True), ("true", "true", False),
    pytest.param("false", "false", True, marks=pytest.mark.campaign),
    pytest.param("false", "true", True, marks=pytest.mark.campaign),
    pytest.param("strict", "false", False, marks=pytest.mark.campaign),
    pytest.param("false", "strict", False, marks=pytest.mark.campaign),
])  # fmt: skip
def test_isolation(machine: Host, one: str, two: str, reached: bool) -> None:
    for netns, name, number, isolate in (("c1", "red", 90, one), ("c2", "blue", 91, two)):
        net = podman.network(name, number, id=name[0] * 64, options={"isolate": isolate})
        part = podman.place(f"10.{number}.0.2")
        setup(machine, netns, podman.wish({name: (net, part)}, name=name, container_id=netns * 32))
    assert machine.pings("10.91.0.2", netns="c1", timeout=0.3) == reached
    assert machine.pings("10.90.0.2", netns="c2", timeout=0.3) == reached


def test_options_of_a_bridge(machine: Host, lan: Lan) -> None:
    machine.ip("addr", "add", "203.0.113.77/24", "dev", lan.UPLINK)
    net = podman.network(
        subnets=[
            {"subnet": "10.88.0.0/24", "gateway": "10.88.0.1"},
            {"subnet": "fd88::/64", "gateway": "fd88::1"},
        ],
        ipv6_enabled=True,
        options={"mtu": "1400", "metric": "50", "outbound_addr4": "203.0.113.77"},
        routes=[
            {"destination": "10.200.0.0/16", "gateway": "10.88.0.9", "metric": 5},
            {"destination": "10.201.0.0/16", "route_type": "blackhole"},
            {"destination": "10.202.0.0/16", "route_type": "unreachable", "metric": 7},
            {"destination": "fd99::/64", "route_type": "prohibit"},
        ],
    )
    part = podman.place(
        static_ips=["10.88.0.2", "fd88::2"],
        static_mac="02:00:00:00:00:22",
        options={"host_interface_name": "out0"},
    )
    answer = setup(machine, "c1", podman.wish({"podman": (net, part)}))
    assert answer["podman"]["interfaces"]["eth0"] == {
        "mac_address": "02:00:00:00:00:22",
        "subnets": [
            {"gateway": "10.88.0.1", "ipnet": "10.88.0.2/24"},
            {"gateway": "fd88::1", "ipnet": "fd88::2/64"},
        ],
    }
    assert "mtu 1400" in machine.ip("link", "show", "out0")
    four, six = machine.ip("route", netns="c1"), machine.ip("-6", "route", netns="c1")
    for words in (
        "default via 10.88.0.1 dev eth0 metric 50",
        "10.200.0.0/16 via 10.88.0.9 dev eth0 metric 5",
        "blackhole 10.201.0.0/16 metric 50",
        "unreachable 10.202.0.0/16 metric 7",
    ):
        assert words in four
    assert "prohibit fd99::/64" in six and "default via fd88::1" in six
    with ended(lan.serve(80, "far")):
        assert machine.fetch(f"http://{lan.FAR}", netns="c1").client == "203.0.113.77"
    teardown(machine, "c1", podman.wish({"podman": (net, part)}))
    assert machine.ip("route", netns="c1") == machine.ip("-6", "route", netns="c1") == ""


def test_internal(machine: Host, lan: Lan) -> None:
    said = podman.wish(
        {"podman": (podman.network(internal=True), podman.place())}, port_mappings=[podman.port()]
    )
    done = call(machine, "setup", "c1", said)
    assert "published ports are left out" in done.stderr
    assert "default" not in machine.ip("route", netns="c1")
    assert not machine.pings(lan.FAR, netns="c1", timeout=0.3)


def test_an_unmanaged_bridge_is_used_as_it_is(machine: Host, lan: Lan) -> None:
    machine.sysctl("net.ipv4.ip_forward", "0")
    net = podman.network("br0net", 88, network_interface="br0", options={"mode": "unmanaged"})
    said = podman.wish({"br0net": (net, podman.place())})
    assert "there is no bridge br0" in failed(machine, "setup", "c1", said)
    machine.sh(
        "ip link add br0 address 02:00:00:00:00:01 type bridge\n"
        "ip addr add 10.88.0.1/16 dev br0\nip link set br0 up"
    )
    setup(machine, "c1", said)
    teardown(machine, "c1", said)  # a bridge shows that it has had a port
    before = snapshot(machine)
    setup(machine, "c1", said)
    assert machine.pings("10.88.0.1", netns="c1")
    assert machine.sysctl("net.ipv4.ip_forward") == "0", "nothing of the host is touched"
    assert "br0" not in machine.nft("list", "table", "inet", "weft")
    machine.ip("addr", "add", "10.88.0.99/16", "dev", "eth0", netns="c1")
    refused = machine.run(["ping", "-c1", "-W0.3", "-I", "10.88.0.99", "10.88.0.1"], netns="c1", check=False)
    assert refused.returncode == 1, "its address is its own all the same"
    teardown(machine, "c1", said)
    assert differences(machine, before, 20) == []


def test_macvlan(machine: Host, lan: Lan) -> None:
    net = podman.network(
        driver="macvlan",
        network_interface=lan.UPLINK,
        subnets=[{"subnet": "203.0.113.0/24", "gateway": "203.0.113.2"}],
        options={"mode": "private"},
    )
    said = podman.wish({"podman": (net, podman.place("203.0.113.50"))})
    setup(machine, "c1", said)
    assert "macvlan mode private" in machine.ip("-d", "link", "show", "eth0", netns="c1")
    assert "default via 203.0.113.2 dev eth0 metric 99" in machine.ip("route", netns="c1")
    assert machine.pings(lan.FAR, netns="c1")
    teardown(machine, "c1", said)
    assert "eth0" not in machine.ip("link", netns="c1")


def test_firewall_drivers(machine: Host) -> None:
    said = web(port_mappings=[podman.port()])
    assert failed(machine, "setup", "c1", said, NETAVARK_FW="frob") == (
        "Must provide a valid firewall backend, got frob"
    )
    done = call(machine, "setup", "c1", said, NETAVARK_FW="none")
    assert "the firewall driver is none" in done.stderr
    assert not machine.fetch("http://127.0.0.1:8080").ok
    (shown,) = machine.weft_json("net", "inspect", "podman")
    assert (shown["nat"], shown["publish"]) == ("routed", [])
    teardown(machine, "c1", said)
    setup(machine, "c1", said, "--firewall-driver", "firewalld")
    done = call(machine, "setup", "c2", other(), NETAVARK_FW="iptables", RUST_LOG="netavark=info")
    assert "its own nftables tables are used" in done.stderr


PLUGIN = """#!/bin/sh
cat > /run/plugin.$1
[ -e /run/broken ] && { echo '{"error": "setup error"}'; exit 1; }
echo talk >&2
[ "$1" = create ] && cat /run/plugin.create
[ "$1" = setup ] && ip -n ${2##*/} link add eth9 type ifb && \\
  echo '{"dns_search_domains": [], "dns_server_ips": [], "interfaces": {}}'
[ "$1" = teardown ] && ip -n ${2##*/} link del eth9
exit 0
"""


def test_plugins(machine: Host) -> None:
    machine.write("/run/plugins/mine", PLUGIN, 0o755)
    machine.write("/run/plugins/plain", "no program")
    net = podman.network("mine", driver="mine", id="3" * 64)
    said = podman.wish(
        {"podman": (podman.network(), podman.place()), "mine": (net, podman.place("10.9.0.2", "eth9"))},
        port_mappings=[podman.port()],
    )
    where = ("--plugin-directory", "/run/nothing", "--plugin-directory", "/run/plugins")
    for driver in ("other", "plain", "../plugins/mine"):
        strange = podman.wish({"x": (podman.network("x", driver=driver), podman.place())})
        assert "failed to find driver or plugin" in failed(machine, "setup", "c1", strange, *where)
    done = call(machine, "setup", "c1", said, *where)
    assert (list(json.loads(done.stdout)), done.stderr) == (["podman", "mine"], "talk\n")
    given = json.loads(machine.read("/run/plugin.setup"))
    assert given["network"] == net and given["network_options"]["interface_name"] == "eth9"
    assert set(given) == {"container_id", "container_name", "port_mappings", "network", "network_options"}
    assert "eth9" in machine.ip("link", netns="c1")
    call(machine, "teardown", "c1", said, *where)
    assert machine.ip("-br", "link", netns="c1").count("\n") == 1
    machine.write("/run/broken", "")
    before = snapshot(machine)
    error = 'plugin "mine" failed: exit code 1, message: setup error'
    done = call(machine, "setup", "c1", said, *where, check=False)
    assert json.loads(done.stdout) == {"error": error}
    assert differences(machine, before, 20) == [], "what stood in other networks went again"
    alone = podman.wish({"mine": (net, podman.place("10.9.0.2", "eth9"))})
    assert failed(machine, "teardown", "c1", alone, *where) == error


def test_create_by_weft_and_by_a_plugin(machine: Host) -> None:
    wanted = podman.network("new", subnets=None, network_interface=None, dns_enabled=True, ipam_options=None)
    asked = {"network": wanted, "used": {"subnets": ["10.89.0.0/24"], "interfaces": [], "names": {}}}
    asked |= {"options": {"subnet_pools": [{"base": "10.89.0.0/16", "size": 24}]}}
    done = machine.run([*LINE, "create"], input=podman.text(asked))
    found = json.loads(done.stdout)
    assert found["subnets"] == [{"subnet": "10.89.1.0/24", "gateway": "10.89.1.1"}]
    assert (found["network_interface"], found["ipam_options"]) == ("podman1", {"driver": "host-local"})
    machine.write("/run/plugins/mine", PLUGIN, 0o755)
    asked["network"] = wanted | {"driver": "mine"}
    done = machine.run([*LINE, "--plugin-directory", "/run/plugins", "create"], input=podman.text(asked))
    assert json.loads(done.stdout)["driver"] == "mine"


def test_errors_word_for_word(machine: Host) -> None:
    before = snapshot(machine)
    none = "invalid namespace path: IO error: No such file or directory (os error 2)"
    assert failed(machine, "setup", "nope", web()) == none
    machine.write("/run/netns/plain", "")
    assert failed(machine, "setup", "plain", web()).startswith("invalid namespace path: ")
    machine.run(["rm", "/run/netns/plain"])
    done = machine.run([*LINE, "-f", "/nope", "setup", "/run/netns/c1"], check=False)
    assert json.loads(done.stdout)["error"] == (
        "failed to load network options: IO error: No such file or directory (os error 2)"
    )
    machine.ip("link", "add", "eth0", "type", "ifb", netns="c1")
    assert failed(machine, "setup", "c1", web()) == (
        "create veth pair: interface eth0 already exists on container namespace:"
        " Netlink error: File exists (os error 17)"
    )
    machine.ip("link", "del", "eth0", netns="c1")
    sctp = web(port_mappings=[podman.port(protocol="sctp")])
    assert "sctp" in failed(machine, "setup", "c1", sctp)
    broken = web(port_mappings=[podman.port(host_ip="abcd")])
    assert 'invalid host ip "abcd" provided for port 8080' in failed(machine, "setup", "c1", broken)
    for data in ("", "[" * 10_000, "{}"):
        done = machine.run([*LINE, "setup", "/run/netns/c1"], input=data, check=False)
        assert done.returncode == 1 and list(json.loads(done.stdout)) == ["error"]
    assert differences(machine, before, 20) == []


def test_networks_that_contradict(machine: Host) -> None:
    setup(machine, "c1", web())
    moved = podman.network(subnets=[{"subnet": "10.99.0.0/16", "gateway": "10.99.0.1"}])
    said = podman.wish({"podman": (moved, podman.place("10.99.0.2"))}, name="db", container_id="f" * 64)
    assert "networks of one name are one network" in failed(machine, "setup", "c2", said)
    twin = podman.network("twin", 88, id="2" * 64)
    said = podman.wish({"twin": (twin, podman.place("10.88.0.9"))}, name="db", container_id="f" * 64)
    assert "overlaps 10.88.0.0/16 of network podman" in failed(machine, "setup", "c2", said)
    same = podman.network("same", 95, id="2" * 64, network_interface="podman0")
    said = podman.wish({"same": (same, podman.place("10.95.0.9"))}, name="db", container_id="f" * 64)
    assert "belongs to network podman" in failed(machine, "setup", "c2", said)
    assert "taken" in failed(machine, "setup", "c2", other("10.88.0.2"))
    teardown(machine, "c1", web())
    setup(machine, "c2", podman.wish({"podman": (moved, podman.place("10.99.0.2"))}))


def test_many_at_once(machine: Host) -> None:
    before = snapshot(machine)
    numbers = range(2, 8)
    machine.sh("".join([f"ip netns add m{n}\nip -n m{n} link set lo up\n" for n in numbers]))
    with_names = snapshot(machine)

    def all_of(command: str) -> None:
        started: list[tuple[Process, str]] = []
        for n in numbers:
            said = web(
                f"10.88.0.{n}", name=f"m{n}", container_id=f"{n:064x}", port_mappings=[podman.port(9000 + n)]
            )
            machine.write(f"/run/in{n}.json", podman.text(said))
            line = [*LINE, "-f", f"/run/in{n}.json", command, f"/run/netns/m{n}"]
            started.append((machine.popen(line), command))
        for process, _ in started:
            out, said_else = process.communicate(timeout=60)
            assert (process.returncode, said_else) == (0, ""), out

    all_of("setup")
    assert len(machine.weft_json("ps", "-a")) == len(numbers)
    all_of("teardown")
    assert differences(machine, with_names, 20) == []
    machine.sh("".join([f"ip netns del m{n}\nrm /run/in{n}.json\n" for n in numbers]))
    assert settle(machine, lambda: not differences(machine, before, 0.1), 20)


#: A setup takes some 25 ms; the fast one among them dies between its first durable change and its last.
MOMENTS = [pytest.param(n, marks=() if n == 20 else pytest.mark.campaign) for n in range(6, 40, 2)]


@pytest.mark.parametrize("milliseconds", MOMENTS)
def test_killed_in_the_middle(machine: Host, milliseconds: int) -> None:
    """Whenever it dies, the teardown that follows leaves nothing."""
    before = snapshot(machine)
    machine.write("/run/in.json", podman.text(web(port_mappings=[podman.port()])))
    machine.run(
        [
            "timeout",
            "-s",
            "KILL",
            f"0.{milliseconds:03}",
            *LINE,
            "-f",
            "/run/in.json",
            "setup",
            "/run/netns/c1",
        ],
        check=False,
    )
    call(machine, "teardown", "c1", web())
    machine.run(["rm", "/run/in.json"])
    assert differences(machine, before, 20) == []


def test_teardown_cannot_be_interrupted(machine: Host) -> None:
    setup(machine, "c1", web())
    machine.write("/run/in.json", podman.text(web()))
    machine.run(["mkfifo", "/run/fifo"])
    process = machine.popen([*LINE, "-f", "/run/fifo", "teardown", "/run/netns/c1"])
    status = machine.path(f"/proc/{process.inner_pid()}/status")
    both = 1 << 14 | 1 << 1  # SIGTERM, SIGINT
    assert settle(machine, lambda: _ignored(status.read_text()) & both == both)
    process.terminate()
    machine.sh("cat /run/in.json > /run/fifo")
    assert process.wait(10) == 0
    assert machine.weft("ps", "-aq").stdout == ""


def _ignored(status: str) -> int:
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")), 16)


def test_firewalld_reload_stays_and_mends(machine: Host) -> None:
    setup(machine, "c1", web())
    keeper = machine.popen([*LINE, "firewalld-reload"])
    machine.nft("flush", "ruleset")
    assert settle(machine, lambda: "weft" in machine.nft("list", "tables"))
    assert keeper.poll() is None
    keeper.end()
