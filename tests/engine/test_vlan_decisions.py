"""Networks in a VLAN of their bridge, and in a VRF: what is decided. No kernel: facts in, operations out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fakes.bench import Bench
from fakes.machine import FakeMachine
from weft.core.drivers import bridge as driver
from weft.core.model.errors import BadInput, Conflict, NotFound, Unsupported, WeftError
from weft.core.model.facts import BridgeFact, HostFacts, VrfFact
from weft.core.model.inventory import Inventory, SeenLink
from weft.core.model.network import Network
from weft.core.ops.base import Op
from weft.core.ops.link import BridgeAdd, VethAdd
from weft.core.ops.nft import ElementAdd
from weft.core.ops.rule import RuleAdd
from weft.core.ops.vlan import BridgeVlan, PortVlan, VlanFilter, VrfJoin
from weft.core.plan import diff, rebuild
from weft.engine import container, inspect, network
from weft.engine.network import NetworkRequest
from weft.engine.request import Join, RunRequest

SUBNET = ("10.1.0.0/24",)


class Machine(FakeMachine):
    """One with VRFs, and with a bridge of somebody's."""

    vrfs: tuple[VrfFact, ...] = (VrfFact("red", 10, 1400), VrfFact("green", 11))
    knows_vrfs = True
    found = BridgeFact((), 1500)

    def host_facts(self) -> HostFacts:
        return super().host_facts()._replace(vrfs=self.vrfs, knows_vrfs=self.knows_vrfs)

    def bridge_fact(self, ifname: str) -> BridgeFact:
        return self.found


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.machine = Machine()
    made.work.machine = made.machine
    return made


def create(bench: Bench, name: str, *options: tuple[str, str], **fields: object) -> list[Op]:
    request = NetworkRequest(name, options=options)._replace(**fields)
    return bench.plan(lambda: network.create(bench.work, request))


def where(ops: Sequence[Op], kind: type[Op]) -> int:
    return next(i for i, op in enumerate(ops) if isinstance(op, kind))


def test_all_of_a_network_is_in_its_vlan(bench: Bench) -> None:
    ops = create(bench, "blue", ("vlan", "0012"))
    blue = bench.store.network("blue")
    assert BridgeVlan(blue.bridge, 12) in ops
    assert where(ops, BridgeVlan) == where(ops, BridgeAdd) + 1, "before anything is plugged in"
    forwarding = next(i for i, op in enumerate(ops) if "ip_forward" in op.describe())
    assert forwarding > where(ops, BridgeVlan), "it stays on: not where the kernel knows no VLANs"
    ran = bench.plan(lambda: container.create(bench.work, RunRequest("a", (Join("blue"),))))
    endpoint = bench.store.endpoint("a", "blue")
    assert endpoint is not None
    assert ran[where(ran, VethAdd) + 1] == PortVlan(endpoint.host_ifname, 12)
    (shown,) = inspect.networks(bench.work, ["blue"])
    assert shown["options"] == {"vlan": "12"}
    (further,) = [op for op in driver.shard_links(blue, 1) if isinstance(op, BridgeVlan)]
    assert further == BridgeVlan(blue.bridge_of(1), 12)


def test_a_bridge_that_was_there_stays_as_it_was(bench: Bench) -> None:
    bench.machine.foreign_link("br0")
    before = bench.kernel()
    made = create(bench, "blue", ("vlan", "12"), bridge="br0", subnets=SUBNET)
    mine = [op for op in made if isinstance(op, (BridgeVlan, VlanFilter, PortVlan))]
    assert mine == [VlanFilter("br0", True), PortVlan("br0", 12, itself=True)]
    assert inspect.networks(bench.work, ["blue"])[0]["options"].get("filters") is None
    gone = bench.plan(lambda: network.remove(bench.work, "blue"))
    back = [op for op in gone if isinstance(op, (VlanFilter, PortVlan))]
    assert back == [PortVlan("br0", 1, 12, True), VlanFilter("br0", False)]
    assert bench.kernel() == before


def test_a_bridge_that_knows_vlans_is_not_told_so(bench: Bench) -> None:
    assert isinstance(bench.machine, Machine)
    bench.machine.foreign_link("br0")
    bench.machine.found = BridgeFact((), 1500, filters=True)
    keep = ("preserve_default_vlan", "true")
    made = create(bench, "blue", ("vlan", "12"), keep, bridge="br0", subnets=SUBNET)
    mine = [op for op in made if isinstance(op, (VlanFilter, PortVlan))]
    assert mine == [PortVlan("br0", 12, itself=True, keep=True)]


def test_used_as_it_is(bench: Bench) -> None:
    """Members are in the VLAN; whether the bridge is, is its owner's matter."""
    bench.machine.foreign_link("br0")
    made = create(bench, "blue", ("vlan", "12"), ("unmanaged", "true"), bridge="br0", subnets=SUBNET)
    assert [op for op in made if isinstance(op, (VlanFilter, PortVlan))] == [VlanFilter("br0", True)]


def test_a_network_in_a_vrf(bench: Bench) -> None:
    ops = create(bench, "blue", ("vrf", "red"), subnets=SUBNET)
    blue = bench.store.network("blue")
    assert ops[where(ops, BridgeAdd) + 1] == VrfJoin(blue.bridge, "red"), "before its addresses: their routes"
    assert blue.mtu == 1400, "of the VRF's own default route"
    assert not [op for op in ops if isinstance(op, RuleAdd)], "the VRF's rule says where to look up"
    elements = [(op.set, op.key) for op in ops if isinstance(op, ElementAdd)]
    assert ("shielded", (("ifname", "red"),)) in elements, "the host's services are closed there too"
    assert ("own4", (("ifname", "red"), ("ipv4_addr", "10.1.0.1"))) in elements
    assert "subnet4" not in [name for name, _ in elements]
    assert inspect.networks(bench.work, ["blue"])[0]["options"] == {"vrf": "red"}
    create(bench, "other", ("vrf", "green"), mtu=1300)
    assert bench.store.network("other").mtu == 1300


