"""Named network namespaces as ``ip netns`` keeps them: bind mounts under /run/netns (ip-netns(8))."""

from __future__ import annotations

import errno
import posix
from fcntl import LOCK_EX, flock

from weft.core.model.errors import NotFound
from weft.linux import libc
from weft.linux.paths import make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

NETNS_DIR = "/run/netns"
HERE = "/proc/thread-self/ns/net"


def path(name: str) -> str:
    """Where a namespace of this name is mounted."""
    return f"{NETNS_DIR}/{name}"


def prepare() -> None:
    """Makes /run/netns a shared mount point, as ``ip netns add`` does, safely against another process.

    Shared, so that a deletion reaches every mount namespace that copied the mounts; without it
    a container's copy would keep the namespace alive.
    """
    make_directories(NETNS_DIR, 0o755)
    fd = posix.open(NETNS_DIR, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        flock(fd, LOCK_EX)
        try:
            libc.mount("", NETNS_DIR, "none", libc.MS_SHARED | libc.MS_REC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            libc.mount(NETNS_DIR, NETNS_DIR, "none", libc.MS_BIND | libc.MS_REC)
            libc.mount("", NETNS_DIR, "none", libc.MS_SHARED | libc.MS_REC)
    finally:
        posix.close(fd)


def add(name: str, home: int, first: Callable[[], T]) -> T:
    """Makes a namespace, runs ``first`` inside it, and names it. The thread returns to ``home``.

    Raises FileExistsError when the name is taken; on any failure the name is taken off again.
    """
    where = path(name)
    posix.close(posix.open(where, posix.O_RDONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0))
    try:
        libc.unshare(libc.CLONE_NEWNET)
        try:
            libc.mount(HERE, where, "none", libc.MS_BIND)
            return first()
        finally:
            libc.setns(home, libc.CLONE_NEWNET)
    except BaseException:
        delete(name)
        raise


def delete(name: str) -> bool:
    """Takes the name off; whether there was one. What else holds the namespace keeps it alive."""
    where = path(name)
    try:
        libc.umount2(where, libc.MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    try:
        posix.unlink(where)
    except FileNotFoundError:
        return False
    return True


def open_fd(name: str) -> int:
    """A descriptor of a named namespace; NotFound when there is none."""
    try:
        return posix.open(path(name), posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"no network namespace {name} under {NETNS_DIR}") from None


def inode(name: str) -> int:
    """The number by which the kernel shows it (``net:[N]``); 0 when the name is gone or stale."""
    try:
        found = posix.stat(path(name))
    except OSError:
        return 0
    here = posix.stat(HERE)
    return found.st_ino if found.st_dev == here.st_dev else 0


def within(home: int, name: str, action: Callable[[], T]) -> T:
    """Runs ``action`` with the calling thread inside a named namespace, then returns to ``home``."""
    fd = open_fd(name)
    try:
        libc.setns(fd, libc.CLONE_NEWNET)
    finally:
        posix.close(fd)
    try:
        return action()
    finally:
        libc.setns(home, libc.CLONE_NEWNET)
