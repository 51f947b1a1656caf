"""Wires, switches and links by netlink and by /bin/sh: two machines end up the same (as test_parity)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import Host, diff, settle, snapshot
from scenarios.test_parity import Twins, script_of, state_of, words

SCENARIOS: dict[str, tuple[str, ...]] = {
    "a cable": (
        "wire red=10.0.1.1/24,fd01::1/64 blue=10.0.1.2/24,fd01::2/64,10.0.2.2/31",
        "wire red:nic blue",
        "link rm nic --in red",
        "link rm eth0 --in blue",
    ),
    "the host on either side": (
        "wire host:veth-a=10.0.0.1/24 red=10.0.0.2/24",
        "wire blue:veth-b=10.0.3.2/24 host=10.0.3.1/24",
        "link rm veth-a eth0",
    ),
    "paths": ("wire /run/netns/red:a=10.0.0.1/24 /run/netns/blue", "link rm a --in /run/netns/red"),
    "a switch": (
        "switch add br0 --addr 10.0.5.9/24 --addr fd05::9/64",
        "switch plug br0 red=10.0.5.1/24 blue=10.0.5.2/24,fd05::2/64 green red:second",
        "switch unplug br0 red:second green",
        "switch add br1 --stp",
        "switch plug br1 green",
        "switch rm br0 br1",
    ),
    "a switch in a namespace": (
        "switch add sw --in green --addr 10.0.5.9/24",
        "switch plug sw host:down=10.0.5.1/24 red=10.0.5.2/24 --in green",
        "switch unplug sw host --in green",
        "switch rm sw --in /run/netns/green",
    ),
}


@pytest.fixture
def twins() -> Iterator[Twins]:
    with Host("twin") as one, Host("twin") as other:
        for machine in (one, other):
            machine.weft("ns", "add", "red", "blue", "green")
        yield Twins(one, other)


def both(twins: Twins, command: str) -> None:
    before, state = snapshot(twins.weft), state_of(twins.weft)
    dry = twins.weft.weft("--dry-run", *words(command)).stdout
    assert dry.startswith("#!/bin/sh\n")
    assert diff(before, snapshot(twins.weft)) == []
    assert state_of(twins.weft) == state
    done = twins.weft.weft("--show", "commands", *words(command))
    assert script_of(done.stderr).splitlines() == dry.splitlines()
    twins.sh.run(["/bin/sh"], input=dry)
    found: list[str] = []

    def same() -> bool:
        found[:] = diff(snapshot(twins.weft), snapshot(twins.sh))
        return not found

    assert settle(twins.sh, same), f"weft -> sh, after {command}:\n" + "\n".join(found)
    assert diff(before, snapshot(twins.weft)) != [], "nothing happened"


@pytest.mark.parametrize("name", SCENARIOS)
def test_parity(twins: Twins, name: str) -> None:
    first = snapshot(twins.weft)
    for command in SCENARIOS[name]:
        both(twins, command)
    assert diff(first, snapshot(twins.weft)) == [], "all of it was taken back"
