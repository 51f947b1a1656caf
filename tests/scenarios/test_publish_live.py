"""Ports published and unpublished while a container runs: what answers, what is refused, what is left."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from harness import Host, Lan, Process, diff, settle, snapshot
from harness.host import PYTHON

HOST, HOST6, BOX, BOX6 = Lan.HOST, Lan.HOST6, Lan.BOX, Lan.BOX6
#: Asks by UDP from one port of its own, each time anew: for the host's conntrack it is one client.
SAME_CLIENT = """
import socket, sys
address, port, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
client.bind(("", own))
client.settimeout(float(sys.argv[4]))
client.connect((address, port))
try:
    client.send(b"?")
    print(client.recv(100).split()[0].decode())
except OSError as error:
    print(type(error).__name__)
"""
BINDS = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
sock = socket.socket(family, getattr(socket, sys.argv[1]))
if family == socket.AF_INET6:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
try:
    sock.bind((sys.argv[2], int(sys.argv[3])))
    if sys.argv[1] == "SOCK_STREAM":
        sock.listen()
    print("bound", flush=True)
except OSError as error:
    print(error.errno, flush=True)
sys.stdin.read()
"""


class Ground:
    """A host in a LAN with a network of both families, ``a`` and ``b`` in it, and an internal one."""

    def __init__(self) -> None:
        self.host = Host()
        try:
            self.lan = Lan(self.host)
            weft = self.host.weft
            weft("net", "create", "blue", "--subnet", "192.168.10.0/24", "--subnet", "fd00:10::/64")
            weft("net", "create", "inside", "--subnet", "192.168.11.0/24", "--internal")
            weft("run", "--name", "c", "--network", "inside")
            for name in "ab":
                weft("run", "--name", name, "--network", "blue")
                for port, kind in ((80, "http"), (53, "udp")):
                    self.host.serve(port, name, netns=name, kind=kind, address="::")
            weft("net", "publish", "blue", "a", "1:1")  # what stays once there was a proxy
            weft("net", "unpublish", "blue", "a", "1:1")
            self.clean = snapshot(self.host)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if hasattr(self, "lan"):
            self.lan.close()
        self.host.close()

    def weft(self, line: str, status: int = 0) -> str:
        done = self.host.weft(*line.split(), check=False)
        assert done.returncode == status, (line, done.returncode, done.stdout, done.stderr)
        return done.stdout if not status else done.stderr

    def page(self, who: str, address: str, port: int, timeout: float = 10) -> str:
        machine = self.lan.box if who == "lan" else self.host
        url = f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"
        return machine.fetch(url, netns=None if who in ("host", "lan") else who, timeout=timeout).body

    def ask(self, address: str, port: int, own: int, timeout: float = 5) -> str:
        """Who answers a client of the LAN that always has the same port."""
        argv = [*PYTHON, "-c", SAME_CLIENT, address, str(port), str(own), str(timeout)]
        return self.lan.run(argv).stdout.strip()

    def bind(self, address: str, port: int, kind: str = "SOCK_STREAM") -> tuple[Process, str]:
        """Another program takes a port; ``bound``, or the errno of its refusal."""
        argv = [*PYTHON, "-c", BINDS, kind, address, str(port)]
        process = self.host.popen(argv, stdin=-1)
        assert process.stdout
        return process, process.stdout.readline().strip()

    def elements(self) -> str:
        return self.host.nft("list", "ruleset")


@pytest.fixture(scope="module")
def stage() -> Iterator[Ground]:
    made = Ground()
    yield made
    made.close()


@pytest.fixture
def ground(stage: Ground) -> Iterator[Ground]:
    """After each test all ports are taken back, and nothing of them may be left."""
    yield stage
    for name in "ab":
        for row in stage.host.weft_json("port", name):
            host = f"[{row['host_ip']}]" if ":" in row["host_ip"] else row["host_ip"]
            spec = f"{host}:{row['host_port']}:{row['container_port']}/{row['proto']}"
            stage.weft(f"net unpublish blue {name} {spec}")
    found: list[str] = []

    def clean() -> bool:
        found[:] = diff(stage.clean, snapshot(stage.host))
        return not found

    assert settle(stage.host, clean), found


