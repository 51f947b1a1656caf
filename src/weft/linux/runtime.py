"""A container started through an OCI runtime: runc(8), crun(1) and their kin (runtime-spec, runtime.md).

The runtime makes it and lets it go; whoever starts weft's own containers waits for its process, which falls
to him when ``RUNTIME create`` has ended, and so keeps its exit code.
"""

from __future__ import annotations

import os

from weft.core.model.errors import BadInput, CommandNotExecutable, CommandNotFound, KernelError, NotFound
from weft.core.model.oci import RUNTIME, RUNTIME_DIR
from weft.core.oci.export import for_runtime
from weft.core.oci.write import write
from weft.linux import privileges, process, seccomp
from weft.linux.paths import make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.errors import WeftError
    from weft.core.model.launch import Launch
    from weft.core.model.oci import Spec, User

    Stdio = tuple[int, int, int]

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What runtimes say of a command that is not there, or not to be executed.
_MISSING = ("not found", "no such file or directory")
_REFUSED = ("permission denied", "operation not permitted", "exec format error")
_SAID = 4096
_FILES = ("config.json", "console", "log", "pid", "runtime")


def find(name: str) -> str:
    """The program of a runtime, by its name or path. BadInput, NotFound."""
    if name.startswith("/"):
        places = [name]
    elif name and frozenset(name) <= _NAME:
        places = [f"{folder}/{name}" for folder in (os.environ.get("PATH") or _PATH).split(":") if folder]
    else:
        raise BadInput(f"--runtime {name!a} is not a runtime's name", "as runc, crun, or a path from /")
    for place in places:
        if os.access(place, os.X_OK) and os.path.isfile(place):
            return place
    raise NotFound(f"there is no runtime {name!a}", f"apt install {name}" if name in ("runc", "crun") else "")


class Created(process.Child):
    """A container that a runtime has made and that waits for ``go``. It does not die with its parent.

    ``console``: a unix socket to which a container with a terminal sends that one's other end.
    ``foreground``: signals that come here are its command's.
    """

    __slots__ = ("_bundle", "_foreground", "_runtime")

    def __init__(self, launch: Launch, foreground: bool, stdio: Stdio | None, console: int) -> None:
        notes = dict(launch.spec.annotations)
        self._foreground = foreground
        self._bundle = _Bundle(f"{notes[RUNTIME_DIR]}/{launch.name}")
        self._runtime = self._bundle.runtime(find(notes[RUNTIME]))
        config = write(_whole(launch))
        process.adopt_orphans()
        self._bundle.make(config, self._runtime[0])
        try:
            self.pid = self._create(launch, stdio, console)
        except BaseException:
            self._bundle.remove()
            raise
        self.started = process.start_time(self.pid)
        self.watcher = os.getpid()
        self.watcher_started = process.start_time(self.watcher)

    def _create(self, launch: Launch, stdio: Stdio | None, console: int) -> int:
        folder = self._bundle.folder
        words = ["create", "--bundle", folder, "--pid-file", f"{folder}/pid"]
        terminal = _Terminal(folder) if launch.spec.process.terminal else None
        if terminal is not None:
            words += ["--console-socket", terminal.path]
        child = _spawn([*self._runtime, *words, launch.name], stdio or _to_log(launch.log))
        try:
            if terminal is not None:
                terminal.pass_on(child, console)
            self._bundle.finish(child, launch.argv[0])
        finally:
            if terminal is not None:
                terminal.close()
        with open(f"{folder}/pid", encoding="ascii") as file:
            return int(file.read())

    def prepared(self, command: str) -> None:
        """It is: this handle is made when it is."""

    def go(self, command: str) -> None:
        """Lets it execute its command; CommandNotFound, CommandNotExecutable, KernelError."""
        if self._foreground:
            process.forward_signals(self.pid, init=True)
        name = self._bundle.folder.rpartition("/")[2]
        self._bundle.finish(_spawn([*self._runtime, "start", name], None), command)

    def cancel(self) -> None:
        """Ends it, whatever it does, and takes away what there is of it."""
        self._bundle.remove()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass


