"""The loopback proxy in IPv6, and from one family to the other: its held sockets are what is dialled."""

from __future__ import annotations

import hashlib
import os
import resource
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.loopback_world import (
    ANY,
    BOX,
    BOX6,
    HOST,
    HOST6,
    INNER,
    LINK_LOCAL,
    MIB,
    PUBLISHED,
    World,
    a_world,
    cpu_ticks,
    dial,
    echo,
    gone,
    open_fds,
    read_all,
    taken,
)
from weft.core.model.errors import BadInput
from weft.linux.loopback import hold

Mapping = tuple[str, str, int, str, int]
ONE: Mapping = ("tcp", "::1", PUBLISHED, BOX6, INNER)
ALL: Mapping = ("tcp", "::", PUBLISHED, BOX6, INNER)
#: From IPv6 of the host to a container that has IPv4 only, and the other way round.
SIX_TO_FOUR: Mapping = ("tcp", "::", PUBLISHED, BOX, INNER)
FOUR_TO_SIX: Mapping = ("tcp", "0.0.0.0", PUBLISHED, BOX6, INNER)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


def says(word: bytes) -> object:
    return lambda sock: sock.sendall(word)


def heard(address: str, port: int = PUBLISHED) -> bytes:
    with dial(address, port) as sock:
        return read_all(sock)


@pytest.mark.parametrize(
    ("mapping", "dialled"),
    [
        (ONE, ["::1"]),
        (ALL, ["::1"]),
        (SIX_TO_FOUR, ["::1", HOST6]),
        (("tcp", "::1", PUBLISHED, BOX, INNER), ["::1"]),
        (("tcp", HOST6, PUBLISHED, BOX, INNER), [HOST6]),
        (FOUR_TO_SIX, ["127.0.0.1", "127.9.8.7", HOST]),
        (("tcp", "127.0.0.1", PUBLISHED, BOX6, INNER), ["127.0.0.1"]),
        (("tcp", HOST, PUBLISHED, BOX6, INNER), [HOST]),
    ],
)
def test_bytes_both_ways_and_half_close(world: World, mapping: Mapping, dialled: list[str]) -> None:
    world.serve(
        lambda s: s.sendall(hashlib.sha256(read_all(s)).hexdigest().encode()), INNER, address=mapping[3]
    )
    world.start(mapping)
    data = os.urandom(3 * MIB)
    for address in dialled:
        with dial(address) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock).decode() == hashlib.sha256(data).hexdigest()


def test_one_port_of_each_family_and_address(world: World) -> None:
    mappings = []
    for number, (host, box) in enumerate(
        ((HOST6, BOX), (HOST, BOX6), ("::1", BOX6), ("127.0.0.1", BOX), ("127.0.0.2", BOX6))
    ):
        world.serve(says(host.encode()), 100 + number, address=box)  # type: ignore[arg-type]
        mappings.append(("tcp", host, PUBLISHED, box, 100 + number))
    world.start(*mappings)
    assert [heard(m[1]).decode() for m in mappings] == [m[1] for m in mappings]


def test_all_of_each_family_lead_to_two_places(world: World) -> None:
    world.serve(says(b"four"))  # type: ignore[arg-type]
    world.serve(says(b"six"), address=BOX6)  # type: ignore[arg-type]
    world.start(ANY, ALL)
    assert (heard("127.0.0.1"), heard("::1")) == (b"four", b"six")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_held_against_others_in_its_own_family(world: World, kind: socket.SocketKind) -> None:
    proto = "tcp" if kind == socket.SOCK_STREAM else "udp"
    world.start((proto, "::", PUBLISHED, BOX6, INNER), ("tcp", "127.0.0.1", 1, BOX, 1))
    for address in ("::", "::1", HOST6):
        assert taken(PUBLISHED, kind=kind, address=address)
        assert taken(PUBLISHED, socket.SO_REUSEADDR, kind=kind, address=address)
        assert taken(PUBLISHED, socket.SO_REUSEPORT, kind=kind, address=address)
    assert not taken(PUBLISHED, kind=kind, address="0.0.0.0")
    world.client.remove([(proto, "::", PUBLISHED)])
    assert not taken(PUBLISHED, kind=kind, address="::")


def test_past_the_firewall_it_is_silent(world: World) -> None:
    """What comes to other addresses than ::1 is nftables' to lead; without it, no answer at all."""
    world.serve(echo, address=BOX6)
    world.start(ALL)
    with socket.socket(socket.AF_INET6) as past:
        past.setblocking(False)
        past.connect_ex((HOST6, PUBLISHED))
        with dial("::1") as served:
            served.sendall(b"x")
            assert served.recv(1) == b"x"
        assert not select.select([past], [past], [past], 0.2)[1], "neither open nor refused"


