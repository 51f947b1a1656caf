"""A configuration's values: as in core/oci/fields, and keys without regard to case.

Runtimes and plug-ins are written in Go, whose decoder takes a key in any case: containerd sends
``HostPort`` where the convention says ``hostPort`` (encoding/json, Unmarshal: an exact match is preferred).
"""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.oci.fields import MISSING, Field, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How deep a configuration may be: far more than any is, and what can be gone through without a thought.
_DEEPEST = 64


class Loose(Field):
    """A value whose members are found without regard to case."""

    __slots__ = ()

    def _find(self, key: str) -> Any:
        members = self._object()
        found = members.get(key, MISSING)
        if found is not MISSING or not members:
            return found
        low = key.lower()
        return next((value for name, value in members.items() if name.lower() == low), MISSING)


def document(data: bytes, what: str) -> Loose:
    """The document on stdin, or a plug-in's answer: an object. BadInput."""
    found = read(data, what)
    _check_depth(found, what)
    return Loose(found, "")


def _check_depth(found: Any, what: str) -> None:
    level = [found]
    for _ in range(_DEEPEST):
        level = [
            one
            for value in level
            if isinstance(value, (dict, list))
            for one in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise BadInput(f"{what} is nested deeper than {_DEEPEST}")
