"""A database that took damage is set aside, and another put in its place."""

from __future__ import annotations

import os

#: Beside the database: its log and its shared memory.
_PARTS = ("", "-wal", "-shm")


def fresh(path: str) -> str:
    """Where the new one is made; what an earlier try left there goes, and the ballast: this needs the
    room."""
    made = f"{path}.new"
    _unlink(f"{path.rpartition('/')[0]}/ballast")
    for part in _PARTS:
        _unlink(made + part)
    return made


def swap(path: str, made: str) -> str:
    """Puts the new one, which is closed, in the old one's place; where that is kept, "" if there was none.

    The old log goes before the new database comes: it would be taken for its own.
    """
    kept = ""
    if any(os.path.lexists(path + part) for part in _PARTS):
        number = next(n for n in range(1, 1 << 30) if not os.path.lexists(f"{path}.damaged-{n}"))
        kept = f"{path}.damaged-{number}"
    for part in _PARTS:
        if os.path.lexists(path + part):
            os.link(path + part, kept + part, follow_symlinks=False)
    for part in _PARTS[1:]:
        _unlink(path + part)
    os.replace(made, path)
    folder = os.open(path.rpartition("/")[0], os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
    return kept


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
