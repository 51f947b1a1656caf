"""Scenarios B7 to B10: a cable, host to namespace, a switch, whose veth; as ip, bridge and brctl see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise, permutations
from typing import Any

import pytest

from harness import Host, diff, settle, snapshot

Row = dict[str, Any]


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as machine:
        machine.weft("ns", "add", "red", "blue", "green")
        yield machine


def links(host: Host, ns: str = "", *words: str) -> dict[str, Row]:
    """What ``ip`` says of the links of a namespace, by name."""
    where = ("-n", ns) if ns else ()
    return {row["ifname"]: row for row in json.loads(host.ip(*where, "-j", "-d", "link", "show", *words))}


def carries(host: Host, ns: str, ifname: str) -> bool:
    row = links(host, ns)[ifname]
    return "LOWER_UP" in row["flags"] and row["operstate"] == "UP"


# -- B7, B8


def test_a_cable(host: Host) -> None:
    said = host.weft("wire", "red=10.0.1.1/24,fd01::1/64", "blue=10.0.1.2/24,fd01::2/64").stdout
    assert said == "red:eth0 -- blue:eth0\n"
    assert carries(host, "red", "eth0") and carries(host, "blue", "eth0")
    for ns, address in (("red", "10.0.1.2"), ("blue", "10.0.1.1"), ("red", "fd01::2"), ("blue", "fd01::1")):
        assert host.pings(address, netns=ns), f"{ns} does not reach {address}"
    red, blue = links(host, "red")["eth0"], links(host, "blue")["eth0"]
    assert red["linkinfo"]["info_kind"] == "veth" and red["link_index"] == blue["ifindex"]
    assert red["altnames"] == blue["altnames"] and red["altnames"][0].startswith("weft:")
    assert red["ifalias"].endswith("wire=red:eth0--blue:eth0")
    assert red["address"] != blue["address"]
    assert links(host).keys() == {"lo"}, "nothing of it passed through the host"


def test_the_first_packet_arrives_from_either_end(host: Host) -> None:
    """With equal numbers the kernel takes both ends for no veths, and opens their queues a second later."""
    host.weft("wire", "red=10.0.1.1/24", "blue=10.0.1.2/24")
    numbers = [links(host, ns)["eth0"]["ifindex"] for ns in ("red", "blue")]
    assert numbers[0] == numbers[1]
    assert host.pings("10.0.1.2", netns="red")


def test_host_to_namespace(host: Host) -> None:
    made = host.weft_json("wire", "green:veth-b=10.0.0.2/24", "host:veth-a=10.0.0.1/24")
    assert [(end["ns"], end["ifname"]) for end in made[0]["ends"]] == [
        ("host", "veth-a"),
        ("green", "veth-b"),
    ]
    assert [end["mac"] for end in made[0]["ends"]] == [
        links(host)["veth-a"]["address"],
        links(host, "green")["veth-b"]["address"],
    ]
    assert host.pings("10.0.0.2") and host.pings("10.0.0.1", netns="green")


def test_any_target_will_do(host: Host) -> None:
    """A pid, a path, a container, the host by another word."""
    sleeper = host.popen(["unshare", "-n", "sleep", "1000"])
    pid = sleeper.inner_pid()
    own = host.run(["readlink", "/proc/1/ns/net"]).stdout
    there = ["readlink", f"/proc/{pid}/ns/net"]
    assert settle(host, lambda: host.run(there).stdout != own), "it has left"
    host.weft("wire", f"{pid}=10.0.1.1/24", "/run/netns/red:nic=10.0.1.2/24")
    assert host.pings("10.0.1.1", netns="red")
    assert links(host, "red").keys() == {"lo", "nic"}
    host.weft("wire", "/proc/1/ns/net:up=10.0.2.1/24", "netns:red=10.0.2.2/24")
    assert host.pings("10.0.2.2")
    host.weft("run", "--name", "web")
    host.weft("wire", "weft:web:side=10.0.3.1/24", "host:out=10.0.3.2/24")
    assert host.pings("10.0.3.1")


@pytest.mark.parametrize("remover", ["ip", "weft"])
@pytest.mark.parametrize("end", ["red", "blue"])
def test_deleting_either_end_removes_both(host: Host, remover: str, end: str) -> None:
    host.weft("wire", "red:a", "blue:b")
    ifname = {"red": "a", "blue": "b"}[end]
    if remover == "ip":
        host.ip("-n", end, "link", "del", "dev", ifname)
    else:
        assert host.weft("link", "rm", ifname, "--in", end).stdout == f"{ifname}\n"
    assert links(host, "red").keys() == links(host, "blue").keys() == {"lo"}


def test_deleting_a_namespace_removes_the_pair(host: Host) -> None:
    host.weft("wire", "red", "blue")
    host.weft("ns", "rm", "red")
    assert settle(host, lambda: links(host, "blue").keys() == {"lo"})


def test_the_same_every_time(host: Host) -> None:
    def macs() -> list[str]:
        return [links(host, ns)["eth0"]["address"] for ns in ("red", "blue")]

    host.weft("wire", "red", "blue")
    first = macs()
    host.weft("link", "rm", "eth0", "--in", "red")
    host.weft("wire", "blue", "red")
    assert macs() == first
    assert all(int(mac[:2], 16) & 3 == 2 for mac in first), "local unicast"


def test_names_are_the_lowest_free(host: Host) -> None:
    host.ip("-n", "red", "link", "add", "eth1", "type", "bridge")
    said = [host.weft("wire", "red", "blue").stdout for _ in range(3)]
    assert said == [f"red:eth{a} -- blue:eth{b}\n" for a, b in ((0, 0), (2, 1), (3, 2))]


REFUSED = (
    (2, "both ends", ("wire", "red", "red:other")),
    (2, "both ends", ("wire", "red", "/run/netns/red")),
    (2, "both ends", ("wire", "host", "/proc/1/ns/net:x")),
    (4, "taken already", ("wire", "red:taken", "blue")),
    (4, "taken already", ("wire", "blue", "red:taken=10.0.0.1/24")),
    (2, "interface name", ("wire", "red:0123456789abcdef", "blue")),
    (2, "not valid", ("wire", "red:lo", "blue")),
    (2, "not valid", ("wire", "red:-x", "blue")),
    (2, "not valid", ("wire", "red:\u0434", "blue")),
    (2, "not valid", ("wire", "..", "blue")),
    (2, "prefix length", ("wire", "red=10.0.1.1", "blue")),
    (2, "not an IP address", ("wire", "red=10.0.1/24", "blue")),
    (2, "broadcast", ("wire", "red=10.0.1.255/24", "blue")),
    (2, "not one that", ("wire", "red=127.0.0.1/8", "blue")),
    (2, "multicast", ("wire", "red=ff02::1/64", "blue")),
    (2, "given twice", ("wire", "red=10.0.1.1/24", "blue=10.0.1.1/24")),
    (2, "given twice", ("wire", "red=fd00::1/64,fd00::1/48", "blue")),
    (2, "no address after", ("wire", "red=", "blue")),
    (2, "needs", ("wire", "red")),
    (3, "no network namespace", ("wire", "red", "nowhere")),
    (3, "no process", ("wire", "red", "4000000")),
    (3, "no file", ("wire", "red", "/run/nothing")),
    (2, "is no namespace", ("wire", "red", "/etc/passwd")),
    (2, "not a network namespace", ("wire", "red", "/proc/1/ns/mnt")),
    (2, "interface name", ("switch", "add", "0123456789abcdef")),
    (2, "interface name", ("switch", "add", "a/b")),
    (4, "already", ("switch", "add", "taken", "--in", "red")),
    (4, "already", ("switch", "add", "sw")),
    (2, "prefix length", ("switch", "add", "new", "--addr", "10.0.0.1")),
    (2, "given twice", ("switch", "add", "new", "--addr", "10.0.0.1/24", "--addr", "10.0.0.1/24")),
    (3, "no network namespace", ("switch", "add", "new", "--in", "nowhere")),
    (3, "no switch", ("switch", "plug", "nothing", "red")),
    (3, "no bridge, but", ("switch", "plug", "theirs", "red")),
    (3, "no network namespace", ("switch", "plug", "sw", "red", "nowhere")),
    (4, "taken already", ("switch", "plug", "sw", "blue", "red:taken")),
    (2, "given twice", ("switch", "plug", "sw", "blue=10.0.0.1/24", "red=10.0.0.1/24")),
    (2, "itself", ("switch", "plug", "sw", "blue", "host")),
    (4, "network net", ("switch", "plug", "netbr", "red")),
    (3, "not plugged", ("switch", "unplug", "sw", "red")),
    (3, "no switch", ("switch", "show", "nothing")),
    (4, "network net", ("switch", "rm", "netbr")),
    (4, "not a switch", ("switch", "rm", "foreign")),
    (3, "no switch", ("switch", "rm", "sw", "nothing")),
    (3, "no bridge, but", ("switch", "rm", "theirs")),
    (4, "network net", ("link", "rm", "netbr")),
    (4, "container web", ("link", "rm", "eth0", "--in", "web")),
    (4, "container web", ("link", "rm", "eth0", "--in", "/run/netns/web")),
    (3, "no link", ("link", "rm", "theirs", "nothing")),
    (1, "Operation not supported", ("link", "rm", "lo")),
    (2, "interface name", ("link", "rm", "a/b")),
    (2, "interface name", ("link", "rm", "")),
    (3, "no link", ("link", "whose", "nothing")),
    (3, "hangs on if", ("link", "whose", "theirs@if99")),
    (2, "do not go together", ("link", "ls", "--all", "--in", "red")),
    (2, "not KEY=VALUE", ("link", "ls", "--filter", "color=red")),
)


def test_refusals_leave_nothing(host: Host) -> None:
    host.weft("net", "create", "net", "--bridge", "netbr")
    host.weft("run", "--name", "web", "--network", "net")
    host.weft("switch", "add", "sw")
    host.sh(
        "ip link add foreign type bridge\nip link add theirs type veth peer name other\n"
        "ip -n red link add taken type bridge\n"
    )
    port = host.weft_json("inspect", "web")[0]["networks"]["net"]["host_ifname"]
    assert settle(host, lambda: carries(host, "", "netbr"))
    # A bridge without ports says so only a while after it is up.
    assert settle(host, lambda: "NO-CARRIER" in host.ip("link", "show", "sw"))
    before = snapshot(host)
    for status, says, command in (*REFUSED, (4, "container web", ("link", "rm", port))):
        done = host.weft(*command, check=False)
        assert (done.returncode, done.stdout) == (status, ""), f"{command}: {done}"
        assert says in done.stderr and "Traceback" not in done.stderr, f"{command}: {done.stderr}"
    assert diff(before, snapshot(host)) == []


# -- B9


@pytest.fixture
def switched(host: Host) -> Host:
    host.weft("switch", "add", "br0")
    ends = ["red=10.0.5.1/24", "blue=10.0.5.2/24", "green:nic=10.0.5.3/24,fd05::3/64"]
    host.weft("switch", "plug", "br0", *ends)
    return host


ADDRESSES = {"red": "10.0.5.1", "blue": "10.0.5.2", "green": "10.0.5.3"}


def all_reach(host: Host) -> bool:
    return all(host.pings(ADDRESSES[other], netns=one) for one, other in permutations(ADDRESSES, 2))


def test_three_on_a_switch(switched: Host) -> None:
    assert all_reach(switched)
    bridge = links(switched)["br0"]
    assert bridge["linkinfo"]["info_data"]["stp_state"] == 0 and bridge["operstate"] == "UP"
    ports = {n: row for n, row in links(switched).items() if row.get("master") == "br0"}
    assert len(ports) == 3 and all(name.startswith("wp") and len(name) == 14 for name in ports)
    assert all(r["linkinfo"]["info_slave_data"]["state"] == "forwarding" for r in ports.values())
    known = {n["lladdr"] for n in json.loads(switched.ip("-n", "red", "-j", "neigh"))}
    assert links(switched, "green")["nic"]["address"] in known, "the others' own MACs: layer 2"
    switched.weft("switch", "unplug", "br0", "blue")
    assert not switched.pings(ADDRESSES["blue"], netns="red", timeout=0.3)
    assert switched.pings(ADDRESSES["green"], netns="red")
    switched.weft("switch", "plug", "br0", "blue=10.0.5.2/24")
    assert all_reach(switched)
    assert switched.weft("switch", "rm", "br0").stdout == "br0\n"
    assert [links(switched, ns).keys() for ns in ("", *ADDRESSES)] == [{"lo"}] * 4


def test_bridge_and_brctl_show_the_same(switched: Host) -> None:
    assert all_reach(switched)
    (shown,) = switched.weft_json("switch", "show", "br0")
    ports = {p["ifname"]: p for p in shown["ports"]}
    listed = {row["ifname"]: row for row in json.loads(switched.run(["bridge", "-j", "-d", "link"]).stdout)}
    assert ports.keys() == listed.keys()
    for name, row in listed.items():
        said = {
            key: ports[name][key] for key in ("state", "priority", "cost", "hairpin", "guard", "learning")
        }
        assert said == {key: row[key] for key in said}
    table = json.loads(switched.run(["bridge", "-j", "fdb", "show", "br", "br0"]).stdout)
    theirs = {
        (e["mac"], e["ifname"], e.get("vlan"), e.get("state") == "permanent") for e in table if not e["flags"]
    }
    ours = {(m["mac"], m["port"], m["vlan"], m["local"]) for m in shown["macs"]}
    assert ours == theirs and len([m for m in shown["macs"] if not m["local"]]) == 3
    for ns, ifname in (("red", "eth0"), ("blue", "eth0"), ("green", "nic")):
        mac = links(switched, ns)[ifname]["address"]
        (entry,) = [m for m in shown["macs"] if m["mac"] == mac]
        peer = ports[entry["port"]]["peer"]
        assert (peer["ns"], peer["ifname"], entry["static"]) == (ns, ifname, False) and 0 <= entry["age"] < 60
    rows = [line.split() for line in switched.run(["brctl", "show", "br0"]).stdout.splitlines()[1:]]
    assert rows[0][:3] == ["br0", shown["bridge_id"], "no"]
    assert {row[-1] for row in rows} == ports.keys()
    counters = [
        counted(switched),
        switched.weft_json("switch", "show", "br0")[0]["counters"],
        counted(switched),
    ]
    assert all(0 < a[key] <= b[key] for a, b in pairwise(counters) for key in ("rx_packets", "rx_bytes"))


def counted(host: Host) -> Row:
    """What ``ip`` says that a bridge has received so far."""
    rx = json.loads(host.ip("-j", "-s", "link", "show", "br0"))[0]["stats64"]["rx"]
    return {"rx_packets": rx["packets"], "rx_bytes": rx["bytes"]}


def test_set_by_hand(switched: Host) -> None:
    port = next(p["ifname"] for p in switched.weft_json("switch", "show", "br0")[0]["ports"])
    switched.run(["bridge", "fdb", "add", "02:00:00:00:00:99", "dev", port, "master", "static"])
    (entry,) = [m for m in switched.weft_json("switch", "show", "br0")[0]["macs"] if m["mac"].endswith(":99")]
    assert (entry["port"], entry["static"], entry["local"], entry["age"]) == (port, True, False, None)
    text = switched.weft("switch", "show", "br0").stdout
    assert "spanning tree off" in text and "static" in text and "green:nic" in text


def test_an_address_of_its_own_in_a_namespace(host: Host) -> None:
    host.weft("switch", "add", "br0", "--in", "green", "--addr", "10.0.5.9/24", "--addr", "fd05::9/64")
    host.weft("switch", "plug", "br0", "host:up=10.0.5.1/24", "red=fd05::2/64", "--in", "green")
    assert host.pings("10.0.5.9") and host.pings("fd05::9", netns="red")
    assert host.pings("10.0.5.1", netns="green")
    assert host.weft("switch", "ls", "-q").stdout == ""
    (row,) = host.weft_json("switch", "ls", "--in", "green")
    assert (row["name"], row["stp"], len(row["ports"]), row["owner"]) == ("br0", False, 2, "switch br0")
    host.weft("switch", "rm", "br0", "--in", "green")
    assert links(host).keys() == links(host, "red").keys() == {"lo"}


def test_the_spanning_tree_cuts_a_loop(host: Host) -> None:
    """Two switches tied by two wires: with STP one port blocks. Each bridge's part is what brctl says."""
    host.weft("switch", "add", "sw", "--stp", "--in", "red")
    host.weft("switch", "add", "sw", "--stp", "--in", "blue")
    for n in (1, 2):
        host.weft("wire", f"red:t{n}", f"blue:t{n}")
        for ns in ("red", "blue"):
            host.ip("-n", ns, "link", "set", f"t{n}", "master", "sw")

    def shown(ns: str) -> Row:
        found: Row = host.weft_json("switch", "show", "sw", "--in", ns)[0]
        return found

    def roles() -> list[str]:
        return sorted(p["role"] for ns in ("red", "blue") for p in shown(ns)["ports"])

    assert settle(host, lambda: roles() == ["alternate", "designated", "designated", "root"], timeout=20)
    above, below = sorted((shown("red"), shown("blue")), key=lambda s: bool(s["root_port"]))
    assert above["stp"] and above["root_id"] == above["bridge_id"] == below["root_id"] != below["bridge_id"]
    assert below["root_path_cost"] == 2 and "blocking" in {p["state"] for p in below["ports"]}
    said = host.run(["brctl", "showstp", "sw"], netns=below["ns"]).stdout
    assert f"designated root\t{below['root_id']}" in said and "blocking" in said
    text = host.weft("switch", "show", "sw", "--in", below["ns"]).stdout
    assert f"root {above['bridge_id']} by {below['root_port']}, cost 2" in text