def test_published_and_taken_back(ground: Ground) -> None:
    assert ground.weft("net publish blue a 0.0.0.0:8080:80 [::]:8080:80") == (
        "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"
    )
    ways = (("lan", HOST), ("lan", HOST6), ("host", "127.0.0.1"), ("host", "::1"), ("b", HOST), ("a", HOST6))
    assert [ground.page(who, address, 8080) for who, address in ways] == ["a"] * len(ways)
    assert ground.weft("port a") == "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"
    ground.weft("net unpublish blue a 0.0.0.0:8080:80")
    assert (ground.page("lan", HOST, 8080), ground.page("lan", HOST6, 8080)) == ("", "a")
    ground.weft("net unpublish blue a [::]:8080:80")
    assert [ground.page(who, address, 8080, 0.5) for who, address in ways] == [""] * len(ways)
    assert ground.weft("port a") == ""


def test_taken_back_as_it_is_printed(ground: Ground) -> None:
    ground.weft("net publish blue a 8080:80 [::1]:8080:80 5353:53/udp 0.0.0.0:9000-9002:90-92")
    for line in ground.weft("port a").splitlines():
        ground.host.weft("net", "unpublish", "blue", "a", line)
    assert ground.weft("port a") == ""


def test_the_remark_on_loopback(ground: Ground) -> None:
    done = ground.host.weft("net", "publish", "blue", "a", "8080:80")
    assert "published on loopback only: 127.0.0.1:8080 -> 80/tcp" in done.stderr
    done = ground.host.weft("net", "publish", "blue", "a", f"{HOST}:8081:80")
    assert done.stderr == ""


def test_a_client_in_the_lan_is_seen_by_its_address(ground: Ground) -> None:
    ground.weft("net publish blue a 0.0.0.0:8080:80 [::]:8080:80")
    seen = [ground.lan.fetch(f"http://{a}:8080/", timeout=10).client for a in (HOST, f"[{HOST6}]")]
    assert seen == [BOX, BOX6]


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("net publish blue nobody 8080:80", 3, "nobody is not in network blue"),
        ("net publish green a 8080:80", 3, "no network 'green'"),
        ("net publish inside a 8080:80", 3, "a is not in network inside"),
        ("net publish inside c 8080:80", 2, "network inside is internal"),
        ("net publish blue a 8080:80/sctp", 2, "SCTP is not served"),
        ("net publish blue a ::1:8080:80", 2, "malformed"),
        ("net publish blue a 203.0.113.77:8080:80", 2, "not an address of this host"),
        ("net publish blue a [2001:db8::77]:8080:80", 2, "not an address of this host"),
        ("net publish blue a [fe80::77]:8080:80", 2, "link-local"),
        ("net publish blue a [::ffff:203.0.113.1]:8080:80", 2, "cannot be bound"),
        ("net publish blue a 8080:80 8080:81", 4, "8080/tcp on 127.0.0.1 is published by"),
        ("net unpublish blue a 8080:80", 3, "container a does not publish 8080:80"),
        ("net unpublish blue nobody 8080:80", 3, "nobody is not in network blue"),
    ],
)
def test_what_is_refused_leaves_nothing(ground: Ground, line: str, status: int, said: str) -> None:
    assert said in ground.weft(line, status)


def test_a_port_of_another_container(ground: Ground) -> None:
    ground.weft(f"net publish blue a 0.0.0.0:8080:80 {HOST}:8081:80 [::1]:8082:80")
    before = snapshot(ground.host)
    for spec in ("8080:80", f"{HOST}:8080:80", "0.0.0.0:8081:80", "[::]:8082:80"):
        assert "is published by container a" in ground.weft(f"net publish blue b 0.0.0.0:7000:80 {spec}", 4)
    assert diff(before, snapshot(ground.host)) == []
    ground.weft("net publish blue b [::]:8080:80 8081:80 8082:80")
    assert [ground.page("host", a, 8080) for a in ("127.0.0.1", "::1")] == ["a", "b"]


@pytest.mark.parametrize(
    ("address", "spec"),
    [
        ("0.0.0.0", "0.0.0.0:7000:80"),
        ("127.0.0.1", "0.0.0.0:7000:80"),
        (HOST, "0.0.0.0:7000:80"),
        ("0.0.0.0", "7000:80"),
        ("0.0.0.0", f"{HOST}:7000:80"),
        ("::", "[::]:7000:80"),
        ("::1", "[::]:7000:80"),
        ("::", f"[{HOST6}]:7000:80"),
    ],
)
@pytest.mark.parametrize("proxied", [False, True])
def test_a_port_of_another_program(ground: Ground, address: str, spec: str, proxied: bool) -> None:
    """Exit 4, and of the other ports of the command nothing is left either."""
    if proxied:
        ground.weft("net publish blue b 1000:80")
    before = snapshot(ground.host)
    for kind, suffix in (("SOCK_STREAM", ""), ("SOCK_DGRAM", "/udp")):
        other, said = ground.bind(address, 7000, kind)
        assert said == "bound"
        line = f"net publish blue a 0.0.0.0:7001:80 {spec}{suffix}"
        assert "is taken by another program" in ground.weft(line, 4)
        other.end()
    assert ground.weft("port a") == ""
    assert diff(before, snapshot(ground.host)) == []
    ground.weft(f"net publish blue a {spec}")


