"""JSON (RFC 8259) to values and back, by the interpreter's own scanner: importing ``json`` takes 10 ms."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLANK = " \t\n\r"


class _Context:
    """What the scanner asks of who calls it (json/scanner.py)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(word: str) -> float:
        raise ValueError(f"{word} is no number of JSON's")


def load(text: str) -> Any:
    """The value of a document. ValueError says where it is wrong; RecursionError where it is nested too
    deep."""
    try:
        from _json import make_scanner
    except ImportError:  # another interpreter than CPython
        return _plainly(text)
    start, size = _skip(text, 0), len(text)
    try:
        scanner: Any = make_scanner
        value, end = scanner(_Context)(text, start)
    except StopIteration as error:
        raise ValueError(f"expected a value at character {error.value}") from None
    except SystemError:  # the scanner of 3.11 asks for json's own error, which nobody has imported
        return _plainly(text)
    end = _skip(text, end)
    if end < size:
        raise ValueError(f"more than one value: at character {end}")
    return value


def _plainly(text: str) -> Any:
    import json

    return json.loads(text, parse_constant=_Context.parse_constant)


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in _BLANK:
        place += 1
    return place


def dump(value: Any) -> str:
    """A value as one line of ASCII. Objects, arrays, strings, whole numbers, true, false and null."""
    from _json import encode_basestring_ascii

    def put(one: Any) -> str:
        if isinstance(one, str):
            return str(encode_basestring_ascii(one))
        if one is None or isinstance(one, bool):
            return {None: "null", True: "true", False: "false"}[one]
        if isinstance(one, dict):
            return "{" + ",".join([f"{put(str(k))}:{put(v)}" for k, v in one.items()]) + "}"
        if isinstance(one, (list, tuple)):
            return "[" + ",".join([put(v) for v in one]) + "]"
        if isinstance(one, (int, float)):
            return repr(one)
        raise TypeError(f"{type(one).__name__} is no value of JSON's")

    return put(value)
