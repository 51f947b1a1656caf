"""UDP through the loopback proxy: served by the held socket itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.loopback_world import BOX, HOST, World, a_world
from weft.linux.loopback import hold


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


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
