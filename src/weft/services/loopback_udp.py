"""UDP through the loopback proxy: the held socket serves, with one connected socket for each client's flow.

There is no SO_ORIGINAL_DST for UDP, so nothing is redirected: datagrams to 127.x:PORT reach the held
socket itself. Answers leave from the address that was dialled (IP_PKTINFO, ip(7)), as a connected
client takes no others. A flow ends 30 s after its last datagram, 120 s once both sides have spoken:
conntrack's own times. The table is bounded; who has waited longest makes room, one-sided flows first.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, CMSG_SPACE, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK
from _socket import SocketType as Socket
from _struct import pack
from select import EPOLLIN

from weft.services.loopback_loop import Clock, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    Address = tuple[str, int]

_SOL_IP, _IP_PKTINFO = 0, 8
#: ipv6(7), RFC 3542
_SOL_IPV6, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 41, 49, 50
_PKTINFO_ROOM = CMSG_SPACE(20)
_BATCH = 64
_LARGEST = 65536
_ONE_SIDED, _TWO_SIDED = 30.0, 120.0


class Flows:
    """All flows of all held sockets: how many, their clocks, and one buffer (a datagram is never kept)."""

    __slots__ = ("both", "buffer", "limit", "loop", "one", "view")

    def __init__(self, loop: Loop, limit: int, one: float = _ONE_SIDED, both: float = _TWO_SIDED) -> None:
        """At most ``limit`` flows; ``one`` and ``both`` are their idle seconds, one-sided and two-sided."""
        self.loop = loop
        self.limit = limit
        self.one = Clock(loop, one)
        self.both = Clock(loop, both)
        self.buffer = bytearray(_LARGEST)
        self.view = memoryview(self.buffer)

    def make_room(self) -> None:
        """Before a new flow: the one that has waited longest goes if the table is full."""
        if len(self.one.due) + len(self.both.due) >= self.limit:
            oldest = self.one.oldest() or self.both.oldest()
            if isinstance(oldest, Flow):
                oldest.close()


class Flow:
    """One client's datagrams: a socket connected to the target, so that answers name their client."""

    __slots__ = ("ancillary", "answered", "client", "key", "owner", "sock")

    def __init__(self, owner: Served, client: Address, local: bytes) -> None:
        """``local``: the dialled address, see ``_dialled``. OSError when the target cannot be dialled."""
        self.owner = owner
        self.client = client
        self.key = client, local
        self.answered = False
        self.ancillary = [_source(local)]
        family = AF_INET6 if ":" in owner.target[0] else AF_INET
        self.sock = Socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        self.sock.connect(owner.target)
        owner.loop.watch(self.sock, EPOLLIN, self)

    def touch(self) -> None:
        """A datagram passed: the waiting starts anew."""
        flows = self.owner.table
        (flows.both if self.answered else flows.one).start(self)

    def ready(self, fd: int, mask: int) -> None:
        """Answers: back to the client, from the address it dialled."""
        table = self.owner.table
        for _ in range(_BATCH):
            try:
                count = self.sock.recv_into(table.buffer)
            except BlockingIOError:
                return
            except OSError:  # ECONNREFUSED: nobody listens there (yet); UDP has no way to pass that on
                continue
            if not self.answered:
                self.answered = True
                table.one.stop(self)
            self.touch()
            self._answer(table.view[:count])

    def timeout(self) -> None:
        """Idle for too long."""
        self.close()

    def abort(self) -> None:
        """Something unforeseen; the client's next datagram makes a new flow."""
        self.close()

    def close(self) -> None:
        """Give the socket and the place in the table back."""
        self.owner.table.one.stop(self)
        self.owner.table.both.stop(self)
        self.owner.flows.pop(self.key, None)
        self.owner.loop.bury(self.sock)

    def _answer(self, data: memoryview) -> None:
        try:
            self.owner.sock.sendmsg([data], self.ancillary, 0, self.client)
        except OSError:  # a full buffer or a vanished client: a lost datagram, as UDP allows
            pass


class Served:
    """A held socket that covers loopback, and the flows of its clients."""

    __slots__ = ("flows", "loop", "sock", "table", "target")

    def __init__(self, table: Flows, sock: Socket, target: Address) -> None:
        """Takes the socket over, and watches it; OSError if it is none of ours to watch."""
        self.table = table
        self.loop = table.loop
        self.sock = sock
        self.target = target
        self.flows: dict[tuple[Address, bytes], Flow] = {}
        sock.setblocking(False)
        if sock.family == AF_INET6:
            sock.setsockopt(_SOL_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(_SOL_IP, _IP_PKTINFO, 1)
        self.loop.watch(sock, EPOLLIN, self)

    def ready(self, fd: int, mask: int) -> None:
        """Datagrams of clients, a batch of them."""
        for _ in range(_BATCH):
            try:
                count, ancillary, _flags, client = self.sock.recvmsg_into([self.table.buffer], _PKTINFO_ROOM)
            except BlockingIOError:
                return
            except OSError:
                continue
            local = _dialled(ancillary)
            if local is not None:
                self._forward(client, local, self.table.view[:count])

    def abort(self) -> None:
        """Something unforeseen met one datagram, which is lost; the socket goes on serving."""

    def retarget(self, target: Address) -> None:
        """Another container answers from now on; flows to the old one end."""
        if target != self.target:
            self.end_flows()
            self.target = target

    def end_flows(self) -> None:
        """Forget all clients."""
        for flow in list(self.flows.values()):
            flow.close()

    def close(self) -> None:
        """Stop serving and close the held socket at once: the port is free when this returns."""
        self.end_flows()
        self.loop.forget(self.sock)
        self.sock.close()

    def _forward(self, client: Address, local: bytes, data: memoryview) -> None:
        try:
            flow = self.flows.get((client, local)) or self._open(client, local)
            flow.touch()
            flow.sock.send(data)
        except OSError:  # no descriptor, no route, refused before: a lost datagram, as UDP allows
            pass

    def _open(self, client: Address, local: bytes) -> Flow:
        self.table.make_room()
        flow = Flow(self, client, local)
        self.flows[flow.key] = flow
        return flow


def _source(local: bytes) -> tuple[int, int, bytes]:
    """What makes an answer leave from an address."""
    if len(local) == 20:
        return _SOL_IPV6, _IPV6_PKTINFO, local
    return _SOL_IP, _IP_PKTINFO, pack("=i4s4s", 0, local, bytes(4))


def _dialled(ancillary: list[tuple[int, int, bytes]]) -> bytes | None:
    """The address a datagram was sent to; None when that was many (broadcast, multicast).

    Of in_pktinfo's ifindex, spec_dst (the local address) and addr (of the header) the last; of IPv6 the
    in6_pktinfo of an answer: addr, ifindex.
    """
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_IPV6, _IPV6_PKTINFO) and len(data) >= 20:
            scoped = data[0] == 0xFE and data[1] & 0xC0 == 0x80  # link-local: nothing without its interface
            return None if data[0] == 0xFF else data[:16] + (data[16:20] if scoped else bytes(4))
        if (level, kind) == (_SOL_IP, _IP_PKTINFO) and len(data) >= 12:
            return data[8:12] if data[4:8] == data[8:12] else None
    return None
