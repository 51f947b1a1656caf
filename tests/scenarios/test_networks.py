"""Containers in several networks: their routes and names, joined and left while they run."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Host, Lan, differences, settle, snapshot
from harness.host import PYTHON

BLUE, GREEN = "10.1.0.0/24", "10.2.0.0/24"
IDLE = ("--", "sleep", "1000")


@pytest.fixture
def two(host: Host) -> Host:
    """A host with blue, of both families, and green."""
    host.weft("net", "create", "blue", "--subnet", BLUE, "--subnet", "fd00:1::/64")
    host.weft("net", "create", "green", "--subnet", GREEN)
    at_rest(host)
    return host


def at_rest(host: Host) -> None:
    """A bridge without a port is DOWN a moment after it was made."""
    assert settle(host, lambda: " UNKNOWN " not in host.ip("-br", "link", "show", "type", "bridge"))


def run(host: Host, name: str, *words: str) -> None:
    host.weft("run", "-d", "--name", name, *words, *IDLE)


def inside(host: Host, name: str, *argv: str, check: bool = True) -> str:
    return host.weft("exec", name, "--", *argv, check=check).stdout


def defaults(host: Host, name: str, family: str = "-4") -> list[str]:
    """Who a container's default routes lead to, and by which interface."""
    lines = inside(host, name, "ip", family, "route", "show", "default").splitlines()
    return [" ".join(line.split()[2:5:2]) for line in lines]


def addresses(host: Host, name: str, family: str = "-4") -> dict[str, str]:
    """The address of each interface of a container, lo and link-local ones apart."""
    lines = inside(host, name, "ip", "-o", family, "address", "show", "scope", "global").splitlines()
    return {line.split()[1]: line.split()[3] for line in lines}


def names(host: Host, name: str) -> set[tuple[str, str]]:
    """What a container's hosts file says beyond localhost."""
    lines = inside(host, name, "cat", "/etc/hosts").splitlines()[2:]
    split = [line.split() for line in lines if line and not line.startswith("#")]
    return {(word, line[0]) for line in split for word in line[1:]}


def refused(host: Host, status: int, *words: str) -> str:
    """weft refuses in one line, a hint aside, and changes nothing."""
    at_rest(host)
    before = snapshot(host)
    got = host.weft(*words, check=False)
    assert (got.returncode, got.stdout) == (status, ""), (words, got)
    error, *hint = got.stderr.splitlines()
    assert error.startswith("weft: error: ") and len(hint) <= 1
    assert differences(host, before) == []
    return error.removeprefix("weft: error: ")


def test_several_networks_and_one_way_out(two: Host, lan: Lan) -> None:
    """The first network's gateway is the way out, unless another has a higher priority."""
    lan.serve(80, "box")
    run(two, "first", "--network", "blue", "--network", "green")
    run(two, "second", "--network", "blue", "--network", "green:gw-priority=1")
    run(two, "low", "--network", "blue:gw-priority=-1", "--network", "green")
    assert addresses(two, "first") == {"eth0": "10.1.0.2/24", "eth1": "10.2.0.2/24"}
    assert addresses(two, "first", "-6") == {"eth0": "fd00:1::2/64"}
    assert defaults(two, "first") == ["10.1.0.1 eth0"]
    assert defaults(two, "second") == defaults(two, "low") == ["10.2.0.1 eth1"]
    # Only blue has IPv6: it is IPv6's way out whatever the priorities.
    for name in ("first", "second", "low"):
        assert defaults(two, name, "-6") == ["fd00:1::1 eth0"]
        assert two.fetch(f"http://{Lan.FAR}/", netns=name) == two.fetch(f"http://{Lan.BOX}/", netns=name)
        assert two.fetch(f"http://{Lan.FAR}/", netns=name).client == Lan.HOST
    assert two.pings("10.1.0.3", netns="first") and two.pings("10.2.0.3", netns="first")
    assert two.pings("fd00:1::3", netns="first")


def test_in_both_networks_it_joins_neither_to_the_other(two: Host) -> None:
    run(two, "both", "--network", "blue", "--network", "green")
    run(two, "b", "--network", "blue")
    run(two, "g", "--network", "green")
    assert two.pings("10.1.0.3", netns="both") and two.pings("10.2.0.3", netns="both")
    assert not two.pings("10.2.0.3", netns="b", timeout=0.5)
    assert not two.pings("10.1.0.3", netns="g", timeout=0.5)
    # Not even by its other address, which an answer would leave by the wrong network for.
    two.ip("route", "add", "10.2.0.2", "via", "10.1.0.2", netns="b")
    assert not two.pings("10.2.0.3", netns="b", timeout=0.5)


