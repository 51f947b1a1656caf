"""Containers of all engines in one network (docs/one-network.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from foreign.daemons import Docker, needs
from foreign.test_podman import ENGINE
from frontends.cni import runtime
from frontends.cni.test_engines import SOCKET, containerd
from harness import REPO, Lan, Snapshot, settle, snapshot
from harness.snapshot import diff
from scenarios.bundles import CGROUP, bundle, config, sweep
from scenarios.life import WEFT

pytestmark = pytest.mark.campaign

PAGE = (REPO / "docs/one-network.md").read_text()
BIN, BOX = "/run/bin", "/run/box"
PATH = {"PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
TOOLS = "sh ip ping sleep httpd wget cat nslookup mkdir true"
SERVE = "#!/bin/sh\nmkdir -p /tmp/$1; echo $1 >/tmp/$1/index.html; exec httpd -f -p 80 -h /tmp/$1\n"
#: What stands in for a set-up machine: each engine's state in the throw-away one's memory.
PODMAN = f"""#!/bin/sh
[ "$1" != run ] || {{ shift; set -- run --cgroups=disabled --cap-add=NET_RAW "$@"; }}
exec /usr/bin/{ENGINE} --runtime crun "$@"
"""
CTR = f"""#!/bin/sh
[ "$1" != run ] || {{ shift; set -- run --cgroup /{CGROUP}/ctd "$@"; }}
exec /usr/bin/ctr -a {SOCKET} "$@"
"""
#: Engine's name of each container, and where it is published.
MEMBERS = {
    "own": ("own", 8080),
    "pod": ("podman:pod", 8081),
    "dock": ("docker:dock", 8082),
    "ctd": ("cni:default-ctd", 8083),
    "bare": ("runc:bare", 8084),
    "plain": ("netns:plain", 8085),
}
INSIDE: dict[str, tuple[str, ...]] = {
    "own": ("weft", "exec", "own", "--"),
    "pod": ("podman", "exec", "pod"),
    "dock": ("docker", "exec", "dock"),
    "ctd": ("ctr", "task", "exec", "--exec-id", "x", "ctd", "/bin/busybox"),
    "bare": ("runc", "exec", "bare"),
    "plain": ("ip", "netns", "exec", "plain", "busybox"),
}


#: The first name server of each, as its engine writes it; the page's table.
SERVERS = {name: "127.0.0.11" if name == "dock" else "10.5.0.1" for name in MEMBERS}


def blocks(kind: str) -> list[str]:
    """The page's, as they stand."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.S | re.M)


