"""Frozen values without the cost of dataclasses.

``dataclasses`` takes 19 ms to import, which is twice the interpreter's own start. A weft
command may spend 10 ms on all of its imports, so core's values are built by this small
metaclass: annotations become fields, and instances are immutable, comparable, hashable.

Underneath a record is a tuple, since that is what the interpreter makes fastest: an attach makes
sixty records, and setting their fields one by one took a third of its time outside the kernel.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]  # what namedtuple is made of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> object:
        return lambda cls: cls


_new = tuple.__new__


@dataclass_transform(frozen_default=True)
class _RecordType(type):
    """Turns the annotations of a class body into fields, in order, after its bases' fields."""

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _RecordType:
        inherited: tuple[str, ...] = ()
        defaults: dict[str, Any] = {}
        for base in bases:
            inherited += getattr(base, "_fields", ())
            defaults.update(getattr(base, "_defaults", {}))
        own = tuple([f for f in body.get("__annotations__", ()) if f[0] != "_"])
        for place, field in enumerate(own, len(inherited)):
            if field in body:
                defaults[field] = body[field]
            body[field] = _tuplegetter(place, None)
        body["__slots__"] = ()
        body["_fields"] = fields = inherited + own
        body["_defaults"] = defaults
        body["_places"] = {field: place for place, field in enumerate(fields)}
        body["_row"] = tuple([defaults.get(field) for field in fields])
        body["_required"] = fields[: len(fields) - len(defaults)]  # those come first: the checker sees to it
        return super().__new__(mcs, name, bases, body)


if TYPE_CHECKING:

    class _Base:
        _fields: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[dict[str, Any]]

else:
    _Base = tuple


class Record(_Base, metaclass=_RecordType):
    """A frozen value: subclass it and annotate the fields, as with a frozen dataclass.

    Mutable defaults are shared between instances: use tuples. Equality asks for the same class.
    """

    if not TYPE_CHECKING:

        def __new__(cls, *args: object, **kwargs: object) -> Record:
            given, row = len(args), cls._row
            if kwargs or given != len(row):
                values = [*args, *row[given:]]
                places = cls._places
                for field, value in kwargs.items():
                    place = places.get(field, -1)
                    if place < given:
                        raise _refusal(cls, args, kwargs)
                    values[place] = value
                for field in cls._required[given:]:
                    if field not in kwargs:
                        raise _refusal(cls, args, kwargs)
                if len(values) != len(row):
                    raise _refusal(cls, args, kwargs)
                return _new(cls, values)
            return _new(cls, args)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __bool__(self) -> bool:
        return True  # also without fields

    def _astuple(self) -> tuple[Any, ...]:
        return tuple(self)  # type: ignore[arg-type]

    def _replace(self, **changes: Any) -> Self:
        """The same value with some fields changed."""
        return type(self)(**{**dict(zip(self._fields, self._astuple(), strict=True)), **changes})

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), self._astuple()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._astuple() == other._astuple()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._astuple())

    def __repr__(self) -> str:
        shown = ", ".join([f"{f}={v!r}" for f, v in zip(self._fields, self._astuple(), strict=True)])
        return f"{type(self).__name__}({shown})"


def _refusal(cls: type[Record], args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
    """What is wrong with the fields that a record was to be made of."""
    fields, name = cls._fields, cls.__name__
    if len(args) > len(fields):
        return TypeError(f"{name} takes {len(fields)} fields, got {len(args)}")
    wrong = [f for f in kwargs if f not in fields[len(args) :]]
    if wrong:
        return TypeError(f"{name} has no field {wrong[0]!r}")
    missing = [f for f in fields[len(args) :] if f not in kwargs and f not in cls._defaults]
    return TypeError(f"{name} needs the field {missing[0]!r}")
