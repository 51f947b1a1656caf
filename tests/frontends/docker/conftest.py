"""Docker's door, opened on a fake machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.bench import Bench
from frontends.docker.daemon import Daemon


@pytest.fixture
def docker() -> Iterator[Daemon]:
    bench = Bench()
    yield Daemon(bench)
    assert bench.clean(), "an open journal entry or a held lock is left"
    bench.store.close()
