"""A machine to measure in: namespaces of its own, so that this one's network is never touched.

/run and /etc/netns are empty and in memory, the rest of /etc and /var/lib is copy on write. weft's
state is in memory too, or in a directory of the real disk, where a durable commit costs something.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence

#: A pid namespace too: monitors and proxies end with their machine.
_NAMESPACES = (*"unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc".split(), "--")
_FURNISH = """
mount -t tmpfs -o mode=755 tmpfs /run
for dir in etc var/lib; do
    mkdir -p /run/cow/$dir/upper /run/cow/$dir/work
    mount -t overlay -o lowerdir=/$dir,upperdir=/run/cow/$dir/upper,workdir=/run/cow/$dir/work overlay /$dir
done
mkdir -p -m 755 /etc/netns
mkdir -p -m 700 /var/lib/weft
mount -t tmpfs -o mode=755 tmpfs /etc/netns
if [ -n "$0" ]; then mount --bind "$0" /var/lib/weft; else mount -t tmpfs -o mode=700 tmpfs /var/lib/weft; fi
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --move /run/cgroup /sys/fs/cgroup
rmdir /run/cgroup
rm -f /etc/resolv.conf
echo nameserver 198.51.100.53 >/etc/resolv.conf
ip link set lo up
"$@"
exit # this shell stays, to reap what is orphaned
"""
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
_DISK = "/var/tmp"


def run(argv: Sequence[str], on_disk: bool) -> str:
    """Runs a command in a machine of its own; what it wrote to stdout."""
    if not on_disk:
        return _run(argv, "")
    with tempfile.TemporaryDirectory(prefix="weft-bench-", dir=_DISK) as state:
        return _run(argv, state)


def _run(argv: Sequence[str], state: str) -> str:
    command = [*_NAMESPACES, "sh", "-e", "-c", _FURNISH, state, *argv]
    ran = subprocess.run(command, env=_ENVIRONMENT, check=False, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with status {ran.returncode}")
    return ran.stdout


def disk() -> str:
    """The file system of the disk variant."""
    return _said("findmnt", "-no", "FSTYPE", "-T", _DISK)


def summary() -> str:
    """What the figures were measured on."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    system = os.uname()
    python = _said("/usr/bin/python3", "-V")
    load = os.getloadavg()[0]
    return f"{len(models)} x {models[0]}, Linux {system.release}, {python}, load {load:.1f} when started"


def _said(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
