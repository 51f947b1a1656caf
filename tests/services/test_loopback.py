"""The loopback proxy, for real: two network namespaces, a veth between them, nft's redirect in one."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import http.server
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weft.core.model.errors import BadInput, Conflict, KernelError, NotFound, NotOurs, NotPermitted
from weft.linux.loopback import LoopbackClient, hold

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")

SRC = Path(__file__).resolve().parents[2] / "src"
CLONE_NEWNET = 0x40000000
HOST, BOX = "10.77.0.1", "10.77.0.2"
PUBLISHED, INNER = 8080, 80
MIB = 1 << 20

libc = ctypes.CDLL(None, use_errno=True)


def _must(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _own_netns() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def run(*argv: str, stdin: str = "") -> None:
    subprocess.run(argv, input=stdin, text=True, check=True, timeout=20)


class World:
    """This thread's network namespace is a host with one container, until the test is over."""

    def __init__(self, tmp: Path) -> None:
        self.launcher = tmp / "launcher"
        self.write_launcher()
        self.client = LoopbackClient(str(tmp / "run"), str(self.launcher))
        self.listeners: list[socket.socket] = []
        self.port = 0

    def write_launcher(self, before: str = "") -> None:
        self.launcher.write_text(
            f"#!/usr/bin/python3 -IS\nimport sys; sys.path.insert(0, {str(SRC)!r})\n{before}\n"
            "from weft.services.loopback import serve; serve(int(sys.argv[2]), int(sys.argv[3]))\n"
        )
        self.launcher.chmod(0o755)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets made here are the container's."""
        _must(libc.setns(self.box_ns, CLONE_NEWNET))
        try:
            yield
        finally:
            _must(libc.setns(self.host_ns, CLONE_NEWNET))

    def start(self, *mappings: tuple[str, str, int, str, int], redirect: str = str(PUBLISHED)) -> int:
        """The proxy with these mappings, ports held, and the rule that leads to it; returns its pid."""
        self.port = self.client.free_port(20000)
        fds = [hold(*m[:3]) for m in mappings]
        self.client.start(self.port, mappings, fds)
        for fd in fds:
            os.close(fd)
        rules = (
            "table inet t {\n chain o {\n  type nat hook output priority -100\n"
            f"  ip daddr 127.0.0.0/8 tcp dport {redirect} redirect to :{self.port}\n }}\n}}\n"
        )
        run("nft", "-f", "-", stdin=rules)
        return self.pid()

    def pid(self) -> int:
        return int(self.raw(b"ping").split()[1])

    def talk(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(10)
        sock.connect(self.client.path)
        return sock

    def raw(self, packet: bytes) -> bytes:
        with self.talk() as sock:
            sock.send(packet)
            return sock.recv(65536)

    def listen(self, port: int = INNER, backlog: int = 512) -> socket.socket:
        with self.inside():
            sock = socket.create_server((BOX, port), backlog=backlog)
        self.listeners.append(sock)
        return sock

    def serve(self, talk: Callable[[socket.socket], None], port: int = INNER) -> None:
        """In the container: each connection gets a thread that talks."""
        listener = self.listen(port)

        def one(sock: socket.socket) -> None:
            with sock, contextlib.suppress(OSError):
                talk(sock)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def udp(self, port: int) -> socket.socket:
        with self.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((BOX, port))
        sock.settimeout(10)
        self.listeners.append(sock)
        return sock


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    before = _own_netns()
    _must(libc.unshare(CLONE_NEWNET))
    made.box_ns = _own_netns()
    run("ip", "link", "set", "lo", "up")
    box = subprocess.Popen(["sleep", "infinity"])
    _must(libc.unshare(CLONE_NEWNET))
    made.host_ns = _own_netns()
    try:
        run(
            "ip",
            "-b",
            "-",
            stdin=f"link set lo up\nlink add v0 type veth peer name eth0 netns {box.pid}\n"
            f"addr add {HOST}/24 dev v0\nlink set v0 up\n",
        )
        with made.inside():
            run("ip", "-b", "-", stdin=f"addr add {BOX}/24 dev eth0\nlink set eth0 up\n")
        yield made
        with contextlib.suppress(Exception):
            made.client.stop()
    finally:
        for sock in made.listeners:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
            sock.close()
        box.kill()
        box.wait()
        _must(libc.setns(before, CLONE_NEWNET))
        for fd in (before, made.box_ns, made.host_ns):
            os.close(fd)


def dial(address: str = "127.0.0.1", port: int = PUBLISHED) -> socket.socket:
    return socket.create_connection((address, port), timeout=20)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def gone(pid_fd: int, seconds: float = 10) -> bool:
    """Whether the process ends in time (pidfd_open(2): readable when it has)."""
    return bool(select.select([pid_fd], [], [], seconds)[0])


def status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field + ":")).split()[1])