def test_names_of_all_its_networks(two: Host) -> None:
    """Both networks' members are in one file, and who joins or leaves later too."""
    run(two, "g", "--network", "green:alias=gee")
    run(two, "both", "--network", "blue:alias=bee", "--network", "green", "--add-host", "x:192.0.2.1")
    mine = {("both", "10.1.0.2"), ("bee", "10.1.0.2"), ("both", "fd00:1::2"), ("bee", "fd00:1::2")}
    fixed = {*mine, ("both", "10.2.0.3"), ("x", "192.0.2.1")}
    assert names(two, "both") == {*fixed, ("g", "10.2.0.2"), ("gee", "10.2.0.2")}
    run(two, "b", "--network", "blue")
    two.weft("rm", "-f", "g")
    assert names(two, "both") == {*fixed, ("b", "10.1.0.3"), ("b", "fd00:1::3")}
    # Who is in blue only knows nobody's address in green.
    assert not any(address.startswith("10.2.") for _, address in names(two, "b"))
    assert "x" not in dict(names(two, "b"))


def test_lines_of_its_own_in_hosts(two: Host) -> None:
    flags = ("--add-host", "one:192.0.2.1", "--add-host", "six:2001:db8::1", "--add-host", "up:host-gateway")
    run(two, "c", "--network", "blue", *flags)
    run(two, "other", "--network", "blue")
    asked = {("one", "192.0.2.1"), ("six", "2001:db8::1"), ("up", "10.1.0.1"), ("up", "fd00:1::1")}
    assert names(two, "c") > asked
    assert ("other", "10.1.0.3") in names(two, "c")
    assert not names(two, "other") & asked
    assert two.run(["ip", "netns", "exec", "c", "ping", "-c1", "-W2", "up"]).returncode == 0


def test_connected_while_it_runs(two: Host) -> None:
    """The process that runs already sees the interface, the route and the names come and go."""
    watch = "while sleep 0.02; do cat /etc/hosts > /tmp/h; ls /sys/class/net > /tmp/n; done"
    two.weft("run", "-d", "--name", "c", "--network", "blue", "--", "sh", "-c", watch)
    run(two, "g", "--network", "green")
    two.serve(80, "g", netns="g")
    said = two.weft("net", "connect", "green", "c", "--alias", "see", "--ip", "10.2.0.77").stdout
    assert said == "eth1 10.2.0.77/24\n"
    assert two.fetch("http://10.2.0.2/", netns="c").client == "10.2.0.77"
    assert two.run(["ip", "netns", "exec", "g", "curl", "-sS", "http://g/"]).stdout == "g"
    assert ("see", "10.2.0.77") in names(two, "g")

    def seen(word: str) -> bool:
        return word in two.read("/tmp/h") and "eth1" in two.read("/tmp/n")

    assert settle(two, lambda: seen("10.2.0.2\tg"))
    two.weft("net", "disconnect", "green", "c")
    assert settle(two, lambda: "10.2." not in two.read("/tmp/h") and "eth1" not in two.read("/tmp/n"))
    assert not two.pings("10.2.0.77", netns="g", timeout=0.5)
    assert ("see", "10.2.0.77") not in names(two, "g")
    assert two.pings("10.1.0.1", netns="c")


def test_a_better_way_out_and_back(two: Host) -> None:
    """The default route follows the priorities as networks come and go."""
    run(two, "c", "--network", "blue")
    two.weft("net", "connect", "green", "c", "--gw-priority", "5")
    assert defaults(two, "c") == ["10.2.0.1 eth1"]
    assert defaults(two, "c", "-6") == ["fd00:1::1 eth0"]
    two.weft("net", "disconnect", "green", "c")
    assert defaults(two, "c") == ["10.1.0.1 eth0"]
    two.weft("net", "connect", "green", "c")
    assert defaults(two, "c") == ["10.1.0.1 eth0"]
    two.weft("net", "disconnect", "blue", "c")
    assert (defaults(two, "c"), defaults(two, "c", "-6")) == (["10.2.0.1 eth1"], [])
    two.weft("net", "disconnect", "green", "c")
    assert (addresses(two, "c"), defaults(two, "c")) == ({}, [])
    two.weft("net", "connect", "blue", "c")
    assert defaults(two, "c") == ["10.1.0.1 eth0"]


