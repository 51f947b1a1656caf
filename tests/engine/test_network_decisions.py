"""Which plan comes out for which facts, for networks. No kernel: facts in, operations out."""

from __future__ import annotations

import pytest

from fakes.bench import Bench
from fakes.machine import ROOT
from weft.core.model.address import parse_address
from weft.core.model.errors import BadInput, Conflict, Exhausted, KernelError, NotFound, NotOurs
from weft.core.model.names import mark, object_id
from weft.core.ops.base import Op
from weft.core.ops.link import BridgeAdd, LinkDel
from weft.core.ops.netns import Sysctl
from weft.core.ops.nft import TableAdd, TableDel
from weft.engine import container, network
from weft.engine.network import NetworkRequest
from weft.engine.request import Join, RunRequest

BLUE = NetworkRequest("blue", ("192.168.10.0/24",), ("192.168.10.1",), "lxcbr0")
RED = NetworkRequest("red", ("192.168.20.0/24",))
OURS = mark(ROOT)


def names(ops: list[Op]) -> list[str]:
    return [type(op).__name__ for op in ops]


def forwards(ops: list[Op]) -> bool:
    return any(isinstance(op, Sysctl) and op.key == "net/ipv4/ip_forward" for op in ops)


def test_the_first_network_brings_tables_and_forwarding(bench: Bench) -> None:
    ops = bench.plan(lambda: network.create(bench.work, BLUE))
    assert names(ops)[:3] == ["TableAdd", "TableAdd", "Sysctl"]
    assert forwards(ops)
    assert bench.machine.tables == {"bridge": OURS, "inet": OURS}
    assert any("ip_forward" in said for said in bench.remarks), "switched on: said aloud"
    blue = bench.store.network("blue")
    assert (blue.bridge, blue.number, blue.created) == ("lxcbr0", 1, bench.machine.clock)
    assert bench.machine.links["lxcbr0"].altnames == (blue.mark,)


def test_the_second_network_brings_only_itself(bench: Bench) -> None:
    network.create(bench.work, BLUE)
    bench.remarks.clear()
    ops = bench.plan(lambda: network.create(bench.work, RED))
    assert "TableAdd" not in names(ops)
    assert not forwards(ops)
    assert bench.remarks == []
    red = bench.store.network("red")
    assert red.number == 2
    assert red.bridge == "wb" + red.id[:12]


def test_a_host_that_forwards_is_left_alone(bench: Bench) -> None:
    bench.machine.forwarding = True
    assert not forwards(bench.plan(lambda: network.create(bench.work, BLUE)))
    assert bench.remarks == []


def test_the_last_network_takes_the_tables_along(bench: Bench) -> None:
    before = bench.kernel()
    network.create(bench.work, BLUE)
    network.create(bench.work, RED)
    ops = bench.plan(lambda: network.remove(bench.work, "blue"))
    assert "TableDel" not in names(ops)
    assert names(ops)[0] == "LinkGroupDel"
    assert "ElementDel" in names(ops)
    ops = bench.plan(lambda: network.remove(bench.work, "red"))
    assert names(ops).count("TableDel") == 2
    assert "ElementDel" not in names(ops), "elements go with their tables"
    assert bench.kernel() == before
    assert bench.machine.forwarding, "never switched off"
    assert bench.store.networks() == ()


def test_leftovers_with_our_mark_are_replaced(bench: Bench) -> None:
    """The database was lost; the kernel still has our bridge and our tables."""
    oid = object_id(ROOT, "network", "blue")
    bench.machine.foreign_link("lxcbr0", "bridge", mark(oid))
    bench.machine.tables = {"inet": OURS, "bridge": OURS}
    ops = bench.plan(lambda: network.create(bench.work, BLUE))
    assert ops[0] == LinkDel("lxcbr0", mark(oid))
    assert names(ops).count("TableDel") == names(ops).count("TableAdd") == 2
    for family in ("inet", "bridge"):
        place = {type(op): n for n, op in enumerate(ops) if getattr(op, "family", "") == family}
        assert place[TableDel] < place[TableAdd]


