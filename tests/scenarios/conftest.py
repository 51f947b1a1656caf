"""Machines on which containers live and end, test after test: after each one nothing of them may be left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import Host, settle
from scenarios.life import clear, leftovers


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, Host]]:
    """``shared``: mounts propagate, as where systemd is the first process."""
    with Host() as private, Host(shared=True) as shared:
        for made in (private, shared):
            made.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
            # Directories stay, and what the bridge takes over from its first port.
            made.weft("run", "--rm", "--network", "blue", "-p", "8080:80", "--", "true")
            assert settle(made, lambda host=made: not leftovers(host))  # type: ignore[misc]
        yield {"private": private, "shared": shared}


@pytest.fixture(params=["private", "shared"])
def machine(request: pytest.FixtureRequest, machines: dict[str, Host]) -> Iterator[Host]:
    yield machines[request.param]
    clear(machines[request.param])


@pytest.fixture
def one(machines: dict[str, Host]) -> Iterator[Host]:
    """Where it makes no difference how mounts propagate."""
    yield machines["private"]
    clear(machines["private"])
