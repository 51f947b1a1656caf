"""How long does an attach with one published port take, warm, as a library call?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from world import LAN, Peer, Row, against, interleaved, ip, library, request, spawn, spread, timed

from weft.engine import container

_ROUNDS = 30
_BAR = 0.25


def measure(kind: str) -> list[Row]:
    """``kind`` memory: without the durable commit, every way to publish. Else: the first way, with it."""
    work, peer, number = library(kind), Peer(), count(1)
    spawn(ip("link", "add", "lan0", "type", "bridge"))
    spawn(ip("addr", "add", f"{LAN}/24", "dev", "lan0"))

    def attach(publish: str) -> Callable[[], float]:
        def action() -> float:
            n = next(number)
            wish = request(f"web{n}", f"{publish}:{20000 + n}:80" if publish else "")
            return timed(lambda: container.create(work, wish))

        return action

    def peers() -> float:
        return peer.attach(peer.prepare()).wall

    def commits() -> float:
        def two() -> None:
            for value in "12":
                with work.store.write():
                    work.store.put("bench", value)

        return timed(two)

    if kind != "memory":
        found = interleaved({"peer": peers, "weft": attach("127.0.0.1"), "commits": commits}, _ROUNDS)
        what = f"the same with its two durable commits, state on {kind}"
        return [
            against(what, found["weft"], found["peer"], None),
            Row(f"two durable commits alone, state on {kind}", spread(found["commits"])),
        ]
    # The proxy starts with the first port that covers loopback: what does not need it goes first.
    without = interleaved({"peer": peers, "none": attach(""), "lan": attach(LAN)}, _ROUNDS)
    within = interleaved({"peer": peers, "127": attach("127.0.0.1"), "any": attach("0.0.0.0")}, _ROUNDS)
    warm = "attach + one published port, warm, library call"
    return [
        against(f"{warm}: 127.0.0.1", within["127"], within["peer"], _BAR),
        against(f"{warm}: 0.0.0.0", within["any"], within["peer"], _BAR),
        against(f"{warm}: one address of the host", without["lan"], without["peer"], _BAR),
        against("attach without a port", without["none"], without["peer"], None),
    ]
