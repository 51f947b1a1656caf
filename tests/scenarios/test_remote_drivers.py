"""Networks of third-party drivers (`-d NAME`), and subnets and addresses of theirs (`--ipam-driver NAME`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness import REPO, Host, Process, differences, snapshot
from harness.host import PYTHON
from scenarios.life import WEFT

LOG = "/run/driver.log"
FAKE = ("-d", "fake", "--ipam-driver", "fake")


def drive(host: Host, socket: str = "/run/docker/plugins/fake.sock") -> Process:
    driver = host.popen([*PYTHON, str(REPO / "tests/fakes/driver.py"), socket, LOG])
    assert driver.stdout and driver.stdout.readline() == "ready\n"
    return driver


def called(host: Host) -> list[tuple[str, Any]]:
    """What the driver was asked, since this was asked last."""
    lines = [line.split(" ", 1) for line in host.read(LOG).splitlines()]
    host.write(LOG, "")
    return [(method.partition(".")[2], json.loads(body)) for method, body in lines]


def names(host: Host) -> list[str]:
    return [method for method, _ in called(host) if method != "Activate"]


def fails(host: Host, *words: str) -> str:
    done = host.weft(*words, check=False)
    assert done.returncode in (1, 2, 3, 4, 5, 125), done
    assert "internal error" not in done.stderr and len(done.stderr) < 2000, done.stderr
    return done.stderr


def warm(host: Host) -> None:
    """Directories stay, and that the host forwards."""
    host.sh(f"mkdir -p /run/docker/plugins /run/weft/own-hosts; touch {LOG}")
    host.weft("run", "--rm", "--", "true")
    host.weft("net", "rm", "default")


@pytest.mark.campaign
def test_a_life(host: Host) -> None:
    """Made, run in, connected, disconnected, removed: in libnetwork's order, and nothing is left."""
    warm(host)
    drive(host)
    before = snapshot(host)
    host.weft("net", "create", "blue", *FAKE, "-o", "a.b=c", "--ipam-opt", "x=y", "--internal")
    asked = called(host)
    wanted = "GetDefaultAddressSpaces RequestPool RequestAddress CreateNetwork".split()
    assert [method for method, _ in asked if method != "Activate"] == wanted
    pool, gateway, made = [body for method, body in asked][-3:]
    assert (pool["AddressSpace"], pool["Options"]) == ("fake-local", {"x": "y"})
    assert gateway["Options"] == {"RequestAddressType": "com.docker.network.gateway"}
    assert made["Options"]["com.docker.network.generic"] == {"a.b": "c"}
    assert made["IPv4Data"][0]["Gateway"] == "10.44.0.1/24" and made["Options"]["com.docker.network.internal"]
    (shown,) = host.weft_json("net", "inspect", "blue")
    assert (shown["driver"], shown["options"]) == ("fake", {"a.b": "c", "ipam": "fake"})

    host.weft("run", "-d", "--name", "a", "--network", "blue", "--", "sleep", "1000")
    assert names(host) == "RequestAddress CreateEndpoint Join ProgramExternalConnectivity".split()
    host.weft("run", "-d", "--name", "b", "--network", "blue", "--", "sleep", "1000")
    assert "10.44.0.2/24" in host.weft("exec", "a", "--", "ip", "-o", "addr").stdout
    assert host.weft("exec", "b", "--", "ping", "-c1", "-W2", "a").returncode == 0, "by its name"
    assert "198.18.0.0/15 via 10.44.0.1" in host.weft("exec", "a", "--", "ip", "route").stdout
    host.weft("run", "-d", "--name", "own", "--network", "default", "--", "sleep", "1000")
    host.weft("net", "connect", "blue", "own")
    assert host.weft("exec", "own", "--", "ping", "-c1", "-W2", "10.44.0.2").returncode == 0
    assert "default via 10.81" in host.weft("exec", "own", "--", "ip", "route").stdout
    called(host)
    host.weft("net", "disconnect", "blue", "own")
    assert names(host) == "RevokeExternalConnectivity Leave DeleteEndpoint ReleaseAddress".split()
    assert "eth1" not in host.weft("exec", "own", "--", "ip", "-o", "link").stdout
    host.weft("restart", "-t", "0", "a")
    assert host.weft("exec", "b", "--", "ping", "-c1", "-W2", "a").returncode == 0
    host.weft("rm", "-f", "a", "b", "own")
    host.weft("net", "rm", "default")
    called(host)
    host.weft("net", "rm", "blue")
    assert names(host) == "DeleteNetwork ReleaseAddress ReleasePool".split()
    assert differences(host, before) == []


