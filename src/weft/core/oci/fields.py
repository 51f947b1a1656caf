"""JSON from outside, taken apart: every value knows where it stands, and says so when it is wrong."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.jsontext import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any, Self

#: What stands for a member that is not there.
MISSING = object()
_INT64 = 1 << 63
_SHOWN = 64


def parse(data: bytes, what: str) -> Field:
    """A document of UTF-8 JSON (RFC 8259) that is an object. BadInput says what is wrong with ``what``."""
    return Field(read(data, what), "")


def read(data: bytes, what: str) -> dict[str, Any]:
    """The same as the value itself."""
    try:
        found = load(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} is not UTF-8 at byte {error.start}") from None
    except (RecursionError, MemoryError):
        raise BadInput(f"{what} is nested too deep") from None
    except ValueError as error:  # also an integer of more digits than Python reads
        raise BadInput(f"{what} is not JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{what} is not a JSON object")
    return found


class Field:
    """A value in a document, at ``path`` (``linux.namespaces[2].type``). null is as if it were not there.

    What takes a value out of it raises BadInput, with the path, when it is of another type.
    """

    __slots__ = ("_value", "path")

    def __init__(self, value: Any, path: str) -> None:
        self._value = value
        self.path = path

    def __bool__(self) -> bool:
        return self._value is not MISSING and self._value is not None

    def full(self) -> bool:
        """Whether it asks for anything: not 0, "", false, nor empty."""
        return self._value is not MISSING and bool(self._value)

    def is_array(self) -> bool:
        """Whether it is an array, where an object may stand as well."""
        return isinstance(self._value, list)

    def value(self) -> Any:
        """All of it as it is: for who passes it on."""
        return self._value

    def wrong(self, why: str, hint: str = "") -> BadInput:
        """The error that this value is."""
        return BadInput(f"{self.path or 'the document'}: {why}", hint)

    def get(self, key: str) -> Self:
        """A member of the object; one that is not there is false."""
        path = f"{self.path}.{key}" if self.path else key
        return type(self)(self._find(key), path)

    def _find(self, key: str) -> Any:
        return self._object().get(key, MISSING)

    def need(self, key: str) -> Self:
        """The same for one that must be there."""
        found = self.get(key)
        if not found:
            raise found.wrong("is missing")
        return found

    def items(self) -> Iterator[Self]:
        """The elements of an array; none when it is not there."""
        if not self:
            return
        if not isinstance(self._value, list):
            raise self._type("an array")
        for place, value in enumerate(self._value):
            yield type(self)(value, f"{self.path}[{place}]")

    def members(self) -> Iterator[tuple[str, Self]]:
        """Keys and values of an object; none when it is not there."""
        for key, value in self._object().items() if self else ():
            shown = key if key.isprintable() and len(key) <= _SHOWN else ascii(key[:_SHOWN])
            found = type(self)(value, f"{self.path}.{shown}")
            found._plain(key)
            yield key, found

    def text(self, default: str = "") -> str:
        """A string without NUL that can be encoded."""
        if not self:
            return default
        if not isinstance(self._value, str):
            raise self._type("a string")
        return self._plain(self._value)

    def one_of(self, known: Collection[str], default: str = "") -> str:
        """A string out of some."""
        found = self.text(default)
        if found not in known:
            raise self.wrong(f"{found[:_SHOWN]!a} is not one of {', '.join(known)}")
        return found

    def number(self, low: int = -_INT64, high: int = _INT64 - 1, default: int = 0) -> int:
        """A whole number of a range, ends included."""
        if not self:
            return default
        if isinstance(self._value, bool) or not isinstance(self._value, int):
            raise self._type("a whole number")
        if not low <= self._value <= high:
            raise self.wrong(f"{str(self._value)[:_SHOWN]} is not in {low} to {high}")
        return self._value

    def flag(self, default: bool = False) -> bool:
        """true or false."""
        if not self:
            return default
        if not isinstance(self._value, bool):
            raise self._type("true or false")
        return self._value

    def texts(self) -> tuple[str, ...]:
        """An array of strings."""
        return tuple([found.text() if found else found._null() for found in self.items()])

    def _null(self) -> str:
        raise self._type("a string")

    def _object(self) -> dict[str, Any]:
        if not self:
            return {}
        if not isinstance(self._value, dict):
            raise self._type("an object")
        return self._value

    def _plain(self, text: str) -> str:
        if "\0" in text:
            raise self.wrong("has a NUL character in it")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise self.wrong("has half of a surrogate pair in it")
        return text

    def _type(self, wanted: str) -> BadInput:
        words = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}
        found = "null" if self._value is None else words.get(type(self._value), "a number")
        return self.wrong(f"is {found}, not {wanted}")
