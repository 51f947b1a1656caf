"""Every link of every namespace, whoever made it, with its peer: as ``ip`` in each of them says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness import Host, Process, diff, settle, snapshot
from harness.host import PYTHON

Row = dict[str, Any]
KEYS = set("ns ifname ifindex kind mac mtu state addresses master peer altnames container owner".split())
#: Makes a namespace that only a descriptor holds, says ``ready``, and waits.
HOLDER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
home = os.open("/proc/self/ns/net", os.O_RDONLY)
assert libc.unshare(0x40000000) == 0
made = os.open("/proc/self/ns/net", os.O_RDONLY)
assert libc.setns(home, 0x40000000) == 0
print(os.getpid(), made, flush=True)
sys.stdin.read()
"""


def table(host: Host) -> dict[tuple[str, str], Row]:
    rows = host.weft_json("link", "ls", "--all")
    assert all(row.keys() >= KEYS for row in rows)
    found = {(row["ns"], row["ifname"]): row for row in rows}
    assert len(found) == len(rows), "a link is listed twice"
    return found


def ends(rows: dict[tuple[str, str], Row], ns: str, ifname: str) -> tuple[str, str]:
    """Where the other end is said to be; that end must say the same of this one."""
    peer = rows[ns, ifname]["peer"]
    there = peer["ns"], peer["ifname"]
    back = rows[there]["peer"]
    assert (back["ns"], back["ifname"], back["ifindex"]) == (ns, ifname, rows[ns, ifname]["ifindex"])
    assert peer["ifindex"] == rows[there]["ifindex"]
    return there


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as machine:
        machine.sh("ip netns add a\nip netns add b\nip netns add c\n")
        yield machine


def test_every_combination(host: Host) -> None:
    host.sh(
        "ip link add h-a type veth peer name a-h netns a\n"
        "ip link add a-b netns a type veth peer name b-a netns b\n"
        "ip -n b link add b1 type veth peer name b2\n"
        "ip link add h1 type veth peer name h2\n"
        "ip link add gone1 type veth peer name gone2 netns a\n"
        "ip link set gone1 netns b name moved1\n"
        "ip -n a link set gone2 netns c name moved2\n"
        "ip -n b link set moved1 netns a\n"
    )
    rows = table(host)
    for one, other in (
        (("host", "h-a"), ("a", "a-h")),
        (("a", "a-b"), ("b", "b-a")),
        (("b", "b1"), ("b", "b2")),
        (("host", "h1"), ("host", "h2")),
        (("a", "moved1"), ("c", "moved2")),
    ):
        assert ends(rows, *one) == other and ends(rows, *other) == one
        said = host.weft("link", "whose", one[1], "--in", one[0]).stdout
        assert f" -> {other[1]} in {other[0]}" in said
    assert all(row["owner"] == "" and row["container"] == "" for row in rows.values())
    text = host.weft("link", "ls", "--all").stdout
    assert "a:a-h" in text and "c:moved2" in text


def test_namespaces_without_a_name(host: Host) -> None:
    """Held by a process: its pid is the TARGET. Held by a descriptor alone: a stranger, all that is known."""
    sleeper = host.popen(["unshare", "-n", "sleep", "1000"])
    own = host.run(["readlink", "/proc/1/ns/net"]).stdout
    pid = sleeper.inner_pid()
    assert settle(host, lambda: host.run(["readlink", f"/proc/{pid}/ns/net"]).stdout != own)
    host.ip("link", "add", "to-pid", "type", "veth", "peer", "name", "inner", "netns", str(pid))
    with_holder, fd = holder(host)
    far = f"/proc/{with_holder}/fd/{fd}"
    host.sh(
        f"ip link add to-fd type veth peer name lost netns {far}\n"
        f"ip -n a link add a-fd type veth peer name twin netns {far}\n"
        f"nsenter --net={far} ip address add 10.9.9.9/24 dev lost\n"
        f"nsenter --net={far} ip link set lost up\n"
    )
    rows = table(host)
    assert ends(rows, "host", "to-pid") == (str(pid), "inner")
    unknown, ifname = ends(rows, "host", "to-fd")
    assert ifname == "lost" and ends(rows, "a", "a-fd") == (unknown, "twin")
    assert rows[unknown, "lost"]["addresses"] == ["10.9.9.9/24"]
    assert "lost in " in host.weft("link", "whose", "to-fd").stdout


