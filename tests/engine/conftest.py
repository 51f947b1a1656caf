"""The engine's bench: a fake machine, a store in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.bench import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    assert made.clean(), "an open journal entry or a held lock is left"
    made.store.close()