@pytest.mark.parametrize("mapping", [ONE, SIX_TO_FOUR, FOUR_TO_SIX])
def test_connections_end_with_their_mapping(world: World, mapping: Mapping) -> None:
    world.serve(echo, address=mapping[3])
    pid = world.start(mapping, ("tcp", "127.0.0.1", 1, BOX, 1))
    before = open_fds(pid)
    with dial("::1" if ":" in mapping[1] else "127.0.0.1") as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        world.client.remove([mapping[:3]])
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    world.raw(b"ping")
    assert open_fds(pid) <= before - 1 + 2 * 32, "but for spare pipes"
    with pytest.raises(ConnectionError):  # 127.0.0.1 is redirected, to whom it means nothing
        heard("::1" if ":" in mapping[1] else "127.0.0.1")


def test_it_lives_as_long_as_there_is_something_to_serve(world: World) -> None:
    """A host address that is no loopback needs it where the families differ, and only there."""
    plain, crossing = ("tcp", HOST6, 81, BOX6, INNER), ("tcp", HOST6, 82, BOX, INNER)
    pid_fd = os.pidfd_open(world.start(plain, crossing, ONE))
    world.client.remove([ONE[:3]])
    assert world.client.alive()
    world.client.add([(*crossing[:3], BOX, 99)], [])
    world.client.remove([crossing[:3]])
    assert gone(pid_fd)
    assert not taken(81, address=HOST6)
    os.close(pid_fd)


def test_a_new_target(world: World) -> None:
    world.serve(says(b"old"), 80)  # type: ignore[arg-type]
    world.serve(says(b"new"), 81)  # type: ignore[arg-type]
    world.start(SIX_TO_FOUR)
    world.client.add([(*SIX_TO_FOUR[:4], 81)], [])
    assert heard(HOST6) == b"new"


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_target_that_needs_another_socket(world: World, proto: str) -> None:
    """A socket whose filter drops all cannot serve, and one without must not be left open."""
    closed, opened = (proto, HOST6, 81, BOX6, 1), (proto, HOST6, 82, BOX, 1)
    world.start(closed, opened, ONE)
    for changed in ((*closed[:3], BOX, 1), (*opened[:3], BOX6, 1)):
        with pytest.raises(BadInput, match="needs its socket"):
            world.client.add([changed], [])
    assert sorted(world.client.list()) == sorted([closed, opened, ONE])


def test_no_room_means_waiting_not_spinning(world: World) -> None:
    world.write_launcher("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))")
    world.serve(echo)
    pid = world.start(SIX_TO_FOUR)
    socks = [dial(HOST6) for _ in range(6)]
    socks[0].sendall(b"0")
    assert socks[0].recv(1) == b"0"
    ticks = cpu_ticks(pid)
    assert not select.select(socks, [], [], 0.5)[0], "the window in which it must not spin"
    assert cpu_ticks(pid) - ticks <= 2
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)
        assert sock.recv(1) == b"%d" % number
        sock.close()


def test_emfile_in_accept_pauses_all_that_listen(world: World) -> None:
    world.serve(echo)
    world.serve(echo, address=BOX6)
    pid = world.start(SIX_TO_FOUR, FOUR_TO_SIX, ("tcp", "127.0.0.1", 1, BOX, 1))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, before[1]))
    with dial(HOST6) as one, dial(HOST) as two:
        for sock in (one, two):
            sock.sendall(b"x")
        ticks = cpu_ticks(pid)
        assert not select.select([one, two], [], [], 0.5)[0]
        assert cpu_ticks(pid) - ticks <= 2
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert one.recv(1) == two.recv(1) == b"x"


def test_ports_come_and_go_while_it_pauses(world: World) -> None:
    """A socket that is opened or closed during the pause is none of those that wake up after it wrongly."""
    world.serve(echo)
    pid = world.start(SIX_TO_FOUR, ("tcp", "::", 82, BOX, INNER), ("tcp", "127.0.0.1", 1, BOX, 1))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with world.talk() as control:
        control.send(b"ping")
        assert control.recv(100)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, before[1]))
        with dial(HOST6) as sock:
            sock.sendall(b"x")
            assert not select.select([sock], [], [], 0.3)[0]
            control.send(b"del tcp :: 82")
            assert control.recv(100) == b"ok"
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            fd = hold("tcp", HOST6, 83, BOX)
            socket.send_fds(control, [f"add tcp {HOST6} 83 {BOX} {INNER}".encode()], [fd])
            assert control.recv(100) == b"ok"
            os.close(fd)
            assert sock.recv(1) == b"x"
        with dial(HOST6, 83) as sock:
            sock.sendall(b"y")
            assert sock.recv(1) == b"y"


