"""Processes of containers: found, started in two phases, forwarded to, waited for, ended, told apart."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.wire.sandbox import command
from harness import Host
from linux.inside import home, inside, open_fds
from weft.core.model.errors import (
    BadInput,
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    KernelError,
    NotFound,
)
from weft.core.model.isolation import capabilities
from weft.core.model.launch import Launch
from weft.core.model.network import Sandbox
from weft.engine.spec import asked, complete
from weft.linux import enter, netns, process
from weft.linux import launch as starter

ENV = (("PATH", "/usr/bin:/bin"),)
HOSTS, RESOLV = "/run/weft/hosts/blue", "/run/resolv"


def prepared() -> None:
    """A named namespace and its name files."""
    os.makedirs("/run/weft/hosts")
    Path(HOSTS).write_text("10.0.0.2\tweb\n")
    Path(RESOLV).write_text("nameserver 192.0.2.1\n")
    command("ip", "netns", "add", "web")


def launch(*argv: str, cwd: str = "/", name: str = "web", hosts: str = HOSTS) -> Launch:
    found = complete(asked(argv, ENV, cwd), Sandbox("", name, "its-name"), hosts)
    names = [m._replace(source=RESOLV) if "resolv" in m.destination else m for m in found.mounts]
    return Launch(found._replace(mounts=tuple(names)), name)


def shell(script: str) -> Launch:
    return launch("sh", "-c", script)


def watched(wanted: Launch) -> Launch:
    """With --pid host and --init=false: it sees who watches it, and is that one's child."""
    kept = tuple([n for n in wanted.spec.namespaces if n.type != "pid"])
    return wanted._replace(spec=wanted.spec._replace(namespaces=kept, init=False))


