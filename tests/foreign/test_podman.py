"""Podman itself on weft-netavark, set up as docs/podman.md says it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import REPO, Host, Lan, differences, settle, snapshot

pytestmark = pytest.mark.campaign

PAGE = (REPO / "docs/podman.md").read_text()
TOOLS = "sh ip ping sleep httpd wget cat nslookup"
#: This kernel's cgroups are hybrid, which crun refuses: hence without.
ENGINE = "podman --root /run/pod/root --runroot /run/pod/run --storage-driver vfs --cgroup-manager cgroupfs"
RUN = ("--cgroups=disabled", "--cap-add=NET_RAW", "--rootfs")
ROOT = "/run/rootfs"


class Podman:
    def __init__(self, host: Host) -> None:
        self.host = host

    def __call__(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        return self.run(*words, check=check, timeout=timeout).stdout.strip()

    def run(self, *words: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        line = [*ENGINE.split(), "--runtime", "crun", *words]
        return self.host.run(line, check=check, timeout=timeout)

    def start(self, name: str, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A container with a page that says its name."""
        page = (
            f"mkdir -p /tmp/{name}; echo {name} >/tmp/{name}/index.html; exec httpd -f -p 80 -h /tmp/{name}"
        )
        return self.run("run", "-d", "--name", name, *flags, *RUN, ROOT, "/bin/sh", "-c", page, check=check)


def block(kind: str) -> str:
    """A block of the page, as it stands."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE, re.S | re.M)
    assert found, kind
    return found[1]


@pytest.fixture
def podman(lan: Lan) -> Iterator[Podman]:
    host = lan.host
    host.sh(
        "mount -t tmpfs tmpfs /usr/local\n"
        "mkdir -p /usr/local/bin /etc/containers\n"
        f"ln -s {REPO}/weft /usr/local/bin/weft\n"
        "while mountpoint -q /sys/fs/cgroup/unified; do umount /sys/fs/cgroup/unified; done\n"
        f"mkdir -p {' '.join([f'{ROOT}/{d}' for d in 'bin etc proc sys dev tmp'.split()])}\n"
        f"cp /bin/busybox {ROOT}/bin/\n"
        + "".join([f"ln -s busybox {ROOT}/bin/{tool}\n" for tool in TOOLS.split()])
    )
    host.write("/etc/containers/containers.conf", block("toml"))
    host.sh(block("sh"))
    found = Podman(host)
    found(
        "run", "--rm", "--name", "first", "--network", "podman", "-p", "7000:80", *RUN, ROOT, "/bin/ip", "a"
    )
    yield found
    found("rm", "-f", "-t0", "-a", check=False)


def on(podman: Podman, url: str) -> str:
    return podman.host.fetch(url).body.strip()


def test_the_page_is_five_lines() -> None:
    assert len(block("toml").splitlines()) == 5


def test_a_life(podman: Podman, lan: Lan) -> None:
    host = podman.host
    assert "networkBackend: netavark" in podman("info")
    before = snapshot(host)
    podman.start("web", "--network", "podman", "-p", "8080:80")
    podman.start("db", "--network", "podman")
    for url in ("http://127.0.0.1:8080", "http://203.0.113.1:8080", "http://[::1]:8080"):
        assert on(podman, url) == "web", url
    assert lan.fetch("http://203.0.113.1:8080").body.strip() == "web"
    assert {row["name"] for row in host.weft_json("ps", "-a")} == {"podman:web", "podman:db"}
    podman("exec", "web", "ping", "-c1", "-W2", lan.FAR)
    podman("restart", "-t0", "web")
    assert settle(host, lambda: on(podman, "http://127.0.0.1:8080") == "web")
    host.nft("flush", "ruleset")
    host.weft("repair")
    assert on(podman, "http://203.0.113.1:8080") == "web"
    podman("network", "reload", "web")
    assert on(podman, "http://127.0.0.1:8080") == "web"
    podman("rm", "-f", "-t0", "web", "db")
    assert [line for line in differences(host, before) if "/run/pod" not in line] == []


def test_networks(podman: Podman) -> None:
    host = podman.host
    podman("network", "create", "one")
    podman("network", "create", "--ipv6", "--internal", "two")
    podman("network", "create", "-d", "macvlan", "-o", "parent=eth-up", "--subnet", "203.0.113.0/24", "wire")
    podman.start("web", "--network", "one", "-p", "8080:80")
    podman("network", "connect", "--alias", "shop", "two", "web")
    podman.start("other", "--network", "two")
    (row,) = [r for r in host.weft_json("ps", "-a") if r["name"] == "podman:web"]
    assert set(row["networks"]) == {"one", "two"}
    six = next(a for a in row["networks"]["two"]["addresses"] if ":" in a).partition("/")[0]
    podman("exec", "other", "ping", "-c1", "-W2", six)
    podman("network", "disconnect", "one", "web")
    assert not host.fetch("http://203.0.113.1:8080").ok, "the other network is internal"
    podman("network", "connect", "one", "web")
    assert on(podman, "http://203.0.113.1:8080") == "web"
    podman.start("lan", "--network", "wire", "--ip", "203.0.113.60")
    assert "macvlan" in json.dumps(host.weft_json("net", "inspect", "wire"))
    podman("rm", "-f", "-t0", "-a")
    assert host.weft("net", "ls", "-q").stdout == ""
    podman("network", "rm", "one", "two", "wire")


def test_names(podman: Podman) -> None:
    """Podman's own network answers names by `weft dns`: of Podman's containers and of weft's."""
    host = podman.host
    podman("network", "create", "one")
    podman("network", "create", "--internal", "two")
    podman.start("web", "--network", "one", "--network-alias", "shop")
    podman.start("db", "--network", "one")
    host.weft("run", "-d", "--name", "own", "--network", "one", "--", "sleep", "600")
    for name in ("web", "shop", "web.dns.podman", podman("inspect", "-f", "{{.Id}}", "web")[:12]):
        assert podman("exec", "db", "wget", "-qO-", f"http://{name}/") == "web", name
    assert "own" in podman("exec", "db", "nslookup", "own")
    podman("network", "connect", "two", "web")
    podman.start("in", "--network", "two")
    assert podman("exec", "in", "wget", "-qO-", "http://web/") == "web"
    lost = podman.run("exec", "in", "wget", "-qO-", "-T2", "http://db/", check=False)
    assert lost.returncode != 0, "that one is in another network"
    podman("network", "disconnect", "one", "web")
    gone = podman.run("exec", "db", "wget", "-qO-", "-T2", "http://web/", check=False)
    assert gone.returncode != 0
    podman("restart", "-t0", "web")
    assert podman("exec", "in", "wget", "-qO-", "http://web/") == "web"
    host.weft("rm", "-f", "own")
    podman("rm", "-f", "-t0", "-a")
    assert host.weft("net", "ls", "-q").stdout == ""