def test_nothing_stays_of_what_was_disconnected(two: Host) -> None:
    run(two, "c", "--network", "blue")
    two.weft("net", "connect", "green", "c")
    two.weft("net", "disconnect", "green", "c")
    before = snapshot(two)
    two.weft("net", "connect", "green", "c", "-p", "8080:80", "--route", "172.30.0.0/16")
    two.serve(80, "c", netns="c")
    assert two.fetch("http://127.0.0.1:8080/").body == "c"
    for process in two.processes:
        process.end()
    two.weft("net", "disconnect", "green", "c")
    assert differences(two, before) == []


def test_refused_connections(two: Host) -> None:
    run(two, "c", "--network", "blue")
    run(two, "d", "--network", "green")
    assert "is in network blue already" in refused(two, 4, "net", "connect", "blue", "c")
    assert "taken by container d" in refused(two, 4, "net", "connect", "green", "c", "--ip", "10.2.0.2")
    assert "eth0" in refused(two, 4, "net", "connect", "green", "c", "--ifname", "eth0")
    assert "outside the subnet" in refused(two, 2, "net", "connect", "green", "c", "--ip", "10.9.0.2")
    refused(two, 3, "net", "connect", "red", "c")
    refused(two, 3, "net", "connect", "blue", "nobody")
    assert "is not in network green" in refused(two, 3, "net", "disconnect", "green", "c")
    assert two.weft("net", "disconnect", "-f", "green", "c").returncode == 0
    assert "host" in refused(two, 2, "net", "connect", "blue", "host")
    assert "host's own" in refused(two, 2, "net", "connect", "blue", "1")


def test_a_namespace_of_ip_netns(two: Host, lan: Lan) -> None:
    """By its name; afterwards it is what it was."""
    lan.serve(80, "box")
    two.sh("ip netns add x\nip -n x link set lo up\nip -n x link add br0 type bridge")
    run(two, "c", "--network", "blue")
    before = snapshot(two)["netns"]["x"]
    two.weft("net", "connect", "blue", "netns:x", "--alias", "ex")
    assert two.pings("10.1.0.2", netns="x") and two.pings("10.1.0.3", netns="c")
    assert inside(two, "c", "getent", "ahostsv4", "ex").startswith("10.1.0.3 ")
    assert two.fetch(f"http://{Lan.FAR}/", netns="x").client == Lan.HOST
    assert two.pings("fd00:1::2", netns="x")
    two.weft("net", "disconnect", "blue", "x")
    assert snapshot(two)["netns"]["x"]["links"] == before["links"]
    assert snapshot(two)["netns"]["x"] == before


def test_the_namespace_of_a_process(two: Host) -> None:
    """Any program's, by its pid or by a path to its namespace; when it ends, gc forgets it."""
    run(two, "c", "--network", "blue")
    made = two.popen(["unshare", "-n", *PYTHON, "-c", "import time; print(1, flush=True); time.sleep(1000)"])
    assert made.stdout and made.stdout.readline() == "1\n"
    pid = made.inner_pid()
    two.weft("net", "connect", "blue", str(pid))
    assert two.pings("10.1.0.3", netns="c")
    assert f"pid:{pid}" in refused(two, 2, "net", "connect", "green", f"/proc/{pid}/ns/net")
    two.weft("net", "connect", "green", str(pid))
    two.weft("net", "disconnect", "green", str(pid))
    two.weft("net", "disconnect", "blue", str(pid))
    assert not two.pings("10.1.0.3", netns="c", timeout=0.5)
    two.weft("net", "connect", "blue", str(pid))
    made.end()
    assert settle(two, lambda: two.ip("link").count("wv") == 1)
    two.weft("gc")
    assert [e["container"] for e in two.weft_json("net", "inspect", "blue")[0]["endpoints"]] == ["c"]


def test_per_interface_settings(two: Host) -> None:
    """Sysctls of the interface, further routes, its name, its MAC; sysctls of the namespace."""
    green = (
        "green:ifname=wan,mac=02:00:00:00:00:11,sysctl=net.ipv4.conf.IFNAME.arp_notify=1,route=172.30.0.0/16"
    )
    run(two, "c", "--network", "blue", "--network", green, "--sysctl", "net.core.somaxconn=77")
    assert two.sysctl("net/ipv4/conf/wan/arp_notify", netns="c") == "1"
    assert two.sysctl("net/ipv4/conf/eth0/arp_notify", netns="c") == "0"
    assert two.sysctl("net.core.somaxconn", netns="c") == "77"
    assert "02:00:00:00:00:11" in two.ip("link", "show", "wan", netns="c")
    assert "172.30.0.0/16 dev wan" in two.ip("route", netns="c")
    run(two, "d", "--network", "green:route=172.31.0.0/16@10.2.0.9")
    assert "172.31.0.0/16 via 10.2.0.9 dev eth0" in two.ip("route", netns="d")