def logged(wanted: Launch, handle: type[process.Child] = process.Child) -> process.Child:
    """Started, and all that it says in /run/log."""
    null, log = os.open("/dev/null", os.O_RDONLY), os.open("/run/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        return starter.start(wanted, handle, (null, log, log))
    finally:
        os.close(null)
        os.close(log)


def ended(pid: int, within: float = 10) -> bool:
    """Whether a process ends in time (pidfd_open(2): readable when it has)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], within)[0])
    finally:
        os.close(fd)


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def last_pid(number: int) -> None:
    """The next process gets the number after it (pid_namespaces(7))."""
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(number))


# -- is there such a command?


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    for name, mode in (("good", 0o755), ("plain", 0o644), ("both", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    (tmp_path / "folder").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "both").write_text("#!/bin/sh\n")
    (tmp_path / "sub" / "both").chmod(0o755)
    (tmp_path / "dangling").symlink_to("/nowhere")
    return tmp_path


@pytest.mark.parametrize("name", ["good", "both", "./good", "sub/both", "sub/../good"])
def test_a_command_that_is_there(bin_dir: Path, name: str) -> None:
    """By PATH, where the first that can be executed counts, or by a path relative to the directory."""
    process.find_command([name], f"/nowhere:{bin_dir}:{bin_dir}/sub", str(bin_dir))
    process.find_command([str(bin_dir / "good")], "", "/")


@pytest.mark.parametrize(
    "name", ["", "nobody", "folder", "dangling", "./nobody", "sub/good", "good/x", "a\nb"]
)
def test_a_command_that_is_not_there(bin_dir: Path, name: str) -> None:
    with pytest.raises(CommandNotFound) as refused:
        process.find_command([name], f"/nowhere:{bin_dir}", str(bin_dir))
    assert refused.value.status == 127
    assert "\n" not in refused.value.message


def test_a_directory_is_no_command(bin_dir: Path) -> None:
    with pytest.raises(CommandNotExecutable, match="is a directory"):
        process.find_command(["./folder"], "", str(bin_dir))


@pytest.mark.parametrize("name", ["plain", "./plain", "sub/../plain"])
def test_a_command_that_cannot_be_executed(bin_dir: Path, name: str) -> None:
    with pytest.raises(CommandNotExecutable) as refused:
        process.find_command([name], str(bin_dir), str(bin_dir))
    assert refused.value.status == 126
    assert "chmod +x" in refused.value.hint


def test_an_empty_place_in_path_is_here(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bin_dir)
    process.find_command(["good"], "/nowhere:", "/")


# -- started in two phases


@inside
def test_nothing_runs_before_go(host: Host) -> None:
    prepared()
    child = starter.start(shell("echo ran > /run/ran; exit 7"))
    assert process.alive(child.pid, child.started)
    assert process.alive(child.watcher, child.watcher_started)
    assert child.watcher == os.getpid()
    assert process.namespaces(child.pid)["net"] in (netns.inode("web"), home()[1])
    assert not ended(child.pid, 0.05)
    assert not os.path.exists("/run/ran")
    child.go("sh")
    child.settled()
    assert process.wait(child.pid) == 7
    assert Path("/run/ran").read_text() == "ran\n"


@inside
def test_one_that_is_cancelled_has_not_run(host: Host) -> None:
    prepared()
    before = open_fds()
    child = starter.start(shell("echo ran > /run/ran"))
    child.cancel()
    child.cancel()  # twice is fine
    assert not os.path.exists("/run/ran")
    assert not process.alive(child.pid, child.started)
    assert open_fds() == before
    child = starter.start(launch("sleep", "1000"))
    child.go("sleep")
    child.cancel()
    assert not os.path.exists(f"/proc/{child.pid}")
    assert open_fds() == before


@inside
def test_it_dies_with_its_parent(host: Host) -> None:
    """Before go, and after: nothing is left that nobody waits for."""
    prepared()
    for goes in (False, True):
        hear, tell = os.pipe()
        parent = os.fork()
        if not parent:
            child = starter.start(launch("sleep", "1000"))
            if goes:
                child.go("sleep")
            os.write(tell, str(child.pid).encode())
            signal.pause()
        pid = int(os.read(hear, 20))
        assert os.path.exists(f"/proc/{pid}")
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        assert ended(pid)


@inside
def test_what_it_sees(host: Host) -> None:
    prepared()
    os.makedirs("/run/work")
    script = (
        "hostname; pwd; cat /etc/hosts /etc/resolv.conf; ls /sys/class/net; env; ls /proc/self/fd;"
        "umask; echo $0 $1"
    )
    child = logged(launch("sh", "-c", script, "one", "two words", cwd="/run/work"))
    inherited = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    child.go("sh")
    assert process.wait(child.pid) == 0
    said = Path("/run/log").read_text().splitlines()
    assert said == [
        *("its-name", "/run/work", "10.0.0.2\tweb", "nameserver 192.0.2.1", "lo"),
        *("HOME=/root", "PATH=/usr/bin:/bin", "PWD=/run/work"),
        *("0", "1", "2", "3"),  # the last is ls's own
        *("0022", "one two words"),
    ]


@inside
def test_it_lives_in_namespaces_of_its_own(host: Host) -> None:
    prepared()
    mounts, ours = Path("/proc/self/mountinfo").read_text(), process.namespaces(os.getpid())
    wanted = shell("mount -t tmpfs mine /mnt; hostname changed; echo ready; sleep 1000").spec
    capable = wanted._replace(process=wanted.process._replace(capabilities=capabilities(("ALL",), ())))
    child = logged(Launch(capable, "web"))
    child.go("sh")
    while Path("/run/log").read_text() != "ready\n":
        assert not ended(child.pid, 0.01)
    theirs = process.namespaces(child.pid)
    assert theirs["net"] == netns.inode("web")
    assert {kind for kind in ours if ours[kind] != theirs[kind]} == {"net", "mnt", "uts", "ipc", "pid"}
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert os.uname().nodename == "machine"
    assert child.pid in process.in_namespaces([theirs["net"]])[theirs["net"]]
    child.cancel()
    assert process.namespaces(child.pid) == {}


@inside
def test_why_it_could_not_start(host: Host) -> None:
    prepared()
    for name, text, mode in (
        ("script", "#!/no/such/interpreter\n", 0o755),
        ("garbage", "\x7fELF", 0o755),
        ("plain", "#!/bin/sh\n", 0o644),
    ):
        Path(f"/run/{name}").write_text(text)
        os.chmod(f"/run/{name}", mode)
    before = open_fds()
    cases: tuple[tuple[Launch, type[Exception], str], ...] = (
        (launch("nobody"), CommandNotFound, "nobody"),
        (launch("/run/script"), CommandNotFound, "/run/script"),
        (launch("/run/garbage"), CommandNotExecutable, "Exec format error"),
        (launch("/run/plain"), CommandNotExecutable, "Permission denied"),
        (launch("/run"), CommandNotExecutable, "Permission denied"),
        (launch("true", cwd="/nowhere"), BadInput, "/nowhere"),
        (launch("true", name="gone"), NotFound, "no network namespace gone"),
        (launch("true", hosts="/nowhere"), BadInput, "mount '/etc/hosts': source '/nowhere'"),
    )
    for wanted, kind, words in cases:
        with pytest.raises(kind, match=words):
            starter.start(wanted).go(wanted.argv[0])
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        assert open_fds() == before


@inside
def test_one_that_is_killed_on_the_way(host: Host) -> None:
    prepared()
    child = starter.start(launch("true"))
    os.kill(child.pid, signal.SIGKILL)
    assert ended(child.pid)
    with pytest.raises(KernelError, match="killed"):
        child.go("true")


# -- waited for


@inside
def test_how_it_ended(host: Host) -> None:
    prepared()
    for script, code in (("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)):
        child = starter.start(shell(script))
        child.go("sh")
        assert process.wait(child.pid) == code


@inside
def test_what_it_leaves_behind_is_ended(host: Host) -> None:
    """Children of children that went into the background, in sessions of their own, deaf to signals."""
    prepared()
    script = (
        "trap '' TERM HUP; setsid sh -c 'sleep 1000 & sleep 1001 & echo $$ >&2; exec sleep 1002' & read x"
    )
    child = logged(watched(shell(script)), process.Foreground)
    child.go("sh")
    assert process.wait(child.pid) == 1
    while "sleep 1002" not in command("ps", "-eo", "args"):
        pass
    process.end_children()
    assert "sleep" not in command("ps", "-eo", "args")


@inside
def test_what_it_leaves_behind_ends_with_its_init(host: Host) -> None:
    """In a pid namespace of its own nobody needs to look for them."""
    prepared()
    apart = "setsid sh -c 'sleep 1000 & sleep 1001 & exec sleep 1002'"
    script = f"trap '' TERM HUP; {apart} & sleep 1003; exit $?"
    child = logged(shell(script))
    child.go("sh")
    while not {"sleep 1000", "sleep 1001", "sleep 1002", "sleep 1003"} <= set(running()):
        assert not ended(child.pid, 0.01)
    os.kill(int(pid_of("sleep 1003")), signal.SIGKILL)
    assert process.wait(child.pid) == 137
    assert not [line for line in running() if line.startswith("sleep")]


def running() -> list[str]:
    return command("ps", "-eo", "args").splitlines()


def pid_of(args: str) -> str:
    lines = [line.split(maxsplit=1) for line in command("ps", "-eo", "pid,args").splitlines()]
    return next(pid for pid, found in lines if found == args)


@inside
def test_signals_reach_it_from_the_moment_it_may_run(host: Host) -> None:
    """And no stranger who gets its number when it has been waited for."""
    prepared()
    script = "trap 'echo got; exit 3' TERM; kill -TERM $PPID; while :; do :; done"
    child = starter.start(watched(shell(script)), process.Foreground)
    child.go("sh")
    assert process.wait(child.pid) == 3
    stranger = recycled(child.pid)
    os.kill(os.getpid(), signal.SIGTERM)
    assert not ended(stranger, 0.05)
    os.kill(stranger, signal.SIGKILL)
    assert status(stranger) == -9


@inside
def test_what_its_caller_ignores_it_ignores(host: Host) -> None:
    """nohup; and what only Python ignores has its default action."""
    prepared()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wanted = shell("kill -HUP $$; kill -HUP $PPID; exit 4")
    for one in (wanted, watched(wanted)):
        child = starter.start(one, process.Foreground)
        child.go("sh")
        assert process.wait(child.pid) == 4
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    for name in ("PIPE", "XFSZ", "INT"):
        child = starter.start(shell(f"kill -{name} $$; exit 4"))
        child.go("sh")
        assert process.wait(child.pid) == 128 + getattr(signal, f"SIG{name}")


# -- one number, two processes


def recycled(pid: int) -> int:
    """Another process with the number of one that has ended; later than a clock tick."""
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))
    last_pid(pid - 1)
    stranger = subprocess.Popen(["sleep", "1000"])
    assert stranger.pid == pid
    return stranger.pid


@inside
def test_a_recycled_number_is_another_process(host: Host) -> None:
    prepared()
    child = starter.start(launch("sleep", "1000"))
    child.go("sleep")
    assert process.alive(child.pid, child.started)
    os.kill(child.pid, signal.SIGKILL)
    assert ended(child.pid)
    assert not process.alive(child.pid, child.started), "a zombie has ended"
    os.waitpid(child.pid, 0)
    assert not process.alive(child.pid, child.started)
    stranger = recycled(child.pid)
    assert process.start_time(stranger) > child.started
    assert not process.alive(child.pid, child.started)
    here = home()
    with pytest.raises(NotFound, match="another has its pid now"):
        enter.open_process(child.pid, child.started)
    with pytest.raises(Conflict, match="container web has exited"):
        starter.execute(shell("echo never"), child.pid, child.started)
    assert home() == here
    assert not process.alive(None, None)
    assert not process.alive(child.pid, None)
    os.kill(stranger, signal.SIGKILL)


@inside
def test_a_name_with_brackets_does_not_fool_the_start_time(host: Host) -> None:
    """proc_pid_stat(5): the command's name stands between brackets, and may hold some."""
    started = process.start_time(os.getpid())
    Path("/proc/self/comm").write_text("x) Z 1 1 1 (")
    assert started
    assert process.start_time(os.getpid()) == started


# -- those inside


@inside
def test_everybody_inside_is_found_and_ended(host: Host) -> None:
    """Also who was moved in by others, and who ignores what can be ignored; nobody else."""
    prepared()
    command("ip", "netns", "add", "other")
    deaf = "trap '' TERM INT HUP; echo; while :; do sleep 1000; done"
    inside_it = [
        subprocess.Popen(["ip", "netns", "exec", name, "sh", "-c", deaf], stdout=subprocess.PIPE)
        for name in ("web", "web", "other")
    ]
    for one in inside_it:
        assert one.stdout
        one.stdout.readline()
    web, other = netns.inode("web"), netns.inode("other")
    found = process.in_namespaces([web, other, 0])
    assert {one.pid for one in inside_it[:2]} <= set(found[web])
    assert inside_it[2].pid in found[other]
    assert set(found) == {web, other}
    before = open_fds()
    process.end([999_999])
    while left := process.in_namespaces([web])[web]:  # a fork may win
        process.end(left)
    assert open_fds() == before
    assert [one.wait() for one in inside_it[:2]] == [-9, -9]
    assert inside_it[2].poll() is None
    process.end(process.in_namespaces([other])[other])
    assert process.in_namespaces([]) == {}


def by_fork(action: Callable[[], object]) -> int:
    """The status of a process that does it."""
    pid = os.fork()
    if not pid:
        code = 99
        try:
            action()
        except BaseException:
            code = 98
        finally:
            os._exit(code)
    return status(pid)


@inside
def test_becoming_a_command_in_a_container(host: Host) -> None:
    prepared()
    child = starter.start(launch("sleep", "1000"))
    child.go("sleep")
    same = f"test $(readlink /proc/self/ns/net) = 'net:[{netns.inode('web')}]' && test $(hostname) = its-name"
    theirs = process.namespaces(child.pid)
    tests = [f"test $(readlink /proc/self/ns/{t}) = '{t}:[{theirs[t]}]'" for t in ("mnt", "pid", "ipc")]
    beside = " && ".join([same, *tests])
    into = shell(f"{beside} && exit 7")
    assert by_fork(lambda: os._exit(starter.execute(into, child.pid, child.started))) == 7
    alone = shell(f"{same} && ! ( {beside} ) && exit 7")
    assert by_fork(lambda: os._exit(starter.execute(alone, None, None))) == 7
    for wanted in (launch("nobody"), launch("true", cwd="/nowhere"), launch("true", name="gone")):
        assert by_fork(lambda w=wanted: starter.execute(w, None, None)) == 98  # type: ignore[misc]
    with pytest.raises(BadInput, match="working directory '/nowhere': No such file"):
        starter.execute(launch("true", cwd="/nowhere"), None, None)
