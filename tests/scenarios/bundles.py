"""OCI bundles on a machine: a busybox root, and what runtimes are told about it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import Host
from harness.host import REPO

ROOT = "/run/root"
#: Where their cgroups are: the machine shares them with the one that it runs on.
CGROUP = f"weft-test-oci-{os.getpid()}"
TOOLS = (
    "sh cat ls id ip mount hostname sleep true false echo readlink env ping kill grep nslookup touch mkdir"
    " stty tty"
).split()
#: Where crun puts what hooks say; runc tells it itself.
SAID = "/run/said"
HOOK = {"path": str(REPO / "weft"), "args": ["weft", "oci-hook"]}


def furnish(host: Host) -> None:
    """A root with busybox, at ROOT; and cgroups as crun can use them."""
    busybox = next((p for p in ("/usr/bin/busybox", "/bin/busybox") if os.path.exists(p)), "")
    assert busybox, "the package busybox-static is missing"
    lines = [f"mkdir -p {ROOT}/{d}" for d in ("bin", "proc", "dev", "sys", "etc", "tmp", "root")]
    lines += [f"cp {busybox} {ROOT}/bin/busybox", f"touch {ROOT}/etc/hosts {ROOT}/etc/resolv.conf"]
    lines += [f"ln -s busybox {ROOT}/bin/{tool}" for tool in TOOLS]
    lines += [f"echo root:x:0:0::/root:/bin/sh >{ROOT}/etc/passwd", f"echo root:x:0: >{ROOT}/etc/group"]
    # crun takes a hybrid hierarchy for a unified one, and finds no controllers in it. The machine's own part
    # of it lies on top of the whole. (crun leaves files in the directory below.)
    lines += ["while mountpoint -q /sys/fs/cgroup/unified; do umount /sys/fs/cgroup/unified; done"]
    host.sh("\n".join(lines))


def sweep() -> None:
    """Their cgroups are gone when they are: what is left are the directories above."""
    for place in Path("/sys/fs/cgroup").glob(f"*/{CGROUP}"):
        for left in [*place.glob("*"), place]:
            if left.is_dir():
                left.rmdir()


def config(
    *command: str, id: str, notes: Mapping[str, str] | None = None, hooks: Sequence[str] = ()
) -> dict[str, Any]:
    """What ``runc spec`` writes, for a command without a terminal."""
    namespaces = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": list(command),
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin", "HOME=/root"],
            "capabilities": {k: ["CAP_NET_RAW", "CAP_KILL"] for k in ("bounding", "effective", "permitted")},
        },
        "root": {"path": ROOT},
        "hostname": id,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/sys",
                "type": "sysfs",
                "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {"namespaces": namespaces, "cgroupsPath": f"/{CGROUP}/{id}"},
        "annotations": {**dict(notes or {}), "run.oci.hooks.stderr": SAID},
        "hooks": {kind: [HOOK] for kind in hooks},
    }


def bundle(host: Host, made: dict[str, Any], name: str = "") -> str:
    """A bundle's directory with that config.json."""
    path = f"/run/bundles/{name or made['hostname']}"
    host.write(f"{path}/config.json", json.dumps(made, indent=1))
    return path
