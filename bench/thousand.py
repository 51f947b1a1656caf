"""A thousand containers on one network, one port each, in one process: how long, and does it slow down?"""

from __future__ import annotations

from world import Peer, Row, library, ms, request, settle, timed

from weft.engine import container
from weft.engine.removal import remove
from weft.engine.work import Work

_MANY = 1000
_EDGE = 100
_BAR_EACH = 4.0
_BAR_SLOWER = 1.5
_BAR_BATCH = 2.5
_HOSTS = ("0.0.0.0", "127.0.0.1")


def measure(kind: str) -> list[Row]:
    """Each attach durable; the disk is asked for one way to publish only, which is enough to see it."""
    work = library(kind)
    rows: list[Row] = []
    hosts = _HOSTS if kind == "tmpfs" else _HOSTS[:1]
    for host in hosts:
        rows += _one_after_another(work, host, kind)
    rows += [_one_batch(work, host, kind) for host in hosts]
    return [*rows, _peer()] if kind == "tmpfs" else rows


def _one_after_another(work: Work, host: str, kind: str) -> list[Row]:
    wishes = [request(f"each{n}", f"{host}:{20000 + n}:80") for n in range(_MANY)]
    times = [timed(lambda wish=wish: container.create(work, wish)) for wish in wishes]
    _clear(work, [w.name for w in wishes])
    total, slower = sum(times), _slower(times)
    what = f"{_MANY} containers, one port each on {host}, one after another, state on {kind}"
    return [
        Row(what, ms(total), bar=f"<= {ms(_BAR_EACH)}", met=total <= _BAR_EACH),
        Row(
            f"their last {_EDGE} : first {_EDGE}",
            f"{ms(sum(times[-_EDGE:]))} : {ms(sum(times[:_EDGE]))}",
            ratio=f"{slower:.2f}",
            bar=f"<= {_BAR_SLOWER} x",
            met=slower <= _BAR_SLOWER,
        ),
    ]


def _slower(times: list[float]) -> float:
    return sum(times[-_EDGE:]) / sum(times[:_EDGE])


def _one_batch(work: Work, host: str, kind: str) -> Row:
    wishes = [request(f"batch{n}", f"{host}:{20000 + n}:80") for n in range(_MANY)]
    total = timed(lambda: container.attach_many(work, wishes))
    _clear(work, [w.name for w in wishes])
    what = f"{_MANY} containers, one port each on {host}, one batch call, state on {kind}"
    return Row(what, ms(total), bar=f"<= {ms(_BAR_BATCH)}", met=total <= _BAR_BATCH)


def _clear(work: Work, names: list[str]) -> None:
    remove(work, names, force=True)
    settle()


def _peer() -> Row:
    """The peer's thousand, without ports."""
    peer = Peer()
    times = [peer.attach(peer.prepare()).wall for _ in range(_MANY)]
    said = f"{ms(sum(times))}; last {_EDGE} : first {_EDGE} = {_slower(times):.2f}"
    return Row(f"{_MANY} by three processes each, without ports", "", said)