def test_a_leftover_bridge_of_another_name_goes_too(bench: Bench) -> None:
    oid = object_id(ROOT, "network", "blue")
    bench.machine.foreign_link("oldname", "bridge", mark(oid))
    ops = bench.plan(lambda: network.create(bench.work, BLUE))
    assert ops[0] == LinkDel("oldname", mark(oid))
    assert "oldname" not in bench.machine.links


def test_one_table_flushed_is_made_again(bench: Bench) -> None:
    network.create(bench.work, BLUE)
    del bench.machine.tables["bridge"]
    ops = bench.plan(lambda: network.create(bench.work, RED))
    assert [op.family for op in ops if isinstance(op, TableAdd)] == ["bridge"]


@pytest.mark.parametrize("kind", ["dummy", ""])
def test_a_foreign_link_of_that_name(bench: Bench, kind: str) -> None:
    bench.machine.foreign_link("lxcbr0", kind)
    untouched(bench, BLUE, NotOurs, f"a link lxcbr0 .{kind or 'device'}. exists and is not a bridge")


def test_a_bridge_that_is_there_is_adopted_and_stays(bench: Bench) -> None:
    bench.machine.foreign_link("lxcbr0", "bridge")
    ops = bench.plan(lambda: network.create(bench.work, BLUE))
    assert not [op for op in ops if isinstance(op, BridgeAdd)]
    assert bench.store.network("blue").adopted
    gone = bench.plan(lambda: network.remove(bench.work, "blue"))
    kinds = [type(op).__name__ for op in gone]
    assert kinds.index("AddressDel") < kinds.index("BridgeRelease")
    assert not [op for op in gone if isinstance(op, LinkDel)]


def test_a_link_of_another_root(bench: Bench) -> None:
    bench.machine.foreign_link("lxcbr0", "bridge", mark(object_id("ffffffff", "network", "blue")))
    untouched(bench, BLUE, NotOurs, "is another weft root's")


@pytest.mark.parametrize(("family", "said"), [("inet", ""), ("bridge", "weft:ffffffff"), ("inet", "mine")])
def test_a_foreign_table(bench: Bench, family: str, said: str) -> None:
    bench.machine.tables[family] = said
    untouched(bench, BLUE, NotOurs, f"the firewall table {family} weft exists and is not this root's")


def untouched(bench: Bench, request: NetworkRequest, kind: type[Exception], said: str) -> None:
    """Refused, and neither the kernel nor the wishes have changed."""
    before = bench.kernel(), bench.wishes()
    with pytest.raises(kind, match=said):
        network.create(bench.work, request)
    assert (bench.kernel(), bench.wishes()) == before


