"""Which tracked connections are forgotten with a published port, and which are not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from core.wire.sandbox import command, sandboxed
from weft.core.wire import ctnetlink as ct
from weft.linux.conntrack import flush
from weft.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink

TRACK = "table inet t { chain f { type filter hook output priority 0; ct state new counter; }; }"
OWN, OWN6 = "192.0.2.1", "2001:db8::1"
#: Not of this host: the way to it is a link where nobody is.
FAR, FAR6 = "198.51.100.7", "2001:db8:51::7"
Port = tuple[str, str, int]


class Table:
    """A namespace that tracks, and what is tracked there as (protocol, destination, port)."""

    def __init__(self) -> None:
        self.filter, self.route = Netlink(NETLINK_NETFILTER), Netlink(NETLINK_ROUTE)
        self.clients: list[socket.socket] = []

    def send(self, *targets: tuple[str, int]) -> None:
        for address, port in targets:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            client = socket.socket(family, socket.SOCK_DGRAM)
            client.sendto(b"x", (address, port))
            self.clients.append(client)

    def flush(self, *ports: Port) -> None:
        flush(self.filter, self.route, ports)

    def tracked(self) -> set[tuple[int, str, int]]:
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            for payload in self.filter.dump(ct.dump_connections(family)):
                one = ct.get_connection(payload).original
                found.add((one.proto, socket.inet_ntop(family, one.dst), one.dport))
        return found


@contextlib.contextmanager
def tracking(rules: str = TRACK) -> Iterator[Table]:
    lines = [
        "link set lo up",
        "link add d0 type veth peer name d1",
        "link set d1 up",
        f"addr add {OWN}/24 dev d0",
        f"addr add {OWN6}/64 dev d0 nodad",
        "link set d0 up",
        "route add default dev d0",
    ]
    command("ip", "-b", "-", script="\n".join(lines) + "\n")
    command("ip", "-6", "route", "add", "default", "dev", "d0")
    command("nft", "-f", "-", script=rules)
    yield Table()


def udp(*targets: tuple[str, int]) -> set[tuple[int, str, int]]:
    return {(17, address, port) for address, port in targets}


EVERYWHERE = ((OWN, 53), ("127.0.0.1", 53), (OWN6, 53), ("::1", 53), (FAR, 53), (FAR6, 53), (OWN, 54))


@pytest.mark.parametrize(
    ("host", "gone"),
    [
        (OWN, [(OWN, 53)]),
        (OWN6, [(OWN6, 53)]),
        ("127.0.0.1", [("127.0.0.1", 53)]),
        ("::1", [("::1", 53)]),
        ("0.0.0.0", [(OWN, 53), ("127.0.0.1", 53)]),
        ("::", [(OWN6, 53), ("::1", 53)]),
        ("192.0.2.2", []),
    ],
)
@sandboxed
def test_those_to_the_host_address_and_no_others(host: str, gone: list[tuple[str, int]]) -> None:
    """0.0.0.0 is this host's addresses: a connection to the same port of a far one is not ours."""
    with tracking() as table:
        table.send(*EVERYWHERE)
        assert table.tracked() == udp(*EVERYWHERE)
        table.flush(("udp", host, 53))
        assert table.tracked() == udp(*EVERYWHERE) - udp(*gone)


@sandboxed
def test_the_protocol_counts() -> None:
    with tracking() as table:
        table.send((OWN, 53))
        table.flush(("tcp", OWN, 53), ("tcp", "0.0.0.0", 53))
        assert table.tracked() == udp((OWN, 53))


@sandboxed
def test_connections_of_tcp() -> None:
    with (
        tracking() as table,
        socket.create_server((OWN, 70)) as server,
        socket.create_connection((OWN, 70)),
        server.accept()[0],
    ):
        assert table.tracked() == {(6, OWN, 70)}
        table.flush(("udp", OWN, 70))
        assert table.tracked() == {(6, OWN, 70)}
        table.flush(("tcp", "0.0.0.0", 70))
        assert table.tracked() == set()


@sandboxed
def test_the_port_that_was_dialled_not_the_container_s() -> None:
    """What is led from 8053 to 53 is a connection to 8053; one to 53 itself is another."""
    lead = "chain o { type nat hook output priority -100; udp dport 8053 redirect to :53; }\n"
    with tracking(TRACK.replace("{ chain f", f"{{ {lead} chain f", 1)) as table:
        table.send((OWN, 8053), (OWN, 53))
        table.flush(("udp", OWN, 53))
        assert table.tracked() == udp((OWN, 8053))
        table.send((OWN, 53))
        table.flush(("udp", OWN, 8053))
        assert table.tracked() == udp((OWN, 53))


@sandboxed
def test_an_address_that_the_host_has_lost_since() -> None:
    """It was translated, so it was ours."""
    lead = "chain o { type nat hook output priority -100; udp dport 53 redirect to :54; }\n"
    with tracking(TRACK.replace("{ chain f", f"{{ {lead} chain f", 1)) as table:
        command("ip", "addr", "add", "192.0.2.5/24", "dev", "d0")
        table.send(("192.0.2.5", 53))
        command("ip", "addr", "del", "192.0.2.5/24", "dev", "d0")
        assert table.tracked() == udp(("192.0.2.5", 53))
        table.flush(("udp", "0.0.0.0", 53))
        assert table.tracked() == set()


@pytest.mark.parametrize("count", [1, 4, 5, 300])
@sandboxed
def test_many_ports_at_once(count: int) -> None:
    with tracking() as table:
        table.send(*[(OWN, 1000 + n) for n in range(count)], (OWN, 999), (OWN6, 1000))
        table.flush(*[("udp", OWN, 1000 + n) for n in range(count)])
        assert table.tracked() == udp((OWN, 999), (OWN6, 1000))


class _Untouched:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name}: nothing is tracked, so nobody is to be asked")


@sandboxed
def test_with_nothing_tracked_nobody_is_asked() -> None:
    nobody: Any = _Untouched()
    flush(nobody, nobody, [("udp", OWN, 53)])
    with tracking() as table:
        table.send((OWN, 53))
        with pytest.raises(AssertionError, match="nobody is to be asked"):
            flush(nobody, nobody, [("udp", OWN, 53)])


@sandboxed
def test_one_that_ends_meanwhile_is_fine() -> None:
    """Between the kernel's list and the request to forget, another hand has taken it out."""

    class Late(Netlink):
        def attempt(self, messages: Any) -> Any:
            command("conntrack", "-F")
            return super().attempt(messages)

    with tracking() as table:
        table.send((OWN, 53), (OWN, 54))
        flush(Late(NETLINK_NETFILTER), table.route, [("udp", OWN, 53)])
        assert table.tracked() == set()
