"""A terminal from a container's own devpts (pts(4)), whose other end goes to whoever shows it (unix(7))."""

from __future__ import annotations

import os
import stat
from _socket import SCM_RIGHTS, SOL_SOCKET, socket
from fcntl import ioctl

from weft.core.model.errors import KernelError
from weft.linux import mountapi

_TIOCSPTLCK, _TIOCGPTPEER, _TIOCSCTTY = 0x40045431, 0x5441, 0x540E


def hand_out(console: int, owner: int, show: bool) -> int:
    """Makes a terminal, sends its master by the socket, and gives its slave, which is that user's.

    ``show``: as /dev/console too. KernelError.
    """
    try:
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        found = os.fstat(master)
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(5, 2):
            raise KernelError("/dev/ptmx of the container is no terminal multiplexer")
        ioctl(master, _TIOCSPTLCK, bytes(4))
        # By the master, not by a path of the container's.
        slave = ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        os.fchown(slave, owner, -1)
        if show:
            _show(slave)
        _send(console, master)
    except OSError as error:
        hint = "it needs a devpts at /dev/pts"
        raise KernelError(f"cannot make a terminal: {error.strerror}", error.errno or 0, hint) from None
    os.close(master)
    return slave


def _show(slave: int) -> None:
    try:
        os.close(os.open("/dev/console", os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError:
        pass  # it is there, or cannot be
    try:
        target = os.open("/dev/console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    tree = mountapi.tree("", at=slave)
    mountapi.attach(tree, target)
    os.close(tree)
    os.close(target)


def _send(console: int, master: int) -> None:
    channel = socket(fileno=os.dup(console))
    channel.sendmsg([b"\0"], [(SOL_SOCKET, SCM_RIGHTS, master.to_bytes(4, "little"))])
    channel.close()


def control(slave: int) -> None:
    """Makes it the controlling terminal of a new session, and descriptors 0 to 2. OSError."""
    os.setsid()
    ioctl(slave, _TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)