@pytest.mark.parametrize(
    ("other", "kind", "said"),
    [
        (NetworkRequest("blue"), Conflict, "network blue exists already"),
        (NetworkRequest("red", ("192.168.10.128/25",)), Conflict, "overlaps 192.168.10.0/24 of network blue"),
        (NetworkRequest("red", ("192.168.0.0/16",)), Conflict, "overlaps 192.168.10.0/24 of network blue"),
        (
            NetworkRequest("red", RED.subnets, bridge="lxcbr0"),
            Conflict,
            "bridge lxcbr0 belongs to network blue",
        ),
        (NetworkRequest("red", ("10.1.0.0/16",)), Conflict, "the host's route to 10.0.0.0/8 by eth0"),
        (NetworkRequest("default"), BadInput, "reserved"),
        (NetworkRequest("host"), BadInput, "reserved"),
        (NetworkRequest("red\n"), BadInput, "is not valid"),
        (NetworkRequest("red", ("192.168.20.1/24",)), BadInput, "host bits set"),
        (NetworkRequest("red", ("127.0.0.0/24",)), BadInput, "loopback"),
        (NetworkRequest("red", ("169.254.1.0/24",)), BadInput, "link-local"),
        (NetworkRequest("red", ("224.0.0.0/8",)), BadInput, "multicast"),
        (NetworkRequest("red", ("240.0.0.0/8",)), BadInput, "reserved"),
        (NetworkRequest("red", ("0.0.0.0/8",)), BadInput, "this network"),
        (NetworkRequest("red", ("192.168.20.0/32",)), BadInput, "not between /8 and /31"),
        (NetworkRequest("red", ("64.0.0.0/7",)), BadInput, "not between /8 and /31"),
        (NetworkRequest("red", ("fd00::/128",)), BadInput, "not between /16 and /127"),
        (NetworkRequest("red", ("fe80::/64",)), BadInput, "link-local"),
        (NetworkRequest("red", ("ff00::/64",)), BadInput, "multicast"),
        (NetworkRequest("red", ("192.168.20.0/24", "192.168.20.0/25")), BadInput, "overlap"),
        (NetworkRequest("red", RED.subnets, ranges=("192.168.0.0/16",)), BadInput, "outside the subnet"),
        (NetworkRequest("red", RED.subnets, ranges=("192.168.20.0/23",)), BadInput, "larger than its subnet"),
        (NetworkRequest("red", RED.subnets, aux=("gw=192.168.21.9",)), BadInput, "outside the subnet"),
        (NetworkRequest("red", RED.subnets, aux=("192.168.20.9",)), BadInput, "is not NAME=IP"),
        (NetworkRequest("red", nat="maybe"), BadInput, "is not nat or routed"),
        (NetworkRequest("red", nat="routed", internal=True), BadInput, "conflicts"),
        (NetworkRequest("red", options=(("no.such", "1"),)), BadInput, "is not known"),
        (NetworkRequest("red", options=(("mtu", "x"),)), BadInput, "is not a number"),
        (NetworkRequest("red", mtu=1500, options=(("mtu", "1400"),)), BadInput, "differ"),
        (NetworkRequest("red", ("fd00::/64",), mtu=1200), BadInput, "MTU 1200 is not between 1280"),
        (NetworkRequest("red", (), ("192.168.20.1",)), BadInput, "--gateway needs --subnet"),
        (NetworkRequest("red", ("192.168.20.0/24",), ("192.168.21.1",)), BadInput, "outside the subnet"),
        (NetworkRequest("red", ("192.168.20.0/24",), ("192.168.20.0",)), BadInput, "network or broadcast"),
        (NetworkRequest("red", ("192.168.20.0/24",), ("192.168.20.255",)), BadInput, "network or broadcast"),
        (NetworkRequest("red", ("192.168.20.0/24",), ("::1",)), BadInput, "outside the subnet"),
        (NetworkRequest("red", bridge="a/b"), BadInput, "interface name"),
        (NetworkRequest("red", bridge="lo"), BadInput, "interface name"),
        (NetworkRequest("red", mtu=67), BadInput, "MTU"),
        (NetworkRequest("red", mtu=65536), BadInput, "MTU"),
    ],
    ids=lambda value: repr(value) if isinstance(value, NetworkRequest) else "",
)
def test_refused(bench: Bench, other: NetworkRequest, kind: type[Exception], said: str) -> None:
    network.create(bench.work, BLUE)
    bench.machine.route("10.0.0.0/8", "eth0")
    untouched(bench, other, kind, said)


def test_a_subnet_stays_clear_of_routes_networks_and_name_servers(bench: Bench) -> None:
    bench.machine.route("10.81.0.0/23", "eth0")
    bench.machine.nameservers = (parse_address("10.81.2.53"), parse_address("2001:db8::53"))
    network.create(bench.work, NetworkRequest("one", ("10.81.3.0/24",)))
    made = network.create(bench.work, NetworkRequest("two"))
    assert (str(made.pool4.subnet), str(made.pool4.gateway)) == ("10.81.4.0/24", "10.81.4.1")


