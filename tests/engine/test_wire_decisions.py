"""Which plan comes out for which facts, for wires, switches and links. No kernel, operations out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from fakes.bench import Bench
from fakes.machine import ROOT
from weft.core.model.errors import BadInput, Conflict, KernelError, NotFound, NotOurs
from weft.core.model.link import Space, mark_of, owner_of, plug_alias, switch_alias, wire_alias
from weft.core.model.names import mark, object_id
from weft.core.ops.base import Op
from weft.core.ops.link import BridgeAdd
from weft.core.ops.wire import LinkRemove, LinksDel, VethPairAdd
from weft.core.wire.rtnetlink import Bridge, Link, Port
from weft.engine import bridges, links, switch, wire


@pytest.fixture
def bench(bench: Bench) -> Iterator[Bench]:
    bench.machine.netns |= {"red", "blue", "green"}
    yield bench
    assert not bench.machine.said or bench.machine.said[-1] == "unpin", "namespaces are left open"


def names(ops: list[Op]) -> list[str]:
    return [type(op).__name__ for op in ops]


def devices(bench: Bench, where: str) -> list[str]:
    return sorted(bench.machine.devices.get(where, {}))


# -- wires


def test_a_wire(bench: Bench) -> None:
    ops = bench.plan(lambda: wire.lay(bench.work, "red=10.0.1.1/24,fd00::1/64", "blue:nic=10.0.1.2/24"))
    assert names(ops) == ["VethPairAdd", "LinkMark", "AddressAdd", "LinkUp", "AddressAdd", "AddressAdd"]
    (birth,) = [op for op in ops if isinstance(op, VethPairAdd)]
    assert (birth.netns, birth.ifname, birth.peer_netns, birth.peer) == ("red", "eth0", "blue", "nic")
    assert birth.mac != birth.peer_mac
    assert birth.mark == mark(object_id(ROOT, "wire", *sorted(("red:eth0", "blue:nic"))))
    assert bench.machine.said == ["wait red:eth0 True", "wait blue:nic True", "unpin"]


@pytest.mark.parametrize("ends", [("host:a", "red:b"), ("red:b", "host:a")])
def test_the_hosts_end_comes_first(bench: Bench, ends: tuple[str, str]) -> None:
    made = wire.lay(bench.work, *ends)
    assert (str(made.first), str(made.second)) == ("host:a", "red:b")
    assert (devices(bench, ""), devices(bench, "red")) == (["a"], ["b"])


def test_the_same_words_give_the_same_macs(bench: Bench) -> None:
    one = wire.lay(bench.work, "red", "blue")
    wire.remove(bench.work, one)
    assert devices(bench, "red") == devices(bench, "blue") == []
    other = wire.lay(bench.work, "blue", "red")
    assert (one.mark, {one.first.mac, one.second.mac}) == (other.mark, {other.first.mac, other.second.mac})
    macs = {end.mac for w in (one, wire.lay(bench.work, "red", "blue")) for end in (w.first, w.second)}
    assert len(macs) == 4


def test_the_lowest_free_name(bench: Bench) -> None:
    bench.machine.device("red", "eth1", alias="theirs")
    made = [str(wire.lay(bench.work, "red", "blue").first) for _ in range(3)]
    assert made == ["red:eth0", "red:eth2", "red:eth3"]


def test_several_ends_in_one_namespace_get_names_of_their_own(bench: Bench) -> None:
    switch.add(bench.work, "br0")
    made = switch.put(bench.work, "br0", ["red", "red", "blue", "red:eth9"])
    assert [str(w.second) for w in made] == ["red:eth0", "red:eth1", "blue:eth0", "red:eth9"]


@pytest.mark.parametrize(
    ("ends", "error", "says"),
    [
        (("red", "red:x"), BadInput, "both ends"),
        (("host", "host"), BadInput, "both ends"),
        (("red", "nowhere"), NotFound, "no network namespace nowhere"),
        (("red:taken", "blue"), Conflict, "taken already"),
        (("red:weft:0123456789abcdef", "blue"), BadInput, "is no engine"),
        (("red:0123456789abcdef", "blue"), BadInput, "interface name"),
        (("red:a/b", "blue"), BadInput, "is no engine"),
        (("red=10.0.1.1", "blue"), BadInput, "prefix length"),
        (("red=10.0.1.1/33", "blue"), BadInput, "prefix length"),
        (("red=10.0.1.256/24", "blue"), BadInput, "not an IP address"),
        (("red=10.0.1.0/24", "blue"), BadInput, "network or broadcast"),
        (("red=", "blue"), BadInput, "no address"),
        (("red=10.0.1.1/24,10.0.1.1/16", "blue"), BadInput, "given twice"),
        (("red=10.0.1.1/24", "blue=10.0.1.1/24"), BadInput, "given twice"),
        (("red=fd00::1/64", "blue=fd00:0::1/64"), BadInput, "given twice"),
    ],
)
def test_refused_before_anything_is_made(
    bench: Bench, ends: tuple[str, str], error: type[Exception], says: str
) -> None:
    bench.machine.device("red", "taken", alias="theirs")
    before = bench.machine.devices
    with pytest.raises(error, match=says):
        bench.plan(lambda: wire.lay(bench.work, *ends))
    assert (bench.machine.devices, bench.machine.done) == (before, [])


def test_a_wire_that_was_renamed_is_there_still(bench: Bench) -> None:
    wire.lay(bench.work, "red", "blue")
    for where in ("red", "blue"):
        there = bench.machine.devices[where]
        there["other"] = there.pop("eth0")._replace(ifname="other")
    with pytest.raises(Conflict, match="as 'other' in"):
        wire.lay(bench.work, "red", "blue")


@pytest.mark.parametrize("at", ["lay a wire", "mark", "give blue", "set eth0", "give red"])
def test_a_failure_takes_all_back(bench: Bench, at: str) -> None:
    bench.machine.fail_at = at
    with pytest.raises(KernelError, match="on purpose"):
        wire.lay(bench.work, "red=10.0.1.1/24", "blue=10.0.1.2/24")
    assert devices(bench, "red") == devices(bench, "blue") == []


def test_a_dry_run_shows_and_does_nothing(bench: Bench) -> None:
    work = bench.dry()
    wire.lay(work, "red", "blue")
    switch.add(work, "br0", stp=True)
    assert names(bench.shown) == ["VethPairAdd", "LinkMark", "LinkUp", "BridgeAdd", "LinkUp"]
    assert bench.machine.done == []


def test_a_wire_that_is_gone(bench: Bench) -> None:
    made = wire.lay(bench.work, "red", "blue")
    wire.remove(bench.work, made)
    with pytest.raises(NotFound, match="is gone"):
        wire.remove(bench.work, made)


# -- switches


def test_a_switch(bench: Bench) -> None:
    ops = bench.plan(lambda: switch.add(bench.work, "br0", "red", ["10.0.5.1/24", "fd05::1/64"]))
    assert names(ops) == ["BridgeAdd", "LinkUp", "AddressAdd", "AddressAdd"]
    assert isinstance(ops[0], BridgeAdd) and (ops[0].netns, ops[0].stp) == ("red", False)
    with pytest.raises(Conflict, match="already"):
        switch.add(bench.work, "br0", "red")
    for bad in (["10.0.5.1/24", "10.0.5.1/24"], ["10.0.5.0/24"], ["x"]):
        with pytest.raises(BadInput):
            switch.add(bench.work, "br1", "red", bad)


def test_a_switch_in_a_namespace_and_the_host(bench: Bench) -> None:
    """The plan's far end is never the host's: there the switch's port is, and is plugged in by itself."""
    switch.add(bench.work, "br0", "green", stp=True)
    ops = bench.plan(lambda: switch.put(bench.work, "br0", ["host:down", "red"], "green"))
    first, second = [op for op in ops if isinstance(op, VethPairAdd)]
    assert (first.netns, first.ifname, first.master, first.peer_netns) == ("", "down", "", "green")
    assert (second.netns, second.master, second.peer_netns) == ("green", "br0", "red")
    assert names(ops).count("LinkMaster") == 1
    ports = [link for link in bench.machine.devices["green"].values() if link.kind == "veth"]
    assert [port.master for port in ports] == [bench.machine.devices["green"]["br0"].ifindex] * 2
    assert "wait host:down False" in [s.replace("wait :", "wait host:") for s in bench.machine.said]


