"""Groups on this kernel's hierarchies, below directories of the test's own, and on a version 2 that has all
controllers (unified.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linux.unified import Unified
from weft.core.drivers import cgroup as driver
from weft.core.model.errors import Conflict, KernelError, NotPermitted, Unsupported
from weft.core.model.hierarchy import Cgroups, Usage
from weft.core.model.oci import Resources
from weft.core.ops.cgroup import CgroupDel
from weft.linux import cgroup, usage

MIB = 1 << 20
TOP = f"weft-test-{os.getpid()}"
PATH = f"{TOP}/web"
#: Forks without end, each child for a moment.
FORKS = "while :; do (:); done"


@pytest.fixture
def found() -> Iterator[Cgroups]:
    """All that is mounted."""
    facts = cgroup.find()
    yield facts
    cgroup.remove(facts.directories(PATH))
    left = [d for d in facts.directories(TOP) if os.path.exists(d)]
    assert left == []


def version(found: Cgroups, number: int) -> Cgroups:
    """One of the two, as if the other was not there."""
    kept = tuple([h for h in found.hierarchies if h.version == number])
    if not kept:
        pytest.skip(f"no cgroups of version {number} are mounted")
    return found._replace(hierarchies=kept)


@pytest.fixture(params=[1, 2, 0], ids=["v1", "v2", "hybrid"])
def host(request: pytest.FixtureRequest, found: Cgroups) -> Cgroups:
    return version(found, request.param) if request.param else found


def make(found: Cgroups, wanted: Resources = Resources(), path: str = PATH) -> None:  # noqa: B008
    for op in driver.group_wants(found, path, wanted):
        cgroup.do(op)


def inside(found: Cgroups, *argv: str) -> subprocess.Popen[bytes]:
    """A command in the group, once it runs."""

    def enter() -> None:
        for directory in found.directories(PATH):
            if os.path.exists(directory):
                cgroup.write(f"{directory}/cgroup.procs", "0")

    return subprocess.Popen(argv, preexec_fn=enter, stdout=subprocess.PIPE)  # noqa: PLW1509


@pytest.fixture
def busy(host: Cgroups) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts what counts up in the group and writes how far it got: the time it makes progress."""
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        running.append(inside(host, "sh", "-c", "while :; do echo; done"))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.wait()


def test_what_is_mounted(found: Cgroups) -> None:
    for at in found.hierarchies:
        assert os.path.exists(f"{at.base}/cgroup.procs")
        if at.version == 1:
            with open("/proc/self/cgroup") as file:
                assert any(line.split(":")[1].split(",")[0] in at.controllers for line in file)


def test_made_joined_removed(host: Cgroups) -> None:
    make(host)
    child = inside(host, "sleep", "1000")
    assert cgroup.pids(PATH, host) == [child.pid]
    with open(f"/proc/{child.pid}/cgroup") as file:
        groups = [line for line in file if line.rstrip().endswith(f"/{PATH}")]
    (op,) = driver.group_wants(host, PATH, Resources())
    assert len(groups) == len(op.directories)
    cgroup.do(CgroupDel(PATH, host.directories(PATH)))
    assert child.wait() == -signal.SIGKILL
    assert not any(os.path.exists(d) for d in host.directories(TOP))


def test_removed_twice_and_never_made(host: Cgroups) -> None:
    make(host)
    for _ in range(2):
        cgroup.remove(host.directories(PATH))
    cgroup.remove(host.directories(f"{TOP}/never"))


def test_others_keep_the_directory_above(host: Cgroups) -> None:
    make(host)
    make(host, path=f"{TOP}/other")
    cgroup.remove(host.directories(PATH))
    assert any(os.path.exists(d) for d in host.directories(f"{TOP}/other"))
    assert cgroup.names(TOP, host) == ["other"]
    cgroup.remove(host.directories(f"{TOP}/other"))


def test_groups_that_a_container_made_go_too(host: Cgroups) -> None:
    make(host)
    there = [Path(d) for d in host.directories(PATH) if os.path.exists(d)]
    for place in there:
        (place / "a" / "b").mkdir(parents=True)
    child = subprocess.Popen(["sleep", "1000"])
    for place in there:
        (place / "a" / "b" / "cgroup.procs").write_text(str(child.pid))
    assert cgroup.pids(PATH, host) == [child.pid]
    cgroup.remove(host.directories(PATH))
    assert child.wait() == -signal.SIGKILL
    assert not any(place.exists() for place in there)