class Ground:
    """A host with an uplink, all the engines as their pages set them up, and the page's network."""

    def __init__(self, lan: Lan) -> None:
        needs("dockerd", "docker", "podman", "crun", "runc", "containerd", "ctr")
        self.lan, self.host = lan, lan.host
        self._furnish()
        self.service = self.host.popen([WEFT, "serve", "--docker"])
        assert self.service.stdout and self.service.stdout.readline().startswith("ready: ")
        plain = ("--bridge=none", "--iptables=false", "--ip6tables=false")
        self.docker = Docker(self.host, *plain)
        self.containerd = containerd(self.host)
        self.type(f"cd {BOX} && tar c . | docker import - box")
        network, self.containers, self.removal = blocks("sh")
        self.type(network)
        conf, notes = blocks("json")
        self.host.write("/etc/cni/net.d/10-blue.conflist", conf)
        self.notes: dict[str, str] = json.loads(notes)
        # Helpers that stay, and a bridge that has had ports.
        self.type(
            "weft run --rm --network blue -p 0.0.0.0:8099:80 -- true\n"
            f"podman run --rm --network blue --rootfs {BOX} true\n"
        )

    def _furnish(self) -> None:
        """A root of busybox, the engines' helpers, and wrappers for this machine's places and cgroups."""
        host = self.host
        host.sh(
            "mount -t tmpfs tmpfs /usr/local\nmount -t tmpfs tmpfs /opt\nrm -rf /etc/cni /etc/netns/*\n"
            f"mkdir -p /opt/cni /etc/cni/net.d /usr/local/bin /usr/local/libexec/weft {BIN}\n"
            f"ln -s {runtime.OWN} /opt/cni/bin\nln -s {WEFT} /usr/local/bin/weft\n"
            f"ln -s {WEFT} /usr/local/libexec/weft/netavark\n"
            f"ln -s {WEFT} /usr/local/libexec/weft/aardvark-dns\n"
            "while mountpoint -q /sys/fs/cgroup/unified; do umount /sys/fs/cgroup/unified; done\n"
            f"mkdir -p {' '.join([f'{BOX}/{d}' for d in 'bin etc proc sys dev tmp root'.split()])}\n"
            f"cp /bin/busybox {BOX}/bin/\ntouch {BOX}/etc/resolv.conf {BOX}/etc/hosts\n"
            + "".join([f"ln -s busybox {BOX}/bin/{tool}\n" for tool in TOOLS.split()])
        )
        runtime.install(host)
        host.write(f"{BOX}/bin/serve", SERVE, 0o755)
        page = (REPO / "docs/podman.md").read_text()
        host.write("/etc/containers/containers.conf", page.partition("```toml\n")[2].partition("```")[0])
        host.write(f"{BIN}/podman", PODMAN, 0o755)
        host.write(f"{BIN}/ctr", CTR, 0o755)

    def type(self, script: str) -> str:
        return self.host.run(["sh", "-e"], input=script, env=PATH, timeout=120).stdout

    def do(self, *words: str) -> Any:
        """A command that may fail."""
        return self.host.run(words, env=PATH, check=False, timeout=120)

    def inside(self, name: str, *words: str) -> Any:
        return self.do(*INSIDE[name], *words)

    def bare(self, name: str, notes: dict[str, str]) -> None:
        """runc's bundle."""
        made = config("/bin/serve", name, id=name, notes=notes, hooks=("createRuntime", "poststop"))
        made["root"]["path"] = BOX
        for allowed in made["process"]["capabilities"].values():
            allowed.append("CAP_NET_BIND_SERVICE")
        kind = {"type": "bind", "source": "/etc/netns/plain/resolv.conf"}
        made["mounts"].append({**kind, "destination": "/etc/resolv.conf", "options": ["bind", "ro"]})
        bundle(self.host, made, name)

    def start(self) -> None:
        """One container of each, as the page says."""
        self.bare("bare", self.notes)
        self.type(self.containers)
        self.host.write("/run/plain/index.html", "plain\n")
        self.host.popen(["busybox", "httpd", "-f", "-p", "80", "-h", "/run/plain"], netns="plain")
        # Docker tells a container's name only when it runs.
        assert settle(self.host, lambda: "docker:dock" in self.addresses()), self.addresses()

    def now(self) -> dict[str, Any]:
        (found,) = self.host.weft_json("net", "inspect", "blue")
        return dict(found)

    def addresses(self) -> dict[str, list[str]]:
        return {
            e["container"]: [a.partition("/")[0] for a in e["addresses"]] for e in self.now()["endpoints"]
        }

    def all_is_well(self) -> None:
        """Each reaches each, in both families, and what is published is reached from near and far."""
        found = self.addresses()
        assert set(found) == {full for full, _ in MEMBERS.values()}
        for one in MEMBERS:
            lost = [
                (full, address)
                for full, theirs in found.items()
                for address in theirs
                if self.inside(one, "ping", "-c1", "-W2", address).returncode
            ]
            assert lost == [], one
        for name, (_, port) in MEMBERS.items():
            for fetch, address in ((self.host.fetch, "127.0.0.1"), (self.lan.fetch, Lan.HOST)):
                url = f"http://{address}:{port}/"
                assert settle(self.host, lambda: fetch(url).body == f"{name}\n"), (url, fetch(url))  # noqa: B023

    def differs(self, before: Snapshot) -> list[str]:
        """What is there that was not, but for what the engines keep for themselves."""
        found: list[str] = []

        def same() -> bool:
            found[:] = [
                line
                for line in diff(before, snapshot(self.host))
                if not any(w in line for w in self.theirs())
            ]
            return not found

        settle(self.host, same, 10)
        return found

    def theirs(self) -> tuple[str, ...]:
        return (self.docker.cgroup, f"/{CGROUP}:", "containerd", "/run/pod")


