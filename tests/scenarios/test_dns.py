"""``weft dns``: names answered to real containers by real packets, forwarded to a real server, and its life.

blue  10.9.0.0/24 fd09::/64   web .2 (host name WebHost, alias www.example), both .3
red   10.8.0.0/24 (internal, port 5300)   both .2, db .9
plain 10.7.0.0/24 (no DNS)    only .2
127.0.0.53 is the host's name server, 203.0.113.9 web's own, 203.0.113.8 blue's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import dns.message
import pytest

from harness import Host, Process, settle
from harness.asks import Said, ask, query, raw, understood
from harness.host import HERE, PYTHON, REPO

BLUE, BLUE6, RED = "10.9.0.1", "fd09::1", "10.8.0.1"
STUB, NEAR, OWN = "127.0.0.53", "203.0.113.8", "203.0.113.9"


class Town:
    def __init__(self, host: Host) -> None:
        self.host = host
        host.ip("address", "add", f"{NEAR}/32", "dev", "lo")
        host.ip("address", "add", f"{OWN}/32", "dev", "lo")
        self.resolv(f"nameserver {BLUE}\nnameserver 0.0.0.0\nnameserver {STUB}\n")
        self.servers = {address: self.serve(address) for address in (STUB, NEAR, OWN)}
        weft = host.weft
        weft("net", "create", "blue", "--subnet", "10.9.0.0/24", "--subnet", "fd09::/64", "-o", "dns=true")
        weft(
            "net",
            "create",
            "red",
            "--subnet",
            "10.8.0.0/24",
            "--internal",
            "-o",
            "dns=1",
            "-o",
            "dns_port=5300",
        )
        weft("net", "create", "plain", "--subnet", "10.7.0.0/24")
        weft(
            "run",
            "--name",
            "web",
            "--hostname",
            "WebHost",
            "--network",
            "blue:alias=www.example",
            "--dns",
            OWN,
        )
        weft("run", "--name", "both", "--network", "blue", "--network", "red")
        weft("run", "--name", "db", "--network", "red:ip=10.8.0.9")
        weft("run", "--name", "only", "--network", "plain", "--dns", NEAR)

    def resolv(self, text: str) -> None:
        self.host.sh(f"rm -f /etc/resolv.conf\nprintf '{text}' > /etc/resolv.conf".replace("\n'", "\\n'"))

    def serve(self, address: str) -> Process:
        server = self.host.popen([*PYTHON, str(HERE / "upstream.py"), address])
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        return server

    def heard(self, address: str, label: str) -> str:
        """The next question of that name that a server got."""
        out = self.servers[address].stdout
        assert out
        while line := out.readline():
            if line.split()[1] == label:
                return line
        raise AssertionError("it ended")

    def pid(self) -> int:
        return int(self.host.weft_json("dns")["pid"])

    def ask(self, who: str, name: str, kind: str = "A", **how: object) -> Said:
        """By the first server of the container's own resolv.conf."""
        server = self.host.read(f"/etc/netns/{who}/resolv.conf").split()[1]
        return ask(self.host, server, name, kind, netns=who, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with Host() as host:
        yield Town(host)


def test_containers_have_the_gateways_as_name_servers(town: Town) -> None:
    read = town.host.read
    assert read("/etc/netns/web/resolv.conf") == f"nameserver {BLUE}\nnameserver {BLUE6}\n"
    assert read("/etc/netns/both/resolv.conf") == f"nameserver {BLUE}\nnameserver {BLUE6}\nnameserver {RED}\n"
    assert read("/etc/netns/only/resolv.conf") == f"nameserver {NEAR}\n"
    assert "both" in read("/run/weft/hosts/blue")


@pytest.mark.parametrize(
    ("who", "name", "kind", "said"),
    [
        ("web", "both", "A", "10.9.0.3"),
        ("web", "BoTh", "AAAA", "fd09::3"),
        ("web", "both.blue", "A", "10.9.0.3"),
        ("web", "webhost", "A", "10.9.0.2"),
        ("web", "www.example", "A", "10.9.0.2"),
        ("both", "db", "A", "10.8.0.9"),
        ("both", "both", "A", "10.8.0.2 10.9.0.3"),
        ("db", "both", "AAAA", "NODATA"),
        ("db", "both", "MX", "NODATA"),
        ("db", "web", "A", "NXDOMAIN"),
        ("db", "example.com", "A", "NXDOMAIN"),
        ("web", "nobody.dns.podman", "A", "NXDOMAIN"),
        ("web", "10.9.0.3", "PTR", "both.blue."),
        ("web", "fd09::3", "PTR", "both.blue."),
        ("web", "host.docker.internal", "A", BLUE),
        ("db", "host.containers.internal", "A", RED),
    ],
)
def test_what_a_container_is_answered(town: Town, who: str, name: str, kind: str, said: str) -> None:
    assert town.ask(who, name, kind).said == said
    assert town.ask(who, name, kind, tcp=True, edns=1232).said == said


def test_short_ids_are_names(town: Town) -> None:
    short = town.host.weft_json("inspect", "both")[0]["id"][:12]
    assert town.ask("web", short).said == "10.9.0.3"


def test_the_host_sees_each_network_at_its_gateway(town: Town) -> None:
    assert ask(town.host, BLUE, "web").said == "10.9.0.2"
    assert ask(town.host, BLUE6, "web", "AAAA").said == "fd09::2"
    assert ask(town.host, RED, "db", port=5300).said == "10.8.0.9"
    assert ask(town.host, RED, "web", port=5300).said == "NXDOMAIN"


def test_only_members_are_answered(town: Town) -> None:
    for server in (BLUE, RED):
        assert ask(town.host, server, "web", netns="only", patience=0.3).said == "nothing"
    assert ask(town.host, BLUE, "web", netns="db", patience=0.3).said == "nothing"


def test_the_question_comes_back_letter_by_letter(town: Town) -> None:
    asked = query("wEb.BLUE", "A", 1232).to_wire()
    (found,) = raw(town.host, BLUE, asked, netns="web")
    assert found[12 : 12 + 14] == asked[12 : 12 + 14]
    assert dns.message.from_wire(found).payload == 1232


def test_questions_go_to_the_container_s_servers_or_the_network_s_or_the_host_s(town: Town) -> None:
    assert town.ask("web", "a.test").said == "192.0.2.1"
    assert "a" in town.heard(OWN, "a")
    assert town.ask("both", "b.test").said == "192.0.2.1"
    assert town.heard(STUB, "b")
    town.host.weft("net", "edit", "blue", "-o", f"dns_servers={NEAR}")
    assert town.ask("both", "c.test").said == "192.0.2.1"
    assert town.heard(NEAR, "c")
    town.host.weft("net", "edit", "blue", "-o", "dns_servers=")
    assert town.ask("both", "d.test").said == "192.0.2.1"
    assert town.heard(STUB, "d")


def test_ids_towards_others_are_not_the_asker_s(town: Town) -> None:
    asked = [query(f"id{n}.test") for n in range(4)]
    for one in asked:
        one.id = 0x1234
        raw(town.host, BLUE, one.to_wire(), netns="web")
    ids = {town.heard(OWN, f"id{n}").split()[2] for n in range(4)}
    assert len(ids) > 1


def test_an_answer_to_something_else_is_none(town: Town) -> None:
    assert town.ask("web", "liar.test").said == "192.0.2.1"


def test_who_does_not_answer_is_passed_over(town: Town) -> None:
    town.host.weft("net", "edit", "blue", "-o", f"dns_servers=203.0.113.7,{NEAR}")
    town.host.ip("route", "add", "blackhole", "203.0.113.7/32")
    try:
        assert town.ask("both", "e.test").said == "192.0.2.1"
        assert town.ask("both", "fail.test").said == "SERVFAIL"
    finally:
        town.host.weft("net", "edit", "blue", "-o", "dns_servers=")


def test_a_long_answer_of_others_comes_by_tcp(town: Town) -> None:
    assert town.ask("web", "big.test").truncated
    found = town.ask("web", "big.test", tcp=True)
    assert len(found.answers) == 100
    assert town.heard(OWN, "big").startswith("udp")
    assert town.heard(OWN, "big").startswith("tcp")


def test_the_same_question_is_asked_once_and_a_loop_ends(town: Town) -> None:
    asked = query("slow.test")
    processes = [
        town.host.popen([*PYTHON, "-c", _SEND, BLUE, asked.to_wire().hex()], netns="web") for _ in range(5)
    ]
    found = [p.communicate(timeout=20)[0].strip() for p in processes]
    assert {understood(bytes.fromhex(f), asked).said for f in found} == {"192.0.2.1"}
    loop = f"back-{BLUE.replace('.', '-')}.test"
    assert town.ask("both", loop, patience=10).said in ("SERVFAIL", "nothing")
    assert town.ask("both", "after.test").said == "192.0.2.1"


_SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], 53))
s.send(bytes.fromhex(sys.argv[2]))
print(s.recv(4096).hex())
"""


def test_several_questions_on_one_connection(town: Town) -> None:
    asked = [query(name) for name in ("web", "f.test", "both.blue", "nobody.dns.podman")]
    found = raw(town.host, BLUE, *[one.to_wire() for one in asked], netns="web", tcp=True)
    answers = {dns.message.from_wire(f).id: f for f in found}
    said = [understood(answers[one.id], one).said for one in asked]
    assert said == ["10.9.0.2", "192.0.2.1", "10.9.0.3", "NXDOMAIN"]


def test_who_connects_too_often_or_sends_rubbish_is_hung_up_on(town: Town) -> None:
    assert int(town.host.run([*PYTHON, "-c", _CONNECT, BLUE], netns="web").stdout) == 60
    assert town.ask("web", "both", tcp=True).said == "10.9.0.3"


#: Sixty connections at once, each with an answer instead of a question; how many are hung up on.
_CONNECT = """
import socket, sys
held = []
for _ in range(60):
    s = socket.create_connection((sys.argv[1], 53), 5)
    held.append(s)
    try:
        s.sendall(b"\\0\\x0c\\0\\1\\x81\\0" + bytes(8))
    except OSError:
        pass
