"""What a command sees in a mount namespace of its own: /sys, /proc, files over /etc (mount(2))."""

from __future__ import annotations

import posix

from weft.linux import libc, mountapi
from weft.linux.paths import is_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CGROUP = "/sys/fs/cgroup"
_ETC_NETNS = "/etc/netns"
_SAFE = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC


def slave() -> None:
    """Mounts made later on the host stay visible, ours do not leak out."""
    libc.mount("", "/", "none", libc.MS_SLAVE | libc.MS_REC)


def private() -> None:
    """Mounts neither come in nor leak out."""
    libc.mount("", "/", "none", libc.MS_PRIVATE | libc.MS_REC)


def own_sys(read_only: bool = False, made: int = -1) -> None:
    """/sys of this network namespace, with the cgroup file systems that the old one carried.

    ``made`` is a mount for it, where only somebody else could make one.
    """
    read_only = read_only or bool(posix.statvfs("/sys").f_flag & posix.ST_RDONLY)
    attributes = mountapi.RDONLY if read_only else 0
    try:
        cgroups = mountapi.tree(_CGROUP, recursive=True)
        mountapi.set_attributes(cgroups, attributes, recursive=True)
    except OSError:
        cgroups = -1
    try:
        libc.umount2("/sys", libc.MNT_DETACH)
    except OSError:
        pass  # locked by an outer user namespace: it is covered then
    sysfs = mountapi.fs("sysfs", (), _SAFE | attributes) if made < 0 else made
    mountapi.set_attributes(sysfs, attributes)
    _put(sysfs, "/sys")
    posix.close(sysfs)
    if cgroups >= 0:
        try:
            _put(cgroups, _CGROUP)
        except OSError:
            pass
        posix.close(cgroups)


def _put(mount: int, path: str) -> None:
    target = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    try:
        mountapi.attach(mount, target)
    finally:
        posix.close(target)


def own_proc() -> None:
    """/proc of this pid namespace, over the old one."""
    libc.mount("proc", "/proc", "proc", _SAFE)


def read_only_copy(path: str) -> int:
    """A mount of a file that is attached nowhere: one member must not rewrite names for all. OSError."""
    mount = mountapi.tree(path)
    mountapi.set_attributes(mount, mountapi.RDONLY, propagation=libc.MS_PRIVATE)
    return mount


def put_file(mount: int, path: str) -> None:
    """Puts a mount over a file, if there is one."""
    if is_file(path):
        _put(mount, path)


def bind_etc(name: str, say: Callable[[str], None]) -> None:
    """Everything in /etc/netns/NAME over its namesake in /etc, as ip-netns(8) does: what cannot be bound is
    told of and left out."""
    where = f"{_ETC_NETNS}/{name}"
    try:
        entries = sorted(posix.listdir(where))
    except OSError:
        return
    for entry in entries:
        try:
            libc.mount(f"{where}/{entry}", f"/etc/{entry}", "none", libc.MS_BIND)
        except OSError as error:
            why = posix.strerror(error.errno or 0)
            say(f"warning: {where}/{entry} is not bound over /etc/{entry}: {why}")


def wait_mounted(path: str, seconds: float) -> bool:
    """Whether something is mounted on a path, waiting until it is: the mount table tells when it changes
    (proc_pid_mountinfo(5))."""
    from weft.linux.waiting import until

    table = posix.open("/proc/self/mountinfo", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return until(table, lambda: _is_mounted(path), seconds)
    finally:
        posix.close(table)


def _is_mounted(path: str) -> bool:
    """What is mounted there is of another file system than its directory: cheaper than to read the table,
    where many wait and much is mounted."""
    try:
        return posix.stat(path).st_dev != posix.stat(path.rpartition("/")[0] or "/").st_dev
    except OSError:
        return False
