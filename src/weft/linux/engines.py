"""What container engines call their containers: the names only, the kernel is the truth."""

from __future__ import annotations

from weft.core.model.errors import NotFound


def pid_of(engine: str, name: str) -> int:
    """The first process of an engine's container. NotFound."""
    raise NotFound(f"{engine} has no running container {name!a} here")
