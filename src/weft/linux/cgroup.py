"""Containers' cgroups on this host: found, made, joined, frozen, ended, removed (cgroups(7)).

A kernel that ends a process takes it out of its group a moment later: version 2 tells of that by
cgroup.events, version 1 does not.
"""

from __future__ import annotations

import errno
import posix

from weft.core.model.errors import Conflict, KernelError, NotPermitted, Unsupported, WeftError
from weft.core.model.hierarchy import Cgroups, Hierarchy, hierarchies, members
from weft.core.ops.cgroup import CgroupAdd, CgroupDel, CgroupFreeze
from weft.linux.paths import decode, encode, is_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Sequence

    from weft.core.ops.base import Op
    from weft.core.ops.cgroup import CgroupThaw
else:
    import _signal as signal  # as in linux/process

#: For so long, in seconds, processes may take to end or freeze: only those that wait for a disk take longer.
_PATIENCE = 10.0
_REFUSED = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


def find() -> Cgroups:
    """What there is. A mount that another one covers, or that was left behind, is none."""
    found = []
    for at in hierarchies(read("/proc/self/mountinfo"), read("/proc/self/cgroup")):
        if not is_there(f"{at.base}/cgroup.procs"):
            continue
        if at.version == 2:
            at = Hierarchy(at.base, 2, tuple(read(f"{at.base}/cgroup.controllers").split()))
        found.append(at)
    swaps = read("/proc/swaps")
    memory = next((h for h in found if "memory" in h.controllers), None)
    counted = memory is not None and (
        bool(swaps) if memory.version == 2 else is_there(f"{memory.base}/memory.memsw.limit_in_bytes")
    )
    return Cgroups(tuple(found), counted, swaps.count("\n") > 1)


# files


def read(path: str) -> str:
    """A small file of the kernel's; "" when it is not there, or not for us."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        chunks = []
        while chunk := posix.read(fd, 1 << 16):
            chunks.append(chunk)
        return decode(b"".join(chunks))
    except OSError:
        return ""  # ENODEV: the group has just been removed
    finally:
        posix.close(fd)


def write(path: str, value: str) -> None:
    """Writes to a file of the kernel's, which is there. OSError."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(fd, encode(value))
    finally:
        posix.close(fd)


def make_directory(path: str) -> None:
    """mkdir(2). OSError."""
    posix.mkdir(path, 0o755)


def remove_directory(path: str) -> None:
    """rmdir(2). OSError."""
    posix.rmdir(path)


# plans


def do(op: Op) -> None:
    """Does an operation on a group. Unsupported, NotPermitted, Conflict, KernelError."""
    if isinstance(op, CgroupAdd):
        _add(op)
    elif isinstance(op, CgroupDel):
        remove(op.directories)
    else:
        freeze(op, isinstance(op, CgroupFreeze))  # type: ignore[arg-type]


def _add(op: CgroupAdd) -> None:
    made: list[str] = []
    try:
        for directory, _ in op.groups:
            _make(op, directory, made)
        for directory, words in op.enable:
            _enable(op, directory, words)
        for directory, settings in op.groups:
            for file, value in settings if directory in made or op.limited else ():
                _set(op, directory, file, value)
    except BaseException:
        remove([d for d in op.directories if d in made])
        raise


def _make(op: CgroupAdd, directory: str, made: list[str]) -> None:
    """A directory and those above it. One of a container's that a crash left goes first, with its limits."""
    try:
        _directory(directory, directory in op.directories)
    except OSError as error:
        if not op.limited and error.errno in _REFUSED:
            return  # it goes without
        raise _refusal(op, directory, error) from None
    made.append(directory)


def _directory(path: str, leaf: bool) -> None:
    try:
        make_directory(path)
    except FileExistsError:
        if leaf:
            _clear(path)
            make_directory(path)
    except FileNotFoundError:
        _directory(path.rpartition("/")[0], leaf=False)
        make_directory(path)


def _clear(path: str) -> None:
    if pids_of(path):
        raise Conflict(
            f"the cgroup {path} exists and has processes that are none of this container's",
            "choose another name; /proc/PID/cgroup tells which they are",
        )
    _end_all([path])


