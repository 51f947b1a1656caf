"""What a fake machine hands out: started commands, and its lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from weft.core.boundary import Heard
from weft.core.model.enter import Command, Way
from weft.core.model.errors import Conflict
from weft.core.model.inventory import Inventory
from weft.core.model.launch import Launch
from weft.core.model.unshare import Fresh
from weft.core.plan.plan import Plan

T = TypeVar("T")


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

    def prepared(self, command: str) -> None: ...

    def go(self, command: str) -> None:
        self.machine.said.append(f"go {command}")
        if self.error is not None:
            raise self.error

    def settled(self) -> None:
        self.machine.said.append("settled")

    def cancel(self) -> None:
        self.machine.said.append("cancel")


class Names:
    """The DNS server of a fake machine: it runs or not; ``busy_names`` are ports that somebody else has."""

    dns_runs = False
    busy_names: frozenset[int] = frozenset()

    def dns_alive(self) -> bool:
        return self.dns_runs

    def dns_pid(self) -> int:
        return int(self.dns_runs)

    def dns_log(self) -> list[str]:
        return []

    def start_dns(self) -> None:
        self.dns_runs = True

    def stop_dns(self) -> None:
        self.dns_runs = False

    def probe_dns(self, address: str, port: int) -> None:
        if port in self.busy_names:
            raise Conflict(f"cannot answer DNS at {address} port {port}")


class FakeLock:
    """Held or not; held twice is a mistake of the engine."""

    def __init__(self) -> None:
        self.held = False

    def __enter__(self) -> None:
        assert not self.held, "the lock is taken twice"
        self.held = True

    def __exit__(self, *_: object) -> None:
        self.held = False


class Apart:
    """core/boundary.Machine, as far as it is tried on real machines only."""

    def enter(self, way: Way, command: Command, say: Callable[[str], None]) -> int:
        raise NotImplementedError

    def enter_all(self, ways: Sequence[Way], command: Command, say: Callable[[str], None]) -> int:
        raise NotImplementedError

    def entered(self, way: Way) -> AbstractContextManager[None]:
        raise NotImplementedError

    def beside(self, way: Way, action: Callable[[], T]) -> T:
        raise NotImplementedError

    def apart(self, way: Way, action: Callable[[], T]) -> T:
        raise NotImplementedError

    def unshare(self, fresh: Fresh, command: Command, say: Callable[[str], None]) -> int:
        raise NotImplementedError

    def start_unshared(self, fresh: Fresh, command: Command, say: Callable[[str], None]) -> FakeProcess:
        raise NotImplementedError

    def attend(self, child: object, fresh: Fresh, name: str) -> int:
        raise NotImplementedError

    def inventory(self, sysctls: Iterable[str]) -> Inventory:
        raise NotImplementedError("repair is tried on real machines")

    def prepare(self, plan: Plan) -> None:
        raise NotImplementedError("watching is tried on real machines")

    def apply_prepared(self, plan: Plan) -> None:
        raise NotImplementedError("watching is tried on real machines")

    def heard(self) -> AbstractContextManager[Heard]:
        raise NotImplementedError("watching is tried on real machines")

    def docker_name(self, inode: int) -> tuple[str, str]:
        raise NotImplementedError("Docker's containers are tried on real machines")

    def wait_mounted(self, path: str, seconds: float) -> bool:
        raise NotImplementedError("Docker's containers are tried on real machines")

    def activate_plugin(self, name: str, service: str) -> None:
        raise NotImplementedError("third-party drivers are tried on real machines")

    def call_plugin(self, name: str, method: str, body: dict[str, object]) -> dict[str, object]:
        raise NotImplementedError("third-party drivers are tried on real machines")