def test_other_programs_cannot_take_what_is_published(ground: Ground) -> None:
    ports = (
        *(("0.0.0.0:7000:80", "0.0.0.0"), ("0.0.0.0:7000:80", "127.0.0.1"), (f"{HOST}:7000:80", HOST)),
        *(("[::]:7000:80", "::"), ("[::]:7000:80", "::1"), (f"[{HOST6}]:7000:80", HOST6)),
    )
    ground.weft("net publish blue b 1000:80")
    for spec, address in ports:
        for kind, proto in (("SOCK_STREAM", "tcp"), ("SOCK_DGRAM", "udp")):
            ground.weft(f"net publish blue a {spec}/{proto}")
            held, said = ground.bind(address, 7000, kind)
            held.end()
            assert said == "98", (spec, proto, address)  # EADDRINUSE
            ground.weft(f"net unpublish blue a {spec}/{proto}")
            free, said = ground.bind(address, 7000, kind)
            free.end()
            assert said == "bound", (spec, proto, address)


def test_ports_that_weft_chooses(ground: Ground) -> None:
    said = ground.weft("net publish blue a 80 0.0.0.0::80 [::1]::80 127.0.0.1::53/udp")
    low, high = map(int, ground.host.sysctl("net.ipv4.ip_local_port_range").split())
    ports = [int(line.rpartition(":")[2]) for line in said.splitlines()]
    assert all(low <= port <= high for port in ports)
    assert ground.page("host", "127.0.0.1", ports[0]) == ground.page("lan", HOST, ports[1]) == "a"
    assert ground.page("host", "::1", ports[2]) == "a"
    assert ground.host.ask_udp("127.0.0.1", ports[3]).body == "a"


def test_the_first_that_is_free_of_a_range(ground: Ground) -> None:
    other, said = ground.bind("0.0.0.0", 9001)
    assert said == "bound"
    before = ground.host.sysctl("net.ipv4.ip_local_reserved_ports")
    ground.host.sysctl("net.ipv4.ip_local_reserved_ports", "9003")
    try:
        spec = "0.0.0.0:9000-9004:80"
        chosen = [ground.weft(f"net publish blue {name} {spec}").strip() for name in "aba"]
        assert chosen == [f"80/tcp -> 0.0.0.0:{port}" for port in (9000, 9002, 9004)]
        assert "no port from 9000 to 9004 is free" in ground.weft(f"net publish blue b {spec}", 4)
        assert [ground.page("lan", HOST, port) for port in (9000, 9002, 9004)] == ["a", "b", "a"]
        ground.weft(f"net unpublish blue b {spec}")
        assert ground.weft(f"net publish blue a {spec}") == "80/tcp -> 0.0.0.0:9002\n"
    finally:
        other.end()
        ground.host.run(["sysctl", "-qw", f"net.ipv4.ip_local_reserved_ports={before}"])


def test_the_kernel_s_own_range_may_be_used_up(ground: Ground) -> None:
    before = ground.host.sysctl("net.ipv4.ip_local_port_range")
    ground.host.sysctl("net.ipv4.ip_local_port_range", "40000 40002")
    try:
        ports = [ground.weft("net publish blue a 80").rpartition(":")[2].strip() for _ in range(3)]
        assert sorted(ports) == ["40000", "40001", "40002"]
        assert "no port from 40000 to 40002 is free" in ground.weft("net publish blue a 80", 4)
    finally:
        ground.host.sysctl("net.ipv4.ip_local_port_range", before)


# Connections from before


def swap(ground: Ground, family: str, target: str) -> None:
    """The port leads to the other container, by hand: what weft does, without what it forgets."""
    table = f"publish{family}_any"
    ground.host.nft(
        f"delete element inet weft {table} {{ udp . 5300 }}\n"
        f"add element inet weft {table} {{ udp . 5300 : {target} . 53 }}\n"
    )