def _enable(op: CgroupAdd, directory: str, words: str) -> None:
    try:
        write(f"{directory}/cgroup.subtree_control", words)
    except OSError as error:
        if not op.limited:
            return
        if error.errno == errno.EBUSY:
            raise Unsupported(
                f"the cgroup {directory} has processes of its own: it can limit no container ({words})",
                "cgroups(7), no internal processes: move them to a group below it first",
            ) from None
        raise _refusal(op, directory, error, f": {words}") from None


def _set(op: CgroupAdd, directory: str, file: str, value: str) -> None:
    try:
        write(f"{directory}/{file}", value or read(f"{directory.rpartition('/')[0]}/{file}").strip())
    except FileNotFoundError:
        controller = file.partition(".")[0]
        raise Unsupported(
            f"the cgroup controller {controller} of this kernel has no {file}: the limit cannot be set",
            f"{directory} is where it was looked for",
        ) from None
    except OSError as error:
        raise _refusal(op, directory, error, f": {file}={value}") from None


def _refusal(op: CgroupAdd, directory: str, error: OSError, what: str = "") -> WeftError:
    said = f"cannot make the cgroup {op.path} in {directory}{what}: {error.strerror}"
    if error.errno in _REFUSED:
        return NotPermitted(
            said, "limits need cgroups that can be written: run weft as root, and not in a container"
        )
    return KernelError(said, error.errno or 0)


# members


def pids_of(directory: str) -> list[int]:
    """The processes in a group, and in those below it; none where it is not there."""
    found = list(members(read(f"{directory}/cgroup.procs")))
    for below in _below(directory):
        found += pids_of(below)
    return found


def pids(path: str, found: Cgroups | None = None) -> list[int]:
    """The processes of a container, by its group; none where it has none."""
    for directory in (find() if found is None else found).directories(path):
        if is_there(directory):
            return sorted(pids_of(directory))
    return []