def test_a_foreign_bridge_is_a_switch_too(host: Host) -> None:
    host.sh("ip link add theirs type bridge\nip link set theirs up\n")
    host.weft("switch", "plug", "theirs", "red=10.0.5.1/24", "blue=10.0.5.2/24")
    assert host.pings("10.0.5.2", netns="red")
    host.run(["brctl", "addbr", "old"])
    assert {row["name"]: row["owner"] for row in host.weft_json("switch", "ls")} == {"theirs": "", "old": ""}
    host.weft("switch", "unplug", "theirs", "red", "blue:eth0")
    assert links(host).keys() == {"lo", "theirs", "old"}
    host.weft("link", "rm", "theirs", "old")


@pytest.mark.parametrize("bridge_nf", [0, 1])
def test_switches_beside_a_network(bridge_nf: int) -> None:
    """weft's firewall guards the ports of its networks, and nobody else's: also when iptables sees frames."""
    with Host(bridge_nf=bridge_nf) as host:
        host.weft("net", "create", "net", "--subnet", "192.168.10.0/24", "--bridge", "netbr")
        for name in ("web", "db"):
            host.weft("run", "--name", name, "--network", "net")
        host.weft("ns", "add", *ADDRESSES)
        host.weft("switch", "add", "br0")
        host.weft("switch", "plug", "br0", *[f"{ns}={a}/24" for ns, a in ADDRESSES.items()])
        assert all_reach(host)
        assert host.pings("192.168.10.3", netns="web") and host.pings("192.168.10.1", netns="db")
        owners = {row["name"]: row["owner"] for row in host.weft_json("switch", "ls")}
        assert owners == {"netbr": "network net", "br0": "switch br0"}
        (shown,) = host.weft_json("switch", "show", "netbr")
        assert {(p["peer"]["container"], p["owner"]) for p in shown["ports"]} == {
            ("web", "container web"),
            ("db", "container db"),
        }
        host.weft("switch", "rm", "br0")
        assert host.pings("192.168.10.3", netns="web")


