"""Processes: a command started, waited for, found, ended.

A start is two-phased: the child makes itself ready and waits; the parent records it and says go.
So nothing runs that is not on record, and a command that cannot be executed is known as such.
"""

from __future__ import annotations

import errno
import os

from weft.core.model.errors import CommandNotExecutable, CommandNotFound, KernelError, WeftError
from weft.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Mapping, Sequence
else:
    import _signal as signal  # ``signal`` itself imports enum and what that needs: 6 ms

#: What a command's 127 and 126 mean to the shell that started weft.
_NOT_FOUND = frozenset((errno.ENOENT, errno.ENOTDIR))
#: A child's word when it has made itself ready, and its last before exec: an end of file without them means
#: that it was killed on the way.
_PREPARED, _READY = b"=", b"+"
#: Where commands are looked for by an environment without PATH (os.defpath).
PATH = "/bin:/usr/bin"


def find_command(argv: Sequence[str], path: str, cwd: str) -> None:
    """CommandNotFound or CommandNotExecutable before anything is made; the exec itself decides at last."""
    name = argv[0]
    places = [os.path.join(cwd, name)] if "/" in name else [f"{d or '.'}/{name}" for d in path.split(":")]
    found = [p for p in places if os.path.isfile(p)]
    if "/" in name and os.path.isdir(places[0]):
        raise CommandNotExecutable(f"command {name!a} is a directory")
    if not found:
        raise CommandNotFound(f"command {name!a} is not found", "check its spelling, and PATH")
    if not any(os.access(p, os.X_OK) for p in found):
        raise CommandNotExecutable(f"command {name!a} is not executable", f"try: chmod +x {found[0]}")


class Child:
    """A started process that waits for ``go``. Its pid and start time name it for ever."""

    __slots__ = ("_fail", "_go", "_said", "pid", "started", "watcher", "watcher_started")

    def __init__(self, pid: int, go: int, fail: int) -> None:
        self.pid = pid
        self.started = start_time(pid)
        self.watcher = os.getpid()
        self.watcher_started = start_time(self.watcher)
        self._go = go
        self._fail = fail
        self._said = b""

    def prepared(self, command: str) -> None:
        """Waits until it has made itself ready; raises why it could not."""
        self._said = os.read(self._fail, 4096)
        if self._said != _PREPARED:
            self._finish(command)

    def go(self, command: str) -> None:
        """Lets it execute its command; raises what became of that when it could not."""
        try:
            os.write(self._go, b"1")
        except BrokenPipeError:
            pass  # it failed while it made itself ready: what it said is in the other pipe
        os.close(self._go)
        self._finish(command)

    def _finish(self, command: str) -> None:
        while chunk := os.read(self._fail, 4096):
            self._said += chunk
        os.close(self._fail)
        if self._said != _PREPARED + _READY:
            os.waitpid(self.pid, 0)
            trouble = self._said.removeprefix(_PREPARED).removeprefix(_READY).decode(errors="surrogateescape")
            raise failure(command, trouble or f"{errno.EINTR} it was killed")

    def settled(self) -> None:
        """The container is on record. Its watcher is this process: nobody to tell."""

    def cancel(self) -> None:
        """Ends it, whatever it does."""
        for fd in (self._go, self._fail):
            try:
                os.close(fd)
            except OSError:
                pass  # closed by ``go``
        _send(self.pid, signal.SIGKILL)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass


class Foreground(Child):
    """A command that this program waits for: from when it may run, signals are the command's."""

    __slots__ = ()

    def go(self, command: str) -> None:
        """As ``Child.go``; what the command leaves behind falls to this process from now on."""
        adopt_orphans()
        forward_signals(self.pid)
        super().go(command)


def failure(command: str, said: str) -> WeftError:
    """What a child said on its way, as an error: ``ERRNO exec``, ``ERRNO WHAT``, ``0 TYPE`` and its words."""
    number, _, what = said.partition(" ")
    code = int(number)
    if not code:
        name, message, hint = what.split("\n", 2)
        return _typed(name)(message, hint)
    if what != "exec":
        return KernelError(f"cannot prepare the namespaces: {what}", code)
    if code in _NOT_FOUND:
        return CommandNotFound(f"command {command!a} is not found", "check its spelling, and PATH")
    hint = "its interpreter (#!), permissions or file capabilities may be why"
    return CommandNotExecutable(f"command {command!a} cannot be executed: {os.strerror(code)}", hint)


