"""TCP through the loopback proxy: accept, ask where it was meant to go, connect, splice both ways.

The kernel moves the bytes, socket to pipe to socket (splice(2)); they never enter this process. A
pipe belongs to a direction only while it holds something, so an idle connection costs two descriptors.

States of a connection: CONNECTING -> OPEN -> CLOSED, or -> BROKEN -> CLOSED: one side was reset; what it
had said before is still delivered (an HTTP server's early answer), for 10 s at most, then both are reset.
"""

from __future__ import annotations

import posix
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    MSG_PEEK,
    SHUT_WR,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_OOBINLINE,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_KEEPIDLE,
    TCP_NODELAY,
    inet_ntop,
)
from _socket import SocketType as Socket
from _struct import pack
from errno import EINPROGRESS
from select import EPOLLERR, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP

from weft.services.loopback_loop import Clock, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Address = tuple[str, int]
    Key = tuple[str, str, int]
    Find = Callable[[str, str, int], tuple[Key, Address] | None]

_SOL_IP, _SO_ORIGINAL_DST = 0, 80
_CHUNK = 1 << 20
_ROUNDS = 16
_ACCEPTS = 64
_SPARE_PIPES = 32
_PATIENCE = 10.0
_PAUSE = 1.0
_KEEPALIVE = 60
_FDS_EACH = 6  # two sockets, and a pipe of two ends for each direction
_ALL_NEWS = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET
_SPLICE = posix.SPLICE_F_MOVE | posix.SPLICE_F_NONBLOCK
_RESET = pack("ii", 1, 0)

CONNECTING, OPEN, BROKEN, CLOSED = range(4)


class Pipes:
    """Empty pipes, kept for the next direction that has something to carry."""

    __slots__ = ("spare",)

    def __init__(self) -> None:
        self.spare: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """A pipe's read and write end; OSError when descriptors are out (pipe2(2))."""
        return self.spare.pop() if self.spare else posix.pipe2(posix.O_NONBLOCK | posix.O_CLOEXEC)

    def give(self, pipe: tuple[int, int]) -> None:
        """An empty pipe comes back."""
        if len(self.spare) < _SPARE_PIPES:
            self.spare.append(pipe)
        else:
            self.drop(pipe)

    def drop(self, pipe: tuple[int, int]) -> None:
        """Close a pipe that still holds bytes nobody wants."""
        posix.close(pipe[0])
        posix.close(pipe[1])


class Stream:
    """One direction. ``ended``: the source said all; ``lost``: it was reset; ``failed``: the sink is dead."""

    __slots__ = ("done", "ended", "failed", "held", "lost", "pipe", "pipes", "sink", "source", "urgent")

    def __init__(self, source: Socket, sink: Socket, pipes: Pipes) -> None:
        self.source = source
        self.sink = sink
        self.pipes = pipes
        self.pipe: tuple[int, int] | None = None
        self.held = 0
        self.ended = self.lost = self.failed = self.done = self.urgent = False

    def move(self) -> bool:
        """Carry what can be carried now; True when the share of this turn was used up before that."""
        rounds = _ROUNDS
        while rounds and not self.done and (self._fill() | self._drain()):
            rounds -= 1
        self._settle()
        return not rounds

    def discard(self) -> None:
        """The sink is dead: what is held can reach nobody."""
        self.failed = self.done = True
        self.held, pipe, self.pipe = 0, self.pipe, None
        if pipe is not None:
            self.pipes.drop(pipe)

    def _fill(self) -> bool:
        """Source to pipe; whether anything changed."""
        if self.ended:
            return False
        pipe = self.pipe = self.pipe or self.pipes.take()
        try:
            count = self._read(pipe[1])
        except BlockingIOError:
            return False
        except OSError:
            self.ended = self.lost = True
            return False
        self.held += count
        self.ended = not count
        return count > 0

    def _read(self, pipe: int) -> int:
        """splice(2), except around urgent data, which it stops at for ever: that is copied."""
        if not self.urgent:
            count = posix.splice(self.source.fileno(), pipe, _CHUNK, flags=_SPLICE)
            if count or not self.source.recv(1, MSG_PEEK):
                return count
            self.urgent = True  # not the end: 0 also means an urgent byte with the end behind it
        if self.held:
            raise BlockingIOError
        try:
            return posix.write(pipe, self.source.recv(4096))  # fits: the pipe is empty
        except BlockingIOError:
            self.urgent = False
            raise

    def _drain(self) -> bool:
        """Pipe to sink; whether anything changed."""
        if not self.held or self.pipe is None:
            return False
        try:
            self.held -= posix.splice(self.pipe[0], self.sink.fileno(), self.held, flags=_SPLICE)
        except BlockingIOError:
            return False
        except OSError:
            self.discard()
        return True

    def _settle(self) -> None:
        """With nothing held: the pipe goes back, and an end that was seen is passed on."""
        if self.held:
            return
        if self.pipe is not None:
            self.pipes.give(self.pipe)
            self.pipe = None
        if self.ended and not self.done:
            self.done = True
            if not self.lost:
                _try_shutdown(self.sink)


