"""VLANs of ports and tables of VRFs, as bridge(8) and ip-link(8) of iproute2 6.1 send and read them."""

from __future__ import annotations

import errno
import json
from socket import if_nametoindex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.wire.sandbox import Kernel, command, sandboxed
from weft.core.model.errors import WireError
from weft.core.ops.base import Names
from weft.core.ops.vlan import BridgeVlan, PortVlan, VlanFilter, VrfJoin
from weft.core.wire import rtnetlink as rt
from weft.core.wire.vlan import (
    PortVlans,
    Vlan,
    del_vlans,
    dump_vlans,
    get_vlans,
    get_vrf,
    put_vlans,
    put_vrf,
    set_vlans,
)

VLANS = st.builds(Vlan, st.integers(1, 4094), st.booleans(), st.booleans())
NAMES = Names({"br0": 7, "v0": 77, "red": 9}.__getitem__, lambda name: 0)
#: What stands before the attributes: AF_BRIDGE, and the index of v0 or br0.
V0, BR0 = (
    bytes.fromhex("07000000 4d000000 00000000 00000000"),
    bytes.fromhex("07000000 07000000 0000000000000000"),
)


def spec(*attributes: str) -> bytes:
    """IFLA_AF_SPEC. weft marks it as nested (NLA_F_NESTED), bridge(8) does not; the kernel masks that."""
    body = bytes.fromhex(" ".join(attributes))
    return (len(body) + 4).to_bytes(2, "little") + bytes.fromhex("1a80") + body


@given(
    st.builds(PortVlans, st.integers(1, (1 << 31) - 1), st.lists(VLANS, max_size=5).map(tuple), st.booleans())
)
def test_there_and_back(port: PortVlans) -> None:
    assert get_vlans(put_vlans(port)) == port
    assert put_vlans(port)[:1] == b"\x07", "AF_BRIDGE"


def test_a_port_in_a_vlan() -> None:
    """``bridge vlan add dev v0 vid 5 pvid untagged``, and ``bridge vlan del dev v0 vid 1``."""
    op = PortVlan("v0", 5)
    assert op.shell() == ("bridge vlan add dev v0 vid 5 pvid untagged", "bridge vlan del dev v0 vid 1")
    added, gone = op.encode(NAMES)
    assert added == (19, 5, V0 + spec("0800 0200 0600 0500"))
    assert gone == (17, 5, V0 + spec("0800 0200 0000 0100"))


def test_what_stays_beside() -> None:
    assert PortVlan("v0", 5, keep=True).shell() == ("bridge vlan add dev v0 vid 5 pvid untagged",)
    assert len(PortVlan("v0", 5, keep=True).encode(NAMES)) == 1
    assert len(PortVlan("v0", 1).encode(NAMES)) == 1, "its own is not taken away"


def test_the_bridge_itself() -> None:
    op = PortVlan("br0", 4094, itself=True)
    assert op.shell() == (
        "bridge vlan add dev br0 vid 4094 pvid untagged self",
        "bridge vlan del dev br0 vid 1 self",
    )
    added, gone = op.encode(NAMES)
    assert added[2] == BR0 + spec("0600 0000 0200 0000", "0800 0200 0600 fe0f")
    assert gone[2] == BR0 + spec("0600 0000 0200 0000", "0800 0200 0000 0100")
    back = op.undo()
    assert isinstance(back, PortVlan)
    assert back.shell() == (
        "bridge vlan add dev br0 vid 1 pvid untagged self",
        "bridge vlan del dev br0 vid 4094 self",
    )


def test_a_bridge_that_knows_vlans() -> None:
    """``ip link set dev br0 type bridge vlan_filtering 1 vlan_default_pvid 5``: its IFLA_INFO_DATA."""
    op = BridgeVlan("br0", 5)
    assert op.shell() == ("ip link set dev br0 type bridge vlan_filtering 1 vlan_default_pvid 5",)
    ((number, _, payload),) = op.encode(NAMES)
    assert number == 16
    assert bytes.fromhex("0500 0700 01000000 0600 2700 0500 0000") in payload
    assert rt.get_link(payload).bridge == rt.Bridge(vlan_filtering=1, default_pvid=5)
    assert VlanFilter("br0", False).shell() == ("ip link set dev br0 type bridge vlan_filtering 0",)


