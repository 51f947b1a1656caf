"""Runs a test in a child process with its own network and mounts, and talks raw netlink there.

``@sandboxed`` on a test function: nothing that it does outlives it. What it raises, its parent raises.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import pickle
import signal
import socket
import subprocess
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from weft.core.wire import buffer as wire
from weft.core.wire import nfnetlink as nf

PR_SET_PDEATHSIG = 1
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12

libc = ctypes.CDLL(None, use_errno=True)

type_message = tuple[int, int, bytes]


def checked(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _own_network() -> None:
    checked(libc.unshare(CLONE_NEWNS | CLONE_NEWNET), "unshare")
    checked(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
    checked(libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None), "mount /sys")


def _child(function: Callable[[], Any], answer: int, enter: Callable[[], None]) -> None:
    """Runs in the fork: never returns."""
    status = 1
    try:
        enter()
        result: tuple[bool, Any] = (True, function())
        status = 0
    except BaseException:
        result = (False, traceback.format_exc())
    with os.fdopen(answer, "wb") as file:
        pickle.dump(result, file)
    os._exit(status)


def run(function: Callable[[], Any], enter: Callable[[], None] = _own_network) -> Any:
    """What the function returns in a namespace of its own; its failure as an AssertionError.

    ``enter`` takes the process there, and may fork: what it returns in goes on.
    """
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        _child(function, write, enter)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as file:
            data = file.read()
    except BaseException:  # it takes too long: it must not outlive its test
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    _, status = os.waitpid(pid, 0)
    assert data, f"the sandbox died with status {status}"
    fine, result = pickle.loads(data)
    if not fine:
        raise AssertionError(result)
    return result


def sandboxed(function: Callable[..., None]) -> Callable[..., None]:
    """The test, run by run()."""

    @functools.wraps(function)
    def test(*args: Any, **kwargs: Any) -> None:
        run(lambda: function(*args, **kwargs))

    return test


def new_netns() -> int:
    """A descriptor of a new network namespace; the caller stays in its own."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        checked(libc.unshare(CLONE_NEWNET), "unshare")
        made = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        checked(libc.setns(own, CLONE_NEWNET), "setns")
    finally:
        os.close(own)
    return made


@contextlib.contextmanager
def process_in(netns: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stays in that namespace until the end of the block."""
    words = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{netns}", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"\n", "it did not get there"
        yield process
        process.stdin.close()


def command(*words: str, netns: int | None = None, script: str = "") -> str:
    """What a command says, in the namespace of a descriptor if given; it must succeed."""
    enter = [] if netns is None else ["nsenter", f"--net=/proc/{os.getpid()}/fd/{netns}"]
    done = subprocess.run([*enter, *words], input=script, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{words}: {done.stderr}"
    return done.stdout


def ip(words: str, netns: int | None = None) -> list[dict[str, Any]]:
    """What ``ip -j -d`` says; empty objects are iproute2's for what was filtered out."""
    found = command("ip", "-j", "-d", *words.split(), netns=netns)
    return [row for row in json.loads(found or "[]") if row]


def nft(*words: str) -> str:
    """What nft says."""
    return command("nft", *words)


class Answer(NamedTuple):
    """One message from the kernel."""

    kind: int
    flags: int
    seq: int
    payload: bytes


class Kernel:
    """A netlink socket of the namespace in which it is made."""

    def __init__(self, protocol: int = NETLINK_ROUTE, *, cap: bool = True, strict: bool = False) -> None:
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, int(cap))
        self._sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, int(strict))
        self._sock.settimeout(20)
        self.datagrams: list[bytes] = []

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def _receive(self) -> list[Answer]:
        data = self._sock.recv(1 << 18)
        self.datagrams.append(data)
        return [Answer(*found) for found in wire.frames(data)]

    def listen(self, *groups: int) -> None:
        """Hears what the kernel tells those groups from now on."""
        self._sock.bind((0, 0))  # a socket without an address of its own hears nothing
        for group in groups:
            self._sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def heard(self) -> list[Answer]:
        """The next that it tells; TimeoutError when it stays silent."""
        return self._receive()

    def exchange(self, data: bytes) -> list[Answer]:
        """Sends bytes as they are; the first datagram that comes back."""
        self._sock.send(data)
        return self._receive()

    def acks(self, messages: Iterable[type_message]) -> list[wire.Ack]:
        """Sends each and reads what the kernel says to it."""
        found = []
        for seq, (kind, flags, payload) in enumerate(messages, 1):
            said = self.exchange(wire.frame(kind, flags | wire.NLM_F_ACK, seq, payload))
            answers = [a for a in said if a.kind == wire.NLMSG_ERROR]
            assert [a.seq for a in answers] == [seq]
            found += [wire.get_ack(a.payload, a.flags) for a in answers]
        return found

    def do(self, *messages: type_message) -> None:
        """Sends each; all must succeed."""
        assert self.acks(messages) == [wire.Ack(0)] * len(messages)

    def batch(self, *messages: type_message) -> list[wire.Ack]:
        """One nf_tables transaction in one send; what the kernel says to each message in it."""
        whole = [nf.batch_begin(), *messages, nf.batch_end()]
        sent = [wire.frame(kind, flags, seq, payload) for seq, (kind, flags, payload) in enumerate(whole)]
        self._sock.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)  # SO_SNDBUFFORCE
        self._sock.send(b"".join(sent))
        acks: dict[int, wire.Ack] = {}
        while len(acks) < len(messages):
            for answer in self._receive():
                assert answer.kind == wire.NLMSG_ERROR
                acks[answer.seq] = wire.get_ack(answer.payload, answer.flags)
        return [acks[seq] for seq in sorted(acks)]

    def commit(self, *messages: type_message) -> None:
        """One nf_tables transaction; all must succeed."""
        assert self.batch(*messages) == [wire.Ack(0)] * len(messages)

    def ask(self, message: type_message) -> list[bytes]:
        """The payloads of all answers to a request or dump, which must succeed."""
        kind, flags, payload = message
        self._sock.send(wire.frame(kind, flags, 1, payload))
        found: list[bytes] = []
        while True:
            for answer in self._receive():
                if answer.kind == wire.NLMSG_ERROR:
                    raise AssertionError(wire.get_ack(answer.payload, answer.flags))
                if answer.kind == wire.NLMSG_DONE:
                    assert wire.get_done(answer.payload, answer.flags) == wire.Ack(0)
                    return found
                found.append(answer.payload)
                if not answer.flags & wire.NLM_F_MULTI:
                    return found
