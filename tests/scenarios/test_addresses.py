"""Addresses: which subnets are taken, who gets which address of them, and when it is given out again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness import Host, Lan, differences, settle, snapshot


def create(host: Host, name: str, *words: str, check: bool = True) -> Any:
    got = host.weft("net", "create", name, *words, check=check)
    assert settle(host, lambda: " UNKNOWN " not in host.ip("-br", "link", "show", "type", "bridge"))
    return got


def subnets(host: Host, name: str) -> list[dict[str, Any]]:
    return list(host.weft_json("net", "inspect", name)[0]["subnets"])


def run(host: Host, name: str, *words: str) -> list[str]:
    """A container without a process; its addresses."""
    host.weft("run", "--name", name, *words)
    networks = host.weft_json("inspect", name)[0]["networks"].values()
    return [address for network in networks for address in network["addresses"]]


def refused(host: Host, status: int, *words: str) -> str:
    """weft refuses in one line, a hint aside, and changes nothing."""
    before = snapshot(host)
    got = host.weft(*words, check=False)
    assert (got.returncode, got.stdout) == (status, ""), (words, got)
    error, *hint = got.stderr.splitlines()
    assert error.startswith("weft: error: ") and len(hint) <= 1
    assert differences(host, before) == []
    return error.removeprefix("weft: error: ")


def test_lowest_free_and_several_subnets(host: Host) -> None:
    """The first subnet fills up, then the second; each container has one address of each family."""
    pools = ("--subnet", "10.1.0.0/30", "--subnet", "10.2.0.0/29", "--subnet", "fd00:1::/64")
    create(host, "blue", *pools, "--gateway", "10.2.0.6")
    assert run(host, "a", "--network", "blue") == ["10.1.0.2/30", "fd00:1::2/64"]
    assert run(host, "b", "--network", "blue") == ["10.2.0.1/29", "fd00:1::3/64"]
    assert run(host, "c", "--network", "blue") == ["10.2.0.2/29", "fd00:1::4/64"]
    assert "default via 10.1.0.1 " in host.ip("route", netns="a")
    assert "default via 10.2.0.6 " in host.ip("route", netns="b")
    # Two subnets of one network are one network: they reach each other by its gateways.
    assert host.pings("10.2.0.2", netns="b") and host.pings("10.2.0.1", netns="a")
    assert host.pings("fd00:1::3", netns="a")
    counts = [(s["subnet"], s["used"], s["free"]) for s in subnets(host, "blue")]
    assert counts == [("10.1.0.0/30", 2, 0), ("10.2.0.0/29", 3, 3), ("fd00:1::/64", 4, 2**64 - 5)]


def test_given_addresses(host: Host) -> None:
    create(host, "blue", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64")
    given = ("--ip", "10.1.0.77", "--ip", "fd00:1::77")
    assert run(host, "a", "--network", "blue", *given) == ["10.1.0.77/24", "fd00:1::77/64"]
    assert run(host, "b", "--network", "blue:ip=fd00:1:0::5") == ["10.1.0.2/24", "fd00:1::5/64"]
    assert host.pings("10.1.0.77", netns="b") and host.pings("fd00:1::77", netns="b")
    for status, said, *ips in (
        (4, "taken by container a", "10.1.0.77"),
        (4, "taken by container a", "fd00:1::77"),
        (4, "gateway", "10.1.0.1"),
        (4, "gateway", "fd00:1::1"),
        (2, "network or broadcast", "10.1.0.0"),
        (2, "network or broadcast", "10.1.0.255"),
        (2, "outside the subnet", "10.9.0.1"),
        (2, "outside the subnet", "fd00:2::1"),
        (2, "two addresses of the subnet", "10.1.0.5", "10.1.0.6"),
    ):
        flags = [word for ip in ips for word in ("--ip", ip)]
        assert said in refused(host, status, "run", "--name", "z", "--network", "blue", *flags), ips


def test_ranges_and_addresses_that_are_kept(host: Host) -> None:
    """Addresses come from the range; those kept are never given out, those beyond only when asked for."""
    words = ("--ip-range", "10.1.0.16/30", "--aux-address", "nas=10.1.0.17", "--aux-address", "tv=10.1.0.40")
    create(host, "blue", "--subnet", "10.1.0.0/24", *words)
    assert subnets(host, "blue")[0]["aux"] == {"nas": "10.1.0.17", "tv": "10.1.0.40"}
    found = [run(host, name, "--network", "blue")[0] for name in "abc"]
    assert found == ["10.1.0.16/24", "10.1.0.18/24", "10.1.0.19/24"]
    said = refused(host, 4, "run", "--name", "z", "--network", "blue")
    assert said == "no free address is left in 10.1.0.16/30 of 10.1.0.0/24 of network blue"
    assert run(host, "far", "--network", "blue", "--ip", "10.1.0.200") == ["10.1.0.200/24"]
    for ip, name in (("10.1.0.17", "nas"), ("10.1.0.40", "tv")):
        said = refused(host, 4, "run", "--name", "z", "--network", "blue", "--ip", ip)
        assert said == f"address {ip} is kept for {name} (--aux-address)"


def test_a_full_network(host: Host) -> None:
    """Exhausted says where; what was let go is given out again before that, though it rests."""
    create(host, "blue", "--subnet", "10.1.0.0/29")
    names = "abcde"
    assert [run(host, n, "--network", "blue")[0] for n in names] == [f"10.1.0.{n}/29" for n in range(2, 7)]
    said = refused(host, 4, "run", "--name", "z", "--network", "blue")
    assert said == "no free address is left in 10.1.0.0/29 of network blue"
    host.weft("rm", "d")
    host.weft("rm", "b")
    again = [run(host, name, "--network", "blue")[0] for name in "fg"]
    assert sorted(again) == ["10.1.0.3/29", "10.1.0.5/29"]
    refused(host, 4, "run", "--name", "z", "--network", "blue")


def test_a_released_address_rests(host: Host) -> None:
    """Nobody is handed the address of who has just left, unless asked for or none else is free."""
    create(host, "blue", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64")
    assert run(host, "a", "--network", "blue") == ["10.1.0.2/24", "fd00:1::2/64"]
    host.weft("rm", "a")
    assert run(host, "b", "--network", "blue") == ["10.1.0.3/24", "fd00:1::3/64"]
    assert run(host, "c", "--network", "blue", "--ip", "10.1.0.2") == ["10.1.0.2/24", "fd00:1::4/64"]
    # Left by disconnecting, it rests as well.
    host.weft("net", "disconnect", "blue", "c")
    assert host.weft("net", "connect", "blue", "c").stdout == "eth0 10.1.0.4/24 fd00:1::5/64\n"
    # A container that could not be made has used nothing.
    failed = host.weft("run", "--name", "z", "--network", "blue", "--", "/no/such", check=False)
    assert failed.returncode == 127
    host.weft("rm", "z", check=False)


def test_two_addresses_make_a_network(host: Host, lan: Lan) -> None:
    """/31 (RFC 3021) and /127 (RFC 6164): a gateway and one container, with no broadcast between them."""
    lan.serve(80, "box")
    create(host, "four", "--subnet", "10.31.0.0/31")
    create(host, "six", "--subnet", "fd00:127::/127")
    assert run(host, "a", "--network", "four") == ["10.31.0.1/31"]
    assert run(host, "b", "--network", "six") == ["fd00:127::1/127"]
    assert "brd" not in host.ip("-4", "address", "show", "eth0", netns="a")
    assert host.pings("10.31.0.0", netns="a") and host.pings("fd00:127::", netns="b")
    assert host.fetch(f"http://{Lan.FAR}/", netns="a").client == Lan.HOST
    assert host.pings(Lan.FAR6, netns="b")
    for name in ("four", "six"):
        assert "no free address" in refused(host, 4, "run", "--name", "z", "--network", name)
    for subnet in ("10.32.0.0/32", "fd00:128::/128", "10.0.0.0/7", "fd00::/15"):
        assert "is not between" in refused(host, 2, "net", "create", "z", "--subnet", subnet)


def test_only_ipv6(host: Host, lan: Lan) -> None:
    """No IPv4 but 127.0.0.1; neighbours, the LAN and published ports by IPv6."""
    lan.serve(80, "box", address="::")
    create(host, "six", "--subnet", "fd00:1::/64")
    assert run(host, "a", "--network", "six", "-p", "[::]:8080:80") == ["fd00:1::2/64"]
    assert run(host, "b", "--network", "six") == ["fd00:1::3/64"]
    shown = json.loads(host.ip("-j", "-4", "address", netns="a"))
    assert [link["ifname"] for link in shown if link.get("addr_info")] == ["lo"]
    assert "default via fd00:1::1 dev eth0" in host.ip("-6", "route", netns="a")
    assert host.pings("fd00:1::3", netns="a")
    assert host.weft("exec", "b", "--", "getent", "ahosts", "a").stdout.startswith("fd00:1::2 ")
    host.serve(80, "a", address="::", netns="a")
    assert host.fetch("http://[fd00:1::2]/", netns="b").body == "a"
    assert host.fetch(f"http://[{Lan.FAR6}]/", netns="a").client == Lan.HOST6
    assert lan.fetch(f"http://[{Lan.HOST6}]:8080/").body == "a"


def test_a_ula_of_the_hosts_own(host: Host) -> None:
    """--ipv6 without a subnet: the same /48 for all networks of a host, another /64 for each (RFC 4193)."""
    create(host, "a", "--ipv6")
    create(host, "b", "--ipv6")
    (_, a), (_, b) = subnets(host, "a"), subnets(host, "b")
    first, second = a["subnet"], b["subnet"]
    assert first != second and first.endswith("::/64") and second.endswith("::/64")
    assert first.startswith("fd") and first.split(":")[:3] == second.split(":")[:3]
    # A network of the same name has it again.
    host.weft("net", "rm", "b")
    create(host, "b", "--ipv6")
    assert subnets(host, "b")[1]["subnet"] == second


def test_subnets_that_somebody_has(host: Host, lan: Lan) -> None:
    """Given ones are refused by who has them, chosen ones go round them."""
    create(host, "blue", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64")
    host.ip("route", "add", "10.66.0.0/16", "via", Lan.BOX)
    host.ip("route", "add", "fd00:66::/32", "via", Lan.BOX6)
    for subnet, whose in (
        ("10.1.0.128/25", "10.1.0.0/24 of network blue"),
        ("10.0.0.0/8", "10.1.0.0/24 of network blue"),
        ("fd00:1::/80", "fd00:1::/64 of network blue"),
        ("10.66.1.0/24", "the host's route to 10.66.0.0/16 by eth-up"),
        ("fd00:66:1::/64", "the host's route to fd00:66::/32 by eth-up"),
        ("203.0.113.128/25", "the host's route to 203.0.113.0/24 by eth-up"),
    ):
        said = refused(host, 4, "net", "create", "z", "--subnet", subnet)
        assert said == f"subnet {subnet} overlaps {whose}"
    create(host, "auto")
    chosen = subnets(host, "auto")[0]["subnet"]
    host.weft("net", "rm", "auto")
    host.ip("route", "add", chosen, "via", Lan.BOX)
    create(host, "auto")
    assert subnets(host, "auto")[0]["subnet"] != chosen


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("overlap", "--subnet 10.1.0.0/24 --subnet 10.1.0.0/25"),
        ("outside the subnet", "--subnet 10.1.0.0/24 --gateway 10.2.0.1"),
        ("is given twice", "--subnet 10.1.0.0/24 --gateway 10.1.0.1 --gateway 10.1.0.2"),
        ("needs --subnet", "--ip-range 10.1.0.0/25"),
        ("is larger than its subnet", "--subnet 10.1.0.0/24 --ip-range 10.1.0.0/16"),
        ("outside the subnet", "--subnet 10.1.0.0/24 --aux-address a=10.2.0.9"),
        ("given twice", "--subnet 10.1.0.0/24 --aux-address a=10.1.0.9 --aux-address a=10.1.0.8"),
        ("network or broadcast", "--subnet 10.1.0.0/24 --gateway 10.1.0.255"),
        ("is not NAME=IP", "--subnet 10.1.0.0/24 --aux-address 10.1.0.9"),
        ("overlaps", "--subnet 127.0.0.0/24"),
        ("overlaps", "--subnet 169.254.0.0/16"),
        ("overlaps", "--subnet fe80::/64"),
        ("overlaps", "--subnet ff02::/64"),
    ],
)
def test_what_cannot_be_a_network(host: Host, said: str, words: str) -> None:
    assert said in refused(host, 2, "net", "create", "z", *words.split())


def test_macs_are_made_of_names(host: Host) -> None:
    """The same for the same network and container, on every machine and each time; another in another."""
    create(host, "blue", "--subnet", "10.1.0.0/24")
    create(host, "green", "--subnet", "10.2.0.0/24")

    def macs(machine: Host) -> list[str]:
        run(machine, "a", "--network", "blue", "--network", "green")
        found = machine.weft_json("inspect", "a")[0]["networks"].values()
        lines = machine.ip("-br", "link", netns="a").splitlines()
        assert [line.split()[2] for line in lines[1:]] == [n["mac"] for n in found]
        machine.weft("rm", "a")
        return [n["mac"] for n in found]

    first = macs(host)
    assert first[0] != first[1] and all(int(mac[:2], 16) & 3 == 2 for mac in first)
    assert macs(host) == first
    with Host() as other:
        create(other, "blue", "--subnet", "10.1.0.0/24")
        create(other, "green", "--subnet", "10.2.0.0/24")
        assert macs(other) == first
    given = ("--network", "blue:mac=02:00:00:00:00:11")
    run(host, "b", *given)
    assert "02:00:00:00:00:11" in host.ip("link", "show", "eth0", netns="b")
    assert "taken by container b" in refused(host, 4, "run", "--name", "z", *given)
    for mac in ("01:00:5e:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00", "ff:ff:ff:ff:ff:ff"):
        refused(host, 2, "run", "--name", "z", "--network", f"blue:mac={mac}")
