"""kill -9 at the system calls of commands that change other people's chains: all of it or nothing is left."""

from __future__ import annotations

import pytest

from crash.stories import BLUE, Story
from crash.test_kill_points import told
from foreign.test_rules import DOCKER
from harness import Host

RED = "net create red --subnet 192.168.11.0/24"
STORIES = {
    "first": Story("net-create beside docker", (), BLUE, ("net rm blue",)),
    "next": Story("net-create-second beside docker", (BLUE,), RED, ("net rm red",)),
    "last": Story("net-rm beside docker", (BLUE,), "net rm blue", (BLUE,)),
}


@pytest.mark.parametrize("name", STORIES)
def test_some_points(host: Host, name: str) -> None:
    host.nft(DOCKER % "drop")
    tried, hits = told(host, STORIES[name], 4)
    assert hits >= tried - 1


@pytest.mark.campaign
@pytest.mark.parametrize("name", STORIES)
def test_all_points(host: Host, name: str) -> None:
    host.nft(DOCKER % "drop")
    tried, hits = told(host, STORIES[name], None)
    assert hits >= tried * 0.9
