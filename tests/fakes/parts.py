"""What a fake machine hands out: started commands, and its lock."""

from __future__ import annotations

from typing import Protocol

from weft.core.model.launch import Launch


class Teller(Protocol):
    """The fake machine, as its processes know it."""

    said: list[str]
    go_error: Exception | None


class FakeProcess:
    """A started command; ``error`` is what ``go`` raises."""

    def __init__(self, machine: Teller, launch: Launch) -> None:
        self.machine, self.launch = machine, launch
        self.pid, self.started, self.watcher, self.watcher_started = 100, 1000, 200, 2000
        self.error: Exception | None = machine.go_error

    def go(self, command: str) -> None:
        self.machine.said.append(f"go {command}")
        if self.error is not None:
            raise self.error

    def settled(self) -> None:
        self.machine.said.append("settled")

    def cancel(self) -> None:
        self.machine.said.append("cancel")


class FakeLock:
    """Held or not; held twice is a mistake of the engine."""

    def __init__(self) -> None:
        self.held = False

    def __enter__(self) -> None:
        assert not self.held, "the lock is taken twice"
        self.held = True

    def __exit__(self, *_: object) -> None:
        self.held = False