def test_a_bridge_in_a_vrf() -> None:
    op = VrfJoin("br0", "red")
    assert op.shell() == ("ip link set dev br0 master red",)
    ((_, _, payload),) = op.encode(NAMES)
    assert rt.get_link(payload) == rt.Link(ifname="br0", master=9)


def test_the_table_of_a_vrf() -> None:
    """``ip link add red type vrf table 10``."""
    assert put_vrf(10) == bytes.fromhex("0800 0100 0a000000")
    found = rt.get_link(rt.put_link(rt.Link(ifname="red", kind="vrf", options=put_vrf(10))))
    assert get_vrf(found.options or b"") == 10
    with pytest.raises(WireError, match="without a table"):
        get_vrf(b"")


def test_ranges() -> None:
    """As the kernel tells them: the first and the last of those that follow one another."""
    told = "0800 0200 0600 0100", "0800 0200 0c00 0a00", "0800 0200 1400 0c00"
    found = get_vlans(V0 + spec(*told))
    assert found.ifindex == 77
    assert found.vlans == (
        Vlan(1, True, True),
        *[Vlan(vid, untagged=True) for vid in (10, 11, 12)],
    )


@pytest.mark.parametrize(
    "attributes",
    [
        ("0800 0200 0000 0000",),  # no VLAN
        ("0800 0200 0000 ff0f",),  # 4095 is reserved
        ("0600 0200 0000 0000",),  # short
        ("0800 0200 1000 0500",),  # an end without a beginning
        ("0800 0200 0800 0500", "0800 0200 0800 0600"),  # a beginning within a range
        ("0800 0200 0800 0500", "0800 0200 0000 0600"),  # another one within a range
        ("0800 0200 0800 0900", "0800 0200 1000 0500"),  # backwards
    ],
)
def test_hostile(attributes: tuple[str, ...]) -> None:
    with pytest.raises(WireError):
        get_vlans(V0 + spec(*attributes))


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    for read in (get_vlans, get_vrf):
        try:
            read(data)
        except WireError:
            continue


def test_messages() -> None:
    port = PortVlans(77, (Vlan(5),))
    assert (set_vlans(port)[0], del_vlans(port)[0], dump_vlans()[0]) == (19, 17, 18)
    assert dump_vlans()[2].endswith(bytes.fromhex("0800 1d00 02000000")), "RTEXT_FILTER_BRVLAN"
    for vid in (0, 4095, -1, 1 << 20):
        with pytest.raises(WireError, match="not from 1 to 4094"):
            put_vlans(PortVlans(77, (Vlan(vid),)))


@sandboxed
def test_with_the_kernel() -> None:
    """Each message is understood: done, and told as bridge(8) shows it; or refused since the kernel's bridges
    know no VLANs, and not for its form."""
    command("ip", "link", "add", "br0", "type", "bridge")
    command("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    command("ip", "link", "set", "v0", "master", "br0")
    names = Names(if_nametoindex, lambda name: 0)
    ops = (BridgeVlan("br0", 7), PortVlan("v0", 5, old=7), PortVlan("br0", 9, 7, itself=True))
    with Kernel() as kernel:
        acks = kernel.acks([message for op in ops for message in op.encode(names)])
        found = {port.ifindex: port.vlans for port in map(get_vlans, kernel.ask(dump_vlans()))}
    shown = {
        row["ifname"]: row["vlans"] for row in json.loads(command("bridge", "-j", "vlan", "show") or "[]")
    }
    if acks[0].errno:
        assert {ack.errno for ack in acks} <= {errno.EOPNOTSUPP, 0} and acks[1].errno == errno.EOPNOTSUPP
        assert not shown and not any(found.values())
        return
    assert [ack.errno for ack in acks] == [0] * 5
    for ifname, vid in (("v0", 5), ("br0", 9)):
        assert found[if_nametoindex(ifname)] == (Vlan(vid, True, True),)
        assert shown[ifname] == [{"vlan": vid, "flags": ["PVID", "Egress Untagged"]}]