def test_all_are_plugged_or_none(bench: Bench) -> None:
    switch.add(bench.work, "br0")
    bench.machine.fail_at = "set eth0 up in blue"
    with pytest.raises(KernelError):
        switch.put(bench.work, "br0", ["red", "blue"])
    assert devices(bench, "") == ["br0"] and devices(bench, "red") == []


def test_unplug_takes_what_is_meant(bench: Bench) -> None:
    for name in ("br0", "br1"):
        switch.add(bench.work, name)
    switch.put(bench.work, "br0", ["red", "red", "blue"])
    switch.put(bench.work, "br1", ["red"])
    assert switch.pull(bench.work, "br0", ["red:eth1"]) == ["red:eth1"]
    assert switch.pull(bench.work, "br0", ["red"]) == ["red:eth0"]
    assert (devices(bench, "red"), devices(bench, "blue")) == (["eth2"], ["eth0"])
    for end in ("red", "red:eth2", "blue:eth1", "green"):
        with pytest.raises(NotFound, match="not plugged into br0"):
            switch.pull(bench.work, "br0", [end])


def test_rm_takes_its_own_wires_along_and_no_others(bench: Bench) -> None:
    switch.add(bench.work, "br0")
    switch.add(bench.work, "br1")
    switch.put(bench.work, "br0", ["red", "blue"])
    switch.put(bench.work, "br1", ["red"])
    bench.machine.device("", "theirs", alias="theirs", master="br0")
    ops = bench.plan(lambda: switch.remove(bench.work, ["br0", "br0"]))
    (op,) = ops
    assert isinstance(op, LinksDel) and len(op.marks) == 3 and op.ifnames[-1] == "br0"
    assert devices(bench, "red") == ["eth1"] and "theirs" in devices(bench, "")


