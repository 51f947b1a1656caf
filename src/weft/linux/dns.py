"""The DNS server as commands see it: whether it runs, its start, its end; and the sockets it listens with."""

from __future__ import annotations

import errno
import fcntl
import posix
import select
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
)
from _socket import SocketType as Socket
from _struct import pack, unpack

from weft.core.model.errors import Conflict, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 10
_BACKLOG = 256
_BUFFER = 1 << 20
#: linux/in.h and linux/in6.h: an address may be listened on before an interface has it.
_SOL_IP, _IP_FREEBIND, _IPV6_FREEBIND, _SO_RCVBUFFORCE = 0, 15, 78, 33
#: struct flock (fcntl(2)).
_FLOCK = "hhqqi"
_SIGTERM, _SIGKILL = 15, 9
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class Lock:
    """One process of a root: a record lock (fcntl(2)), whose holder the kernel knows by its pid."""

    __slots__ = ("_fd",)

    def __init__(self, run_dir: str) -> None:
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
        self._fd = posix.open(path(run_dir), flags, 0o600)

    def take(self) -> bool:
        """Whether it is ours now."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETLK, pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Lets it go."""
        fcntl.fcntl(self._fd, fcntl.F_SETLK, pack(_FLOCK, fcntl.F_UNLCK, 0, 0, 0, 0))


def path(run_dir: str) -> str:
    """The file that the server of a root has locked."""
    return f"{run_dir}/dns.lock"


def log(run_dir: str) -> str:
    """Where it says what it could not do."""
    return f"{run_dir}/dns.log"


def holder(run_dir: str) -> int:
    """The pid of the running server; 0 when there is none."""
    try:
        fd = posix.open(path(run_dir), posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        found = fcntl.fcntl(fd, fcntl.F_GETLK, pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
    finally:
        posix.close(fd)
    kind, _whence, _start, _length, pid = unpack(_FLOCK, found)
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def said(run_dir: str) -> list[str]:
    """The last lines of that."""
    try:
        fd = posix.open(log(run_dir), posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except OSError:
        return []
    try:
        return posix.read(fd, 1 << 16).decode("utf-8", "replace").splitlines()[-5:]
    finally:
        posix.close(fd)


def start(run_dir: str, launcher: str, root: str) -> None:
    """Starts the server unless it runs; returns when it answers. KernelError, with its words."""
    if holder(run_dir):
        return
    hears, tells = posix.pipe2(posix.O_CLOEXEC)
    child = posix.fork()
    if child == 0:
        _fork_again(launcher, root, tells)
    posix.close(tells)
    try:
        said = _heard(hears)
    finally:
        posix.close(hears)
        try:
            posix.waitpid(child, 0)
        except ChildProcessError:  # the caller ignores SIGCHLD: reaped already
            pass
    if said != b"\0" and not holder(run_dir):
        words = said.decode("utf-8", "replace").strip() or "it ended at once, or said nothing for 10 s"
        raise KernelError(f"the DNS server does not start: {words}")


def _heard(hears: int) -> bytes:
    waiting = select.poll()
    waiting.register(hears, select.POLLIN)
    return posix.read(hears, 4096) if waiting.poll(_SECONDS * 1000) else b""


def _fork_again(launcher: str, root: str, tells: int) -> None:
    """In the child: never returns, whatever happens."""
    try:
        posix.setsid()
        if posix.fork() == 0:
            tells = fcntl.fcntl(tells, fcntl.F_DUPFD_CLOEXEC, 4)
            null = posix.open("/dev/null", posix.O_RDWR)
            for standard in (0, 1, 2):
                posix.dup2(null, standard)
            posix.dup2(tells, 3)
            posix.closerange(4, posix.sysconf("SC_OPEN_MAX"))
            posix.chdir("/")
            posix.execve(
                launcher, [launcher, "dns-serve", *(["--root", root] if root else []), "3"], _ENVIRONMENT
            )
    except OSError as refused:
        posix.write(
            3 if posix.getpid() != posix.getsid(0) else tells, f"{launcher}: {refused.strerror}".encode()
        )
    finally:
        posix._exit(0)


def stop(run_dir: str) -> None:
    """Ends the server, and waits until it has: asked first, killed when it does not. None is fine."""
    pid = holder(run_dir)
    if not pid:
        return
    try:
        fd = posix.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if holder(run_dir) != pid:
            return  # it ended, and the number may be another's
        from _signal import pidfd_send_signal  # type: ignore[import-not-found]

        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        for number in (_SIGTERM, _SIGKILL):
            pidfd_send_signal(fd, number)
            if waiting.poll(_SECONDS * 500):
                return
    finally:
        posix.close(fd)


def probe(address: str, port: int) -> None:
    """Whether an address could be listened on, there or not yet. Conflict."""
    try:
        for sock in open_pair(address, port):
            sock.close()
    except OSError as refused:
        raise Conflict(
            f"cannot answer DNS at {address} port {port}: {refused.strerror}",
            "another name server listens on all addresses? choose another -o dns_port=PORT",
        ) from None


def open_pair(address: str, port: int, place: str = "") -> tuple[Socket, Socket]:
    """A UDP and a TCP socket on an address that there need not be yet. ``place``: in this network namespace,
    which the sockets keep. OSError."""
    if place:
        return _inside(place, lambda: open_pair(address, port))
    udp = _bound(address, port, SOCK_DGRAM)
    try:
        tcp = _bound(address, port, SOCK_STREAM)
        try:
            tcp.listen(_BACKLOG)
        except BaseException:
            tcp.close()
            raise
    except BaseException:
        udp.close()
        raise
    return udp, tcp


def is_ours(address: str) -> bool:
    """Whether an interface of this host has it: only such can be bound to."""
    sock = Socket(AF_INET6 if ":" in address else AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    try:
        sock.bind((address, 0))
    except OSError:
        return False
    finally:
        sock.close()
    return True


def _inside(place: str, action: Callable[[], tuple[Socket, Socket]]) -> tuple[Socket, Socket]:
    """In a namespace, ``PATH`` or ``PATH#INODE``: a process's path may lead to another one by now."""
    from weft.linux import netns

    where, _, inode = place.partition("#")
    try:
        fd = posix.open(where, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"{where}: {error.strerror}") from None
    try:
        if inode and posix.fstat(fd).st_ino != int(inode):
            raise OSError(errno.ESTALE, f"{where} is another namespace by now")
        home = posix.open(netns.HERE, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            return netns.within(home, fd, action)
        finally:
            posix.close(home)
    finally:
        posix.close(fd)


def _bound(address: str, port: int, kind: int) -> Socket:
    six = ":" in address
    sock = Socket(AF_INET6 if six else AF_INET, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    try:
        if six:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            sock.setsockopt(IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(_SOL_IP, _IP_FREEBIND, 1)
        if kind == SOCK_STREAM:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        else:
            _grow(sock)
        sock.bind((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _grow(sock: Socket) -> None:
    """Room for a burst of questions; who may not have it does without."""
    try:
        sock.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except OSError as refused:
        if refused.errno != errno.EPERM:
            raise
