"""Containers started: which namespaces they share, who they are to the host, their init, signals, ends."""

from __future__ import annotations

import array
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from harness import Host
from linux.boxes import FRESH, Running, busybox, run, said, sh, spec, started
from linux.inside import inside, open_fds
from weft.core.model.errors import BadInput, CommandNotExecutable, CommandNotFound, Conflict, NotFound
from weft.core.model.launch import Launch
from weft.core.model.namespace import TYPES
from weft.core.model.oci import Mount, Namespace, Spec, User
from weft.linux import launch, process

NAMESPACES = "for t in net mnt pid uts ipc user cgroup time; do readlink /proc/self/ns/$t; done; read x"
ALL = (*FRESH, "cgroup", "user", "time")


def inodes(text: list[str]) -> dict[str, int]:
    return {t: int(line.partition("[")[2][:-1]) for t, line in zip(TYPES, text, strict=True)}


def own(box: Running) -> dict[str, int]:
    """The namespaces that a command finds itself in."""
    return inodes([box.line() for _ in TYPES])


def differ(one: dict[str, int], other: dict[str, int]) -> set[str]:
    return {t for t in TYPES if one[t] != other[t]}


# -- which namespaces


@inside
def test_what_is_new_is_new_and_the_rest_is_the_hosts(host: Host) -> None:
    busybox()
    here = process.namespaces("self")
    for fresh in (
        FRESH,
        ALL,
        ("mnt",),
        ("mnt", "pid"),
        ("mnt", "ipc", "uts"),
        ("mnt", "user"),
        ("mnt", "time"),
    ):
        box = Running(
            sh(
                NAMESPACES,
                fresh=fresh,
                mounts=(Mount("/proc", "/proc", "bind", ("rbind",)),)
                if "pid" not in fresh
                else (Mount("/proc", "proc", "proc"),),
                masked_paths=(),
                readonly_paths=(),
            )
        )
        theirs = own(box)
        assert differ(here, theirs) == set(fresh), fresh
        # What it sees is what we see of its init.
        assert process.namespaces(box.child.pid) == theirs
        box.end()


@inside
@pytest.mark.parametrize(
    "kinds", [("ipc",), ("uts",), ("net",), ("pid",), ("cgroup",), ("net", "ipc", "uts", "pid")]
)
def test_what_is_given_is_shared_and_nothing_else(host: Host, kinds: tuple[str, ...]) -> None:
    busybox()
    donor = Running(sh(NAMESPACES, fresh=ALL[:6]))
    theirs = own(donor)
    given = tuple([Namespace(t, f"/proc/{donor.child.pid}/ns/{t}") for t in kinds])
    rest = tuple([Namespace(t) for t in ALL[:6] if t not in kinds])
    joiner = Running(sh(NAMESPACES, namespaces=(*given, *rest), hostname=""))
    ours = own(joiner)
    assert differ(theirs, ours) == {t for t in ALL[:6] if t not in kinds}
    assert joiner.end().code == 1  # read(1) has seen the end of its input
    assert donor.end().code == 1


@inside
def test_everything_of_a_user_namespace_that_is_given(host: Host) -> None:
    busybox()
    donor = Running(sh(NAMESPACES, fresh=ALL[:7]))
    theirs = own(donor)
    given = tuple([Namespace(t, f"/proc/{donor.child.pid}/ns/{t}") for t in ("user", "net", "ipc")])
    joiner = Running(
        sh(NAMESPACES, namespaces=(*given, Namespace("mnt"), Namespace("pid"), Namespace("uts")))
    )
    assert differ(theirs, own(joiner)) == {"mnt", "pid", "uts", "cgroup"}
    joiner.end()
    donor.end()


