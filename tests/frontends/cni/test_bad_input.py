"""Configurations and environments that are wrong in every way: an error of the protocol, and nothing left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frontends.cni.runtime import OWN, Runtime, install, podman, whole
from frontends.cni.test_protocol import nothing_left
from harness import Host
from harness.host import PYTHON, REPO

HERE = Path(__file__).resolve().parent
NETNS = "/run/netns/c1"
DEEP = json.loads("[" * 900 + "]" * 900)
#: What a value may be instead of what it should be.
VALUES: tuple[Any, ...] = (
    None, 3, -1, 1 << 70, 1.5, True, "", "x", "10.0.0.1", "../../etc", "a\0b", "\ud800", "\u202e",
    "x" * 70_000, [], [None], [[]], {}, {"a": {}}, DEEP,
)  # fmt: skip


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host("cni-bad") as made:
        made.run(["rm", "-rf", "/etc/cni", "/etc/containers"])
        install(made)
        for number in range(1, 6):
            made.ip("netns", "add", f"c{number}")
        yield made


class Inner:
    """Many calls in one interpreter inside the machine."""

    def __init__(self, host: Host) -> None:
        self.process = host.popen(
            [*PYTHON, str(HERE / "inner.py"), str(REPO / "src")],
            stdin=-1,
            env={"WEFT_PROGRAM": str(REPO / "weft")},
        )

    def call(
        self, plugin: str, conf: Any, raw: str = "", **changes: str | None
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer. ``changes`` of the environment: None takes a variable out."""
        env: dict[str, str | None] = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "one",
            "CNI_NETNS": NETNS,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": OWN,
        }
        given = {k: v for k, v in (env | changes).items() if v is not None}
        text = conf if isinstance(conf, str) else json.dumps(conf)
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([plugin, given, text, raw]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        status, said = json.loads(line)
        found = json.loads(said) if said else {}
        if status:
            assert status == 1, said
            assert isinstance(found["code"], int), said
            assert found["msg"], said
            assert "internal error" not in found["msg"], (found, conf if len(text) < 2000 else text[:500])
            assert len(said) < 5000, said[:500]
        return status, found


@pytest.fixture(scope="module")
def inner(host: Host) -> Iterator[Inner]:
    made = Inner(host)
    yield made
    made.process.end()


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in a document."""
    if at:
        yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in pairs:
        yield from paths(one, (*at, key))


def changed(value: Any, at: tuple[Any, ...], new: Any, gone: bool = False) -> Any:
    """A copy with another value, or without one, at a place."""
    copy = json.loads(json.dumps(value))
    inside = copy
    for key in at[:-1]:
        inside = inside[key]
    if gone:
        del inside[at[-1]]
    else:
        inside[at[-1]] = new
    return copy


def configurations() -> list[dict[str, Any]]:
    """One of each plug-in, with as much in it as may be."""
    run = {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}],
        "ips": ["10.88.0.9/16"],
        "mac": "02:00:00:00:00:07",
        "bandwidth": {"ingressRate": 8000, "ingressBurst": 8000},
        "dns": {"servers": ["192.0.2.1"], "searches": ["x"], "options": ["y"]},
        "aliases": ["shop"],
    }
    bridge, portmap, firewall, tuning = podman()["plugins"]
    base = {"cniVersion": "1.1.0", "name": "pod", "runtimeConfig": run}
    prev = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:07", "sandbox": NETNS, "mtu": 1500}],
        "ips": [{"address": "10.88.0.9/16", "gateway": "10.88.0.1", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.88.0.1", "mtu": 1500}],
        "dns": {"nameservers": ["192.0.2.1"], "domain": "x", "search": [], "options": []},
    }
    labels = {
        "cni": {"labels": [{"key": "a", "value": "b"}], "ips": [], "mac": ""},
        "podman_labels": {"c": "d"},
    }
    own = {
        "internal": False,
        "isolated": True,
        "mtu": 1400,
        "options": {"ifname_prefix": "net"},
        "ipMasq": True,
    }
    fixed = {"type": "static", "addresses": [{"address": "10.88.0.9/16", "gateway": "10.88.0.1"}]}
    ranged = {
        "type": "host-local",
        "subnet": "10.88.0.0/16",
        "rangeStart": "10.88.0.9",
        "gateway": "10.88.0.1",
    }
    return [
        {**base, **whole()["plugins"][0], **own, "args": labels, "bridge": "br7"},
        {**base, **bridge, "vlan": 0, "mtu": 1500, "dns": {"nameservers": ["192.0.2.1"]}},
        {**base, "type": "bridge", "ipam": ranged, "prevResult": prev},
        {**base, "type": "ptp", "ipam": {**fixed, "routes": [{"dst": "192.0.2.0/24", "gw": "10.88.0.7"}]}},
        {**base, "type": "macvlan", "master": "lo", "mode": "bridge", "ipam": fixed},
        {**base, **portmap, "prevResult": prev, "snat": True, "backend": "iptables"},
        {**base, **firewall, "prevResult": prev, "ingressPolicy": "open"},
        {**base, "type": "bandwidth", "ingressRate": 8, "ingressBurst": 8, "prevResult": prev},
        {**base, **tuning, "mtu": 1400, "sysctl": {"net.core.somaxconn": "99"}, "prevResult": prev},
        {**base, "type": "loopback"},
    ]


def mutants() -> list[dict[str, Any]]:
    """Each place missing, and with each wrong value."""
    found = []
    for conf in configurations():
        for at in paths(conf):
            found.append(changed(conf, at, None, gone=True))
            found += [changed(conf, at, value) for value in VALUES]
    return found


def go_through(host: Host, inner: Inner, confs: list[dict[str, Any]]) -> None:
    refused = 0
    for conf in confs:
        plugin = conf.get("type")
        plugin = plugin if isinstance(plugin, str) and plugin in Plugins else "weft"
        status, _ = inner.call(plugin, conf)
        refused += status
        if not status:  # it was no mistake: what came of it goes as it came
            assert inner.call(plugin, conf, CNI_COMMAND="DEL")[0] == 0, conf
    assert refused > len(confs) // 3
    host.weft("gc")
    nothing_left(host)


Plugins = "weft bridge ptp macvlan portmap firewall bandwidth tuning loopback".split()


def test_a_sample_of_wrong_values(host: Host, inner: Inner) -> None:
    go_through(host, inner, mutants()[::23])


@pytest.mark.campaign
def test_every_wrong_value(host: Host, inner: Inner) -> None:
    go_through(host, inner, mutants())


def test_what_is_no_configuration(host: Host, inner: Inner) -> None:
    """Not JSON, not UTF-8, not an object, huge, nested 10,000 deep."""
    conf = json.dumps({"cniVersion": "1.1.0", "name": "pod", "type": "weft"})
    for text in (
        "",
        "{",
        "nul",
        "[]",
        "3",
        '"x"',
        conf + "x",
        conf[:-1],
        '{"cniVersion": NaN}',
        "[" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        json.dumps({"cniVersion": "1.1.0", "name": "pod", "x": json.loads('{"a":' * 200 + "1" + "}" * 200)}),
        json.dumps({"cniVersion": "1.1.0", "name": "x" * (1 << 20)}),
        '{"cniVersion": 3}',
    ):
        for command in ("ADD", "DEL", "CHECK", "GC", "STATUS"):
            status, said = inner.call("weft", text, CNI_COMMAND=command)
            assert (status, said["code"]) == (1, 6), (text[:80], said)
    for raw in ("ff", "7b22c328223a317d", "00", "efbbbf7b7d"):
        assert inner.call("weft", "", raw)[1]["code"] == 6
    for version in ("0.1.0", "0.2.0", "", "2.0.0", "1.1", "x" * 99):
        status, said = inner.call("weft", {"cniVersion": version, "name": "pod", "type": "weft"})
        assert (status, said["code"]) == (1, 1), version
    for command, version in (("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "0.4.0")):
        conf_of = {"cniVersion": version, "name": "pod", "type": "weft"}
        assert inner.call("weft", conf_of, CNI_COMMAND=command)[1]["code"] == 1
    nothing_left(host)


def test_wrong_environments(host: Host, inner: Inner) -> None:
    conf = {"cniVersion": "1.1.0", "name": "pod", "type": "weft"}
    host.write("/run/plain", "")
    host.run(["mkfifo", "/run/fifo"])
    for name, values in {
        "CNI_COMMAND": (None, "", "add", "ADD ", "x" * 1000),
        "CNI_CONTAINERID": (None, "", "../x", "-x", "a/b", "a\nb", "x" * 97, "\udcff", "ü"),
        "CNI_NETNS": (None, "", "c1", "/run/netns/none", "/run/plain", "/run/fifo", "/proc/1/ns/pid", "/",
                      "/x\n", "/" + "x" * 5000),
        "CNI_IFNAME": (None, "", "x" * 16, "a/b", "lo", ".", "a b", "\udcff"),
        "CNI_ARGS": ("x", "=", ";;", "a=b;c", "x" * 70_000),
    }.items():  # fmt: skip
        for value in values:
            status, said = inner.call("weft", conf, "", **{name: value})
            assert (status, said["code"]) == (1, 4), (name, value, said)
            if name not in ("CNI_COMMAND",):
                assert name in said["msg"], said
    status, said = inner.call("weft", conf, CNI_NETNS="/proc/self/ns/net")
    assert status == 1, said
    assert "host's own network namespace" in said["msg"]
    nothing_left(host)


def test_options_that_cannot_be_honoured_are_named(host: Host, inner: Inner) -> None:
    """Key and value stand in the message, with the code for that."""
    bridge = {**podman()["plugins"][0], "cniVersion": "1.0.0", "name": "pod"}
    ptp = {"type": "macvlan", "master": "lo", "cniVersion": "1.0.0", "name": "pod", "ipam": bridge["ipam"]}
    portmap = {"type": "portmap", "cniVersion": "1.0.0", "name": "pod", "prevResult": {"cniVersion": "1.0.0"}}
    for conf, key, value in (
        (bridge, "vlanTrunk", [{"id": 3}]),
        (bridge, "promiscMode", True),
        (bridge, "enabledad", True),
        (bridge, "disableContainerInterface", True),
        (ptp, "linkInContainer", True),
        (portmap, "masqAll", True),
        (portmap, "conditionsV4", ["-s", "10.0.0.0/8"]),
        (portmap, "snat", False),
        ({**bridge, "ipam": {"type": "dhcp"}}, "ipam.type", "dhcp"),
    ):
        given = conf if "." in key else {**conf, key: value}
        status, said = inner.call(str(conf["type"]), given)
        assert (status, said["code"]) == (1, 2), (key, said)
        assert key in said["msg"], said
    nothing_left(host)


def test_a_vlan(host: Host, inner: Inner) -> None:
    """Where the kernel's bridges know none the message says what it lacks."""
    bridge = {**podman()["plugins"][0], "cniVersion": "1.0.0", "name": "pod", "vlan": 7}
    probe = host.run(["ip", "link", "add", "probe", "type", "bridge", "vlan_filtering", "1"], check=False)
    host.run(["ip", "link", "del", "probe"], check=False)
    for kept in ({}, {"preserveDefaultVlan": False}):
        status, said = inner.call("bridge", {**bridge, **kept})
        if probe.returncode:
            assert (status, said["code"]) == (1, 104)
            assert "CONFIG_BRIDGE_VLAN_FILTERING" in f"{said['msg']} {said.get('details')}"
        else:
            assert status == 0 and inner.call("bridge", {**bridge, **kept}, CNI_COMMAND="DEL")[0] == 0
        nothing_left(host)
    for wrong in (4095, -1, "7", 1.5, [7], True):
        status, said = inner.call("bridge", {**bridge, "vlan": wrong})
        assert (status, said["code"]) == (1, 7) and "vlan" in said["msg"], (wrong, said)
    nothing_left(host)


def test_a_plugin_is_not_its_own_ipam(host: Host, inner: Inner) -> None:
    """It would be run for its own configuration, and run itself again, without end."""
    for kind in ("bridge", "tuning", "../bridge", "/bin/sh", ".", "weft\0"):
        conf = {"cniVersion": "1.0.0", "name": "pod", "type": "bridge", "ipam": {"type": kind}}
        status, said = inner.call("bridge", conf)
        assert (status, said["code"]) == (1, 7), (kind, said)
    nothing_left(host)


def test_a_network_of_the_same_name_that_differs(host: Host, inner: Inner) -> None:
    """Both are named; nothing of the other changes."""
    host.weft("net", "create", "pod", "--subnet", "10.1.0.0/24")
    status, said = inner.call("bridge", {**podman()["plugins"][0], "cniVersion": "1.0.0", "name": "pod"})
    assert (status, said["code"]) == (1, 101)
    assert "10.1.0.0/24" in said["msg"]
    assert "10.88.0.0/16" in said["msg"]
    host.weft("net", "rm", "pod")
    nothing_left(host)


def test_killed_at_any_moment_del_leaves_nothing(host: Host) -> None:
    """kill -9 while an ADD is at work: the DEL that a runtime sends then takes all away."""
    runtime = Runtime(host)
    rates = {"egressRate": 8000_000, "egressBurst": 800_000}
    ports = [{"hostPort": 8090, "containerPort": 80, "protocol": "tcp"}]
    ipam = {"type": "host-local", "subnet": "10.60.0.0/24"}
    conf = {**whole(ipam=ipam)["plugins"][0], "cniVersion": "1.1.0", "name": "blue"}
    conf["runtimeConfig"] = {"bandwidth": rates, "portMappings": ports}
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "one", "CNI_NETNS": NETNS, "CNI_IFNAME": "eth0"}
    for moment in range(8):
        script = f"timeout -s KILL {0.02 + moment * 0.012:.3f} {OWN}/weft <<'X'\n{json.dumps(conf)}\nX\n"
        host.run(["sh", "-c", script], env={**env, "CNI_PATH": OWN}, check=False)
        runtime.call("DEL", conf, "one", NETNS)
        runtime.call("DEL", conf, "one")
        nothing_left(host)
