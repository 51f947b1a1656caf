"""How long does a detach take until it returns, one at a time and a thousand at once?"""

from __future__ import annotations

from itertools import count
from statistics import median

from world import Peer, Row, against, library, ms, request, settle, spawn, timed, until_gone, weft

from weft.engine import container
from weft.engine.removal import remove
from weft.engine.work import Work

_ROUNDS = 12
_BAR = 0.3
_MANY = 1000
_BAR_MANY = 1.0


def measure(kind: str) -> list[Row]:
    """State is on record in memory: commits are made, and cost little."""
    work = library(kind)
    return [*_one_by_one(work), *_at_once(work)]


def _one_by_one(work: Work) -> list[Row]:
    peer, number = Peer(), count(1)
    # One that stays, so that the proxy does not start and end with each.
    container.create(work, request("stays", "127.0.0.1:19999:80"))

    def peers(link_first: bool) -> float:
        name = peer.prepare()
        peer.attach(name)
        return peer.detach(name, link_first)

    def ours(by_command: bool) -> float:
        n = next(number)
        container.create(work, request(f"web{n}", f"127.0.0.1:{20000 + n}:80"))
        if by_command:
            return spawn(weft("rm", "-f", f"web{n}")).wall
        return timed(lambda: remove(work, [f"web{n}"], force=True))

    times: dict[str, list[float]] = {"netns": [], "link": [], "call": [], "command": []}
    for _ in range(_ROUNDS):
        times["netns"].append(peers(False))
        _rest()
        times["call"].append(ours(False))
        _rest()
        times["link"].append(peers(True))
        _rest()
        times["command"].append(ours(True))
        _rest()
    best = min((times["netns"], times["link"]), key=median)
    why = ", netns first" if best is times["netns"] else ", link first"
    remove(work, ["stays"], force=True)
    return [
        against("detach, until the call returns", times["call"], best, _BAR, why),
        against("detach, until `weft rm -f` returns", times["command"], best, _BAR, why),
    ]


def _rest() -> None:
    """Until only the one that stays is left."""
    settle(1)


def _at_once(work: Work) -> list[Row]:
    settle()
    rows = []
    names = [f"many{n}" for n in range(_MANY)]
    for host in ("0.0.0.0", "127.0.0.1"):
        wishes = [request(name, f"{host}:{20000 + n}:80") for n, name in enumerate(names)]
        for how in ("call", "command"):
            container.attach_many(work, wishes)
            if how == "call":
                seconds = timed(lambda: remove(work, names, force=True))
            else:
                seconds = spawn(weft("rm", "-f", *names)).wall
            gone = seconds + until_gone()
            settle()
            what = f"{_MANY} containers removed at once, ports on {host}, until the {how} returns"
            last = f"{ms(seconds)} (last cable gone: {ms(gone)})"
            rows.append(Row(what, last, bar=f"<= {ms(_BAR_MANY)}", met=seconds <= _BAR_MANY))
    return rows
