"""The loopback proxy's event loop: one epoll, handlers by descriptor, clocks that all tick equally long.

Nothing here blocks but ``turn``. A handler that raises is aborted and the loop goes on: one broken
connection never ends the others. Imports are counted: the whole proxy has 12 MiB, 8 of them Python's.
"""

from __future__ import annotations

import select
from _socket import SocketType as Socket
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Handler(Protocol):
        """Whoever is called when a watched socket has news."""

        def ready(self, fd: int, mask: int) -> None:
            """The kernel's EPOLL* bits for one of the handler's sockets."""

        def abort(self) -> None:
            """``ready`` raised: give everything back."""

    class Busy(Protocol):
        """Whoever used up its share of a turn and has more to do."""

        def resume(self) -> None:
            """Carry on; no event will come, as the sockets were never emptied."""

        def abort(self) -> None:
            """``resume`` raised: give everything back."""

    class Waiting(Protocol):
        """Whoever can wait on a clock."""

        def timeout(self) -> None:
            """The clock rang; it no longer holds this item."""


_MAX_EVENTS = 256


class Clock:
    """Items that all wait equally long, so that a dict in order of arrival is in order of deadline."""

    __slots__ = ("due", "loop", "seconds")

    def __init__(self, loop: Loop, seconds: float) -> None:
        self.due: dict[Waiting, float] = {}
        self.loop = loop
        self.seconds = seconds
        loop.clocks.append(self)

    def start(self, item: Waiting) -> None:
        """Count from now on, anew if the item was waiting already."""
        self.due.pop(item, None)
        self.due[item] = self.loop.now + self.seconds

    def stop(self, item: Waiting) -> None:
        """Forget the item, waiting or not."""
        self.due.pop(item, None)

    def oldest(self) -> Waiting | None:
        """Who has waited longest."""
        return next(iter(self.due), None)

    def ring(self) -> None:
        """Call all whose time is over."""
        while self.due:
            item, deadline = next(iter(self.due.items()))
            if deadline > self.loop.now:
                return
            del self.due[item]
            _guarded(item.timeout)


class Loop:
    """The one epoll. Sockets are closed at the end of a turn, so that no event meets a reused number."""

    __slots__ = ("again", "clocks", "dead", "epoll", "handlers", "last", "now")

    def __init__(self) -> None:
        self.epoll = select.epoll(select.EPOLL_CLOEXEC)
        self.handlers: dict[int, Handler] = {}
        self.last: set[int] = set()
        self.clocks: list[Clock] = []
        self.again: dict[Busy, None] = {}
        self.dead: list[Socket] = []
        self.now = monotonic()

    def watch(self, sock: Socket, mask: int, handler: Handler, last: bool = False) -> None:
        """Call the handler on these events; ``last``: after all others, as it closes sockets at once."""
        fd = sock.fileno()
        self.epoll.register(fd, mask)
        self.handlers[fd] = handler
        if last:
            self.last.add(fd)

    def forget(self, sock: Socket) -> None:
        """No more events from this socket; unknown ones are fine."""
        fd = sock.fileno()
        if self.handlers.pop(fd, None) is not None:
            self.last.discard(fd)
            self.epoll.unregister(fd)

    def bury(self, sock: Socket) -> None:
        """Forget the socket and close it when the turn is over."""
        self.forget(sock)
        self.dead.append(sock)

    def turn(self) -> None:
        """Wait for news, deliver it, ring the clocks, close what was buried. Errors of handlers end there."""
        events = self.epoll.poll(self._patience(), _MAX_EVENTS)
        self.now = monotonic()
        late = [e for e in events if e[0] in self.last]
        busy, self.again = self.again, {}
        for fd, mask in events:
            if fd not in self.last:
                self._deliver(fd, mask)
        for item in busy:
            if not _guarded(item.resume):
                _guarded(item.abort)
        for fd, mask in late:
            self._deliver(fd, mask)
        for clock in self.clocks:
            clock.ring()
        self._close_dead()

    def _deliver(self, fd: int, mask: int) -> None:
        handler = self.handlers.get(fd)
        if handler is None:
            return
        try:
            handler.ready(fd, mask)
        except Exception:  # a bug or a kernel's refusal met by one connection is not the others' business
            _guarded(handler.abort)

    def _patience(self) -> float:
        """Seconds until the first clock rings; 0 when somebody has more to do, -1 for ever."""
        if self.again:
            return 0
        first = [next(iter(c.due.values())) for c in self.clocks if c.due]
        return max(0.0, min(first) - monotonic()) if first else -1

    def _close_dead(self) -> None:
        dead, self.dead = self.dead, []
        for sock in dead:
            _guarded(sock.close)


def _guarded(call: object) -> bool:
    """Whether the call came back without an exception."""
    try:
        call()  # type: ignore[operator]
    except Exception:
        return False
    return True


def raise_fd_limit() -> int:
    """Use every descriptor the administrator allows (getrlimit(2)); returns how many that is."""
    import resource  # needed once

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # above fs.nr_open, which was lowered since
        return soft
    return hard
