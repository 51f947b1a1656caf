"""The start of the program: imports weft's own modules by the shortest way, then hands over to it.

A command imports some sixty modules of weft. The general machinery takes 0.2 ms for each (22 system
calls, a walk over finders written in Python, a lock), which together is more than the interpreter's
own start. So what the hot commands need (``hot.py`` lists it) is kept in one file a command, beside the
byte code: one read, sixty times stat(2) to see that it is current, and each module is executed in turn.

Whatever is not current, not listed, or not there goes the general way, which also writes the byte code
that such a file is put together from. Only the program does this; whoever imports weft as a library is
left alone.
"""

from __future__ import annotations

import gc
import sys
from marshal import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

    #: A module's name, whether it is a package, and its source's time and size: as byte code has them.
    Stamp = tuple[str, bool, int, int]

_posix = __import__("posix")
_Module = type(sys)
_Spec = type(sys.__spec__)
#: The first bytes of byte code that this interpreter reads; then no flags: checked by time and size.
_HEAD = __import__("_frozen_importlib_external").MAGIC_NUMBER + bytes(4)
_LARGEST = 1 << 24
#: A file is as old as the list by which it was put together.
_LIST = "weft.hot"
#: The programs that engines start: by what they are called there, the front end that answers. `weft netavark`
#: is the same as `weft-netavark`. CNI's are the plug-ins whose names existing configurations have.
DOORS = {
    **dict.fromkeys(("weft-netavark", "netavark"), "netavark"),
    **dict.fromkeys(("weft-aardvark", "aardvark-dns"), "aardvark"),
    **dict.fromkeys(
        (
            "weft-cni", "bridge", "ptp", "macvlan", "host-local", "static", "portmap", "firewall",
            "bandwidth", "tuning", "loopback",
        ),
        "cni",
    ),
}  # fmt: skip
#: So few objects are garbage in cycles that looking for them costs a command more than they do.
_GC_THRESHOLD = 100_000


class _Loaded:
    """The loader of a module that came out of the file."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """The general way: a plain module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """It has been executed."""


def _word(number: int) -> bytes:
    return (number & 0xFFFFFFFF).to_bytes(4, "little")


