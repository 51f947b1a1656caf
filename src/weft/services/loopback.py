"""The loopback proxy: published ports on 127.x and ::1, without route_localnet, and held against others.

And those whose host address and container have no family in common. One process for the host, there while
one of them is. Connections to 127.x are redirected to its listener; all else reaches its held sockets.
Uid 0 tells it what to do on a unix SOCK_SEQPACKET socket, one packet a request, one a reply::

    add PROTO HOST_IP HOST_PORT TARGET_IP TARGET_PORT   (up to 200 lines; the held sockets by SCM_RIGHTS)
    del PROTO HOST_IP HOST_PORT                         (up to 200 lines; missing ones are fine)
    list [OFFSET]       ok TOTAL, then up to 200 lines  PROTO HOST_IP HOST_PORT TARGET_IP TARGET_PORT
    ping                ok PID PORT COUNT
    stop                ok

Everything else is answered ``error TEXT`` and changes nothing. Connections do not outlive their mapping.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # ``signal`` itself imports enum: 1 MiB
import posix
from _socket import (
    AF_INET,
    AF_INET6,
    CMSG_SPACE,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_TRUNC,
    SCM_RIGHTS,
    SHUT_RD,
    SO_ACCEPTCONN,
    SO_PEERCRED,
    SO_TYPE,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    inet_ntop,
    inet_pton,
)
from _socket import SocketType as Socket
from _struct import unpack
from select import EPOLLIN

from weft.services.loopback_loop import Clock, Loop, raise_fd_limit
from weft.services.loopback_tcp import Acceptor, Opened
from weft.services.loopback_udp import Flows, Served

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Key = tuple[str, str, int]
    Address = tuple[str, int]

_KINDS = {"tcp": SOCK_STREAM, "udp": SOCK_DGRAM}
_DIGITS = frozenset("0123456789")
_LINES = 200
_PACKET = 65536
_FDS = 253  # the kernel's SCM_MAX_FD
_TALKERS = 16
_TALK_SECONDS = 10.0
_GRACE_SECONDS = 30.0
_MAX_FLOWS = 1024
_OWN_FDS = 64


class Refused(Exception):
    """A request that cannot be right; its text is the reply."""


class _Terminated(BaseException):
    """SIGTERM came. Not an Exception, so that no handler's safety net catches it."""


class Mapping:
    """One published port. ``held``: its socket; ``served``, ``opened``: what answers there, UDP or TCP."""

    __slots__ = ("held", "needed", "opened", "served", "target")

    def __init__(self, target: Address) -> None:
        self.target = target
        self.needed = False  # nobody but this process can serve it
        self.held: Socket | None = None
        self.served: Served | None = None
        self.opened: Opened | None = None

    @property
    def serves(self) -> bool:
        """Whether clients talk to the held socket itself."""
        return self.served is not None or self.opened is not None

    def release(self) -> None:
        """Close the held socket now: the port is free when this returns."""
        if self.opened is not None:
            self.opened.close()
        if self.served is not None:
            self.served.close()
        elif self.held is not None:
            self.held.close()
        self.held = self.served = self.opened = None


