"""VLANs and VRFs by every door: where the kernel has them as asked, else a refusal that leaves nothing."""

from __future__ import annotations

import json

import pytest

from frontends.netavark import podman
from harness import REPO, Host, differences, snapshot
from harness.host import PYTHON
from scenarios import test_netavark

#: weft on a kernel that takes its messages for VLANs and a VRF, which this one may not: harmless ones in
#: their stead go to the same links, which must be there by then; what was asked is told.
TAKEN = f"""
import sys
sys.path.insert(0, {str(REPO / "src")!r})
from weft.core.ops import vlan
from weft.core.wire import rtnetlink as rt
from weft.frontends.cli.main import main
from weft.linux import observe

def by_name(op, names):
    return (rt.set_link(rt.Link(ifname=op.ifname, group=0)),)

def by_index(op, names):
    names.index(op.ifname)
    return (rt.set_link(rt.Link(ifindex=names.index(op.ifname), ifname=op.ifname)),)

def told(encode):
    def call(op, names):
        print(*op.shell(), sep="\\n", file=sys.stderr)
        return encode(op, names)
    return call

for kind, encode in ((vlan.BridgeVlan, by_name), (vlan.VlanFilter, by_name), (vlan.PortVlan, by_index)):
    kind.encode = told(encode)
vlan.VrfJoin.encode = told(by_name)
real = observe.host
observe.host = lambda hands: real(hands)._replace(vrfs=(observe.VrfFact("red", 10),))
sys.exit(main(sys.argv[1:]))
"""
VLAN, VRF = "CONFIG_BRIDGE_VLAN_FILTERING", "CONFIG_NET_VRF"


@pytest.fixture
def host(host: Host) -> Host:
    """One where weft's own directories are there; an internal network does not switch forwarding on."""
    host.weft("net", "create", "first", "--internal")
    host.weft("net", "rm", "first")
    return host


@pytest.fixture
def knows_vlans(host: Host) -> bool:
    done = host.run(["ip", "link", "add", "probe", "type", "bridge", "vlan_filtering", "1"], check=False)
    host.run(["ip", "link", "del", "probe"], check=False)
    return done.returncode == 0


def test_a_network_in_a_vlan(host: Host, knows_vlans: bool) -> None:
    before = snapshot(host)
    done = host.weft("net", "create", "blue", "--bridge", "br0", "-o", "vlan=12", check=False)
    if not knows_vlans:
        assert done.returncode == 5 and VLAN in done.stderr and "br0" in done.stderr
        assert differences(host, before) == [], "tables, forwarding and files too"
        assert host.weft("net", "ls", "-q").stdout == ""
        return
    host.weft("run", "-d", "--name", "a", "--network", "blue")
    host.weft("run", "-d", "--name", "b", "--network", "blue")
    host.weft("exec", "a", "ping", "-c1", "-W2", "b")
    vlans = json.loads(host.run(["bridge", "-j", "vlan", "show"]).stdout)
    assert {(v["vlan"], *v["flags"]) for p in vlans for v in p["vlans"]} == {(12, "PVID", "Egress Untagged")}
    assert len(vlans) == 3, "two ports and the bridge itself"


@pytest.mark.campaign
def test_a_bridge_that_was_there(host: Host, knows_vlans: bool) -> None:
    host.sh("ip link add br0 type bridge\nip link set br0 up")
    before = snapshot(host)
    for further in ((), ("-o", "unmanaged=true")):
        asked = ("--bridge", "br0", "--subnet", "10.1.0.0/24", "-o", "vlan=12", *further)
        done = host.weft("net", "create", "blue", *asked, check=False)
        assert (done.returncode == 0) == knows_vlans
        if knows_vlans:
            host.weft("net", "rm", "blue")
        else:
            assert done.returncode == 5 and VLAN in done.stderr
            assert differences(host, before) == []


def test_a_network_in_a_vrf(host: Host) -> None:
    made = host.run(["ip", "link", "add", "red", "type", "vrf", "table", "10"], check=False)
    before = snapshot(host)
    done = host.weft(
        "net", "create", "blue", "--bridge", "br0", "--subnet", "10.1.0.0/24", "-o", "vrf=red", check=False
    )
    if made.returncode:
        assert done.returncode == 5 and VRF in done.stderr and "red" in done.stderr
        assert differences(host, before) == []
        return
    assert "10.1.0.0/24 dev br0" in host.ip("route", "show", "table", "10")


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [("vlan", "12", VLAN), pytest.param("vrf", "red", VRF, marks=pytest.mark.campaign)],
)
def test_the_shell_face(host: Host, option: str, value: str, needed: str) -> None:
    """What would be done is shown as the commands that do it; a VRF must be there for that."""
    done = host.weft(
        "net", "create", "blue", "--bridge", "br0", "-o", f"{option}={value}", "--dry-run", check=False
    )
    if option == "vlan":
        assert "ip link set dev br0 type bridge vlan_filtering 1 vlan_default_pvid 12" in done.stdout
    else:
        assert done.returncode == 5 and needed in done.stderr


