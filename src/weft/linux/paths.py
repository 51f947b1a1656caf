"""What hot commands need of ``os`` beyond ``posix``, the C module under it.

``os`` takes 1.5 ms to import, more than all that is here together: it brings the abstract base classes
of collections for ``os.environ``.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_S_IFMT, _S_IFDIR, _S_IFREG = 0o170000, 0o040000, 0o100000


def environment(name: str) -> str:
    """A variable of the environment, "" when it is not set.

    ``posix`` has it as it was when the interpreter started: what a program changed since is in ``os``.
    """
    os: Any = sys.modules.get("os")
    if os is not None:
        return str(os.environ.get(name, ""))
    return decode(posix.environ.get(name.encode(), b""))


def encode(text: str) -> bytes:
    """A path or name as the kernel has it; bytes that are not UTF-8 come as surrogates (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    """The way back."""
    return raw.decode("utf-8", "surrogateescape")


def is_there(path: str) -> bool:
    """Whether a path exists, a dangling link too."""
    return _mode(posix.lstat, path) != 0


def is_file(path: str) -> bool:
    """Whether it leads to a plain file."""
    return _mode(posix.stat, path) & _S_IFMT == _S_IFREG


def _mode(look: Callable[[str], posix.stat_result], path: str) -> int:
    try:
        return look(path).st_mode
    except (OSError, ValueError):
        return 0


def make_directories(path: str, mode: int) -> None:
    """A directory, and those above it where they are missing; fine when it is there. OSError."""
    try:
        posix.mkdir(path, mode)
    except FileExistsError:
        if _mode(posix.stat, path) & _S_IFMT != _S_IFDIR:
            raise
    except FileNotFoundError:
        above = path.rstrip("/").rpartition("/")[0]
        if not above:
            raise
        make_directories(above, 0o777)
        posix.mkdir(path, mode)