def open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def taken(port: int, *options: int, kind: int = socket.SOCK_STREAM, address: str = "0.0.0.0") -> bool:
    """Whether another program that asks for the port is refused."""
    with socket.socket(socket.AF_INET, kind) as sock:
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            sock.bind((address, port))
            if kind == socket.SOCK_STREAM:
                sock.listen()
        except OSError:
            return True
    return False


def echo(sock: socket.socket) -> None:
    while data := sock.recv(MIB):
        sock.sendall(data)


TCP = ("tcp", "127.0.0.1", PUBLISHED, BOX, INNER)
ANY = ("tcp", "0.0.0.0", PUBLISHED, BOX, INNER)


# --- TCP ---------------------------------------------------------------------------------------


def test_http_through_127(world: World) -> None:
    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from " + self.client_address[0].encode())

        def log_message(self, *_: object) -> None: ...

    with world.inside():
        server = http.server.ThreadingHTTPServer((BOX, INNER), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        world.start(TCP)
        with dial() as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert read_all(sock).endswith(b"hello from " + HOST.encode())
    finally:
        server.shutdown()
        server.server_close()


def test_every_address_of_127_when_published_everywhere(world: World) -> None:
    world.serve(echo)
    world.start(ANY)
    for address in ("127.0.0.1", "127.1.2.3"):
        with dial(address) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"


def test_a_mapping_of_its_own_goes_before_every_address(world: World) -> None:
    world.serve(lambda s: s.sendall(b"any"), 80)
    world.serve(lambda s: s.sendall(b"own"), 81)
    world.start(ANY)
    world.client.add([("tcp", "127.0.0.2", PUBLISHED, BOX, 81)], [])
    with dial("127.0.0.1") as one, dial("127.0.0.2") as two:
        assert (read_all(one), read_all(two)) == (b"any", b"own")


def test_only_the_published_address(world: World) -> None:
    world.serve(echo)
    world.start(TCP)
    with pytest.raises(ConnectionError), dial("127.0.0.2") as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b""
        raise AssertionError("answered, without being reset")


def test_dialled_directly_it_serves_nothing(world: World) -> None:
    world.serve(echo)
    world.start(TCP)
    with pytest.raises(ConnectionError), dial(port=world.port) as sock:
        sock.recv(1)
        raise AssertionError("answered, without being reset")


def test_large_transfers_both_ways_at_once(world: World) -> None:
    block = os.urandom(MIB)
    size, digests = 100, []

    def both(sock: socket.socket) -> None:
        sender = threading.Thread(target=send, args=(sock, b"down"))
        sender.start()
        receive(sock)
        sender.join()

    def send(sock: socket.socket, salt: bytes) -> None:
        digest = hashlib.sha256()
        for number in range(size):
            data = salt + number.to_bytes(4, "big") + block
            digest.update(data)
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        digests.append(digest.hexdigest())

    def receive(sock: socket.socket) -> None:
        digest = hashlib.sha256()
        while data := sock.recv(MIB):
            digest.update(data)
        digests.append(digest.hexdigest())

    def far(sock: socket.socket) -> None:
        both(sock)
        done.set()

    done = threading.Event()
    world.serve(far)
    world.start(TCP)
    with dial() as sock:
        sender = threading.Thread(target=send, args=(sock, b"up"))
        sender.start()
        receive(sock)
        sender.join()
    assert done.wait(60)
    assert len(digests) == 4 and len(set(digests)) == 2


def test_half_close_is_passed_on(world: World) -> None:
    """The target answers only after it has seen the end; that the answer comes shows the other half lives."""
    world.serve(lambda s: s.sendall(hashlib.sha256(read_all(s)).hexdigest().encode()))
    world.start(TCP)
    data = os.urandom(3 * MIB)
    with dial() as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).decode() == hashlib.sha256(data).hexdigest()


def test_half_close_by_the_target(world: World) -> None:
    heard: list[bytes] = []
    over = threading.Event()

    def talk(sock: socket.socket) -> None:
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))
        over.set()

    world.serve(talk)
    world.start(TCP)
    with dial() as sock:
        assert read_all(sock) == b"bye"
        sock.sendall(b"still here")
    assert over.wait(10) and heard == [b"still here"]


