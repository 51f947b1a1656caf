"""Which plan comes out for which facts, for containers and their published ports."""

from __future__ import annotations

import pytest

from fakes.bench import Bench
from fakes.machine import ROOT
from weft.core.model.errors import (
    BadInput,
    CommandNotFound,
    Conflict,
    Exhausted,
    KernelError,
    NotFound,
    NotOurs,
)
from weft.core.model.names import mark, object_id
from weft.core.model.publish import Publish, parse_publish
from weft.core.model.state import State
from weft.core.ops.base import Op
from weft.core.ops.link import LinkDel
from weft.core.ops.shard import JointAdd
from weft.engine import container, enter, network, ports, reaping, removal, run
from weft.engine.network import NetworkRequest
from weft.engine.request import Join, RunRequest, check

BLUE = NetworkRequest("blue", ("192.168.10.0/24",), ("192.168.10.1",), "lxcbr0")
WEB = RunRequest("web", (Join("blue"),))
ENV = (("PATH", "/bin"),)


def names(ops: list[Op]) -> list[str]:
    return [type(op).__name__ for op in ops]


def publish(*specs: str) -> RunRequest:
    return WEB._replace(publish=tuple(p for s in specs for p in parse_publish(s)))


@pytest.fixture
def blue(bench: Bench) -> Bench:
    network.create(bench.work, BLUE)
    return bench


def refused(bench: Bench, request: RunRequest, kind: type[Exception], said: str) -> None:
    before = bench.kernel(), bench.wishes()
    with pytest.raises(kind, match=said):
        container.create(bench.work, request)
    assert (bench.kernel(), bench.wishes()) == before


# -- attach and detach


def test_a_plain_container(blue: Bench) -> None:
    ops = blue.plan(lambda: container.create(blue.work, WEB))
    assert names(ops)[:3] == ["EtcNetns", "NetnsAdd", "VethAdd"]
    assert not any("Loopback" in name for name in names(ops))
    assert blue.machine.netns == {"web"}
    assert blue.store.container("web")[1] == State("running")
    endpoint = blue.store.endpoint("web")
    assert endpoint is not None
    assert str(endpoint.address) == "192.168.10.2"
    assert blue.store.container("web")[0].dns == ("203.0.113.53",)


def test_and_gone_again(blue: Bench) -> None:
    before = blue.kernel()
    container.create(blue.work, publish("0.0.0.0:8080:80"))
    ops = blue.plan(lambda: removal.remove(blue.work, ["web"]))
    assert names(ops).index("ElementDel") < names(ops).index("NetnsDel")
    assert "LinkDel" not in names(ops), "the cable goes with its namespace: one by one costs 20 ms each"
    assert blue.kernel() == before
    assert not blue.store.has_container("web")


def test_the_default_network_is_made_when_first_needed(bench: Bench) -> None:
    container.create(bench.work, RunRequest("web"))
    assert [n.name for n in bench.store.networks()] == ["default"]
    container.create(bench.work, RunRequest("db"))
    assert [n.name for n in bench.store.networks()] == ["default"]
    assert len(bench.store.endpoints("default")) == 2


def test_a_dry_run_of_the_first_container_shows_both_and_makes_neither(bench: Bench) -> None:
    before = bench.kernel(), bench.wishes()
    container.create(bench.dry(), RunRequest("web"))
    assert (bench.kernel(), bench.wishes()) == before
    done = bench.plan(lambda: container.create(bench.work, RunRequest("web")))
    assert bench.shown == done


def test_no_upstream_name_server_is_said(blue: Bench) -> None:
    blue.machine.servers = ()
    container.create(blue.work, WEB)
    assert any("--dns" in said for said in blue.remarks)


# -- addresses and names


