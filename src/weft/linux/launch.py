"""Containers started from their Spec, and further commands inside (clone3(2), setns(2), runtime-spec).

Whoever starts one forks the container's first process straight into its new namespaces. Where namespaces
are given that only somebody outside can join, or that are only for one's children (user, pid), a joiner
goes first and makes that process a sibling of its own (CLONE_PARENT), as runc does.
"""

from __future__ import annotations

import errno
import os
import stat

from weft.core.model.errors import BadInput, Conflict, KernelError, NotFound, WeftError
from weft.core.model.oci import RUNTIME
from weft.linux import enter, init, libc, privileges, process, rootfs, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from weft.core.model.launch import Launch
    from weft.core.model.oci import Spec

    Stdio = tuple[int, int, int]
else:
    import _signal as signal  # as in linux/process


def start(
    launch: Launch,
    handle: type[process.Child] = process.Child,
    stdio: Stdio | None = None,
    console: int = -1,
) -> process.Child:
    """Starts a container's command, which waits for ``go`` (process.Child).

    ``stdio`` are its descriptors 0 to 2 (None: the log, or the caller's). ``console`` is a unix socket to
    which a process with a terminal sends its other end. WeftError.
    """
    if any(key == RUNTIME for key, _ in launch.spec.annotations):
        from weft.linux.runtime import Created

        return Created(launch, handle is process.Foreground, stdio, console)
    box = _Container(launch, stdio, console)
    return process.start(box.prepare, box.become, box.fork, box.keep, handle)


def start_inside(
    launch: Launch,
    pid: int | None,
    started: int | None,
    stdio: Stdio | None = None,
    console: int = -1,
    outlives: bool = False,
) -> process.Child:
    """The same for a further command in a container that runs, whose process that is (None: it has none).

    ``outlives``: from when it runs, it does not end with this program. Conflict when the container has
    exited.
    """
    box = _further(launch, pid, started, stdio, console)

    def become(ready: Callable[[], None]) -> None:
        if outlives:
            libc.prctl(libc.PR_SET_PDEATHSIG, 0)
        box.become(ready)

    return process.start(box.prepare, become, box.fork, box.keep)


def execute(launch: Launch, pid: int | None, started: int | None) -> int:
    """Runs a further command; its status. Where no pid namespace needs a child this program becomes it.

    A container without a process gets namespaces for this command alone, around its network. Conflict when
    it has exited; CommandNotFound, CommandNotExecutable, WeftError.
    """
    box = _further(launch, pid, started, None, -1)
    if not box.forks:
        box.replace()
    child = process.start(box.prepare, box.become, box.fork, box.keep)
    process.forward_signals(child.pid)
    child.go(launch.argv[0])
    return process.wait(child.pid, stops=True)


def _further(
    launch: Launch, pid: int | None, started: int | None, stdio: Stdio | None, console: int
) -> _Container | _Further:
    if pid is None:
        return _Container(launch, stdio, console)
    return _Further(launch, pid, started or 0, stdio, console)


class _Box:
    """What a command's process goes through on its way."""

    #: Whether it is the container's first, whose terminal is /dev/console.
    _first = True

    def __init__(self, launch: Launch, stdio: Stdio | None, console: int) -> None:
        self.spec, self._launch = launch.spec, launch
        self._stdio, self._console = stdio, console
        self._home_mask: set[int] = set()
        self._slave = -1
        self._who = privileges.Who(0, 0)
        self.keep: set[int] = {fd for fd in (*(stdio or ()), console) if fd > 2}
        privileges.check(self.spec.process)
        self._filter, self._install = _seccomp(self.spec)
        _load(self.spec)

    def take_over(self) -> None:
        """Outside still: what needs the host's files and rights."""
        if self._stdio:
            for fd, wanted in enumerate(_above(self._stdio)):
                os.dup2(wanted, fd)
        if self.spec.cgroups_path:
            from weft.linux import cgroup

            cgroup.join(self.spec.cgroups_path, self.spec.resources.limited)
        privileges.adjust_oom(self.spec.process.oom_score_adj)

    def settle(self) -> None:
        """Inside: what a command needs that is to be told of before it may start."""
        self._who = privileges.look_up(self.spec.process, not dict(self.spec.process.env).get("HOME"))
        if self.spec.process.terminal:
            from weft.linux import pty

            self._slave = pty.hand_out(self._console, self._who.uid, self._first and bool(self.spec.root))
        if self.spec.process.user.name or self._who.uid:
            _own_pipes(self._who.uid)

    def prepare(self) -> None:
        """Inside: all that comes before ``go``."""
        raise NotImplementedError

    def renew(self) -> None:
        """Makes new namespaces for this very program."""

    def replace(self) -> NoReturn:
        """Becomes the command in place of this program."""
        try:
            self.renew()
            self.prepare()
        except OSError as error:
            said = f"cannot enter container {self._launch.name}: {error}"
            raise KernelError(said, error.errno or 0) from None
        process.reset_signals()
        self.command(process.close_from_3)

    def command(self, ready: Callable[[], None]) -> NoReturn:
        """Becomes the command."""
        spec = self.spec.process
        if self._slave >= 0:
            from weft.linux import pty

            pty.control(self._slave)
        elif self._stdio:
            _lead()
        later = not _go_to(spec.cwd)
        if "user" not in self.spec.fresh():
            privileges.limit(spec.rlimits)
        privileges.confine(spec, self._who, lambda: self._install(self._filter))
        if later and not _go_to(spec.cwd):
            raise BadInput(f"working directory {spec.cwd!a}: {os.strerror(errno.EACCES)}")
        env = dict(spec.env)
        env.setdefault("HOME", self._who.home or "/")
        ready()
        process.execute(spec.args, env, privileges.explain)
        raise AssertionError("execve(2) has returned")


