"""The first process of a container's pid namespace (pid_namespaces(7)): it reaps what loses its parent,
passes signals on, and ends with the command, which is its child; with it ends the namespace."""

from __future__ import annotations

import os

from weft.linux import libc, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # as in linux/process

_NAME = b"weft-init"
#: si_code of sigaction(2): a terminal, or the kernel otherwise, which has told the command as well.
_SI_KERNEL = 0x80
#: A process that made one of these itself is to die of it.
_FAULTS = frozenset(
    (
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGSYS,
    )
)


def hold_signals() -> set[int]:
    """Keeps all signals that come from now on for ``run``; the mask to give back to the command."""
    mine = signal.valid_signals() - _FAULTS
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, mine))


def rename() -> None:
    """Takes weft's command line and environment, which a container could read, off this process."""
    libc.prctl(libc.PR_SET_NAME, _NAME + b"\0")
    try:
        with open("/proc/self/stat", "rb") as file:
            # arg_start, arg_end, env_start, env_end of proc_pid_stat(5)
            arguments, end, environment, last = map(int, file.read().rpartition(b")")[2].split()[45:49])
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(memory, _NAME.ljust(end - arguments, b"\0")[: end - arguments], arguments)
            os.pwrite(memory, bytes(last - environment), environment)
        finally:
            os.close(memory)
    except (OSError, ValueError):
        pass  # a kernel that keeps it to itself


def run(command: int, missed: set[int], null: int) -> NoReturn:
    """The life of an init, until its command ends: with its status, 128+N for signal N. ``missed`` are
    signals that came before the command was there; ``null`` is the host's /dev/null."""
    for fd in range(3):
        os.dup2(null, fd)  # whoever reads what the command writes is to see its end
    process.close_from_3()
    for number in missed:
        _pass_on(command, number)
    mine = signal.valid_signals() - _FAULTS
    while True:
        came = signal.sigwaitinfo(mine)
        if came.si_signo == signal.SIGCHLD:
            _reap(command)
        elif came.si_code != _SI_KERNEL:
            _pass_on(command, came.si_signo)


def _pass_on(command: int, number: int) -> None:
    try:
        os.kill(command, number)
    except ProcessLookupError:
        pass  # reaped below


def _reap(command: int) -> None:
    """Collects all that have ended; with the command this process ends."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os._exit(125)  # its command cannot be gone unseen
        if pid == command:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
        if not pid:
            return
