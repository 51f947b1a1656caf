"""Into namespaces that exist: of a container, a name, a path, a process (setns(2)); and executing there."""

from __future__ import annotations

import errno
import os

from weft.core.model.errors import BadInput, KernelError, NotFound, NotPermitted, WeftError
from weft.linux import libc, mounts, netns, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from weft.core.model.enter import Command, Way

#: namespaces(7): the user namespace comes first, since the others may belong to it.
FLAGS = {
    "user": libc.CLONE_NEWUSER,
    "net": libc.CLONE_NEWNET,
    "uts": libc.CLONE_NEWUTS,
    "ipc": libc.CLONE_NEWIPC,
    "cgroup": libc.CLONE_NEWCGROUP,
    "pid": libc.CLONE_NEWPID,
    "time": libc.CLONE_NEWTIME,
    "mnt": libc.CLONE_NEWNS,
}
#: What one thread can join, and leave again, beside others.
BY_THREAD = ("net", "uts", "ipc", "cgroup")


# any namespaces


def join(way: Way, say: Callable[[str], None], only: tuple[str, ...] = ()) -> list[str]:
    """The calling thread joins; the types that it has joined. ``only``: no others.

    NotFound, BadInput, NotPermitted; BadInput when ``way`` asks for a type by a path of another. On an error
    the thread may be halfway in.
    """
    if way.pid:
        found = join_process(way.pid, way.started, way.types, only)
    else:
        found = join_files([(t, path) for t, path in way.files if not only or not t or t in only])
    if way.view and (not only or "mnt" in only):
        libc.unshare(libc.CLONE_NEWNS)
        mounts.slave()
        mounts.own_sys()
        mounts.bind_etc(way.view, say)
    return found


def join_files(files: list[tuple[str, str]]) -> list[str]:
    """Joins namespaces by type and path, all or none of them opened; the types that it has joined.

    What belongs to the user namespace outside is joined before that inside is. As ``join``.
    """
    opened: list[tuple[str, str, int]] = []
    try:
        # All first: after the mount namespace is another, paths lead elsewhere.
        for kind, path in files:
            opened.append((kind, path, netns.open_fd(path)))
        if len(opened) > 1:
            order = list(FLAGS)
            opened.sort(key=lambda one: order.index(one[0]))
        return _join_opened(opened)
    finally:
        for _, _, fd in opened:
            os.close(fd)


def _join_opened(opened: list[tuple[str, str, int]]) -> list[str]:
    if len(opened) < 2 or opened[0][0] != "user":
        return [kind for kind, path, fd in opened if _join_file(kind, path, fd)]
    joined, later = [], [opened[0]]
    for kind, path, fd in opened[1:]:
        try:
            if kind == "mnt":
                later.append((kind, path, fd))
            elif _join_file(kind, path, fd):
                joined.append(kind)
        except NotPermitted:
            later.append((kind, path, fd))  # it belongs to that user namespace
    return [*joined, *[kind for kind, path, fd in later if _join_file(kind, path, fd)]]


def _join_file(kind: str, path: str, fd: int) -> bool:
    """Joins one. Not if it is ours already, where that would be more than nothing: an error (user, time), a
    fork too many (pid), another directory (mnt)."""
    if kind not in BY_THREAD:
        found, own = os.fstat(fd), os.stat(f"/proc/thread-self/ns/{kind}")
        if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
            return False
    try:
        libc.setns(fd, FLAGS[kind])
    except OSError as error:
        if error.errno == errno.EINVAL:
            _refuse_file(kind, path)
        raise _refusal(error, path) from None
    if kind == "user":
        be_root()
    return True


def _refuse_file(kind: str, path: str) -> None:
    """Raises BadInput when a file is no namespace of that type, which setns(2) calls an invalid argument."""
    fd, found = netns.open_ns(path)
    os.close(fd)
    if found != kind:
        raise BadInput(f"{path!a} is a {found} namespace, not of type {kind}")


def _refusal(error: OSError, what: str) -> WeftError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"cannot enter {what}: {error.strerror}", "run weft as root")
    if error.errno == errno.ESRCH:
        return NotFound(f"{what} has ended")
    return KernelError(f"cannot enter {what}: {error.strerror}", error.errno or 0)


