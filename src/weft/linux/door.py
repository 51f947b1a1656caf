"""The unix sockets by which one looks at a container: made by its monitor, in a directory of root's."""

from __future__ import annotations

import errno
import posix
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET
from _socket import SocketType as Socket

from weft.core.model.errors import Conflict, KernelError
from weft.linux.paths import make_directories

_BACKLOG = 64


def _reached(folder: str, name: str, action: str, sock: Socket) -> None:
    """bind(2) or connect(2) by way of the directory's descriptor: a path of any length has 108 bytes."""
    fd = posix.open(folder, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        getattr(sock, action)(f"/proc/self/fd/{fd}/{name}")
    finally:
        posix.close(fd)


def listen(folder: str, name: str) -> int:
    """A listening socket's descriptor; what an earlier monitor left there goes. KernelError."""
    sock = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    try:
        make_directories(folder, 0o700)
        posix.fchmod(sock.fileno(), 0o600)  # before bind: the path never has another mode
        try:
            posix.unlink(f"{folder}/{name}")
        except FileNotFoundError:
            pass
        _reached(folder, name, "bind", sock)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise KernelError(f"{folder}/{name}: {error.strerror}", error.errno or 0) from None
    return sock.detach()


def connect(folder: str, name: str) -> Socket:
    """Conflict when no monitor listens."""
    sock = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    try:
        _reached(folder, name, "connect", sock)
    except OSError as error:
        sock.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            raise Conflict(f"container {name} has no monitor to attach to") from None
        raise KernelError(f"{folder}/{name}: {error.strerror}", error.errno or 0) from None
    return sock
