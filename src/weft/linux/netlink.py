"""A netlink socket, opened inside a namespace, and what it says when it refuses (netlink(7)).

Many messages go out in one send. Only the last asks for an acknowledgement: the kernel works
through them in order and reports every error anyway, so one answer ends the wait.
"""

from __future__ import annotations

import errno
import posix
from _socket import AF_NETLINK, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket
from _struct import Struct
from fcntl import ioctl
from sys import byteorder

from weft.core.model.errors import KernelError, NotPermitted, Unsupported, WeftError
from weft.core.wire import buffer as wire
from weft.linux.paths import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weft.core.ops.base import Message

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
_FAMILIES = {NETLINK_ROUTE: ("route", "CONFIG_NET"), NETLINK_NETFILTER: ("netfilter", "CONFIG_NF_TABLES")}
_SOL_NETLINK = 270
_EXT_ACK = 11
_CAP_ACK = 10
_GET_STRICT_CHK = 12
_SO_RCVTIMEO = 20
#: The kernel answers within its own call; 30 s is for a machine that swaps.
_TIMEOUT = (30).to_bytes(8, byteorder) + bytes(8)
#: Messages a send: a socket buffer takes some hundred of the largest.
_SLICE = 128
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SIOCGIFINDEX = 0x8933
#: struct ifreq with ifr_ifindex (netdevice(7))
_IFREQ = Struct("=16si20x")


class Refusal(KernelError):
    """The kernel refused message ``index`` of a send."""

    def __init__(self, index: int, number: int, text: str) -> None:
        said = posix.strerror(number) + (f" ({text})" if text else "")
        super().__init__(said, number)
        if number in (errno.EPERM, errno.EACCES):
            # Of a question that is all there is to say: what was to be changed is told by linux/refusals.
            self.status, self.hint = (
                NotPermitted.status,
                "the kernel refused a netlink request: run weft as root",
            )
        self.index = index
        self.text = text

    def at(self, index: int) -> Refusal:
        """The same, of a message that is number ``index`` elsewhere."""
        return Refusal(index, self.errno, self.text)


def _no_socket(protocol: int, error: OSError) -> WeftError:
    """netlink(7): EPROTONOSUPPORT where that family is not built in and no module brings it."""
    family, option = _FAMILIES[protocol]
    if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
        return Unsupported(f"the kernel has no {family} netlink", f"{option} is needed")
    return KernelError(f"no {family} netlink socket: {error.strerror}", error.errno or 0)


