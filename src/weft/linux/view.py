"""The view that a running container has of name files, changed from outside (mount_namespaces(7))."""

from __future__ import annotations

import posix

from weft.core.model.enter import Way
from weft.core.model.errors import NotFound
from weft.linux import apart, libc, mounts


def show_hosts(pid: int, started: int, path: str) -> None:
    """Binds another file over /etc/hosts in a process's mount namespace. A process that has ended sees
    nothing."""

    def bind() -> None:
        try:
            libc.umount2("/etc/hosts", libc.MNT_DETACH)
        except OSError:
            pass  # nothing is bound there: it had no /etc/hosts when it started
        mounts.put_file(mount, "/etc/hosts")

    mount = mounts.read_only_copy(path)  # here: inside it may have no path
    try:
        apart.beside(Way(f"process {pid}", pid=pid, started=started, types=("mnt",)), bind)
    except NotFound:
        pass
    finally:
        posix.close(mount)
