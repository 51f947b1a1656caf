"""Repair whenever the kernel says that something has changed."""

from __future__ import annotations

from weft.core.model.errors import WeftError
from weft.engine import repair
from weft.engine.work import DNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.boundary import Heard
    from weft.engine.repair import Report
    from weft.engine.work import Work

#: Seconds between two looks at everything, when most of what is heard is weft's own doing.
_PAUSE = 0.5
#: Seconds of silence after which a change is taken for complete, and how long that is waited for.
_SILENCE, _PATIENCE = 0.003, 0.03


def watch(work: Work, heard: Heard, clock: Callable[[], float], tell: Callable[[Report], None]) -> None:
    """Repairs at once, and again on every notice; returns never. ``clock`` counts seconds."""
    teller = Teller(tell)
    ready = repair.Ready(work)
    # What is looked at may change under the look: then it is looked at again.
    pending = not _look(work, ready, teller)
    looked = clock()
    while True:
        pending = not _attended(work, heard) or pending
        news = heard.wait(max(0.0, looked + _PAUSE - clock()) if pending else None)
        if news:
            pending = True
            _restore(work, ready, heard, clock, teller)
        if pending and clock() - looked >= _PAUSE:
            heard.wait(0)
            pending = not _look(work, ready, teller)
            looked = clock()


def _attended(work: Work, heard: Heard) -> bool:
    """Hears of the DNS server's end; False when it is wanted, and has ended."""
    wanted = bool(work.store.get(DNS))
    pid = work.machine.dns_pid() if wanted else 0
    heard.attend(pid)
    return pid > 0 or not wanted


class Teller:
    """Tells what there is to tell; a failure that stays the same once."""

    __slots__ = ("_last", "_tell")

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._last: tuple[str, ...] = ()

    def __call__(self, done: Report) -> None:
        if done.mended or (done.failed and done.failed != self._last):
            self._tell(done)
        self._last = done.failed


def _restore(
    work: Work, ready: repair.Ready, heard: Heard, clock: Callable[[], float], teller: Teller
) -> None:
    """The firewall at once, where it is gone."""
    try:
        if not work.machine.tables_stand(work.store.root):
            _settle(heard, clock)
            teller(ready.mend() or repair.mend_firewall(work))
    except WeftError as error:
        teller(repair.Report((), (str(error),)))


def _look(work: Work, ready: repair.Ready, teller: Teller) -> bool:
    """Mends everything; whether it could be looked at."""
    try:
        teller(repair.repair(work))
        ready.refresh()
    except WeftError as error:
        teller(repair.Report((), (str(error),)))
        return False
    return True


def _settle(heard: Heard, clock: Callable[[], float]) -> None:
    """Whoever flushes may be about to load his own rules."""
    end = clock() + _PATIENCE
    while clock() < end and heard.wait(_SILENCE):
        pass