def test_addresses_are_not_reused_at_once(blue: Bench) -> None:
    container.create(blue.work, WEB)
    removal.remove(blue.work, ["web"])
    made = container.create(blue.work, WEB)
    assert str(made.endpoint.address) == "192.168.10.3", "neighbours may still have the old MAC"


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"joins": (Join("blue", ("192.168.11.1",)),)}, BadInput, "outside the subnet"),
        ({"joins": (Join("blue", ("192.168.10.0",)),)}, BadInput, "network or broadcast"),
        ({"joins": (Join("blue", ("192.168.10.1",)),)}, Conflict, "is the gateway"),
        ({"joins": (Join("blue", ("192.168.10.9",)),)}, Conflict, "is taken by container db"),
        ({"joins": (Join("blue", ("nonsense",)),)}, BadInput, "not an IP address"),
        ({"name": "db"}, Conflict, "container db exists already"),
        ({"name": "all"}, BadInput, "reserved"),
        ({"name": "../etc"}, BadInput, "is not valid"),
        ({"joins": (Join("blue", ifname="lo"),)}, BadInput, "interface name"),
        ({"hostname": "a b"}, BadInput, "host name"),
        ({"joins": (Join("blue", aliases=("a\n1.2.3.4\tbank",)),)}, BadInput, "alias"),
        ({"joins": (Join("blue", mac="01:00:5e:00:00:01"),)}, BadInput, "not a unicast"),
        ({"dns": ("127.0.0.53",)}, BadInput, "loopback"),
        ({"dns": ("::1",)}, BadInput, "loopback"),
        ({"dns": ("8.8.8.8\nsearch evil",)}, BadInput, "DNS server"),
        ({"search": ("lan\nnameserver 6.6.6.6",)}, BadInput, "search domain"),
        ({"search": ("",)}, BadInput, "search domain"),
        ({"search": ("a b",)}, BadInput, "search domain"),
        ({"joins": (Join("red"),)}, NotFound, "no network"),
        ({"publish": parse_publish("8080:80")}, Conflict, "published by container db"),
        ({"publish": parse_publish("0.0.0.0:8080:80")}, Conflict, "published by container db"),
        ({"publish": parse_publish("81:80") + parse_publish("0.0.0.0:81:82")}, BadInput, "clashes with"),
        ({"publish": parse_publish("0.0.0.0:999:80")}, Conflict, "port 999 is taken"),
    ],
    ids=lambda value: ascii(value) if isinstance(value, dict) else "",
)
def test_refused(blue: Bench, change: dict[str, object], kind: type[Exception], said: str) -> None:
    blue.machine.busy_ports.add(999)
    there = RunRequest("db", (Join("blue", ("192.168.10.9",)),), publish=parse_publish("8080:80"))
    container.create(blue.work, there)
    refused(blue, WEB._replace(**change), kind, said)


def test_a_wide_range_is_compared_port_by_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Publish, "clashes", lambda one, other: pytest.fail(f"{one} beside {other}"))
    check(publish("10000-19999:10000-19999", "10000-19999:10000-19999/udp"))


@pytest.mark.parametrize("domain", ["lan", "example.net", "example.net.", "."])
def test_search_domains(blue: Bench, domain: str) -> None:
    found = container.create(blue.work, WEB._replace(search=(domain,)))
    assert found.sandbox.search == (domain,)


def test_an_address_may_follow_its_last_holder(blue: Bench) -> None:
    fixed = WEB._replace(joins=(Join("blue", ("192.168.10.9",)),))
    container.create(blue.work, fixed)
    removal.remove(blue.work, ["web"])
    assert str(container.create(blue.work, fixed).endpoint.address) == "192.168.10.9"


def test_a_full_subnet(bench: Bench) -> None:
    network.create(bench.work, NetworkRequest("tiny", ("192.168.10.0/29",)))
    for n in range(5):
        container.create(bench.work, RunRequest(f"c{n}", (Join("tiny"),)))
    refused(
        bench,
        RunRequest("one-more", (Join("tiny"),)),
        Exhausted,
        "no free address is left in 192.168.10.0/29",
    )


def test_a_bridge_that_is_full_gets_another_beside_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "BRIDGE_PORTS", 2)
    monkeypatch.setattr(container, "SHARDS", 1)
    network.create(bench.work, NetworkRequest("big", ("10.9.0.0/16",)))
    made = [container.create(bench.work, RunRequest(f"c{n}", (Join("big"),))) for n in range(4)]
    assert [one.endpoint.shard for one in made] == [0, 0, 1, 1]
    assert bench.store.network("big").shards == 1
    assert [op.ifname for op in bench.machine.done if isinstance(op, JointAdd)] == [
        "wj" + bench.store.network("big").shard_id(1)[:12]
    ], "one joint, made with the first that needs it"
    refused(bench, RunRequest("one-more", (Join("big"),)), Exhausted, r"its bridges take 2 containers each")
    removal.remove(bench.work, ["c0"])
    assert container.create(bench.work, RunRequest("c9", (Join("big"),))).endpoint.shard == 0


