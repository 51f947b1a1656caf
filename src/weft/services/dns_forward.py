"""Questions that go to other name servers: each by a socket of its own, by a random port, with a random id.

The same question of several askers is asked once; that also ends loops by way of somebody who asks us again.
"""

from __future__ import annotations

import posix
from _socket import (
    AF_INET,
    AF_INET6,
    SO_ERROR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    if_nametoindex,
)
from _socket import SocketType as Socket
from select import EPOLLIN, EPOLLOUT

from weft.core.wire import dns
from weft.services.loopback_loop import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from weft.core.wire.dns import Question
    from weft.services.loopback_loop import Loop

    Key = tuple[tuple[str, ...], bool, bytes]
    T = TypeVar("T")
    Waiting = tuple[bytes, str, Callable[[bytes], None]]

#: Seconds that one server is waited for: with three of them less than the 5 s of resolv.conf(5).
_PATIENCE = 1.5
_SERVERS = 3
#: Questions in flight: in all, of one asker, and of one name by one asker, by which a loop is known.
_ALL, _EACH, _SAME = 1024, 128, 8
#: Who waits for one answer.
_WAITERS = 256
_LARGEST = 65535
#: Codes of somebody who would not answer: the next one may (SERVFAIL, NOTIMP, REFUSED).
_UNWILLING = (dns.SERVFAIL, dns.NOTIMP, dns.REFUSED)


class Forwarder:
    """Asks other servers. ``host`` gives those of the host, ``own`` tells whether an address is answered by
    ourselves."""

    def __init__(self, loop: Loop, host: Callable[[], tuple[str, ...]], own: Callable[[str], bool]) -> None:
        self.loop = loop
        self.clock = Clock(loop, _PATIENCE)
        self.flights: dict[Key, Flight] = {}
        self._host = host
        self._own = own
        self._each: dict[str, int] = {}
        self._names: dict[tuple[str, bytes, int], int] = {}

    def ask(
        self,
        message: bytes,
        question: Question,
        servers: tuple[str, ...],
        source: str,
        stream: bool,
        reply: Callable[[bytes], None],
    ) -> bool:
        """Asks one server after the other; False when nobody can be asked now."""
        usable = self._usable(servers) or self._usable(self._host())
        if not usable or self._each.get(source, 0) >= _EACH:
            return False
        key = (tuple(usable), stream, message[2:])
        flight = self.flights.get(key)
        if flight is None:
            name = (source, question.name, question.type)
            if len(self.flights) >= _ALL or self._names.get(name, 0) >= _SAME:
                return False
            self._names[name] = self._names.get(name, 0) + 1
            flight = self.flights[key] = (Streamed if stream else Flight)(
                self, key, name, message, question.end
            )
            flight.waiting.append((message[:2], source, reply))
            self._each[source] = self._each.get(source, 0) + 1
            flight.next()
            return True
        if len(flight.waiting) >= _WAITERS:
            return False
        self._each[source] = self._each.get(source, 0) + 1
        flight.waiting.append((message[:2], source, reply))
        return True

    def _usable(self, servers: tuple[str, ...]) -> list[str]:
        return [s for s in servers if not self._own(s)][:_SERVERS]

    def landed(self, flight: Flight) -> None:
        """A question is over: whoever asked it may ask others."""
        self.flights.pop(flight.key, None)
        _less(self._names, flight.name)
        for _id, source, _reply in flight.waiting:
            _less(self._each, source)

    def close(self) -> None:
        """Forget all of them."""
        for flight in list(self.flights.values()):
            flight.finish(None)