@pytest.mark.parametrize(
    ("options", "needed"),
    [({"vlan": "12"}, VLAN), pytest.param({"vrf": "red"}, VRF, marks=pytest.mark.campaign)],
)
def test_podmans_door(host: Host, knows_vlans: bool, options: dict[str, str], needed: str) -> None:
    host.ip("netns", "add", "c1")
    before = snapshot(host)
    said = podman.wish({"podman": (podman.network(options=options), podman.place())})
    if "vlan" in options and knows_vlans:
        test_netavark.setup(host, "c1", said)
        test_netavark.teardown(host, "c1", said)
    else:
        assert needed in test_netavark.failed(host, "setup", "c1", said)
    assert differences(host, before) == []


@pytest.fixture
def forwarding(host: Host) -> Host:
    """One that forwards already, which stays on."""
    host.weft("net", "create", "first", "--subnet", "10.1.0.0/24", "--subnet", "fd01::/64")
    host.weft("net", "rm", "first")
    return host


def taken(host: Host, *words: str) -> list[str]:
    """What is asked of the kernel, as bridge(8) and ip(8) would."""
    said = host.run([*PYTHON, "-c", TAKEN, *words], env={"WEFT_PROGRAM": str(REPO / "weft")}).stderr
    return [line for line in said.splitlines() if line.startswith(("ip ", "bridge "))]


OWN = ("ip link set dev br7 type bridge vlan_filtering 1 vlan_default_pvid 12",)
OTHERS = (
    "ip link set dev br0 type bridge vlan_filtering 1",
    "bridge vlan add dev br0 vid 12 pvid untagged self",
    "bridge vlan del dev br0 vid 1 self",
)


@pytest.mark.parametrize(
    ("bridge", "made"), [("br0", OTHERS), pytest.param("br7", OWN, marks=pytest.mark.campaign)]
)
def test_each_link_is_there_when_it_is_put_into_its_vlan(
    forwarding: Host, bridge: str, made: tuple[str, ...]
) -> None:
    host = forwarding
    host.sh("ip netns add c1\nip link add br0 address 02:00:00:00:00:10 type bridge\nip link set br0 up")
    # What a bridge's first port leaves behind.
    host.sh("ip link add p0 type veth peer name p1\nip link set p0 master br0 up\nip link del p0")
    before = snapshot(host)
    flags = ("--bridge", bridge, "--subnet", "10.1.0.0/24", "--subnet", "fd01::/64", "-o", "vlan=12")
    assert tuple(taken(host, "net", "create", "blue", *flags)) == made
    (added, gone) = taken(host, "net", "connect", "blue", "netns:c1")
    (port,) = [one["ifname"] for one in json.loads(host.ip("-j", "link", "show", "master", bridge))]
    assert added == f"bridge vlan add dev {port} vid 12 pvid untagged"
    assert gone == f"bridge vlan del dev {port} vid 1"
    assert host.pings("10.1.0.1", netns="c1"), "the guard's elements are there as ever"
    taken(host, "net", "rm", "-f", "blue")
    assert differences(host, before) == []


def test_a_network_of_a_vrf_that_is_there(forwarding: Host) -> None:
    host = forwarding
    before = snapshot(host)
    flags = ("--bridge", "br7", "--subnet", "10.1.0.0/24", "--subnet", "fd01::/64", "-o", "vrf=red")
    assert taken(host, "net", "create", "blue", *flags) == ["ip link set dev br7 master red"]
    assert "br7" not in host.ip("rule"), "the VRF's own rule finds the table"
    shielded = host.nft("list", "set", "inet", "weft", "shielded")
    assert '"br7"' in shielded and '"red"' in shielded
    (shown,) = host.weft_json("net", "inspect", "blue")
    assert shown["options"] == {"vrf": "red"}
    host.weft("net", "rm", "blue")
    assert differences(host, before) == []
