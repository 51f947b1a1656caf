"""kill -9 at each system call of a command that changes something: strace's injection, inside a Host.

    for syscall, n in points(host, argv):           # one whole run, which takes effect
        with Host() as fresh:
            assert run_killed(fresh, argv, syscall, n)
            ...compare snapshots, then let weft mend...

The process dies before the call is made. ``n`` counts each process's calls by themselves: with ``follow``
the point strikes every process of the command that gets so far, without it only the first one, and its
children go on. (strace's --seccomp-bpf would be faster, but injects no signals.)
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.host import CommandFailed, Host, Process

Point = tuple[str, int]

MUTATING = """
    sendto sendmsg sendmmsg write pwrite64 writev openat fcntl flock ioctl connect bind
    clone clone3 fork vfork kill pidfd_send_signal unshare setns sethostname
    mount umount2 move_mount open_tree fsmount mount_setattr pivot_root
    unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir symlink symlinkat link linkat
    mknod mknodat chmod fchmod fchmodat chown fchown fchownat ftruncate truncate fsync fdatasync
""".split()
#: Of these only some calls change anything; the others count for ``n`` all the same, as strace counts.
ONLY = {
    "openat": re.compile(r"O_CREAT|O_TRUNC"),
    "fcntl": re.compile(r"F_SETLK|F_OFD_SETLK"),
    "ioctl": re.compile(r"SIOCS|SIOCBR|SIOCAD|TUNSET"),
}
CALL = re.compile(r"(?:(?P<pid>\d+) +)?(?P<name>\w+)\((?P<arguments>.*)")
END = re.compile(r"(?:(?P<pid>\d+) +)?\+\+\+ (?:exited with (?P<status>\d+)|killed by (?P<signal>\w+))")
#: How long children may go on after the command itself has ended; what stays longer is a daemon.
LINGER = 0.3


class Trace:
    """What strace said so far: who made which call for which time, who was killed in which."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.killed_in: set[Point] = set()
        self.first: str | None = None
        self.first_ended = False
        #: The command's own exit status; None while it runs, and when a signal ended it.
        self.status: int | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self._last: dict[str, Point] = {}

    def read(self, line: str) -> None:
        if match := CALL.match(line):
            self._call(match["pid"] or "", match["name"], match["arguments"])
        elif match := END.match(line):
            self._end(match["pid"] or "", match["status"], match["signal"])

    def _call(self, pid: str, name: str, arguments: str) -> None:
        self.first = pid if self.first is None else self.first
        self._counts[pid, name] += 1
        point = self._last[pid] = (name, self._counts[pid, name])
        if name == "execve" or (name in ONLY and not ONLY[name].search(arguments)):
            return
        if point not in self.points:
            self.points.append(point)

    def _end(self, pid: str, status: str | None, signal: str | None) -> None:
        if signal == "SIGKILL" and pid in self._last:
            self.killed_in.add(self._last[pid])
        if pid == self.first:
            self.first_ended = True
            self.status = int(status) if status else None


def points(
    host: Host,
    argv: Sequence[str],
    syscalls: Sequence[str] = MUTATING,
    *,
    follow: bool = True,
    env: Mapping[str, str] | None = None,
    netns: str | None = None,
) -> list[Point]:
    """Run the command to its end, which must be a good one; where it can be killed, in the order of time."""
    options = ["-e", "trace=execve," + ",".join(f"?{name}" for name in syscalls)]
    trace, said = _traced(host, argv, options, follow, env, netns)
    if trace.status != 0:
        raise CommandFailed(argv, trace.status, said, "")
    return trace.points


def run_killed(
    host: Host,
    argv: Sequence[str],
    syscall: str,
    n: int,
    *,
    follow: bool = True,
    env: Mapping[str, str] | None = None,
    netns: str | None = None,
) -> bool:
    """Run the command and kill it before its n-th ``syscall``.

    False: it never came there, and ran to its end.
    """
    options = ["-e", f"trace=execve,{syscall}", "-e", f"inject={syscall}:signal=SIGKILL:when={n}"]
    trace, _ = _traced(host, argv, options, follow, env, netns)
    return (syscall, n) in trace.killed_in


def _traced(
    host: Host,
    argv: Sequence[str],
    options: Sequence[str],
    follow: bool,
    env: Mapping[str, str] | None,
    netns: str | None,
) -> tuple[Trace, str]:
    trace = Trace()
    with _fifo() as (path, reader), open(path.with_name("said"), "w+") as said:
        # -I2: with -o it would not listen to the signal that makes it let go.
        strace = ["strace", "-I2", "-q", "-s0", *(["-f"] if follow else []), "-o", str(path), *options, "--"]
        process = host.popen([*strace, *argv], env=env, netns=netns, stdout=said, stderr=subprocess.STDOUT)
        try:
            for line in _lines(process, reader, trace):
                trace.read(line)
        finally:
            process.end()
            host.processes.remove(process)
        said.seek(0)
        return trace, said.read()


@contextmanager
def _fifo() -> Iterator[tuple[Path, int]]:
    """For strace to write to: what it opens itself the command's children do not inherit."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="crash-") as directory:
        path = Path(directory) / "trace"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield path, reader
        finally:
            os.close(reader)


def _lines(process: Process, reader: int, trace: Trace, timeout: float = 60) -> Iterator[str]:
    """The trace until strace ends; when the command has ended, strace is told to let go of its daemons."""
    ended, rest = os.pidfd_open(process.pid), b""
    deadline = time.monotonic() + timeout
    let_go = False
    try:
        while True:
            ready = select.select([reader, ended], [], [], max(0.0, deadline - time.monotonic()))[0]
            if reader in ready:
                *whole, rest = (rest + os.read(reader, 1 << 16)).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
                if trace.first_ended and not let_go:
                    deadline = min(deadline, time.monotonic() + LINGER)
            elif ready:
                return
            elif trace.first_ended and not let_go:
                let_go, deadline = True, time.monotonic() + 5
                process.terminate()
            else:
                raise TimeoutError(f"{process.args!r}: no end in sight")
    finally:
        os.close(ended)