@pytest.mark.campaign
def test_with_wefts_own_driver_or_ipam(host: Host) -> None:
    """Either alone: their networks with weft's addresses, weft's networks with theirs."""
    drive(host)
    host.weft("net", "create", "theirs", "-d", "fake", "--subnet", "10.44.0.0/24")
    host.weft("net", "create", "ours", "--ipam-driver", "fake", "--ipv6", "--subnet", "10.45.0.0/24")
    for name, addresses in (("theirs", ["10.44.0.2/24"]), ("ours", ["10.45.0.2/24", "fd44::2/64"])):
        host.weft("run", "-d", "--name", name, "--network", name, "--", "sleep", "1000")
        (found,) = host.weft_json("inspect", name)
        assert found["networks"][name]["addresses"] == addresses
    host.weft("repair")
    host.weft("gc")
    assert "reached by their own addresses" in fails(
        host, "run", "--network", "theirs", "-p", "80:80", "--", "true"
    )
    assert host.weft("exec", "ours", "--", "ping", "-c1", "-W2", "fd44::1").returncode == 0
    assert host.weft("exec", "theirs", "--", "ping", "-c1", "-W2", "10.44.0.1").returncode == 0
    host.weft("rm", "-f", "theirs", "ours")
    host.weft("net", "rm", "theirs", "ours")
    asked = called(host)
    took = [b["Address"] for m, b in asked if m == "RequestAddress" and b["Address"]]
    assert took == []
    assert len([m for m, _ in asked if m == "ReleaseAddress"]) == 4


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("method", "kinds"),
    [
        ("IpamDriver.GetDefaultAddressSpaces", "refuse wrong"),
        ("IpamDriver.RequestPool", "refuse wrong close"),
        ("IpamDriver.RequestAddress", "refuse wrong"),
        ("NetworkDriver.CreateNetwork", "refuse garbage list deep huge close half status"),
    ],
)
def test_a_network_that_is_not_made(host: Host, method: str, kinds: str) -> None:
    """Typed, told in a line, and what was taken before is given back."""
    warm(host)
    drive(host)
    before = snapshot(host)
    for kind in kinds.split():
        host.write(f"{LOG}.wrongs", f"{method}={kind}")
        said = fails(host, "net", "create", "blue", *FAKE)
        assert "driver fake" in said, (kind, said)
        asked = [name for name, _ in called(host)]
        gave = kind == "wrong" or method != "IpamDriver.RequestPool"
        assert asked.count("ReleasePool") == (gave and "RequestPool" in asked), (kind, asked)
        assert host.weft("net", "ls", "-q").stdout == ""
    assert differences(host, before) == []


def test_an_endpoint_that_is_not_made(host: Host) -> None:
    """Of its addresses and of what it had made nothing is left, and the next one is as good as ever."""
    warm(host)
    drive(host)
    host.weft("net", "create", "blue", *FAKE)
    host.weft("run", "--rm", "--network", "blue", "--", "true")
    before = snapshot(host)
    for method, kinds in (
        ("IpamDriver.RequestAddress", "refuse wrong"),
        ("NetworkDriver.CreateEndpoint", "refuse wrong"),
        ("NetworkDriver.Join", "refuse garbage wrong close"),
    ):
        for kind in kinds.split():
            host.write(f"{LOG}.wrongs", f"{method}={kind}")
            called(host)
            said = fails(host, "run", "--name", "z", "--network", "blue", "--", "true")
            assert "driver fake" in said, (kind, said)
            asked = [name for name, _ in called(host)]
            gave = (method, kind) != ("IpamDriver.RequestAddress", "refuse")
            assert asked.count("ReleaseAddress") == gave, (method, kind, asked)
    host.path(f"{LOG}.wrongs").unlink()
    assert differences(host, before) == []
    found = host.weft(
        "run", "--rm", "--network", "blue", "--", "ip", "-o", "addr", "show", "dev", "eth0"
    ).stdout
    assert "10.44.0.2/24" in found


