"""What is told of namespaces and links: a transcript for each story, and nothing twice."""

from __future__ import annotations

from weft.core.model.watch import Change, Seen, Tracker

HOME, RED, BLUE = 1, 10, 11


def told(changes: list[Change]) -> list[str]:
    return [f"{c.event} {c.ns or c.inode} {c.ifname} {c.other}".strip() for c in changes]


def test_names_come_change_and_go() -> None:
    tracker = Tracker(HOME)
    assert told(tracker.names({"red": 0})) == [], "a file that is not a mount yet"
    assert told(tracker.names({"red": RED})) == ["named red"]
    assert told(tracker.names({"red": RED})) == []
    assert told(tracker.names({"red": BLUE, "two": BLUE})) == ["unnamed red", "named red", "named two"]
    assert told(tracker.names({"two": 0})) == ["unnamed red", "unnamed two"]


def test_a_namespace_lives_once() -> None:
    tracker = Tracker(HOME)
    assert told(tracker.died(RED)) == []
    assert told(tracker.born(RED, 42)) == [f"born {RED}"]
    assert told(tracker.born(RED)) == []
    tracker.names({"red": RED})
    assert told(tracker.died(RED)) == ["died red"]
    assert told(tracker.born(RED)) == ["born red"], "its number may be used again"


def test_a_link_moves_renamed_on_the_way() -> None:
    tracker = Tracker(HOME)
    tracker.names({"red": RED})
    assert told(tracker.link(HOME, Seen(3, "veth1", "veth", "m"))) == ["link-new host veth1"]
    assert told(tracker.link(HOME, Seen(3, "veth1", "veth", "m"))) == []
    assert told(tracker.gone(HOME, Seen(3, "veth1", "veth", "m", moved=7))) == ["link-out host veth1"]
    assert told(tracker.link(RED, Seen(7, "eth0", "veth", "m"))) == ["link-in red eth0 host"]
    assert told(tracker.link(RED, Seen(7, "lan", "veth", "m"))) == ["link-renamed red lan eth0"]
    assert told(tracker.gone(RED, Seen(7, "lan"))) == ["link-gone red lan"]
    assert told(tracker.gone(RED, Seen(7, "lan"))) == []


def test_another_link_of_that_number_has_not_moved() -> None:
    tracker = Tracker(HOME)
    tracker.link(HOME, Seen(3, "veth1", "veth", "m"))
    tracker.gone(HOME, Seen(3, "veth1", "veth", "m", moved=7))
    assert told(tracker.link(RED, Seen(7, "other", "veth", "n"))) == [f"link-new {RED} other"]


def test_all_links_at_once_tell_what_was_missed() -> None:
    tracker = Tracker(HOME)
    tracker.links(RED, [Seen(1, "lo"), Seen(2, "eth0")])
    changes = tracker.links(RED, [Seen(1, "lo"), Seen(3, "eth1")])
    assert told(changes) == [f"link-gone {RED} eth0", f"link-new {RED} eth1"]
    tracker.born(RED)
    tracker.died(RED)
    assert told(tracker.links(RED, [Seen(1, "lo")])) == [f"link-new {RED} lo"], (
        "links end with their namespace"
    )