@inside
def test_a_network_of_the_hosts_in_a_new_user_namespace(host: Host) -> None:
    """Only who is outside can join it, or mount a /sys that shows it."""
    busybox()
    host_net = Running(sh("ls /sys/class/net; read x", fresh=("net", "mnt", "pid")))
    assert host_net.line() == "lo"
    given = (Namespace("net", f"/proc/{host_net.child.pid}/ns/net"), *[Namespace(t) for t in ALL[1:7]])
    from linux.boxes import USER

    out = said(sh("ls /sys/class/net; readlink /proc/self/ns/net; id -u", namespaces=given, **USER))
    net = process.namespaces(host_net.child.pid)["net"]
    assert out == f"lo\nnet:[{net}]\n0\n"
    host_net.end()


@inside
def test_donors_that_are_not_there(host: Host) -> None:
    busybox()
    before, fds = process.pids(), open_fds()
    for path, kind, words in (
        ("/proc/4194000/ns/ipc", NotFound, "no process 4194000"),
        ("/run/netns/gone", NotFound, "no network namespace gone"),
        ("/run/nowhere", NotFound, "/run/nowhere"),
        ("/proc/self/ns/uts", BadInput, "is a uts namespace"),
        ("/etc/passwd", BadInput, "is no namespace"),
    ):
        for kind_of in ("ipc", "pid"):
            rest = tuple([Namespace(t) for t in FRESH if t != kind_of])
            with pytest.raises(kind, match=words):
                started(sh("true", namespaces=(Namespace(kind_of, path), *rest)))
    donor = started(sh("sleep 1000"))
    os.mkdir("/run/keep")
    Path("/run/keep/pid").touch()
    os.system(f"mount --bind /proc/{donor.pid}/ns/pid /run/keep/pid")
    donor.cancel()
    with pytest.raises(Conflict, match="has ended with its pid 1"):
        started(sh("true", namespaces=(Namespace("pid", "/run/keep/pid"), Namespace("mnt"))))
    assert process.pids() == before and open_fds() == fds


# -- users


@inside
def test_root_inside_is_nobody_outside(host: Host) -> None:
    busybox()
    os.mkdir("/run/shared")
    os.chmod("/run/shared", 0o777)
    Path("/run/secret").write_text("secret")
    os.chmod("/run/secret", 0o600)
    mounts = (
        Mount("/run/shared", "/run/shared", "bind", ("rbind",)),
        Mount("/secret", "/run/secret", "bind", ("bind",)),
    )
    script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /run/shared/mine; cat /secret; read x"
    busy = sh(script, fresh=ALL[:7])
    box = Running(busy._replace(mounts=(*busy.mounts, *mounts)))
    words = [box.line().split() for _ in range(2)]
    assert words == [["0", "100000", "65536"], ["0", "200000", "65536"]]
    assert box.line() == "0"
    status = Path(f"/proc/{box.child.pid}/status").read_text()
    assert "\nUid:\t100000\t100000\t100000\t100000\n" in status
    assert "Permission denied" in box.end().err
    made = os.stat("/run/shared/mine")
    assert (made.st_uid, made.st_gid) == (100_000, 200_000)


@inside
def test_mappings_that_cannot_be(host: Host) -> None:
    from weft.core.model.oci import IDMapping

    busybox()
    before = process.pids()
    for mappings, words in (
        ((), "needs uid mappings"),
        ((IDMapping(0, 100_000, 0),), "has no ids"),
        ((IDMapping(1, 100_000, 10),), "no root"),
        ((IDMapping(0, 100_000, 10), IDMapping(5, 200_000, 10)), "cannot write uid_map"),
    ):
        wanted = sh("true", fresh=ALL[:7], uid_mappings=mappings)
        with pytest.raises(BadInput, match=words):
            started(wanted)
    assert process.pids() == before


# -- init


