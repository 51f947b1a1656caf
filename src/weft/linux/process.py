"""Processes: a command started in a container's namespaces, waited for, found, ended.

A start is two-phased: the child makes itself ready and waits; the parent records it and says go.
So nothing runs that is not on record, and a command that cannot be executed is known as such.
"""

from __future__ import annotations

import errno
import os

from weft.core.model.errors import CommandNotExecutable, CommandNotFound, Conflict, KernelError, WeftError
from weft.linux import libc, netns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Sequence

    from weft.core.model.launch import Launch
else:
    import _signal as signal  # ``signal`` itself imports enum and what that needs: 6 ms

_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429
#: OPEN_TREE_CLONE | AT_RECURSIVE | OPEN_TREE_CLOEXEC
_CLONE_TREE = 1 | 0x8000 | os.O_CLOEXEC
_CGROUP = b"/sys/fs/cgroup"
#: What a command's 127 and 126 mean to the shell that started weft.
_NOT_FOUND = frozenset((errno.ENOENT, errno.ENOTDIR))
#: A child's last word before exec: an end of file without it means that it was killed on the way.
_READY = b"+"


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

    __slots__ = ("_fail", "_go", "pid", "started", "watcher", "watcher_started")

    def __init__(self, pid: int, go: int, fail: int) -> None:
        self.pid = pid
        self.started = start_time(pid)
        self.watcher = os.getpid()
        self.watcher_started = start_time(self.watcher)
        self._go = go
        self._fail = fail

    def go(self, command: str) -> None:
        """Lets it execute its command; raises what became of that when it could not."""
        try:
            os.write(self._go, b"1")
        except BrokenPipeError:
            pass  # it failed while it made itself ready: what it said is in the other pipe
        os.close(self._go)
        said = b""
        while chunk := os.read(self._fail, 4096):
            said += chunk
        os.close(self._fail)
        if said != _READY:
            os.waitpid(self.pid, 0)
            trouble = said.removeprefix(_READY).decode(errors="replace")
            raise _failure(command, trouble or f"{errno.EINTR} it was killed")

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


def _failure(command: str, said: str) -> WeftError:
    number, _, what = said.partition(" ")
    code = int(number)
    if what != "exec":
        return KernelError(f"cannot prepare the container's namespaces: {what}", code)
    if code in _NOT_FOUND:
        return CommandNotFound(f"command {command!a} is not found", "check its spelling, and PATH")
    hint = "its interpreter (#!), permissions or file capabilities may be why"
    return CommandNotExecutable(f"command {command!a} cannot be executed: {os.strerror(code)}", hint)


def start(launch: Launch, handle: type[Child] = Child) -> Child:
    """Forks a child that joins the namespaces and waits. It dies with its parent."""
    go_read, go_write = os.pipe2(os.O_CLOEXEC)
    fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        os.close(fail_read)
        _child(launch, go_read, fail_write)
    os.close(go_read)
    os.close(fail_write)
    return handle(pid, go_write, fail_read)


def _child(launch: Launch, go: int, fail: int) -> None:
    """Never returns: executes the command or says by ``fail`` why not."""
    step = "setup"
    try:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        # Above all the parent's locks: a dying child must not hold them longer than its parent.
        _close_from_3(go, fail)
        if launch.log:
            _redirect(launch.log)
        join(launch)
        os.chdir(launch.cwd)
        if os.read(go, 1) != b"1":
            os._exit(125)
        _reset_signals()
        step = "exec"
        os.write(fail, _READY)
        _close_from_3(fail)
        os.execvpe(launch.argv[0], list(launch.argv), dict(launch.env))
    except OSError as error:
        what = step if step == "exec" else f"{error}"
        os.write(fail, f"{error.errno or 1} {what}".encode())
    except WeftError as error:
        os.write(fail, f"1 {error.message}".encode())
    finally:
        os._exit(127)


def _close_from_3(*keep: int) -> None:
    """What the caller left open is not the command's (CVE-2024-21626's class)."""
    first = 3
    for fd in sorted(keep):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, 1 << 20)