class Connection:
    """A client, its target, and the two streams between them."""

    __slots__ = ("client", "down", "key", "owner", "state", "target", "up")

    def __init__(self, owner: Acceptor, client: Socket, target: Socket, key: Key) -> None:
        self.owner = owner
        self.client = client
        self.target = target
        self.key = key
        self.up = Stream(client, target, owner.pipes)
        self.down = Stream(target, client, owner.pipes)
        self.state = CONNECTING
        owner.patience.start(self)
        owner.loop.watch(target, _ALL_NEWS, self)

    def ready(self, fd: int, mask: int) -> None:
        """News of one side: what comes from it may move, and what goes to it if that was waiting."""
        if self.state == CONNECTING:
            self._connected()
            return
        comes, goes = (self.up, self.down) if fd == self.client.fileno() else (self.down, self.up)
        if mask & EPOLLPRI:
            comes.urgent = True
        if mask & EPOLLERR:
            goes.discard()
        more = comes.move() if mask & ~EPOLLOUT else False
        if goes.held:
            more |= goes.move()
        self._judge(more)

    def resume(self) -> None:
        """The rest of what the last turn had no time for."""
        if self.state != CLOSED:
            up, down = self.up.move(), self.down.move()
            self._judge(up or down)

    def timeout(self) -> None:
        """Ten seconds without a connection, or with a broken one that could not be emptied."""
        self.close(reset=True)

    def abort(self) -> None:
        """Something unforeseen: both sides see a reset."""
        self.close(reset=True)

    def close(self, reset: bool) -> None:
        """Give everything back; ``reset``: the peers get RST instead of FIN (socket(7), SO_LINGER)."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.owner.patience.stop(self)
        for stream in (self.up, self.down):
            stream.discard()
        for sock in (self.client, self.target):
            if reset:
                _arm_reset(sock)
            self.owner.loop.bury(sock)
        self.owner.gone(self)

    def _connected(self) -> None:
        """The connect of the target ended, one way or the other (connect(2), EINPROGRESS)."""
        if self.target.getsockopt(SOL_SOCKET, SO_ERROR):
            self.close(reset=True)
            return
        self.state = OPEN
        self.owner.patience.stop(self)
        self.owner.loop.watch(self.client, _ALL_NEWS, self)
        self.resume()

    def _judge(self, more: bool) -> None:
        """What the streams' new state means for the whole."""
        if self.up.lost:
            self.down.discard()
        if self.down.lost:
            self.up.discard()
        broken = self.up.failed or self.down.failed
        if self.up.done and self.down.done:
            self.close(reset=broken)
            return
        if broken and self.state == OPEN:
            self.state = BROKEN
            self.owner.patience.start(self)
        if more:
            self.owner.loop.again[self] = None


class Opened:
    """A held socket that clients dial themselves, and where it leads."""

    __slots__ = ("key", "owner", "sock", "target")

    def __init__(self, owner: Acceptor, sock: Socket, key: Key, target: Address) -> None:
        self.owner = owner
        self.sock = sock
        self.key = key
        self.target = target

    def close(self) -> None:
        """Accept no more; whoever holds the socket closes it."""
        self.owner.opened.pop(self.sock.fileno(), None)
        self.owner.loop.forget(self.sock)