def forget(folder: str) -> None:
    """What a runtime keeps of a container, whose bundle that is: ended if it runs still. Nothing where there
    is none."""
    if os.path.lexists(folder):
        _Bundle(folder).remove()


def _whole(launch: Launch) -> Spec:
    """With what only this machine can tell: who its user is, and its filter's rules."""
    return settled(for_runtime(launch.spec, launch.name, seccomp.rules(launch.spec)))


def settled(spec: Spec) -> Spec:
    """With its user's numbers, by the files of its root. BadInput."""
    user = spec.process.user
    if not user.name:
        return spec
    return spec._replace(process=spec.process._replace(user=_looked_up(spec, user)))


def _looked_up(spec: Spec, user: User) -> User:
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.chroot(spec.root or "/")
            os.chdir("/")
            who = privileges.look_up(spec.process)
            os.write(write, " ".join(map(str, (who.uid, who.gid, *who.groups))).encode())
        except BadInput as error:
            os.write(write, f"!{error.message}\n{error.hint}".encode(errors="surrogateescape"))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8", errors="surrogateescape") as file:
        said = file.read()
    os.waitpid(pid, 0)
    if said[:1] in ("!", ""):
        message, _, hint = said[1:].partition("\n")
        raise BadInput(message or f"user {user.name!a} cannot be looked up", hint)
    uid, gid, *groups = map(int, said.split())
    return user._replace(uid=uid, gid=gid, additional_gids=tuple(groups), name="")


class _Bundle:
    """A container's bundle, and what the runtime knows of it: below one directory for all, root's alone."""

    __slots__ = ("folder",)

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def runtime(self, program: str) -> tuple[str, ...]:
        """Its command line, up to the command."""
        state = f"{self.folder.rpartition('/')[0]}/.state"
        return program, "--root", state, "--log", f"{self.folder}/log", "--log-format", "json"

    def make(self, config: bytes, program: str) -> None:
        """Anew: what a crash left goes first."""
        forget(self.folder)
        make_directories(self.folder.rpartition("/")[0], 0o700)
        os.mkdir(self.folder, 0o700)
        for name, data in (("runtime", program.encode(errors="surrogateescape")), ("config.json", config)):
            fd = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(data)

    def remove(self) -> None:
        """``RUNTIME delete --force``, also of what is not there any more, and the bundle."""
        try:
            with open(f"{self.folder}/runtime", encoding="utf-8", errors="surrogateescape") as file:
                program = file.read()
        except OSError:
            program = ""
        if program:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            words = ["delete", "--force", self.folder.rpartition("/")[2]]
            child = _spawn([*self.runtime(program), *words], (null, null, null))
            os.close(null)
            os.waitpid(child, 0)
        for name in _FILES:
            try:
                os.unlink(f"{self.folder}/{name}")
            except FileNotFoundError:
                pass
        try:
            os.rmdir(self.folder)
        except OSError:
            pass

    def finish(self, child: int, command: str) -> None:
        """Waits for the runtime; raises what it said when it failed."""
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            raise failure(self._last_word(), status, command)

    def _last_word(self) -> str:
        import json

        try:
            with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as file:
                return str(json.loads(file.read(_SAID * 16).splitlines()[-1])["msg"])
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


def _to_log(log: str) -> Stdio | None:
    if not log:
        return None
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
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

    def __init__(self, folder: str) -> None:
        from socket import AF_UNIX, SOCK_STREAM, socket

        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # A socket's path is 107 bytes at most, and the folder's may be longer.
        self.path = f"/proc/{os.getpid()}/fd/{self._folder}/console"
        self._socket = socket(AF_UNIX, SOCK_STREAM)
        self._socket.bind(self.path)
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
        """It is needed no more."""
        self._socket.close()
        os.close(self._folder)