def test_refused_target_resets_the_client(world: World) -> None:
    world.start(TCP)
    with pytest.raises(ConnectionResetError), dial() as sock:
        sock.recv(1)


def test_unreachable_target_resets_the_client(world: World) -> None:
    world.start(("tcp", "127.0.0.1", PUBLISHED, "192.0.2.1", 80))
    with pytest.raises(ConnectionResetError), dial() as sock:
        sock.recv(1)


def test_reset_of_the_client_reaches_the_target(world: World) -> None:
    ends: list[object] = []
    over = threading.Event()

    def talk(sock: socket.socket) -> None:
        sock.sendall(b"ready")
        try:
            ends.append(sock.recv(1))
        except ConnectionResetError as reset:
            ends.append(type(reset))
        over.set()

    world.serve(talk)
    world.start(TCP)
    sock = dial()
    assert sock.recv(5) == b"ready"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    assert over.wait(10) and ends == [ConnectionResetError]


def test_an_early_answer_survives_the_reset_behind_it(world: World) -> None:
    """A server that answers and closes without reading the request resets: its answer must arrive first."""

    def talk(sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(b"413 too large")

    world.serve(talk)
    world.start(TCP)
    with dial() as sock:
        sock.sendall(b"x" * 100_000)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(100):
                answer += data
        assert answer == b"413 too large"


def test_slow_reader_holds_the_sender_back(world: World) -> None:
    """Back-pressure: with a reader that does not read, the sender blocks after buffers, not after memory."""
    begin, size = threading.Event(), 64 * MIB
    counts: list[int] = []

    def talk(sock: socket.socket) -> None:
        begin.wait(30)
        counts.append(len(read_all(sock)))
        sock.sendall(b"done")

    world.serve(talk)
    pid = world.start(TCP)
    with dial() as sock:
        sock.setblocking(False)
        sent = 0
        while select.select([], [sock], [], 1.0)[1]:
            sent += sock.send(bytes(MIB))
            assert sent < size, "the proxy swallows without end"
        ticks = cpu_ticks(pid)
        assert not select.select([], [sock], [], 0.3)[1]
        assert cpu_ticks(pid) - ticks <= 2, "it spins while nothing can move"
        begin.set()
        sock.settimeout(20)
        sock.sendall(bytes(size - sent))
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"done"
    assert counts == [size]


def test_urgent_data_does_not_stall(world: World) -> None:
    world.serve(echo)
    world.start(TCP)
    with dial() as sock:
        sock.sendall(b"before")
        sock.send(b"!", socket.MSG_OOB)
        sock.sendall(b"after")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"before!after"


def test_200_connections_at_once(world: World) -> None:
    world.serve(echo)
    pid = world.start(TCP)
    idle = open_fds(pid)
    socks = [dial() for _ in range(200)]
    try:
        for number, sock in enumerate(socks):
            sock.sendall(b"%03d" % number * 1000)
        for number, sock in enumerate(socks):
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b"%03d" % number * 1000
    finally:
        for sock in socks:
            sock.close()
    world.raw(b"ping")  # a turn later all of them are closed
    assert open_fds(pid) <= idle + 2 * 32, "more than the spare pipes is left open"


def test_connections_end_with_their_mapping(world: World) -> None:
    world.serve(echo)
    world.serve(echo, 81)
    world.start(TCP, ("tcp", "127.0.0.1", 8081, BOX, 81), redirect="{ 8080, 8081 }")
    with dial() as one, dial(port=8081) as two:
        for sock in (one, two):
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
        world.client.remove([TCP[:3]])
        with pytest.raises(ConnectionResetError):
            one.recv(1)
        two.sendall(b"y")
        assert two.recv(1) == b"y"


def test_a_new_target_takes_over(world: World) -> None:
    world.serve(lambda s: s.sendall(b"old"), 80)
    world.serve(lambda s: s.sendall(b"new"), 81)
    world.start(TCP)
    world.client.add([(*TCP[:4], 81)], [])
    with dial() as sock:
        assert read_all(sock) == b"new"
    assert taken(PUBLISHED), "the socket held before was let go"
    assert world.client.list() == [(*TCP[:4], 81)]


# --- running out of descriptors ----------------------------------------------------------------


def test_no_room_means_waiting_not_spinning(world: World) -> None:
    world.write_launcher("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))")
    world.serve(echo)
    pid = world.start(TCP)
    socks = [dial() for _ in range(6)]
    socks[0].sendall(b"0")
    assert socks[0].recv(1) == b"0"
    ticks = cpu_ticks(pid)
    assert not select.select(socks, [], [], 0.5)[0], "the window in which it must not spin"
    assert cpu_ticks(pid) - ticks <= 2
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)
        assert sock.recv(1) == b"%d" % number
        sock.close()


