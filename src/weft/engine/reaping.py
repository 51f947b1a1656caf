"""Containers whose processes were all killed, found by the next command."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.work import Work


def reap(work: Work) -> None:
    """Ends what processes left that died together with their monitor. The lock is held."""
    for sandbox, state in work.store.supervised():
        watched = work.machine.alive(state.watcher, state.watcher_started)
        if not watched and not work.machine.alive(state.pid, state.started):
            from weft.engine.removal import bury  # much to import, and seldom needed

            bury(work, sandbox, state)
