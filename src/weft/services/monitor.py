"""The monitor of a detached container: a small process that waits for the command.

It is forked from the command line, holds nothing but two pipes, and lives as long as the command.
In the end it becomes a fresh weft that puts the outcome on record: SQLite must not be used across
a fork, and a monitor that never loads it stays small.
Two-phased like linux/process: the command runs when the container stands, and is ended when the
command line dies before it has put the container on record.
"""

from __future__ import annotations

import os

from weft.core.model.errors import CommandNotExecutable, CommandNotFound, KernelError, WeftError
from weft.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from typing import NoReturn

    from weft.core.model.launch import Launch
else:
    import _signal as signal  # as in linux/process

_ERRORS = {e.__name__: e for e in (CommandNotFound, CommandNotExecutable)}


class Monitored:
    """The command line's handle of a monitor and of the command it has started.

    ``after`` is the program, with its first arguments, that is told pid and status in the end.
    """

    __slots__ = ("_from", "_to", "pid", "started", "watcher", "watcher_started")

    def __init__(self, launch: Launch, after: Sequence[str]) -> None:
        down_read, self._to = os.pipe2(os.O_CLOEXEC)
        self._from, up_write = os.pipe2(os.O_CLOEXEC)
        self.watcher = os.fork()
        if self.watcher == 0:
            os.close(self._to)
            os.close(self._from)
            _monitor(launch, after, down_read, up_write)
        os.close(down_read)
        os.close(up_write)
        self.watcher_started = process.start_time(self.watcher)
        words = self._hear().split()
        self.pid, self.started = int(words[1]), int(words[2])

    def _hear(self) -> str:
        said = os.read(self._from, 65536).decode(errors="replace")
        verb, _, rest = said.partition(" ")
        if verb in ("pid", "ok"):
            return said
        kind, _, message = rest.partition("\n")
        text, _, hint = message.partition("\n")
        if not said:
            raise KernelError("the monitor of the container was killed")
        raise _ERRORS[kind](text, hint) if kind in _ERRORS else KernelError(text, hint=hint)

    def go(self, command: str) -> None:
        """Lets the command run; CommandNotFound or CommandNotExecutable when it cannot."""
        self._tell(b"g")
        self._hear()

    def settled(self) -> None:
        """The container is on record: the monitor stays until the command ends."""
        self._tell(b"s")
        os.close(self._to)
        os.close(self._from)

    def _tell(self, word: bytes) -> None:
        try:
            os.write(self._to, word)
        except BrokenPipeError:
            raise KernelError("the monitor of the container was killed") from None

    def cancel(self) -> None:
        """Ends the command and its monitor."""
        os.close(self._to)
        os.close(self._from)
        try:
            os.waitpid(self.watcher, 0)
        except ChildProcessError:
            pass


def _monitor(launch: Launch, after: Sequence[str], down: int, up: int) -> NoReturn:
    """The monitor's whole life. It never returns into the command line's stack."""
    try:
        _detach(down, up)
        _watch(launch, after, down, up)
    finally:
        os._exit(0)


def _detach(down: int, up: int) -> None:
    """Its own session, no terminal, no inherited descriptors: journal and database locks above all."""
    os.setsid()
    os.chdir("/")
    low, high = sorted((down, up))
    os.closerange(3, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, 1 << 20)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)  # not ignored: that would be the command's inheritance
    process.adopt_orphans()


def _watch(launch: Launch, after: Sequence[str], down: int, up: int) -> None:
    from weft.linux.launch import start

    child = start(launch)
    os.write(up, f"pid {child.pid} {child.started}".encode())
    if os.read(down, 1) != b"g":
        child.cancel()
        return
    try:
        child.go(launch.argv[0])
    except WeftError as error:
        os.write(up, f"error {type(error).__name__}\n{error.message}\n{error.hint}".encode())
        return
    os.write(up, b"ok ")
    if os.read(down, 1) != b"s" and not _on_record(after, child.pid):
        os.kill(child.pid, signal.SIGKILL)
    os.close(down)
    os.close(up)
    code = process.wait(child.pid)
    process.end_children()
    os.execv(after[0], [*after, str(child.pid), str(code)])


def _on_record(after: Sequence[str], pid: int) -> bool:
    """The command line died: had it put the container on record? Asking takes back what it had not."""
    return os.spawnv(os.P_WAIT, after[0], [*after, str(pid)]) == 0