def _typed(name: str) -> type[WeftError]:
    from weft.core.model import errors

    kind: type[WeftError] = getattr(errors, name)
    return WeftError if kind is KernelError else kind


def start(
    prepare: Callable[[], None],
    become: Callable[[Callable[[], None]], None],
    fork: Callable[[], int] = os.fork,
    keep: set[int] | None = None,
    handle: type[Child] = Child,
) -> Child:
    """Forks a child that makes itself ready, waits, and becomes what it is for; it dies with its parent.

    ``become`` calls what it is given as the last thing before it executes the command. ``keep``: the open
    descriptors that the child is to have; None: all that the caller of weft left open, which are the
    command's too. What weft itself opens is closed by the exec.
    """
    go_read, go_write = os.pipe2(os.O_CLOEXEC)
    fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = fork()
    except BaseException:
        for fd in (go_read, go_write, fail_read, fail_write):
            os.close(fd)
        raise
    if pid == 0:
        os.close(go_write)
        os.close(fail_read)
        _child(prepare, become, go_read, fail_write, keep)
    os.close(go_read)
    os.close(fail_write)
    return handle(pid, go_write, fail_read)


def _child(
    prepare: Callable[[], None],
    become: Callable[[Callable[[], None]], None],
    go: int,
    fail: int,
    keep: set[int] | None,
) -> None:
    """Never returns: executes the command or says by ``fail`` why not."""

    def ready() -> None:
        os.write(fail, _READY)
        if keep is not None:
            close_from_3(fail)

    try:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if keep is not None:
            # Above all the parent's locks: a dying child must not hold them longer than its parent.
            close_from_3(go, fail, *keep)
        prepare()
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)  # new credentials took it off
        os.write(fail, _PREPARED)
        if os.read(go, 1) != b"1":
            os._exit(125)
        reset_signals()
        become(ready)
    except (OSError, WeftError) as error:
        os.write(fail, told(error))
    except Exception as error:  # an import, say: the root may be another, and files out of reach
        os.write(fail, told(WeftError(f"cannot start it: {type(error).__name__}: {error}")))
    finally:
        os._exit(127)


def told(error: OSError | WeftError) -> bytes:
    """An error as ``failure`` reads it."""
    if isinstance(error, OSError):
        return f"{error.errno or 1} {error}".encode(errors="surrogateescape")
    return f"0 {type(error).__name__}\n{error.message}\n{error.hint}".encode(errors="surrogateescape")


def close_from_3(*keep: int) -> None:
    """What the caller left open is not the command's (CVE-2024-21626's class)."""
    first = 3
    for fd in sorted(keep):
        os.closerange(first, fd)
        first = max(first, fd + 1)
    os.closerange(first, 1 << 20)


def execute(
    argv: Sequence[str], env: Mapping[str, str], explain: Callable[[str], str] = lambda path: ""
) -> None:
    """Becomes the command, found by the PATH of its environment (execvp(3)); returns never.

    CommandNotFound, CommandNotExecutable; ``explain`` may know why a file must not be executed (EPERM).
    """
    names = (
        [argv[0]] if "/" in argv[0] else [f"{d or '.'}/{argv[0]}" for d in env.get("PATH", PATH).split(":")]
    )
    number = errno.ENOENT
    for name in names:
        try:
            os.execve(name, list(argv), dict(env))
        except OSError as error:
            if error.errno in _NOT_FOUND:
                continue
            number = error.errno or 0
            hint = explain(name) if number == errno.EPERM else ""
            if hint:
                raise CommandNotExecutable(failure(argv[0], f"{number} exec").message, hint) from None
            if number != errno.EACCES:
                break
    raise failure(argv[0], f"{number} exec")