def shut(s):
    try:
        return s.recv(10) == b""
    except ConnectionError:
        return True
print(sum(map(shut, held)))
"""


def test_a_flood_of_rubbish_is_survived(town: Town) -> None:
    pid = town.pid()
    town.host.run([*PYTHON, "-c", _RUBBISH, BLUE], netns="web")
    assert town.ask("web", "both").said == "10.9.0.3"
    assert town.pid() == pid


_RUBBISH = """
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 53))
for n in range(3000):
    try:
        s.send(os.urandom(n % 90))
    except OSError:
        pass
"""


def test_who_asks_too_much_at_once_is_refused_and_others_are_not(town: Town) -> None:
    town.host.weft("net", "edit", "blue", "-o", "dns_servers=203.0.113.7")
    town.host.ip("address", "add", "203.0.113.7/32", "dev", "lo")
    silent = town.host.popen([*PYTHON, "-c", _HOLD, "203.0.113.7", "53"])
    assert silent.stdout
    assert silent.stdout.readline() == "ready\n"
    assert int(town.host.run([*PYTHON, "-c", _MANY, BLUE], netns="both").stdout) == 300 - 128
    assert town.ask("web", "h.test").said == "192.0.2.1"
    silent.end()
    town.host.weft("net", "edit", "blue", "-o", "dns_servers=")


#: A port held, and nothing said.
_HOLD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
time.sleep(60)
"""
#: Three hundred names that nobody answers; how many are refused at once.
_MANY = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 53))
s.settimeout(0.5)
for n in range(300):
    name = b"\\x08never%03d\\0" % n
    s.send(n.to_bytes(2, "big") + b"\\1\\0\\0\\1" + bytes(6) + name + b"\\0\\1\\0\\1")
