"""Sysctls of network namespaces, by a path that does not get slower with their number.

In /proc every namespace has a ``sys/net/ipv6`` of its own, all of them in one hash chain, which the
kernel walks when a namespace looks for the first time (proc_sys_compare() in fs/proc/proc_sysctl.c):
16 us for the first, 400 us for the thousandth. Another mount of procfs begins with an empty chain.
"""

from __future__ import annotations

import posix

from weft.core.model.errors import NotPermitted, Unsupported
from weft.linux import libc

_DISABLE = "net/ipv6/conf/all/disable_ipv6"
#: A mount takes 0.1 ms to make, after so many namespaces its chain costs more.
_NAMESPACES_A_MOUNT = 32
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6


class Procfs:
    """Reads and writes sysctls in one namespace after another."""

    __slots__ = ("_left", "_procfs")

    def __init__(self) -> None:
        self._procfs = -1
        self._left = 0

    def switch_ipv6_off(self) -> None:
        """In the calling thread's namespace; fine when the kernel has no IPv6. NotPermitted."""
        try:
            self.write(_DISABLE, "1")
        except Unsupported:
            pass

    def write(self, key: str, value: str) -> None:
        """Writes one sysctl of the calling thread's namespace; key with slashes. NotPermitted,
        Unsupported."""
        try:
            fd = posix.open(f"sys/{key}", posix.O_WRONLY | posix.O_CLOEXEC, dir_fd=self._next())
        except FileNotFoundError:
            raise Unsupported(f"the kernel has no sysctl {key}") from None
        except OSError as error:
            raise NotPermitted(f"cannot set the sysctl {key} to {value}: {error.strerror}") from None
        try:
            posix.write(fd, value.encode())
        except OSError as error:
            raise NotPermitted(f"cannot set the sysctl {key} to {value}: {error.strerror}") from None
        finally:
            posix.close(fd)

    def read(self, key: str) -> str:
        """One sysctl of the calling thread's namespace; "" where the kernel has none of that name."""
        try:
            fd = posix.open(f"sys/{key}", posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=self._next())
        except OSError:
            return ""
        try:
            return posix.read(fd, 4096).decode().strip()
        finally:
            posix.close(fd)

    def _next(self) -> int:
        if not self._left:
            # The first has /proc as it is: for one container a mount does not pay.
            first = self._procfs < 0
            fresh, self._left = (_proc(), 1) if first else (_mounted(), _NAMESPACES_A_MOUNT)
            if not first:
                posix.close(self._procfs)
            self._procfs = fresh
        self._left -= 1
        return self._procfs


def _proc() -> int:
    return posix.open("/proc", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)


def _mounted() -> int:
    """A procfs that is mounted nowhere (fsopen(2)); /proc where the kernel cannot (before 5.8: shared)."""
    try:
        context = libc.syscall(_SYS_FSOPEN, b"proc", _CLOEXEC)
    except OSError:
        return _proc()
    try:
        libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, 0, 0, 0)
        return libc.syscall(_SYS_FSMOUNT, context, _CLOEXEC, 0)
    except OSError:
        return _proc()
    finally:
        posix.close(context)
