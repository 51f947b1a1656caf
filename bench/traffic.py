"""What do weft's guards cost a packet: between containers, and from the LAN to a published port?"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from world import LAN, Row, against, interleaved, ip, library, request, spawn

from weft.engine import container
from weft.linux import libc

_PORT = 9000
_PUBLISHED = 8080
_ROUNDS = 40
_TRIPS = 200
_CONNECTS = 50
_MESSAGE = bytes(64)
_CHUNK = bytes(1 << 17)
_SECONDS = 0.4
_BAR_TRIP, _BAR_CONNECT, _BAR_BYTES = 1.0, 1.5, 0.95


class End(NamedTuple):
    """Where a client calls from, and whom."""

    netns: str
    address: str
    port: int = _PORT


def measure(kind: str) -> list[Row]:
    """Ratios against a plain bridge, and against one veth pair."""
    work = library(kind)
    container.create(work, request("web", f"0.0.0.0:{_PUBLISHED}:{_PORT}"))
    container.create(work, request("db"))
    endpoint = work.store.endpoint("web")
    assert endpoint is not None
    ends = {
        "weft": End("db", str(endpoint.address)),
        "bridge": _plain(),
        "veth": _veth(),
        "published": End("lan", LAN, _PUBLISHED),
    }
    _lan()
    servers = [_serve(name) for name in ("web", "plain1", "bare1")]
    try:
        rows = []
        for value in "01":
            _bridge_nf(value)
            rows += [*_trips(ends), _bytes(ends), _connects(ends)]
            rows = [
                r if "bridge-nf" in r.what else r._replace(what=f"{r.what}, bridge-nf {value}") for r in rows
            ]
        return rows
    finally:
        for pid in servers:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def _bridge_nf(value: str) -> None:
    """Whether the machine's IP firewall sees what is bridged (net.bridge.bridge-nf-call-iptables)."""
    with open("/proc/sys/net/bridge/bridge-nf-call-iptables", "w") as file:
        file.write(value)


def _lines(*lines: str) -> None:
    for line in lines:
        spawn(ip(*line.split()))


def _plain() -> End:
    """Two namespaces on a bridge whose frames no firewall sees."""
    _lines("link add plain0 type bridge nf_call_iptables 0 nf_call_ip6tables 0", "link set plain0 up")
    for n in (1, 2):
        _lines(
            f"netns add plain{n}",
            f"link add plain0{n} master plain0 type veth peer name eth0 netns plain{n}",
            f"link set plain0{n} up",
            f"-n plain{n} addr add 10.91.0.{n}/24 dev eth0",
            f"-n plain{n} link set eth0 up",
        )
    return End("plain2", "10.91.0.1")


def _veth() -> End:
    """Two namespaces and one cable."""
    _lines(
        "netns add bare1", "netns add bare2", "-n bare1 link add eth0 type veth peer name eth0 netns bare2"
    )
    for n in (1, 2):
        _lines(f"-n bare{n} addr add 10.92.0.{n}/24 dev eth0", f"-n bare{n} link set eth0 up")
    return End("bare2", "10.92.0.1")


def _lan() -> None:
    _lines(
        "netns add lan",
        "link add lan0 index 100 type veth peer name eth0 netns lan",
        f"addr add {LAN}/24 dev lan0",
        "link set lan0 up",
        "-n lan addr add 203.0.113.2/24 dev eth0",
        "-n lan link set eth0 up",
    )


def _enter(netns: str) -> None:
    fd = os.open(f"/run/netns/{netns}" if netns else "/proc/1/ns/net", os.O_RDONLY)
    libc.setns(fd, libc.CLONE_NEWNET)
    os.close(fd)


