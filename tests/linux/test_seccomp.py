"""Seccomp filters at work: installed in a child of this test, which then asks the kernel."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.core.model.errors import BadInput, KernelError
from weft.core.model.oci import Capabilities, Process, Seccomp, Spec, SyscallArg, SyscallRule
from weft.linux import libc, seccomp

DOCKERS = ("CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_NET_BIND_SERVICE")
PR_SET_NO_NEW_PRIVS = 38


def spec(*held: str, filter: str = "default", rules: Seccomp | None = None) -> Spec:
    capabilities = Capabilities(bounding=held)
    return Spec(Process(("true",), capabilities=capabilities), filter=filter, seccomp=rules)


def confined(filter: bytes, ask: Callable[[], object]) -> str:
    """What ``ask`` says in a child behind the filter: its result, or the error's name; or how it ended."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            libc._call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            seccomp.install(filter)
            said = str(ask())
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        except KernelError as error:
            said = error.message
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return said if status == 0 else f"ended with {status}"


def unshare_user() -> None:
    libc._call("unshare", libc.CLONE_NEWUSER)


def clone(flags: int) -> str:
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    pid = libc.syscall(number, flags | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "cloned"


def test_the_default_filter_in_the_kernel() -> None:
    filter = seccomp.prepare(spec(*DOCKERS))
    assert confined(filter, os.getpid).isdigit()
    assert confined(filter, unshare_user) == "EPERM"
    assert confined(filter, lambda: clone(0)) == "cloned"
    assert confined(filter, lambda: clone(libc.CLONE_NEWUSER)) == "EPERM"
    assert confined(filter, lambda: clone(libc.CLONE_NEWNS)) == "EPERM"
    assert confined(filter, lambda: libc.clone3(libc.CLONE_NEWUSER)) == "ENOSYS"
    assert confined(filter, lambda: libc.clone3(0)) == "ENOSYS"
    assert confined(filter, lambda: libc.mount("", "/", "none", libc.MS_PRIVATE)) == "EPERM"
    assert confined(filter, lambda: libc.syscall(425, 1, 0)) == "EPERM"  # io_uring_setup
    assert confined(filter, lambda: libc.syscall(600)) == "ENOSYS"
    assert confined(filter, lambda: socket.socket(40, socket.SOCK_STREAM)) == "EPERM"
    assert confined(filter, lambda: socket.socket().fileno() > 0) == "True"
    assert confined(filter, lambda: os.chroot("/")) == "None"
    assert confined(seccomp.prepare(spec()), lambda: os.chroot("/")) == "EPERM"


def test_a_capability_opens_what_it_is_for() -> None:
    filter = seccomp.prepare(spec(*DOCKERS, "CAP_SYS_ADMIN"))
    assert confined(filter, unshare_user) == "None"
    assert confined(filter, lambda: libc.syscall(425, 1, 0)) == "EPERM"


def test_the_shipped_filter_is_what_would_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = seccomp.prepare(spec(*DOCKERS))
    monkeypatch.setattr(seccomp, "VARIANTS", {})
    assert seccomp.prepare(spec(*DOCKERS)) == shipped


def test_unconfined_has_none() -> None:
    assert seccomp.prepare(spec(filter="unconfined")) == b""
    assert seccomp.prepare(spec(filter="given")) == b""
    assert confined(b"", lambda: clone(libc.CLONE_NEWUTS)) == "cloned"


def test_a_given_filter_with_flags_and_64_bit_arguments() -> None:
    high = SyscallArg(1, 1 << 32, "SCMP_CMP_GE")
    rules = Seccomp(
        "SCMP_ACT_ALLOW",
        flags=("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"),
        syscalls=(
            SyscallRule(("getpgid",), "SCMP_ACT_ERRNO", errno.EXDEV),
            SyscallRule(("ftruncate",), "SCMP_ACT_ERRNO", errno.EDQUOT, (high,)),
            SyscallRule(("getpriority",), "SCMP_ACT_KILL_PROCESS"),
        ),
    )
    filter = seccomp.prepare(spec(filter="given", rules=rules))
    assert len(filter) % 8 == 4
    assert confined(filter, lambda: os.getpgid(0)) == "EXDEV"
    assert confined(filter, lambda: os.ftruncate(os.memfd_create("x"), 1 << 32)) == "EDQUOT"
    assert confined(filter, lambda: os.ftruncate(os.memfd_create("x"), (1 << 32) - 1)) == "None"
    assert confined(filter, lambda: os.getpriority(os.PRIO_PROCESS, 0)) == "ended with -31"  # SIGSYS


def test_what_the_kernel_does_not_take() -> None:
    assert confined(b"\0" * 8, os.getpid) == "cannot install the seccomp filter: Invalid argument"


def test_a_profile_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":'
        ' [{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_KILL"]}}]}'
    )
    found = seccomp.read_file(str(path), frozenset())
    filter = seccomp.prepare(spec(filter="given", rules=found))
    assert confined(filter, lambda: os.getpgid(0)) == "EPERM"
    allowed = seccomp.read_file(str(path), frozenset({"CAP_KILL"}))
    assert allowed == Seccomp("SCMP_ACT_ALLOW")
    for bad, said in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/zero"), "larger than 1048576 bytes"),
    ):
        with pytest.raises(BadInput, match=said):
            seccomp.read_file(str(bad), None)
