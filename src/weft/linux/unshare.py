"""A command in new namespaces (unshare(2), clone3(2), user_namespaces(7), time_namespaces(7))."""

from __future__ import annotations

import errno
import os

from weft.core.model.errors import KernelError, NotPermitted, Unsupported, WeftError
from weft.linux import clocks, enter, libc, mounts, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.boundary import Process
    from weft.core.model.enter import Command
    from weft.core.model.unshare import Fresh


def become(fresh: Fresh, command: Command, say: Callable[[str], None]) -> None:
    """Makes the namespaces and executes the command in place of this program; returns never.

    Only for what needs no child (``Fresh.forks``). NotPermitted, Unsupported, and as ``enter.become``.
    """
    owner = os.geteuid(), os.getegid()
    _call(lambda: libc.unshare(_flags(fresh)), fresh)
    _furnish(fresh, owner, say)
    enter.settle(command, "", say)
    enter.execute(command)


def start(fresh: Fresh, command: Command, say: Callable[[str], None]) -> process.Child:
    """Starts a child in the namespaces that has made itself ready and waits. It dies with its parent.

    A mount namespace can be kept only by one with a lower id (mnt_ns_loop() in fs/namespace.c), and newer
    kernels hand ids out by the CPU (gen_cookie_next()): then another CPU makes one that can.
    """
    for cpus in (os.sched_getaffinity(0), *[{cpu} for cpu in range(os.cpu_count() or 1)]):
        child = _start(fresh, command, say, cpus)
        if "mnt" not in dict(fresh.files) or _mount_id(child.pid) > _mount_id(os.getpid()):
            return child
        child.cancel()
    raise Unsupported("the kernel makes no mount namespace that can be kept here", "leave --mnt out")


def _mount_id(pid: int) -> int:
    from fcntl import ioctl

    from weft.core.wire.nsfs import NS_GET_MNTNS_ID

    fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int.from_bytes(ioctl(fd, NS_GET_MNTNS_ID, bytes(8)), "little")
    finally:
        os.close(fd)


def _start(fresh: Fresh, command: Command, say: Callable[[str], None], cpus: set[int]) -> process.Child:
    owner = os.geteuid(), os.getegid()

    def prepare() -> None:
        _furnish(fresh, owner, say)
        enter.settle(command, "", say)

    def fork() -> int:
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, cpus)
        except OSError:
            pass  # not one that we may use
        try:
            return _call(lambda: libc.clone3(_flags(fresh)), fresh)
        finally:
            os.sched_setaffinity(0, before)

    child = process.start(prepare, enter.becoming(command), fork)
    child.prepared(command.argv[0])
    return child


def attend(child: Process, fresh: Fresh, name: str) -> int:
    """Lets the command go and waits for it; its status, 128+N for signal N."""
    ended = process.forward_signals(child.pid, init="pid" in fresh.types)
    child.go(name)
    code = process.wait(child.pid, stops=True)
    return 128 + ended["by"] if ended and code == 137 else code


def _flags(fresh: Fresh) -> int:
    """All but time, which needs its offsets before anybody is in it."""
    return sum([enter.FLAGS[t] for t in fresh.types if t != "time"])


def _call(action: Callable[[], int | None], fresh: Fresh) -> int:
    try:
        return action() or 0
    except OSError as error:
        raise refusal(error, fresh.types, "" if "user" in fresh.types else ", or add --user") from None


def refusal(error: OSError, types: tuple[str, ...], otherwise: str = "") -> WeftError:
    """Why there are no new namespaces of these types."""
    said = f"cannot make namespaces ({', '.join(types)}): {os.strerror(error.errno or 0)}"
    if error.errno == errno.EPERM:
        hint = f"run weft as root{otherwise}"
        return NotPermitted(said, hint)
    if error.errno == errno.EINVAL:
        return Unsupported(said, "the kernel lacks one of them")
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return KernelError(
            said, error.errno, "a limit of /proc/sys/user is reached, or they are nested too deep"
        )
    return KernelError(said, error.errno or 0)


def _furnish(fresh: Fresh, owner: tuple[int, int], say: Callable[[str], None]) -> None:
    """Inside: who is root, what time it is, what is mounted."""
    if "user" in fresh.types:
        _map_root(*owner)
    if "time" in fresh.types:
        _shift(fresh)
    if "mnt" not in fresh.types:
        return
    mounts.private()
    for kind, mount in (("pid", mounts.own_proc), ("net", mounts.own_sys)):
        if kind in fresh.types:
            try:
                mount()
            except OSError as error:
                # In a user namespace the kernel refuses what would uncover what its owner had covered.
                where = "/proc" if kind == "pid" else "/sys"
                say(f"warning: {where} is not of the new {kind} namespace: {error.strerror}")


def _map_root(uid: int, gid: int) -> None:
    """The caller is root inside (unshare(1), --map-root-user)."""
    _write("setgroups", "deny")
    _write("uid_map", f"0 {uid} 1")
    _write("gid_map", f"0 {gid} 1")


def _shift(fresh: Fresh) -> None:
    """A new time namespace is for one's children; once its clocks are set, one can join it oneself."""
    _call(lambda: clocks.renew(fresh.clocks), fresh)
    clocks.enter()


def _write(name: str, text: str) -> None:
    fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
