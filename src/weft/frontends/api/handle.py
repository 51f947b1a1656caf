"""What the library's objects share."""

from __future__ import annotations

from weft.core.model.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess, Popen
    from types import TracebackType
    from typing import Any, Self

    from weft.engine.work import Work


def quiet(text: str) -> None:
    """Remarks are for people at a terminal."""


def finish(
    spawn: Callable[..., Popen[Any]],
    input: str | bytes | None,
    capture_output: bool,
    timeout: float | None,
    check: bool,
    options: dict[str, Any],
) -> CompletedProcess[Any]:
    """What ``subprocess.run`` does of a process that was started in another way."""
    from subprocess import PIPE, CalledProcessError, CompletedProcess

    if input is not None:
        options["stdin"] = PIPE
    if capture_output:
        options["stdout"] = options["stderr"] = PIPE
    with spawn(**options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    if check and process.returncode:
        raise CalledProcessError(process.returncode, process.args, out, err)
    return CompletedProcess(process.args, process.returncode, out, err)


class Handle:
    """What the objects share: a name, the root's engine, and an end."""

    __slots__ = ("_root", "_work", "name")

    def __init__(self, name: str, work: Work, root: str = "") -> None:
        self.name = name
        self._work, self._root = work, root

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