class Netlink:
    """One socket in the namespace of the thread that makes it; it stays there."""

    __slots__ = ("_seq", "_sock")

    def __init__(self, protocol: int, strict: bool = False) -> None:
        """``strict``: dumps heed what they are asked for (NETLINK_GET_STRICT_CHK), or are refused."""
        try:
            self._sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise _no_socket(protocol, error) from None
        self._sock.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._sock.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        if strict:
            self._sock.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        self._sock.setsockopt(SOL_SOCKET, _SO_RCVTIMEO, _TIMEOUT)
        self._seq = 0

    def close(self) -> None:
        """Closes the socket."""
        self._sock.close()

    def fileno(self) -> int:
        """The descriptor."""
        return int(self._sock.fileno())

    def _frame(self, messages: Sequence[Message]) -> tuple[bytes, int]:
        first = self._seq + 1
        last = len(messages) - 1
        parts = []
        for n, (kind, flags, payload) in enumerate(messages):
            asked = flags | wire.NLM_F_ACK if n == last else flags & ~wire.NLM_F_ACK
            parts.append(wire.frame(kind, asked, first + n, payload))
        self._seq += len(messages)
        return b"".join(parts), first

    def send(self, messages: Sequence[Message]) -> None:
        """Sends all and waits; Refusal for the first that the kernel refused (later ones were tried)."""
        errors = self.attempt(messages)
        if errors:
            raise errors[0]

    def attempt(self, messages: Sequence[Message]) -> list[Refusal]:
        """Sends all and waits; gives every refusal, in order."""
        errors: list[Refusal] = []
        for start in range(0, len(messages), _SLICE):
            part = messages[start : start + _SLICE]
            data, first = self._frame(part)
            errors += self._exchange(data, first, len(part), start)
        return errors

    def transaction(self, messages: Sequence[Message]) -> None:
        """One nf_tables batch: all or nothing. Refusal for the first that the kernel refused."""
        errors = self.transact(messages)
        if errors:
            raise errors[0]

    def transact(self, messages: Sequence[Message]) -> list[Refusal]:
        """The same; gives every refusal, in order (as many as the socket holds: some hundred)."""
        data, first = self._frame(messages)
        begin, end = _edge(_BATCH_BEGIN, first - 1), _edge(_BATCH_END, self._seq + 1)
        self._seq += 1
        if len(data) > 100_000:
            self._sock.setsockopt(SOL_SOCKET, 32, len(data) * 2)
        return self._exchange(begin + data + end, first, len(messages), 0)

    def _exchange(self, data: bytes, first: int, count: int, offset: int) -> list[Refusal]:
        self._sock.send(data)
        errors: list[Refusal] = []
        last = first + count - 1
        for answer in self._answers():
            for kind, flags, seq, payload in wire.frames(answer):
                if kind != wire.NLMSG_ERROR or not first - 1 <= seq <= last:
                    continue
                ack = wire.get_ack(payload, flags)
                if ack.errno:
                    errors.append(Refusal(offset + max(seq - first, 0), ack.errno, ack.text))
                if seq in (last, first - 1):
                    return sorted(errors, key=lambda e: e.index)
        return sorted(errors, key=lambda e: e.index)

    def _answers(self) -> Iterator[bytes]:
        """Datagram by datagram; it ends where the kernel had more to refuse than the socket holds."""
        try:
            while True:
                yield self._receive()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        # What came before that is there to be read, what came after was dropped.
        try:
            while True:
                yield bytes(self._sock.recv(1 << 16, MSG_DONTWAIT))
        except BlockingIOError:
            pass

    def _receive(self) -> bytes:
        try:
            return bytes(self._sock.recv(1 << 16))
        except BlockingIOError:
            raise KernelError("the kernel did not answer a netlink message in 30 s") from None

    def ask(self, message: Message) -> bytes:
        """Sends a request that has one answer and gives its payload; Refusal when refused."""
        (answer,) = self.ask_each((message,))
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def ask_each(self, messages: Sequence[Message]) -> list[bytes | Refusal]:
        """Sends requests that have one answer each; the payloads or refusals, in order.

        Whoever has no right to ask is told so once for all of them (nfnetlink_rcv()): Refusal is raised.
        """
        first = self._seq + 1
        self._seq += len(messages)
        parts = [
            wire.frame(kind, flags & ~wire.NLM_F_ACK, seq, payload)
            for seq, (kind, flags, payload) in enumerate(messages, first)
        ]
        self._sock.send(b"".join(parts))
        found: list[bytes | Refusal] = []
        while len(found) < len(messages):
            for kind, flags, seq, answer in wire.frames(self._receive()):
                if seq != first + len(found):
                    continue
                if kind == wire.NLMSG_ERROR:
                    ack = wire.get_ack(answer, flags)
                    found.append(Refusal(len(found), ack.errno or errno.EPROTO, ack.text))
                    if ack.errno == errno.EPERM:
                        raise Refusal(0, ack.errno, ack.text)
                else:
                    found.append(answer)
        return found

    def index(self, ifname: str) -> int:
        """An interface's number in the socket's namespace, by ioctl(2): RTM_GETLINK tells sixty things more.

        Refusal (ENODEV) when there is none.
        """
        raw = encode(ifname)
        if len(raw) > 15:  # it would be cut short, and may then be another's
            raise Refusal(0, errno.ENODEV, ifname)
        try:
            answer = ioctl(self._sock, _SIOCGIFINDEX, _IFREQ.pack(raw, 0))
        except OSError as error:
            raise Refusal(0, error.errno or errno.ENODEV, ifname) from None
        return int(_IFREQ.unpack(answer)[1])

    def dump(self, message: Message) -> list[bytes]:
        """All answers of a dump request; tried again when the kernel says that it changed meanwhile."""
        for _ in range(10):
            found = self._dump(message)
            if found is not None:
                return found
        raise KernelError("a netlink dump was interrupted ten times", errno.EINTR)

    def _dump(self, message: Message) -> list[bytes] | None:
        kind, flags, payload = message
        self._seq += 1
        self._sock.send(wire.frame(kind, flags, self._seq, payload))
        found: list[bytes] = []
        torn = False
        while True:
            for kind, flags, seq, answer in wire.frames(self._receive()):
                if seq != self._seq:
                    continue
                torn = torn or bool(flags & wire.NLM_F_DUMP_INTR)
                if kind == wire.NLMSG_ERROR:
                    ack = wire.get_ack(answer, flags)
                    raise Refusal(0, ack.errno or errno.EPROTO, ack.text)
                if kind == wire.NLMSG_DONE:
                    ack = wire.get_done(answer, flags)
                    if ack.errno:
                        raise Refusal(0, ack.errno, ack.text)
                    return None if torn else found
                found.append(answer)


def _edge(kind: int, seq: int) -> bytes:
    """Begin or end of a batch: nfgenmsg with the subsystem (10, nf_tables) as resource id."""
    return wire.frame(kind, wire.NLM_F_REQUEST, seq, b"\0\0\0\x0a")


class Notices:
    """``with Notices(group, seconds) as heard``: waits for the kernel's announcements of that group."""

    __slots__ = ("_sock",)

    def __init__(self, group: int, timeout: float) -> None:
        self._sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self._sock.bind((0, 1 << (group - 1)))
        self._sock.settimeout(timeout)

    def __enter__(self) -> Notices:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def next(self) -> bool:
        """Waits for the next announcement; False when none came in time."""
        try:
            self._sock.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError as error:
            # So many that some were lost: something surely changed.
            return error.errno == errno.ENOBUFS
        return True
