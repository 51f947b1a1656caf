"""Containers without a network of their own: the host's, none, or another container's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import Host, differences, settle, snapshot
from scenarios.life import IDLE, heard, inspect, state

SLEEP = ("--", "sleep", "1000")


@pytest.fixture
def blue(host: Host) -> Iterator[Host]:
    """A host with the network blue; everything is removed in the end, and nothing is left of it."""
    host.weft("net", "create", "blue", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64")
    yield host
    names = host.weft("ps", "-aq").stdout.split()
    if names:
        host.weft("rm", "-f", *names)
    host.weft("net", "rm", "blue")
    assert settle(host, lambda: [*snapshot(host)["netns"]["host"]["links"]] == ["lo"])
    assert list(snapshot(host)["netns"]) == ["host"]


def inside(host: Host, name: str, *argv: str) -> str:
    return host.weft("exec", name, "--", *argv).stdout


def netns(host: Host, name: str) -> str:
    return inside(host, name, "readlink", "/proc/self/ns/net").strip()


def test_in_the_hosts_network(blue: Host) -> None:
    """Its ports are the host's, its names too; it takes no address."""
    serve = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"
    blue.weft(
        "run",
        "-d",
        "--name",
        "h",
        "--network",
        "host",
        "--workdir",
        "/sys/class/net",
        "--",
        "python3",
        "-c",
        serve,
    )
    assert netns(blue, "h") == blue.run(["readlink", "/proc/self/ns/net"]).stdout.strip()
    assert settle(blue, lambda: "wb" in blue.fetch("http://127.0.0.1:8080/").body)
    blue.weft("run", "-d", "--name", "c", "--network", "blue", *SLEEP)
    blue.write("/etc/hosts", "192.0.2.7 known.example\n")
    assert "192.0.2.7" in inside(blue, "h", "getent", "hosts", "known.example")
    assert inspect(blue, "h")["networks"] == {}
    assert inspect(blue, "h")["network_mode"] == "host"
    # The container is reached as from the host, and the host's service by the container no more than any.
    assert blue.run(["nsenter", "-t", str(inspect(blue, "h")["pid"]), "-n", "ping", "-c1", "-W2", "10.1.0.2"])
    assert not blue.fetch("http://10.1.0.1:8080/", netns="c", timeout=0.5).ok


def test_without_any_network(blue: Host) -> None:
    """Only lo, and that is up; names of its own if asked."""
    flags = ("--network", "none", "--add-host", "x:192.0.2.1")
    blue.weft("run", "-d", "--name", "n", *flags, *SLEEP)
    links = inside(blue, "n", "ip", "-br", "address").splitlines()
    assert [line.split()[0] for line in links] == ["lo"] and "127.0.0.1/8" in links[0]
    assert (inside(blue, "n", "ip", "route"), inside(blue, "n", "ip", "-6", "route")) == ("", "")
    assert inside(blue, "n", "getent", "hosts", "x").startswith("192.0.2.1 ")
    assert blue.pings("127.0.0.1", netns="n")
    assert not blue.pings("10.1.0.1", netns="n", timeout=0.5)


def test_in_another_containers_network(blue: Host) -> None:
    """One stack for both: addresses, ports on 127.0.0.1, names, host name."""
    blue.weft("run", "-d", "--name", "a", "--network", "blue:alias=www", "--hostname", "alpha", *SLEEP)
    blue.weft("run", "-d", "--name", "j", "--network", "container:a", *SLEEP)
    blue.weft("run", "-d", "--name", "jj", "--network", "container:a", *SLEEP)
    assert netns(blue, "j") == netns(blue, "jj") == netns(blue, "a")
    for name in ("j", "jj"):
        assert inside(blue, name, "hostname").strip() == "alpha"
        assert inside(blue, name, "cat", "/etc/hosts") == inside(blue, "a", "cat", "/etc/hosts")
    server = blue.serve(80, "a", netns="a")
    assert inside(blue, "j", "curl", "-sS", "http://127.0.0.1/") == "a"
    assert inside(blue, "jj", "curl", "-sS", "http://www/") == "a"
    server.end()
    # A network that is joined later, and its names, are seen by all of them.
    blue.weft("net", "create", "green", "--subnet", "10.2.0.0/24")
    blue.weft("net", "connect", "green", "a", "--alias", "gee")
    assert inside(blue, "j", "getent", "ahostsv4", "gee").startswith("10.2.0.2 ")
    assert "eth1" in inside(blue, "jj", "ip", "-br", "link")
    assert "gee" in blue.run(["cat", "/etc/netns/j/hosts"]).stdout
    blue.weft("net", "disconnect", "green", "a")
    assert "10.2.0.2" not in inside(blue, "j", "cat", "/etc/hosts")
    assert inside(blue, "j", "getent", "ahostsv4", "www").startswith("10.1.0.2 ")
    blue.weft("net", "rm", "green")