def test_emfile_in_accept_pauses_and_recovers(world: World) -> None:
    world.serve(echo)
    pid = world.start(TCP)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, before[1]))
    with dial() as sock:
        sock.sendall(b"x")
        ticks = cpu_ticks(pid)
        assert not select.select([sock], [], [], 0.5)[0]
        assert cpu_ticks(pid) - ticks <= 2
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert sock.recv(1) == b"x"


# --- UDP ---------------------------------------------------------------------------------------


def udp_client(address: str, port: int) -> socket.socket:
    """Connected: the kernel passes only answers from the very address that was dialled."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(10)
    sock.connect((address, port))
    return sock


@pytest.mark.parametrize(("host", "dialled"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.9.8.7")])
def test_udp_both_ways_with_two_clients(world: World, host: str, dialled: str) -> None:
    server = world.udp(53)
    world.start(("udp", host, 5353, BOX, 53))
    with udp_client(dialled, 5353) as one, udp_client(dialled, 5353) as two:
        one.send(b"one")
        first, from_one = server.recvfrom(100)
        two.send(b"two")
        second, from_two = server.recvfrom(100)
        assert (first, second) == (b"one", b"two") and from_one != from_two
        server.sendto(b"for two", from_two)
        server.sendto(b"for one", from_one)
        server.sendto(b"", from_one)
        assert two.recv(100) == b"for two"
        assert one.recv(100) == b"for one"
        assert one.recv(100) == b"", "an empty datagram is a datagram"
        one.send(b"again")
        assert server.recvfrom(100) == (b"again", from_one), "the flow keeps its port"


def test_udp_largest_datagram(world: World) -> None:
    server = world.udp(53)
    world.start(("udp", "127.0.0.1", 5353, BOX, 53))
    with udp_client("127.0.0.1", 5353) as one:
        one.send(bytes(65507))
        data, peer = server.recvfrom(65536)
        server.sendto(data, peer)
        assert len(one.recv(65536)) == 65507


def test_udp_target_that_is_not_there_yet(world: World) -> None:
    world.start(("udp", "127.0.0.1", 5353, BOX, 53))
    with udp_client("127.0.0.1", 5353) as one:
        for _ in range(20):
            one.send(b"lost")
        server = world.udp(53)
        one.send(b"heard")
        while server.recvfrom(100)[0] != b"heard":
            pass


def test_udp_held_for_another_address_is_silent_and_not_served(world: World) -> None:
    server = world.udp(53)
    world.start(("udp", HOST, 5353, BOX, 53), ("udp", "127.0.0.1", 5353, BOX, 53))
    with udp_client(HOST, 5353) as past, udp_client("127.0.0.1", 5353) as served:
        past.send(b"past the firewall")
        served.send(b"served")
        assert server.recvfrom(100)[0] == b"served"


def test_udp_everywhere_serves_only_127(world: World) -> None:
    """What comes to the host's other addresses is the firewall's to translate; without it, nothing passes."""
    server = world.udp(53)
    world.start(("udp", "0.0.0.0", 5353, BOX, 53))
    with udp_client(HOST, 5353) as past, udp_client("127.0.0.1", 5353) as served:
        past.send(b"past the firewall")
        served.send(b"served")
        assert server.recvfrom(100)[0] == b"served"


def test_udp_new_target(world: World) -> None:
    old, new = world.udp(53), world.udp(54)
    world.start(("udp", "127.0.0.1", 5353, BOX, 53))
    with udp_client("127.0.0.1", 5353) as one:
        one.send(b"a")
        assert old.recvfrom(100)[0] == b"a"
        world.client.add([("udp", "127.0.0.1", 5353, BOX, 54)], [])
        one.send(b"b")
        assert new.recvfrom(100)[0] == b"b"


class _InProcess:
    """A served socket in this process, with the clock in the test's hand."""

    def __init__(self, world: World, limit: int) -> None:
        from weft.services.loopback_loop import Loop
        from weft.services.loopback_udp import Flows, Served

        self.loop = Loop()
        self.table = Flows(self.loop, limit)
        fd = hold("udp", "127.0.0.1", 5353)
        import _socket

        self.served = Served(self.table, _socket.socket(-1, -1, -1, fd), (BOX, 53))

    def count(self) -> int:
        return len(self.served.flows)

    def at(self, seconds: float) -> None:
        """Let the clocks believe that so much time has passed."""
        self.loop.now += seconds
        for clock in self.loop.clocks:
            clock.ring()
        self.loop._close_dead()


