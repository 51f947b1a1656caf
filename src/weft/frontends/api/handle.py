"""What the library's objects share."""

from __future__ import annotations

from weft.core.model.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from weft.engine.work import Work


def quiet(text: str) -> None:
    """Remarks are for people at a terminal."""


class Handle:
    """What the objects share: a name, the root's engine, and an end."""

    __slots__ = ("_work", "name")

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        self._work = work

    def remove(self) -> None:
        """Removes it; NotFound when it is gone already."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.remove()
        except NotFound:
            pass

    def __repr__(self) -> str:
        return f"<weft.{type(self).__name__} {self.name}>"
