"""The start of the program: imports weft's own modules by the shortest way, then hands over to it.

A command imports some fifty modules of weft. The general machinery takes 0.15 ms for each (22 system
calls, and a walk over finders written in Python), which together is as much as the interpreter's own
start. A module whose byte code is current is loaded here with four calls: stat the source, open, read
and close the byte code. Everything else falls through to the general machinery, which also writes
the byte code. Only the program does this; whoever imports weft as a library is left alone.
"""

from __future__ import annotations

import sys
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

_posix = __import__("posix")
_PREFIX = "weft."
#: The first bytes of byte code that this interpreter reads; then no flags: checked by time and size.
_HEAD = __import__("_frozen_importlib_external").MAGIC_NUMBER + bytes(4)
#: Read at once; what is larger goes the general way. Above 128 KiB malloc would map and unmap each time.
_LARGEST = 1 << 16


def _word(number: int) -> bytes:
    return (number & 0xFFFFFFFF).to_bytes(4, "little")


class _Loader:
    """Executes byte code that has been read already."""

    __slots__ = ("_code",)

    def __init__(self, code: CodeType) -> None:
        self._code = code

    def create_module(self, spec: ModuleSpec) -> None:
        """The general way: a plain module."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


class Finder:
    """Finds weft's own modules below one directory (PEP 451), where their byte code is current."""

    __slots__ = ("_root", "_spec", "_tag")

    def __init__(self, root: str) -> None:
        self._root = root
        self._spec = type(sys.__spec__)
        self._tag = f".{sys.implementation.cache_tag}.pyc"

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module with its code, or None: then others are asked."""
        if not name.startswith(_PREFIX):
            return None
        stem = f"{self._root}/{name.replace('.', '/')}"
        return self._try(name, stem, package=False) or self._try(name, f"{stem}/__init__", package=True)

    def _try(self, name: str, stem: str, package: bool) -> ModuleSpec | None:
        source = stem + ".py"
        folder, _, leaf = stem.rpartition("/")
        cached = f"{folder}/__pycache__/{leaf}{self._tag}"
        try:
            found = _posix.stat(source)
            fd = _posix.open(cached, _posix.O_RDONLY | _posix.O_CLOEXEC)
            try:
                data = _posix.read(fd, _LARGEST)
            finally:
                _posix.close(fd)
        except OSError:
            return None
        if len(data) == _LARGEST or data[:16] != _HEAD + _word(int(found.st_mtime)) + _word(found.st_size):
            return None
        loader: Any = _Loader(loads(memoryview(data)[16:]))
        spec = self._spec(name, loader, origin=source, is_package=package)
        spec.has_location = True
        spec.cached = cached
        if package and spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(folder)
        return spec


def run(root: str) -> None:
    """Runs the command line with the modules below ``root``; does not return."""
    sys.meta_path.insert(0, Finder(root))
    from weft.frontends.cli.main import entry

    entry()
