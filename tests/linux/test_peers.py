"""The same Spec started by weft and by runc: what its command finds is the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Host
from linux.boxes import FRESH, MASKED, ROOT, busybox, said, sh
from linux.inside import inside
from weft.core.model.oci import Device, Mount, Rlimit, Spec, User
from weft.core.oci.write import write

CGROUP = f"weft-test-box-{os.getpid()}"
MASKS = (*MASKED, "/masked")
PROBE = """id; pwd; umask; hostname; env | sort; ulimit -n; cat /proc/self/oom_score_adj /proc/self/uid_map
grep -e ^Cap -e ^NoNew /proc/self/status; ls /proc/self/fd | wc -l; ls /; ls /sys/class/net
cd /dev; stat -c '%n %F %t:%T %a %u:%g' *; ls -l | grep -o ' [a-z]* -> .*'; cat /proc/sys/kernel/msgmax
for f in /proc/keys /proc/timer_list; do wc -c <$f; done; ls -A /sys/firmware /masked; stat -c '%a %F' /masked
while read -r a b c d point options rest; do
rest=${rest##*- }; echo $point $options : ${rest%% *}; done </proc/self/mountinfo | sort"""


@pytest.fixture
def groups() -> Iterator[None]:
    """The groups that runc makes for them are taken away."""
    yield
    for place in Path("/sys/fs/cgroup").glob(f"*/{CGROUP}"):
        for left in [*place.glob("*"), place]:
            if left.is_dir():
                left.rmdir()


def by_runc(spec: Spec) -> str:
    bundle = Path("/run/bundle")
    bundle.mkdir(exist_ok=True)
    (bundle / "config.json").write_bytes(write(spec._replace(cgroups_path=f"/{CGROUP}/one")))
    argv = ["runc", "--root", "/run/runc", "run", "--bundle", str(bundle), "one"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def wanted(number: int, fresh: tuple[str, ...]) -> Spec:
    """Three of them; between them every part of a Spec that both know."""
    spec = sh(PROBE, fresh=fresh, hostname="peer", init=False)
    spec = spec._replace(masked_paths=(*spec.masked_paths, "/masked"))
    if number == 0:
        return spec
    if number == 1:
        more = (
            Mount("/data", "/run/data", "bind", ("rbind", "ro", "nodev", "noexec")),
            Mount("/etc/made/names", "/run/data/file", "bind", ("bind", "nosuid")),
            Mount("/scratch/deep", "x", "tmpfs", ("nosuid", "size=1m", "mode=700", "noatime")),
        )
        process = spec.process._replace(
            user=User(1000, 1001, (5, 6), 0o27), rlimits=(Rlimit("RLIMIT_NOFILE", 99, 99),), oom_score_adj=7
        )
        return spec._replace(mounts=(*spec.mounts, *more), process=process, root_readonly=True)
    devices = (Device("/dev/fuse", "c", 10, 229, 0o640, 3, 4),)
    process = spec.process._replace(no_new_privileges=False, cwd="/made/here")
    return spec._replace(devices=devices, sysctl=(("kernel.msgmax", "4096"),), process=process)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("fresh", [FRESH, (*FRESH, "user")])
def test_what_runc_makes_of_it(host: Host, groups: None, number: int, fresh: tuple[str, ...]) -> None:
    compare(host=host, number=number, fresh=fresh)


@inside
def compare(host: Host, number: int, fresh: tuple[str, ...]) -> None:
    busybox()
    for name in ("proc", "sys", "dev", "masked", "data", "scratch/deep", "etc/made", "made/here"):
        os.makedirs(f"{ROOT}/{name}")
    Path(f"{ROOT}/etc/made/names").touch()
    os.makedirs("/run/data")
    Path("/run/data/file").touch()
    spec = wanted(number, fresh)
    if "user" in fresh:
        spec = spec._replace(devices=())
    assert told(said(spec)) == told(by_runc(spec))


def told(said: str) -> list[str]:
    """Without what weft does otherwise on purpose: under no_new_privileges all mounts are nosuid; what masks
    a directory is nodev and noexec too, what masks a file is the host's null device, not the container's.
    Where runc gives /dev/mqueue to its user namespace's root, with nobody's group, it is nobody's."""
    found = []
    for line in said.splitlines():
        words = line.replace("nosuid,", "").replace(",nosuid", "").split() or [""]
        if words[0] in MASKS and len(words) > 3:
            words = [words[0], "masked"]
        found.append(" ".join(words[:4] if words[0] == "mqueue" else words))
    return found