@pytest.mark.parametrize(
    "word",
    [
        *("sysctl=net.ipv4.ip_forward=1", "sysctl=kernel.IFNAME.panic=1", "route=nonsense"),
        *("route=172.30.0.0/16@10.9.0.1", "route=2001:db8::/64", "route=0.0.0.0/0"),
    ],
)
def test_settings_that_are_refused(two: Host, word: str) -> None:
    refused(two, 2, "run", "--name", "c", "--network", f"green:{word}")


def test_internal_has_no_way_out(host: Host, lan: Lan) -> None:
    lan.serve(80, "box")
    host.weft("net", "create", "red", "--internal", "--subnet", GREEN)
    run(host, "a", "--network", "red")
    run(host, "b", "--network", "red")
    assert defaults(host, "a") == []
    assert host.pings("10.2.0.3", netns="a")
    for network in ("203.0.113.0/24", "198.51.100.0/24"):
        host.ip("route", "add", network, "via", "10.2.0.1", netns="a")
    assert not host.fetch(f"http://{Lan.BOX}/", netns="a", timeout=0.5).ok
    assert not host.pings(Lan.FAR, netns="a", timeout=0.5)
    refused(host, 2, "run", "--name", "c", "--network", "red", "-p", "8080:80")
    # A second network is the way out; the internal one has no say in it, whatever its priority.
    host.weft("net", "create", "blue", "--subnet", BLUE)
    run(host, "both", "--network", "red:gw-priority=9", "--network", "blue")
    assert defaults(host, "both") == ["10.1.0.1 eth1"]
    assert host.fetch(f"http://{Lan.FAR}/", netns="both").ok


def test_isolated_is_switched_while_used(two: Host, lan: Lan) -> None:
    lan.serve(80, "box")
    for name in ("a", "b"):
        run(two, name, "--network", "blue")

    def reached() -> tuple[bool, bool]:
        return two.pings("10.1.0.3", netns="a", timeout=0.5), two.pings("fd00:1::3", netns="a", timeout=0.5)

    assert reached() == (True, True)
    two.weft("net", "edit", "blue", "--isolated=true")
    run(two, "late", "--network", "blue")
    assert reached() == (False, False)
    assert not two.pings("10.1.0.4", netns="a", timeout=0.5)
    assert two.fetch(f"http://{Lan.FAR}/", netns="a").ok and two.pings("10.1.0.1", netns="a")
    two.weft("net", "edit", "blue", "--isolated=false")
    assert reached() == (True, True)
    assert two.pings("10.1.0.4", netns="a")


def test_nat_is_switched_while_used(two: Host, lan: Lan) -> None:
    """Routed, the LAN sees the container's own address, and reaches what is published by it."""
    lan.serve(80, "box")
    run(two, "c", "--network", "blue", "-p", f"{Lan.HOST}:8080:80")
    two.serve(80, "c", netns="c")
    two.serve(81, "hidden", netns="c")
    lan.run(["ip", "route", "add", BLUE, "via", Lan.HOST])
    assert two.fetch(f"http://{Lan.BOX}/", netns="c").client == Lan.HOST
    assert not lan.fetch("http://10.1.0.2/", timeout=0.5).ok
    two.weft("net", "edit", "blue", "--nat", "routed")
    assert two.fetch(f"http://{Lan.BOX}/", netns="c").client == "10.1.0.2"
    assert lan.fetch("http://10.1.0.2/").body == "c"
    assert not lan.fetch("http://10.1.0.2:81/", timeout=0.5).ok
    two.weft("net", "edit", "blue", "--nat", "nat")
    assert two.fetch(f"http://{Lan.BOX}/", netns="c").client == Lan.HOST
    assert not lan.fetch("http://10.1.0.2/", timeout=0.5).ok


def test_mtu_is_the_uplinks_and_is_changed_while_used(host: Host, lan: Lan) -> None:
    host.ip("link", "set", Lan.UPLINK, "mtu", "1400")
    host.weft("net", "create", "blue", "--subnet", BLUE)
    host.weft("net", "create", "given", "--mtu", "9000")
    run(host, "a", "--network", "blue", "--network", "given")
    run(host, "b", "--network", "blue")
    assert mtus(host, "a") == {"eth0": 1400, "eth1": 9000}
    full = ("ping", "-n", "-c1", "-W1", "-Mdo", "10.1.0.3", "-s")
    for mtu in (1300, 1450):
        host.weft("net", "edit", "blue", "--mtu", str(mtu))
        assert mtus(host, "a") == {"eth0": mtu, "eth1": 9000}
        assert mtus(host, "b") == {"eth0": mtu}
        assert host.weft_json("net", "inspect", "blue")[0]["mtu"] == mtu
        assert host.run([*full, str(mtu - 28)], netns="a").returncode == 0
        assert host.run([*full, str(mtu - 27)], netns="a", check=False).returncode == 1
    run(host, "late", "--network", "blue")
    assert mtus(host, "late") == {"eth0": 1450}


