"""What is done to processes: never part of a plan, as who they are is known only then."""

from __future__ import annotations

from weft.core.ops.base import Final, Op


class Signal(Op):
    """Sends a signal to a process (kill(2))."""

    pid: int
    number: int
    name: str
    kind = "process"

    def describe(self) -> str:
        return f"send {self.name} to process {self.pid}"

    def shell(self) -> tuple[str, ...]:
        return (f"kill -{self.number} {self.pid}",)

    def undo(self) -> Final:
        return Final("what it got it got")