class Acceptor:
    """The listeners: one for what is redirected, and the held sockets that are dialled. They stop accepting
    while descriptors are short, instead of spinning on EMFILE."""

    __slots__ = (
        "connections",
        "find",
        "limit",
        "listener",
        "loop",
        "opened",
        "patience",
        "paused",
        "pauses",
        "pipes",
    )

    def __init__(self, loop: Loop, listener: Socket, find: Find, fds: int) -> None:
        """``find`` maps (proto, address, port) to a mapping's key and its target; ``fds``: see ``allow``."""
        self.loop = loop
        self.listener = listener
        self.find = find
        self.pipes = Pipes()
        self.patience = Clock(loop, _PATIENCE)
        self.pauses = Clock(loop, _PAUSE)
        self.connections: set[Connection] = set()
        self.opened: dict[int, Opened] = {}
        self.paused = False
        self.allow(fds)
        loop.watch(listener, EPOLLIN, self)

    def ready(self, fd: int, mask: int) -> None:
        """Accept a batch, until nobody waits or there is no room."""
        opened = self.opened.get(fd)
        listener = self.listener if opened is None else opened.sock
        for _ in range(_ACCEPTS):
            if len(self.connections) >= self.limit:
                self._pause()
                return
            try:
                number, _peer = listener._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # EMFILE, ENFILE, ENOBUFS, ENOMEM: the listener would stay readable
                self._pause()
                return
            self._welcome(Socket(listener.family, SOCK_STREAM, 0, number), opened)

    def open(self, sock: Socket, key: Key, target: Address) -> Opened:
        """Accepts on a held socket too; what comes there leads to ``target``."""
        sock.setblocking(False)
        found = self.opened[sock.fileno()] = Opened(self, sock, key, target)
        self.loop.watch(sock, 0 if self.paused else EPOLLIN, self)
        return found

    def abort(self) -> None:
        """Whatever it was, the listener stays; later."""
        self._pause()

    def timeout(self) -> None:
        """The pause is over."""
        if self.paused:
            self.paused = False
            self._listen(EPOLLIN)

    def allow(self, fds: int) -> None:
        """How many descriptors all connections together may use; one connection always may exist."""
        self.limit = max(1, fds // _FDS_EACH)

    def gone(self, connection: Connection) -> None:
        """A connection ended, and with it perhaps the shortage: its sockets are closed by the next turn."""
        self.connections.discard(connection)
        self.pauses.stop(self)
        self.timeout()

    def sever(self, key: Key) -> None:
        """Reset the connections that came through a mapping which is no more."""
        for connection in [c for c in self.connections if c.key == key]:
            connection.close(reset=True)

    def _pause(self) -> None:
        if not self.paused:
            self.paused = True
            self._listen(0)
        self.pauses.start(self)

    def _listen(self, mask: int) -> None:
        for fd in (self.listener.fileno(), *self.opened):
            self.loop.epoll.modify(fd, mask)

    def _welcome(self, client: Socket, opened: Opened | None) -> None:
        """Start the way to the target; a client without a mapping or a reachable target is reset."""
        target: Socket | None = None
        try:
            client.setblocking(False)
            found = self.find("tcp", *_original(client)) if opened is None else (opened.key, opened.target)
            if found is not None:
                key, address = found
                target = _connecting(client, address)
                self.connections.add(Connection(self, client, target, key))
                return
        except OSError:
            if target is not None:
                self.loop.bury(target)
        _arm_reset(client)
        self.loop.bury(client)


def _original(client: Socket) -> Address:
    """Where the client meant to go before the redirect: a sockaddr_in (linux/netfilter_ipv4.h)."""
    raw = client.getsockopt(_SOL_IP, _SO_ORIGINAL_DST, 16)
    return inet_ntop(AF_INET, raw[4:8]), int.from_bytes(raw[2:4], "big")


def _connecting(client: Socket, address: Address) -> Socket:
    """A socket on its way to the target; OSError when refused at once."""
    family = AF_INET6 if ":" in address[0] else AF_INET
    target = Socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    for sock in (client, target):
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
    # A container that is destroyed says no goodbye; the client is on this host and always does.
    target.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
    target.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, _KEEPALIVE)
    error = target.connect_ex(address)
    if error not in (0, EINPROGRESS):
        target.close()
        raise OSError(error, posix.strerror(error))
    return target


def _arm_reset(sock: Socket) -> None:
    try:
        sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
    except OSError:
        pass


def _try_shutdown(sock: Socket) -> None:
    try:
        sock.shutdown(SHUT_WR)
    except OSError:  # ENOTCONN: it is dead already, and its own event will say so
        pass