def test_a_leftover_is_made_anew(found: Cgroups) -> None:
    """What a crash left has limits of its own."""
    v1 = version(found, 1)
    make(v1, Resources(pids=7))
    make(v1, Resources())
    seen = usage.of_group(v1, PATH)
    assert seen is not None
    assert seen.pids_limit == 0


def test_a_group_with_strangers_is_not_ours(host: Cgroups) -> None:
    make(host)
    child = inside(host, "sleep", "1000")
    with pytest.raises(Conflict, match="has processes"):
        make(host)
    assert child.poll() is None
    assert cgroup.pids(PATH, host) == [child.pid]
    child.kill()
    child.wait()


def test_forks_do_not_outrun_the_end(host: Cgroups) -> None:
    make(host)
    children = [inside(host, "sh", "-c", FORKS) for _ in range(2)]
    cgroup.remove(host.directories(PATH))
    assert [child.wait() for child in children] == [-signal.SIGKILL] * 2


def test_limits_are_set_and_seen(found: Cgroups) -> None:
    v1 = version(found, 1)
    make(v1, Resources(memory=64 * MIB, swap=128 * MIB, cpu_quota=50_000, pids=20))
    seen = usage.of_group(v1, PATH)
    assert seen == Usage(
        memory=seen.memory if seen else -1,
        memory_limit=64 * MIB,
        cpu=0,
        cpu_quota=50_000,
        pids=0,
        pids_limit=20,
    )
    make(v1)
    seen = usage.of_group(v1, PATH)
    assert seen is not None
    assert (seen.memory_limit, seen.cpu_quota, seen.pids_limit) == (0, 0, 0)
    assert usage.of_group(v1, f"{TOP}/none") is None


def test_the_fork_too_many_is_refused(found: Cgroups) -> None:
    make(version(found, 1), Resources(pids=3))
    script = "for n in 1 2 3 4 5; do sleep 1000 & done; wait"
    child = subprocess.Popen(
        ["sh", "-c", script],
        preexec_fn=lambda: cgroup.join(PATH, limited=True),  # noqa: PLW1509
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    assert "fork" in child.stderr.readline().lower()
    cgroup.remove(found.directories(PATH))
    child.wait()


def test_device_rules(found: Cgroups) -> None:
    v1 = version(found, 1)
    rules = ((False, "a", -1, -1, "rwm"), (True, "c", 1, 3, "rwm"), (True, "c", 1, 5, "r"))
    make(v1, Resources(devices=rules))
    script = "cat </dev/zero | head -c1 | wc -c; : >/dev/null && echo null; : >/dev/zero && echo zero"
    child = inside(v1, "sh", "-c", f"{script}; head -c1 /dev/urandom && echo random")
    said = child.communicate()[0].decode().split()
    assert said == ["1", "null"]


def test_cpuset(found: Cgroups) -> None:
    v1 = version(found, 1)
    if v1.of("cpuset") is None:
        pytest.skip("no controller cpuset")
    make(v1, Resources(cpuset_cpus="0"))
    child = inside(v1, "sh", "-c", "grep Cpus_allowed_list /proc/self/status")
    assert child.communicate()[0].split()[-1] == b"0"


def test_half_made_is_taken_back(found: Cgroups) -> None:
    """The kernel refuses a value after directories have been made."""
    v1 = version(found, 1)
    with pytest.raises(KernelError, match=r"cpuset\.cpus=4000"):
        make(v1, Resources(pids=5, cpuset_cpus="4000"))
    assert not any(os.path.exists(d) for d in v1.directories(PATH))


def test_joining_what_is_gone(found: Cgroups) -> None:
    cgroup.join(f"{TOP}/none")
    with pytest.raises(KernelError, match="is gone, and its limits"):
        cgroup.join(f"{TOP}/none", limited=True)


# frozen


def progress(child: subprocess.Popen[bytes]) -> bool:
    """Whether it writes, once what it has written so far is taken."""
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    while child.stdout.read(1 << 20):
        pass
    clock = time.process_time()
    before = ticks(child.pid)
    while time.process_time() - clock < 0.05:  # of this process's own: that much there was for others too
        pass
    return bool(child.stdout.read(1)) or ticks(child.pid) > before


def ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))


