"""How long do a thousand named namespaces take to make and to unmake?"""

from __future__ import annotations

import os
import time

from world import Row, ip, ms, spawn, weft

_MANY = 1000
_ROUNDS = 3
_BAR_EACH = 0.3
_BAR_BATCH = 1.5


def measure(kind: str) -> list[Row]:
    """Wall time of whole commands, the least of three, each way in turn."""
    names = [f"n{i}" for i in range(_MANY)]
    os.makedirs("/run/peer", exist_ok=True)
    for verb in ("add", "del"):
        with open(f"/run/peer/{verb}", "w") as file:
            file.write("".join([f"netns {verb} {name}\n" for name in names]))
    ways = {"weft": [], "batch": [], "each": []}
    for n in range(_ROUNDS):
        ways["weft"].append(_timed([weft("ns", "add", *names), weft("ns", "rm", "--all", "-q")]))
        ways["batch"].append(_timed([ip("-batch", f"/run/peer/{verb}") for verb in ("add", "del")]))
        if n == 0:
            each = [ip("netns", verb, name) for verb in ("add", "del") for name in names]
            ways["each"].append(_timed(each))
    best = {way: min(times) for way, times in ways.items()}
    return [
        _row("one `ip netns` process for each", best, "each", _BAR_EACH),
        _row("`ip -batch`", best, "batch", _BAR_BATCH),
    ]


def _timed(commands: list[list[str]]) -> float:
    took = sum([spawn(command).wall for command in commands])
    time.sleep(1.5)  # nothing tells when the kernel has ended them, and that would weigh on the next
    return took


def _row(peer: str, best: dict[str, float], way: str, bar: float) -> Row:
    ratio = best["weft"] / best[way]
    what = f"{_MANY} namespaces made and unmade: `weft ns add ...`, `weft ns rm --all`"
    return Row(
        what, ms(best["weft"]), f"{ms(best[way])}, {peer}", f"{ratio:.2f}", f"<= {bar} x", ratio <= bar
    )