def states(parent: int) -> list[str]:
    """The states of a process's children (proc_pid_stat(5))."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in children]


def zombies(out: str) -> int:
    return [line.split()[0] for line in out.splitlines()].count("Z")


ORPHANS = """for i in 1 2 3 4 5; do (sleep 0 & ) ; done; sleep 0.3
for p in /proc/[0-9]*; do read -r a b s rest <$p/stat && echo $s $b; done"""


@inside
def test_init_reaps_what_loses_its_parent(host: Host) -> None:
    busybox()
    assert zombies(said(sh(ORPHANS))) == 0
    # A command that is no init does not: so the test can see zombies.
    deaf = sh("exec sh -c 'sh -c \"sleep 0.1 & echo\" ; exec sleep 1000'", init=False)
    box = Running(deaf)
    box.line()
    deadline = time.monotonic() + 10
    while "Z" not in states(box.child.pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)  # another process's end: nothing tells
    os.kill(box.child.pid, signal.SIGKILL)
    box.end()


@inside
def test_pid_1_is_init_or_the_command(host: Host) -> None:
    busybox()
    script = "echo $$; cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline"
    first = said(sh(script)).split()
    assert first == ["2", "weft-init", "weft-init"]
    assert said(sh(script, init=False)).split()[:2] == ["1", "sh"]


@inside
def test_what_init_is_stays_closed(host: Host) -> None:
    """CVE-2019-5736's class: whoever opens /proc/1/exe has the host's interpreter in hand."""
    busybox()
    script = (
        "readlink /proc/1/exe; cat /proc/1/exe >/dev/null; readlink /proc/1/fd/0; "
        "cat /proc/1/environ /proc/1/maps; "
        "ls /proc/1/root /proc/1/cwd; ls -l /proc/2/exe >/dev/null && echo own"
    )
    done = run(sh(script))
    assert done.out == "own\n"
    assert done.err.count("Permission denied") == 5, done.err  # readlink(1) says nothing


@inside
@pytest.mark.parametrize("init", [True, False])
def test_signals_and_ends(host: Host, init: bool) -> None:
    busybox()
    for script, code in (("exit 0", 0), ("exit 7", 7), ("exit 255", 255)):
        assert run(sh(script, init=init)).code == code
    if init:
        assert run(sh("kill -9 $$")).code == 137
        assert run(sh("kill -SEGV $$")).code == 139
    box = Running(
        sh(
            "trap 'echo usr1' USR1; trap 'echo term; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
            init=init,
        )
    )
    assert box.line() == "ready"
    for number, word in ((signal.SIGUSR1, "usr1"), (signal.SIGUSR1, "usr1"), (signal.SIGTERM, "term")):
        os.kill(box.child.pid, number)
        assert box.line() == word
    assert box.end().code == 9


@inside
def test_a_signal_ends_a_command_that_does_not_expect_it(host: Host) -> None:
    """As pid 1 it would be shielded from what it does not handle; init's child is not."""
    busybox()
    box = Running(sh("echo ready; exec sleep 1000"))
    box.line()
    os.kill(box.child.pid, signal.SIGTERM)
    assert box.end().code == 143


@inside
def test_the_namespace_ends_with_the_command(host: Host) -> None:
    busybox()
    box = Running(sh("sleep 1000 & sleep 1000 & echo ready; exit 3"))
    pids = process.namespaces(box.child.pid)["pid"]
    assert box.line() == "ready"
    assert box.end().code == 3
    assert process.in_namespaces([pids], "pid")[pids] == []


@inside
def test_it_dies_with_its_parent(host: Host) -> None:
    """Also where a joiner went between."""
    busybox()
    for fresh in (FRESH, ALL[:7]):
        read, write = os.pipe()
        parent = os.fork()
        if not parent:
            child = started(sh("exec sleep 1000", fresh=fresh))
            os.write(write, str(child.pid).encode())
            signal.pause()
        fd = os.pidfd_open(pid := int(os.read(read, 20)))
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        import select

        assert select.select([fd], [], [], 10)[0], pid
        os.close(fd)


# -- what leaks