def test_hostile_descriptors(world: World) -> None:
    """One that takes IPv4 too, one that does not listen, one of the other family, one without its port."""
    pid = world.start(ONE)
    both = socket.socket(socket.AF_INET6)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", 7777))
    both.listen()
    deaf = socket.socket(socket.AF_INET6)
    deaf.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    deaf.bind(("::", 7778))
    other = socket.create_server(("0.0.0.0", 7779))
    with world.talk() as control, both, deaf, other:
        control.send(b"ping")
        assert control.recv(100)
        before = open_fds(pid)
        for sock, port in ((both, 7777), (deaf, 7778), (other, 7779), (deaf, 7780)):
            socket.send_fds(control, [f"add tcp :: {port} {BOX} 1".encode()], [sock.fileno()])
            assert control.recv(1000).startswith(b"error the socket sent for"), port
        assert open_fds(pid) == before
    assert world.client.list() == [ONE]


def test_300_clients_that_hang_up_at_once(world: World) -> None:
    """Connections that are reset while they wait, or before they lead anywhere."""
    world.serve(echo)
    pid = world.start(SIX_TO_FOUR)
    linger = (1).to_bytes(4, "little") + bytes(4)

    def rude() -> None:
        for _ in range(100):
            sock = dial(HOST6)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.close()

    threads = [threading.Thread(target=rude) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with dial(HOST6) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    assert world.pid() == pid


# UDP


def udp_client(address: str, port: int) -> socket.socket:
    """Connected: the kernel passes only answers from the very address that was dialled."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(10)
    sock.connect((address, port))
    return sock


@pytest.mark.parametrize(
    ("host", "box", "dialled"),
    [
        ("::1", BOX6, ["::1"]),
        ("::", BOX6, ["::1"]),
        ("::", BOX, ["::1", HOST6]),
        (HOST6, BOX, [HOST6]),
        ("0.0.0.0", BOX6, ["127.0.0.1", "127.9.8.7", HOST]),
        (HOST, BOX6, [HOST]),
    ],
)
def test_datagrams_both_ways(world: World, host: str, box: str, dialled: list[str]) -> None:
    server = world.udp(53, box)
    world.start(("udp", host, 5353, box, 53))
    for address in dialled:
        with udp_client(address, 5353) as one, udp_client(address, 5353) as two:
            one.send(b"one")
            two.send(b"two")
            peers = dict([server.recvfrom(100), server.recvfrom(100)])
            server.sendto(b"for two", peers[b"two"])
            server.sendto(b"for one", peers[b"one"])
            assert (one.recv(100), two.recv(100)) == (b"for one", b"for two")


def test_datagrams_past_the_firewall_are_not_served(world: World) -> None:
    server = world.udp(53, BOX6)
    world.start(("udp", "::", 5353, BOX6, 53), ("udp", HOST6, 5354, BOX6, 53))
    past = [udp_client(HOST6, 5353), udp_client(HOST6, 5354)]
    for sock in past:
        sock.send(b"past the firewall")
    with udp_client("::1", 5353) as served:
        served.send(b"served")
        assert server.recvfrom(100)[0] == b"served"
    for sock in past:
        sock.close()


def test_answers_leave_from_a_link_local_address_too(world: World) -> None:
    server = world.udp(53)
    world.start(("udp", "::", 5353, BOX, 53))
    with world.inside():
        client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        scope = socket.if_nametoindex("eth0")
    with client:
        client.settimeout(10)
        client.bind((BOX6, 0))
        client.connect((LINK_LOCAL, 5353, 0, scope))
        client.send(b"?")
        server.sendto(b"!", server.recvfrom(100)[1])
        assert client.recv(100) == b"!"


def test_what_was_sent_to_many_is_not_served(world: World) -> None:
    """Nobody could answer from such an address, and one datagram would wake up every container's."""
    server, other = world.udp(53), world.udp(53, BOX6)
    world.start(("udp", "::", 5353, BOX, 53), ("udp", "0.0.0.0", 5353, BOX6, 53))
    with world.inside():
        wide = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        wide.bind((BOX6, 0))
        scope = socket.if_nametoindex("eth0")
        narrow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with wide, narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        wide.sendto(b"to many", ("ff02::1", 5353, 0, scope))
        wide.sendto(b"to one", (HOST6, 5353))
        narrow.sendto(b"to many", ("10.77.0.255", 5353))
        narrow.sendto(b"to one", (HOST, 5353))
        assert server.recvfrom(100)[0] == other.recvfrom(100)[0] == b"to one"


def test_a_flood_of_clients_leaves_room_for_the_next(world: World) -> None:
    """More flows than the table holds, from one host: old ones make room, and none is lost for good."""
    world.write_launcher("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))")
    server = world.udp(53)
    pid = world.start(("udp", "::", 5353, BOX, 53))
    for _ in range(300):
        with udp_client("::1", 5353) as client:
            client.send(b"flood")
    with udp_client("::1", 5353) as client:
        client.send(b"last")
        while True:
            data, peer = server.recvfrom(100)
            if data == b"last":
                break
        server.sendto(b"heard", peer)
        assert client.recv(100) == b"heard"
    assert open_fds(pid) <= 256 // 8 + 64 and world.pid() == pid