@pytest.mark.parametrize(
    ("alias", "error", "says"),
    [
        ("", Conflict, "link rm"),
        (f"weft root={ROOT} network=blue", Conflict, "net rm blue"),
        ("weft root=ffffffff switch=br0", NotOurs, "another root"),
    ],
)
def test_bridges_that_are_no_switch_of_ours(
    bench: Bench, alias: str, error: type[Conflict], says: str
) -> None:
    mine = mark("0" * 16) if alias else ""
    bench.machine.device("", "br0", "bridge", mine, alias or "theirs", Bridge(stp_state=0))
    with pytest.raises(error) as refused:
        switch.remove(bench.work, ["br0"])
    assert says in f"{refused.value.message} {refused.value.hint}"
    if alias:
        with pytest.raises(error):
            switch.put(bench.work, "br0", ["red"])
    else:
        switch.put(bench.work, "br0", ["red"])  # foreign bridges may be used
        switch.pull(bench.work, "br0", ["red"])


def test_what_is_no_switch(bench: Bench) -> None:
    bench.machine.device("", "eth0", alias="theirs")
    for call in (
        lambda: switch.put(bench.work, "eth0", ["red"]),
        lambda: switch.remove(bench.work, ["eth0"]),
        lambda: switch.pull(bench.work, "br9", ["red"]),
    ):
        with pytest.raises(NotFound):
            call()


# -- links


def test_a_links_row_and_its_strangers(bench: Bench) -> None:
    wire.lay(bench.work, "host:a", "red:b")
    bench.machine.strangers = [Space(0), Space(0)]
    a, b = bench.machine.devices[""]["a"], bench.machine.devices["red"]["b"]
    number = 1 + sorted(bench.machine.netns).index("red")
    bench.machine.devices[""]["a"] = a._replace(link=b.ifindex, link_netnsid=number)
    bench.machine.devices["red"]["b"] = b._replace(link=a.ifindex, link_netnsid=0)
    far = Link(9, ifname="far", kind="veth", link=8, link_netnsid=5)
    lost = Link(10, ifname="lost", kind="veth", link=8, link_netnsid=-1)
    lan = Link(11, ifname="lan", kind="vlan", link=9)
    bench.machine.devices["green"] = {"far": far, "lost": lost, "lan": lan}
    rows = {f"{row['ns']}:{row['ifname']}": row for row in links.listing(bench.work, every=True)}
    assert rows["host:a"]["peer"] == {"ns": "red", "ifname": "b", "ifindex": b.ifindex, "container": ""}
    assert rows["host:a"]["owner"] == rows["red:b"]["owner"] == "wire host:a--red:b"
    assert rows["green:far"]["peer"] == {"ns": "?2", "ifname": "?", "ifindex": 8, "container": ""}
    assert rows["green:lost"]["peer"]["ns"] == "?"
    assert rows["green:lan"]["lower"]["ifname"] == "far" and rows["green:lan"]["peer"] is None


