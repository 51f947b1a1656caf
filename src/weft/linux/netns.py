"""Named network namespaces as ``ip netns`` keeps them: bind mounts under /run/netns (ip-netns(8))."""

from __future__ import annotations

import errno
import posix
from fcntl import LOCK_EX, flock

from weft.core.model.errors import BadInput, NotFound, NotPermitted, Unsupported
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
    """Where a namespace of this name is mounted; a path stays what it is."""
    return name if name.startswith("/") else f"{NETNS_DIR}/{name}"


def mount_point(path: str, propagation: int) -> None:
    """Makes a directory a mount point of its own with this propagation, safely against another process."""
    make_directories(path, 0o755)
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        flock(fd, LOCK_EX)
        try:
            libc.mount("", path, "none", propagation | libc.MS_REC)
        except OSError as error:
            if error.errno != errno.EINVAL:  # no mount point yet
                raise
            libc.mount(path, path, "none", libc.MS_BIND | libc.MS_REC)
            libc.mount("", path, "none", propagation | libc.MS_REC)
    finally:
        posix.close(fd)


def prepare() -> None:
    """Makes /run/netns a shared mount point, as ``ip netns add`` does, safely against another process.

    Shared, so that a deletion reaches every mount namespace that copied the mounts; without it
    a container's copy would keep the namespace alive.
    """
    mount_point(NETNS_DIR, libc.MS_SHARED)


def add(name: str, home: int, first: Callable[[], T]) -> T:
    """Makes a namespace, runs ``first`` inside it, and names it. The thread returns to ``home``.

    Raises FileExistsError when the name is taken; on any failure the name is taken off again.
    """
    where = path(name)
    posix.close(posix.open(where, posix.O_RDONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0))
    try:
        _unshare()
        try:
            libc.mount(HERE, where, "none", libc.MS_BIND)
            return first()
        finally:
            libc.setns(home, libc.CLONE_NEWNET)
    except BaseException:
        delete(name)
        raise


def _unshare() -> None:
    try:
        libc.unshare(libc.CLONE_NEWNET)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unsupported("the kernel has no network namespaces", "CONFIG_NET_NS is needed") from None
        raise


def delete(name: str) -> bool:
    """Takes the name off; whether there was one. What else holds the namespace keeps it alive."""
    where = path(name)
    try:
        # A name may be a symlink to another: only it goes.
        libc.umount2(where, libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
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
    except (FileNotFoundError, ProcessLookupError):
        raise _missing(name) from None


def _missing(name: str) -> NotFound:
    name = name.removeprefix(f"{NETNS_DIR}/")
    if not name.startswith("/"):
        return NotFound(f"no network namespace {name} under {NETNS_DIR}", "`weft ns ls` lists what there is")
    pid = name.split("/")[2] if name.startswith("/proc/") else ""
    if pid.isdigit():
        return NotFound(f"no process {pid}, or it has ended", "ps -e lists them")
    return NotFound(f"no file {name!a}", "give the path of a namespace, as /proc/PID/ns/net")


def _open_any(name: str) -> int:
    # O_NONBLOCK: a path from outside may be a fifo, and open(2) would wait for its writer.
    try:
        return posix.open(path(name), posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        raise _missing(name) from None
    except OSError as error:
        raise NotPermitted(f"cannot open {path(name)!a}: {error.strerror}") from None


def at(name: str) -> tuple[str, int]:
    """The type and inode of the namespace of any type at a path; "" for what is none. NotFound."""
    from weft.linux import nsfs

    fd = _open_any(name)
    try:
        return nsfs.type_of(fd), posix.fstat(fd).st_ino
    finally:
        posix.close(fd)


def open_ns(name: str) -> tuple[int, str]:
    """A descriptor of a namespace by name or path, and its type. NotFound; BadInput when it is none."""
    from weft.linux import nsfs

    fd = _open_any(name)
    found = nsfs.type_of(fd)
    if found:
        return fd, found
    posix.close(fd)
    named = not name.startswith("/") or name.startswith(f"{NETNS_DIR}/")
    hint = f"`weft ns rm {name.rpartition('/')[2]}` clears a name that leads nowhere" if named else ""
    raise BadInput(f"{path(name)!a} is no namespace", hint or "give a path as /proc/PID/ns/net")


def open_net(name: str) -> int:
    """A descriptor of a network namespace by name or path. NotFound; BadInput when it is something else."""
    fd, found = open_ns(name)
    if found == "net":
        return fd
    posix.close(fd)
    raise BadInput(f"{path(name)!a} is a {found} namespace, not a network namespace")


def attach(name: str, source: int | str) -> None:
    """Gives a namespace that is open, or has a path, a name. FileExistsError when the name is taken."""
    where = path(name)
    posix.close(posix.open(where, posix.O_RDONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0))
    try:
        at = source if isinstance(source, str) else f"/proc/self/fd/{source}"
        libc.mount(at, where, "none", libc.MS_BIND)
    except BaseException:
        posix.unlink(where)
        raise


def keep(where: str, source: str) -> None:
    """Binds a namespace of any type at ``.../NAME/TYPE``; the directory above is made a private mount, as
    only there a mount namespace can be bound."""
    folder = where.rpartition("/")[0]
    mount_point(folder.rpartition("/")[0], libc.MS_PRIVATE)
    make_directories(folder, 0o700)
    attach(where, source)


def let_go(where: str) -> None:
    """Takes back ``keep``; the directory goes with the last one in it."""
    delete(where)
    try:
        posix.rmdir(where.rpartition("/")[0])
    except OSError:
        pass  # another one is in it


def names() -> list[str]:
    """All names under /run/netns, stale ones too."""
    try:
        return sorted(posix.listdir(NETNS_DIR))
    except FileNotFoundError:
        return []


def inode(name: str) -> int:
    """The number by which the kernel shows it (``net:[N]``); 0 when the name is gone or stale."""
    try:
        found = posix.stat(path(name))
    except OSError:
        return 0
    here = posix.stat(HERE)
    return found.st_ino if found.st_dev == here.st_dev else 0


def within(home: int, place: str | int, action: Callable[[], T]) -> T:
    """Runs ``action`` with the calling thread inside a namespace, by name, path or descriptor, then returns
    to ``home``."""
    fd = place if isinstance(place, int) else open_fd(place)
    try:
        libc.setns(fd, libc.CLONE_NEWNET)
    finally:
        if fd != place:
            posix.close(fd)
    try:
        return action()
    finally:
        libc.setns(home, libc.CLONE_NEWNET)
