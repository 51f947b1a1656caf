"""What does it cost to connect a running container to another network, and to take it out again?

Library calls, without the durable commit; the network has 1, 500 or 2000 members.
"""

from __future__ import annotations

from statistics import median

from world import Row, library, ms, progress, request, settle, spread, timed

from weft.engine import connect, container, network
from weft.engine.request import Join, RunRequest

_ROUNDS = 20
_SIZES = (1, 500, 2000)
_BARS = {"connect": 0.0015, "disconnect": 0.001}
_FLAT = 1.5


def measure(kind: str) -> list[Row]:
    """``kind`` memory."""
    work = library(kind)
    network.create(work, network.NetworkRequest("green", ("10.91.0.0/16",)))
    container.create(work, request("roamer"))
    times: dict[int, dict[str, list[float]]] = {}
    there = 0
    for size in _SIZES:
        wanted = [RunRequest(f"m{n}", (Join("green"),)) for n in range(there, size)]
        for start in range(0, len(wanted), 500):
            container.attach_many(work, wanted[start : start + 500])
        there = size
        progress(f"connect: {size} members")
        found: dict[str, list[float]] = {"connect": [], "disconnect": []}
        for n in range(-2, _ROUNDS):
            there_and_back = (
                timed(lambda: connect.connect(work, "roamer", Join("green"))),
                timed(lambda: connect.disconnect(work, "green", "roamer")),
            )
            settle(size + 1)
            if n >= 0:
                for verb, seconds in zip(found, there_and_back, strict=True):
                    found[verb].append(seconds)
        times[size] = found
    return [row for verb in _BARS for row in _rows(verb, times)]


def _rows(verb: str, times: dict[int, dict[str, list[float]]]) -> list[Row]:
    bar, with_500 = _BARS[verb], times[500][verb]
    ratio = median(times[_SIZES[-1]][verb]) / median(times[_SIZES[0]][verb])
    return [
        Row(
            f"{verb} a running container, library, 500 others present",
            spread(with_500),
            bar=f"<= {ms(bar)}",
            met=median(with_500) <= bar,
        ),
        Row(
            f"the same with {_SIZES[-1]} members against {_SIZES[0]}",
            spread(times[_SIZES[-1]][verb]),
            spread(times[_SIZES[0]][verb]),
            f"{ratio:.2f}",
            f"<= {_FLAT} x",
            ratio <= _FLAT,
        ),
    ]
