"""The start of the loopback proxy: one starter at a time, a process that is nobody's child.

Apart from the client (loopback.py), as it comes once for a thousand published ports.
"""

from __future__ import annotations

import errno
import fcntl
import posix
import select
from _socket import AF_INET, AF_UNIX, SO_REUSEADDR, SOCK_CLOEXEC, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET
from _socket import SocketType as Socket
from time import monotonic, sleep

from weft.core.model.errors import Conflict, Exhausted, KernelError, NotOurs, NotPermitted
from weft.linux.loopback import LOOPBACK, SECONDS, cannot_hold, checked

_BACKLOG = 4096
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def start(run_dir: str, path: str, launcher: str, port: int) -> None:
    """Start the proxy with its control socket at ``path``. See LoopbackClient.start."""
    with _Locked(run_dir):
        listener = _listen_tcp(port)
        try:
            control = _bind_control(path)
        except BaseException:
            listener.close()
            raise
        try:
            _spawn(launcher, control.fileno(), listener.fileno())
        except BaseException:
            posix.unlink(path)
            raise
        finally:
            control.close()
            listener.close()


def free_port(preferred: int) -> int:
    """See LoopbackClient.free_port."""
    low, high = local_ports()
    for port in range(preferred, 65536):
        if low <= port <= high:
            continue
        try:
            _listen_tcp(port).close()
        except Conflict:
            continue
        return port
    raise Exhausted(f"no port from {preferred} to 65535 is free on {LOOPBACK}")


def _bind_control(path: str) -> Socket:
    """The control socket, bound and listening; only what nobody listens on any more is replaced."""
    control = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    try:
        posix.fchmod(control.fileno(), 0o600)  # before bind: the path never has another mode
        try:
            control.bind(path)
        except OSError as refused:
            if refused.errno != errno.EADDRINUSE:
                raise
            _clear_stale(path)
            control.bind(path)
        control.listen(64)
    except OSError as refused:
        control.close()
        raise KernelError(f"{path}: {refused.strerror}", refused.errno or 0) from refused
    except BaseException:
        control.close()
        raise
    return control


def _clear_stale(path: str) -> None:
    """Unlink what a killed proxy left. Conflict when it lives, NotOurs when it is no such socket."""
    if posix.lstat(path).st_mode & 0o170000 != 0o140000:
        raise NotOurs(f"{path} is not a socket", "move it away")
    probe = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    try:
        probe.settimeout(SECONDS)
        error = probe.connect_ex(path)
    finally:
        probe.close()
    if error == errno.EPROTOTYPE:
        raise NotOurs(f"{path} is another program's socket", "move it away")
    if error != errno.ECONNREFUSED:
        raise Conflict("a loopback proxy runs already")
    posix.unlink(path)


class _Locked:
    """One starter at a time: between its bind and its listen a socket looks like a dead proxy's."""

    def __init__(self, run_dir: str) -> None:
        _make_private(run_dir)
        self.path = run_dir.rstrip("/") + "/loopback.lock"

    def __enter__(self) -> None:
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
        try:
            self.fd = posix.open(self.path, flags, 0o600)
        except OSError as refused:
            raise KernelError(f"{self.path}: {refused.strerror}", refused.errno or 0) from refused
        deadline = monotonic() + SECONDS
        while not self._taken():
            if monotonic() > deadline:
                posix.close(self.fd)
                raise Conflict("another command is starting the loopback proxy", "try again")
            sleep(0.01)  # flock(2) has no timeout

    def __exit__(self, *_: object) -> None:
        posix.close(self.fd)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _make_private(path: str) -> None:
    """The directory exists and nobody else can put a socket into it."""
    try:
        try:
            posix.mkdir(path, 0o700)
        except FileExistsError:
            pass
        status = posix.lstat(path)
    except OSError as refused:
        raise KernelError(f"{path}: {refused.strerror}", refused.errno or 0) from refused
    if status.st_mode & 0o170000 != 0o040000 or status.st_uid != posix.geteuid() or status.st_mode & 0o022:
        raise NotPermitted(f"{path} is not a directory that only this user can write to", f"chmod 700 {path}")


def _listen_tcp(port: int) -> Socket:
    checked("tcp", LOOPBACK, port)
    sock = Socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
    try:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        sock.listen(_BACKLOG)
    except OSError as refused:
        sock.close()
        raise cannot_hold(refused, "tcp", LOOPBACK, port) from refused
    return sock


def local_ports() -> tuple[int, int]:
    """The ports the kernel gives to whoever does not ask for one (ip(7)); an empty range if unknown."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            low, high = file.read().split()
    except OSError:
        return 1, 0
    return int(low), int(high)


def reserved_ports() -> frozenset[int]:
    """The ports that an administrator keeps from being given to whoever does not ask (ip(7))."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_reserved_ports", encoding="ascii") as file:
            words = [word.partition("-") for word in file.read().strip().split(",") if word]
    except OSError:
        return frozenset()
    return frozenset([p for low, _, high in words for p in range(int(low), int(high or low) + 1)])


def _spawn(launcher: str, control: int, listener: int) -> None:
    """Start the proxy as nobody's child: fork(2) twice. KernelError when the launcher cannot be executed."""
    hears, tells = posix.pipe2(posix.O_CLOEXEC)
    try:
        child = posix.fork()
        if child == 0:
            _fork_again(launcher, control, listener, tells)
    finally:
        posix.close(tells)
    try:
        trouble = _heard(hears)
    finally:
        posix.close(hears)
        try:
            posix.waitpid(child, 0)
        except ChildProcessError:  # the caller ignores SIGCHLD: reaped already
            pass
    if trouble:
        raise KernelError(f"{launcher} cannot be started: {posix.strerror(trouble)}", trouble)


def _heard(hears: int) -> int:
    """The errno a child reports; 0 at the end of file, which execve(2) brings about."""
    waiting = select.poll()
    waiting.register(hears, select.POLLIN)
    if not waiting.poll(SECONDS * 1000):
        return errno.ETIMEDOUT
    return int(posix.read(hears, 16) or b"0")


def _fork_again(launcher: str, control: int, listener: int, tells: int) -> None:
    """In the child: never returns, whatever happens."""
    try:
        posix.setsid()
        if posix.fork() == 0:
            _become_proxy(launcher, control, listener, tells)
    except OSError as refused:
        posix.write(tells, str(refused.errno).encode())
    finally:
        posix._exit(0)


def _become_proxy(launcher: str, control: int, listener: int, tells: int) -> None:
    """In the grandchild: two sockets at 3 and 4, nothing else open, nothing of the caller's environment."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 6) for fd in (control, listener, tells)]
    posix.chdir("/")
    null = posix.open("/dev/null", posix.O_RDWR)
    for standard in (0, 1, 2):
        posix.dup2(null, standard)
    posix.dup2(high[0], 3)
    posix.dup2(high[1], 4)
    posix.dup2(high[2], 5, False)
    posix.closerange(6, posix.sysconf("SC_OPEN_MAX"))
    try:
        posix.execve(launcher, [launcher, "loopback-serve", "3", "4"], _ENVIRONMENT)
    except OSError as refused:
        posix.closerange(3, 5)  # before the parent hears of it: the port is free when start fails
        posix.write(5, str(refused.errno).encode())
