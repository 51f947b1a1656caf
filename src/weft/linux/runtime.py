"""A container started through an OCI runtime: runc(8), crun(1) and their kin (runtime-spec, runtime.md).

The runtime makes it and lets it go; whoever started weft's own containers waits for its process, which falls
to him when ``RUNTIME create`` has ended, and so keeps its exit code.
"""

from __future__ import annotations

import os

from weft.core.model.errors import (
    BadInput,
    CommandNotExecutable,
    CommandNotFound,
    KernelError,
    NotFound,
    WeftError,
)
from weft.linux import process
from weft.linux.paths import make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.launch import Launch

    Stdio = tuple[int, int, int]

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What runtimes say of a command that is not there, or not to be executed.
_MISSING = ("not found", "no such file or directory")
_REFUSED = ("permission denied", "operation not permitted", "exec format error")
_SAID = 4096


def find(name: str) -> str:
    """The program of a runtime, by its name or path. BadInput, NotFound."""
    if "/" in name:
        places = [name] if name.startswith("/") else []
    elif frozenset(name) <= _NAME:
        places = [f"{folder}/{name}" for folder in (os.environ.get("PATH") or _PATH).split(":") if folder]
    else:
        places = []
    if not places:
        raise BadInput(f"--runtime {name!a} is not a runtime's name", "as runc, crun, or a path from /")
    for place in places:
        if os.access(place, os.X_OK) and os.path.isfile(place):
            return place
    raise NotFound(
        f"there is no runtime {name!a}", f"install it: apt install {name}" if "/" not in name else ""
    )


class Created:
    """A container that a runtime has made and that waits for ``go``: as linux/process.Child.

    ``folder`` is a directory of its own, for its bundle. ``console``: a unix socket to which a container with
    a terminal sends that one's other end. ``foreground``: signals that come here are its command's.
    """

    __slots__ = (
        "_argv",
        "_folder",
        "_foreground",
        "_id",
        "_log",
        "pid",
        "started",
        "watcher",
        "watcher_started",
    )

    def __init__(
        self,
        runtime: str,
        launch: Launch,
        config: bytes,
        folder: str,
        stdio: Stdio | None = None,
        console: int = -1,
        foreground: bool = True,
    ) -> None:
        self._log = f"{folder}/log"
        state = f"{folder.rpartition('/')[0]}/state"
        self._argv = (find(runtime), "--root", state, "--log", self._log, "--log-format", "json")
        self._folder, self._id, self._foreground = folder, launch.name, foreground
        process.adopt_orphans()
        _write_bundle(folder, config)
        try:
            self.pid = self._create(launch, stdio, console)
        except BaseException:
            self._delete()
            raise
        self.started = process.start_time(self.pid)
        self.watcher = os.getpid()
        self.watcher_started = process.start_time(self.watcher)

    def _create(self, launch: Launch, stdio: Stdio | None, console: int) -> int:
        pid_file, words = f"{self._folder}/pid", ["create", "--bundle", self._folder]
        words += ["--pid-file", pid_file]
        listener = None
        if launch.spec.process.terminal:
            listener = _Terminal(f"{self._folder}/console")
            words += ["--console-socket", listener.path]
        child = _spawn([*self._argv, *words, self._id], _descriptors(launch, stdio))
        try:
            if listener is not None:
                listener.pass_on(child, console)
            _finish(child, self._log, launch.argv[0])
        finally:
            if listener is not None:
                listener.close()
        with open(pid_file, encoding="ascii") as file:
            return int(file.read())

    def prepared(self, command: str) -> None:
        """It has made itself ready."""

    def go(self, command: str) -> None:
        """Lets it execute its command; CommandNotFound, CommandNotExecutable, KernelError."""
        if self._foreground:
            process.forward_signals(self.pid)
        _finish(_spawn([*self._argv, "start", self._id], None), self._log, command)

    def settled(self) -> None:
        """The container is on record."""

    def cancel(self) -> None:
        """Ends it, whatever it does, and takes away what there is of it."""
        self._delete()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass

    def ended(self) -> None:
        """Its command has ended and was waited for: what the runtime keeps of it goes, with its bundle."""
        self._delete()

    def _delete(self) -> None:
        delete(self._argv, self._id)
        _remove_bundle(self._folder)


