"""The start of a detached container's monitor: the process that is its command's parent.

It is forked from the command line, makes the pipes or the terminal, starts the command, and then becomes
``weft monitor`` (monitor_loop), with what is open of these. In the end that becomes a fresh weft that puts
the outcome on record: SQLite must not be used across a fork. A restart goes the same way: ``weft again``
starts the command once more and becomes the monitor again, all in one process.
Two-phased like linux/process: the command runs when the container stands, and is ended when the
command line dies before it has put the container on record.
"""

from __future__ import annotations

import os
from _socket import socketpair

from weft.core.model.errors import KernelError, WeftError
from weft.linux import door, process, terminal
from weft.linux.launch import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from typing import NoReturn

    from weft.core.model.launch import Launch
else:
    import _signal as signal  # as in linux/process

#: What a monitor and what it becomes need of its starter's environment.
_KEPT = ("PATH", "WEFT_PROGRAM", "LC_ALL", "LANG")


class Begun:
    """A command that waits for ``go``, and what its monitor gets of it."""

    __slots__ = ("_fds", "_path", "child", "launch")

    def __init__(self, launch: Launch, folder: str) -> None:
        """``folder`` is where its door is. What ``process.start`` raises; CommandNotFound and so on."""
        self.launch = launch
        self._fds = {"door": door.listen(folder, launch.name)}
        self._path = door.path(folder, launch.name)
        if launch.spec.process.terminal:
            self._with_terminal()
        else:
            self._with_pipes()

    def _with_terminal(self) -> None:
        """The terminal is one of the container's own; its other end comes to us."""
        ours, theirs = socketpair()
        try:
            self.child = start(self.launch, console=theirs.fileno())
            theirs.close()
            self.child.prepared(self.launch.argv[0])
            self._fds["tty"] = terminal.receive(ours)
        finally:
            ours.close()
            theirs.close()
        terminal.set_size(self._fds["tty"], *self.launch.size)

    def _with_pipes(self) -> None:
        theirs = self._pipes(self.launch.policy.stdin)
        try:
            self.child = start(self.launch, stdio=theirs)
        finally:
            for fd in set(theirs):
                os.close(fd)
        self.child.prepared(self.launch.argv[0])

    def _pipes(self, stdin: bool) -> tuple[int, int, int]:
        self._fds["out"], out = os.pipe2(os.O_CLOEXEC)
        self._fds["err"], err = os.pipe2(os.O_CLOEXEC)
        if not stdin:
            return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), out, err
        theirs, self._fds["in"] = os.pipe2(os.O_CLOEXEC)
        return theirs, out, err

    def become_monitor(self, program: Sequence[str]) -> NoReturn:
        """``program`` is the launcher, and the root or ""."""
        launcher, root = program
        for fd in self._fds.values():
            os.set_inheritable(fd, True)
        policy, health = self.launch.policy, self.launch.policy.health
        words = {
            "name": self.launch.name,
            "pid": self.child.pid,
            "log": self.launch.log,
            "size": policy.log_size,
            "files": policy.log_files,
            "program": launcher,
            "path": self._path,
            **self._fds,
        }
        if root:
            words["root"] = root
        if health is not None:
            times = (health.interval, health.timeout, health.start_period, health.start_interval)
            words["health"] = ",".join(map(str, (*times, health.retries)))
            words["check"] = "\x1f".join(health.command)
        _become(launcher, words)


def _become(launcher: str, words: dict[str, object]) -> NoReturn:
    env = {key: os.environ[key] for key in _KEPT if key in os.environ}
    os.execve(launcher, [launcher, "monitor", *[f"{key}={word}" for key, word in words.items()]], env)


def become_waiting(program: Sequence[str], name: str, milliseconds: int) -> NoReturn:
    """This program becomes the monitor of a container that is started again after a while."""
    launcher, root = program
    _be_quiet()
    _become(
        launcher,
        {"name": name, "delay": milliseconds, "program": launcher, **({"root": root} if root else {})},
    )


