"""When an engine's network and weft's of the same name are one. No kernel: facts in, operations out."""

from __future__ import annotations

import pytest

from fakes.bench import Bench
from weft.core.model.address import parse_subnet
from weft.core.model.errors import Conflict
from weft.core.model.facts import RouteFact
from weft.engine import foreign, network
from weft.engine.network import NetworkRequest

BLUE = NetworkRequest("blue", ("10.5.0.0/24",))
THEIRS = NetworkRequest("blue", ("10.5.0.0/24",), ("10.5.0.1",), "podman1")


def kept(bench: Bench, subnet: str, name: str) -> None:
    """Written down by Podman."""
    bench.machine.kept.append(RouteFact(parse_subnet(subnet), f"Podman's network {name}", "podman1", name))


def test_an_engines_network_of_the_same_name_and_subnet_is_this_one(bench: Bench) -> None:
    kept(bench, "10.5.0.0/24", "blue")
    network.create(bench.work, BLUE)
    assert bench.store.network("blue").bridge != "podman1"


@pytest.mark.parametrize(
    ("subnet", "name"), [("10.5.0.0/24", "red"), ("10.5.0.0/16", "blue"), ("10.5.0.0/24", "")]
)
def test_another_name_or_subnet_is_a_clash(bench: Bench, subnet: str, name: str) -> None:
    kept(bench, subnet, name)
    with pytest.raises(Conflict, match=r"overlaps .* of Podman's network"):
        network.create(bench.work, BLUE)
    assert bench.store.networks() == ()


def test_in_the_users_network_the_bridge_that_an_engine_names_means_nothing(bench: Bench) -> None:
    network.create(bench.work, BLUE)
    ours = bench.store.network("blue")
    assert foreign.stands(bench.work, THEIRS)
    assert foreign.ensure(bench.work, THEIRS, "podman") == ours


def test_a_bridge_to_be_used_as_it_is_is_meant(bench: Bench) -> None:
    network.create(bench.work, BLUE)
    unmanaged = THEIRS._replace(options=(("unmanaged", "true"),))
    assert not foreign.stands(bench.work, unmanaged)
    with pytest.raises(Conflict, match=r"is on the bridge .*, not podman1"):
        foreign.ensure(bench.work, unmanaged, "podman")


def test_an_engines_own_network_that_has_moved_is_made_anew(bench: Bench) -> None:
    foreign.ensure(bench.work, THEIRS, "podman")
    moved = THEIRS._replace(bridge="podman2")
    assert not foreign.stands(bench.work, moved)
    assert foreign.ensure(bench.work, moved, "podman").bridge == "podman2"