def test_frozen_makes_no_progress(host: Cgroups, busy: Callable[[], subprocess.Popen[bytes]]) -> None:
    make(host)
    child = busy()
    assert child.stdout is not None
    assert child.stdout.read(1)
    cgroup.do(driver.freeze(host, PATH))
    assert not progress(child)
    cgroup.do(driver.freeze(host, PATH))
    cgroup.do(driver.thaw(host, PATH))
    os.set_blocking(child.stdout.fileno(), True)
    assert len(child.stdout.read(1 << 17)) == 1 << 17  # more than a pipe can have kept


def test_frozen_is_ended(host: Cgroups) -> None:
    make(host)
    child = inside(host, "sleep", "1000")
    cgroup.do(driver.freeze(host, PATH))
    cgroup.end(host.directories(PATH))
    assert child.wait(10) == -signal.SIGKILL


def test_forks_are_frozen_too(host: Cgroups) -> None:
    make(host)
    children = [inside(host, "sh", "-c", FORKS) for _ in range(2)]
    for _ in range(5):
        cgroup.do(driver.freeze(host, PATH))
        before = cgroup.pids(PATH, host)
        assert before == cgroup.pids(PATH, host)
        cgroup.do(driver.thaw(host, PATH))
    cgroup.remove(host.directories(PATH))
    assert [child.wait() for child in children] == [-signal.SIGKILL] * 2


def test_nothing_to_freeze(host: Cgroups) -> None:
    with pytest.raises(Conflict, match="no cgroup"):
        cgroup.do(driver.freeze(host, f"{TOP}/none"))


# version 2 with controllers


@pytest.fixture
def unified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unified:
    return Unified(tmp_path, monkeypatch)


LIMITS = Resources(memory=64 * MIB, swap=128 * MIB, cpu_quota=50_000, pids=20)


def test_limits_of_version_2(unified: Unified) -> None:
    make(unified.facts(), LIMITS, "weft/web")
    place = unified.top / "weft" / "web"
    for file, value in (
        ("memory.max", str(64 * MIB)),
        ("memory.swap.max", str(64 * MIB)),
        ("cpu.max", "50000 100000"),
        ("pids.max", "20"),
    ):
        assert (place / file).read_text() == value
    assert (unified.top / "cgroup.subtree_control").read_text() == "cpu memory pids"
    seen = usage.of_group(unified.facts(), "weft/web")
    assert seen == Usage(memory=0, memory_limit=64 * MIB, cpu=0, cpu_quota=50_000, pids=0, pids_limit=20)
    cgroup.remove(unified.facts().directories("weft/web"))
    assert not (unified.top / "weft").exists()


def test_no_internal_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a container the top has the caller's own processes: it says so, and leaves nothing."""
    unified = Unified(tmp_path, monkeypatch, root=False)
    (tmp_path / "cgroup.procs").write_text("17\n")
    with pytest.raises(Unsupported, match="processes of its own") as refused:
        make(unified.facts(), LIMITS, "weft/web")
    assert "no internal processes" in refused.value.hint
    assert not (tmp_path / "weft").exists()
    make(unified.facts(), Resources(), "weft/web")  # what needs no limit goes on
    assert (tmp_path / "weft" / "web" / "cgroup.freeze").exists()


def test_a_kernel_without_the_file(unified: Unified, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("linux.unified").unified.FILES["memory"], "memory.swap.max")
    with pytest.raises(Unsupported, match=r"controller memory .* has no memory\.swap\.max"):
        make(unified.facts(), LIMITS, "weft/web")
    assert not (unified.top / "weft").exists()


@pytest.mark.parametrize("number", [1, 13, 30])
def test_not_writable(unified: Unified, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(cgroup, "make_directory", refuse)
    with pytest.raises(NotPermitted, match="cannot make the cgroup weft/web"):
        make(unified.facts(), LIMITS, "weft/web")
    make(unified.facts(), Resources(), "weft/web")
    assert not (unified.top / "weft").exists()


def test_no_process_enters_above_the_groups(unified: Unified, monkeypatch: pytest.MonkeyPatch) -> None:
    make(unified.facts(), LIMITS, "weft/web")
    monkeypatch.setattr(cgroup, "find", unified.facts)
    with pytest.raises(KernelError, match="cannot enter"):
        cgroup.join("weft")
    cgroup.join("weft/web", limited=True)
    assert cgroup.pids("weft/web", unified.facts()) == [os.getpid()]
    cgroup.remove(unified.facts().directories("weft/web"))
