"""macvlan networks: containers on the wire of a link of the host, from birth to repair."""

from __future__ import annotations

import json

import pytest

from harness import Host, Lan, differences, settle, snapshot
from scenarios.test_netavark import ended

CREATE = ("net", "create", "lan", "-d", "macvlan", "--subnet", "203.0.113.0/24", "--gateway", "203.0.113.2")
RANGE = ("--ip-range", "203.0.113.128/25")


@pytest.fixture
def machine(lan: Lan) -> Host:
    lan.host.weft(*CREATE, *RANGE)
    return lan.host


def detail(host: Host, netns: str, ifname: str = "eth0") -> dict[str, str]:
    (found,) = json.loads(host.ip("-d", "-j", "link", "show", ifname, netns=netns))
    info = found["linkinfo"]
    return {"kind": info["info_kind"], "mode": info["info_data"]["mode"], "mac": found["address"]}


def test_from_the_lan_and_to_it(machine: Host, lan: Lan) -> None:
    machine.weft("run", "-d", "--name", "a", "--network", "lan")
    machine.weft("run", "-d", "--name", "b", "--network", "lan")
    assert detail(machine, "a")["kind"] == "macvlan" and detail(machine, "a")["mode"] == "bridge"
    assert machine.pings(lan.FAR, netns="a"), "by the gateway of the LAN, without any NAT"
    assert machine.weft("exec", "a", "ping", "-c1", "-W2", "b").returncode == 0, "by name"
    with ended(machine.serve(80, "from a", netns="a")):
        assert lan.fetch("http://203.0.113.128/").body == "from a", "the LAN reaches it directly"
    assert "weft" not in machine.nft("list", "tables"), "nothing of it passes the host's firewall"
    (shown,) = machine.weft_json("net", "inspect", "lan")
    assert (shown["driver"], shown["parent"], shown["bridge"]) == ("macvlan", lan.UPLINK, "")
    assert [e["container"] for e in shown["endpoints"]] == ["a", "b"]
    said = machine.weft_json("link", "ls", "--in", "a")
    assert next(row["owner"] for row in said if row["ifname"] == "eth0") == "container a"


def test_namespaces_of_others_come_and_go(machine: Host) -> None:
    machine.ip("netns", "add", "guest")
    before = snapshot(machine)
    machine.weft("net", "connect", "lan", "netns:guest", "--ip", "203.0.113.200", "--ifname", "wire0")
    assert "203.0.113.200/24" in machine.ip("-br", "addr", "show", "wire0", netns="guest")
    machine.weft("net", "disconnect", "lan", "netns:guest")
    assert differences(machine, before, 20) == []


MODES = ("private", "vepa", "bridge", "passthru", "source")


@pytest.mark.parametrize(
    "mode", [pytest.param(m, marks=() if m in MODES[::3] else pytest.mark.campaign) for m in MODES]
)
def test_modes(lan: Lan, mode: str) -> None:
    host = lan.host
    host.weft(*CREATE, *RANGE, "-o", f"parent={lan.UPLINK}", "-o", f"mode={mode}", "--mtu", "1400")
    (uplink,) = json.loads(host.ip("-j", "link", "show", lan.UPLINK))
    host.weft("run", "-d", "--name", "a", "--network", "lan")
    found = detail(host, "a")
    assert found["mode"] == mode
    assert (found["mac"] == uplink["address"]) == (mode == "passthru")
    (shown,) = host.weft_json("inspect", "a")
    assert shown["networks"]["lan"]["mac"] == found["mac"]
    assert " mtu 1400 " in host.ip("link", "show", "eth0", netns="a")


def test_what_a_network_cannot_be(machine: Host) -> None:
    refused = {
        ("-o", "parent=nope"): (3, "no interface nope"),
        ("-o", "mode=strange"): (2, "mode 'strange'"),
        ("-o", "mode=l3"): (2, "mode 'l3'"),
        ("-o", "isolate=false"): (2, "not for driver macvlan"),
        ("--bridge", "br0"): (2, "bridge driver"),
        ("--isolated",): (2, "bridge driver"),
        ("--nat", "routed"): (2, "bridge driver"),
        ("--mtu", "9000"): (2, "larger than"),
    }
    for flags, (status, said) in refused.items():
        done = machine.weft(
            "net", "create", "x", "-d", "macvlan", "--subnet", "10.1.0.0/24", *flags, check=False
        )
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    done = machine.weft("run", "--name", "p", "--network", "lan", "-p", "8080:80", check=False)
    assert done.returncode == 2 and "own addresses" in done.stderr
    assert machine.weft("net", "ls", "-q").stdout == "lan\n"
    assert machine.weft("net", "edit", "lan", "--mtu", "1300", check=False).returncode == 2


def test_ipvlan_is_named_where_the_kernel_lacks_it(lan: Lan) -> None:
    host = lan.host
    host.weft("net", "create", "ipv", "-d", "ipvlan", "-o", "mode=l3", "--subnet", "10.1.0.0/24")
    done = host.weft("run", "-d", "--name", "a", "--network", "ipv", check=False)
    if done.returncode:
        assert (done.returncode, "the kernel has no ipvlan" in done.stderr) == (5, True)
        assert "CONFIG_IPVLAN" in done.stderr
        assert host.weft("ps", "-aq").stdout == ""
    else:
        assert detail(host, "a")["kind"] == "ipvlan"


def test_a_parent_that_went_and_came_back(host: Host) -> None:
    host.sh("ip link add wire type ifb\nip link set wire up")
    host.weft(
        "net", "create", "lan", "-d", "macvlan", "-o", "parent=wire", "--subnet", "10.1.0.0/24",
        "--subnet", "fd01::/64",
    )  # fmt: skip
    host.weft("run", "-d", "--name", "a", "--network", "lan")
    host.ip("netns", "add", "guest")
    host.weft("net", "connect", "lan", "netns:guest")
    before = host.ip("-br", "addr", netns="a")
    host.ip("link", "del", "wire")
    assert "eth0" not in host.ip("-br", "addr", netns="a")
    done = host.weft("repair", check=False)
    assert done.returncode == 1 and "wire" in done.stderr
    refused = host.weft("run", "-d", "--name", "b", "--network", "lan", check=False)
    assert refused.returncode == 125 and "is gone" in refused.stderr
    host.sh("ip link add wire type ifb\nip link set wire up")
    host.weft("repair")
    plain = [line.partition("@")[0] + line[25:] for line in before.splitlines()]
    after = host.ip("-br", "addr", netns="a")
    assert [line.partition("@")[0] + line[25:] for line in after.splitlines()] == plain
    assert host.weft("repair").stdout == "", "there is nothing more to mend"
    assert host.pings("10.1.0.3", netns="a") and host.pings("fd01::2", netns="guest")
    assert settle(host, lambda: "eth0" in host.ip("-br", "addr", netns="guest"))


def test_nothing_is_left(machine: Host) -> None:
    machine.weft("run", "--rm", "--network", "lan", "--", "true")  # directories and mounts stay
    machine.weft("net", "rm", "lan")
    before = snapshot(machine)
    machine.weft(*CREATE, *RANGE)
    machine.weft("run", "-d", "--name", "a", "--network", "lan", "--", "sleep", "1000")
    machine.weft("rm", "-f", "a")
    machine.weft("net", "rm", "lan")
    assert differences(machine, before, 20) == []
