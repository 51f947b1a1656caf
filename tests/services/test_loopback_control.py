"""The loopback proxy's control socket: who may talk, and what nonsense does."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.loopback_world import TCP, World, a_world, as_nobody, open_fds
from weft.linux.loopback import hold


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


def test_only_root_may_talk(world: World, tmp_path: Path) -> None:
    world.start(TCP)
    for directory in (Path(world.client.run_dir), tmp_path, *tmp_path.parents[:2]):
        os.chmod(directory, 0o755)
    assert as_nobody(world.client.alive) == "NotPermitted", "the socket's mode"
    os.chmod(world.client.path, 0o666)
    assert as_nobody(world.client.alive) == "NotPermitted", "the peer's credentials"
    assert as_nobody(lambda: world.client.remove([TCP[:3]])) == "NotPermitted"
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
    b"add tcp :: 1 fd00::1 1",
    b"add udp ::1 1 fd00::1 1",
    b"add tcp 0.0.0.0 1 fd00::1 1",
    b"add tcp 127.0.0.1 1 ::1 1",
    b"add tcp 127.0.0.1 1 :: 1",
    b"add tcp 127.0.0.1 1 ::ffff:127.0.0.1 1",
    b"add tcp ::ffff:127.0.0.1 1 10.0.0.1 1",
    b"add tcp [::1] 1 fd00::1 1",
    b"add tcp fe80::1%lo 1 fd00::1 1",
    b"add tcp :::1 1 fd00::1 1",
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


def first_free_fd(pid: int) -> int:
    """The lowest number that is not open: as a limit it leaves room for none, gaps or not."""
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return next(n for n in range(len(used) + 1) if n not in used)


def test_no_descriptors_left_for_held_sockets(world: World) -> None:
    pid = world.start(TCP)
    with world.talk() as sock:
        sock.send(b"ping")
        sock.recv(100)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free_fd(pid), before[1]))
        fd = hold("tcp", "127.0.0.1", 7777)
        assert _send_fds(sock, b"add tcp 127.0.0.1 7777 10.0.0.1 7", [fd]).startswith(b"error ")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert _send_fds(sock, b"add tcp 127.0.0.1 7777 10.0.0.1 7", [fd]) == b"ok"
        os.close(fd)


def ask_for_ever(sock: socket.socket) -> None:
    while True:
        sock.send(b"list")


def test_who_does_not_read_is_dropped_and_blocks_nobody(world: World) -> None:
    world.start(TCP)
    world.client.add([("tcp", f"127.0.0.{n}", 7, "10.0.0.1", 7) for n in range(1, 200)], [])
    with world.talk() as deaf, pytest.raises((BrokenPipeError, ConnectionResetError)):
        ask_for_ever(deaf)
    silent = [world.talk() for _ in range(40)]  # more than it listens to at a time
    assert len(world.client.list()) == 200
    for sock in silent:
        sock.close()