def holder(host: Host) -> tuple[int, int]:
    process: Process = host.popen([*PYTHON, "-c", HOLDER], stdin=-1)
    assert process.stdout
    pid, fd = process.stdout.readline().split()
    return int(pid), int(fd)


def test_containers_and_owners(host: Host) -> None:
    host.weft("net", "create", "blue", "--subnet", "192.168.10.0/24", "--bridge", "lxcbr0")
    host.weft("run", "--name", "web", "--network", "blue", "--ip", "192.168.10.11")
    host.weft("--root", "/run/other-root", "switch", "add", "theirs")
    host.weft("wire", "a", "b")
    rows = table(host)
    port = ends(rows, "web", "eth0")
    eth0 = rows["web", "eth0"]
    assert (eth0["container"], eth0["owner"], eth0["addresses"]) == (
        "web",
        "container web",
        ["192.168.10.11/24"],
    )
    assert (rows[port]["master"], rows[port]["owner"]) == ("lxcbr0", "container web")
    assert rows[port]["peer"]["container"] == "web"
    assert rows["host", "lxcbr0"]["owner"] == "network blue"
    assert rows["a", "eth0"]["owner"] == "wire a:eth0--b:eth0"
    owner = rows["host", "theirs"]["owner"]
    assert owner.startswith("switch theirs (root ")
    refused = host.weft("switch", "rm", "theirs", check=False)
    assert (refused.returncode, "another root" in refused.stderr) == (4, True)
    host.weft("--root", "/run/other-root", "switch", "rm", "theirs")
    filtered = host.weft_json("link", "ls", "--all", "--filter", "owner=container web", "--filter", "ns=web")
    assert [row["ifname"] for row in filtered] == ["eth0"]
    assert host.weft("link", "ls", "--in", "web", "-q").stdout.split() == ["lo", "eth0"]
    assert host.weft("link", "ls", "--all", "-q").stdout.split().count("a:eth0") == 1


HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "$(id)",
    "'q\"`id`",
    "\u202edlrow",
    "\udcff\udcfe\udcc3",
    "-dash",
    ";rm;",
    "a@b",
)


def test_hostile_names(host: Host) -> None:
    """Shown harmless, whole in JSON, never executed, and removed by whatever they are called."""
    for name in HOSTILE:
        host.run(["ip", "-n", "a", "link", "add", "name", name, "type", "bridge"])
    rows = table(host)
    assert {name for ns, name in rows if ns == "a"} == {"lo", *HOSTILE}
    raw = host.weft("link", "ls", "--all", "--format", "json").stdout
    assert "uid=" not in raw and raw.isascii() and "\\udcff" in raw and "\\u202e" in raw
    for command in (("link", "ls", "--in", "a"), ("link", "ls", "--all"), ("switch", "ls", "--in", "a")):
        text = host.weft(*command).stdout
        assert "uid=" not in text and text.isascii() and "\\x1b[31m" in text and "\\x202e" in text
    for name in HOSTILE:
        said = host.weft("link", "whose", "--in", "a", "--", name).stdout
        assert said.isascii() and "is a bridge" in said
        assert host.weft("switch", "show", "--in", "a", "--", name).stdout.isascii()
        refused = host.weft("switch", "rm", "--in", "a", "--", name, check=False)
        assert refused.returncode == 4 and refused.stderr.isascii()
        script = host.weft("--dry-run", "link", "rm", "--in", "a", "--", name).stdout
        host.run(["/bin/sh"], input=script)
        host.run(["ip", "-n", "a", "link", "add", "name", name, "type", "bridge"])
    host.weft("link", "rm", "--in", "a", "--", *HOSTILE)
    assert [name for ns, name in table(host) if ns == "a"] == ["lo"]