@pytest.fixture
def ground(lan: Lan) -> Iterator[Ground]:
    made = Ground(lan)
    with made.docker:
        yield made
        made.containerd.end()
    sweep()


def test_neighbours(ground: Ground) -> None:
    """The page: all reach and resolve all, and weft names each; then nothing is left but the network."""
    host = ground.host
    before = snapshot(host)
    ground.start()
    ground.all_is_well()
    for one, server in SERVERS.items():
        said = ground.inside(one, "cat", "/etc/resolv.conf").stdout
        assert f"nameserver {server}" == next(line for line in said.splitlines() if "nameserver" in line), one
        for name, (full, _) in MEMBERS.items():
            asked = "default-ctd" if name == "ctd" else name
            answer = ground.inside(one, "nslookup", asked).stdout
            assert all(f"Address: {a}\n" in answer for a in ground.addresses()[full]), (one, answer)
    for one in MEMBERS:
        answer = ground.inside(one, "nslookup", "own.blue").stdout
        assert all(f"Address: {a}\n" in answer for a in ground.addresses()["own"]), (one, answer)
    rows = {row["name"]: row for row in host.weft_json("ps", "-a")}
    assert set(rows) == set(ground.addresses())
    assert {row["state"] for row in rows.values()} == {"running"}
    assert {n: r["engine"] for n, r in rows.items()} == {n: n.rpartition(":")[0] or "weft" for n in rows}
    for member in ground.now()["endpoints"]:
        said = host.weft_json("link", "whose", member["host_ifname"])
        assert said["owner"] == f"container {member['container']}"
    ports = {p["container"]: p["host_port"] for p in ground.now()["publish"]}
    assert ports == dict(MEMBERS.values())
    ground.type(ground.removal)
    assert ground.now()["endpoints"] == ground.now()["publish"] == host.weft_json("ps", "-a") == []
    assert [n["name"] for n in host.weft_json("net", "ls")] == ["blue"]
    assert ground.differs(before) == []


def test_repair(ground: Ground) -> None:
    """weft mends the networks of all when rules or the bridge are gone; engines notice nothing."""
    host = ground.host
    ground.start()
    ground.all_is_well()
    host.nft("flush", "ruleset")
    assert not ground.lan.fetch(f"http://{Lan.HOST}:8082/").ok
    host.weft("repair")
    ground.all_is_well()
    host.ip("link", "del", ground.now()["bridge"])
    host.weft("repair")
    ground.all_is_well()
    ground.type(ground.removal)


#: How each engine's refusal begins; of CNI the code is looked at.
FORMS = {
    "own": "weft: error: ",
    "pod": "Error: ",
    "dock": "docker: Error response from daemon: ",
    "ctd": "",
    "bare": "time=",
    "plain": "weft: error: ",
}