class Proxy:
    """The mappings, and everything that serves them."""

    def __init__(self, control: Socket, listener: Socket) -> None:
        """Both sockets are bound and listening already."""
        self.loop = Loop()
        self.mappings: dict[Key, Mapping] = {}
        self.needed = 0  # how many of them only this process can serve
        self.running = True
        self.control = control
        self.path = str(control.getsockname())
        self.inode = _inode(self.path)
        self.listener = listener
        self.port = int(listener.getsockname()[1])
        fds = raise_fd_limit()
        self.flows = Flows(self.loop, min(_MAX_FLOWS, max(1, fds // 8)))
        self.fds = fds - self.flows.limit - _OWN_FDS
        self.acceptor = Acceptor(self.loop, listener, self.find, self.fds)
        self.talkers: dict[Talker, None] = {}
        self.talking = Clock(self.loop, _TALK_SECONDS)
        self.grace = Clock(self.loop, _GRACE_SECONDS)
        self.grace.start(self)
        control.setblocking(False)
        listener.setblocking(False)
        self.loop.watch(control, EPOLLIN, self, last=True)

    def ready(self, fd: int, mask: int) -> None:
        """Somebody wants to talk."""
        try:
            number, _peer = self.control._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        if len(self.talkers) >= _TALKERS:
            next(iter(self.talkers)).abort()
        Talker(self, Socket(self.control.family, self.control.type, 0, number))

    def abort(self) -> None:
        """One greeting failed; the door stays open."""

    def timeout(self) -> None:
        """Started, and never given a mapping: whoever started it died first."""
        self.close()

    def find(self, proto: str, address: str, port: int) -> tuple[Key, Address] | None:
        """Which mapping a dialled address means, and its target: its own, else the one for all addresses."""
        for key in ((proto, address, port), (proto, "0.0.0.0", port)):
            if key in self.mappings:
                return key, self.mappings[key].target
        return None

    def add(self, wanted: list[tuple[Key, Address]], held: list[Socket]) -> None:
        """All of the request or nothing: Refused before anything is changed. Takes the sockets over."""
        if held and len(held) != len(wanted):
            raise Refused(f"{len(wanted)} mappings came with {len(held)} sockets")
        for (key, _target), sock in zip(wanted, held, strict=False):
            _check_held(key, sock)
        for key, target in wanted:
            known = self.mappings.get(key)
            if not held and _is_served(key, target) != (known is not None and known.serves):
                raise Refused(f"{_name(key)} needs its socket: it cannot be redirected")
        for place, (key, target) in enumerate(wanted):
            self._set(key, target, held[place] if held else None)
        self.acceptor.allow(self.fds - len(self.mappings))
        if self.needed:
            self.grace.stop(self)

    def delete(self, keys: list[Key]) -> None:
        """Remove mappings and free their ports; after the last that covers loopback, all of it ends."""
        for key in keys:
            mapping = self.mappings.pop(key, None)
            if mapping is not None:
                self.needed -= mapping.needed
                mapping.release()
                self.acceptor.sever(key)
        self.acceptor.allow(self.fds - len(self.mappings))
        if keys and not self.grace.due and not self.needed:
            self.close()

    def close(self) -> None:
        """Free path and ports at once, and end; the path goes first, so that nobody dials a dead socket."""
        if not self.running:
            return
        self.running = False
        if self.inode is not None and self.inode == _inode(self.path):
            _try_unlink(self.path)
        for sock in (self.control, self.listener):
            self.loop.forget(sock)
            sock.close()
        for mapping in self.mappings.values():
            mapping.release()
        self.mappings.clear()
        for connection in list(self.acceptor.connections):
            connection.close(reset=True)

    def _set(self, key: Key, target: Address, sock: Socket | None) -> None:
        serves = sock is not None and _is_served(key, target)
        served = Served(self.flows, sock, target) if sock is not None and serves and key[0] == "udp" else None
        mapping = self.mappings.setdefault(key, Mapping(target))
        self.needed -= mapping.needed
        mapping.needed = covers_loopback(key) or _crosses(key, target)
        self.needed += mapping.needed
        if target != mapping.target:
            mapping.target = target
            self.acceptor.sever(key)
        if sock is not None:
            mapping.release()
            mapping.held, mapping.served = sock, served
            if serves and served is None:
                mapping.opened = self.acceptor.open(sock, key, target)
        elif mapping.opened is not None:
            mapping.opened.target = target
        elif mapping.served is not None:
            mapping.served.retarget(target)


class Talker:
    """One peer on the control socket. It is never waited for: who does not read is dropped."""

    __slots__ = ("proxy", "sock")

    def __init__(self, proxy: Proxy, sock: Socket) -> None:
        self.proxy = proxy
        self.sock = sock
        sock.setblocking(False)
        _pid, uid, _gid = unpack("iII", sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
        if uid:
            self._refuse()
            return
        proxy.talkers[self] = None
        proxy.talking.start(self)
        proxy.loop.watch(sock, EPOLLIN, self, last=True)

    def ready(self, fd: int, mask: int) -> None:
        """One request, one reply. An empty packet is taken for the end."""
        data, ancillary, flags, _peer = self.sock.recvmsg(
            _PACKET, CMSG_SPACE(4 * _FDS), MSG_CMSG_CLOEXEC | MSG_DONTWAIT
        )
        held, strange = _received(ancillary)
        if not data:
            _close_all(held)
            self.abort()
            return
        reply = self._answer(data, held, bool(flags & (MSG_TRUNC | MSG_CTRUNC)), strange)
        self.proxy.talking.start(self)
        if not self._send(reply):
            self.abort()

    def timeout(self) -> None:
        """It connected and says nothing."""
        self.abort()

    def abort(self) -> None:
        """Hang up."""
        self.proxy.talkers.pop(self, None)
        self.proxy.talking.stop(self)
        self.proxy.loop.bury(self.sock)

    def _refuse(self) -> None:
        """Say no and hang up; a request left unread would turn the reply into a reset."""
        self.sock.shutdown(SHUT_RD)
        for _ in range(_TALKERS):
            if not self.sock.recv(1, MSG_DONTWAIT):
                break
        self._send("error only root may talk to the loopback proxy")
        self.sock.close()

    def _answer(self, data: bytes, held: list[Socket], cut: bool, strange: bool) -> str:
        try:
            if cut:
                raise Refused("the request was cut off: too long, or no descriptors left")
            if strange:
                raise Refused("a descriptor is not a socket")
            return _obey(self.proxy, data, held)
        except Refused as refused:
            _close_all(held)
            return f"error {refused}"
        except Exception as failed:  # halfway through: what no mapping has taken over closes by itself
            return f"error {type(failed).__name__}: {failed}"

    def _send(self, reply: str) -> bool:
        try:
            self.sock.send(reply.encode("ascii", "replace"), MSG_DONTWAIT)
        except OSError:
            return False
        return True


def _obey(proxy: Proxy, data: bytes, held: list[Socket]) -> str:
    """Parse a request as a whole, then do it. Returns the reply; Refused when it makes no sense."""
    lines = _lines(data)
    verb = lines[0][0]
    if any(line[0] != verb for line in lines):
        raise Refused("a request is of one kind only")
    if held and verb != "add":
        raise Refused("sockets come with add only")
    if verb not in _VERBS:
        raise Refused(f"unknown request {verb!a}"[:100])
    return _VERBS[verb](proxy, [line[1:] for line in lines], held)


def _lines(data: bytes) -> list[list[str]]:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise Refused("not ASCII") from None
    lines = [line.split(" ") for line in text.removesuffix("\n").split("\n")]
    if len(lines) > _LINES:
        raise Refused(f"more than {_LINES} lines")
    return lines


def _add(proxy: Proxy, lines: list[list[str]], held: list[Socket]) -> str:
    wanted = [(_key(line[:3]), _target(line[3:])) for line in lines]
    proxy.add(wanted, held)
    return "ok"


def _del(proxy: Proxy, lines: list[list[str]], held: list[Socket]) -> str:
    proxy.delete([_key(line) for line in lines])
    return "ok"


def _list(proxy: Proxy, lines: list[list[str]], held: list[Socket]) -> str:
    (words,) = lines[:1]
    text = words[0] if len(words) == 1 else "0"
    if len(lines) > 1 or len(words) > 1 or not text or len(text) > 9 or frozenset(text) - _DIGITS:
        raise Refused("write list, or list OFFSET")
    shown = [f"ok {len(proxy.mappings)}"]
    for key in list(proxy.mappings)[int(text) : int(text) + _LINES]:
        address, port = proxy.mappings[key].target
        shown.append(f"{key[0]} {key[1]} {key[2]} {address} {port}")
    return "\n".join(shown)


def _ping(proxy: Proxy, lines: list[list[str]], held: list[Socket]) -> str:
    if lines != [[]]:
        raise Refused("ping takes no words")
    return f"ok {posix.getpid()} {proxy.port} {len(proxy.mappings)}"


def _stop(proxy: Proxy, lines: list[list[str]], held: list[Socket]) -> str:
    if lines != [[]]:
        raise Refused("stop takes no words")
    proxy.close()
    return "ok"


_VERBS: dict[str, Callable[[Proxy, list[list[str]], list[Socket]], str]] = {
    "add": _add,
    "del": _del,
    "list": _list,
    "ping": _ping,
    "stop": _stop,
}


def covers_loopback(key: Key) -> bool:
    """Whether loopback on the host is meant: 127.0.0.0/8, ::1, or every address of a family."""
    return key[1] in ("0.0.0.0", "::", "::1") or key[1].startswith("127.")


def _crosses(key: Key, target: Address) -> bool:
    """Whether host address and target are of two families, which the firewall cannot translate."""
    return (":" in key[1]) != (":" in target[0])


def _is_served(key: Key, target: Address) -> bool:
    """Whether the held socket itself is what clients talk to: only TCP on 127.x is redirected instead."""
    if _crosses(key, target):
        return True
    return covers_loopback(key) and (key[0] == "udp" or ":" in key[1])


def _key(words: list[str]) -> Key:
    if len(words) != 3 or words[0] not in _KINDS:
        raise Refused("a key is written PROTO HOST_IP HOST_PORT, PROTO being tcp or udp")
    return words[0], _address(words[1]), _port(words[2])


def _target(words: list[str]) -> Address:
    """A container's address; never this host's loopback, which would lead straight back in here."""
    if len(words) != 2:
        raise Refused("a target is written TARGET_IP TARGET_PORT")
    address = _address(words[0])
    if covers_loopback(("", address, 0)):
        raise Refused(f"{address} is no container's address")
    return address, _port(words[1])


def _address(text: str) -> str:
    family = AF_INET6 if ":" in text else AF_INET
    try:
        found = inet_ntop(family, inet_pton(family, text))
    except (OSError, ValueError):
        found = ""
    if not found or found.startswith("::ffff:"):  # IPv4 in disguise
        raise Refused(f"{text[:50]!a} is not an IP address")
    return found


def _port(text: str) -> int:
    if not text or len(text) > 5 or frozenset(text) - _DIGITS or not 0 < int(text) < 65536:
        raise Refused(f"{text[:50]!a} is not a port")
    return int(text)


def _name(key: Key) -> str:
    return f"port {key[2]}/{key[0]} on {key[1]}"


def _check_held(key: Key, sock: Socket) -> None:
    """A held socket must be bound to just that port, or somebody counted wrong."""
    kind = sock.getsockopt(SOL_SOCKET, SO_TYPE)
    family = AF_INET6 if ":" in key[1] else AF_INET
    if sock.family != family or kind != _KINDS[key[0]] or sock.getsockname()[:2] != key[1:]:
        raise Refused(f"the socket sent for {_name(key)} is not bound to it")
    if family == AF_INET6 and not sock.getsockopt(IPPROTO_IPV6, IPV6_V6ONLY):
        raise Refused(f"the socket sent for {_name(key)} takes IPv4 too")
    if kind == SOCK_STREAM and not sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
        raise Refused(f"the socket sent for {_name(key)} does not listen")


def _received(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[Socket], bool]:
    """The sockets that came, and whether something else came too (which is closed)."""
    held: list[Socket] = []
    strange = False
    for level, kind, data in ancillary:
        if (level, kind) != (SOL_SOCKET, SCM_RIGHTS):
            continue
        for number in unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]):
            try:
                held.append(Socket(-1, -1, -1, number))
            except OSError:
                posix.close(number)
                strange = True
    return held, strange


def _close_all(held: list[Socket]) -> None:
    for sock in held:
        sock.close()


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = posix.lstat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _try_unlink(path: str) -> None:
    try:
        posix.unlink(path)
    except OSError:
        pass  # the next starter replaces it


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


def _settle_signals() -> None:
    """Not to be ended by a terminal, only by SIGTERM; whatever the starter had blocked is not ours."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_IGN)


def serve(control_fd: int, listener_fd: int) -> None:
    """Serve until the last publish that covers loopback is gone, ``stop``, or SIGTERM.

    Both descriptors are sockets that the starter has bound and that listen already: unix SOCK_SEQPACKET
    and TCP. Returns when all is closed; raises OSError if one of them is no such socket.
    """
    _settle_signals()
    proxy = Proxy(Socket(-1, -1, -1, control_fd), Socket(-1, -1, -1, listener_fd))
    try:
        _signal.signal(_signal.SIGTERM, _terminate)
        while proxy.running:
            proxy.loop.turn()
    except _Terminated:
        pass
    finally:
        proxy.close()
