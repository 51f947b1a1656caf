"""TCP through the loopback proxy: redirected by nft, spliced into another namespace."""

from __future__ import annotations

import _socket
import contextlib
import hashlib
import http.server
import os
import resource
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.loopback_world import (
    ANY,
    BOX,
    HOST,
    INNER,
    MIB,
    PUBLISHED,
    TCP,
    World,
    a_world,
    cpu_ticks,
    dial,
    echo,
    open_fds,
    read_all,
    redirect,
    run,
    taken,
)
from weft.services.loopback_loop import Clock, Loop
from weft.services.loopback_tcp import BROKEN, CONNECTING, OPEN, Acceptor, Connection


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


def dial_and_read(address: str = "127.0.0.1", port: int = PUBLISHED) -> bytes:
    with dial(address, port) as sock:
        return sock.recv(1)


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
    with pytest.raises(ConnectionError):  # refused, or reset: nobody else may have redirected it
        dial_and_read("127.0.0.2")


def test_dialled_directly_it_serves_nothing(world: World) -> None:
    world.serve(echo)
    world.start(TCP)
    with pytest.raises(ConnectionResetError):
        dial_and_read(port=world.port)


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
    with pytest.raises(ConnectionResetError):
        dial_and_read()


def test_unreachable_target_resets_the_client(world: World) -> None:
    world.start(("tcp", "127.0.0.1", PUBLISHED, "192.0.2.1", 80))
    with pytest.raises(ConnectionResetError):
        dial_and_read()


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
    world.start(TCP, ("tcp", "127.0.0.1", 8081, BOX, 81), ports="{ 8080, 8081 }")
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


# In this process, with the clock in the test's hand


class _InProcess:
    """An acceptor whose every connection leads to the container, reached by the redirect of 8080."""

    def __init__(self) -> None:
        self.loop = Loop()
        listener = _socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0)
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        listener.setblocking(False)
        redirect(str(PUBLISHED), listener.getsockname()[1])
        self.acceptor = Acceptor(self.loop, listener, lambda *key: (key, (BOX, INNER)), 600)

    @property
    def only(self) -> Connection:
        (connection,) = self.acceptor.connections
        return connection

    def until(self, state: int) -> Connection:
        while not self.acceptor.connections or self.only.state != state:
            self.loop.turn()
        return self.only

    def later(self, seconds: float) -> None:
        """Let the clocks believe that so much time has passed."""
        self.loop.now += seconds
        for clock in self.loop.clocks:
            clock.ring()
        self.loop._close_dead()


def test_a_target_that_never_answers_is_given_ten_seconds(world: World) -> None:
    with world.inside():
        run(
            "nft",
            "-f",
            "-",
            stdin="table ip b {\n chain i {\n type filter hook input priority 0\n drop\n }\n}\n",
        )
    proxy = _InProcess()
    with dial() as sock:
        proxy.until(CONNECTING)
        proxy.later(9)
        assert proxy.only.state == CONNECTING
        proxy.later(2)
        assert not proxy.acceptor.connections
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_broken_connection_that_cannot_be_emptied_ends(world: World) -> None:
    """The client is gone, the target reads nothing: what the client said last is offered for ten seconds."""
    listener = world.listen()
    proxy = _InProcess()
    with dial() as sock:
        proxy.until(OPEN)
        deaf = listener.accept()[0]
        sock.setblocking(False)
        while proxy.only.up.held == 0 or select.select([], [sock], [], 0)[1]:
            with contextlib.suppress(BlockingIOError):
                sock.send(bytes(MIB))
            proxy.loop.epoll.poll(
                0.01
            )  # whether anything is left to do: the next turn must not wait for ever
            proxy.loop.again.update(dict.fromkeys(proxy.acceptor.connections))
            proxy.loop.turn()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    proxy.until(BROKEN)
    proxy.later(9)
    assert proxy.only.state == BROKEN
    proxy.later(2)
    assert not proxy.acceptor.connections
    with deaf, pytest.raises(ConnectionResetError):
        read_all(deaf)


class _Faulty:
    """A handler that fails at everything."""

    def ready(self, fd: int, mask: int) -> None:
        raise RuntimeError

    def resume(self) -> None:
        raise RuntimeError

    def timeout(self) -> None:
        raise RuntimeError

    def abort(self) -> None:
        raise RuntimeError


def test_a_handler_that_fails_at_everything_does_not_end_the_loop() -> None:
    loop = Loop()
    near, far = socket.socketpair()
    faulty = _Faulty()
    with near, far:
        loop.watch(_socket.SocketType(-1, -1, -1, os.dup(near.fileno())), select.EPOLLIN, faulty)
        far.send(b"x")
        loop.again[faulty] = None
        Clock(loop, 0).start(faulty)
        loop.turn()
    assert not loop.again