def _make_log(path: str) -> None:
    """There is a log from the start, whenever something comes to it."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError:
        pass  # the monitor tries again, and counts what is lost


def _null() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


class Monitored:
    """The command line's handle of a monitor and of the command it has started.

    ``program`` is the launcher and the root or ""; ``folder`` is where monitors have their doors.
    """

    __slots__ = ("_from", "_log", "_to", "pid", "started", "watcher", "watcher_started")

    def __init__(self, launch: Launch, program: Sequence[str], folder: str) -> None:
        self._log = launch.log
        down_read, self._to = os.pipe2(os.O_CLOEXEC)
        self._from, up_write = os.pipe2(os.O_CLOEXEC)
        self.watcher = os.fork()
        if self.watcher == 0:
            os.close(self._to)
            os.close(self._from)
            _monitor(launch, program, folder, down_read, up_write)
        os.close(down_read)
        os.close(up_write)
        self.watcher_started = process.start_time(self.watcher)

    def _hear(self) -> str:
        said = os.read(self._from, 65536).decode(errors="replace")
        verb, _, rest = said.partition(" ")
        if verb in ("pid", "ok"):
            return said
        if not said:
            raise KernelError("the monitor of the container was killed")
        raise process.failure("", rest)

    def prepared(self, command: str) -> None:
        """Waits until the command is ready; from then on its pid is known. Raises why it is not."""
        words = self._hear().split()
        self.pid, self.started = int(words[1]), int(words[2])

    def go(self, command: str) -> None:
        """Lets the command run; CommandNotFound or CommandNotExecutable when it cannot."""
        self._tell(b"g")
        self._hear()

    def settled(self) -> None:
        """The container is on record: the monitor stays until the command ends."""
        _make_log(self._log)
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


class Again:
    """A command started once more by the process that was its monitor, and becomes that again."""

    __slots__ = ("_begun", "_program", "pid", "started", "watcher", "watcher_started")

    def __init__(self, launch: Launch, program: Sequence[str], folder: str) -> None:
        _be_quiet()
        self._begun = Begun(launch, folder)
        self._program = program
        self.pid, self.started = self._begun.child.pid, self._begun.child.started
        self.watcher = os.getpid()
        self.watcher_started = process.start_time(self.watcher)

    def prepared(self, command: str) -> None:
        """It is: this handle is made when it is."""

    def go(self, command: str) -> None:
        """Lets the command run; CommandNotFound or CommandNotExecutable when it cannot."""
        self._begun.child.go(command)

    def settled(self) -> None:
        """The container is on record: this program becomes its monitor. Does not return."""
        _make_log(self._begun.launch.log)
        self._begun.become_monitor(self._program)

    def cancel(self) -> None:
        """Ends the command."""
        self._begun.child.cancel()


def _monitor(launch: Launch, program: Sequence[str], folder: str, down: int, up: int) -> NoReturn:
    """The monitor's whole life, in its own session and without inherited descriptors: journal and database
    locks above all. It never returns into the command line's stack."""
    try:
        os.setsid()
        process.close_from_3(down, up)
        _be_quiet()
        _watch(launch, program, folder, down, up)
    finally:
        os._exit(0)


def _be_quiet() -> None:
    """No terminal, no directory; what the command leaves behind falls to this process."""
    os.chdir("/")
    _null()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)  # not ignored: that would be the command's inheritance
    process.adopt_orphans()


def _watch(launch: Launch, program: Sequence[str], folder: str, down: int, up: int) -> None:
    try:
        begun = Begun(launch, folder)
        os.write(up, f"pid {begun.child.pid} {begun.child.started}".encode())
        if os.read(down, 1) != b"g":
            begun.child.cancel()
            return
        begun.child.go(launch.argv[0])
    except WeftError as error:
        os.write(up, f"error 0 {type(error).__name__}\n{error.message}\n{error.hint}".encode())
        return
    os.write(up, b"ok ")
    if os.read(down, 1) != b"s":  # who started it has died
        if _on_record(program, launch.name, begun.child.pid):
            _make_log(launch.log)
        else:
            os.kill(begun.child.pid, signal.SIGKILL)
    os.close(down)
    os.close(up)
    begun.become_monitor(program)


def _on_record(program: Sequence[str], name: str, pid: int) -> bool:
    """The command line died: had it put the container on record? Asking takes back what it had not."""
    launcher, root = program
    words = [*(["--root", root] if root else []), "finished", name, str(pid)]
    return os.spawnv(os.P_WAIT, launcher, [launcher, *words]) == 0
