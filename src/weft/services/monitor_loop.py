"""The monitor of a detached container while its command runs: ``weft monitor KEY=VALUE...``.

A program of its own, since that takes 3 MiB: what started the command has four times as much in memory, and
becomes this. It takes what the command writes, to the log and to those who look on; keeps the terminal and
what is typed; checks the health; and when the command ends, becomes ``weft finished``, which puts that on
record and perhaps starts the command again. All of them are one process, the command's parent.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # ``signal`` itself imports enum: 1 MiB
import posix
from _socket import AF_UNIX, SOCK_SEQPACKET
from _socket import SocketType as Socket
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll
from time import monotonic

from weft.core.wire.cri import STDERR, STDOUT
from weft.linux.terminal import set_size
from weft.services.attached import Clients
from weft.services.health import Health
from weft.services.logfile import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_CHUNK = 1 << 15
#: Bytes typed that the command has not read yet, before who types has to wait.
_TYPED = 1 << 16
#: Seconds for those who look on to take the last words.
_LAST = 2.0
_SIGKILL, _SIGTERM = _signal.SIGKILL, _signal.SIGTERM
_GONE = POLLERR | POLLHUP | POLLNVAL


class _Terminated(BaseException):
    """SIGTERM came while nothing runs."""


def main(words: Sequence[str]) -> None:
    """``KEY=VALUE`` words as ``monitor.words`` writes them. Ends by becoming another weft."""
    options = dict([word.partition("=")[::2] for word in words])
    if "delay" in options:
        _pause(int(options["delay"]) / 1000, _program(options, "again"))
    Monitor(options).run()


def _program(options: dict[str, str], *words: str) -> list[str]:
    root = options.get("root", "")
    return [options["program"], *(["--root", root] if root else []), *words, options["name"]]


def _pause(seconds: float, after: list[str]) -> NoReturn:
    """Waits, and becomes ``after``. SIGTERM ends it: the container is not to be started any more."""

    def end(*_: object) -> None:
        raise _Terminated

    _signal.signal(_SIGTERM, end)
    try:
        _sleep(seconds)
    except _Terminated:
        posix._exit(0)
    posix.execv(after[0], after)


def _sleep(seconds: float) -> None:
    until = monotonic() + seconds
    while (left := until - monotonic()) > 0:
        poll().poll(int(left * 1000) + 1)


class Monitor:
    """One command, from its start to its end."""

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options
        self.pid = int(options["pid"])
        self.log = LogFile(options["log"], int(options["size"]), int(options["files"]))
        self.terminal = int(options.get("tty", -1))
        self.stdin = int(options.get("in", -1))
        self.typed = b""
        self.closing = False
        self.outputs = {
            int(options[k]): stream for k, stream in (("out", STDOUT), ("err", STDERR)) if k in options
        }
        if self.terminal >= 0:
            self.outputs[self.terminal] = STDOUT
            self.stdin = self.terminal
        for fd in {self.stdin, *self.outputs} - {-1}:
            posix.set_blocking(fd, False)
            posix.set_inheritable(fd, False)
        door = int(options.get("door", -1))
        if door >= 0:
            posix.set_inheritable(door, False)
        listener = Socket(AF_UNIX, SOCK_SEQPACKET, 0, door) if door >= 0 else None
        self.clients = Clients(listener, self.type, self.resize)
        self.health = self._health()
        self.wakes, self._wake = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        _signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (_signal.SIGCHLD, _signal.SIGHUP, _signal.SIGINT):
            _signal.signal(number, lambda *_: None)
        _signal.signal(_SIGTERM, lambda *_: self.kill(_SIGTERM))

    def _health(self) -> Health | None:
        times = self.options.get("health")
        if times is None:
            return None
        check = [*_program(self.options, "exec"), "--", *self.options["check"].split("\x1f")]
        note = [*_program(self.options, "health"), self.options["pid"]]
        *seconds, retries = [int(number) for number in times.split(",")]
        paused = f"weft: error: container {self.options['name']} is paused\n".encode()
        return Health(check, note, [*[s / 1000 for s in seconds], retries], paused)

    def kill(self, number: int) -> None:
        """Signals the command: it is not reaped yet, so the pid is its own."""
        try:
            posix.kill(self.pid, number)
        except ProcessLookupError:
            pass

    # what is typed

    def type(self, data: bytes | None) -> None:
        """Takes what was typed; None: that was all."""
        if self.stdin < 0:
            return
        if data is None:
            self.closing = self.stdin != self.terminal
        elif not self.closing:
            self.typed += data
        self._pass_on()

    def _pass_on(self) -> None:
        try:
            while self.typed:
                self.typed = self.typed[posix.write(self.stdin, self.typed) :]
        except BlockingIOError:
            return
        except OSError:
            self.typed, self.closing = b"", self.stdin != self.terminal
        if self.closing:
            posix.close(self.stdin)
            self.stdin = -1
            self.closing = False

    def resize(self, rows: int, columns: int) -> None:
        """The terminal of who looks on has this size."""
        if self.terminal >= 0:
            set_size(self.terminal, rows, columns)

    # what is written

    def _output(self, fd: int) -> bool:
        """Takes a piece of output; whether there was any."""
        try:
            data = posix.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # EIO: nobody has the terminal open any more
        if not data:
            del self.outputs[fd]
            if fd != self.terminal:
                posix.close(fd)
            return False
        stream = self.outputs[fd]
        self.log.write(stream, data)
        self.clients.tell(b"o" if stream == STDOUT else b"r", data)
        return True

    # the loop

    def run(self) -> NoReturn:
        """Watches until the command ends."""
        self.clients.admit()  # who came while this program started sees the first words
        code = self._reap()
        while code is None:
            self._wait()
            code = self._reap()
        self._end(code)

    def _wait(self) -> None:
        watched = poll()
        watched.register(self.wakes, POLLIN)
        for fd, events in self.clients.watch(len(self.typed) < _TYPED):
            watched.register(fd, events)
        both = dict.fromkeys(self.outputs, 0 if self.clients.full else POLLIN)
        if self.typed:
            both[self.stdin] = both.get(self.stdin, 0) | POLLOUT
        if self.health is not None and self.health.output >= 0:
            both[self.health.output] = POLLIN
        for fd, events in both.items():
            if events:
                watched.register(fd, events)
        for fd, events in watched.poll(self._timeout()):
            self._ready(fd, events)
        if self.health is not None:
            self.health.tick(monotonic())

    def _timeout(self) -> int | None:
        now = monotonic()
        waits = [self.clients.stall(now), self.health.left(now) if self.health is not None else None]
        found = [w for w in waits if w is not None]
        return int(min(found) * 1000) + 1 if found else None

    def _ready(self, fd: int, events: int) -> None:
        if fd == self.wakes:
            posix.read(fd, 1 << 12)
        elif self.health is not None and fd == self.health.output:
            self.health.hear()
        elif not self.clients.ready(fd, events):
            if events & POLLOUT:
                self._pass_on()
            if fd in self.outputs and events & (POLLIN | _GONE):
                self._output(fd)
            elif events & _GONE and fd == self.stdin:
                self.typed = b""
                self.type(None)

    def _reap(self) -> int | None:
        """The command's status once it has ended; strangers that fell to us are reaped on the way."""
        while True:
            try:
                pid, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                return 137  # the command is not ours: it cannot be known what became of it
            if not pid:
                return None
            code = posix.waitstatus_to_exitcode(status)
            if pid == self.pid:
                return code if code >= 0 else 128 - code
            if self.health is not None:
                self.health.ended(pid, code)

    def _end(self, code: int) -> NoReturn:
        if self.health is not None:
            self.health.stop()
        end_children()
        while any([self._output(fd) for fd in tuple(self.outputs)]):  # noqa: C419  a turn for each
            self._let_read(0.1 if self.clients.full else 0.0)
        self.clients.tell(b"x", str(code).encode())
        self.clients.close_door()
        self._let_read(_LAST)
        if not self._on_record():
            posix._exit(0)
        for fd in self.clients.known:
            posix.set_inheritable(fd, True)  # closed when the end is on record, by who puts it there
        program = [*_program(self.options, "finished"), str(self.pid), str(code)]
        posix.execv(program[0], program)

    def _on_record(self) -> bool:
        """Whether there is still a container of that name: who removes one takes its door away first."""
        try:
            posix.stat(self.options["path"])
        except OSError:
            return False
        return True

    def _let_read(self, seconds: float) -> None:
        """Gives those who look on time to read."""
        until = monotonic() + seconds
        while any(c.waiting for c in self.clients.known.values()):
            left = until - monotonic()
            waiting = poll()
            for fd, client in self.clients.known.items():
                if client.waiting:
                    waiting.register(fd, POLLOUT)
            ready = waiting.poll(max(0, int(left * 1000)))
            for fd, events in ready:
                self.clients.ready(fd, events & ~POLLIN)
            if not ready or left < 0:
                return


def end_children() -> None:
    """Kills all children, and theirs as they fall to us: the container ends with its command."""
    while True:
        for pid in _children():
            try:
                posix.kill(pid, _SIGKILL)
            except ProcessLookupError:
                pass
        try:
            posix.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    me = posix.getpid()
    fd = posix.open(f"/proc/{me}/task/{me}/children", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return [int(word) for word in posix.read(fd, 1 << 16).split()]
    finally:
        posix.close(fd)