def _reset_signals() -> None:
    """What Python ignores the command does not; what its caller ignores (nohup) it does too."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def _redirect(log: str) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)


def join(launch: Launch) -> None:
    """Joins the network namespace and makes mount, UTS and IPC namespaces with the container's view."""
    fd = netns.open_fd(launch.netns)
    libc.setns(fd, libc.CLONE_NEWNET)
    os.close(fd)
    libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWUTS | libc.CLONE_NEWIPC)
    # Slave, not private: mounts made later on the host stay visible, ours do not leak out.
    libc.mount("", "/", "none", libc.MS_SLAVE | libc.MS_REC)
    _own_sys()
    _bind_read_only(launch.hosts, "/etc/hosts")
    _bind_read_only(launch.resolv, "/etc/resolv.conf")
    from _socket import sethostname

    sethostname(launch.hostname)


def _own_sys() -> None:
    """/sys of this network namespace, with the cgroup file systems that the old one carried."""
    try:
        tree = libc.syscall(_SYS_OPEN_TREE, libc.AT_FDCWD, _CGROUP, _CLONE_TREE)
    except OSError:
        tree = -1
    libc.umount2("/sys", libc.MNT_DETACH)
    libc.mount("sysfs", "/sys", "sysfs", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)
    if tree >= 0:
        try:
            # MOVE_MOUNT_F_EMPTY_PATH
            libc.syscall(_SYS_MOVE_MOUNT, tree, b"", libc.AT_FDCWD, _CGROUP, 4)
        except OSError:
            pass
        os.close(tree)


def _bind_read_only(source: str, target: str) -> None:
    """One member must not rewrite names for all: the bind is read-only."""
    if not os.path.exists(target):
        return
    libc.mount(source, target, "none", libc.MS_BIND)
    libc.mount("none", target, "none", libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY)


def join_process(pid: int, started: int | None) -> None:
    """Joins all of a container process's namespaces by one setns(2) on its pidfd.

    ProcessLookupError when the pid is now somebody else's.
    """
    fd = os.pidfd_open(pid)
    try:
        if started is not None and start_time(pid) != started:
            raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended")
        libc.setns(fd, libc.CLONE_NEWNET | libc.CLONE_NEWNS | libc.CLONE_NEWUTS | libc.CLONE_NEWIPC)
    finally:
        os.close(fd)


#: What a foreground weft passes on to its command.
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def forward_signals(pid: int) -> None:
    """Passes signals on to a child, also to no other that gets its number when it has been waited for.

    A terminal sends its own to the whole foreground group, so not those twice; nor what is ignored.
    """
    fd = os.pidfd_open(pid)

    def send(number: int, _: object) -> None:
        try:
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            pass

    for number in FORWARDED:
        if number in (signal.SIGINT, signal.SIGQUIT) and os.isatty(0):
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, send)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def wait(pid: int) -> int:
    """Waits for the command, reaping strangers that fell to us; its status, 128+N for signal N."""
    while True:
        found, status = os.waitpid(-1, 0)
        if found == pid:
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


def become(launch: Launch, pid: int | None, started: int | None) -> None:
    """Joins a container and executes a command in place of this program; returns never.

    Conflict when that process has ended meanwhile; CommandNotFound and CommandNotExecutable when it
    cannot be executed there; KernelError.
    """
    try:
        if pid is None:
            join(launch)
        else:
            join_process(pid, started)
        os.chdir(launch.cwd)
    except ProcessLookupError:
        raise Conflict(f"container {launch.netns} has exited", "start another with `weft run`") from None
    except OSError as error:
        raise KernelError(f"cannot enter container {launch.netns}: {error}", error.errno or 0) from None
    try:
        _reset_signals()
        os.closerange(3, 1 << 20)
        os.execvpe(launch.argv[0], list(launch.argv), dict(launch.env))
    except OSError as error:
        raise _failure(launch.argv[0], f"{error.errno} exec") from None