def test_udp_flows_end_when_idle(world: World) -> None:
    server = world.udp(53)
    proxy = _InProcess(world, 10)
    with udp_client("127.0.0.1", 5353) as one, udp_client("127.0.0.1", 5353) as two:
        one.send(b"1")
        two.send(b"2")
        proxy.loop.turn()
        peers = dict([server.recvfrom(9), server.recvfrom(9)])
        server.sendto(b"answer", peers[b"1"])
        proxy.loop.turn()
        assert proxy.count() == 2 and one.recv(9) == b"answer"
        proxy.at(31)
        assert proxy.count() == 1, "one-sided: 30 s"
        proxy.at(88)
        assert proxy.count() == 1
        proxy.at(2)
        assert proxy.count() == 0, "two-sided: 120 s"
    proxy.served.close()


def test_udp_flow_table_is_bounded(world: World) -> None:
    server = world.udp(53)
    proxy = _InProcess(world, 2)
    clients = [udp_client("127.0.0.1", 5353) for _ in range(5)]
    clients[0].send(b"first")
    proxy.loop.turn()
    server.sendto(b"known", server.recvfrom(9)[1])
    proxy.loop.turn()
    for client in clients[1:]:
        client.send(b"more")
        proxy.loop.turn()
        assert proxy.count() <= 2
    assert any(flow.answered for flow in proxy.served.flows.values()), "one-sided flows make room first"
    for client in clients:
        client.close()
    proxy.served.close()


# --- holding ports -----------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", HOST])
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_held_port_is_held_and_then_free(world: World, proto: str, address: str) -> None:
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    keeper = ("tcp", "127.0.0.1", 9999, BOX, 9)
    world.start(keeper, (proto, address, 7777, BOX, 7))
    for options in (
        (),
        (socket.SO_REUSEADDR,),
        (socket.SO_REUSEPORT,),
        (socket.SO_REUSEADDR, socket.SO_REUSEPORT),
    ):
        for where in ("0.0.0.0", address):
            assert taken(7777, *options, kind=kind, address=where)
    with pytest.raises(Conflict) as refused:
        hold(proto, address, 7777)
    assert refused.value.message == f"port 7777/{proto} on {address} is taken by another program"
    assert "ss -l" in refused.value.hint and "'sport = :7777'" in refused.value.hint
    world.client.remove([(proto, address, 7777)])
    assert not taken(7777, kind=kind, address=address)
    os.close(hold(proto, address, 7777))


def test_a_held_tcp_port_is_silent_without_the_rule(world: World) -> None:
    """No connection, no refusal: nothing is ever accepted there, so nothing can be mistaken for a service."""
    fd = hold("tcp", "127.0.0.1", 7777)
    with socket.socket() as sock:
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.connect(("127.0.0.1", 7777))
    os.close(fd)


def test_hold_says_whose_fault_it_is(world: World) -> None:
    with pytest.raises(BadInput, match="not an address of this host"):
        hold("tcp", "198.51.100.1", 80)
    for proto, address, port in (
        ("sctp", "127.0.0.1", 80),
        ("tcp", "::1", 80),
        ("tcp", "127.0.0.1", 0),
        ("tcp", "127.0.0.1\0", 80),
        ("tcp", "127.0.0.1", 65536),
    ):
        with pytest.raises(BadInput):
            hold(proto, address, port)
    assert _as_nobody(lambda: hold("tcp", "127.0.0.1", 80)) == "NotPermitted"


def test_held_sockets_are_not_inherited(world: World) -> None:
    fd = hold("tcp", "127.0.0.1", 7777)
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_free_port(world: World) -> None:
    assert world.client.free_port(20000) == 20000
    fds = [hold("tcp", "127.0.0.1", 20000), hold("tcp", "0.0.0.0", 20001)]
    assert world.client.free_port(20000) == 20002
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert world.client.free_port(low) == high + 1
    for fd in fds:
        os.close(fd)


