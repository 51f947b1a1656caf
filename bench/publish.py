"""What do five thousand published ports cost: the next one, and a connection to the last of them?"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from itertools import count
from statistics import median

from world import LAN, NETWORK, Row, interleaved, ip, library, ms, request, spawn, spread, timed

from weft.core.wire import ctnetlink as ct
from weft.core.wire.buffer import NLM_F_ACK, NLM_F_REQUEST
from weft.engine import container, publish
from weft.engine.removal import remove
from weft.engine.work import Work
from weft.linux import libc
from weft.linux.netlink import NETLINK_NETFILTER, Netlink

_PRESENT = 5000
_ROUNDS = 60
_BAR = 0.0002
_CONNECTS = 1000
_BAR_CONNECT = 1.2
_EACH = 100
_FIRST = 30000
_CLONE_NEWNET = 0x40000000
_RESET = (1).to_bytes(4, "little") + bytes(4)


def measure(kind: str) -> list[Row]:
    """``kind`` memory: without the durable commit. Else the first way with it, and the commits alone."""
    work = library(kind)
    _lan()
    # One that stays, so that the proxy does not start and end with the ports that are measured.
    container.create(work, request("stays", "127.0.0.1:19999:80"))
    container.create(work, request("web"))
    rows = _connects(work) if kind == "memory" else []
    _fill(work)
    if kind != "memory":
        return _with_commits(work, kind)
    ways = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "0.0.0.0", "one address of the host": LAN, "[::1]": "[::1]"}
    found = interleaved({name: _one_more(work, host) for name, host in ways.items()}, _ROUNDS)
    what = f"publish one port of a running container, {_PRESENT} present, without the durable commit"
    tracked = interleaved({"0.0.0.0": _one_more(work, "0.0.0.0", quiet=False)}, _ROUNDS // 2)["0.0.0.0"]
    rows.append(Row(f"the same on 0.0.0.0 with one connection tracked: {_buckets()}", spread(tracked)))
    return [*[_row(f"{what}: {name}", times) for name, times in found.items()], *rows]


def _buckets() -> str:
    with open("/proc/sys/net/netfilter/nf_conntrack_buckets") as file:
        return f"the kernel goes through {file.read().strip()} buckets"


def _row(what: str, times: list[float]) -> Row:
    return Row(what, spread(times), "", "", f"<= {ms(_BAR)}", median(times) <= _BAR)


def _lan() -> None:
    """A neighbour, ``lan``, in a namespace of its own."""
    for line in (
        "netns add lan",
        "link add lan0 index 100 type veth peer name eth0 netns lan",
        f"addr add {LAN}/24 dev lan0",
        "link set lan0 up",
        "-n lan addr add 203.0.113.2/24 dev eth0",
        "-n lan link set eth0 up",
    ):
        spawn(ip(*line.split()))


def _fill(work: Work) -> list[str]:
    """The ports that are present, on containers of a hundred each; their names."""
    for n in range(_PRESENT // _EACH):
        low = _FIRST + n * _EACH
        spec = f"0.0.0.0:{low}-{low + _EACH - 1}:{low}-{low + _EACH - 1}"
        container.create(work, request(f"many{n}", spec))
    return [f"many{n}" for n in range(_PRESENT // _EACH)]


_number = count(1)


def _one_more(work: Work, host: str, quiet: bool = True) -> Callable[[], float]:
    """Publishes one port, and takes it back, which does not count. ``quiet``: with nothing tracked."""
    netfilter = Netlink(NETLINK_NETFILTER)

    def action() -> float:
        if quiet:
            netfilter.send([(ct.IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, bytes(4))])
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"x", (LAN, 9))
        spec = f"{host}:{20000 + next(_number)}:80"
        took = timed(lambda: publish.publish(work, NETWORK, "web", [spec]))
        publish.unpublish(work, NETWORK, "web", [spec])
        return took

    return action


def _with_commits(work: Work, kind: str) -> list[Row]:
    def commits() -> float:
        def two() -> None:
            for value in "12":
                with work.store.write():
                    work.store.put("bench", value)

        return timed(two)

    found = interleaved({"weft": _one_more(work, "127.0.0.1"), "commits": commits}, _ROUNDS // 2)
    return [
        Row(
            f"publish one port, {_PRESENT} present, with its durable commits, state on {kind}",
            spread(found["weft"]),
        ),
        Row(f"two durable commits alone, state on {kind}", spread(found["commits"])),
    ]


# Connections


def _connects(work: Work) -> list[Row]:
    """From the LAN: with one port published, with five thousand more, and with one again."""
    address = str(work.store.endpoint("web").address)  # type: ignore[union-attr]
    last = _FIRST + _PRESENT
    publish.publish(work, NETWORK, "web", [f"{LAN}:{last}:80"])
    with _Server(address):
        one = _dialled(last)
        names = _fill(work)
        many = _dialled(last)
        remove(work, names, force=True)
        one += _dialled(last)
    publish.unpublish(work, NETWORK, "web", [f"{LAN}:{last}:80"])
    ratio = median(many) / median(one)
    what, met = f"connect from the LAN to the last of {_PRESENT} published ports", ratio <= _BAR_CONNECT
    peer = f"{spread(one)}, one published"
    return [Row(what, spread(many), peer, f"{ratio:.2f}", f"<= {_BAR_CONNECT} x", met)]


class _Inside:
    """This thread is in a namespace under /run/netns for a while."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        libc.setns(there, _CLONE_NEWNET)
        os.close(there)

    def __exit__(self, *_: object) -> None:
        libc.setns(self.own, _CLONE_NEWNET)
        os.close(self.own)


class _Server:
    """The container's: it listens and accepts nobody; who has connected is reset by the client."""

    def __init__(self, address: str) -> None:
        with _Inside("web"):
            self.sock = socket.create_server((address, 80), backlog=4096)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def _dialled(port: int) -> list[float]:
    times = []
    with _Inside("lan"):
        for _ in range(_CONNECTS):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                times.append(timed(lambda c=client: c.connect((LAN, port))))  # type: ignore[misc]
    return times
