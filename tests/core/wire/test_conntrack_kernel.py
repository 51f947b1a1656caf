"""Tracked connections as the kernel has them, made by real datagrams and seen through conntrack(8)."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from core.wire.sandbox import NETLINK_NETFILTER, Kernel, command, sandboxed
from weft.core.wire import buffer as wire
from weft.core.wire import ctnetlink as ct

LOCAL: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = pytest.mark.parametrize("family", LOCAL, ids=("ipv4", "ipv6"))
#: Without a rule that asks for it a namespace tracks nothing. Port 53 is led to 54.
RULES = """
table inet t {
    chain o { type nat hook output priority -100; udp dport 53 redirect to :54; }
    chain f { type filter hook output priority 0; ct state new counter; }
}
"""


@contextlib.contextmanager
def tracking() -> Iterator[Kernel]:
    command("ip", "link", "set", "lo", "up")
    command("nft", "-f", "-", script=RULES)
    with Kernel(NETLINK_NETFILTER) as kernel:
        yield kernel


def datagram(family: int, port: int) -> socket.socket:
    """A client that has sent one; it must stay open for its port to stay its own."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((LOCAL[family], 0))
    sock.sendto(b"x", (LOCAL[family], port))
    return sock


def found(kernel: Kernel, message: tuple[int, int, bytes]) -> list[ct.Connection]:
    return [ct.get_connection(payload) for payload in kernel.ask(message)]


Row = tuple[str, str, int, int, int]


def row(one: ct.Tuple) -> Row:
    sides = [socket.inet_ntop(one.family, side) for side in (one.src, one.dst)]
    return sides[0], sides[1], one.proto, one.sport, one.dport


def told(family: int) -> list[tuple[Row, Row, int]]:
    """What conntrack(8) says: original, reply, id."""
    words = ("conntrack", "-L", "-f", "ipv4" if family == socket.AF_INET else "ipv6", "-o", "xml,id")
    flows = []
    said = command(*words)
    for flow in ElementTree.fromstring(said) if said else ():
        metas = {meta.get("direction"): meta for meta in flow}
        rows = [_row(metas["original"]), _row(metas["reply"])]
        flows.append((rows[0], rows[1], int(metas["independent"].findtext("id", ""))))
    return flows


def _row(meta: ElementTree.Element) -> Row:
    layer4 = meta.find("layer4")
    assert layer4 is not None
    ports = [int(layer4.findtext(name, "0")) for name in ("sport", "dport")]
    proto = int(layer4.get("protonum", ""))
    return meta.findtext("*/src", ""), meta.findtext("*/dst", ""), proto, ports[0], ports[1]


@FAMILIES
@sandboxed
def test_what_conntrack_says_is_what_is_got(family: int) -> None:
    with tracking() as kernel, datagram(family, 53), datagram(family, 60):
        connections = found(kernel, ct.dump_connections(family))
        seen = [(row(c.original), row(c.reply), int.from_bytes(c.id, "big")) for c in connections]
        assert len(seen) == 2
        assert sorted(seen) == sorted(told(family))
        (led,) = [c for c in connections if c.original.dport == 53]
        assert (led.reply.sport, led.original.proto) == (54, socket.IPPROTO_UDP)


@sandboxed
def test_a_dump_of_one_family_has_nothing_of_the_other() -> None:
    with tracking() as kernel, datagram(socket.AF_INET, 60), datagram(socket.AF_INET6, 60):
        for family in LOCAL:
            (only,) = found(kernel, ct.dump_connections(family))
            assert only.original.family == family


@FAMILIES
@sandboxed
def test_the_kernel_chooses_by_the_original_port(family: int) -> None:
    """The port that was dialled, not the one behind it; and the protocol."""
    with tracking() as kernel, datagram(family, 53), datagram(family, 54), datagram(family, 60):
        chosen = {port: found(kernel, ct.dump_port(family, 17, port)) for port in (53, 54, 60, 61)}
        assert [c.original.dport for c in chosen[53]] == [53]
        assert [c.original.dport for c in chosen[54]] == [54]
        assert [c.original.dport for c in chosen[60]] == [60]
        assert chosen[61] == found(kernel, ct.dump_port(family, 6, 53)) == []


@FAMILIES
@sandboxed
def test_one_is_forgotten_and_no_other(family: int) -> None:
    with tracking() as kernel, datagram(family, 53), datagram(family, 53):
        one, two = found(kernel, ct.dump_port(family, 17, 53))
        kernel.do(ct.del_connection(one))
        assert found(kernel, ct.dump_connections(family)) == [two]
        assert [original for original, _, _ in told(family)] == [row(two.original)]
        (again,) = kernel.acks([ct.del_connection(one)])
        assert again.errno == errno.ENOENT


@sandboxed
def test_a_later_connection_with_the_same_tuple_is_another() -> None:
    family = socket.AF_INET
    with tracking() as kernel, datagram(family, 60) as client:
        (first,) = found(kernel, ct.dump_connections(family))
        kernel.do(ct.del_connection(first))
        client.sendto(b"x", (LOCAL[family], 60))
        (second,) = found(kernel, ct.dump_connections(family))
        assert second.original == first.original
        if second.id != first.id:  # made of the entry's address in memory, which may be used again
            (stale,) = kernel.acks([ct.del_connection(first)])
            assert stale.errno == errno.ENOENT
        kernel.do(ct.del_connection(second._replace(id=b"")))
        assert told(family) == []


@sandboxed
def test_zones_are_kept_apart() -> None:
    command("ip", "link", "set", "lo", "up")
    zone = "chain z { type filter hook output priority -300; udp dport 60 ct zone set 9; }"
    command("nft", "-f", "-", script=RULES.replace("chain o", f"{zone}\n chain o"))
    with Kernel(NETLINK_NETFILTER) as kernel, datagram(socket.AF_INET, 60):
        (only,) = found(kernel, ct.dump_connections(socket.AF_INET))
        assert only.zone == (9).to_bytes(2, "big")
        (elsewhere,) = kernel.acks([ct.del_connection(only._replace(zone=b""))])
        assert elsewhere.errno == errno.ENOENT
        kernel.do(ct.del_connection(only))
        assert told(socket.AF_INET) == []


@sandboxed
def test_connections_of_tcp() -> None:
    with (
        tracking() as kernel,
        socket.create_server(("127.0.0.1", 70)) as server,
        socket.create_connection(("127.0.0.1", 70)) as client,
        server.accept()[0],
    ):
        (only,) = found(kernel, ct.dump_port(socket.AF_INET, 6, 70))
        assert only.original.sport == client.getsockname()[1]
        assert only.reply == ct.Tuple(only.original.dst, only.original.src, 6, 70, only.original.sport)
        kernel.do(ct.del_connection(only))


@sandboxed
def test_what_is_put_the_kernel_takes() -> None:
    """The other direction of the codec: an entry of our own, which conntrack(8) then shows."""
    there = ct.Tuple(bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), 17, 1000, 53)
    back = ct.Tuple(bytes([192, 0, 2, 3]), bytes([192, 0, 2, 1]), 17, 53, 1000)
    timeout = wire.be32(7, 60)
    new = (
        1 << 8 | 0,
        wire.NLM_F_REQUEST | 0x400 | 0x200,
        ct.put_connection(ct.Connection(there, back)) + timeout,
    )
    with tracking() as kernel:
        kernel.do(new)
        ((original, reply, _),) = told(socket.AF_INET)
        assert (original, reply) == (row(there), row(back))
