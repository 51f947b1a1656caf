"""`weft repair`: a foreign hand did something, and the machine is again as it was; nothing else changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from harness import Host, settle

BLUE = "10.1.0.0/24"
DEEDS = {
    "flushed": "nft flush ruleset",
    "one table": "nft delete table bridge weft",
    "a rule taken out": "nft flush chain inet weft leaving",
    "a rule put in": "nft insert rule inet weft forward accept",
    "a chain put in": "nft add chain inet weft strange",
    "an element taken out": "nft flush set bridge weft lease4",
    "an element put in": 'nft add element inet weft bridges { "lo" }',
    "a subnet taken out": "nft delete element inet weft nat4 { 10.1.0.0/24 }",
    "a subnet put in": "nft add element inet weft routed4 { 10.77.0.0/16 }",
    "a port moved": "nft flush map inet weft publish4_any",
    "bridge deleted": "ip link del $BRIDGE",
    "all bridges deleted": "for b in $(ls /sys/class/net | grep ^wb); do ip link del $b; done",
    "bridge down": "ip link set $BRIDGE down",
    "bridge mtu": "ip link set $BRIDGE mtu 1300",
    "gateway taken": "ip addr flush dev $BRIDGE",
    "cable cut": "ip link del $PORT",
    "cable unplugged": "ip link set $PORT nomaster",
    "cable down": "ip link set $PORT down",
    "cable mtu": "ip link set $PORT mtu 1300",
    "hairpin off": "ip link set $PORT type bridge_slave hairpin off",
    "rules deleted": "ip rule del pref 117; ip rule del pref 118",
    "prohibits deleted": "ip route flush table 7765",
    "forwarding off": "sysctl -qw net.ipv4.ip_forward=0",
    "name taken off": "umount /run/netns/web; rm /run/netns/web",
    "a container's namespace gone": "ip netns del idle",
    "hosts file gone": "rm /run/weft/hosts/blue",
    "name files gone": "rm -r /etc/netns/web",
    "everything at once": "nft flush ruleset; "
    "for b in $(ls /sys/class/net | grep ^w); do ip link del $b; done; "
    "ip rule del pref 117; ip route flush table 7765; rm /run/weft/hosts/*",
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    with Host() as host:
        host.weft("net", "create", "blue", "--subnet", BLUE)
        host.weft("net", "create", "six", "--subnet", "10.6.0.0/24", "--subnet", "fd00:6::/64", "--isolated")
        ports = ("-p", "0.0.0.0:8080:80", "-p", "8081:81")
        host.weft("run", "-d", "--network", "blue", "--name", "web", *ports, "--", "sleep", "6000")
        host.weft("run", "--network", "blue", "--name", "idle")
        host.weft("run", "--network", "six", "--name", "far")
        host.ip("link", "add", "precious", "type", "bridge")
        host.nft("add table inet other; add chain inet other c { type filter hook input priority 0; }")
        yield host


def _links(host: Host) -> list[tuple[object, ...]]:
    rows = json.loads(host.ip("-d", "-j", "link"))
    return sorted(
        (
            row["ifname"],
            row.get("mtu"),
            row.get("master"),
            row.get("address"),
            row.get("ifalias"),
            tuple(row.get("altnames", ())),
            "UP" in row["flags"],
            row.get("group"),
            str(row.get("linkinfo", {}).get("info_slave_data", {}).get("hairpin")),
            str(row.get("linkinfo", {}).get("info_slave_data", {}).get("isolated")),
        )
        for row in rows
    )


def _routes(host: Host, *where: str) -> list[str]:
    both = host.ip(*where, "route", "show", "table", "all") + host.ip(
        *where, "-6", "route", "show", "table", "all"
    )
    return sorted(line for line in both.splitlines() if "linkdown" not in line)


def picture(host: Host) -> dict[str, object]:
    """All that weft makes, without numbers that a new object gets anew."""
    inside = {}
    for name in ("web", "idle", "far"):
        rows = json.loads(host.ip("-n", name, "-j", "addr"))
        found = [
            (r["ifname"], r["address"], "UP" in r["flags"], sorted(a["local"] for a in r["addr_info"]))
            for r in rows
            if r["ifname"] not in ("tunl0", "gre0", "sit0", "ip6tnl0")
        ]
        inside[name] = (found, _routes(host, "-n", name))
    listed = re.sub(r"elements = \{[^}]*\}", _sorted, host.nft("list", "ruleset"))
    ruleset = sorted(re.split(r"^(?=table )", listed, flags=re.MULTILINE))
    return {
        "links": _links(host),
        "addresses": sorted(
            (r["ifname"], a["local"], a["prefixlen"])
            for r in json.loads(host.ip("-j", "addr"))
            for a in r["addr_info"]
        ),
        "rules": sorted((host.ip("rule") + host.ip("-6", "rule")).splitlines()),
        "routes": _routes(host),
        "ruleset": ruleset,
        "forwarding": host.sysctl("net.ipv4.ip_forward"),
        "inside": inside,
        "hosts": {name: sorted(host.read(f"/run/weft/hosts/{name}").split("\n")) for name in ("blue", "six")},
        "names": host.sh("ls /run/netns /etc/netns /etc/netns/*; readlink /etc/netns/*/hosts"),
    }


def _sorted(match: re.Match[str]) -> str:
    body = match.group(0).partition("{")[2].rstrip("}")
    return "elements = " + ", ".join(sorted(part.strip() for part in body.replace("\n", " ").split(",")))


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
def test_a_foreign_hand(machine: Host, deed: str) -> None:
    before = picture(machine)
    bridge = machine.weft_json("net", "inspect", "blue")[0]["bridge"]
    port = next(r[0] for r in _links(machine) if str(r[4]).endswith("container=web if=eth0"))
    other = machine.nft("list", "table", "inet", "other")
    machine.sh(f"BRIDGE={bridge}; PORT={port}; {deed}")
    if "flush ruleset" in deed:
        machine.nft(other)
    if "netns del" in deed:
        settle(machine, lambda: "container=idle" not in machine.ip("link"))
    assert machine.weft("repair", "--dry-run").stdout, "what is to be done is printed"
    machine.weft("repair")
    assert picture(machine) == before
    server = machine.serve(80, "web", netns="web")
    assert machine.fetch("http://127.0.0.1:8080").body == "web"
    assert machine.fetch("http://10.1.0.2", netns="idle").body == "web"
    assert not machine.pings("10.1.0.2", netns="far", timeout=0.3), "other networks stay apart"
    server.end()
    again = machine.weft("repair")
    assert (again.stdout, again.stderr) == ("", "")


def test_nothing_is_touched_where_all_is_right(machine: Host) -> None:
    rtnl = machine.popen(["ip", "-o", "monitor", "link", "address", "route", "rule"])
    nft = machine.popen(["nft", "monitor"])
    assert rtnl.stdout
    assert nft.stdout
    # Both listen once they tell of a link and a table.
    machine.sh("for n in $(seq 50); do ip link add s$n type bridge; done; nft add table inet mark0")
    while "s50" not in rtnl.stdout.readline():
        pass
    while "mark0" not in (line := nft.stdout.readline()):
        assert line, "nft monitor ended"
    machine.weft("repair")
    machine.sh("ip link add ended type bridge; nft add table inet mark1")
    heard = []
    while "ended" not in (line := rtnl.stdout.readline()):
        heard.append(line)
    assert [line for line in heard if not re.search(r"\bs\d+\b", line)] == []
    assert "mark1" in next(line for line in iter(nft.stdout.readline, "") if "generation" not in line)
    rtnl.end()
    nft.end()
    machine.sh("for n in $(seq 50); do ip link del s$n; done; ip link del ended")
    machine.nft("delete table inet mark0; delete table inet mark1")


def test_a_printed_repair_is_a_script(machine: Host) -> None:
    before = picture(machine)
    machine.sh("nft delete table inet weft; nft delete table bridge weft")
    machine.sh(machine.weft("repair", "--dry-run").stdout)
    assert picture(machine) == before
    assert machine.weft("repair").stdout == ""


def test_a_machine_started_anew(machine: Host) -> None:
    """The kernel forgot all, the state directory is there, and the boot id is another."""
    with Host() as host:
        host.weft("net", "create", "blue", "--subnet", BLUE)
        host.weft("run", "-d", "--network", "blue", "--name", "web", "-p", "8080:80", "--", "sleep", "6000")
        host.weft("run", "--network", "blue", "--name", "idle")
        host.weft("repair")
        state = host.sh("cd /var/lib/weft; tar -cf - . | base64 -w0")
    with Host() as host:
        host.run(["sh", "-c", "base64 -d | tar -xf - -C /var/lib/weft"], input=state)
        host.write("/tmp/boot", "another\n")
        host.run(["mount", "--bind", "/tmp/boot", "/proc/sys/kernel/random/boot_id"])
        said = host.weft("repair")
        assert "web" in said.stdout + said.stderr
        rows = {row["name"]: row for row in host.weft_json("ps", "-a")}
        assert rows["web"]["state"] == "exited"
        assert rows["idle"]["state"] == "running"
        host.weft("run", "-d", "--network", "blue", "--name", "other", "-p", "8080:80", "--", "sleep", "6000")
        assert host.pings("10.1.0.3", netns="other")
        assert host.weft("repair").stdout == ""


def test_what_cannot_be_mended_is_said(machine: Host) -> None:
    with Host() as host:
        host.weft("net", "create", "blue", "--subnet", BLUE, "--bridge", "mine")
        host.weft("net", "create", "red", "--subnet", "10.2.0.0/24")
        bridge = host.weft_json("net", "inspect", "red")[0]["bridge"]
        host.sh(f"ip link del mine; ip link add mine type veth peer name theirs; ip link del {bridge}")
        done = host.weft("repair", check=False)
        assert done.returncode == 1
        assert "mine" in done.stderr
        assert "Traceback" not in done.stderr
        assert bridge in host.ip("link"), "one network keeps the other from nothing"
        host.ip("link", "del", "mine")
        host.weft("repair")
        assert host.weft("repair").stdout == ""


def test_gc_takes_what_nothing_wants(machine: Host) -> None:
    with Host() as host:
        host.weft("net", "create", "blue", "--subnet", BLUE)
        host.weft("run", "--network", "blue", "--name", "web")
        host.ip("netns", "add", "strange")
        host.weft("net", "connect", "blue", "netns:strange")
        host.ip("link", "add", "precious", "type", "bridge")
        assert host.weft("gc").stdout == ""
        before = _links(host), host.nft("list", "ruleset")
        root = next(str(r[4]) for r in before[0] if "network=blue" in str(r[4])).split()[1]
        host.sh(
            "ip link add wbstray type bridge; "
            "ip link property add dev wbstray altname weft:0123456789abcdef; "
            f"ip link set wbstray alias 'weft {root} network=gone'; "
            "ip link add other type bridge; ip link property add dev other altname weft:0123456789abcdee; "
            "ip link set other alias 'weft root=00000000 network=gone'; "
            "ip rule add pref 117 iif nowhere to 10.99.0.0/24 lookup main protocol 119; "
            "ip route add prohibit 10.99.0.0/24 table 7765 proto 119; "
            "nft add element inet weft bridges '{ \"wbstray\" }'; "
            "touch /run/weft/hosts/gone"
        )
        assert "wbstray" in host.weft("gc", "--dry-run").stdout
        assert "wbstray" in host.ip("link")
        said = host.weft("gc").stdout
        assert "wbstray" in said
        assert "10.99.0.0/24" in said
        host.ip("link", "del", "other")  # another root's, and hence still there
        assert (_links(host), host.nft("list", "ruleset")) == before
        assert "10.99" not in host.ip("rule") + host.ip("route", "show", "table", "7765")
        assert host.weft("gc").stdout == ""

        host.ip("netns", "del", "strange")
        assert "strange" in host.weft("gc").stdout
        assert len(host.weft_json("net", "inspect", "blue")[0]["endpoints"]) == 1
        host.weft("rm", "web")
        host.weft("net", "rm", "blue")
        assert host.weft("gc").stdout == ""