class Flight:
    """One question on its way by UDP, from server to server."""

    __slots__ = ("asked", "best", "end", "forwarder", "key", "name", "servers", "sock", "waiting")

    kind = SOCK_DGRAM

    def __init__(
        self, forwarder: Forwarder, key: Key, name: tuple[str, bytes, int], message: bytes, end: int
    ) -> None:
        self.forwarder = forwarder
        self.key = key
        self.name = name
        self.servers = list(key[0])
        self.asked = message
        self.end = end
        self.best: bytes | None = None
        self.sock: Socket | None = None
        self.waiting: list[Waiting] = []

    def next(self) -> None:
        """Asks the next server that can be asked; without one all who wait get the best that there is."""
        self._hang_up()
        while self.servers:
            server = self.servers.pop(0)
            self.asked = posix.urandom(2) + self.asked[2:]
            try:
                self.sock = _connected(server, self.kind)
                self._send()
            except OSError:
                self._hang_up()
                continue
            self.forwarder.clock.start(self)
            return
        self.finish(self.best)

    def _send(self) -> None:
        assert self.sock is not None
        self.sock.send(self.asked)
        self.forwarder.loop.watch(self.sock, EPOLLIN, self)

    def ready(self, fd: int, mask: int) -> None:
        """Datagrams have come, from that server alone (a connected socket): one of them may be the answer."""
        assert self.sock is not None
        for _ in range(16):
            try:
                data = self.sock.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:  # nobody listens there
                self.next()
                return
            if dns.answers(data, self.asked, self.end):
                self._answered(data)
                return

    def _answered(self, data: bytes) -> None:
        if dns.rcode_of(data) in _UNWILLING and self.servers:
            self.best = data
            self.next()
        else:
            self.finish(data)

    def timeout(self) -> None:
        """This server says nothing."""
        self.next()

    def abort(self) -> None:
        """Something failed that should not: nobody waits for ever."""
        self.finish(self.best)

    def finish(self, data: bytes | None) -> None:
        """Gives everybody the answer, or an error, with his own id."""
        self._hang_up()
        self.forwarder.landed(self)
        if data is None:
            data = dns.failure(self.asked, self.end, dns.SERVFAIL)
        waiting, self.waiting = self.waiting, []
        for id, _source, reply in waiting:
            reply(id + data[2:])

    def _hang_up(self) -> None:
        self.forwarder.clock.stop(self)
        if self.sock is not None:
            self.forwarder.loop.bury(self.sock)
            self.sock = None


class Streamed(Flight):
    """The same by TCP, for who asked by TCP: because an answer was too long for a datagram."""

    __slots__ = ("got", "left")

    kind = SOCK_STREAM

    def _send(self) -> None:
        assert self.sock is not None
        self.left = len(self.asked).to_bytes(2, "big") + self.asked
        self.got = b""
        self.forwarder.loop.watch(self.sock, EPOLLOUT, self)

    def ready(self, fd: int, mask: int) -> None:
        """It is connected, or more has come."""
        assert self.sock is not None
        try:
            if self.sock.getsockopt(SOL_SOCKET, SO_ERROR):
                raise OSError
            if self.left:
                self.left = self.left[self.sock.send(self.left) :]
                if not self.left:
                    self.forwarder.loop.epoll.modify(self.sock.fileno(), EPOLLIN)
                return
            data = self.sock.recv(_LARGEST)
            if not data:
                raise OSError
        except BlockingIOError:
            return
        except OSError:
            self.next()
            return
        self.got += data
        size = int.from_bytes(self.got[:2], "big") + 2
        if len(self.got) < max(2, size):
            return
        if dns.answers(self.got[2:size], self.asked, self.end):
            self._answered(self.got[2:size])
        else:
            self.next()


def _connected(server: str, kind: int) -> Socket:
    """A socket towards a name server. OSError, also when that is no address; TCP is not there yet."""
    address, _, zone = server.partition("%")
    sock = Socket(AF_INET6 if ":" in address else AF_INET, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    try:
        scope = 0 if not zone else int(zone) if zone.isdigit() else if_nametoindex(zone)
        sock.connect((address, 53, 0, scope) if ":" in address else (address, 53))
    except BlockingIOError:
        pass
    except BaseException:
        sock.close()
        raise
    return sock


def _less(counts: dict[T, int], key: T) -> None:
    left = counts.get(key, 0) - 1
    if left > 0:
        counts[key] = left
    else:
        counts.pop(key, None)
