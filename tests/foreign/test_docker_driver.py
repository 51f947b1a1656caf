"""The real dockerd with weft as its network and IPAM driver (docs/docker.md)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from foreign.daemons import Docker, needs
from harness import Lan, Process, settle, snapshot
from harness.host import ENVIRONMENT, HERE, PYTHON, REPO
from harness.snapshot import diff
from scenarios.life import WEFT

pytestmark = pytest.mark.campaign

READY = "ready: /run/docker/plugins/weft.sock\n"
SHARED = ("-v", "/usr:/usr:ro", "-v", f"{HERE}:/pages:ro")
PING = ("/usr/bin/ping", "-n", "-c1", "-W2")
DRIVER = ("-d", "weft", "--ipam-driver", "weft")


class Ground:
    """A host with an uplink, the plug-in, and dockerd without a bridge and rules of its own."""

    def __init__(self, lan: Lan) -> None:
        needs("dockerd", "docker")
        self.lan, self.host = lan, lan.host
        self.host.weft("net", "create", "warm", "--subnet", "10.1.0.0/24")
        self.host.weft("run", "--rm", "--network", "warm", "-p", "8080:80", "--", "true")
        self.service = self.serve()
        plain = ("--bridge=none", "--iptables=false", "--ip6tables=false")
        self.docker = Docker(self.host, *plain)

    def serve(self) -> Process:
        service = self.host.popen([WEFT, "serve", "--docker"])
        assert service.stdout and service.stdout.readline() == READY
        return service

    def do(self, *words: str, check: bool = True) -> str:
        done = self.host.run(["docker", *words], check=check, timeout=120)
        return done.stdout if check else done.stderr

    def start(self, name: str, network: str, *options: str) -> str:
        return self.docker.run(name, "--network", network, *options)

    def once(self, network: str, *command: str) -> str:
        return self.do("run", "--rm", "--network", network, *SHARED, "tiny", *command)

    def inside(self, name: str) -> str:
        return self.do("exec", name, "/usr/sbin/ip", "-o", "addr")

    def page(self, url: str) -> str:
        assert settle(self.host, lambda: self.host.fetch(url).ok), self.host.fetch(url)
        return self.host.fetch(url).body

    def differs(self, before: Any) -> list[str]:
        """What is there that was not, but for cgroups and helpers of Docker's own."""
        found: list[str] = []

        def same() -> bool:
            found[:] = [
                line
                for line in diff(before, snapshot(self.host))
                if not (line.startswith("+ cgroups/") and self.docker.cgroup in line)
                and not (line.startswith("+ processes") and "containerd" in line)
            ]
            return not found

        settle(self.host, same, 10)
        return found

    def known(self) -> dict[str, Any]:
        rows = self.host.weft_json("ps", "-a")
        return {row["name"]: row for row in rows if row["engine"] == "docker"}


@pytest.fixture
def ground(lan: Lan) -> Iterator[Ground]:
    made = Ground(lan)
    with made.docker:
        yield made


#: What the page's second line does, without systemd: the unit's own command.
SYSTEMCTL = """#!/bin/sh
[ "$*" = "enable --now weft-docker" ] || exit 1
$(sed -n 's/^ExecStart=//p' /etc/systemd/system/weft-docker.service) >/run/said 2>&1 &
until grep -q ready: /run/said; do :; done
"""


def test_the_page(ground: Ground) -> None:
    """Five lines of configuration, as they are written."""
    ground.service.terminate()
    ground.service.wait()
    command = json.dumps([*PYTHON, "/pages/pages.py", "http", "", "80", "nginx"])
    ground.host.sh(
        "mkdir -p /run/bin /etc/systemd/system\n"
        f"ln -s {WEFT} /run/bin/weft\n"
        f"cd /run/image && tar c . | docker import -c 'CMD {command}' - nginx\n"
    )
    ground.host.write("/run/bin/systemctl", SYSTEMCTL, 0o755)
    # Without a registry's image: the host's programs.
    shared = f'[ $1 != run ] || {{ shift; set -- run {" ".join(SHARED)} "$@"; }}'
    ground.host.write("/run/bin/docker", f'#!/bin/sh\n{shared}\nPATH=${{PATH#*:}}; exec docker "$@"\n', 0o755)
    lines = (REPO / "docs/docker.md").read_text().partition("```sh\n")[2].partition("```")[0]
    assert len(lines.splitlines()) == 5
    env = {"PATH": f"/run/bin:{ENVIRONMENT['PATH']}"}
    said = ground.host.run(["sh", "-e"], input=lines, env=env, cwd=REPO).stdout
    assert settle(ground.host, lambda: "docker:web" in ground.known()), said
    assert "8080" in said
    assert ground.page("http://127.0.0.1:8080/") == "nginx"
    assert "Type=notify" in ground.host.read("/etc/systemd/system/weft-docker.service")


