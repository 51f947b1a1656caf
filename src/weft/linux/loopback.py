"""Publishing on 127.x: hold the ports, start the loopback proxy, tell it what leads where.

The proxy is another process (``services/loopback.py`` says what it does and how it is spoken to). It
exists while a publish that covers loopback does; ports published on other addresses are held by it too.
"""

from __future__ import annotations

import errno
import posix
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SCM_RIGHTS,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    inet_ntop,
    inet_pton,
)
from _socket import SocketType as Socket
from _struct import pack
from time import monotonic

from weft.core.model.errors import (
    BadInput,
    Conflict,
    Exhausted,
    KernelError,
    NotFound,
    NotPermitted,
    Unsupported,
    WeftError,
    WireError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Mapping = tuple[str, str, int, str, int]
    Key = tuple[str, str, int]

SECONDS = 5.0
_BATCH = 200
_BACKLOG = 128
_PACKET = 65536
_KINDS = {"tcp": SOCK_STREAM, "udp": SOCK_DGRAM}
LOOPBACK = "127.0.0.1"
_TRY_AGAIN = "try again; if it stays so, end that process; the next weft command starts another"

# Classic BPF (bpf(2), linux/filter.h): struct sock_filter is u16 code, u8 jt, u8 jf, u32 k.
_SO_ATTACH_FILTER = 26
_LOAD_BYTE, _LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x30, 0x20, 0x15, 0x06
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF
_DROP_ALL = pack("=HBBI", _RETURN, 0, 0, 0)
_ONLY_TO_127 = (
    pack("=HBBI", _LOAD_BYTE, 0, 0, _NETWORK_HEADER + 16)  # first byte of the IPv4 destination
    + pack("=HBBI", _JUMP_EQUAL, 0, 1, 127)
    + pack("=HBBI", _RETURN, 0, 0, 0xFFFFFFFF)
    + _DROP_ALL
)


def _word_is(place: int, value: int, words_left: int) -> bytes:
    """Drops unless a word of the network header has a value; ``words_left`` such pairs follow."""
    load = pack("=HBBI", _LOAD_WORD, 0, 0, _NETWORK_HEADER + place)
    return load + pack("=HBBI", _JUMP_EQUAL, 0, 2 * words_left + 1, value)


#: The IPv6 destination is ::1.
_ONLY_TO_1 = (
    b"".join([_word_is(24 + 4 * n, int(n == 3), 3 - n) for n in range(4)])
    + pack("=HBBI", _RETURN, 0, 0, 0xFFFFFFFF)
    + _DROP_ALL
)


def hold(proto: str, address: str, port: int, target: str = "") -> int:
    """Take a port so that no other program can: a bound socket's descriptor, close-on-exec, the caller's.

    A filter drops what the firewall leads elsewhere; what is left the proxy serves: datagrams to 127.x and
    ::1, connections to ::1, and all of both where ``target``, the container's address, is of the other
    family. A connection to 127.x is redirected. Dialled past the firewall the rest is silent.
    Conflict when the port is taken, BadInput when the address is not this host's, NotPermitted without the
    right to bind, Unsupported without IPv6, KernelError for the rest (bind(2), listen(2), socket(7)).
    """
    canonical = checked(proto, address, port)
    sock = _opened(proto, canonical, port)
    try:
        _take(sock, proto, canonical, port, bool(target) and (":" in target) != (":" in canonical))
    except OSError as refused:
        sock.close()
        raise cannot_hold(refused, proto, canonical, port) from refused
    return sock.detach()


def _opened(proto: str, address: str, port: int) -> Socket:
    try:
        return Socket(AF_INET6 if ":" in address else AF_INET, _KINDS[proto] | SOCK_CLOEXEC, 0)
    except OSError as refused:
        raise cannot_hold(refused, proto, address, port) from refused


def checked(proto: str, address: str, port: int) -> str:
    if proto not in _KINDS:
        raise BadInput(f"protocol {proto!a} is not tcp or udp")
    if not 0 < port < 65536:
        raise BadInput(f"{port} is not a port (1 to 65535)")
    family = AF_INET6 if ":" in address else AF_INET
    try:
        return inet_ntop(family, inet_pton(family, address))
    except (OSError, ValueError):
        raise BadInput(f"{address!a} is not an IP address", "write it as 127.0.0.1") from None


def _take(sock: Socket, proto: str, address: str, port: int, serves_all: bool) -> None:
    """The filter comes before the address, so that nothing is ever queued in between."""
    wide = sock.family == AF_INET6
    if wide:
        sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    if not serves_all:
        serves = _covers_loopback(address) and (wide or proto == "udp")
        _attach_filter(sock, (_ONLY_TO_1 if wide else _ONLY_TO_127) if serves else _DROP_ALL)
    if proto == "tcp":
        # Past TIME_WAIT; harmless, as a listening socket excludes others all the same. For UDP it
        # would let any other program with the same option take the port over (socket(7)).
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    sock.bind((address, port))
    if proto == "tcp":
        sock.listen(_BACKLOG)


def _covers_loopback(address: str) -> bool:
    return address in ("0.0.0.0", "::", "::1") or address.startswith("127.")


def _attach_filter(sock: Socket, program: bytes) -> None:
    """struct sock_fprog has a pointer. ctypes costs 5 ms, array 2; a bytes object ends with its data."""
    address = id(program) + bytes.__basicsize__ - 1
    sock.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, pack("HP", len(program) // 8, address))


def cannot_hold(refused: OSError, proto: str, address: str, port: int) -> WeftError:
    port_name = f"port {port}/{proto} on {address}"
    number = refused.errno or 0
    if number == errno.EADDRINUSE:
        flags = "-ltnp" if proto == "tcp" else "-lunp"
        return Conflict(f"{port_name} is taken by another program", f"find it: ss {flags} 'sport = :{port}'")
    if number == errno.EADDRNOTAVAIL:
        return BadInput(f"{address} is not an address of this host", "list them: ip -br addr")
    if number == errno.EINVAL:
        link_local = address.startswith("fe80:")
        why = "it is link-local, and means nothing without an interface" if link_local else "no host has it"
        return BadInput(f"{address} cannot be bound: {why}", "list addresses: ip -br addr")
    if number == errno.EAFNOSUPPORT:
        return Unsupported(f"{port_name} cannot be held: this kernel has no IPv6", "publish on IPv4")
    if number in (errno.EACCES, errno.EPERM):
        return NotPermitted(f"{port_name} may not be bound by this user", "run as root")
    return KernelError(f"{port_name} cannot be held: {refused.strerror}", number)


def free_port(
    proto: str, address: str, low: int, high: int, start: int, is_taken: Callable[[int], bool]
) -> int:
    """A port that can be held now, from ``start`` on, round the range; ``is_taken`` tells of those that
    weft has.

    ``low`` 0: the kernel's range for those who do not ask (ip(7), ip_local_port_range). Ports of
    ip_local_reserved_ports are passed over. Exhausted.
    """
    from weft.linux.loopback_start import local_ports, reserved_ports

    if not low:
        low, high = local_ports()
    kept, size = reserved_ports(), high - low + 1
    for n in range(size):
        port = low + (start + n) % size
        if port in kept or is_taken(port):
            continue
        try:
            posix.close(hold(proto, address, port))
        except Conflict:
            continue
        return port
    raise Exhausted(f"no port from {low} to {high} is free on {address}", "unpublish one, or name a port")


class LoopbackClient:
    """Starts the proxy and talks to it. Every call ends within 5 s, with an answer or an error.

    ``run_dir``: absolute, where ``loopback.sock`` lives; made with mode 0700 if missing. ``launcher``: an
    executable that calls ``serve`` with the two descriptors in its argv. Errors of all calls: NotFound
    when the proxy does not run, NotPermitted without root, WireError or KernelError when it misbehaves.
    """

    def __init__(self, run_dir: str, launcher: str) -> None:
        if not run_dir.startswith("/"):
            raise BadInput(f"{run_dir!a} is not an absolute path")
        self.run_dir = run_dir
        self.launcher = launcher
        self.path = run_dir.rstrip("/") + "/loopback.sock"
        if len(self.path.encode()) > 107:
            raise BadInput(f"{self.path} is too long for a socket (107 bytes)", "use a shorter --root")

    def alive(self) -> bool:
        """Whether a proxy runs: a dead one's socket refuses to be connected to. Nothing is asked of it,
        since every command that may publish wants to know.
        """
        try:
            with _Channel(self.path):
                return True
        except NotFound:
            return False

    def port(self) -> int:
        """The TCP port on 127.0.0.1 that the running proxy listens on: where the firewall redirects to."""
        with _Channel(self.path) as channel:
            return int(channel.ask("ping").split(" ")[2])

    def start(self, port: int, mappings: Sequence[Mapping], fds: Sequence[int] = ()) -> None:
        """Start the proxy, listening on 127.0.0.1:PORT, and give it the mappings (see ``add``).

        Conflict when the port is taken or a proxy runs already; NotOurs when its path is no socket. A
        proxy that is given no mapping that covers loopback ends by itself after 30 s.
        """
        from weft.linux import loopback_start

        loopback_start.start(self.run_dir, self.path, self.launcher, port)
        try:
            self.add(mappings, fds)
        except BaseException:
            self.stop()
            raise

    def free_port(self, preferred: int) -> int:
        """A TCP port that can be bound on 127.0.0.1 now: the preferred one, or the next that is free.

        Ports of ip_local_port_range are passed over, as any program may be given one. Exhausted
        when none is left up to 65535.
        """
        from weft.linux import loopback_start

        return loopback_start.free_port(preferred)

    def add(self, mappings: Sequence[Mapping], fds: Sequence[int]) -> None:
        """Lead (proto, host ip, host port) to (target ip, target port); replaces what had the same key.

        ``fds``: the held sockets in the same order, or none at all (which keeps those held before). The
        proxy gets duplicates; the caller's remain the caller's to close, and hold the port until closed.
        BadInput when the proxy refuses a mapping; batches of 200 before it stay.
        """
        if mappings:
            self.begin_add(mappings, fds)()

    def begin_add(self, mappings: Sequence[Mapping], fds: Sequence[int]) -> Callable[[], None]:
        """``add`` without waiting for the last answer: what is returned waits, and must be called once."""
        if fds and len(fds) != len(mappings):
            raise BadInput(f"{len(mappings)} mappings with {len(fds)} held sockets")
        channel = _Channel(self.path)
        try:
            for first in range(0, len(mappings), _BATCH):
                if first:
                    channel.reply()
                lines = [" ".join(["add", *map(str, m)]) for m in mappings[first : first + _BATCH]]
                channel.send("\n".join(lines), fds[first : first + _BATCH])
        except BaseException:
            channel.sock.close()
            raise

        def answer() -> None:
            with channel:
                channel.reply()

        return answer

    def remove(self, keys: Sequence[Key]) -> None:
        """Remove mappings by (proto, host ip, host port); their ports are free when this returns.

        Missing ones are fine, and so is a proxy that does not run. With the last mapping that covers
        loopback the proxy ends, and lets go of all other ports too.
        """
        try:
            with _Channel(self.path) as channel:
                for first in range(0, len(keys), _BATCH):
                    lines = [" ".join(["del", *map(str, k)]) for k in keys[first : first + _BATCH]]
                    channel.ask("\n".join(lines))
        except NotFound:
            return

    def list(self) -> list[Mapping]:
        """All mappings: (proto, host ip, host port, target ip, target port)."""
        found: list[Mapping] = []
        with _Channel(self.path) as channel:
            while True:
                head, *lines = channel.ask(f"list {len(found)}").split("\n")
                found += [_parsed(line) for line in lines]
                if not lines or len(found) >= int(head.split(" ")[1]):
                    return found

    def stop(self) -> None:
        """End the proxy: all ports are free when this returns. One that does not run is fine."""
        try:
            with _Channel(self.path) as channel:
                channel.ask("stop")
        except NotFound:
            return


class _Channel:
    """One conversation with the proxy; all of it within 5 s."""

    def __init__(self, path: str) -> None:
        self.deadline = monotonic() + SECONDS
        self.sock = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
        try:
            self._arm()
            self.sock.connect(path)
        except OSError as failed:
            self.sock.close()
            raise _cannot_talk(failed) from failed

    def __enter__(self) -> _Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, request: str) -> str:
        """Send one packet, return the reply."""
        self.send(request)
        return self.reply()

    def send(self, request: str, fds: Sequence[int] = ()) -> None:
        """Send one packet."""
        carried = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
        try:
            self._arm()
            self.sock.sendmsg([request.encode()], carried)
        except BrokenPipeError:
            pass  # it hung up before it was asked; it may have said why
        except OSError as failed:
            raise _cannot_talk(failed) from failed

    def reply(self) -> str:
        """The answer to one packet, which begins with ``ok``."""
        try:
            self._arm()
            reply = self.sock.recv(_PACKET).decode("ascii", "replace")
        except OSError as failed:
            raise _cannot_talk(failed) from failed
        return _accepted(reply)

    def _arm(self) -> None:
        """The next call may take what is left of the 5 s (0 would mean: do not wait at all)."""
        self.sock.settimeout(max(0.001, self.deadline - monotonic()))


def _accepted(reply: str) -> str:
    if not reply:
        raise NotFound("the loopback proxy ended", "the next weft command starts it again")
    if reply.startswith("error only root"):
        raise NotPermitted(reply[6:], "run as root")
    if reply.startswith("error "):
        raise BadInput(f"the loopback proxy refused: {reply[6:]}")
    if reply[:3] not in ("ok", "ok ", "ok\n"):
        raise WireError(f"the loopback proxy answered {reply[:60]!a}")
    return reply


def _cannot_talk(failed: OSError) -> WeftError:
    number = failed.errno or 0
    if isinstance(failed, TimeoutError):
        return KernelError("the loopback proxy did not answer in 5 s", errno.ETIMEDOUT, _TRY_AGAIN)
    if number in (errno.ENOENT, errno.ECONNREFUSED):
        return NotFound("the loopback proxy does not run", "the next weft command starts it again")
    if number in (errno.ECONNRESET, errno.EPIPE):
        return NotFound("the loopback proxy ended", "the next weft command starts it again")
    if number in (errno.EACCES, errno.EPERM):
        return NotPermitted("only root may talk to the loopback proxy", "run as root")
    return KernelError(f"the loopback proxy cannot be reached: {failed.strerror}", number, _TRY_AGAIN)


def _parsed(line: str) -> Mapping:
    words = line.split(" ")
    try:
        proto, host, host_port, target, target_port = words
        return proto, host, int(host_port), target, int(target_port)
    except ValueError:
        raise WireError(f"the loopback proxy answered {line[:60]!a}") from None