# -- what stands in the way


def test_a_dying_veth_of_ours_goes_first(blue: Bench) -> None:
    oid = object_id(ROOT, "endpoint", "blue", "web")
    blue.machine.foreign_link("wvold", "veth", mark(oid))
    ops = blue.plan(lambda: container.create(blue.work, WEB))
    assert ops[0] == LinkDel("wvold", mark(oid))
    assert "wvold" not in blue.machine.links


def test_a_foreign_namespace_of_that_name(blue: Bench) -> None:
    blue.machine.netns.add("web")
    refused(blue, WEB, NotOurs, "a network namespace web exists")


def test_foreign_name_files(blue: Bench) -> None:
    blue.machine.files["web"] = "/etc/netns/web/resolv.conf"
    refused(blue, WEB, NotOurs, "/etc/netns/web/resolv.conf exists")


def test_the_bridge_is_gone(blue: Bench) -> None:
    del blue.machine.links["lxcbr0"]
    refused(blue, WEB, KernelError, "bridge lxcbr0 of network blue is gone")


def test_the_bridge_is_somebody_elses_now(blue: Bench) -> None:
    blue.machine.foreign_link("lxcbr0")
    refused(blue, WEB, KernelError, "no longer weft's")


@pytest.mark.parametrize("family", ["inet", "bridge"])
def test_no_container_without_its_guards(blue: Bench, family: str) -> None:
    del blue.machine.tables[family]
    refused(blue, WEB, KernelError, "the firewall tables of weft are gone")


def test_a_refusal_of_the_kernel_takes_all_back(blue: Bench) -> None:
    before = blue.kernel()
    request = publish("0.0.0.0:8080:80", "81:81", "53:53/udp")._replace(
        joins=(Join("blue", ("192.168.10.9",)),)
    )
    steps = [op.describe() for op in blue.plan(lambda: container.create(blue.work, request))]
    removal.remove(blue.work, ["web"])
    assert blue.kernel() == before
    for step in dict.fromkeys(steps):
        blue.machine.fail_at = step
        with pytest.raises(KernelError, match="refused on purpose"):
            container.create(blue.work, request)
        assert blue.kernel() == before, f"after a refusal at: {step}"
        assert not blue.store.has_container("web")
        assert blue.store.journal() == []


# -- published ports and the loopback proxy


def test_the_proxy_comes_with_the_first_port_that_covers_loopback(blue: Bench) -> None:
    ops = blue.plan(lambda: container.create(blue.work, publish("8080:80")))
    assert names(ops)[:3] == ["LoopbackStart", "ElementAdd", "LoopbackAdd"], "ports come before all else"
    assert blue.store.get("proxy_port") == "7765"
    ops = blue.plan(lambda: container.create(blue.work, publish("0.0.0.0:81:81")._replace(name="db")))
    assert "LoopbackStart" not in names(ops)
    assert names(ops)[0] == "LoopbackAdd"


def test_a_port_on_one_outside_address_needs_no_proxy(blue: Bench) -> None:
    ops = blue.plan(lambda: container.create(blue.work, publish("203.0.113.1:8080:80")))
    assert not any("Loopback" in name for name in names(ops))
    assert "probe 8080" in blue.machine.said, "but it must be free"
    blue.machine.busy_ports.add(8081)
    refused(blue, publish("203.0.113.1:8081:80")._replace(name="db"), Conflict, "port 8081 is taken")


def test_a_running_proxy_holds_outside_ports_too(blue: Bench) -> None:
    container.create(blue.work, publish("8080:80"))
    container.create(blue.work, publish("203.0.113.1:8081:80")._replace(name="db"))
    assert ("tcp", "203.0.113.1", 8081) in blue.machine.held