class _Container(_Box):
    """A new container's first process."""

    def __init__(self, launch: Launch, stdio: Stdio | None, console: int) -> None:
        super().__init__(launch, stdio, console)
        spec = self.spec
        self._given = [(n.type, n.path) for n in spec.namespaces if n.path]
        self._fresh = spec.fresh()
        self._joined = "user" in self._fresh or bool({"user", "pid"} & {t for t, _ in self._given})
        self._init = spec.init and "pid" in self._fresh
        self._sources = rootfs.Sources()
        self._null = -1
        rootfs.check(spec)
        userns.check(spec)

    def fork(self) -> int:
        if self._joined:
            return _by_joiner(self._join, self._flags(), self._map if "user" in self._fresh else None)
        try:
            return libc.clone3(self._flags())
        except OSError as error:
            raise _refusal(error, self._fresh) from None

    @property
    def forks(self) -> bool:
        """Whether only a child can be in its namespaces."""
        return self._joined or bool({"pid", "time"}.intersection(self._fresh))

    def renew(self) -> None:
        libc.unshare(self._flags())

    def _flags(self) -> int:
        """A cgroup namespace begins where its first process is then: not before it has joined its group. A
        time namespace's clocks are set before anybody is in it."""
        later = ({"cgroup"} if not self._joined else set()) | ({"time"} if self.spec.clocks else set())
        return sum([enter.FLAGS[t] for t in self._fresh if t not in later])

    def _join(self) -> None:
        self.take_over()
        if "user" in self._fresh:
            privileges.limit(self.spec.process.rlimits)
            _own_pipes(userns.outside(self.spec, 0))
        if self._init:
            init.rename()
        enter.join_files(self._given)
        self._shift(stay=True)
        if "user" in self._fresh:
            rootfs.outside(self.spec, self._sources)
            self.keep.update(self._sources.fds())

    def _shift(self, stay: bool) -> None:
        """A new time namespace, for this process too or (``stay``) for its children alone."""
        if self.spec.clocks:
            from weft.linux import clocks

            clocks.renew(self.spec.clocks)
            if not stay:
                clocks.enter()

    def _map(self, pid: int) -> None:
        userns.map_ids(pid, self.spec)

    def prepare(self) -> None:
        spec = self.spec
        if not self._joined:
            self.take_over()
            enter.join_files(self._given)
            if "cgroup" in self._fresh:
                libc.unshare(libc.CLONE_NEWCGROUP)
            self._shift(stay=False)
            if self._init:
                init.rename()
        elif "user" in self._fresh:
            enter.be_root()
        if self._init:
            self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            self._home_mask = init.hold_signals()
        if "uts" in self._fresh:
            _name(spec)
        if "mnt" in self._fresh:
            before = os.umask(0)
            root = rootfs.furnish(spec, self._sources)
            os.umask(before)
            rootfs.enter(root, spec)
        self.settle()
        # Nobody else in its namespaces is to look into it, or at /proc/1/exe (CVE-2019-5736, CVE-2016-9962).
        libc.prctl(libc.PR_SET_DUMPABLE, 0)

    def become(self, ready: Callable[[], None]) -> None:
        if self._init:
            missed = signal.sigpending() if self._slave < 0 else set()
            pid = os.fork()
            if pid:
                init.run(pid, {int(n) for n in missed if n != signal.SIGCHLD}, self._null)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._home_mask)
        self.command(ready)