def mtus(host: Host, name: str) -> dict[str, int]:
    lines = inside(host, name, "ip", "-o", "link").splitlines()
    words = [line.split() for line in lines]
    return {w[1].partition("@")[0]: int(w[w.index("mtu") + 1]) for w in words if w[1] != "lo:"}


def test_labels_come_and_go(two: Host) -> None:
    def labels() -> Any:
        return two.weft_json("net", "inspect", "blue")[0]["labels"]

    two.weft("net", "edit", "blue", "--label", "a=1", "--label", "b=2")
    assert labels() == {"a": "1", "b": "2"}
    two.weft("net", "edit", "blue", "--label", "a=", "--label", "b=3")
    assert labels() == {"b": "3"}


def test_edits_that_are_refused(two: Host) -> None:
    two.weft("net", "create", "red", "--internal")
    for words in (
        (), ("--mtu", "67"), ("--mtu", "1279"), ("--mtu", "65536"), ("--nat", "none"), ("--isolated=maybe",),
    ):  # fmt: skip
        refused(two, 2, "net", "edit", "blue", *words)
    refused(two, 2, "net", "edit", "red", "--nat", "routed")
    refused(two, 3, "net", "edit", "nobody", "--mtu", "1400")


def test_prune_removes_what_nobody_is_in(two: Host) -> None:
    run(two, "c", "--network", "blue")
    two.weft("net", "create", "red")
    assert two.weft("net", "prune").stdout.split() == ["green", "red"]
    assert two.weft("net", "ls", "-q").stdout.split() == ["blue"]
    two.weft("rm", "-f", "c")
    assert two.weft("net", "prune").stdout == "blue\n"
    assert two.weft("net", "prune").stdout == ""
    assert [line.split()[0] for line in two.ip("-br", "link").splitlines()] == ["lo"]
    assert two.nft("list", "ruleset") == ""


def test_net_rm_takes_out_whoever_has_another(two: Host) -> None:
    """Forced: the container that is in another network too loses this one and goes on."""
    run(two, "both", "--network", "blue", "--network", "green")
    run(two, "alone", "--network", "blue")
    assert "both" in refused(two, 4, "net", "rm", "blue")
    two.weft("net", "rm", "-f", "blue")
    assert [c["name"] for c in two.weft_json("ps", "-a")] == ["both"]
    assert (addresses(two, "both"), defaults(two, "both")) == ({"eth1": "10.2.0.2/24"}, ["10.2.0.1 eth1"])


def test_an_adopted_bridge_is_used_and_kept(host: Host, lan: Lan) -> None:
    """Its own address is the gateway, its other ports are left alone, and it is there in the end."""
    lan.serve(80, "box")
    host.sh(
        "ip link add br9 address 02:00:00:00:00:09 type bridge\n"
        "ip address add 10.9.0.254/24 dev br9\n"
        "ip link set br9 up\n"
        "ip netns add old\n"
        "ip link add p9 master br9 type veth peer name eth0 netns old\n"
        "ip link set p9 up\n"
        "ip -n old address add 10.9.0.200/24 dev eth0\n"
        "ip -n old link set eth0 up"
    )
    host.weft("net", "create", "warm")
    host.weft("net", "rm", "warm")
    before = snapshot(host)
    host.weft("net", "create", "nine", "--bridge", "br9", "--subnet", "10.9.0.0/24")
    made = host.weft_json("net", "inspect", "nine")
    assert (made[0]["adopted"], made[0]["subnets"][0]["gateway"]) == (True, "10.9.0.254")
    run(host, "c", "--network", "nine")
    assert defaults(host, "c") == ["10.9.0.254 eth0"]
    assert host.pings("10.9.0.200", netns="c")
    assert host.fetch(f"http://{Lan.FAR}/", netns="c").client == Lan.HOST
    host.weft("net", "rm", "-f", "nine")
    assert settle(host, lambda: "wv" not in host.ip("link"))
    assert differences(host, before) == []