def test_one_host(podman: Podman) -> None:
    """weft's own container in Podman's network, which reaches Podman's by name; a port is given once."""
    host = podman.host
    podman.start("web", "--network", "podman", "-p", "8080:80")
    host.weft(
        "run", "-d", "--name", "own", "--network", "podman", "-p", "0.0.0.0:9090:90", "--", "sleep", "600"
    )
    assert "web" in host.weft("exec", "own", "curl", "-s", "http://web/").stdout
    refused = podman.start("late", "--network", "podman", "-p", "9090:80", check=False)
    assert refused.returncode != 0 and "9090" in refused.stderr
    podman("rm", "-f", "-t0", "late", check=False)
    podman("rm", "-f", "-t0", "web")
    assert host.weft("net", "ls", "-q").stdout == "podman\n"
    host.weft("rm", "-f", "own")


def test_killed_in_between(podman: Podman) -> None:
    """Podman is killed at any moment of its start; what it then removes leaves nothing."""
    host = podman.host
    before = snapshot(host)
    for hundredths in (6, 10, 14, 18, 22):
        line = [*ENGINE.split(), "--runtime", "crun", "run", "-d", "--name", "k", "--network", "podman"]
        line += ["-p", "8080:80", *RUN, ROOT, "/bin/sleep", "600"]
        host.run(["timeout", "-s", "KILL", f"0.{hundredths:02}", *line], check=False)
        podman("rm", "-f", "-t0", "k", check=False)
        host.weft("gc")
    podman.start("k", "--network", "podman", "-p", "8080:80")
    assert on(podman, "http://127.0.0.1:8080") == "k"
    podman("rm", "-f", "-t0", "k")
    left = [
        d for d in differences(host, before) if not any(w in d for w in ("/run/pod", "/run/netns", "netns-"))
    ]
    assert left == []


def test_forty_at_once(podman: Podman) -> None:
    host = podman.host
    numbers = range(40)
    with ThreadPoolExecutor(len(numbers)) as pool:
        done = list(
            pool.map(
                lambda n: podman.run(
                    *("run", "-d", "--name", f"m{n}", "--network", "podman", "-p", f"{9000 + n}:80"),
                    *(*RUN, ROOT, "/bin/sleep", "600"),
                    check=False,
                    timeout=300,
                ),
                numbers,
            )
        )
    assert [d.stderr for d in done if d.returncode] == []
    assert len(host.weft_json("ps", "-a")) == len(numbers)
    podman("rm", "-f", "-t0", "-a", timeout=300)
    assert host.weft("ps", "-aq").stdout == host.weft("net", "ls", "-q").stdout == ""
