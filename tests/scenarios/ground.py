"""The ground of the bridge network's stories: a host with an uplink, two networks, three containers.

    blue 192.168.10.0/24   ns1 .11 (published ports, hostname alpha, alias www), ns2 .12 (nothing published)
    red  10.7.0.0/24       far .2  (one published port)
    LAN  203.0.113.0/24    the host .1, its neighbour "box" .2, which is 198.51.100.1 too

Containers have no process but the small servers that are started in them. Every server's text says who it
is, so that an answer from the wrong place is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self

from harness import Host, Lan, Page, Process
from harness.host import PYTHON, REPO
from scenarios import packets

FRAMES = str(REPO / "tests/scenarios/frames.py")
BLUE, RED = "192.168.10.1", "10.7.0.1"
NS1, NS2, FAR = "192.168.10.11", "192.168.10.12", "10.7.0.2"
HOST, BOX, INTERNET = Lan.HOST, Lan.BOX, Lan.FAR
BRIDGES = {"blue": "lxcbr0", "red": "redbr"}
PORTS = (
    *("8080:80", "0.0.0.0:8081:80", f"{HOST}:8082:80", "0.0.0.0:9100-9102:100-102"),
    *("0.0.0.0:5301:53/udp", "5302:53/udp", f"{HOST}:5303:53/udp"),
)
SERVERS = (
    *(("ns1", 80, "http"), ("ns1", 100, "http"), ("ns1", 101, "http"), ("ns1", 102, "http")),
    *(("ns1", 8888, "http"), ("ns1", 53, "udp"), ("ns2", 80, "http"), ("far", 80, "http")),
)


class Member(NamedTuple):
    """What a test needs to forge a container's frames."""

    name: str
    address: str
    mac: str
    host_ifname: str