refused = 0
try:
    while True:
        refused += s.recv(512)[3] & 15 == 2
except TimeoutError:
    print(refused)
"""


def test_changes_are_seen_at_once_and_the_sockets_stay(town: Town) -> None:
    inodes = _sockets(town)
    for round in range(3):
        town.host.weft("run", "--name", "fresh", "--network", f"blue:ip=10.9.0.{50 + round},alias=newest")
        assert town.ask("web", "fresh").said == f"10.9.0.{50 + round}"
        assert town.ask("web", "newest").said == f"10.9.0.{50 + round}"
        town.host.weft("rm", "-f", "fresh")
        assert town.ask("web", "fresh.blue.dns.podman").said == "NXDOMAIN"
    assert _sockets(town) == inodes


def _sockets(town: Town) -> list[str]:
    return sorted(town.host.sh("ss -Hlntue 'sport = :53' | grep -o 'ino:[0-9]*'").split())


def test_a_container_that_changes_networks_changes_name_servers(town: Town) -> None:
    read = town.host.read
    before = read("/etc/netns/only/resolv.conf")
    town.host.weft("net", "connect", "red", "only")
    assert read("/etc/netns/only/resolv.conf") == f"nameserver {RED}\n"
    assert town.ask("only", "db").said == "10.8.0.9"
    assert town.ask("only", "g.test").said == "192.0.2.1"  # by its other network
    town.host.weft("net", "disconnect", "red", "only")
    assert read("/etc/netns/only/resolv.conf") == before
    town.host.weft("net", "edit", "plain", "-o", "dns=true")
    assert town.ask("only", "only.plain").said == "10.7.0.2"
    town.host.write("/etc/netns/only/resolv.conf", "nameserver 9.9.9.9\n")
    town.host.weft("net", "edit", "plain", "-o", "dns=")
    assert read("/etc/netns/only/resolv.conf") == "nameserver 9.9.9.9\n"  # somebody's own
    assert ask(town.host, "10.7.0.1", "only", patience=0.3).said == "nothing"


def test_inside_a_namespace_at_127_0_0_11(town: Town) -> None:
    town.host.weft("net", "edit", "red", "-o", "dns_inside=true")
    for tcp in (False, True):
        assert ask(town.host, "127.0.0.11", "both", netns="db", tcp=tcp).said == "10.8.0.2"
    assert ask(town.host, "127.0.0.11", "web", netns="both").said == "10.9.0.2"
    assert ask(town.host, "127.0.0.11", "db", netns="web", patience=0.3).said == "nothing"
    town.host.weft("net", "edit", "red", "-o", "dns_inside=")
    assert ask(town.host, "127.0.0.11", "both", netns="db", patience=0.3).said == "nothing"


def test_who_is_killed_comes_back_with_the_next_command(town: Town) -> None:
    pid = town.pid()
    town.host.run(["kill", "-9", str(pid)])
    assert settle(town.host, lambda: town.pid() == 0)
    said = town.host.weft("repair")
    assert "starting it again" in said.stderr
    assert town.pid() not in (0, pid)
    assert town.ask("web", "both").said == "10.9.0.3"


def test_it_is_one_and_small(town: Town) -> None:
    town.host.weft("dns", "start")
    found = town.host.run(["pgrep", "-f", f"{REPO}/weft dns-serve"]).stdout.split()
    assert found == [str(town.pid())]
    status = town.host.read(f"/proc/{found[0]}/status")
    assert int(status.partition("VmRSS:")[2].split()[0]) <= 20 * 1024


def test_a_watch_starts_it_again(town: Town) -> None:
    watch = town.host.popen([str(REPO / "weft"), "watch", "--format", "json"])
    try:
        for _ in range(2):
            pid = town.pid()
            town.host.run(["kill", "-9", str(pid)])
            assert settle(town.host, lambda gone=pid: town.pid() not in (0, gone))  # type: ignore[misc]
    finally:
        watch.end()
    assert town.ask("web", "both").said == "10.9.0.3"


def test_somebody_else_s_name_server_is_in_the_way_and_nothing_is_left(town: Town) -> None:
    blocker = town.host.popen([*PYTHON, "-c", _HOLD, "0.0.0.0", "5353"])
    assert blocker.stdout
    assert blocker.stdout.readline() == "ready\n"
    made = town.host.weft("net", "create", "more", "-o", "dns=true", "-o", "dns_port=5353", check=False)
    blocker.end()
    assert made.returncode == 4
    assert "port 5353" in made.stderr
    assert "more" not in town.host.weft("net", "ls").stdout
    town.host.weft("net", "create", "more", "-o", "dns=true", "-o", "dns_port=5353")
    town.host.weft("net", "rm", "more")


@pytest.mark.parametrize(
    "option",
    [
        "dns=maybe",
        "dns_port=0",
        "dns_port=65536",
        "dns_servers=example.org",
        "dns_servers=1.2.3.4%a/b",
        "dns_inside=2",
    ],
)
def test_options_that_make_no_sense(town: Town, option: str) -> None:
    for command in (("net", "create", "more"), ("net", "edit", "blue")):
        done = town.host.weft(*command, "-o", option, check=False)
        assert done.returncode == 2, done.stderr
    assert "more" not in town.host.weft("net", "ls").stdout


def test_it_ends_with_the_last_network(town: Town) -> None:
    pid = town.pid()
    town.host.weft("rm", "-f", "web", "both", "db")
    town.host.weft("net", "rm", "blue")
    assert town.pid() == pid
    town.host.weft("net", "rm", "red")
    assert town.pid() == 0
    assert not os.path.exists(f"/proc/{town.host.pid}/root/proc/{pid}")
    assert town.host.weft("gc").returncode == 0


def test_it_ends_with_its_root(town: Town) -> None:
    weft = ("--root", "/run/elsewhere")
    town.host.weft("net", "rm", "plain", "-f")
    town.host.weft(*weft, "net", "create", "blue", "-o", "dns=true")
    pid = int(town.host.weft_json(*weft, "dns")["pid"])
    town.host.run(["rm", "-r", "/run/elsewhere"])
    assert settle(town.host, lambda: town.host.run(["kill", "-0", str(pid)], check=False).returncode != 0)
