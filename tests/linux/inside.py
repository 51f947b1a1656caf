"""Runs a test's body in a fork of this process that is inside the test's Host, where weft's hands work.

``@inside`` on a test that takes ``host``: it sees the machine's network, files and process numbers, and
nothing that it does to itself (namespaces, signals, descriptors) outlives it.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

from core.wire import sandbox
from harness import Host

NAMESPACES = 0x40000000 | 0x20000 | 0x4000000 | 0x8000000 | 0x20000000  # net, mnt, uts, ipc, pid


def _enter(host: Host) -> None:
    """Joins the machine, and forks to get a number of its pid namespace: the child returns."""
    machine = os.pidfd_open(host.pid)
    sandbox.checked(sandbox.libc.setns(machine, NAMESPACES), "setns")
    os.close(machine)
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
    sandbox.checked(sandbox.libc.prctl(sandbox.PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")


def call(host: Host, function: Callable[[], Any]) -> Any:
    """What a function returns in there."""
    return sandbox.run(function, lambda: _enter(host))


def inside(test: Callable[..., None]) -> Callable[..., None]:
    """The test, run in there. What it raises, its parent raises."""

    @functools.wraps(test)
    def run(*args: Any, host: Host, **kwargs: Any) -> None:
        call(host, lambda: test(*args, host=host, **kwargs))

    return run


def children(count: int, action: Callable[[int], None]) -> list[int]:
    """So many processes do it at the same moment; their exit statuses (1: it raised)."""
    wait, start = os.pipe()
    pids = [_child(number, action, wait, start) for number in range(count)]
    os.close(wait)
    os.close(start)  # which is what they wait for
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def _child(number: int, action: Callable[[int], None], wait: int, start: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.close(start)
        os.read(wait, 1)
        action(number)
        status = 0
    finally:
        os._exit(status)


def open_fds() -> set[str]:
    """What this process has open, by what it leads to."""
    fds = os.listdir("/proc/self/fd")
    return {
        f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}" for fd in fds if os.path.lexists(f"/proc/self/fd/{fd}")
    }


def home() -> tuple[int, int]:
    """Which network namespace the calling thread is in."""
    found = os.stat("/proc/thread-self/ns/net")
    return found.st_dev, found.st_ino
