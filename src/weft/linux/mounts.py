"""What a command sees in a mount namespace of its own: /sys, /proc, files over /etc (mount(2))."""

from __future__ import annotations

import posix

from weft.linux import libc
from weft.linux.paths import is_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429
#: OPEN_TREE_CLONE | AT_RECURSIVE | OPEN_TREE_CLOEXEC
_CLONE_TREE = 1 | 0x8000 | posix.O_CLOEXEC
_CGROUP = b"/sys/fs/cgroup"
_ETC_NETNS = "/etc/netns"
_SAFE = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC


def slave() -> None:
    """Mounts made later on the host stay visible, ours do not leak out."""
    libc.mount("", "/", "none", libc.MS_SLAVE | libc.MS_REC)


def private() -> None:
    """Mounts neither come in nor leak out."""
    libc.mount("", "/", "none", libc.MS_PRIVATE | libc.MS_REC)


def own_sys() -> None:
    """/sys of this network namespace, with the cgroup file systems that the old one carried."""
    try:
        tree = libc.syscall(_SYS_OPEN_TREE, libc.AT_FDCWD, _CGROUP, _CLONE_TREE)
    except OSError:
        tree = -1
    read_only = libc.MS_RDONLY if posix.statvfs("/sys").f_flag & posix.ST_RDONLY else 0
    try:
        libc.umount2("/sys", libc.MNT_DETACH)
    except OSError:
        pass  # locked by an outer user namespace: it is covered then
    libc.mount("sysfs", "/sys", "sysfs", _SAFE | read_only)
    if tree >= 0:
        try:
            # MOVE_MOUNT_F_EMPTY_PATH
            libc.syscall(_SYS_MOVE_MOUNT, tree, b"", libc.AT_FDCWD, _CGROUP, 4)
        except OSError:
            pass
        posix.close(tree)


def own_proc() -> None:
    """/proc of this pid namespace, over the old one."""
    libc.mount("proc", "/proc", "proc", _SAFE)


def bind_read_only(source: str, target: str) -> None:
    """One member must not rewrite names for all: the bind is read-only."""
    if not is_file(target):
        return
    libc.mount(source, target, "none", libc.MS_BIND)
    libc.mount("none", target, "none", libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY)


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