class Ground:
    def __init__(self, bridge_nf: int) -> None:
        self.bridge_nf = bridge_nf
        self.host = Host(bridge_nf=bridge_nf)
        try:
            self.lan = Lan(self.host)
            self.remarks = self._build()
            self._serve()
            self.members = {name: self._member(name) for name in ("ns1", "ns2", "far")}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if hasattr(self, "lan"):
            self.lan.close()
        self.host.close()

    def _build(self) -> str:
        """The networks and containers; what the first command remarked."""
        weft = self.host.weft
        blue = ("--subnet", "192.168.10.0/24", "--gateway", BLUE, "--bridge", BRIDGES["blue"])
        said = weft("net", "create", "blue", *blue).stderr
        weft("net", "create", "red", "--subnet", "10.7.0.0/24", "--bridge", BRIDGES["red"])
        ports = [word for port in PORTS for word in ("-p", port)]
        names = ("--hostname", "alpha", "--dns", "8.8.8.8", "--dns-search", "example.org")
        weft("run", "--name", "ns1", "--network", f"blue:ip={NS1},alias=www", *names, *ports)
        weft("run", "--name", "ns2", "--network", f"blue:ip={NS2}")
        weft("run", "--name", "far", "--network", f"red:ip={FAR}", "-p", "0.0.0.0:8090:80")
        return said

    def _serve(self) -> None:
        for name, port, kind in SERVERS:
            self.host.serve(port, name, netns=name, kind=kind)
        self.host.serve(9999, "host")
        self.host.serve(9998, "host", kind="udp", address=HOST)
        self.host.serve(53, "host", address=BLUE)
        self.host.serve(53, "host", address=BLUE, kind="udp")
        self.lan.serve(80, "box")
        self.lan.serve(53, "box", kind="udp")

    def _member(self, name: str) -> Member:
        (found,) = self.host.weft_json("inspect", name)
        (net,) = found["networks"].values()
        return Member(name, net["addresses"][0].partition("/")[0], net["mac"], net["host_ifname"])

    # -- who asks: "host", "lan", or a container

    def fetch(self, who: str, url: str, timeout: float = 5) -> Page:
        if who == "lan":
            return self.lan.fetch(url, timeout=timeout)
        return self.host.fetch(url, netns=None if who == "host" else who, timeout=timeout)

    def ask_udp(self, who: str, address: str, port: int, timeout: float = 5) -> Page:
        machine = self.lan.box if who == "lan" else self.host
        return machine.ask_udp(address, port, netns=None if who in ("host", "lan") else who, timeout=timeout)

    def inside(self, name: str, *command: str, check: bool = True) -> str:
        """What a command says that runs in a container, with the container's view of names."""
        return self.host.weft("exec", name, "--", *command, check=check).stdout

    # -- raw frames

    @contextmanager
    def catching(self, where: str, ifname: str = "eth0", how: str = "catch") -> Iterator[Process]:
        """Labels of the frames that an interface gets, from now on. ``where`` as ``fetch`` has it, ``how`` as
        frames.py."""
        machine = self.lan.box if where == "lan" else self.host
        netns = None if where in ("host", "lan") else where
        process = machine.popen([*PYTHON, FRAMES, how, ifname], netns=netns)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.end()
            machine.processes.remove(process)

    def send(self, who: str, *frames: bytes, ifname: str = "eth0") -> None:
        machine = self.lan.box if who == "lan" else self.host
        argv = [*PYTHON, FRAMES, "send", ifname, *[frame.hex() for frame in frames]]
        machine.run(argv, netns=None if who in ("host", "lan") else who)

    def arrives(self, sender: str, frame: bytes, where: str, end: bytes, ifname: str = "eth0") -> bool:
        """Whether a frame of ``sender`` labelled ``probe`` comes to an interface; ``end`` surely does."""
        with self.catching(where, ifname) as catcher:
            self.send(sender, frame, end)
            assert catcher.stdout
            labels = catcher.communicate(timeout=20)[0].split()
        assert labels[-1] == "end", labels
        return "probe" in labels

    def honest(self, name: str, target: str = "255.255.255.255", to: str = packets.BROADCAST) -> bytes:
        """A container's own frame, which no guard refuses: it ends a catch."""
        one = self.members[name]
        return packets.ether(one.mac, packets.IPV4, packets.udp4(one.address, target, "end"), to=to)

    # -- guards taken away, and put back

    @contextmanager
    def without_rules(self, doomed: Sequence[tuple[str, str, int]]) -> Iterator[None]:
        """The same firewall less some rules: (family, chain, position). All come back, in their places."""
        import json

        chains = {(family, chain) for family, chain, _ in doomed}
        handles = {}
        for family, chain in chains:
            listed = json.loads(self.host.nft("-j", "-a", "list", "chain", family, "weft", chain))
            rules = [part["rule"]["handle"] for part in listed["nftables"] if "rule" in part]
            handles[family, chain] = rules
        try:
            for family, chain, position in doomed:
                handle = str(handles[family, chain][position])
                self.host.nft("delete", "rule", family, "weft", chain, "handle", handle)
            yield
        finally:
            self.host.nft("".join(restored(family, chain) for family, chain in chains))

    @contextmanager
    def without_routing_guard(self) -> Iterator[None]:
        """No `ip rule` of weft's in either family: what remains is nftables alone."""
        found = [(v, line.split()) for v in ("-4", "-6") for line in self.host.ip(v, "rule").splitlines()]
        rules = [(v, f"pref {w[0].rstrip(':')} {' '.join(w[3:])}\n") for v, w in found if "iif" in w]
        assert rules
        self.host.sh("".join(f"ip {v} rule del {rule}" for v, rule in rules))
        try:
            yield
        finally:
            self.host.sh("".join(f"ip {v} rule add {rule}" for v, rule in rules))


def restored(family: str, chain: str) -> str:
    """The script that gives a chain all of its rules again."""
    from weft.core.firewall import tables

    chains = tables.bridge_chains() if family == "bridge" else tables.inet_chains()
    (spec,) = [one for one in chains if one.name == chain]
    lines = [f"add rule {family} weft {chain} {rule.text}\n" for rule in spec.rules]
    return f"flush chain {family} weft {chain}\n" + "".join(lines)