def reset_signals() -> None:
    """What Python ignores the command does not; what its caller ignores (nohup) it does too."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


#: What a foreground weft passes on to its command.
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


_TYPED = (signal.SIGINT, signal.SIGQUIT)


def forward_signals(pid: int, init: bool = False) -> dict[str, int]:
    """Passes signals on to a child, also to no other that gets its number when it has been waited for.

    A terminal sends its own to the whole foreground group, so not those twice; nor what is ignored.
    ``init``: it is pid 1 of its namespace, which the kernel shields from what it does not handle. It is
    killed instead, as the signal would have ended any other; the answer then holds "by", the signal.
    """
    ended: dict[str, int] = {}
    terminal = os.isatty(0)
    fd = os.pidfd_open(pid)

    def send(number: int) -> None:
        try:
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            pass

    def forward(caught: int, _: object) -> None:
        if init and _defaults(pid, caught):
            ended.setdefault("by", caught)
            send(signal.SIGKILL)
        elif not (terminal and caught in _TYPED):
            send(caught)

    for number in FORWARDED:
        if number in _TYPED and terminal and not init:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    return ended


def _defaults(pid: int, number: int) -> bool:
    """Whether a process neither handles nor ignores a signal (proc_pid_status(5))."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            fields = dict([line.partition(":")[::2] for line in file])
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not (int(fields["SigCgt"], 16) | int(fields["SigIgn"], 16)) >> (number - 1) & 1


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def wait(pid: int, stops: bool = False) -> int:
    """Waits for the command, reaping strangers that fell to us; its status, 128+N for signal N.

    ``stops``: when it is stopped, so are we, that whoever waits for us sees it; it goes on when we do. A
    terminal stops both at once: were we stopped by that, we might see the command's stop after the shell's
    SIGCONT only, and stop for good.
    """
    if stops and os.isatty(0):
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    while True:
        found, status = os.waitpid(-1, os.WUNTRACED if stops else 0)
        if found == pid and os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            _send(pid, signal.SIGCONT)
        elif found == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def adopt_orphans() -> None:
    """Makes this process the parent of what its children leave behind (PR_SET_CHILD_SUBREAPER)."""
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)


def end_children() -> None:
    """Kills all children, and theirs as they fall to us: the container ends with its command."""
    while True:
        for pid in _children():
            _send(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return [pid for pid in pids() if _stat(pid)[1:2] == [str(me)]]


def pids() -> list[int]:
    """All processes of this /proc."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """proc_pid_stat(5) from field 3 on; the command before it may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def start_time(pid: int) -> int:
    """A process's start in clock ticks since boot; 0 when it has ended (or is a zombie)."""
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 and fields[0] not in ("Z", "X") else 0


def alive(pid: int | None, started: int | None) -> bool:
    """Whether that very process lives: a recycled pid has another start time."""
    return pid is not None and started is not None and start_time(pid) == started


def in_namespaces(inodes: Iterable[int], type: str = "net") -> dict[int, list[int]]:
    """The processes in each of these namespaces of a type, by one pass over /proc, the lowest first."""
    wanted = {f"{type}:[{inode}]": inode for inode in inodes if inode}
    found: dict[int, list[int]] = {inode: [] for inode in wanted.values()}
    for pid in sorted(pids()) if wanted else ():
        try:
            inode = wanted.get(os.readlink(f"/proc/{pid}/ns/{type}"))
        except OSError:
            continue
        if inode is not None:
            found[inode].append(pid)
    return found


def nspid(pid: int) -> list[int]:
    """A process's pids, from this /proc's namespace to its own (NSpid of proc_pid_status(5)); its pid alone
    when it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            words = file.read().partition(b"\nNSpid:")[2].partition(b"\n")[0].split()
    except (FileNotFoundError, ProcessLookupError):
        words = []
    return [int(word) for word in words] or [pid]


def monitor(pid: int, name: str) -> int | None:
    """The parent of a process, where that is the monitor of the container of this name."""
    fields = _stat(pid)
    try:
        with open(f"/proc/{int(fields[1])}/cmdline", "rb") as file:
            ours = f"\0monitor\0name={name}\0".encode() in file.read()
    except (OSError, IndexError):
        return None
    return int(fields[1]) if ours else None


def end(victims: Iterable[int]) -> None:
    """SIGKILLs processes and waits until each has ended, so that their namespaces can."""
    from select import POLLIN, poll

    fds = []
    for pid in victims:
        try:
            fds.append(os.pidfd_open(pid))
            signal.pidfd_send_signal(fds[-1], signal.SIGKILL)
        except ProcessLookupError:
            pass
    for fd in fds:
        ended = poll()
        ended.register(fd, POLLIN)
        ended.poll(10_000)
        os.close(fd)


def namespaces(pid: int | str) -> dict[str, int]:
    """The inodes of a process's namespaces by kernel name (namespaces(7)); empty when it has ended."""
    found = {}
    for kind in ("net", "mnt", "uts", "ipc", "pid", "user", "cgroup", "time"):
        try:
            found[kind] = int(os.readlink(f"/proc/{pid}/ns/{kind}").partition("[")[2][:-1])
        except (OSError, ValueError):
            continue
    return found