class Late:
    """One more of each engine, that may want a port or an address: what is said if it is not had."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.cni = runtime.Runtime(ground.host)
        self.list = runtime.whole("blue", "1.0.0")

    def start(self, kind: str, port: int = 0, ip: str = "") -> str:
        """ "" when it runs."""
        self.kind, self.name = kind, f"late-{kind}"
        if kind == "ctd":
            return self._cni(port, ip)
        if kind == "bare":
            notes = {"weft.network": f"blue:ip={ip}" if ip else "blue"}
            self.ground.bare(self.name, {**notes, **({"weft.publish": f"0.0.0.0:{port}:80"} if port else {})})
        if kind == "plain":
            self.ground.host.ip("netns", "add", self.name)
        flags = [*(("--ip", ip) if ip else ()), *(("-p", f"0.0.0.0:{port}:80") if port else ())]
        done = self.ground.do(*self._line(flags))
        said = done.stderr + (self.ground.host.read("/run/late") if kind == "bare" else "")
        return said or "?" if done.returncode else ""

    def _line(self, flags: list[str]) -> list[str]:
        name = self.name
        serve = ["serve", name]
        run = ["run", "-d", "--name", name, "--network", "blue", *flags]
        return {
            "own": ["weft", *run, "--rootfs", BOX, "--", *serve],
            "pod": ["podman", *run, "--rootfs", BOX, *serve],
            "dock": ["docker", *run, "box", *serve],
            "bare": [
                "sh",
                "-c",
                f"exec 2>/run/late; runc run -d --bundle /run/bundles/{name} {name} >/dev/null",
            ],
            "plain": ["weft", "net", "connect", "blue", f"netns:{name}", *flags],
        }[self.kind]

    def _cni(self, port: int, ip: str) -> str:
        wanted: dict[str, Any] = {"ips": [f"{ip}/24"]} if ip else {}
        if port:
            wanted["portMappings"] = [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]
        self.ground.host.ip("netns", "add", self.name)
        try:
            self.cni.add(self.list, self.name, self.name, **wanted)
        except runtime.Failed as failed:
            assert failed.code == 101, failed
            return failed.error
        return ""

    def remove(self, kind: str) -> None:
        name = f"late-{kind}"
        if kind == "ctd":
            self.cni.delete(self.list, name, name)
        if kind in ("plain", "ctd"):
            self.ground.host.ip("netns", "del", name)
            self.ground.host.weft("gc")
            return
        self.ground.do(
            *{
                "own": ("weft", "rm", "-f", name),
                "pod": ("podman", "rm", "-f", "-t0", name),
                "dock": ("docker", "rm", "-f", name),
                "bare": ("runc", "delete", "--force", name),
            }[kind]
        )


def test_nothing_is_given_twice(ground: Ground) -> None:
    """A port or an address of one engine's container is refused to all others, and nothing is left of it."""
    ground.start()
    before, members = snapshot(ground.host), ground.now()
    late = Late(ground)
    for owner, (full, port) in MEMBERS.items():
        address = ground.addresses()[full][0]
        for kind in MEMBERS:
            if kind != owner:
                said = late.start(kind, port=port)
                late.remove(kind)
                assert said.startswith(FORMS[kind]) and f" is published by container {full}" in said, (
                    owner,
                    kind,
                    said,
                )
            said = late.start(kind, ip=address)
            late.remove(kind)
            assert said.startswith(FORMS[kind]) and address in said, (owner, kind, said)
            assert ground.now() == members, (owner, kind)
    assert ground.differs(before) == []
    for kind in MEMBERS:
        assert late.start(kind) == "", kind
    given = [a for theirs in ground.addresses().values() for a in theirs]
    assert len(given) == len(set(given)) == 2 * 2 * len(MEMBERS)
    for kind in MEMBERS:
        late.remove(kind)
    assert ground.now() == members
    ground.all_is_well()


def test_podman_without_a_range_of_its_own(ground: Ground) -> None:
    """It chooses what another has: refused, and the next start has the next address."""
    ground.type(
        "podman network create --subnet 10.6.0.0/24 red\n"
        "weft net create red --subnet 10.6.0.0/24\n"
        "weft run -d --name own --network red --ip 10.6.0.2 --rootfs /run/box -- serve own\n"
    )
    line = ("podman", "run", "-d", "--name", "pod", "--network", "red", "--rootfs", BOX, "serve", "pod")
    refused = ground.do(*line)
    assert "address 10.6.0.2 is taken by container own" in refused.stderr
    ground.do("podman", "rm", "-f", "-t0", "pod")
    assert ground.do(*line).returncode == 0
    assert ground.host.weft_json("inspect", "podman:pod")[0]["networks"]["red"]["addresses"] == [
        "10.6.0.3/24"
    ]
    ground.type("podman rm -f -t0 pod\nweft rm -f own\nweft net rm red\n")