def test_a_life(ground: Ground) -> None:
    """Networks made, containers run, published, resolved, connected, disconnected, restarted, removed."""
    before = snapshot(ground.host)
    ground.do("network", "create", *DRIVER, "--subnet", "10.99.0.0/24", "one")
    ground.do("network", "create", *DRIVER, "two")
    ground.start("web", "one", "-p", "8081:80", "-p", "127.0.0.1:9000-9005:80")
    assert "10.99.0.2/24" in ground.inside("web")
    assert ground.once("one", *PING, "web").count("1 received") == 1
    ground.once("one", *PING, Lan.FAR)
    assert ground.page("http://127.0.0.1:8081/") == ground.page("http://127.0.0.1:9000/") == "web"
    assert ground.lan.fetch(f"http://{Lan.HOST}:8081/").body == "web"
    assert not ground.lan.fetch(f"http://{Lan.HOST}:9000/").ok, "published on 127.0.0.1 alone"

    ground.start("other", "two")
    (address,) = ground.known()["docker:other"]["networks"].values()
    target = address["addresses"][0].partition("/")[0]
    assert "0 received" in ground.host.run(["docker", "exec", "web", *PING, target], check=False).stdout, (
        "networks are apart"
    )
    ground.do("network", "connect", "two", "web")
    ground.do("exec", "web", *PING, "other")
    assert len(ground.known()["docker:web"]["networks"]) == 2
    ground.do("network", "disconnect", "one", "web")
    assert "10.99.0" not in ground.inside("web")
    assert ground.page("http://127.0.0.1:8081/") == "web", "its ports are where its way out is"
    ground.do("network", "connect", "one", "web")
    ground.do("restart", "-t", "0", "web")
    assert ground.page("http://127.0.0.1:8081/") == "web"
    assert settle(ground.host, lambda: set(ground.known()) == {"docker:web", "docker:other"})

    ground.do("rm", "-f", "web", "other")
    assert ground.known() == {}
    ground.do("network", "rm", "one", "two")
    ground.host.ip("netns", "del", "web")
    ground.host.ip("netns", "del", "other")
    assert [n["name"] for n in ground.host.weft_json("net", "ls")] == ["warm"]
    assert ground.differs(before) == []


def test_one_network_of_both(ground: Ground) -> None:
    """Docker's and weft's containers side by side: by name, by address, IPv6 too; addresses never clash."""
    host = ground.host
    host.weft("net", "create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd00:5::/64")
    subnets = ("--ipv6", "--subnet", "10.5.0.0/24", "--subnet", "fd00:5::/64")
    ground.do("network", "create", *DRIVER, *subnets, "-o", "weft.network=blue", "blue")
    ground.start("web", "blue", "-p", "8082:80")
    host.weft("run", "-d", "--name", "own", "--network", "blue", "--", "sleep", "1000")
    assert settle(host, lambda: host.weft("exec", "own", "--", *PING, "web", check=False).returncode == 0)
    assert host.weft("exec", "own", "--", "ping", "-6", "-c1", "-W2", "web").returncode == 0
    (mine,) = [e for e in host.weft_json("net", "inspect", "blue")[0]["endpoints"] if e["container"] == "own"]
    for address in mine["addresses"]:
        ground.do("exec", "web", *PING, address.partition("/")[0])
    assert ground.page("http://127.0.0.1:8082/") == ground.page("http://[::1]:8082/") == "web"
    assert ground.page("http://[fd00:5::2]/") == "web"
    taken = {
        a.partition("/")[0]
        for e in host.weft_json("net", "inspect", "blue")[0]["endpoints"]
        for a in e["addresses"]
    }
    said = ground.do(
        "run", "--rm", "--network", "blue", "--ip", sorted(taken)[1], "tiny", "true", check=False
    )
    assert "is taken by" in said
    cable = next(
        e["host_ifname"]
        for e in host.weft_json("net", "inspect", "blue")[0]["endpoints"]
        if e["container"] == "docker:web"
    )
    assert host.weft_json("link", "whose", cable)["owner"] == "container docker:web"
    assert "8082" in host.weft("port", "docker:web").stdout
    host.weft("net", "disconnect", "blue", "docker:web")
    assert "10.5.0" not in ground.inside("web")
    ground.do("rm", "-f", "web")
    ground.do("network", "rm", "blue")
    assert [e["container"] for e in host.weft_json("net", "inspect", "blue")[0]["endpoints"]] == ["own"]