# -- B10


def test_whose_veth(host: Host) -> None:
    host.weft("net", "create", "net", "--subnet", "192.168.10.0/24")
    host.weft("run", "--name", "web", "--network", "net", "--ip", "192.168.10.11")
    port = host.weft_json("inspect", "web")[0]["networks"]["net"]["host_ifname"]
    outer, inner = links(host)[port]["ifindex"], links(host, "web")["eth0"]["ifindex"]
    for word in (port, f"{port}@if{inner}"):
        said = host.weft("link", "whose", word).stdout
        assert said == f"{port}@if{inner} in host -> eth0 in web, container web, 192.168.10.11/24\n"
    back = host.weft_json("link", "whose", f"eth0@if{outer}", "--in", "web")
    assert (back["peer"]["ns"], back["peer"]["ifname"], back["container"]) == ("host", port, "web")
    assert host.weft("link", "whose", "eth0", "--in", "web", "-q").stdout == f"host:{port}\n"
    wrong = host.weft("link", "whose", f"{port}@if9999", check=False)
    assert (wrong.returncode, "hangs on if" in wrong.stderr) == (3, True)
    assert "is a bridge, network net" in host.weft("link", "whose", links(host)[port]["master"]).stdout
    assert host.weft("link", "whose", "lo").stdout == "lo in host is a loopback\n"