def test_a_pair_in_one_namespace_and_altnames(host: Host) -> None:
    host.sh(
        "ip -n a link add x type veth peer name y\n"
        "ip -n a link property add dev y altname long-name-of-the-link-y\n"
    )
    assert host.weft("link", "whose", "x@y", "--in", "a").stdout.startswith("x@if")
    assert " -> x in a" in host.weft("link", "whose", "long-name-of-the-link-y", "--in", "a").stdout
    before = snapshot(host)
    assert host.weft("--dry-run", "link", "rm", "x", "y", "--in", "a").stdout.count("link del") == 1
    assert diff(before, snapshot(host)) == []
    assert host.weft("link", "rm", "--in", "a", "long-name-of-the-link-y", "x").stdout == "y\nx\n"
    assert json.loads(host.ip("-n", "a", "-j", "link", "show", "type", "veth")) == []


def test_two_hundred_namespaces(host: Host) -> None:
    """Each row against what ``ip`` says inside its namespace."""
    many = range(200)
    lines = [f"netns add n{n}" for n in many]
    lines += [f"link add v{n} type veth peer name eth0 netns n{n}" for n in many]
    lines += [f"link add w{n} netns n{n} type veth peer name up netns n{(n + 1) % len(many)}" for n in many]
    host.run(["ip", "-batch", "-"], input="".join(f"{line}\n" for line in lines))
    inside = (
        "address add 10.{a}.{b}.1/16 dev eth0\naddress add fd00::{b}/64 dev eth0 nodad\n"
        "link set dev up up\nlink set w{b} mtu 1400\n"
    )
    for n in many:
        host.write(f"/run/batch/{n}", inside.format(a=n % 7, b=n))
    host.sh("for n in $(ls /run/batch); do ip -n n$n -batch /run/batch/$n; done\n")
    expected: dict[tuple[str, str], Row] = {}
    said = host.sh(
        "for n in $(ls /run/netns); do echo $n; ip -n $n -j -d address; done\necho host; ip -j -d address\n"
    )
    words = said.splitlines()
    for ns, text in zip(words[::2], words[1::2], strict=True):
        for row in json.loads(text):
            expected[ns, row["ifname"]] = row
    rows = table(host)
    assert rows.keys() == expected.keys() and len(rows) > 800
    wrong = [key for key, row in rows.items() if told(row) != theirs(expected[key])]
    assert not wrong, [(key, told(rows[key]), theirs(expected[key])) for key in wrong[:3]]
    for n in many:
        assert ends(rows, f"n{n}", "eth0") == ("host", f"v{n}")
        assert ends(rows, f"n{n}", f"w{n}") == (f"n{(n + 1) % len(many)}", "up")


def told(row: Row) -> Row:
    keys = ("ifindex", "mac", "mtu", "state", "master", "altnames")
    kind = row["kind"] if row["kind"] != "loopback" else ""
    peer = row["peer"]["ifindex"] if row["peer"] else 0
    return {key: row[key] for key in keys} | {
        "kind": kind,
        "peer": peer,
        "addresses": sorted(row["addresses"]),
    }


def theirs(row: Row) -> Row:
    return {
        "ifindex": row["ifindex"],
        "mac": row["address"],
        "mtu": row["mtu"],
        "state": row["operstate"],
        "master": row.get("master", ""),
        "altnames": row.get("altnames", []),
        "kind": row.get("linkinfo", {}).get("info_kind", ""),
        "peer": row.get("link_index", 0),
        "addresses": sorted(f"{a['local']}/{a['prefixlen']}" for a in row["addr_info"]),
    }