# --- its life ----------------------------------------------------------------------------------


def test_ends_with_the_last_mapping_that_covers_loopback(world: World) -> None:
    elsewhere = ("tcp", HOST, 7777, BOX, 7)
    world.serve(echo)
    pid_fd = os.pidfd_open(world.start(TCP, ANY_8081 := ("tcp", "0.0.0.0", 8081, BOX, 81), elsewhere))
    world.client.remove([TCP[:3], ("tcp", "127.0.0.1", 1, "", 0)[:3]])
    assert world.client.alive()
    world.client.remove([ANY_8081[:3]])
    assert not world.client.alive(), "it is gone for others as soon as the answer is there"
    assert gone(pid_fd)
    os.close(pid_fd)
    assert not os.path.exists(world.client.path)
    assert not taken(world.port, address="127.0.0.1") and not taken(7777, address=HOST)
    with pytest.raises(NotFound):
        world.client.list()
    world.client.remove([TCP[:3]])
    world.client.stop()


def test_removing_many_ends_it_midway(world: World) -> None:
    keys = [("tcp", f"127.0.{n >> 8}.{n & 255}", 7, BOX, 7) for n in range(1, 301)]
    world.start(*keys)
    assert world.client.list() == keys
    world.client.remove([k[:3] for k in keys[:150]] + [k[:3] for k in reversed(keys)])
    assert not world.client.alive()


@pytest.mark.parametrize("end", ["stop", "SIGTERM"])
def test_ends_cleanly(world: World, end: str) -> None:
    pid = world.start(TCP)
    pid_fd = os.pidfd_open(pid)
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        os.kill(pid, ignored)
    assert world.client.alive()
    world.client.stop() if end == "stop" else os.kill(pid, signal.SIGTERM)
    assert gone(pid_fd)
    os.close(pid_fd)
    assert not os.path.exists(world.client.path) and not taken(PUBLISHED)


def test_a_killed_one_is_replaced_and_a_live_one_is_not(world: World) -> None:
    world.serve(echo)
    pid = world.start(TCP)
    with pytest.raises(Conflict, match="runs already"):
        world.client.start(world.client.free_port(20000), [])
    with pytest.raises(Conflict, match="taken by another program"):
        world.client.start(world.port, [])
    assert world.pid() == pid
    pid_fd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid_fd)
    os.close(pid_fd)
    assert os.path.exists(world.client.path) and not world.client.alive()
    fds = [hold(*TCP[:3])]
    world.client.start(world.port, [TCP], fds)
    os.close(fds[0])
    with dial() as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    assert world.client.port() == world.port


def test_what_is_not_a_stale_socket_stays(world: World) -> None:
    os.mkdir(world.client.run_dir, 0o700)
    path = Path(world.client.path)
    path.write_text("precious")
    with pytest.raises(NotOurs):
        world.client.start(20000, [])
    assert path.read_text() == "precious"
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(world.client.path)
        other.listen()
        with pytest.raises(NotOurs):
            world.client.start(20000, [])
    assert not taken(20000)


def test_a_launcher_that_cannot_be_executed(world: World) -> None:
    for launcher in ("/nonexistent/launcher", "/dev/null"):
        client = LoopbackClient(world.client.run_dir, launcher)
        with pytest.raises(KernelError, match="cannot be started"):
            client.start(20000, [])
        assert not os.path.exists(client.path)


def test_a_launcher_that_dies_is_an_error_not_a_wait(world: World) -> None:
    world.write_launcher("raise SystemExit")
    with pytest.raises(NotFound):
        world.client.start(20000, [TCP])


def test_refused_mappings_leave_no_proxy(world: World) -> None:
    with pytest.raises(BadInput, match="needs its socket"):
        world.client.start(20000, [("udp", "127.0.0.1", 5353, BOX, 53)])
    assert not world.client.alive()


def test_the_directory_must_be_private(world: World) -> None:
    os.mkdir(world.client.run_dir)
    os.chmod(world.client.run_dir, 0o777)
    with pytest.raises(NotPermitted):
        world.client.start(20000, [])
    with pytest.raises(BadInput):
        LoopbackClient("relative", "x")
    with pytest.raises(BadInput):
        LoopbackClient("/" + "x" * 100, "x")


