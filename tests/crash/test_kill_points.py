"""kill -9 at the system calls of every command that changes something.

The next command brings database, kernel and files back to exactly what was before or what would have been
after; from there all goes on, and in the end the machine is as it was at first.
"""

from __future__ import annotations

from collections import Counter

import pytest

from crash.stories import BLUE, STORIES, WEFT, C, State, Story, mended, sample, state, unlike, warm, weft
from harness import Host, points, run_killed, settle
from harness.crash import Point

#: Points of each story in the fast set, of which one may be missed (calls are not the same every time).
FAST = 3


class Stage:
    """One host on which a story is told again and again."""

    def __init__(self, host: Host, story: Story) -> None:
        self.host, self.story = host, story
        self.argv = [WEFT, *story.command.split()]
        self.clean = warm(host)
        self.outcomes: Counter[str] = Counter()
        for line in story.setup:
            weft(host, line)
        self.before = self.at_rest()
        self.points = points(host, self.argv)
        self.wanted = {"before": self.before, "after": self.at_rest()}
        self.go_back()
        if story.halfway:
            weft(host, story.halfway[0])
            self.wanted["halfway"] = self.at_rest()
            weft(host, story.halfway[1])

    def at_rest(self) -> State:
        """The state once no command of weft's is under way any more."""
        seen: list[State] = []

        def same() -> bool:
            seen.append(state(self.host, self.story.any_exit))
            words = ("weft finished", "weft again", "delay=")
            busy = any(word in command for command in seen[-1]["processes"] for word in words)
            return len(seen) > 1 and seen[-1] == seen[-2] and not busy

        assert settle(self.host, same)
        return seen[-1]

    def go_back(self) -> None:
        for line in self.story.back:
            weft(self.host, line)
        if not mended(self.host, {"before": self.before}, self.story.any_exit):
            pytest.fail("\n".join(unlike(self.host, self.before)), pytrace=False)

    def kill(self, point: Point) -> str:
        """Kills the command there and runs the next one; what came out of it, "" if it was not killed."""
        if not run_killed(self.host, self.argv, *point):
            if not mended(self.host, {"after": self.wanted["after"]}, self.story.any_exit):
                pytest.fail(self.explanation(point, "nothing: it ran to its end"), pytrace=False)
            self.go_back()
            return ""
        said = weft(self.host, "ps -a")
        outcome = mended(self.host, self.wanted, self.story.any_exit)
        if not outcome:
            pytest.fail(self.explanation(point, said), pytrace=False)
        self.outcomes[outcome] += 1
        if outcome == "after":
            self.go_back()
        if outcome == "halfway":
            weft(self.host, self.story.halfway[1])
        return outcome

    def explanation(self, point: Point, said: str) -> str:
        lines = [f"{self.story.name} killed at {point}; ps said: {said or 'nothing'}"]
        for word, picture in self.wanted.items():
            found = unlike(self.host, picture)
            lines += [f"against {word}: {len(found)} differences", *found[:20]]
        return "\n".join(lines)

    def clear(self) -> None:
        """Removes everything: the machine is as it was at first."""
        everything(self.host)
        if not mended(self.host, {"clean": self.clean}):
            pytest.fail("\n".join(unlike(self.host, self.clean)), pytrace=False)

    def report(self, hits: int) -> None:
        told = ", ".join(f"{count} {word}" for word, count in sorted(self.outcomes.items()))
        print(f"\n{self.story.name}: {len(self.points)} points, {hits} hit: {told}")


def everything(host: Host) -> None:
    """Removes all containers, networks, switches and names."""
    listings = (("ps -aq", "rm -f"), ("net ls -q", "net rm"), ("switch ls -q", "switch rm"))
    for listing, removal in listings:
        names = host.weft(*listing.split()).stdout.split()
        if names:
            weft(host, f"{removal} {' '.join(names)}")
    weft(host, "ns rm --all")


def told(host: Host, story: Story, count: int | None) -> tuple[int, int]:
    """Tells a story with a kill at ``count`` of its points, or at all; how many were tried and hit."""
    stage = Stage(host, story)
    chosen = stage.points if count is None else sample(stage.points, count)
    hits = sum(bool(stage.kill(point)) for point in chosen)
    stage.clear()
    stage.report(hits)
    return len(chosen), hits


#: Stories whose like is in the fast set; all are told in the campaign.
ALIKE = frozenset(
    (
        "net-create-second net-create-dns net-rm-dns net-edit-dns"
        " net-connect-namespace net-publish-next net-unpublish-last net-rm-force"
        " run-foreground run-next-port run-detached-ends rm-exited rm-one-port ns-adopt wire-host"
        " switch-add switch-unplug switch-rm kill"
    ).split()
)
QUICK = [name for name in STORIES if name not in ALIKE]


def test_enough_points() -> None:
    assert STORIES.keys() > ALIKE
    assert len(QUICK) * (FAST - 1) >= 40


@pytest.mark.parametrize("name", QUICK)
def test_some_points(host: Host, name: str) -> None:
    tried, hits = told(host, STORIES[name], FAST)
    assert tried == FAST
    assert hits >= FAST - 1


@pytest.mark.campaign
@pytest.mark.parametrize("name", STORIES)
def test_all_points(host: Host, name: str) -> None:
    tried, hits = told(host, STORIES[name], None)
    assert hits >= tried * 0.9


def flush(host: Host) -> None:
    host.nft("flush", "ruleset")


def no_bridges(host: Host) -> None:
    for network in host.weft_json("net", "ls"):
        host.ip("link", "del", network["bridge"])


def no_wish(host: Host) -> None:
    """A bridge and a prohibit route of this root that no network has."""
    (network,) = host.weft_json("net", "ls")
    alias = host.ip("link", "show", network["bridge"]).partition("alias ")[2].split("\n")[0]
    host.sh(
        f"""ip link add left type bridge
        ip link set left alias '{alias}'
        ip link property add dev left altname weft:0123456789abcdef
        ip route add prohibit 10.99.0.0/24 table 7765 proto 119"""
    )


HURTS = {"flushed": (flush, "repair"), "bridges": (no_bridges, "repair"), "no wish": (no_wish, "gc")}


def killed_while_mending(host: Host, name: str, count: int | None) -> None:
    """What was killed halfway the same command does to its end the next time."""
    hurt, command = HURTS[name]
    for line in (BLUE, f"{C} -p 8080:80", "repair"):
        weft(host, line)
    whole = state(host)
    assert mended(host, {"whole": whole})
    hurt(host)
    every = points(host, [WEFT, command])
    assert mended(host, {"whole": whole}), unlike(host, whole)
    chosen = every if count is None else sample(every, count)
    hits = 0
    for point in chosen:
        hurt(host)
        hits += run_killed(host, [WEFT, command], *point)
        weft(host, command)
        assert mended(host, {"whole": whole}), (point, unlike(host, whole))
    print(f"\n{name}: {len(every)} points, {hits} of {len(chosen)} hit")
    assert hits >= len(chosen) * 0.8


@pytest.mark.parametrize("name", HURTS)
def test_mending_killed_at_some_points(host: Host, name: str) -> None:
    killed_while_mending(host, name, FAST)


@pytest.mark.campaign
@pytest.mark.parametrize("name", HURTS)
def test_mending_killed_at_all_points(host: Host, name: str) -> None:
    killed_while_mending(host, name, None)
