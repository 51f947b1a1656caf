"""What does a command inside a namespace cost: as a process of weft's, and started by the library?"""

from __future__ import annotations

import os
from statistics import median

from world import BARE, Row, against, interleaved, ip, ms, spawn, spread, timed, weft

import weft as library

_BAR = 0.025
_RATIO = 1.5
_TRUE = "/usr/bin/true"


def measure(kind: str) -> list[Row]:
    """CPU of the cold command by wait4(2); wall time of the library's spawn, until the command has ended."""
    spawn(weft("ns", "add", "blue"))
    cold = interleaved(
        {
            "weft": lambda: spawn(weft("ns", "exec", "blue", "--", "true")).cpu,
            "bare": lambda: spawn(BARE).cpu,
            "ip": lambda: spawn(ip("netns", "exec", "blue", "true")).cpu,
        },
        40,
    )
    cpu = median(cold["weft"])
    title = f"`weft ns exec NAME -- true`, cold, CPU, state on {kind}"
    peers = f"{spread(cold['bare'])}, bare interpreter; {spread(cold['ip'])}, `ip netns exec`"
    ratio = f"{cpu / median(cold['bare']):.2f}"
    rows = [Row(title, spread(cold["weft"]), peers, ratio, f"<= {ms(_BAR)}", cpu <= _BAR)]
    inside = library.Namespace.get("blue")

    def by_hand() -> None:
        os.waitpid(os.posix_spawn(_TRUE, [_TRUE], os.environ), 0)

    warm = interleaved(
        {
            "weft": lambda: timed(lambda: inside.spawn([_TRUE]).wait()),
            "peer": lambda: timed(by_hand),
        },
        300,
    )
    what = "`Namespace.spawn` in the library, until its end"
    rows.append(against(what, warm["weft"], warm["peer"], _RATIO, ", posix_spawn without a namespace"))
    return rows