@inside
def test_nothing_open_is_left_to_the_command(host: Host) -> None:
    """CVE-2024-21626: a descriptor of a directory outside is a way out."""
    busybox()
    for number in (
        os.open("/", os.O_RDONLY),
        os.open("/etc/passwd", os.O_RDONLY),
        os.open("/run", os.O_PATH),
    ):
        os.set_inheritable(number, True)
    for fresh in (FRESH, ALL[:7], ("mnt",)):
        mounts = sh("").mounts if "pid" in fresh else (Mount("/proc", "/proc", "bind", ("rbind",)),)
        for init in (True, False):
            wanted = spec("ls", "/proc/self/fd", fresh=fresh, init=init, mounts=mounts)
            if "pid" not in fresh:
                wanted = wanted._replace(masked_paths=(), readonly_paths=())
            assert said(wanted).split() == ["0", "1", "2", "3"], fresh  # the last is ls's own


@inside
def test_the_working_directory_is_inside(host: Host) -> None:
    busybox()
    leak = os.open("/", os.O_RDONLY)
    os.set_inheritable(leak, True)
    assert said(sh("readlink /proc/self/cwd", cwd="/bin")) == "/bin\n"
    assert said(sh("readlink /proc/self/cwd", cwd="/made/for/it")) == "/made/for/it\n"
    os.symlink("/proc/self/fd", f"{busybox('/run/other')}/leak")
    for cwd in (f"/proc/self/fd/{leak}", f"/proc/1/fd/{leak}", f"/leak/{leak}", f"/proc/self/fd/{leak}/etc"):
        with pytest.raises((BadInput, CommandNotFound)):
            started(sh("true", cwd=cwd, root="/run/other"))


# -- errors


@inside
def test_why_it_could_not_start(host: Host) -> None:
    root = busybox()
    Path(f"{root}/plain").write_text("#!/bin/sh\n")
    Path(f"{root}/garbage").write_text("\x7fELF")
    os.chmod(f"{root}/garbage", 0o755)
    mounts, pids, fds = Path("/proc/self/mountinfo").read_text(), process.pids(), open_fds()
    cases: tuple[tuple[Spec, type[Exception], str], ...] = (
        (spec("nobody"), CommandNotFound, "nobody"),
        (spec("/plain"), CommandNotExecutable, "Permission denied"),
        (spec("/garbage"), CommandNotExecutable, "Exec format error"),
        (spec("true", root="/nowhere"), BadInput, "root '/nowhere' is no directory"),
        (spec("true", user=User(name="ann")), BadInput, "user 'ann'"),
        (spec("true", mounts=(Mount("/x", "/nowhere", "bind", ("bind",)),)), BadInput, "source '/nowhere'"),
        (spec("true", mounts=(Mount("/x", "x", "nofs"),)), BadInput, "type 'nofs'"),
        (spec("true", mounts=(Mount("/x", "x", "tmpfs", ("bogus",)),)), BadInput, "bogus"),
        (spec("true", fresh=("pid",)), BadInput, "mount namespace of their own"),
        (spec("true", sysctl=(("no.such", "1"),)), BadInput, "no sysctl 'no/such'"),
    )
    for wanted, kind, words in cases:
        for one in (wanted, wanted._replace(init=False)):
            with pytest.raises(kind, match=words):
                started(one)
            with pytest.raises(ChildProcessError):
                os.waitpid(-1, 0)
    assert (Path("/proc/self/mountinfo").read_text(), process.pids(), open_fds()) == (mounts, pids, fds)


# -- further commands


def further(*args: str, **changes: object) -> Launch:
    return Launch(spec(*args, **changes), "box")  # type: ignore[arg-type]