@pytest.mark.parametrize(
    ("options", "fields", "error", "said"),
    [
        ((("vrf", "nope"),), {}, NotFound, "no VRF nope"),
        ((("vrf", "br0"),), {}, BadInput, "br0 is no VRF"),
        ((("vrf", "red"),), {"bridge": "br0", "subnets": SUBNET}, Conflict, "not in the VRF red"),
        ((("vrf", "red"),), {"internal": True}, BadInput, "--internal"),
        ((("vrf", "red"), ("dns", "true")), {}, BadInput, "dns"),
        ((("vrf", "red"), ("isolate", "false")), {}, BadInput, "isolate"),
        ((("vrf", "red"), ("exposed", "true")), {}, BadInput, "exposed"),
        ((("vrf", "red"), ("ptp", "true")), {}, BadInput, "ptp"),
        ((("vrf", "red"), ("unmanaged", "true")), {"bridge": "br0"}, BadInput, "unmanaged"),
        ((("vrf", "a/b"),), {}, BadInput, "a/b"),
        ((("preserve_default_vlan", "true"),), {}, BadInput, "needs the option vlan"),
        *[
            ((("vlan", text),), {}, BadInput, "option vlan")
            for text in ("0", "4095", "-1", "", "x", "1" * 99)
        ],
        ((("vlan", "5"),), {"driver": "macvlan"}, BadInput, "not for driver macvlan"),
        ((("vrf", "red"),), {"driver": "ipvlan"}, BadInput, "not for driver ipvlan"),
    ],
)
def test_what_cannot_be(
    bench: Bench, options: tuple[tuple[str, str], ...], fields: dict[str, object], error: type, said: str
) -> None:
    bench.machine.foreign_link("br0")
    before = bench.kernel()
    with pytest.raises(error) as caught:
        create(bench, "blue", *options, **fields)
    assert isinstance(caught.value, WeftError) and said in caught.value.message
    assert bench.kernel() == before and not bench.store.networks()


def test_a_kernel_without_vrfs(bench: Bench) -> None:
    assert isinstance(bench.machine, Machine)
    bench.machine.vrfs, bench.machine.knows_vrfs = (), False
    with pytest.raises(Unsupported, match="none at all") as caught:
        create(bench, "blue", ("vrf", "red"))
    assert "CONFIG_NET_VRF" in caught.value.hint


def test_one_network_a_vrf(bench: Bench) -> None:
    create(bench, "blue", ("vrf", "red"))
    with pytest.raises(Conflict, match="VRF red has the network blue"):
        create(bench, "other", ("vrf", "red"))


def seen(*links: SeenLink) -> Inventory:
    return Inventory(links, frozenset(), (), frozenset(), frozenset(), (), frozenset(), (), ())


def bridge_of(net: Network, **fields: object) -> SeenLink:
    alias = f"weft root={net.root} network={net.name}"
    link = SeenLink(net.bridge, "bridge", (net.mark,), alias, "", True, net.mtu, net.mac)
    return link._replace(**fields)


def test_repair_puts_bridge_and_port_back(bench: Bench) -> None:
    create(bench, "blue", ("vlan", "12"), ("vrf", "red"), subnets=SUBNET)
    container.create(bench.work, RunRequest("a", (Join("blue"),)))
    blue, endpoint = bench.store.network("blue"), bench.store.endpoint("a", "blue")
    sandbox = bench.store.container("a")[0]
    assert endpoint is not None
    port = SeenLink(
        endpoint.host_ifname, "veth", (endpoint.mark,), "", blue.bridge, True, blue.mtu, "", hairpin=True
    )

    def steps(bridge: SeenLink, port: SeenLink) -> tuple[list[Op], bool, list[Op]]:
        look = diff.Seen(seen(bridge, port))
        missing = diff.host_steps(driver.network_wants(blue, "/h"), look)
        host: list[Op] = [op for op in missing if isinstance(op, (BridgeVlan, VrfJoin))]
        wants = driver.endpoint_wants(blue, sandbox, endpoint)
        return host, diff.plugged(blue, endpoint, look), diff.endpoint_steps(wants, look)

    whole = bridge_of(blue, master="red", filters=True, vlan=12, pvid=12), port._replace(pvid=12)
    assert steps(*whole) == ([], True, [])
    assert steps(bridge_of(blue), port) == (
        [BridgeVlan(blue.bridge, 12), VrfJoin(blue.bridge, "red")],
        False,
        [PortVlan(endpoint.host_ifname, 12)],
    )
    moved = steps(whole[0], port._replace(pvid=99))
    assert moved == ([], False, [PortVlan(endpoint.host_ifname, 12, 99)])


def test_a_lost_database_is_read_back(bench: Bench) -> None:
    create(bench, "blue", ("vlan", "12"), ("vrf", "red"), subnets=SUBNET)
    blue = bench.store.network("blue")
    gateway = blue.pools[0].gateway
    red = SeenLink("red", "vrf", (), "", "", True, 65575, "")
    bridge = bridge_of(blue, master="red", filters=True, vlan=12)
    found = rebuild.read(
        blue.root,
        seen(red, bridge)._replace(
            addresses=frozenset([(blue.bridge, gateway, 24)]), files=(("/run/weft/hosts/blue", frozenset()),)
        ),
        (),
    )
    assert found.networks[0].options == (("vlan", "12"), ("vrf", "red"))
