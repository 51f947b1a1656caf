"""A host with one container, in namespaces made for one test of the loopback proxy."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from weft.linux.loopback import LoopbackClient, hold

SRC = Path(__file__).resolve().parents[2] / "src"
CLONE_NEWNET = 0x40000000
HOST, BOX = "10.77.0.1", "10.77.0.2"
HOST6, BOX6, LINK_LOCAL = "fd77::1", "fd77::2", "fe80::77"
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


def redirect(ports: str, to: int) -> None:
    """What weft's firewall does with published ports dialled at 127.x, ``ports`` as nft writes them."""
    rule = f"ip daddr 127.0.0.0/8 tcp dport {ports} redirect to :{to}"
    chain = f"type nat hook output priority -100\n {rule}"
    run("nft", "-f", "-", stdin=f"table inet t {{\n chain o {{\n {chain}\n }}\n}}\n")


class World:
    """This thread's network namespace is a host with one container, until the test is over."""

    def __init__(self, tmp: Path) -> None:
        self.launcher = tmp / "launcher"
        self.write_launcher()
        self.client = LoopbackClient(str(tmp / "run"), str(self.launcher))
        self.listeners: list[socket.socket] = []
        self.port = self.box_ns = self.host_ns = -1

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

    def start(self, *mappings: tuple[str, str, int, str, int], ports: str = str(PUBLISHED)) -> int:
        """The proxy with these mappings, ports held, and the rule that leads to it; returns its pid."""
        self.port = self.client.free_port(20000)
        fds = [hold(*m[:4]) for m in mappings]
        self.client.start(self.port, mappings, fds)
        for fd in fds:
            os.close(fd)
        redirect(ports, self.port)
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

    def listen(self, port: int = INNER, backlog: int = 512, address: str = BOX) -> socket.socket:
        with self.inside():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = socket.create_server((address, port), family=family, backlog=backlog)
        self.listeners.append(sock)
        return sock

    def serve(self, talk: Callable[[socket.socket], None], port: int = INNER, address: str = BOX) -> None:
        """In the container: each connection gets a thread that talks."""
        listener = self.listen(port, address=address)

        def one(sock: socket.socket) -> None:
            with sock, contextlib.suppress(OSError):
                talk(sock)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def udp(self, port: int, address: str = BOX) -> socket.socket:
        with self.inside():
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.settimeout(10)
        self.listeners.append(sock)
        return sock


@contextlib.contextmanager
def a_world(tmp: Path) -> Iterator[World]:
    """This thread is on the host of a new World; afterwards where it was, and all of that is gone."""
    made = World(tmp)
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
            stdin=f"link set lo up\nlink add v0 index 100 type veth peer name eth0 netns {box.pid}\n"
            f"addr add {HOST}/24 dev v0\naddr add {HOST6}/64 dev v0 nodad\n"
            f"addr add {LINK_LOCAL}/64 dev v0 nodad\nlink set v0 up\n",
        )
        with made.inside():
            lines = f"addr add {BOX}/24 dev eth0\naddr add {BOX6}/64 dev eth0 nodad\n"
            lines += "addr add fe80::78/64 dev eth0 nodad\nlink set eth0 up\n"
            run("ip", "-b", "-", stdin=f"link set lo up\n{lines}")
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
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
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


def as_nobody(call: Callable[[], object]) -> str:
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
