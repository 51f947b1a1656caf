"""Holding ports, and the loopback proxy from its start to its end."""

from __future__ import annotations

import _socket
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.loopback_world import (
    BOX,
    HOST,
    PUBLISHED,
    SRC,
    TCP,
    World,
    a_world,
    as_nobody,
    dial,
    echo,
    gone,
    status,
    taken,
)
from weft.core.model.errors import BadInput, Conflict, KernelError, NotFound, NotOurs, NotPermitted
from weft.linux.loopback import LoopbackClient, hold
from weft.services.loopback import Proxy


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


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
        ("tcp", "localhost", 80),
        ("tcp", "[::1]", 80),
        ("tcp", "::ffff:127.0.0.1", 80),
        ("tcp", "fe80::1", 80),
        ("tcp", "::1%lo", 80),
        ("tcp", "127.0.0.1", 0),
        ("tcp", "127.0.0.1\0", 80),
        ("tcp", "127.0.0.1", 65536),
    ):
        with pytest.raises(BadInput):
            hold(proto, address, port)
    assert as_nobody(lambda: hold("tcp", "127.0.0.1", 80)) == "NotPermitted"


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


def test_a_proxy_that_is_never_given_a_mapping_ends(world: World) -> None:
    """Whoever started it died in between. In this process, with the clock in the test's hand."""
    control = _socket.SocketType(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0)
    control.bind(str(world.launcher) + ".sock")
    control.listen(1)
    listener = _socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    proxy = Proxy(control, listener)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    for seconds, running in ((29, True), (2, False)):
        proxy.loop.now += seconds
        proxy.grace.ring()
        assert proxy.running == running
    assert not os.path.exists(str(world.launcher) + ".sock")


def test_ends_with_the_last_mapping_that_covers_loopback(world: World) -> None:
    elsewhere = ("tcp", HOST, 7777, BOX, 7)
    world.serve(echo)
    pid_fd = os.pidfd_open(world.start(TCP, everywhere := ("tcp", "0.0.0.0", 8081, BOX, 81), elsewhere))
    world.client.remove([TCP[:3], ("tcp", "127.0.0.1", 1, "", 0)[:3]])
    assert world.client.alive()
    world.client.remove([everywhere[:3]])
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
        assert set(done.stdout.split()) <= allowed
