"""Those who look at a container through its monitor (``weft attach``): a unix SOCK_SEQPACKET socket.

Only the uid that the monitor has may connect (SO_PEERCRED). A packet is one letter and its data::

    to the monitor:    i BYTES   typed              e          no more will be typed
                       w ROWS COLUMNS               the terminal's size
    from the monitor:  o BYTES   stdout             r BYTES    stderr
                       x STATUS  the command has ended; the socket is closed once that is on record

What is no such packet ends that connection, and nothing else. Who does not read what it is sent holds the
command up, as a slow terminal does, but not for longer than ``STALL`` seconds: then it is cut off.
"""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SO_PEERCRED, SOCK_SEQPACKET, SOL_SOCKET
from _socket import SocketType as Socket
from select import POLLIN, POLLOUT
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: More than one packet has: what was typed at once, or pasted.
PACKET = 1 << 16
#: Bytes that wait for one client before the command is held up.
WAITING = 1 << 18
STALL = 10.0
CLIENTS = 16


class Client:
    """One who looks on. ``waiting`` are packets that its socket had no room for."""

    __slots__ = ("size", "sock", "stalled", "waiting")

    def __init__(self, sock: Socket) -> None:
        self.sock = sock
        self.waiting: list[bytes] = []
        self.size = 0
        self.stalled = 0.0

    def send(self, packet: bytes) -> None:
        """Sends a packet, or keeps it. OSError when the client has gone."""
        if not self.waiting:
            try:
                self.sock.send(packet)
                return
            except BlockingIOError:
                self.stalled = monotonic() + STALL
        self.waiting.append(packet)
        self.size += len(packet)

    def flush(self) -> None:
        """Sends what waits. OSError when the client has gone."""
        try:
            while self.waiting:
                self.sock.send(self.waiting[0])
                self.size -= len(self.waiting.pop(0))
                self.stalled = monotonic() + STALL
        except BlockingIOError:
            pass


class Clients:
    """All who look on, and the door they come by. ``typed`` takes what they type, ``sized`` a size."""

    __slots__ = ("_door", "_sized", "_typed", "known")

    def __init__(
        self, door: Socket | None, typed: Callable[[bytes | None], None], sized: Callable[[int, int], None]
    ) -> None:
        self._door = door
        self._typed, self._sized = typed, sized
        self.known: dict[int, Client] = {}
        if door is not None:
            door.setblocking(False)

    def watch(self, hears: bool) -> list[tuple[int, int]]:
        """Descriptors and what is awaited of each; ``hears``: there is room for what is typed."""
        found = [(fd, POLLIN * hears | POLLOUT * bool(c.waiting)) for fd, c in self.known.items()]
        return [(self._door.fileno(), POLLIN), *found] if self._door is not None else found

    def ready(self, fd: int, events: int) -> bool:
        """Something came; whether it was anybody's here."""
        if self._door is not None and fd == self._door.fileno():
            self.admit()
            return True
        client = self.known.get(fd)
        if client is None:
            return False
        try:
            if events & POLLOUT:
                client.flush()
            if events & ~POLLOUT:
                self._hear(client)
        except (OSError, ValueError):
            self.drop(client)
        return True

    def admit(self) -> None:
        """Lets in all who are at the door."""
        while self._door is not None:
            try:
                fd, _ = self._door._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            sock = Socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
            sock.setblocking(False)
            uid = int.from_bytes(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[4:8], "little")
            if uid != posix.geteuid() or len(self.known) >= CLIENTS:
                sock.close()
            else:
                self.known[fd] = Client(sock)

    def _hear(self, client: Client) -> None:
        """One packet. OSError or ValueError when that was the last."""
        packet = client.sock.recv(PACKET)
        word, rest = packet[:1], packet[1:]
        if word == b"i" and rest:
            self._typed(rest)
        elif packet == b"e":
            self._typed(None)
        elif word == b"w" and len(rest) < 16:
            rows, columns = rest.split()
            self._sized(int(rows) & 0xFFFF, int(columns) & 0xFFFF)
        else:
            raise ValueError("not a packet")

    def tell(self, word: bytes, data: bytes) -> None:
        """Sends to all."""
        for client in tuple(self.known.values()):
            try:
                client.send(word + data)
            except OSError:
                self.drop(client)

    def drop(self, client: Client) -> None:
        """Forgets one."""
        self.known.pop(client.sock.fileno(), None)
        client.sock.close()

    @property
    def full(self) -> bool:
        """Whether somebody has so much waiting that the command is to wait, too."""
        return any(c.size > WAITING for c in self.known.values())

    def stall(self, now: float) -> float | None:
        """Cuts off who took nothing for too long; seconds until that is to be looked at again."""
        slow = [c for c in self.known.values() if c.waiting]
        for client in slow:
            if client.stalled <= now:
                self.drop(client)
        left = [c.stalled - now for c in self.known.values() if c.waiting]
        return min(left) if left else None

    def close_door(self) -> None:
        """Nobody else comes in."""
        if self._door is not None:
            self._door.close()
            self._door = None
