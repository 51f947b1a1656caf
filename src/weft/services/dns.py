"""``weft dns``: one process that answers DNS for all networks of the host that want it.

It listens on each gateway's address, UDP and TCP, in the host's namespace, and where a network says so at
127.0.0.11 inside each member's. Where names come from is handed to it (``Source``): weft's own store, or the
directory of aardvark-dns. It ends when no network wants it any more.

A query that was asked before is answered by one look into a dict: see ``Listener.ready``.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # ``signal`` itself imports enum: 1 MiB
import gc
import posix
from select import EPOLLIN

from weft.linux.dns import is_ours, open_pair
from weft.services.dns_desk import Desk
from weft.services.dns_forward import Forwarder
from weft.services.dns_tcp import Callers
from weft.services.loopback_loop import Clock, Loop, raise_fd_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from weft.core.naming.zone import Member, Served, View, Zone

    class Source(Protocol):
        """Where names come from. ``fd`` becomes readable when they may have changed; -1: nothing tells."""

        fd: int
        zone: Zone

        def changed(self) -> bool:
            """Takes up what ``fd`` tells; whether there is something new to read."""

        def networks(self) -> Sequence[Served]:
            """The networks to be answered in. Raises what it likes when they cannot be read."""

        def update(self, anew: bool) -> tuple[list[Member], list[Member]]:
            """Members that have come and gone since the last look; ``anew``: networks are others since."""

        def last(self) -> bool:
            """Nobody wants it any more: whether the process may end."""

    Place = tuple[str, str, int, str]  # network, address, port, and the namespace when it is not the host's


INSIDE = "127.0.0.11"
#: Datagrams taken from one socket before others have their turn, and the longest of them.
_ROUNDS, _LARGEST = 64, 4096
_ASKERS = 8192
#: Seconds until an address is tried again on which somebody else listens.
_AGAIN = 1.0


class _Ended(BaseException):
    """SIGTERM came. Not an Exception, so that no handler's safety net catches it."""


class Listener:
    """One address of one network: its two sockets, and what those see who ask there."""

    __slots__ = ("answers", "member", "network", "server", "tcp", "udp")

    def __init__(self, server: Server, place: Place, member: Member | None) -> None:
        """``member``: who is inside the namespace that this is. OSError when it cannot be listened there."""
        self.server = server
        self.network = place[0]
        self.member = member
        self.answers: dict[str, dict[bytes, bytes]] = {}
        self.udp, self.tcp = open_pair(place[1], place[2], place[3])
        server.loop.watch(self.udp, EPOLLIN, self)
        server.loop.watch(self.tcp, EPOLLIN, self)

    def ready(self, fd: int, mask: int) -> None:
        """Questions: those that were asked before are answered at once."""
        server = self.server
        if server.stale:
            server.refresh()
        if fd != self.udp.fileno():
            if fd == self.tcp.fileno():
                server.callers.accept(self.tcp, self)
            return
        receive, send, known = self.udp.recvfrom, self.udp.sendto, self.answers.get
        for _ in range(_ROUNDS):
            try:
                message, peer = receive(_LARGEST)
                answers = known(peer[0])
                if answers is None:
                    self._handle(message, peer)
                    continue
                found = answers.get(message[2:])
                if found is None:
                    self._handle(message, peer)
                    continue
                send(message[:2] + found, peer)
            except BlockingIOError:
                return
            except OSError:
                continue  # whoever asked has gone, or cannot be reached: that is his business

    def _handle(self, message: bytes, peer: tuple[str, int]) -> None:
        """What takes a look: and one whether names have changed since."""
        server, source = self.server, peer[0]
        if server.source.changed():
            server.stale = True
            server.refresh()
        if self.udp.fileno() < 0:
            return  # that was the end of it
        view = self.view(source)
        if len(self.answers) >= _ASKERS:
            self.answers.clear()
        self.answers[source] = view.answers
        sock = self.udp

        def reply(answer: bytes) -> None:
            try:
                sock.sendto(answer, peer)
            except OSError:
                pass  # as above, or the listener has gone

        server.desk.handle(message, view, source, False, reply)

    def view(self, source: str) -> View:
        """What somebody sees who asks here."""
        zone = self.server.source.zone
        if self.member is not None and (self.network, self.member.address) in zone.members:
            return zone.view_of(self.network, self.member)
        view = zone.view(self.network, source)
        if view.refused and is_ours(source):
            # The host, whose address may have been translated on its way to itself.
            return zone.view(self.network, zone.networks[self.network].gateways[0])
        return view

    def abort(self) -> None:
        """One datagram failed; the door stays open."""

    def close(self) -> None:
        """Let the address go, at once."""
        for sock in (self.udp, self.tcp):
            self.server.loop.forget(sock)
            sock.close()


