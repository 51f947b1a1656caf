"""A container's health, as its monitor keeps it: a command run inside it again and again."""

from __future__ import annotations

import posix
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGKILL = 9
#: The status of a conflict (core/model/errors.py).
_CONFLICT = 4
#: How much of what a check says is kept.
_OUTPUT = 4096
_SETSIGDEF = (13, 25)  # SIGPIPE, SIGXFSZ: Python ignores them


class Health:
    """When it is checked, and what came of it. Times are seconds.

    ``check`` is the program to run; ``note`` the one that puts a change on record, to which are added the
    word, how often in a row it failed, and what was said last. ``paused`` is what a check says of a container
    that is: that is no result.
    """

    __slots__ = (
        "_check",
        "_deadline",
        "_due",
        "_fd",
        "_grace",
        "_note",
        "_noter",
        "_paused",
        "_pending",
        "_said",
        "_times",
        "failures",
        "pid",
        "status",
    )

    def __init__(
        self, check: Sequence[str], note: Sequence[str], times: Sequence[float], paused: bytes
    ) -> None:
        """``times``: interval, timeout, start period, interval within that, retries."""
        self._check, self._note, self._times, self._paused = check, note, times, paused
        self.status, self.failures = "starting", 0
        now = monotonic()
        self._grace = now + times[2]
        self._due = now + self._pause(now)
        self._deadline = 0.0
        self.pid = self._noter = 0
        self._fd = -1
        self._said = b""
        self._pending = False

    def _pause(self, now: float) -> float:
        return self._times[3] if self.status == "starting" and now < self._grace else self._times[0]

    @property
    def output(self) -> int:
        """Where a running check writes, -1 when none runs."""
        return self._fd

    def left(self, now: float) -> float:
        """Seconds until ``tick`` is to be called."""
        return max(0.0, (self._deadline if self.pid else self._due) - now)

    def tick(self, now: float) -> None:
        """Starts a check that is due; ends one that takes too long."""
        if self.pid and now >= self._deadline:
            self._kill()
            self._deadline = now + 3600.0  # it is reaped next
            self._said = f"the check took longer than {self._times[1]:g} s".encode()
        elif not self.pid and now >= self._due:
            self._start(now)

    def _start(self, now: float) -> None:
        self._fd, write = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        self._said = b""
        try:
            self.pid = spawn(self._check, write)
            self._deadline = now + self._times[1]
        except OSError as error:
            self._said = f"{self._check[0]}: {error.strerror}".encode()
            self._result(1)
        finally:
            posix.close(write)

    def hear(self) -> None:
        """Takes what a check says: its beginning is kept."""
        try:
            said = posix.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        if said:
            self._said = (self._said + said)[:_OUTPUT]
        else:
            posix.close(self._fd)
            self._fd = -1

    def _kill(self) -> None:
        try:
            posix.killpg(self.pid, _SIGKILL)
        except ProcessLookupError:
            pass

    def ended(self, pid: int, code: int) -> bool:
        """A child of the monitor's has ended; whether it was one of these."""
        if pid == self._noter:
            self._noter = 0
            if self._pending:
                self._tell()
            return True
        if pid != self.pid or not pid:
            return False
        self._kill()  # what it left behind in its group
        if self._fd >= 0:
            self.hear()
        self._result(code)
        return True

    def _result(self, code: int) -> None:
        now = monotonic()
        if self._fd >= 0:
            posix.close(self._fd)
            self._fd = -1
        self.pid = 0
        before = self.status
        if code == 0:
            self.status, self.failures = "healthy", 0
        elif code == _CONFLICT and self._said.startswith(self._paused):
            pass
        elif not (before == "starting" and now < self._grace):
            self.failures += 1
            if self.failures >= self._times[4]:
                self.status = "unhealthy"
        self._due = now + self._pause(now)
        if self.status != before:
            self._tell()

    def _tell(self) -> None:
        """Puts the word on record; one at a time, so that the last one stays."""
        self._pending = bool(self._noter)
        if self._pending:
            return
        said = self._said.replace(b"\0", b"").decode(errors="replace")
        try:
            self._noter = spawn([*self._note, self.status, str(self.failures), said], -1)
        except OSError:
            pass  # no memory, no processes: the next change is told

    def stop(self) -> None:
        """The command has ended: nothing is checked any more."""
        if self.pid:
            self._kill()


def spawn(argv: Sequence[str], output: int) -> int:
    """A process of its own group with nothing to read, which writes to ``output`` (-1: nowhere). OSError."""
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDWR, 0)
    ]
    for fd in (1, 2):
        actions.append((posix.POSIX_SPAWN_DUP2, output if output >= 0 else 0, fd))
    return posix.posix_spawn(
        argv[0], list(argv), posix.environ, file_actions=actions, setpgroup=0, setsigdef=_SETSIGDEF
    )