def _read(path: str) -> bytes:
    """A whole file; nothing when it cannot be read."""
    try:
        fd = _posix.open(path, _posix.O_RDONLY | _posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return bytes(_posix.read(fd, _LARGEST))
    except OSError:
        return b""
    finally:
        _posix.close(fd)


def _source(root: str, name: str, package: bool) -> str:
    return f"{root}/{name.replace('.', '/')}{'/__init__' if package else ''}.py"


def _cached(source: str) -> str:
    folder, _, leaf = source.rpartition("/")
    return f"{folder}/__pycache__/{leaf[:-3]}.{sys.implementation.cache_tag}.pyc"


def _hot_file(root: str, command: str) -> str:
    return f"{root}/weft/__pycache__/hot-{command.replace(' ', '-')}.{sys.implementation.cache_tag}.bin"


def _current(root: str, stamps: Sequence[Stamp]) -> bool:
    try:
        for name, package, time, size in stamps:
            found = _posix.stat(_source(root, name, package))
            if (int(found.st_mtime), found.st_size) != (time, size):
                return False
    except OSError:
        return False
    return True


def _execute(root: str, stamp: Stamp, code: CodeType) -> None:
    """Makes a module as the import statement would (PEP 451)."""
    name, package = stamp[:2]
    module = _Module(name)
    loader: Any = _Loaded
    spec = _Spec(name, loader, origin=_source(root, name, package), is_package=package)
    spec.has_location = True
    module.__spec__, module.__loader__, module.__file__ = spec, loader, spec.origin
    parent, _, leaf = name.rpartition(".")
    module.__package__ = name if package else parent
    if package and spec.submodule_search_locations is not None:
        spec.submodule_search_locations.append(_source(root, name, True).rpartition("/")[0])
        module.__path__ = spec.submodule_search_locations
    sys.modules[name] = module
    exec(code, module.__dict__)
    setattr(sys.modules[parent], leaf, module)


def preload(root: str, command: str) -> bool:
    """Imports what a hot command needs, from its file; False when that is not there or not current."""
    data = _read(_hot_file(root, command))
    if data[:8] != _HEAD or len(data) < 12:
        return False
    split = 12 + int.from_bytes(data[8:12], "little")
    try:
        stamps: tuple[Stamp, ...] = loads(memoryview(data)[12:split])
        if not _current(root, stamps):
            return False
        codes: tuple[CodeType, ...] = loads(memoryview(data)[split:])
    except (EOFError, ValueError, TypeError):
        return False  # damaged: it is written anew
    for stamp, code in zip(stamps, codes, strict=False):  # the list itself comes last, and has no code
        if stamp[0] not in sys.modules:
            _execute(root, stamp, code)
    return True


def _piece(root: str, name: str) -> tuple[Stamp, CodeType] | None:
    """A module's byte code, if it is current."""
    package = hasattr(sys.modules.get(name), "__path__")
    source = _source(root, name, package)
    data = _read(_cached(source))
    found = _posix.stat(source)
    if data[:16] != _HEAD + _word(int(found.st_mtime)) + _word(found.st_size):
        return None
    return (name, package, int(found.st_mtime), found.st_size), loads(memoryview(data)[16:])


def keep(root: str, command: str, names: Sequence[str]) -> None:
    """Writes a hot command's file. That it cannot be written only means that there is none."""
    path = _hot_file(root, command)
    part = f"{path}.{_posix.getpid()}"
    try:
        pieces = [_piece(root, name) for name in (*names, _LIST)]
        found = [p for p in pieces if p is not None]
        if len(found) < len(pieces):
            return
        head = dumps(tuple([stamp for stamp, _ in found]))
        data = _HEAD + _word(len(head)) + head + dumps(tuple([code for _, code in found[:-1]]))
        _write(part, data)
        _posix.rename(part, path)
    except OSError:
        try:
            _posix.unlink(part)
        except OSError:
            return


def _write(path: str, data: bytes) -> None:
    fd = _posix.open(path, _posix.O_WRONLY | _posix.O_CREAT | _posix.O_EXCL | _posix.O_CLOEXEC, 0o644)
    try:
        if _posix.write(fd, data) != len(data):
            raise OSError("a full disk")
    finally:
        _posix.close(fd)


def _warm_up(root: str, words: Sequence[str]) -> None:
    """Imports what a hot command needs: from its file, or the general way, and then there is a file."""
    names = [" ".join(words[:n]) for n in (2, 1)]
    if words[:1] == ["run"] and "--" in words:
        names.insert(0, "run command")
    if any(name.replace(" ", "").isalpha() and preload(root, name) for name in names):
        return
    from weft.hot import HOT

    name = next((name for name in names if name in HOT), "")
    if name:
        needed = HOT[name]
        for module in needed:
            __import__(module)
        keep(root, name, needed)


def _door() -> str:
    """Whose front end answers; "" for weft's own. Afterwards argv begins with the name that was called."""
    called = sys.argv[0].rpartition("/")[2]
    if called == "weft" and len(sys.argv) == 1 and b"CNI_COMMAND" in _posix.environ:
        return "cni"  # ``"type": "weft"`` of a network configuration
    words = ("netavark", "aardvark", "cni")
    if called not in DOORS and sys.argv[1:2] and sys.argv[1] in words:
        sys.argv[:2] = [f"weft-{sys.argv[1]}"]
    else:
        sys.argv[0] = called if called in DOORS else sys.argv[0]
    return DOORS.get(sys.argv[0], "")


def _hot_words(door: str) -> list[str]:
    """By which the list of what a call imports is found. CNI's commands are in the environment."""
    if door == "cni":
        return ["cni", _posix.environ.get(b"CNI_COMMAND", b"").decode("ascii", "replace").lower()]
    return [door, *[w for w in sys.argv[1:] if w.isalpha()][:1]] if door else sys.argv[1:]


def run(root: str) -> None:
    """Runs the command line with the modules below ``root``; does not return."""
    gc.set_threshold(_GC_THRESHOLD)
    if sys.argv[1:2] == ["monitor"]:
        from weft.services.monitor_loop import main

        main(sys.argv[2:])
    door = _door()
    _warm_up(root, _hot_words(door))
    if door:
        room = __import__(f"weft.frontends.{door}.main", fromlist=["entry"])
        room.entry()
    from weft.frontends.cli.main import entry

    entry()