def test_a_donor_ends_before_its_joiner(blue: Host) -> None:
    """The network stays with its address for who is still in it, and goes with the last."""
    blue.weft("run", "-d", "--name", "a", "--network", "blue", "-p", "8080:80", "--", "sh", "-c", IDLE)
    blue.weft("run", "-d", "--name", "j", "--network", "container:a", *SLEEP)
    blue.weft("run", "-d", "--name", "b", "--network", "blue", *SLEEP)
    blue.run(["kill", "-9", str(inspect(blue, "a")["pid"])])
    assert settle(blue, lambda: state(blue, "a")[0] == "exited")
    server = blue.serve(80, "j", netns="a")
    assert inside(blue, "j", "curl", "-sS", "http://127.0.0.1/") == "j"
    assert blue.fetch("http://10.1.0.2/", netns="b").body == "j"
    assert blue.fetch("http://127.0.0.1:8080/").body == "j"
    server.end()
    refused = blue.weft("rm", "a", check=False)
    assert (refused.returncode, "lends its network to j" in refused.stderr) == (4, True)
    assert blue.weft("rm", "-f", "a", check=False).returncode == 4
    blue.weft("rm", "-f", "j")
    assert state(blue, "a")[0] == "exited"
    blue.weft("rm", "a")


def test_a_donor_that_was_to_go_goes_with_the_last_joiner(blue: Host) -> None:
    blue.weft("run", "-d", "--rm", "--name", "a", "--network", "blue", "--", "sh", "-c", IDLE)
    for name in ("j", "k"):
        blue.weft("run", "-d", "--name", name, "--network", "container:a", *SLEEP)
    blue.run(["kill", "-9", str(inspect(blue, "a")["pid"])])
    assert settle(blue, lambda: state(blue, "a")[0] == "exited")
    blue.weft("rm", "-f", "j")
    assert {c["name"] for c in blue.weft_json("ps", "-a")} == {"a", "k"}
    blue.weft("rm", "-f", "k")
    assert blue.weft_json("ps", "-a") == []


def test_removed_together(blue: Host) -> None:
    blue.weft("run", "-d", "--name", "a", "--network", "blue", *SLEEP)
    blue.weft("run", "-d", "--name", "j", "--network", "container:a", *SLEEP)
    blue.weft("rm", "-f", "a", "j")
    assert blue.weft_json("ps", "-a") == []


def test_a_container_without_a_process_lends_too(blue: Host) -> None:
    blue.weft("run", "--name", "a", "--network", "blue")
    assert blue.weft("run", "--rm", "--network", "container:a", "--", "hostname").stdout == "a\n"
    assert inspect(blue, "a")["state"] == "running" or inspect(blue, "a")["state"] == "created"
    assert blue.pings("10.1.0.2")


def test_a_stream_goes_on_while_joiners_come_and_go(blue: Host) -> None:
    blue.weft("run", "-d", "--name", "a", "--network", "blue", *SLEEP)
    blue.weft("run", "-d", "--name", "b", "--network", "blue", *SLEEP)
    ping = blue.popen(["ping", "-n", "-i0.02", "10.1.0.3"], netns="a")
    heard(ping)
    for n in range(3):
        blue.weft("run", "--rm", "--name", f"j{n}", "--network", "container:a", "--", "true")
    ping.send_signal(2)
    said, _ = ping.communicate(timeout=10)
    assert " 0% packet loss" in said


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (3, "--network container:nobody"),
        (2, "--network container:z"),
        (2, "--network container:"),
        (2, "--network host -p 80:80"),
        (2, "--network none -p 80:80"),
        (2, "--network container:a -p 80:80"),
        (2, "--network container:a --hostname q"),
        (2, "--network container:a --dns 192.0.2.1"),
        (2, "--network container:a --add-host x:192.0.2.1"),
        (2, "--network host --sysctl net.core.somaxconn=1"),
        (2, "--network host --network blue"),
        (2, "--network blue --network none"),
        (2, "--network container:a --ip 10.1.0.9"),
        (2, "--network none --network-alias x"),
    ],
)
def test_what_does_not_go_together(host: Host, status: int, words: str) -> None:
    host.weft("net", "create", "blue", "--subnet", "10.1.0.0/24")
    host.weft("run", "--name", "a", "--network", "blue")
    assert settle(host, lambda: "LOWER_UP" in host.ip("link", "show", "type", "bridge"))
    before = snapshot(host)
    got = host.weft("run", "--name", "z", *words.split(), "--", "true", check=False)
    assert (got.returncode, got.stdout) == (status, ""), got
    assert got.stderr.startswith("weft: error: ") and len(got.stderr.splitlines()) <= 2
    assert differences(host, before) == []


def test_networks_are_for_who_has_one(blue: Host) -> None:
    """Without a network of its own a container cannot be connected; an ended one cannot be joined."""
    blue.weft("run", "-d", "--name", "a", "--network", "blue", *SLEEP)
    for name, mode in (("h", "host"), ("n", "none"), ("j", "container:a")):
        blue.weft("run", "-d", "--name", name, "--network", mode, *SLEEP)
        got = blue.weft("net", "connect", "blue", name, check=False)
        assert (got.returncode, "cannot be connected" in got.stderr) == (4, True), got
    got = blue.weft("run", "--name", "z", "--network", "container:j", "--", "true", check=False)
    assert (got.returncode, "it uses a's" in got.stderr) == (4, True), got
    blue.weft("run", "--name", "over", "--network", "blue", "--", "true")
    got = blue.weft("run", "--name", "z", "--network", "container:over", "--", "true", check=False)
    assert got.returncode == 4, got