@inside
@pytest.mark.parametrize("fresh", [FRESH, ALL, ("net", "mnt")])
def test_a_further_command_is_where_the_first_is(host: Host, fresh: tuple[str, ...]) -> None:
    busybox()
    mounts = sh("").mounts if "pid" in fresh else (Mount("/proc", "/proc", "bind", ("rbind",)),)
    bare = {} if "pid" in fresh else {"masked_paths": (), "readonly_paths": ()}
    first = Running(sh(NAMESPACES, fresh=fresh, mounts=mounts, **bare))
    theirs = own(first)
    second = Running(Launch(sh(NAMESPACES, fresh=fresh), "box"), first.child)
    assert own(second) == theirs
    assert second.end().code == 1
    for script, code in (
        ("exit 7", 7),
        ("kill -9 $$", -9),
        ("test $(id -u) = 0", 0),
        ("ls /proc/self/fd | wc -l | grep -q 4", 0),
    ):
        done = Running(Launch(sh(script), "box"), first.child).end()
        assert done.code == code, (script, done)
    held = [
        line.split()[1]
        for line in Running(Launch(spec("grep", "^Cap[PEB]", "/proc/self/status"), "box"), first.child)
        .end()
        .out.splitlines()
    ]
    assert held == ["00000000a80405fb"] * 3
    with pytest.raises(CommandNotFound):
        Running(further("nobody"), first.child)
    first.end()
    with pytest.raises(Conflict, match="container box has exited"):
        launch.start_inside(further("true"), first.child.pid, first.child.started)


@inside
def test_whoever_runs_a_further_command_stays_outside(host: Host) -> None:
    busybox()
    first = started(sh("exec sleep 1000"))
    here = process.namespaces("self")
    pid = os.fork()
    if not pid:
        os._exit(launch.execute(further("sh", "-c", "kill -TERM $$"), first.pid, first.started))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
    assert process.namespaces("self") == here
    first.cancel()


@inside
def test_a_command_where_there_is_no_process(host: Host) -> None:
    busybox()
    pid = os.fork()
    if not pid:
        os._exit(launch.execute(further("sh", "-c", "test $$ = 2 && exit 7"), None, None))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


# -- terminals


def with_terminal(wanted: Spec) -> tuple[process.Child, int]:
    """A started command, and the terminal's master that it has sent."""
    ours, theirs = socket.socketpair()
    child = launch.start(Launch(wanted, "box"), console=theirs.fileno())
    child.go(wanted.process.args[0])
    theirs.close()
    _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    ours.close()
    fds = array.array("i")
    fds.frombytes(ancillary[0][2])
    return child, fds[0]


def read_all(master: int) -> str:
    found = b""
    try:
        while chunk := os.read(master, 4096):
            found += chunk
    except OSError:  # EIO: nobody has the other end any more
        pass
    os.close(master)
    return found.decode().replace("\r", "")


@inside
@pytest.mark.parametrize("fresh", [FRESH, ALL[:7]])
def test_a_terminal_of_its_own(host: Host, fresh: tuple[str, ...]) -> None:
    busybox()
    script = (
        "tty; test -t 0 -a -t 1 -a -t 2 && echo all; ls /proc/self/fd | wc -l; stat -c %u $(tty); "
        "test -c /dev/console && echo >/dev/console shown; echo hi >/dev/tty; "
        "set -- $(cat /proc/self/stat); test $5 = $6 && echo leads"
    )
    child, master = with_terminal(sh(script, fresh=fresh, terminal=True, user=User(1000, 1000)))
    out = read_all(master)
    assert process.wait(child.pid) == 0
    assert out == "/dev/pts/0\nall\n4\n1000\nshown\nhi\nleads\n", out


@inside
def test_what_is_typed_on_its_terminal(host: Host) -> None:
    busybox()
    child, master = with_terminal(
        sh("trap 'echo int; exit 5' INT; echo ready; while :; do sleep 0.05; done", terminal=True)
    )
    said = b""
    while b"ready" not in said:
        said += os.read(master, 100)
    os.write(master, b"\x03")
    assert "int" in read_all(master)
    assert process.wait(child.pid) == 5