class Server:
    """All listeners, and what they share. ``say`` tells of what cannot be served."""

    def __init__(self, source: Source, say: Callable[[str], None]) -> None:
        self.source = source
        self.loop = Loop()
        self.listeners: dict[Place, Listener] = {}
        self.forwarder = Forwarder(self.loop, host_servers, self._own)
        self.desk = Desk(source.zone, self.forwarder, self.forget, lambda: self.loop.now)
        self.callers = Callers(self.loop)
        self.stale = True
        self.running = True
        self._again = Clock(self.loop, _AGAIN)
        #: Whether all members are to be read again, as networks are others.
        self._anew = True
        self._say = say
        self._said = ""
        #: Why an address is not listened on; and whether the start is over.
        self.missing = ""
        self.bound = False
        if source.fd >= 0:
            self.loop.epoll.register(source.fd, EPOLLIN)
            self.loop.handlers[source.fd] = self

    def ready(self, fd: int, mask: int) -> None:
        """Names may have changed. Networks are looked at now, members when somebody asks."""
        if self.source.changed():
            self._look()

    def abort(self) -> None:
        """It could not be read: later."""
        self._again.start(self)

    def timeout(self) -> None:
        """Once more, what could not be done."""
        self._look()

    def refresh(self) -> None:
        """Takes over what has changed. What cannot be read leaves things as they are."""
        self.stale = False
        try:
            self._anew = self._networks() or self._anew
            come, gone = self.source.update(self._anew)
        except Exception as error:
            self._tell(str(error))
            self._again.start(self)
            return
        self._anew = False
        self.source.zone.change(come, gone)
        self.forget()
        self._listen()

    def _look(self) -> None:
        """What cannot wait until somebody asks: where to listen, and whether at all."""
        self.stale = True
        self._anew = self._networks() or self._anew
        if self._anew or any(n.inside for n in self.source.zone.networks.values()):
            self.refresh()
        if len(self.listeners) < len(self._places()):
            self._listen()

    def forget(self) -> None:
        """What was answered may not be so any more."""
        self.source.zone.forget()
        for listener in self.listeners.values():
            listener.answers.clear()

    def close(self) -> None:
        """Let all addresses go."""
        self.running = False
        self.forwarder.close()
        for call in list(self.callers.calls):
            call.abort()
        for listener in self.listeners.values():
            listener.close()
        self.listeners.clear()

    def _networks(self) -> bool:
        """The networks as they are now; whether they were others. Without any it is over."""
        zone = self.source.zone
        wanted = {n.name: n for n in self.source.networks()}
        if not wanted and self.source.last():
            self.running = False
        if wanted == zone.networks:
            return False
        zone.serve(wanted.values())
        self.forget()
        return True

    def _listen(self) -> None:
        """Listens where it should, and nowhere else. What somebody else holds is tried again."""
        wanted = self._places()
        self.missing = ""
        for place in [p for p in self.listeners if p not in wanted]:
            self.listeners.pop(place).close()
        for place, member in wanted.items():
            if place in self.listeners:
                self.listeners[place].member = member
                continue
            try:
                self.listeners[place] = Listener(self, place, member)
            except OSError as error:
                if not place[3]:  # a namespace may have gone before its member is off the record
                    self.missing = f"cannot listen on {place[1]} port {place[2]}: {error.strerror}"
                    self._tell(self.missing)
                    self._again.start(self)

    def _places(self) -> dict[Place, Member | None]:
        zone = self.source.zone
        found: dict[Place, Member | None] = {}
        for network in zone.networks.values():
            found.update({(network.name, a, network.port, ""): None for a in network.gateways})
        if not any(n.inside for n in zone.networks.values()):
            return found
        seen = set()
        for member in zone.members.values():
            if member.place and zone.networks[member.network].inside and member.key not in seen:
                seen.add(member.key)
                found[member.network, INSIDE, 53, member.place] = member
        return found

    def _own(self, address: str) -> bool:
        """Whether that is where we answer ourselves: nobody is to be asked in a circle."""
        found = address.partition("%")[0]
        return found == INSIDE or any(
            found in n.gateways and n.port == 53 for n in self.source.zone.networks.values()
        )

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)


def host_servers() -> tuple[str, ...]:
    """The host's own name servers, loopback ones too: this process is on the host."""
    from weft.linux.files import read_resolv

    return tuple([_here(s) for s in read_resolv("/etc/resolv.conf")[0]])


def _here(server: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server, server)


def _end(number: int, frame: object) -> None:
    raise _Ended


def serve(server: Server, bound: Callable[[], None], reread: Callable[[], None] | None = None) -> None:
    """Serves until nobody wants it any more, or SIGTERM. ``bound`` is called once it listens, ``reread`` on
    SIGHUP."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    for number in (_signal.SIGINT, _signal.SIGPIPE, *(() if reread else (_signal.SIGHUP,))):
        _signal.signal(number, _signal.SIG_IGN)
    wakes = _on_hangup(server, reread) if reread else None
    raise_fd_limit()
    try:
        server.refresh()
        bound()
        server.bound = True
        gc.collect()
        gc.freeze()
        _signal.signal(_signal.SIGTERM, _end)
        while server.running:
            server.loop.turn()
    except _Ended:
        pass
    finally:
        server.close()
        if wakes is not None:
            posix.close(wakes)


class _Hangup:
    """SIGHUP as an event of the loop: a pipe that the signal writes to (signal(7), self-pipe)."""

    def __init__(self, server: Server, reread: Callable[[], None], fd: int) -> None:
        self._server, self._reread, self._fd = server, reread, fd

    def ready(self, fd: int, mask: int) -> None:
        """Read everything again."""
        posix.read(self._fd, 4096)
        self._reread()
        self._server.stale = True
        self._server.refresh()

    def abort(self) -> None:
        """Nothing to give back."""


def _on_hangup(server: Server, reread: Callable[[], None]) -> int:
    hears, tells = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
    server.loop.epoll.register(hears, EPOLLIN)
    server.loop.handlers[hears] = _Hangup(server, reread, hears)
    _signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGHUP, lambda *_: None)
    return tells
