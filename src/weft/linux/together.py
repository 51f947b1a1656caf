"""One command in many namespaces at once, its output told apart by lines."""

from __future__ import annotations

import os

from weft.core.model.errors import WeftError
from weft.linux import enter, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from select import poll

    from weft.core.model.enter import Command, Way

#: How many run at once.
_AT_ONCE = 16
#: A longer line is cut: a command that never ends one must not fill the memory.
_LONGEST = 1 << 20


class _Stream:
    """What one command says on one of its two outputs: whole lines go on, each after the command's name."""

    __slots__ = ("_head", "_rest", "_to")

    def __init__(self, name: str, to: int) -> None:
        self._head = f"{name}: ".encode(errors="surrogateescape")
        self._to = to
        self._rest = b""

    def take(self, data: bytes) -> None:
        """More of it; b"" is the end, and ends the last line too."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) > _LONGEST):
            lines.append(self._rest)
            self._rest = b""
        if lines:
            _write(self._to, b"".join([self._head + line + b"\n" for line in lines]))


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


class _Together:
    __slots__ = ("_command", "_poll", "_running", "_say", "_streams", "codes")

    def __init__(self, command: Command, poll: poll, say: Callable[[str], None]) -> None:
        self._command = command
        self._poll = poll
        self._say = say
        self._running: dict[int, int] = {}
        self._streams: dict[int, _Stream] = {}
        self.codes: dict[int, int] = {}

    @property
    def busy(self) -> int:
        """How many commands run, or have not said all."""
        return max(len(self._running), (len(self._streams) + 1) // 2)

    def start(self, number: int, way: Way) -> None:
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]

        def prepare() -> None:
            null = os.open("/dev/null", os.O_RDONLY)
            for fd, to in ((null, 0), (pipes[0][1], 1), (pipes[1][1], 2)):
                os.dup2(fd, to)
            if "pid" in enter.join(way, self._say):
                raise WeftError("a command in many pid namespaces at once cannot be started")
            enter.settle(self._command, "", self._say)

        child = process.start(prepare, enter.becoming(self._command))
        for (read, write), to in zip(pipes, (1, 2), strict=True):
            os.close(write)
            self._streams[read] = _Stream(way.shown, to)
            self._poll.register(read)
        self._running[child.pid] = number
        try:
            child.go(self._command.argv[0])
        except WeftError as error:
            del self._running[child.pid]
            self._say(f"{way.shown}: {error.message}")
            self.codes[number] = error.status if error.status != 1 else 125

    def step(self) -> None:
        """Waits until something is said or has ended."""
        for fd, _ in self._poll.poll():
            data = os.read(fd, 1 << 16)
            self._streams[fd].take(data)
            if not data:
                self._poll.unregister(fd)
                os.close(fd)
                del self._streams[fd]
        self.reap(0 if self._running and not self._streams else os.WNOHANG)

    def reap(self, how: int) -> None:
        while self._running:
            pid, status = os.waitpid(-1, how)
            if not pid:
                return
            number = self._running.pop(pid, None)
            if number is not None:
                code = os.waitstatus_to_exitcode(status)
                self.codes[number] = code if code >= 0 else 128 - code

    def kill(self) -> None:
        process.end(list(self._running))


def run(ways: Sequence[Way], command: Command, say: Callable[[str], None]) -> int:
    """Executes a command in every one of these, some at once; the status of the first of them that failed.

    Its input is empty. Each line of output goes out whole, after ``NAME: ``.
    """
    from select import poll

    together = _Together(command, poll(), say)
    try:
        for number, way in enumerate(ways):
            while together.busy >= _AT_ONCE:
                together.step()
            together.start(number, way)
        while together.busy:
            together.step()
    except BaseException:
        together.kill()
        raise
    return next((together.codes[n] for n in sorted(together.codes) if together.codes[n]), 0)