def test_forty_at_once(ground: Ground) -> None:
    before = snapshot(ground.host)
    ground.do("network", "create", *DRIVER, "many")
    failed: list[str] = []

    def start(n: int) -> None:
        words = [
            "docker",
            "run",
            "-d",
            "--name",
            f"m{n}",
            "--network",
            "many",
            *SHARED,
            "tiny",
            "/usr/bin/sleep",
            "1000",
        ]
        done = ground.host.run(words, check=False, timeout=300)
        failed.extend([done.stderr] if done.returncode else [])

    threads = [threading.Thread(target=start, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    rows = ground.known().values()
    addresses = [m["addresses"][0] for row in rows for m in row["networks"].values()]
    assert len(set(addresses)) == 40
    assert settle(ground.host, lambda: {f"docker:m{n}" for n in range(40)} == set(ground.known()), 30)
    for n in (0, 17, 39):
        ground.do("exec", "m1", *PING, f"m{n}")
    ground.do("rm", "-f", *[f"m{n}" for n in range(40)])
    ground.do("network", "rm", "many")
    assert ground.differs(before) == []


def test_dockerd_is_killed(ground: Ground) -> None:
    """It comes back to its networks, and asks for its addresses again; what ran is cleaned up."""
    host = ground.host
    ground.do("network", "create", *DRIVER, "--subnet", "10.99.0.0/24", "one")
    ground.start("web", "one", "-p", "8081:80")
    ground.start("still", "one", "--ip", "10.99.0.77")
    for _ in range(2):
        host.sh("kill -9 $(pidof dockerd)")
        ground.docker.process.wait(10)
        ground.docker.process.end()
        ground.docker.start()
        ground.do("start", "web", "still")
        assert ground.page("http://127.0.0.1:8081/") == "web"
        assert "10.99.0.77/24" in ground.inside("still")
        assert settle(host, lambda: set(ground.known()) == {"docker:web", "docker:still"})
    ground.do("rm", "-f", "web", "still")
    ground.do("network", "rm", "one")
    assert ground.known() == {}
    assert [n["name"] for n in host.weft_json("net", "ls")] == ["warm"]


def test_dockerd_is_killed_while_containers_start(ground: Ground) -> None:
    """At any point: afterwards all of it can be removed, and nothing is left."""
    host = ground.host
    ground.do("network", "create", *DRIVER, "--subnet", "10.99.0.0/24", "one")
    ground.once("one", "/usr/bin/true")
    before = snapshot(host)
    for n in range(6):
        words = [
            "docker",
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "one",
            *SHARED,
            "tiny",
            "/usr/bin/sleep",
            "1000",
        ]
        client = host.popen(words)
        log = len(host.read(ground.docker.log))
        settle(host, lambda: len(ground.known()) > 0, 0.05 * n)
        host.sh("kill -9 $(pidof dockerd)")
        ground.docker.process.wait(10)
        ground.docker.process.end()
        client.wait(60)
        ground.docker.start()
        host.run(["docker", "rm", "-f", "web"], check=False)
        assert settle(host, lambda: ground.known() == {}, 10), (n, host.read(ground.docker.log)[log:])
    host.weft("gc")
    assert ground.differs(before) == []


def test_weft_is_killed(ground: Ground) -> None:
    """Its networks stand without it; while it is gone dockerd waits, and goes on when it is back."""
    host = ground.host
    ground.do("network", "create", *DRIVER, "one")
    ground.start("web", "one", "-p", "8081:80")
    ground.service.kill()
    ground.service.wait()
    assert ground.page("http://127.0.0.1:8081/") == "web"
    second = host.popen(["docker", "run", "--rm", "--network", "one", *SHARED, "tiny", *PING, "web"])
    assert not settle(host, lambda: second.poll() is not None, 0.5)
    ground.service = ground.serve()
    assert second.wait(60) == 0
    ground.do("rm", "-f", "web")
    ground.do("network", "rm", "one")


def test_what_docker_is_told(ground: Ground) -> None:
    """Refusals reach the user as weft says them, and leave nothing."""
    ground.do("network", "create", *DRIVER, "--subnet", "10.99.0.0/24", "one")
    ground.once("one", "/usr/bin/true")  # the bridge has had a port
    before = snapshot(ground.host)
    for words, said in (
        (("network", "create", *DRIVER, "--subnet", "10.99.0.0/16", "x"), "overlaps 10.99.0.0/24"),
        (("network", "create", *DRIVER, "--subnet", "10.1.0.0/24", "x"), "network warm"),
        (("network", "create", *DRIVER, "-o", "nonsense=1", "x"), "'nonsense' is not known"),
        (
            ("network", "create", *DRIVER, "-o", "weft.network=warm", "--subnet", "10.3.0.0/24", "x"),
            "10.1.0.0/24",
        ),
        (("run", "--rm", "--network", "one", "-p", "80:80/sctp", "tiny", "true"), "SCTP"),
        (("run", "--rm", "--network", "one", "--ip", "10.99.0.1", "tiny", "true"), "gateway"),
    ):
        assert said in ground.do(*words, check=False), words
    assert ground.differs(before) == []
    assert json.loads(ground.do("network", "inspect", "one"))[0]["Driver"] == "weft"
