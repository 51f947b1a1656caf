"""Repair whenever the kernel says that something has changed."""

from __future__ import annotations

from weft.engine import repair

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
    _mend(work, tell)
    looked = clock()
    pending = False
    while True:
        news = heard.wait(max(0.0, looked + _PAUSE - clock()) if pending else None)
        if news:
            pending = True
            if not work.machine.tables_stand(work.store.root):
                _settle(heard, clock)
                tell_if(repair.mend_firewall(work), tell)
        if pending and clock() - looked >= _PAUSE:
            heard.wait(0)
            pending = False
            _mend(work, tell)
            looked = clock()


def _settle(heard: Heard, clock: Callable[[], float]) -> None:
    """Whoever flushes may be about to load his own rules."""
    end = clock() + _PATIENCE
    while clock() < end and heard.wait(_SILENCE):
        pass


def _mend(work: Work, tell: Callable[[Report], None]) -> None:
    tell_if(repair.repair(work), tell)


def tell_if(done: Report, tell: Callable[[Report], None]) -> None:
    """Tells what there is to tell."""
    if done.mended or done.failed:
        tell(done)
