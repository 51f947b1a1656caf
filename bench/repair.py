"""How long until a thousand containers are whole again: by `weft repair`, and by a `weft watch` that runs?"""

from __future__ import annotations

import signal
import subprocess
import time

from world import Row, ip, library, ms, request, spawn, spread, weft

from weft.engine import container
from weft.engine.work import Work

_MANY = 1000
_ROUNDS = 5
_FLUSHES = 100
#: Seconds until it has looked at everything after a flush, and is awake again.
_REST = 1.5
_BAR_FLUSH = 0.5
_BAR_BRIDGES = 3.0
_BAR_WATCH = 0.25
_NFT = "/usr/sbin/nft"
_FLUSH = [_NFT, "flush", "ruleset"]


def measure(kind: str) -> list[Row]:
    """One network, a thousand containers with a published port each."""
    work = library(kind)
    container.attach_many(work, [request(f"web{n}", f"0.0.0.0:{20000 + n}:80") for n in range(_MANY)])
    spawn(weft("repair"))
    rows = [_nothing(kind), _flushed(kind), _unbridged(work, kind)]
    return [*rows, _watched(work, kind)]


def _row(what: str, times: list[float], bar: float) -> Row:
    middle = sorted(times)[len(times) // 2]
    return Row(what, f"{ms(middle)} ({spread(times)})", bar=f"<= {ms(bar)}", met=middle <= bar)


def _nothing(kind: str) -> Row:
    times = [spawn(weft("repair")).wall for _ in range(_ROUNDS)]
    return Row(f"`weft repair` of {_MANY} containers that are whole, state on {kind}", spread(times))


def _flushed(kind: str) -> Row:
    times = []
    for _ in range(_ROUNDS):
        spawn(_FLUSH)
        times.append(spawn(weft("repair")).wall)
    return _row(f"`weft repair` of {_MANY} after `nft flush ruleset`, state on {kind}", times, _BAR_FLUSH)


def _unbridged(work: Work, kind: str) -> Row:
    (network,) = work.store.networks()
    times = []
    for _ in range(_ROUNDS):
        spawn(ip("link", "del", network.bridge))
        times.append(spawn(weft("repair")).wall)
    return _row(f"`weft repair` of {_MANY} after all bridges went, state on {kind}", times, _BAR_BRIDGES)


def _watched(work: Work, kind: str) -> Row:
    watch = subprocess.Popen(weft("watch"), stdout=subprocess.PIPE)
    time.sleep(2)  # it looks at everything first, and says nothing when that is whole
    times = []
    for _ in range(_FLUSHES):
        spawn(_FLUSH)
        start = time.perf_counter()
        while watch.poll() is None and not work.machine.tables_stand(work.store.root):
            time.sleep(0.001)
        times.append(time.perf_counter() - start)
        time.sleep(_REST)
    watch.send_signal(signal.SIGINT)
    watch.wait()
    worst = sorted(times)[_FLUSHES * 99 // 100 - 1]
    middle = sorted(times)[_FLUSHES // 2]
    return Row(
        f"{_MANY} published ports back by `weft watch`, 99 of {_FLUSHES} flushes (median), state on {kind}",
        f"{ms(worst)} ({ms(middle)})",
        bar=f"<= {ms(_BAR_WATCH)}",
        met=worst <= _BAR_WATCH,
    )