class _Further(_Box):
    """A further command of a container that runs."""

    _first = False

    def __init__(self, launch: Launch, pid: int, started: int, stdio: Stdio | None, console: int) -> None:
        super().__init__(launch, stdio, console)
        self._pid, self._started = pid, started
        try:
            os.close(enter.open_process(pid, started))
            self.forks = enter.differs(pid, "pid")
        except (NotFound, ProcessLookupError):
            raise _exited(launch) from None

    def fork(self) -> int:
        return _by_joiner(self._join, 0, None) if self.forks else os.fork()

    def _join(self) -> None:
        self.take_over()
        # What is in there already is not to look into a process that still has the host's rights.
        libc.prctl(libc.PR_SET_DUMPABLE, 0)
        try:
            enter.join_process(self._pid, self._started)
        except NotFound:
            raise _exited(self._launch) from None

    def prepare(self) -> None:
        if not self.forks:
            self._join()
        self.settle()

    def become(self, ready: Callable[[], None]) -> None:
        self.command(ready)


def _by_joiner(join: Callable[[], None], flags: int, mapped: Callable[[int], None] | None) -> int:
    """A child by way of one that joins first: its pid, and 0 in the child itself. WeftError."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    wait, done = os.pipe2(os.O_CLOEXEC)
    joiner = os.fork()
    if not joiner:
        os.close(told)
        if _joiner(join, flags, tell):
            os._exit(0)
        os.close(tell)
        os.close(done)
        os.read(wait, 1)  # an end of file: it has its ids
        os.close(wait)
        return 0
    os.close(tell)
    os.close(wait)
    try:
        said = b""
        while chunk := os.read(told, 4096):
            said += chunk
        os.waitpid(joiner, 0)
        if not said.isdigit():
            raise process.failure("", said.decode(errors="surrogateescape") or f"{errno.EINTR} it was killed")
        if mapped is not None:
            _or_end(int(said), mapped)
        return int(said)
    finally:
        os.close(told)
        os.close(done)


def _or_end(pid: int, action: Callable[[int], None]) -> None:
    try:
        action(pid)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _joiner(join: Callable[[], None], flags: int, tell: int) -> int:
    """Joins, and clones; the child's pid, 0 in the child. It tells its parent what became of that."""
    try:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        join()
        try:
            pid = libc.clone3(flags | libc.CLONE_PARENT)
        except OSError as error:
            raise _refusal(error, tuple([t for t, flag in enter.FLAGS.items() if flag & flags])) from None
    except (OSError, WeftError) as failed:
        os.write(tell, process.told(failed))
        os._exit(1)
    except BaseException:
        os._exit(1)
    if pid:
        os.write(tell, str(pid).encode())
    return pid


def _exited(launch: Launch) -> Conflict:
    return Conflict(f"container {launch.name} has exited", f"`weft start {launch.name}` starts it again")


def _refusal(error: OSError, types: tuple[str, ...]) -> WeftError:
    if error.errno == errno.ENOMEM:
        return Conflict("the pid namespace to join has ended with its pid 1", "nothing can be started in it")
    from weft.linux.unshare import refusal

    return refusal(error, types)


def _load(spec: Spec) -> None:
    """What is imported where it is used must be there before the root is another."""
    if spec.hostname:
        import _socket  # noqa: F401
    if spec.process.terminal:
        from weft.linux import pty  # noqa: F401
    if any(m.type == "cgroup" for m in spec.mounts):
        from weft.linux import cgroupfs  # noqa: F401


def _seccomp(spec: Spec) -> tuple[bytes, Callable[[bytes], None]]:
    """The filter, and who installs it."""
    if spec.filter == "unconfined":
        return b"", lambda filter: None
    from weft.linux import seccomp

    return seccomp.prepare(spec), seccomp.install


def _above(stdio: Stdio) -> list[int]:
    """Copies where dup2(2) to 0, 1 and 2 overwrites none of them."""
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    return [fcntl(fd, F_DUPFD_CLOEXEC, 3) for fd in stdio]


def _own_pipes(uid: int) -> None:
    """/dev/stdout and its kin are opened anew by whoever uses them: pipes become the user's."""
    for fd in range(3):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.fchown(fd, uid, -1)
        except OSError:
            pass  # closed, or of another user namespace


def _lead() -> None:
    try:
        os.setsid()
    except PermissionError:
        pass  # it leads its group already


def _name(spec: Spec) -> None:
    if spec.hostname:
        from _socket import sethostname

        sethostname(spec.hostname)
    if spec.domainname:
        libc.setdomainname(spec.domainname)


def _go_to(path: str) -> bool:
    """Goes there; False where only the user may, perhaps. BadInput: it must be inside the root
    (CVE-2024-21626)."""
    try:
        os.chdir(path)
        inside = os.getcwd().startswith("/")
    except PermissionError:
        return False
    except OSError as error:
        raise BadInput(f"working directory {path!a}: {error.strerror}") from None
    if not inside:
        raise BadInput(f"working directory {path!a} is outside of the container's root")
    return True
