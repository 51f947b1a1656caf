"""What a command that was killed, or overtaken, leaves to the next."""

from __future__ import annotations

import pytest

from fakes.bench import Bench
from weft.core.model.address import parse_address
from weft.core.model.errors import Conflict, NotFound
from weft.core.model.publish import parse_publish
from weft.core.model.state import State
from weft.engine import container, network, removal
from weft.engine.network import NetworkRequest
from weft.engine.request import Join, RunRequest

BLUE = NetworkRequest("blue", ("192.168.10.0/24",), ("192.168.10.1",), "lxcbr0")
WEB = RunRequest("web", (Join("blue"),))


@pytest.fixture
def blue(bench: Bench) -> Bench:
    network.create(bench.work, BLUE)
    return bench


def test_what_a_killed_command_was_making_is_taken_back(blue: Bench) -> None:
    before = blue.kernel()
    container.attach(
        blue.work, WEB._replace(publish=parse_publish("8080:80"))
    )  # and killed before it settled
    assert len(blue.store.journal()) == 1
    with pytest.raises(NotFound):
        removal.remove(blue.work, ["web"])
    assert blue.kernel() == before
    assert blue.store.journal() == []
    assert any("taking back" in said for said in blue.remarks)


def test_an_entry_whose_writer_lives_is_left_alone(blue: Bench) -> None:
    found = container.attach(blue.work, WEB)
    blue.machine.locked_entries.add(found.entry)
    container.create(blue.work, RunRequest("db", (Join("blue"),)))
    assert blue.store.has_container("web")
    container.settle(blue.work, found, State("running"))
    assert parse_address("192.168.10.2") == found.endpoint.address


def test_one_that_was_removed_while_it_was_made(blue: Bench) -> None:
    """Its maker has no say any more: what has the name by now is another's."""
    first = container.attach(blue.work, WEB)
    blue.machine.locked_entries.add(first.entry)  # its maker lives
    removal.remove(blue.work, ["web"], force=True)
    assert not blue.work.holds(first.entry)
    container.create(blue.work, WEB)
    before = blue.kernel(), blue.wishes()
    with pytest.raises(Conflict, match="container web was removed"):
        container.settle(blue.work, first, State("running", 1, 2))
    with blue.machine.lock():
        assert not blue.work.undo(first.entry, "container", "web", first.plan)
    assert (blue.kernel(), blue.wishes()) == before
    assert blue.machine.locked_entries == set()


def test_a_network_takes_those_with_it_that_are_still_made(blue: Bench) -> None:
    first = container.attach(blue.work, WEB)
    blue.machine.locked_entries.add(first.entry)
    network.remove(blue.work, "blue", force=True)
    assert blue.store.journal() == []
    with blue.machine.lock():
        assert not blue.work.undo(first.entry, "container", "web", first.plan)
    assert blue.store.containers() == []