def _below(directory: str) -> list[str]:
    try:
        return [f"{directory}/{e.name}" for e in posix.scandir(directory) if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def names(top: str, found: Cgroups) -> list[str]:
    """The groups below a directory, in any hierarchy."""
    below = [_below(f"{at.base}/{top}") for at in found.hierarchies]
    return sorted({directory.rpartition("/")[2] for some in below for directory in some})


def join(path: str, limited: bool = False) -> None:
    """The calling process enters a container's group in every hierarchy in which it has one.

    ``limited``: it must have one in each of those with a limit that weft can set. KernelError.
    """
    entered = False
    for directory in find().directories(path):
        try:
            write(f"{directory}/cgroup.procs", "0")
            entered = True
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KernelError(
                f"cannot enter the cgroup {directory}: {error.strerror}", error.errno or 0
            ) from None
    if limited and not entered:
        raise KernelError(f"the cgroup {path} is gone, and its limits with it", errno.ENOENT)


def kill(directories: Iterable[str]) -> None:
    """SIGKILLs all that is in a group, frozen or not; it does not wait until they have ended."""
    first = ""
    for directory in directories:
        try:
            write(f"{directory}/cgroup.kill", "1")  # from Linux 5.14 on
            return
        except OSError:
            first = first or (directory if is_there(directory) else "")
    if first:
        _kill_each(first)


def _kill_each(directory: str) -> None:
    """One by one, again while there are new ones: a fork may win."""
    known: set[int] = set()
    while fresh := set(pids_of(directory)) - known:
        for pid in fresh:
            try:
                posix.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        known |= fresh


# the end


def remove(directories: Sequence[str]) -> None:
    """Ends what is in these groups and removes them, with the directory above when it is empty then.

    What is not there is fine. KernelError when a process does not end.
    """
    _end_all(directories)
    for above in dict.fromkeys([d.rpartition("/")[0] for d in directories]):
        try:
            remove_directory(above)
        except OSError:
            pass  # others are in it


def _end_all(directories: Sequence[str]) -> None:
    left = [d for d in directories if not _removed(d)]
    if left:
        end(directories)
        for directory in left:
            _await_end(directory)


def end(directories: Sequence[str]) -> None:
    """SIGKILLs all that is in these groups; it does not wait until they have ended."""
    thaw_all(directories)
    kill(directories)


def thaw_all(directories: Iterable[str]) -> None:
    """Version 1 kills nobody who is frozen."""
    for directory in directories:
        try:
            write(f"{directory}/freezer.state", "THAWED")
        except OSError:
            pass  # of another hierarchy


def _removed(directory: str) -> bool:
    """Removes a group and those that a container made in it; False while processes are in one."""
    try:
        remove_directory(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise KernelError(
                f"cannot remove the cgroup {directory}: {error.strerror}", error.errno or 0
            ) from None
        below = _below(directory)
        return bool(below) and all(_removed(one) for one in below) and _removed(directory)
    return True


def _await_end(directory: str) -> None:
    from time import monotonic

    until = monotonic() + _PATIENCE
    while not _removed(directory):
        left = until - monotonic()
        if left <= 0:
            raise KernelError(
                f"the cgroup {directory} still has processes: {pids_of(directory)[:5]}", errno.EBUSY
            )
        _await_change(directory, left)


def _await_change(directory: str, seconds: float) -> None:
    """Until a group's last process may have left it: by its events where it has some, else by the ends of its
    processes, else (they have ended, and are about to leave) for a moment."""
    from select import POLLIN, POLLPRI, poll

    waiting = poll()
    fds: list[int] = []
    try:
        if is_there(f"{directory}/cgroup.events"):
            fds.append(posix.open(f"{directory}/cgroup.events", posix.O_RDONLY | posix.O_CLOEXEC))
            waiting.register(fds[0], POLLPRI)
            if b"populated 0" in posix.read(fds[0], 4096):
                seconds = 0.001
        else:
            found = pids_of(directory)[:100]
            for pid in found:
                fds.append(_pidfd(pid))
                waiting.register(fds[-1], POLLIN)
            seconds = seconds if found else 0.001
        waiting.poll(min(seconds, 0.1) * 1000)
    except (FileNotFoundError, ProcessLookupError):
        pass  # it is gone already
    finally:
        for fd in fds:
            posix.close(fd)


def _pidfd(pid: int) -> int:
    import os

    return os.pidfd_open(pid)


# frozen


def freeze(op: CgroupFreeze | CgroupThaw, stop: bool) -> None:
    """Stops a group, or lets it go on; it has when this returns. KernelError, Conflict when it does not
    stop."""
    file = f"{op.directory}/{'cgroup.freeze' if op.version == 2 else 'freezer.state'}"
    word = ("1" if stop else "0") if op.version == 2 else ("FROZEN" if stop else "THAWED")
    try:
        write(file, word)
        stopped = not stop or (_frozen_events(op.directory) if op.version == 2 else _frozen_state(file))
        if not stopped:
            write(file, "0" if op.version == 2 else "THAWED")
    except FileNotFoundError:
        raise Conflict(f"there is no cgroup {op.path} to freeze", "it has gone with its processes") from None
    except OSError as error:
        raise KernelError(f"cannot {op.describe()}: {error.strerror}", error.errno or 0) from None
    if not stopped:
        raise KernelError(
            f"cannot {op.describe()}: a process does not stop in {_PATIENCE:.0f} s",
            errno.EBUSY,
            "one that waits for a disk or a network file system cannot be stopped",
        )


def _frozen_events(directory: str) -> bool:
    """Version 2 tells when all have stopped (cgroup.events)."""
    from weft.linux.waiting import until

    fd = posix.open(f"{directory}/cgroup.events", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return until(fd, lambda: b"frozen 1" in posix.pread(fd, 4096, 0), _PATIENCE)
    finally:
        posix.close(fd)


def _frozen_state(file: str) -> bool:
    """Version 1 may stay FREEZING when a fork wins, and is asked again; each look moves it on, nothing tells
    (the kernel's freezer-subsystem.rst). Now and then all are let go, as runc does, since some wait for
    others that have stopped."""
    from time import monotonic, sleep

    until = monotonic() + _PATIENCE
    tries = 0
    while "FROZEN" not in read(file):
        if monotonic() > until:
            return False
        tries += 1
        if tries % 50 == 0:
            write(file, "THAWED")
        sleep(0.001)
        write(file, "FROZEN")
    return True