def test_no_subnet_is_left(bench: Bench) -> None:
    bench.machine.route("10.0.0.0/8", "tun0")
    untouched(bench, NetworkRequest("blue"), Exhausted, "no free subnet is left")


def test_a_refusal_of_the_kernel_takes_all_back(bench: Bench) -> None:
    before = bench.kernel()
    steps = [op.describe() for op in bench.plan(lambda: network.create(bench.work, BLUE))]
    network.remove(bench.work, "blue")
    assert bench.kernel() == before
    for step in dict.fromkeys(steps):
        bench.machine.fail_at = step
        with pytest.raises(KernelError, match="refused on purpose"):
            network.create(bench.work, BLUE)
        assert bench.kernel() == before, f"after a refusal at: {step}"
        assert (bench.store.networks(), bench.store.journal()) == ((), []), f"after a refusal at: {step}"
        bench.machine.forwarding = False


def test_a_refused_network_takes_back_wish_even_when_interrupted(bench: Bench) -> None:
    bench.machine.fail_at, bench.machine.fail_with = "make the bridge", KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        network.create(bench.work, BLUE)
    assert bench.store.networks() == ()


def test_a_dry_run_shows_the_plan_and_does_nothing(bench: Bench) -> None:
    before = bench.kernel(), bench.wishes()
    network.create(bench.dry(), BLUE)
    assert (bench.kernel(), bench.wishes()) == before
    assert bench.machine.done == []
    done = bench.plan(lambda: network.create(bench.work, BLUE))
    assert bench.shown == done, "and what it showed is what is then done"
    bench.shown.clear()
    network.remove(bench.dry(), "blue")
    assert bench.store.find_network("blue") is not None
    assert bench.shown == bench.plan(lambda: network.remove(bench.work, "blue"))


def test_a_network_in_use_names_its_users(bench: Bench) -> None:
    network.create(bench.work, BLUE)
    for n in range(7):
        container.create(bench.work, RunRequest(f"c{n}", (Join("blue"),)))
    before = bench.kernel(), bench.wishes()
    with pytest.raises(Conflict, match=r"in use by c0, c1, c2, c3, c4 and 2 more"):
        network.remove(bench.work, "blue")
    assert (bench.kernel(), bench.wishes()) == before


def test_force_ends_its_users_first(bench: Bench) -> None:
    empty = bench.kernel()
    network.create(bench.work, BLUE)
    container.create(bench.work, RunRequest("web", (Join("blue"),)))
    bench.machine.inside["web"] = [41, 42]
    network.remove(bench.work, "blue", force=True)
    assert "end [41, 42]" in bench.machine.said
    assert bench.kernel() == empty
    assert bench.wishes() == ((), (), (), ())


def test_unknown_networks(bench: Bench) -> None:
    with pytest.raises(NotFound):
        network.remove(bench.work, "blue")
    with pytest.raises(NotFound):
        container.create(bench.work, RunRequest("web", (Join("blue"),)))
    assert not bench.machine.change_lock.held


def test_by_id_prefix(bench: Bench) -> None:
    made = network.create(bench.work, BLUE)
    assert network.remove(bench.work, made.id[:6]).name == "blue"


def test_labels_mtu_and_gateway_are_kept(bench: Bench) -> None:
    request = BLUE._replace(mtu=9000, gateways=("192.168.10.254",), labels=(("team", "net"),))
    ops = bench.plan(lambda: network.create(bench.work, request))
    made = bench.store.network("blue")
    assert (made.mtu, str(made.pool4.gateway), made.labels) == (9000, "192.168.10.254", (("team", "net"),))
    assert [op.mtu for op in ops if isinstance(op, BridgeAdd)] == [9000]