def test_the_proxy_goes_with_the_last_port_that_covers_loopback(blue: Bench) -> None:
    before = blue.kernel()
    container.create(blue.work, publish("8080:80"))
    container.create(blue.work, publish("0.0.0.0:81:81")._replace(name="db"))
    ops = blue.plan(lambda: removal.remove(blue.work, ["web"]))
    assert "LoopbackStop" not in names(ops)
    assert blue.machine.held == {("tcp", "0.0.0.0", 81)}
    ops = blue.plan(lambda: removal.remove(blue.work, ["db"]))
    assert "LoopbackStop" in names(ops)
    assert blue.kernel() == before


def test_a_dead_proxy_is_started_again_with_all_it_held(blue: Bench) -> None:
    container.create(blue.work, publish("8080:80", "53:53/udp"))
    blue.machine.proxy_runs = False
    blue.machine.held.clear()
    ops = blue.plan(lambda: container.create(blue.work, publish("81:81")._replace(name="db")))
    assert names(ops)[:2] == ["LoopbackStop", "ElementDel"], "its element points to the old port"
    assert names(ops)[2:7] == ["LoopbackStart", "ElementAdd", "LoopbackAdd", "LoopbackAdd", "LoopbackAdd"]
    assert blue.machine.held == {
        ("tcp", "127.0.0.1", 8080),
        ("udp", "127.0.0.1", 53),
        ("tcp", "127.0.0.1", 81),
    }


def test_what_is_published_on_loopback_only_is_said() -> None:
    local = RunRequest("web", publish=parse_publish("8080:80"))
    bench = Bench()
    made = container.create(bench.work, local)
    assert "127.0.0.1:8080 -> 80/tcp" in ports.published_remark(made.endpoint.publish)
    assert ports.published_remark(parse_publish("0.0.0.0:1:1")) == ""
    bench.store.close()


# -- batches


def test_a_batch_is_all_or_none(blue: Bench) -> None:
    before = blue.kernel(), blue.wishes()
    requests = [RunRequest(f"c{n}", (Join("blue"),)) for n in range(10)]
    blue.machine.fail_at = "name 192.168.10.9 "
    with pytest.raises(KernelError):
        container.attach_many(blue.work, requests)
    assert (blue.kernel(), blue.wishes()) == before
    blue.machine.fail_at = ""
    made = container.attach_many(blue.work, requests)
    assert len({m.endpoint.address for m in made}) == 10
    assert all(state == State("running") for _, state in blue.store.containers())


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (RunRequest("web", (Join("blue"),)), "exists already"),
        (RunRequest("db", (Join("blue", ("192.168.10.9",)),)), "of this batch"),
        (RunRequest("db", (Join("blue"),), publish=parse_publish("0.0.0.0:80:80")), "of this batch"),
    ],
)
def test_clashes_within_a_batch(blue: Bench, second: RunRequest, said: str) -> None:
    first = RunRequest("web", (Join("blue", ("192.168.10.9",)),), publish=parse_publish("80:80"))
    before = blue.kernel(), blue.wishes()
    with pytest.raises(Conflict, match=said):
        container.attach_many(blue.work, [first, second])
    assert (blue.kernel(), blue.wishes()) == before


def test_a_batch_may_be_in_several_networks(blue: Bench) -> None:
    made = container.attach_many(blue.work, [WEB, RunRequest("db")])
    assert [one.endpoint.network for one in made] == ["blue", "default"]


# -- removal


def test_running_processes_stand_in_the_way_of_all(blue: Bench) -> None:
    container.create(blue.work, WEB)
    container.create(blue.work, RunRequest("db", (Join("blue"),)))
    blue.machine.inside["db"] = [77]
    before = blue.kernel(), blue.wishes()
    with pytest.raises(Conflict, match=r"db has running processes \(pid 77\)"):
        removal.remove(blue.work, ["web", "db"])
    with pytest.raises(NotFound):
        removal.remove(blue.work, ["web", "nobody"])
    assert (blue.kernel(), blue.wishes()) == before
    assert removal.remove(blue.work, ["web", "db", "web"], force=True) == ["web", "db"]
    assert "end [77]" in blue.machine.said


def test_a_dry_removal_ends_nobody(blue: Bench) -> None:
    container.create(blue.work, WEB)
    blue.machine.inside["web"] = [77]
    before = blue.kernel(), blue.wishes()
    removal.remove(blue.dry(), ["web"], force=True)
    assert (blue.kernel(), blue.wishes()) == before
    assert not any(said.startswith("end") for said in blue.machine.said)


