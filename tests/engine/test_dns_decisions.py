"""When the DNS server comes, stays and goes, and what containers see of it. No kernel."""

from __future__ import annotations

import pytest

from fakes.bench import Bench
from weft.core.model.errors import BadInput, Conflict
from weft.core.model.network import Endpoint
from weft.core.ops.base import Op
from weft.core.ops.dns import DnsStart
from weft.core.ops.netns import EtcNetns, ResolvConf
from weft.engine import container, edit, network, removal
from weft.engine.network import NetworkRequest
from weft.engine.request import Join, RunRequest

BLUE = NetworkRequest("blue", ("10.9.0.0/24", "fd09::/64"), options=(("dns", "true"),))
RED = NetworkRequest("red", ("10.8.0.0/24",), internal=True, options=(("dns", "1"), ("dns_port", "5300")))
PLAIN = NetworkRequest("plain", ("10.7.0.0/24",))


def run(bench: Bench, name: str, *networks: str, dns: tuple[str, ...] = ()) -> None:
    container.create(bench.work, RunRequest(name, tuple([Join(n) for n in networks]), dns=dns))


def runs(bench: Bench) -> bool:
    return bench.machine.dns_alive()


def resolv(ops: list[Op]) -> list[str]:
    (text,) = [op.resolv for op in ops if isinstance(op, EtcNetns)]
    return text.split()[1::2]


def test_it_comes_with_the_first_network_and_goes_with_the_last(bench: Bench) -> None:
    assert not any(isinstance(op, DnsStart) for op in bench.plan(lambda: network.create(bench.work, PLAIN)))
    assert not bench.store.get("dns")
    ops = bench.plan(lambda: network.create(bench.work, BLUE))
    assert isinstance(ops[-1], DnsStart)
    assert runs(bench)
    network.create(bench.work, RED)
    network.remove(bench.work, "blue")
    assert runs(bench)
    network.remove(bench.work, "red")
    assert not runs(bench)
    assert not bench.store.get("dns")


def test_somebody_else_s_server_is_seen_before_anything_is_made(bench: Bench) -> None:
    bench.machine.busy_names = frozenset([53])
    before = bench.kernel(), bench.wishes()
    with pytest.raises(Conflict, match="port 53"):
        network.create(bench.work, BLUE)
    assert (bench.kernel(), bench.wishes()) == before
    network.create(bench.work, PLAIN)
    with pytest.raises(Conflict, match="port 53"):
        edit.edit(bench.work, "plain", edit.Change(options=(("dns", "true"),)))
    assert not bench.store.network("plain").dns


def test_one_that_was_killed_is_started_by_any_command(bench: Bench) -> None:
    network.create(bench.work, BLUE)
    bench.machine.dns_runs = False
    run(bench, "web", "blue")
    assert runs(bench)
    assert any("starting it again" in said for said in bench.remarks)


def test_containers_ask_at_gateways_those_with_a_way_out_first(bench: Bench) -> None:
    for request in (RED, BLUE, PLAIN):
        network.create(bench.work, request)
    ops = bench.plan(lambda: run(bench, "both", "red", "blue", dns=("9.9.9.9",)))
    assert resolv(ops) == ["10.9.0.1", "fd09::1", "10.8.0.1"]
    assert bench.store.container("both")[0].dns == ("9.9.9.9",)  # whom the server asks for it
    assert resolv(bench.plan(lambda: run(bench, "db", "red"))) == ["10.8.0.1"]
    assert resolv(bench.plan(lambda: run(bench, "only", "plain"))) == list(bench.machine.servers)
    assert bench.store.container("db")[0].dns == ()


def test_a_switch_is_seen_by_those_who_are_there(bench: Bench) -> None:
    network.create(bench.work, PLAIN)
    run(bench, "web", "plain")
    on = edit.Change(options=(("dns", "true"), ("dns_servers", "1.1.1.1,9.9.9.9")))
    ops = bench.plan(lambda: edit.edit(bench.work, "plain", on))
    (seen,) = [op for op in ops if isinstance(op, ResolvConf)]
    assert seen.text == "nameserver 10.7.0.1\n"
    assert runs(bench)
    assert bench.store.network("plain").option("dns_servers") == "1.1.1.1 9.9.9.9"
    off = edit.Change(options=(("dns", ""),))
    (back,) = [
        o for o in bench.plan(lambda: edit.edit(bench.work, "plain", off)) if isinstance(o, ResolvConf)
    ]
    assert (back.text, back.old) == (seen.old, seen.text)
    assert not runs(bench)
    removal.remove(bench.work, ["web"], force=True)


@pytest.mark.parametrize("option", [("bridge", "br9"), ("mtu", "1400"), ("dns", "x"), ("nonsense", "1")])
def test_what_cannot_change_is_refused(bench: Bench, option: tuple[str, str]) -> None:
    network.create(bench.work, PLAIN)
    with pytest.raises(BadInput):
        edit.edit(bench.work, "plain", edit.Change(options=(option,)))


def test_rows_are_what_the_server_reads(bench: Bench) -> None:
    network.create(bench.work, BLUE)
    network.create(bench.work, PLAIN)
    run(bench, "web", "blue", "plain")
    rows = bench.store.answered()
    assert {row[0] for row in rows} == {"blue"}
    assert sorted(rows) == sorted(bench.store.answered("web"))
    last, names = bench.store.touched(0)
    assert names == {"web"}
    assert bench.store.touched(last) == (last, frozenset())
    endpoint = bench.store.endpoint("web", "blue")
    assert isinstance(endpoint, Endpoint)
    assert {row[2] for row in rows} == {c.address.packed for c in endpoint.addresses}