def _serve(netns: str) -> int:
    """A process that answers in a namespace; its pid, once it listens."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        return pid
    _enter(netns)
    listener = socket.create_server(("", _PORT), backlog=512)
    os.write(told, b".")
    while True:
        found, _ = listener.accept()
        _answer(found)


def _answer(found: socket.socket) -> None:
    """Echoes small messages; swallows large ones, and says at their end how many bytes came."""
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first = found.recv(1)
    if first == b"e":
        while data := found.recv(4096):
            found.sendall(data)
    elif first == b"s":
        count, buffer = 0, bytearray(1 << 20)
        while (got := found.recv_into(buffer)) > 0:
            count += got
        found.sendall(str(count).encode())
    found.close()


def _dial(end: End, home: int) -> socket.socket:
    """A connection made in a namespace: a socket stays in the one it was made in."""
    _enter(end.netns)
    made = socket.socket()
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.settimeout(10)
    made.connect((end.address, end.port))
    made.setblocking(True)
    libc.setns(home, libc.CLONE_NEWNET)
    return made


def _home() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _trip(end: End, home: int) -> Callable[[], float]:
    """One round trip, over many."""

    def run() -> float:
        found = _dial(end, home)
        found.sendall(b"e")
        start = time.perf_counter()
        for _ in range(_TRIPS):
            found.sendall(_MESSAGE)
            found.recv(4096)
        taken = (time.perf_counter() - start) / _TRIPS
        found.close()
        return taken

    return run


def _micro(row: Row, weft: list[float], peer: list[float]) -> Row:
    said = [f"{median(times) * 1e6:.1f} us (min {min(times) * 1e6:.1f} us)" for times in (weft, peer)]
    return row._replace(weft=said[0], peer=said[1])


def _trips(ends: dict[str, End]) -> list[Row]:
    home = _home()
    found = interleaved({k: _trip(ends[k], home) for k in ("weft", "bridge", "veth")}, _ROUNDS)
    what = "container to container, TCP round trip of 64 bytes: weft"
    bridge = against(f"{what} : a plain bridge", found["weft"], found["bridge"], _BAR_TRIP)
    veth = against("the same against one veth pair", found["weft"], found["veth"], None)
    return [_micro(bridge, found["weft"], found["bridge"]), _micro(veth, found["weft"], found["veth"])]


def _connects(ends: dict[str, End]) -> Row:
    home = _home()

    def run(end: End) -> Callable[[], float]:
        def dial() -> float:
            _enter(end.netns)
            taken = 0.0
            for _ in range(_CONNECTS):
                made = socket.socket()
                start = time.perf_counter()
                made.connect((end.address, end.port))
                taken += time.perf_counter() - start
                made.close()
            libc.setns(home, libc.CLONE_NEWNET)
            return taken / _CONNECTS

        return dial

    found = interleaved({k: run(ends[k]) for k in ("published", "veth")}, _ROUNDS)
    row = against(
        "LAN to a published port: connect", found["published"], found["veth"], _BAR_CONNECT, ", one veth pair"
    )
    return _micro(row, found["published"], found["veth"])


def _bytes(ends: dict[str, End]) -> Row:
    home = _home()

    def run(end: End) -> Callable[[], float]:
        def send() -> float:
            found = _dial(end, home)
            found.sendall(b"s")
            start = time.perf_counter()
            while time.perf_counter() - start < _SECONDS:
                found.sendall(_CHUNK)
            found.shutdown(socket.SHUT_WR)
            count = int(found.recv(64))
            taken = time.perf_counter() - start
            found.close()
            return count * 8 / taken

        return send

    found = interleaved({k: run(ends[k]) for k in ("weft", "veth")}, _ROUNDS // 4)
    rates = {k: median(v) for k, v in found.items()}
    ratio = rates["weft"] / rates["veth"]
    said = {k: f"{rate / 1e9:.1f} Gbit/s" for k, rate in rates.items()}
    what = "container to container, TCP throughput"
    return Row(
        what,
        said["weft"],
        f"{said['veth']}, one veth pair",
        f"{ratio:.2f}",
        f">= {_BAR_BYTES} x",
        ratio >= _BAR_BYTES,
    )
