"""Programs of other people that are asked something: input, output and status; what they say on stderr goes
where ours does."""

from __future__ import annotations

import errno
import os

from weft.core.model.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of an answer.
_MOST = 16 << 20


def run(path: str, words: Sequence[str], data: bytes) -> tuple[int, bytes]:
    """Runs a program; its exit status (128 and the signal where one killed it) and what it printed.
    KernelError when it cannot be executed, or prints without an end."""
    given = os.memfd_create("weft-plugin", os.MFD_CLOEXEC)
    out, into = os.pipe2(os.O_CLOEXEC)
    pid = 0
    try:
        _write(given, data)
        os.lseek(given, 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, into, 1)]
        pid = os.posix_spawn(path, [path, *words], os.environ, file_actions=actions)
    except OSError as error:
        raise KernelError(f"cannot execute {path}: {error.strerror}", error.errno or 0) from None
    finally:
        for fd in (given, into, *([] if pid else [out])):
            os.close(fd)
    return _collect(path, pid, out)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _collect(path: str, pid: int, out: int) -> tuple[int, bytes]:
    found = bytearray()
    try:
        while part := os.read(out, 1 << 16):
            found += part
            if len(found) > _MOST:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                raise KernelError(f"{path} printed more than {_MOST} bytes", errno.EFBIG)
    finally:
        os.close(out)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return (128 - status if status < 0 else status), bytes(found)