def test_link_rm(bench: Bench) -> None:
    for name in ("one", "\x1b[31m", "-x"):
        bench.machine.device("red", name, alias="theirs")
    ops = bench.plan(lambda: links.remove(bench.work, ["one", "\x1b[31m", "-x", "one"], "red"))
    assert [op.ifname for op in ops if isinstance(op, LinkRemove)] == ["one", "\x1b[31m", "-x"]
    with pytest.raises(NotFound):
        links.remove(bench.work, ["one"], "red")
    for bad in ("", "a/b", "x" * 128, "\udcff" * 128):
        with pytest.raises(BadInput):
            links.remove(bench.work, [bad], "red")


def test_both_ends_of_a_pair_here_go_once(bench: Bench) -> None:
    bench.machine.device("red", "a", alias="theirs")
    bench.machine.device("red", "b", alias="theirs")
    there = bench.machine.devices["red"]
    for one, other in (("a", "b"), ("b", "a")):
        there[one] = there[one]._replace(link=there[other].ifindex)
    assert names(bench.plan(lambda: links.remove(bench.work, ["a", "b"], "red"))) == ["LinkRemove"]


@pytest.mark.parametrize("words", ["network=blue", "network=blue container=web if=eth0"])
def test_link_rm_spares_networks(bench: Bench, words: str) -> None:
    bench.machine.device("", "theirs", "veth", mark("1" * 16), f"weft root=ffffffff {words}")
    with pytest.raises(Conflict) as refused:
        links.remove(bench.work, ["theirs"])
    assert refused.value.hint.startswith("`weft net rm" if "container" not in words else "`weft rm web`")
    bench.machine.device("", "liar", "veth", alias=f"weft root={ROOT} {words}")
    links.remove(bench.work, ["liar"])  # without a mark an alias says nothing


# -- what marks say


def test_aliases_and_owners() -> None:
    marks = ("other", mark("0" * 16))
    long = "/proc/4913/ns/" + "x" * 4000
    for alias, text, is_plug in (
        (wire_alias(ROOT, "red:eth0", "blue:eth0"), "wire red:eth0--blue:eth0", False),
        (switch_alias(ROOT, "br0"), "switch br0", False),
        (plug_alias(ROOT, "br0", "red:eth0"), "switch br0", True),
        ("weft root=1 network=blue", "network blue", False),
        ("weft root=1 network=blue container=web if=eth0", "container web", False),
        ("", "weft", False),
    ):
        owner = owner_of(marks, alias)
        assert owner is not None and (str(owner), owner.plug) == (text, is_plug)
        assert owner_of(("other", "weft:short"), alias) is None
    assert mark_of(marks) == marks[1]
    for hostile in (long, "/a b/\x1b[0m", "/\u202e\udcff"):
        alias = wire_alias(ROOT, hostile, hostile)
        assert len(alias.encode()) < 256 and alias.isprintable() and len(alias.split(" ")) == 3


def test_every_port_has_a_role() -> None:
    own, other = b"\x80\x00\0\0\0\0\0\1", b"\x80\x00\0\0\0\0\0\2"
    on = Bridge(stp_state=1, bridge_id=own, root_id=other, root_port=1)
    root = Port(state=3, no=1, id=0x8001, bridge_id=other, designated_port=0x8003)
    speaks = Port(state=3, no=2, id=0x8002, bridge_id=own, designated_port=0x8002)
    twin = Port(state=4, no=3, id=0x8003, bridge_id=own, designated_port=0x8002)
    off = Port(state=0, no=4, id=0x8004, bridge_id=own, designated_port=0x8004)
    roles = [bridges.role_of(port, on) for port in (root, speaks, twin, off)]
    assert roles == ["root", "designated", "alternate", "disabled"]
    assert all(a != b for a, b in pairwise(roles))
    assert bridges.role_of(speaks, Bridge(stp_state=0)) == ""
    assert bridges.bridge_id(own) == "8000.000000000001"
