"""Fixtures that every test may ask for. The harness itself is in tests/harness."""

from __future__ import annotations

import compileall
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from harness.host import REPO, Host, Lan

# Two workers share two cores with the kernel's own work: a slow example is no finding.
settings.register_profile("weft", deadline=None, print_blob=True)
settings.load_profile("weft")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Campaigns have hours; every other test has what pyproject.toml says."""
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Byte code up to date before anything runs, so that no test sees or times Python writing it."""
    compileall.compile_dir(REPO / "src", quiet=2)


@pytest.fixture
def host() -> Iterator[Host]:
    """A throw-away machine without any network but lo."""
    assert os.geteuid() == 0, "these tests need root; ./test says so first"
    with Host() as machine:
        yield machine


@pytest.fixture
def lan(host: Host) -> Iterator[Lan]:
    """The same test's ``host`` with an uplink, and its neighbour."""
    with Lan(host) as neighbourhood:
        yield neighbourhood