# -- a command in it


def test_a_command_runs_once_its_container_stands(blue: Bench) -> None:
    request = WEB._replace(command=("httpd", "-f"))
    found, launch, child = run.run(blue.work, request, detach=True)
    assert child is not None
    assert blue.machine.said == ["start httpd -f", "announce 192.168.10.2", "go httpd", "settled"]
    assert launch.log == "/var/lib/weft/logs/web.log"
    assert launch.netns == "web"
    files = {m.destination: m.source for m in launch.spec.mounts if m.type == "bind"}
    assert files == {
        "/etc/hosts": "/run/weft/hosts/blue",
        "/etc/resolv.conf": "/etc/netns/web/resolv.conf",
    }
    assert blue.store.container("web")[1] == State("running", 100, 1000, None, 200, 2000)
    assert found.endpoint == blue.store.endpoint("web")


def test_a_command_that_is_not_there_makes_nothing(blue: Bench) -> None:
    blue.machine.find_error = CommandNotFound("command 'x' is not found")
    before = blue.kernel(), blue.wishes()
    with pytest.raises(CommandNotFound):
        run.run(blue.work, WEB._replace(command=("x",)), detach=True)
    assert (blue.kernel(), blue.wishes()) == before
    assert blue.machine.done[-1].describe() == "set lxcbr0 up"


def test_a_command_that_cannot_start_leaves_nothing(blue: Bench) -> None:
    before = blue.kernel()
    blue.machine.go_error = CommandNotFound("command 'x' is not found")
    request = publish("8080:80")._replace(command=("x",))
    with pytest.raises(CommandNotFound):
        run.run(blue.work, request, detach=False)
    assert blue.machine.said[-1] == "cancel"
    assert blue.kernel() == before
    assert not blue.store.has_container("web")


def test_an_ended_command_frees_address_and_ports(blue: Bench) -> None:
    before = blue.kernel()
    run.run(blue.work, publish("8080:80")._replace(command=("x",)), detach=True)
    blue.machine.inside["web"] = [300]
    removal.finish(blue.work, "web", 999, 0)
    assert blue.store.container("web")[1].word == "running", "that was another process"
    removal.finish(blue.work, "web", 100, 3)
    assert blue.store.container("web")[1] == State("exited", exit_code=3)
    assert "end [300]" in blue.machine.said, "what it left behind ends with it"
    assert blue.kernel() == before
    assert blue.store.endpoint("web") is None
    removal.finish(blue.work, "nobody", 1, 0)
    assert removal.remove(blue.work, ["web"]) == ["web"]
    assert "/var/lib/weft/logs/web.log" in blue.machine.removed


def test_rm_removes_it_when_it_ends(blue: Bench) -> None:
    request = WEB._replace(command=("x",), auto_remove=True)
    run.run(blue.work, request, detach=True)
    removal.finish(blue.work, "web", 100, 0)
    assert not blue.store.has_container("web")


def test_who_lost_process_and_monitor_is_reaped(blue: Bench) -> None:
    run.run(blue.work, WEB._replace(command=("x",)), detach=True)
    blue.machine.living = {(200, 2000)}
    reap(blue)
    assert blue.store.container("web")[1].word == "running", "its monitor lives"
    blue.machine.living = {(100, 1000)}
    reap(blue)
    assert blue.store.container("web")[1].word == "running", "it lives itself"
    blue.machine.living = {(100, 1001), (200, 1)}
    reap(blue)
    assert blue.store.container("web")[1] == State("exited", exit_code=137), "those pids are others' now"


def reap(bench: Bench) -> None:
    with bench.machine.lock():
        reaping.reap(bench.work)


def test_entering(blue: Bench) -> None:
    found, _, _ = run.run(blue.work, WEB._replace(command=("x",)), detach=True)
    blue.machine.living = {(100, 1000)}
    place = enter.enter(blue.work, found.sandbox.id[:5], enter.Further(("sh",)))
    assert (place.pid, place.started, place.launch.netns) == (100, 1000, "web")
    blue.machine.living = set()
    with pytest.raises(Conflict, match="has exited"):
        enter.enter(blue.work, "web", enter.Further(("sh",)))
    with pytest.raises(NotFound):
        enter.enter(blue.work, "nobody", enter.Further(("sh",)))
