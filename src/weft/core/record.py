"""Frozen values without the cost of dataclasses.

``dataclasses`` takes 19 ms to import, which is twice the interpreter's own start. A weft
command may spend 10 ms on all of its imports, so core's values are built by this small
metaclass: annotations become slots, and instances are immutable, comparable, hashable.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_: object):
        return lambda cls: cls


_set = object.__setattr__


@dataclass_transform(frozen_default=True)
class _RecordType(type):
    """Turns the annotations of a class body into slots, in order, after its bases' fields."""

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _RecordType:
        inherited: tuple[str, ...] = ()
        defaults: dict[str, Any] = {}
        for base in bases:
            inherited += getattr(base, "_fields", ())
            defaults.update(getattr(base, "_defaults", {}))
        own = tuple(f for f in body.get("__annotations__", ()) if f[0] != "_")
        for field in own:
            if field in body:
                defaults[field] = body.pop(field)
        body["__slots__"] = own
        body["_fields"] = inherited + own
        body["_defaults"] = defaults
        return super().__new__(mcs, name, bases, body)


class Record(metaclass=_RecordType):
    """A frozen value: subclass it and annotate the fields, as with a frozen dataclass.

    Mutable defaults are shared between instances: use tuples. Equality asks for the same class.
    """

    if TYPE_CHECKING:
        _fields: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[dict[str, Any]]
    else:

        def __init__(self, *args, **kwargs):
            fields = self._fields
            if len(args) > len(fields):
                raise TypeError(f"{type(self).__name__} takes {len(fields)} fields, got {len(args)}")
            for field, value in zip(fields, args, strict=False):
                _set(self, field, value)
            for field in fields[len(args) :]:
                if field in kwargs:
                    _set(self, field, kwargs.pop(field))
                elif field in self._defaults:
                    _set(self, field, self._defaults[field])
                else:
                    raise TypeError(f"{type(self).__name__} needs the field {field!r}")
            if kwargs:
                raise TypeError(f"{type(self).__name__} has no field {next(iter(kwargs))!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def _astuple(self) -> tuple[Any, ...]:
        return tuple([getattr(self, f) for f in self._fields])

    def _replace(self, **changes: Any) -> Self:
        """The same value with some fields changed."""
        return type(self)(**{**{f: getattr(self, f) for f in self._fields}, **changes})

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), self._astuple()  # copying it would set its fields one by one

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._astuple() == other._astuple()

    def __hash__(self) -> int:
        return hash((type(self), self._astuple()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{f}={getattr(self, f)!r}" for f in self._fields)
        return f"{type(self).__name__}({shown})"