def test_the_process_is_nobodys_and_clean(world: World) -> None:
    secret, other_end = os.pipe()
    os.set_inheritable(secret, True)
    os.environ["WEFT_TEST_SECRET"] = "1"
    try:
        pid = world.start(TCP)
    finally:
        del os.environ["WEFT_TEST_SECRET"]
        os.close(secret)
        os.close(other_end)
    assert os.getsid(pid) == os.getpgid(pid) != os.getsid(0)
    assert status(pid, "PPid") != os.getpid()
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert {links[fd] for fd in "012"} == {"/dev/null"}
    assert not [target for target in links.values() if target.startswith("pipe:")]
    assert b"SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()
    mode = os.stat(world.client.path).st_mode
    assert mode & 0o777 == 0o600 and os.stat(world.client.run_dir).st_mode & 0o777 == 0o700


# --- the control socket ------------------------------------------------------------------------


def _as_nobody(call: Callable[[], object]) -> str:
    """The name of the exception that the call ends with in a process that is not root."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(writes, repr(call()).encode())
        except BaseException as failed:
            os.write(writes, type(failed).__name__.encode())
        finally:
            os._exit(0)
    os.close(writes)
    with open(reads, encoding="ascii") as said:
        result = said.read()
    os.waitpid(child, 0)
    return result


def test_only_root_may_talk(world: World, tmp_path: Path) -> None:
    world.start(TCP)
    for directory in (Path(world.client.run_dir), tmp_path, *tmp_path.parents[:2]):
        os.chmod(directory, 0o755)
    assert _as_nobody(world.client.alive) == "NotPermitted", "the socket's mode"
    os.chmod(world.client.path, 0o666)
    assert _as_nobody(world.client.alive) == "NotPermitted", "the peer's credentials"
    assert _as_nobody(lambda: world.client.remove([TCP[:3]])) == "NotPermitted"
    assert world.client.list() == [TCP]


HOSTILE = [
    b"\n",
    b" ",
    b"\x00",
    b"\xff\xfe",
    b"add",
    b"add ",
    b"add tcp",
    b"del",
    b"del tcp 127.0.0.1",
    b"lis",
    b"PING",
    b"ping ping",
    b"ping\nping",
    b"stop now",
    b"list x",
    b"list -1",
    b"list 1 2",
    b"list " + b"9" * 5000,
    b"list 1\nlist 2",
    b"add tcp 127.0.0.1 1 10.0.0.1 1 extra",
    b"add tcp 127.0.0.1 0 10.0.0.1 1",
    b"add tcp 127.0.0.1 65536 10.0.0.1 1",
    b"add tcp 127.0.0.1 +1 10.0.0.1 1",
    b"add tcp 127.0.0.1 1_0 10.0.0.1 1",
    b"add tcp 127.0.0.1 1 127.0.0.1 1",
    b"add tcp 127.0.0.1 1 0.0.0.0 1",
    b"add tcp ::1 1 10.0.0.1 1",
    b"add tcp 127.1 1 10.0.0.1 1",
    b"add tcp 0127.0.0.1 1 10.0.0.1 1",
    b"add sctp 127.0.0.1 1 10.0.0.1 1",
    b"add tcp 127.0.0.1\x00 1 10.0.0.1 1",
    b"add udp 127.0.0.1 1 10.0.0.1 1",
    b"add tcp 127.0.0.1 1 10.0.0.1 1\n\n",
    b"add tcp 127.0.0.1 1 10.0.0.1 1\ndel tcp 127.0.0.1 1",
    b"add tcp 127.0.0.1 1 10.0.0.1 1\n" * 201,
    b"add  tcp 127.0.0.1 1 10.0.0.1 1",
    b"add\ttcp 127.0.0.1 1 10.0.0.1 1",
    b"x" * 65535,
    b"x" * 65536,
    b"x" * 100_000,
    b"add tcp 127.0.0.1 1 10.0.0.1 1\r\n",
    b"\nadd tcp 127.0.0.1 1 10.0.0.1 1",
]


def test_hostile_packets_are_answered_with_an_error(world: World) -> None:
    pid = world.start(TCP)
    with world.talk() as sock:
        for packet in HOSTILE:
            sock.send(packet)
            assert sock.recv(65536).startswith(b"error "), packet[:80]
    assert world.client.list() == [TCP] and world.pid() == pid


def test_random_packets_never_end_it(world: World) -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    pid = world.start(TCP)
    words = st.sampled_from(
        ["add", "del", "list", "ping", "tcp", "udp", "10.0.0.1", "10.0.0.2", "1", "65535", "", "-1"]
    )
    lines = st.lists(st.lists(words, max_size=7).map(" ".join), min_size=1, max_size=4).map("\n".join)
    packets = st.one_of(st.binary(min_size=1, max_size=200), lines.map(str.encode).filter(bool))

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(packets)
    def try_it(packet: bytes) -> None:
        if not packet.startswith(b"stop"):
            assert world.raw(packet)[:2] in (b"ok", b"er")

    try_it()
    assert world.pid() == pid and TCP in world.client.list()


def _send_fds(sock: socket.socket, packet: bytes, fds: list[int]) -> bytes:
    socket.send_fds(sock, [packet], fds)
    return sock.recv(65536)


def test_hostile_descriptors(world: World) -> None:
    """What is no socket, the wrong socket, or too many: refused, closed, and nothing else is changed."""
    pid = world.start(TCP)
    line = b"add tcp 127.0.0.1 7777 10.0.0.1 7"
    right, wrong = hold("tcp", "127.0.0.1", 7777), hold("tcp", "127.0.0.1", 7778)
    datagrams = hold("udp", "127.0.0.1", 7777)
    null = os.open("/dev/null", os.O_RDWR)
    with world.talk() as sock:
        before = open_fds(pid)
        for fds in (
            [null],
            [wrong],
            [datagrams],
            [right, right],
            [right, null],
            [sock.fileno()],
            [null] * 253,
        ):
            assert _send_fds(sock, line, fds).startswith(b"error "), fds
        for packet in (b"ping", b"list", b"del tcp 127.0.0.1 7777", b"stop"):
            assert _send_fds(sock, packet, [right]).startswith(b"error ")
        assert _send_fds(sock, line + b"\n" + line, [right, wrong]).startswith(b"error ")
        assert open_fds(pid) == before
        assert _send_fds(sock, line, [right]) == b"ok"
        assert open_fds(pid) == before + 1
        assert _send_fds(sock, line, [right]) == b"ok", "again: the old one is closed"
        assert open_fds(pid) == before + 1
    for fd in (right, wrong, datagrams, null):
        os.close(fd)


def test_no_descriptors_left_for_held_sockets(world: World) -> None:
    pid = world.start(TCP)
    with world.talk() as sock:
        sock.send(b"ping")
        sock.recv(100)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_fds(pid), before[1]))
        fd = hold("tcp", "127.0.0.1", 7777)
        assert _send_fds(sock, b"add tcp 127.0.0.1 7777 10.0.0.1 7", [fd]).startswith(b"error ")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert _send_fds(sock, b"add tcp 127.0.0.1 7777 10.0.0.1 7", [fd]) == b"ok"
        os.close(fd)


def test_who_does_not_read_is_dropped_and_blocks_nobody(world: World) -> None:
    world.start(TCP)
    world.client.add([("tcp", f"127.0.0.{n}", 7, "10.0.0.1", 7) for n in range(1, 200)], [])
    with world.talk() as deaf, pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            deaf.send(b"list")
    silent = [world.talk() for _ in range(40)]  # more than it listens to at a time
    assert len(world.client.list()) == 200
    for sock in silent:
        sock.close()


# --- size --------------------------------------------------------------------------------------


def test_memory_with_1000_mappings_held(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        mappings = [(p, "127.0.0.1", 10000 + n, BOX, 1000 + n) for n in range(500) for p in ("tcp", "udp")]
        pid = world.start(*mappings)
        assert world.client.list() == mappings
        for proto, host, port, *_ in mappings[::100]:
            assert taken(port, kind=socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM, address=host)
        assert status(pid, "VmRSS") <= 12 * 1024, f"{status(pid, 'VmRSS')} KiB"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_imports_are_few() -> None:
    """Each module here is resident memory for as long as a port is published."""
    code = f"import sys; sys.path.insert(0, {str(SRC)!r}); before = set(sys.modules)\n"
    for name, allowed in (
        ("weft.services.loopback", {"__future__", "_socket", "_struct", "select", "errno"}),
        ("weft.linux.loopback", {"__future__", "_socket", "_struct", "select", "errno", "fcntl"}),
    ):
        show = f"import {name}; print(*sorted(m for m in set(sys.modules) - before if m[:4] != 'weft'))"
        done = subprocess.run(
            ["/usr/bin/python3", "-IS", "-c", code + show], capture_output=True, text=True, check=True
        )
        assert set(done.stdout.split()) <= allowed, sys.version