@pytest.mark.parametrize(("every", "address", "family"), [("0.0.0.0", HOST, "4"), ("[::]", HOST6, "6")])
def test_a_udp_client_moves_with_the_port(ground: Ground, every: str, address: str, family: str) -> None:
    """One that goes on sending from one port is one connection for ever, unless it is forgotten."""
    ground.weft(f"net publish blue a {every}:5300:53/udp")
    assert ground.ask(address, 5300, 4444) == "a"
    addresses = {}
    for name in "ab":
        (found,) = ground.host.weft_json("inspect", name)
        wide = [x for x in found["networks"]["blue"]["addresses"] if (":" in x) == (family == "6")]
        addresses[name] = wide[0].partition("/")[0]
    swap(ground, family, addresses["b"])
    assert ground.ask(address, 5300, 4444) == "a", "not forgotten it stays where it was"
    assert ground.ask(address, 5300, 4445) == "b", "a new one goes where the port leads"
    swap(ground, family, addresses["a"])
    ground.weft(f"net unpublish blue a {every}:5300:53/udp")
    assert ground.ask(address, 5300, 4444, 0.5) in ("ConnectionRefusedError", "TimeoutError")
    ground.weft(f"net publish blue b {every}:5300:53/udp")
    assert [ground.ask(address, 5300, own) for own in (4444, 4445)] == ["b", "b"]


def test_a_client_that_spoke_too_soon(ground: Ground) -> None:
    """What was sent before the port was published is remembered as meant for the host itself."""
    assert ground.ask(HOST, 5300, 4446, 0.5) in ("ConnectionRefusedError", "TimeoutError")
    ground.weft("net publish blue a 0.0.0.0:5300:53/udp")
    assert ground.ask(HOST, 5300, 4446) == "a"


def test_the_port_that_is_meant_is_the_host_s(ground: Ground) -> None:
    """A connection to the container's own port number on the host goes on."""
    ground.weft("net publish blue a 0.0.0.0:5300:53/udp")
    ground.weft("net publish blue b 0.0.0.0:53:53/udp")
    assert ground.ask(HOST, 53, 4447) == "b"
    entries = ground.host.run(["conntrack", "-L", "-p", "udp", "--orig-port-dst", "53"]).stdout
    ground.weft("net unpublish blue a 0.0.0.0:5300:53/udp")
    assert entries and ground.host.run(["conntrack", "-L", "-p", "udp", "--orig-port-dst", "53"]).stdout


TALK = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
print("there", flush=True)
sys.stdin.readline()
try:
    sock.send(b"x")
    while sock.recv(100):
        pass
    print("ended")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("address", [HOST, HOST6])
def test_tcp_connections_do_not_outlive_their_port(ground: Ground, address: str) -> None:
    spec = "[::]:8080:80" if ":" in address else "0.0.0.0:8080:80"
    ground.weft(f"net publish blue a {spec}")
    client = ground.lan.box.popen([*PYTHON, "-c", TALK, address, "8080"], stdin=-1)
    assert client.stdout and client.stdout.readline() == "there\n"
    ground.weft(f"net unpublish blue a {spec}")
    assert client.communicate("\n", timeout=20)[0] == "ConnectionResetError\n"


# Plans


def test_a_dry_run_changes_nothing_and_its_script_does_the_same(ground: Ground) -> None:
    """But for weft's own record, of which a script knows nothing."""
    specs = f"0.0.0.0:8080:80 [::]:8080:80 8081:80 {HOST}:5300:53/udp"
    script = ground.weft(f"net publish blue a {specs} --dry-run")
    assert diff(ground.clean, snapshot(ground.host)) == []
    ground.weft(f"net publish blue a {specs}")
    wanted = (ground.elements(), ground.weft("loopback list"))
    back = ground.weft(f"net unpublish blue a {specs} --dry-run")
    assert wanted == (ground.elements(), ground.weft("loopback list"))
    ground.weft(f"net unpublish blue a {specs}")
    ground.host.sh(script)
    try:
        assert wanted == (ground.elements(), ground.weft("loopback list"))
        assert [ground.page("lan", HOST, 8080), ground.page("host", "::1", 8080)] == ["a", "a"]
    finally:
        ground.host.sh(back)


def test_shown_while_it_is_done(ground: Ground) -> None:
    done = ground.host.weft("net", "publish", "blue", "a", f"{HOST}:5300:53/udp", "--show", "commands")
    assert "nft add element inet weft publish4" in done.stderr
    assert f"conntrack -D -f ipv4 -p udp --orig-port-dst 5300 --orig-dst {HOST}" in done.stderr


def test_what_is_published_goes_with_its_container(ground: Ground) -> None:
    ground.weft("run --name d --network blue")
    ground.weft("net publish blue d 0.0.0.0:8080:80 [::1]:8080:80")
    assert json.loads(ground.host.weft("net", "inspect", "blue").stdout)[0]["publish"]
    ground.weft("rm -f d")
    held, said = ground.bind("0.0.0.0", 8080)
    held.end()
    assert said == "bound"
