"""The pools of automatic subnets, as the administrator writes them in weft.toml:

    [[pool]]
    base = "10.81.0.0/16"
    size = 24

Several are used in their order. A mistake is an error that names its line, never a fallback.
"""

from __future__ import annotations

from weft.core.ipam.pool import DEFAULT_POOLS, RESERVED, AutoPool
from weft.core.model.address import parse_subnet
from weft.core.model.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_HINT = 'a pool is: [[pool]], then base = "10.81.0.0/16" and size = 24'
#: The longest that has room for a gateway and a container.
_LONGEST = 30


def parse(text: str, path: str) -> tuple[AutoPool, ...]:
    """The pools that a file names; those built in where it names none. BadInput with the line."""
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, line = _toml_line(str(error), text)
        raise BadInput(f"{path} line {line}: {said}", _HINT) from None
    for key in data:
        if key != "pool":
            raise BadInput(f"{path} line {_line(text, key)}: {key!a} is not known here", _HINT)
    found = data.get("pool", [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadInput(f"{path} line {_line(text, 'pool')}: pool is no [[pool]]", _HINT)
    pools = [_pool(item, _Where(text, path, n)) for n, item in enumerate(found)]
    _check_apart(pools, path, text)
    return tuple(pools) or DEFAULT_POOLS


def _toml_line(said: str, text: str) -> tuple[str, int]:
    """What tomllib says, and the line that stands at its end: "... (at line 3, column 7)"."""
    words, _, place = said.rpartition(" (at line ")
    number = place.partition(",")[0]
    if number.isdigit():
        return words, int(number)
    return words or said, text.rstrip("\n").count("\n") + 1  # "(at end of document)"


class _Where:
    """Where pool number ``n`` is in the file, for what is said of it."""

    def __init__(self, text: str, path: str, n: int) -> None:
        self._text = text
        self._path = path
        self._n = n

    def error(self, key: str, said: str) -> BadInput:
        return BadInput(f"{self._path} line {_line(self._text, key, self._n)}: {said}", _HINT)


def _line(text: str, key: str, pool: int = -1) -> int:
    """The line, from 1, that sets a key, after the header of pool number ``pool``; else the header's own."""
    header, best = -1, 1
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.replace(" ", "").replace("\t", "").replace('"', "").replace("'", "")
        if bare.startswith("[[pool]]"):
            header += 1
            best = number if header <= max(pool, 0) else best
        named = bare.startswith((f"{key}=", f"[{key}", f"[[{key}"))
        if named and header == pool:
            return number
    return best


def _pool(item: dict[str, Any], where: _Where) -> AutoPool:
    for key in item:
        if key not in ("base", "size"):
            raise where.error(key, f"{key!a} is no key of a pool")
    base, size = item.get("base"), item.get("size")
    if not isinstance(base, str):
        raise where.error("base", "base is missing, or is no text")
    try:
        subnet = parse_subnet(base, "base")
    except BadInput as error:
        raise where.error("base", error.message) from None
    if subnet.version != 4:
        raise where.error("base", f"base {base} is not IPv4: IPv6 subnets are the host's own (RFC 4193)")
    for reserved, why in RESERVED:
        if subnet.overlaps(reserved):
            raise where.error("base", f"base {base} overlaps {reserved}: {why}")
    if isinstance(size, bool) or not isinstance(size, int):
        raise where.error("size", "size is missing, or is no number")
    if not subnet.prefix <= size <= _LONGEST:
        raise where.error("size", f"size {size} is not between {subnet.prefix} and {_LONGEST}")
    return AutoPool(subnet, size)


def _check_apart(pools: Sequence[AutoPool], path: str, text: str) -> None:
    for n, pool in enumerate(pools):
        for other in pools[:n]:
            if pool.base.overlaps(other.base):
                raise _Where(text, path, n).error("base", f"base {pool.base} overlaps {other.base}")