# -- the library


def test_the_library(host: Host) -> None:
    script = """
import sys
sys.path.insert(0, "src")
import weft
with weft.wire("red:a=10.0.1.1/24", "blue=10.0.1.2/24") as cable:
    assert cable.ends == ("red:a", "blue:eth0") and str(cable) == "red:a -- blue:eth0"
    try:
        weft.wire("red:a", "blue")
    except Exception as error:
        print(type(error).__name__, error.status)
with weft.Switch("br0", addresses=["10.0.5.9/24"]) as switch:
    one, other = switch.plug("red=10.0.5.1/24", "blue=10.0.5.2/24")
    print(one, [p["peer"]["ns"] for p in switch.show()["ports"]])
    print(switch.unplug("red"), len(weft.Switch.get("br0").show()["ports"]))
    other.remove()
    with weft.Switch("br1", inside="red", stp=True) as inner:
        print(inner.show()["stp"])
try:
    weft.Switch.get("br0")
except Exception as error:
    print(type(error).__name__)
"""
    from harness.host import PYTHON, REPO

    said = host.run([*PYTHON, "-c", script], cwd=REPO).stdout.splitlines()
    assert said[0] == "Conflict 4" and said[1].endswith(" -- red:eth0 ['red', 'blue']")
    assert said[2:] == ["['red:eth0'] 1", "True", "NotFound"]
    assert [links(host, ns).keys() for ns in ("", "red", "blue")] == [{"lo"}] * 3


def test_rights(host: Host) -> None:
    command: Callable[..., list[str]] = lambda *words: ["setpriv", "--bounding-set=-net_admin", *words]  # noqa: E731
    from harness.host import REPO

    done = host.run(command(str(REPO / "weft"), "wire", "red", "blue"), check=False)
    assert (done.returncode, "CAP_NET_ADMIN" in done.stderr) == (5, True)
    assert links(host, "red").keys() == {"lo"}
