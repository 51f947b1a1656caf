"""``weft-aardvark`` in aardvark-dns's place: its command line, files, signals, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import Host, settle
from harness.asks import ask
from harness.host import REPO

CONFIG = "/run/containers/networks/aardvark-dns"
ONE, TWO = "1" * 64, "2" * 64
WEFT = str(REPO / "weft")


class Place:
    """Two bridges with a member each, and one that is on both."""

    def __init__(self, host: Host) -> None:
        self.host = host
        for n, name in ((1, "br1"), (2, "br2")):
            host.sh(
                f"ip link add {name} type bridge; ip addr add 10.{n}.0.1/24 dev {name}; ip link set {name} up"
            )
        host.ip("address", "add", "fd01::1/64", "dev", "br1", "nodad")
        for name, bridges in (("one", (1,)), ("two", (1, 2)), ("three", (2,))):
            host.ip("netns", "add", name)
            for n in bridges:
                address = f"10.{n}.0.{ {'one': 2, 'two': 3, 'three': 4}[name] }/24"
                host.sh(
                    f"ip link add {name}{n} master br{n} type veth peer name eth{n} netns {name}\n"
                    f"ip link set {name}{n} up; ip -n {name} addr add {address} dev eth{n}\n"
                    f"ip -n {name} link set eth{n} up"
                )
        self.write("net1", f"10.1.0.1,fd01::1\n{ONE} 10.1.0.2 fd01::2 one,www\n{TWO} 10.1.0.3  two\n")
        self.write("net2%int", f"10.2.0.1\n{TWO} 10.2.0.3  two 203.0.113.9\n{'3' * 64} 10.2.0.4  three\n")

    def write(self, name: str, text: str) -> None:
        self.host.write(f"{CONFIG}/{name}", text)

    def start(self, *flags: str, check: bool = True) -> str:
        argv = [WEFT, "aardvark", "--config", CONFIG, "-p", "53", *flags, "run"]
        return self.host.run(argv, check=check, timeout=10).stderr

    def pid(self) -> str:
        return self.host.read(f"{CONFIG}/aardvark.pid")

    def hangup(self) -> None:
        self.host.run(["kill", "-HUP", self.pid()])

    def names(self) -> list[str]:
        return sorted(p.name for p in self.host.path(CONFIG).iterdir())


@pytest.fixture
def place() -> Iterator[Place]:
    with Host() as host:
        yield Place(host)


def test_it_answers_as_aardvark_does(place: Place) -> None:
    assert place.start() == ""
    said = {
        (who, server, name, kind): ask(place.host, server, name, kind, netns=who).said
        for who, server, name, kind in (
            ("one", "10.1.0.1", "TWO", "A"),
            ("one", "10.1.0.1", "two.dns.podman", "A"),
            ("one", "10.1.0.1", "three", "A"),
            ("one", "10.1.0.1", "www", "AAAA"),
            ("one", "10.1.0.1", "two", "AAAA"),
            ("two", "10.1.0.1", "three", "A"),
            ("two", "10.1.0.1", "two", "A"),
            ("three", "10.2.0.1", "one", "A"),
            ("three", "10.2.0.1", "example.org", "A"),
            ("one", "10.1.0.1", "nobody.dns.podman", "A"),
            ("one", "10.1.0.1", "10.1.0.3", "PTR"),
            ("one", "10.1.0.1", "1" * 12, "A"),
        )
    }
    assert [said[key] for key in said] == [
        *("10.1.0.3", "10.1.0.3", "SERVFAIL", "fd01::2", "NODATA"),
        *("10.2.0.4", "10.1.0.3 10.2.0.3", "NXDOMAIN", "NXDOMAIN", "NXDOMAIN"),
        *(f"{TWO[:12]}. two.", "10.1.0.2"),
    ]
    assert ask(place.host, "10.1.0.1", "one").said == "10.1.0.2"  # the host, at that network's address
    assert ask(place.host, "fd01::1", "one", tcp=True).said == "10.1.0.2"


def test_it_reads_again_when_told_and_ends_with_the_last_network(place: Place) -> None:
    place.start()
    pid = place.pid()
    assert place.names() == ["aardvark.pid", "net1", "net2%int"]
    place.write("net1", f"10.1.0.1\n{ONE} 10.1.0.2  renamed\n")
    place.hangup()
    assert settle(place.host, lambda: ask(place.host, "10.1.0.1", "renamed").said == "10.1.0.2")
    assert ask(place.host, "10.1.0.1", "www.dns.podman").said == "NXDOMAIN"
    assert ask(place.host, "fd01::1", "renamed", patience=0.3).said == "nothing"
    place.write("net1", "nonsense\n")  # the other network is not to suffer
    place.hangup()
    assert settle(place.host, lambda: ask(place.host, "10.1.0.1", "renamed", patience=0.2).said == "nothing")
    assert ask(place.host, "10.2.0.1", "three").said == "10.2.0.4"
    assert place.pid() == pid
    for name in ("net1", "net2%int"):
        place.host.path(f"{CONFIG}/{name}").unlink()
    place.hangup()
    assert settle(place.host, lambda: place.names() == [])
    assert settle(place.host, lambda: place.host.run(["kill", "-0", pid], check=False).returncode != 0)


def test_one_for_a_directory_and_the_killed_one_is_no_obstacle(place: Place) -> None:
    place.start()
    pid = place.pid()
    assert "another process serves" in place.start(check=False)
    assert place.pid() == pid
    place.host.run(["kill", "-9", pid])
    assert place.start() == ""
    assert place.pid() != pid


def test_what_it_cannot_do_is_told_before_it_goes_to_the_background(place: Place) -> None:
    place.host.write("/run/blocked/net", "10.1.0.1\n")
    server = place.host.serve(53, address="10.1.0.1", kind="udp")
    for flags, said in (
        (("-c", "/run/blocked"), "cannot listen on 10.1.0.1 port 53"),
        (("-c", "/nonexistent"), "cannot read /nonexistent"),
        (("-p", "65536"), "is not a number"),
        (("--bogus",), "--bogus"),
    ):
        done = place.host.run(
            [WEFT, "aardvark", "-c", CONFIG, "-p", "53", *flags, "run"], check=False, timeout=10
        )
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    server.end()
    assert not place.host.path("/run/blocked/aardvark.pid").exists()


def test_its_other_words(place: Place) -> None:
    def run(*words: str) -> str:
        return place.host.run([WEFT, "aardvark", *words]).stdout

    assert '"version"' in run("version")
    assert run("--version").startswith("weft-aardvark ")
    assert "--filter-search-domain" in run("--help")
    place.host.sh(f"ln -s {WEFT} /run/aardvark-dns")
    assert '"version"' in place.host.run(["/run/aardvark-dns", "version"]).stdout
    place.start("--filter-search-domain=.local.test", "-p5333")
    assert ask(place.host, "10.1.0.1", "one.local.test", port=5333).said == "10.1.0.2"
    assert ask(place.host, "10.1.0.1", "nobody.local.test", port=5333).said == "NXDOMAIN"
