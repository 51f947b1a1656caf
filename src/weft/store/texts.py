"""Pairs as one text, a line each: ``key=value``. Keys hold no ``=`` and neither holds a newline."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def join(found: Iterable[tuple[str, str]]) -> str:
    """Pairs to text."""
    return "\n".join([f"{key}={value}" for key, value in found])


def pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Text to pairs."""
    if not text:
        return ()
    found = [line.partition("=") for line in text.split("\n")]
    return tuple([(key, value) for key, _, value in found])
