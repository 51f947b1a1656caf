"""Another plug-in of CNI's, run as a runtime runs it (CNI specification, section 4: delegation)."""

from __future__ import annotations

import posix

from weft.core.model.errors import BadInput, KernelError
from weft.linux.paths import is_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LARGEST = 1 << 20


def find(kind: str, path: Sequence[str]) -> str:
    """Where a plug-in is. BadInput when it is in none of the directories of CNI_PATH."""
    if not kind or "/" in kind or kind in (".", "..") or "\0" in kind:
        raise BadInput(f"ipam.type {kind[:64]!a} is not the name of a plug-in")
    for folder in path:
        if is_file(f"{folder}/{kind}"):
            return f"{folder}/{kind}"
    shown = ":".join(path)[:500]
    raise BadInput(
        f"failed to find plugin {kind!a} in path [{shown}]", "install it, or use another ipam.type"
    )


def run(program: str, environment: Mapping[bytes, bytes], config: bytes) -> tuple[int, bytes]:
    """Runs it with a configuration on stdin; its exit status and what it said to stdout. KernelError."""
    try:
        return _run(program, environment, config)
    except OSError as error:
        raise KernelError(f"cannot run {program}: {error.strerror}", error.errno or 0) from None


def _run(program: str, environment: Mapping[bytes, bytes], config: bytes) -> tuple[int, bytes]:
    given = posix.memfd_create("config", posix.MFD_CLOEXEC)
    ours, theirs = posix.pipe2(posix.O_CLOEXEC)
    try:
        # A file rather than a pipe: it may say something before it has read all.
        while config:
            config = config[posix.write(given, config) :]
        posix.lseek(given, 0, 0)
        actions = ((posix.POSIX_SPAWN_DUP2, given, 0), (posix.POSIX_SPAWN_DUP2, theirs, 1))
        pid = posix.posix_spawn(program, [program], dict(environment), file_actions=actions)
    except BaseException:
        posix.close(ours)
        raise
    finally:
        posix.close(given)
        posix.close(theirs)
    try:
        said = _all_of(ours)
    finally:
        posix.close(ours)
        _, status = posix.waitpid(pid, 0)
    return posix.waitstatus_to_exitcode(status), said


def _all_of(fd: int) -> bytes:
    data = b""
    while chunk := posix.read(fd, 1 << 16):
        data += chunk
        if len(data) > _LARGEST:
            raise KernelError(f"a plug-in said more than {_LARGEST} bytes")
    return data
