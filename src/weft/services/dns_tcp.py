"""DNS by TCP (RFC 7766): several questions a connection, answered as answers come; nobody is waited for."""

from __future__ import annotations

from _socket import MSG_DONTWAIT
from _socket import SocketType as Socket
from select import EPOLLIN, EPOLLOUT

from weft.services.loopback_loop import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.naming.zone import View
    from weft.services.dns import Listener
    from weft.services.loopback_loop import Loop

#: Connections in all and of one address, and seconds that one may be silent.
_ALL, _EACH, _SILENT = 256, 32, 10.0
#: Questions of one connection that wait for an answer, the longest question, and what may wait to be read.
_ASKED, _QUESTION, _UNREAD = 32, 4096, 1 << 18


class Callers:
    """All connections."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.clock = Clock(loop, _SILENT)
        self.calls: dict[Call, None] = {}
        self.each: dict[str, int] = {}

    def accept(self, sock: Socket, listener: Listener) -> None:
        """Takes who has connected; who has enough connections is hung up on, and with too many in all the
        one that has been silent longest."""
        for _ in range(16):
            try:
                number, peer = sock._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            taken = Socket(sock.family, sock.type, 0, number)
            source = str(peer[0])
            if self.each.get(source, 0) >= _EACH:
                taken.close()
                continue
            if len(self.calls) >= _ALL:
                oldest = self.clock.oldest()
                if isinstance(oldest, Call):
                    oldest.abort()
            Call(self, taken, source, listener)


class Call:
    """One connection."""

    __slots__ = ("_asked", "_callers", "_got", "_listener", "_open", "_sock", "_source", "_unsent")

    def __init__(self, callers: Callers, sock: Socket, source: str, listener: Listener) -> None:
        self._callers = callers
        self._sock = sock
        self._source = source
        self._listener = listener
        self._got = b""
        self._unsent = b""
        self._asked = 0
        self._open = True
        sock.setblocking(False)
        callers.calls[self] = None
        callers.each[source] = callers.each.get(source, 0) + 1
        callers.clock.start(self)
        callers.loop.watch(sock, EPOLLIN, self)

    def ready(self, fd: int, mask: int) -> None:
        """More has come, or more can go."""
        if mask & EPOLLOUT and self._unsent:
            self._flush()
        if mask & ~EPOLLOUT and self._open:
            self._read()

    def timeout(self) -> None:
        """It says nothing."""
        self.abort()

    def abort(self) -> None:
        """Hang up."""
        if not self._open:
            return
        self._open = False
        self._callers.clock.stop(self)
        self._callers.calls.pop(self, None)
        left = self._callers.each.get(self._source, 1) - 1
        if left:
            self._callers.each[self._source] = left
        else:
            self._callers.each.pop(self._source, None)
        self._callers.loop.bury(self._sock)

    def _read(self) -> None:
        try:
            data = self._sock.recv(1 << 16, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.abort()
            return
        self._got += data
        view = self._listener.view(self._source)
        while len(self._got) > 2 and self._open:
            size = int.from_bytes(self._got[:2], "big")
            if size > _QUESTION or self._asked >= _ASKED:
                self.abort()
                return
            if len(self._got) < size + 2:
                return
            message, self._got = self._got[2 : size + 2], self._got[size + 2 :]
            self._ask(message, view)

    def _ask(self, message: bytes, view: View) -> None:
        # Only a whole question counts as a sign of life: who sends a byte now and then is not waited for.
        self._callers.clock.start(self)
        self._asked += 1
        if len(message) < 12 or message[2] & 0x80:
            self.abort()  # nothing will ever be answered to that
            return
        self._listener.server.desk.handle(message, view, self._source, True, self._reply)

    def _reply(self, answer: bytes) -> None:
        self._asked -= 1
        if not self._open:
            return
        self._unsent += len(answer).to_bytes(2, "big") + answer
        self._flush()

    def _flush(self) -> None:
        had = len(self._unsent)
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent, MSG_DONTWAIT) :]
        except BlockingIOError:
            pass
        except OSError:
            self.abort()
            return
        if len(self._unsent) > _UNREAD:
            self.abort()
            return
        if self._unsent or had:
            wanted = EPOLLIN | EPOLLOUT if self._unsent else EPOLLIN
            self._callers.loop.epoll.modify(self._sock.fileno(), wanted)
