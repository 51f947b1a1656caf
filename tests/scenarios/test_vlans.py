"""VLANs and VRFs by every door: where the kernel has them as asked, else a refusal that leaves nothing."""

from __future__ import annotations

import json

import pytest

from frontends.netavark import podman
from harness import Host, differences, snapshot
from scenarios import test_netavark

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


@pytest.mark.parametrize(("option", "value", "needed"), [("vlan", "12", VLAN), ("vrf", "red", VRF)])
def test_the_shell_face(host: Host, option: str, value: str, needed: str) -> None:
    """What would be done is shown as the commands that do it; a VRF must be there for that."""
    done = host.weft(
        "net", "create", "blue", "--bridge", "br0", "-o", f"{option}={value}", "--dry-run", check=False
    )
    if option == "vlan":
        assert "ip link set dev br0 type bridge vlan_filtering 1 vlan_default_pvid 12" in done.stdout
    else:
        assert done.returncode == 5 and needed in done.stderr


@pytest.mark.parametrize(("options", "needed"), [({"vlan": "12"}, VLAN), ({"vrf": "red"}, VRF)])
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
