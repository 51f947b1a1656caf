"""A process that goes on in the background once it is ready, and tells its starter when it cannot be."""

from __future__ import annotations

import posix

from weft.core.model.errors import KernelError, WeftError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Ready = Callable[[], None]

_READY = b"\0"


def background(work: Callable[[Ready], None]) -> int:
    """Runs ``work`` in a process of its own, nobody's child; its pid, once it has said that it is ready.

    KernelError, with its words, when it ends before that. The new process does not return from here.
    """
    hears, tells = posix.pipe2(posix.O_CLOEXEC)
    child = posix.fork()
    if child == 0:
        posix.close(hears)
        _detached(work, tells)
    posix.close(tells)
    said = b""
    while part := posix.read(hears, 4096):
        said += part
    posix.close(hears)
    posix.waitpid(child, 0)
    if not said.endswith(_READY):
        raise KernelError(said.decode("utf-8", "replace").strip() or "it was killed while it started")
    return int(said[:-1] or b"0")


def _detached(work: Callable[[Ready], None], tells: int) -> None:
    """In the child: forks again, works, ends. Never returns."""
    try:
        posix.setsid()
        if posix.fork() == 0:
            work(lambda: _ready(tells))
    except WeftError as error:
        _tell(tells, f"{error}{f' ({error.hint})' if error.hint else ''}")
    except BaseException as error:
        _tell(tells, f"{type(error).__name__}: {error}")
    finally:
        posix._exit(0)


def _ready(tells: int) -> None:
    """Lets the starter go, and all that was its: terminal, directory."""
    null = posix.open("/dev/null", posix.O_RDWR)
    for standard in (0, 1, 2):
        posix.dup2(null, standard)
    if null > 2:
        posix.close(null)
    posix.chdir("/")
    _tell(tells, f"{posix.getpid()}\0")
    posix.close(tells)


def _tell(tells: int, text: str) -> None:
    try:
        posix.write(tells, text.encode("utf-8", "replace"))
    except OSError:
        pass  # nobody listens any more