def delete(runtime: tuple[str, ...], id: str) -> None:
    """``RUNTIME delete --force``, also of what is not there any more."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    child = _spawn([*runtime, "delete", "--force", id], (null, null, null))
    os.close(null)
    os.waitpid(child, 0)


def _write_bundle(folder: str, config: bytes) -> None:
    make_directories(folder, 0o700)
    fd = os.open(
        f"{folder}/config.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with open(fd, "wb") as file:
        file.write(config)


def _remove_bundle(folder: str) -> None:
    for name in ("config.json", "pid", "console", "log"):
        try:
            os.unlink(f"{folder}/{name}")
        except OSError:
            pass
    try:
        os.rmdir(folder)
    except OSError:
        pass


def _descriptors(launch: Launch, stdio: Stdio | None) -> Stdio | None:
    if stdio is not None or not launch.log:
        return stdio
    out = os.open(launch.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), out, out


def _spawn(argv: list[str], stdio: Stdio | None) -> int:
    """A runtime at work: its pid. Its container has these descriptors (None: ours)."""
    pid = os.fork()
    if pid == 0:
        try:
            for fd, wanted in enumerate(_above(stdio) if stdio else ()):
                os.dup2(wanted, fd)
            process.reset_signals()
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    return pid


def _above(stdio: Stdio) -> list[int]:
    """Copies where dup2(2) to 0, 1 and 2 overwrites none of them."""
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    return [fcntl(fd, F_DUPFD_CLOEXEC, 3) for fd in stdio]


class _Terminal:
    """The socket at which a runtime hands out the other end of a container's terminal."""

    def __init__(self, path: str) -> None:
        from socket import AF_UNIX, SOCK_STREAM, socket

        self.path = path
        self._socket = socket(AF_UNIX, SOCK_STREAM | os.O_CLOEXEC)
        self._socket.bind(path)
        self._socket.listen(1)

    def pass_on(self, runtime: int, console: int) -> None:
        """Waits for it, or for the end of the runtime, and sends it to ``console``."""
        from select import select
        from socket import AF_UNIX, SOCK_STREAM, recv_fds, send_fds, socket

        ended = os.pidfd_open(runtime)
        try:
            ready, _, _ = select([self._socket.fileno(), ended], [], [])
        finally:
            os.close(ended)
        if self._socket.fileno() not in ready:
            return
        connection, _ = self._socket.accept()
        with connection, socket(AF_UNIX, SOCK_STREAM, fileno=os.dup(console)) as to:
            _, fds, _, _ = recv_fds(connection, _SAID, 1)
            send_fds(to, [b"\0"], fds)
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        self._socket.close()


def _finish(child: int, log: str, command: str) -> None:
    """Waits for a runtime; raises what it said when it failed."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise failure(_last_word(log), status, command)


def _last_word(log: str) -> str:
    """The last message of a runtime's log (--log-format json)."""
    import json

    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = file.read(_SAID * 16).splitlines()
        return str(json.loads(lines[-1])["msg"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def failure(said: str, status: int, command: str) -> WeftError:
    """A runtime's words as an error of weft's."""
    low, about = said.lower(), command in said or "executable" in said
    if about and any(word in low for word in _MISSING):
        return CommandNotFound(f"command {command!a} is not found", "check its spelling, and PATH")
    if about and any(word in low for word in _REFUSED):
        return CommandNotExecutable(f"command {command!a} cannot be executed", said)
    return KernelError(f"the runtime failed: {said or f'status {status}'}")
