"""Containers started as a person would do it: the printed commands make the same of them."""

from __future__ import annotations

import os
import subprocess

import pytest

from harness import Host
from linux.boxes import said, spec
from linux.inside import inside
from weft.core.model.launch import Launch
from weft.core.model.oci import Namespace, Rlimit, User

PROBE = (
    "hostname; id; pwd; umask; ulimit -n; grep -e ^Cap -e NoNew /proc/self/status; ls /sys/class/net; "
    "env | sort; "
    "ls -l /dev/null /dev/ptmx /dev/fd /dev/full 2>&1 | cut -c1-20; cat /proc/sys/kernel/msgmax; "
    "cat /proc/keys | wc -c; ls -A /sys/firmware; "
    # Of mounts on top of each other only the last is seen.
    'awk \'{ n = 7; while ($n != "-") n++; top[$5] = $6 " " $(n + 1) } '
    "END { for (p in top) print p, top[p] }' "
    "/proc/self/mountinfo | sort"
)


@inside
@pytest.mark.parametrize("root", ["", "/run/whole"])
def test_the_printed_commands_do_the_same(host: Host, root: str) -> None:
    if root:
        os.mkdir(root)
        os.system(f"mount --bind / {root}; mount --rbind /usr {root}/usr")
    os.system("ip netns add web")
    net = Namespace("net", "/run/netns/web")
    wanted = spec(
        "sh", "-c", PROBE, root=root, cwd="/usr", hostname="its-name", init=False,
        namespaces=(net, *[Namespace(t) for t in ("mnt", "uts", "ipc", "pid")]),
        rlimits=(Rlimit("RLIMIT_NOFILE", 100, 200),), no_new_privileges=False,
        user=User(1000, 1001, (5, 6), 0o27), sysctl=(("kernel.msgmax", "4096"),),
    )  # fmt: skip
    ours = said(wanted).splitlines()
    script = Launch(wanted, "web").shell()
    done = subprocess.run(["sh", "-c", script], check=False, capture_output=True, text=True)
    theirs = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in ours if line not in theirs] == []
    assert [line for line in theirs if line not in ours] == []