@pytest.mark.campaign
def test_a_driver_that_is_gone(host: Host) -> None:
    """Its network cannot be used, its containers can be removed, and it is said."""
    driver = drive(host)
    host.weft("net", "create", "blue", *FAKE)
    host.weft("run", "-d", "--name", "a", "--network", "blue", "--", "sleep", "1000")
    driver.end()
    said = fails(host, "run", "--network", "blue", "--", "true")
    assert "the driver fake does not listen" in said
    done = host.weft("rm", "-f", "a")
    assert "warning: " in done.stderr and "does not listen" in done.stderr
    assert host.weft("ps", "-aq").stdout == ""


@pytest.mark.campaign
def test_found_as_docker_finds_them(host: Host) -> None:
    """Sockets first, then files that say where."""
    place = "/run/elsewhere/fake.sock"
    host.weft("net", "ls")
    assert "no driver 'fake'" in fails(host, "net", "create", "blue", *FAKE)
    for file, text in (
        ("/etc/docker/plugins/fake.spec", f"unix://{place}\n"),
        ("/etc/docker/plugins/fake/fake.json", json.dumps({"Name": "fake", "Addr": f"unix://{place}"})),
    ):
        driver = drive(host, socket=place)
        host.write(file, text)
        host.weft("net", "create", "blue", *FAKE)
        host.weft("net", "rm", "blue")
        driver.end()
        host.path(file).unlink()
    for text in ("", "{", "ftp://x", "tcp://x:y", '{"Addr": 7}', "[" * 20_000):
        for file in ("fake.spec", "fake.json"):
            host.write(f"/etc/docker/plugins/{file}", text)
            assert "does not say where" in fails(host, "net", "create", "blue", *FAKE)
            host.path(f"/etc/docker/plugins/{file}").unlink()
    for words in (
        ("-d", "../x"),
        ("-d", "x" * 200),
        ("--ipam-opt", "a=b"),
        ("-d", "fake", "--nat", "routed"),
    ):
        assert fails(host, "net", "create", "blue", *words)


def test_weft_of_weft(host: Host) -> None:
    """One weft is the driver of another: both sides of the protocol at once."""
    socket = "/run/docker/plugins/peer.sock"
    peer = host.popen([WEFT, "--root", "/run/peer", "serve", "--docker", "--socket", socket])
    assert peer.stdout and peer.stdout.readline()
    host.weft("net", "create", "blue", "-d", "peer", "--ipam-driver", "peer", "--subnet", "10.46.0.0/24")
    for name in ("a", "b"):
        host.weft("run", "-d", "--name", name, "--network", "blue", "--", "sleep", "1000")
    assert host.weft("exec", "a", "--", "ping", "-c1", "-W2", "b").returncode == 0
    assert "default via 10.46.0.1" in host.weft("exec", "a", "--", "ip", "route").stdout
    for verb in ("repair", "gc"):
        host.weft(verb)  # whose tables are the other's
    rows = host.weft_json("--root", "/run/peer", "ps", "-a")
    assert sorted(row["name"] for row in rows) == ["docker:a", "docker:b"]
    host.weft("rm", "-f", "a", "b")
    assert host.weft_json("--root", "/run/peer", "ps", "-a") == []
    host.weft("net", "rm", "blue")
    assert host.weft("--root", "/run/peer", "net", "ls", "-q").stdout == ""
    assert json.loads(host.ip("-j", "link"))[1:] == []
