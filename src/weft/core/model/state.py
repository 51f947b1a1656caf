"""What is stored beside the wishes: a container's process, and entries of the journal."""

from __future__ import annotations

from weft.core.model.policy import Policy
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint


class State(Record):
    """What became of a container's process.

    ``word`` is created, running, paused, restarting or exited. ``started`` is the process's start time in
    clock ticks since boot (field 22 of proc_pid_stat(5)): with the pid it names one process for ever.
    ``watcher`` is who waits for it: the monitor of a detached container, or the foreground weft.
    """

    word: str
    pid: int | None = None
    started: int | None = None
    exit_code: int | None = None
    watcher: int | None = None
    watcher_started: int | None = None


class Life(Record):
    """How a container lives, and has lived. Times are nanoseconds since 1970, 0: not yet.

    ``stopped``: somebody wanted it to end, so it is not started again by itself. ``backoff`` is the pause
    before the last restart, in milliseconds. ``health`` is "" without a check, or starting, healthy,
    unhealthy; ``failures`` in a row and what was ``said`` last, when that changed. ``kept`` are the endpoints
    of one that has exited, which ``weft start`` gives it again.
    """

    policy: Policy = Policy()
    stopped: bool = False
    restarts: int = 0
    backoff: int = 0
    started_at: int = 0
    finished_at: int = 0
    health: str = ""
    failures: int = 0
    said: str = ""
    kept: tuple[Endpoint, ...] = ()


class Event(Record):
    """Something that happened: to a ``container`` or a ``network`` (``type``), when (nanoseconds since
    1970), what (``action``), and more in ``attributes``. ``number`` goes up."""

    type: str
    action: str
    name: str
    id: str
    time: int
    attributes: tuple[tuple[str, str], ...] = ()
    number: int = 0


class Entry(Record):
    """A journal entry: ``undo`` is the plan that ends it, backwards or (``forward``) onwards."""

    id: int
    verb: str
    subject: str
    undo: str
    forward: bool