def be_root() -> None:
    """In a user namespace one is nobody until one takes an id of it, as nsenter(1) does, if it has one."""
    changes: tuple[Callable[[], None], ...]
    changes = (lambda: os.setgroups(()), lambda: os.setgid(0), lambda: os.setuid(0))
    for change in changes:
        try:
            change()
        except OSError:
            pass  # setgroups denied, or no uid 0 inside


def open_process(pid: int, started: int = 0) -> int:
    """A pidfd. NotFound when the process has ended or, its start time being known, is another one by now."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise NotFound(f"no process {pid}, or it has ended", "ps -e lists them") from None
    except OSError:
        raise NotFound(f"{pid} is a thread, not a process", "give its process's pid, or a path") from None
    now = process.start_time(pid)
    if now and started in (0, now):
        return fd
    os.close(fd)
    if now:
        raise NotFound(f"process {pid} has ended, and another has its pid now")
    raise NotFound(f"process {pid} has ended", "ps -e lists them")


def join_process(
    pid: int, started: int, types: tuple[str, ...] = (), only: tuple[str, ...] = ()
) -> list[str]:
    """All by one setns(2) on a pidfd: none or all, and of that very process."""
    fd = open_process(pid, started)
    try:
        kinds = [
            t for t in FLAGS if (not types or t in types) and (not only or t in only) and differs(pid, t)
        ]
        if kinds:
            libc.setns(fd, sum([FLAGS[t] for t in kinds]))
    except OSError as error:
        raise _refusal(error, f"process {pid}") from None
    finally:
        os.close(fd)
    if "user" in kinds:
        be_root()
    return kinds


def differs(pid: int, kind: str) -> bool:
    """Whether a process has another namespace of that type than we. ProcessLookupError when it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/thread-self/ns/{kind}")
    except FileNotFoundError:
        if os.path.exists(f"/proc/thread-self/ns/{kind}"):
            raise ProcessLookupError(errno.ESRCH, "it has ended") from None
        return False  # a kernel without this type


# what is done inside


def become(way: Way, command: Command, say: Callable[[str], None]) -> int:
    """Joins and executes the command in place of this program. Only where that is in another pid namespace
    it is a child: then its status comes back.

    CommandNotFound and CommandNotExecutable when it cannot be executed there, and what ``join`` raises.
    """
    home = _where()
    joined = join(way, say)
    settle(command, home if "mnt" in joined else "", say)
    if "pid" not in joined:
        execute(command)
    try:
        child = process.start(lambda: None, becoming(command))
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise NotFound(
            f"the pid namespace of {way.shown} has ended with its pid 1",
            "nothing can be started in it any more",
        ) from None
    process.forward_signals(child.pid)
    child.go(command.argv[0])
    return process.wait(child.pid, stops=True)


def _where() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def settle(command: Command, home: str, say: Callable[[str], None]) -> None:
    """Goes to the command's directory, else ``home``; where that is not there, to / with a remark."""
    if not command.cwd and not home:
        return
    try:
        os.chdir(command.cwd or home)
    except OSError as error:
        if command.cwd:
            raise BadInput(f"working directory {command.cwd!a}: {error.strerror}") from None
        os.chdir("/")
        say(f"{home} is not there inside: the command starts in /")


def environment(command: Command) -> dict[str, str]:
    """The caller's, and what the command adds."""
    return {**os.environ, **dict(command.env)}


def execute(command: Command) -> None:
    """Becomes the command, with what the caller left open; what weft opened is closed. Returns never."""
    process.reset_signals()
    process.execute(command.argv, environment(command))


def becoming(command: Command) -> Callable[[Callable[[], None]], None]:
    """The same for a child (process.start)."""

    def become(ready: Callable[[], None]) -> None:
        ready()
        process.execute(command.argv, environment(command))

    return become


class Inside:
    """``with Inside(way):`` the calling thread is inside, as far as one thread alone can be, then back."""

    __slots__ = ("_homes", "_way")

    def __init__(self, way: Way) -> None:
        self._way = way
        self._homes: list[tuple[int, int]] = []

    def __enter__(self) -> None:
        try:
            for kind in BY_THREAD:
                home = os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                self._homes.append((home, FLAGS[kind]))
            join(self._way, lambda _: None, BY_THREAD)
        except BaseException:
            self._return()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._return()

    def _return(self) -> None:
        homes, self._homes = self._homes, []
        try:
            for fd, flag in homes:
                libc.setns(fd, flag)
        finally:
            for fd, _ in homes:
                os.close(fd)
