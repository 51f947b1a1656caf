"""The examples of the OCI runtime specification (config.md, config-linux.md), run by weft itself and by runc
and crun as far as those of Debian know them: the same comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness import Host, settle
from scenarios.bundles import ROOT, bundle, config, furnish, sweep

KINDS = ("pid", "net", "mnt", "ipc", "uts", "user", "cgroup", "time")
SAYS = f"for t in {' '.join(KINDS)}; do readlink /proc/self/ns/$t; done"
#: /volumes/testing of the example below, in this machine alone.
VOLUME = "/run/volumes/testing"
#: config.md, "Mounts".
MOUNTS = [
    {
        "destination": "/tmp",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {"destination": "/data", "type": "none", "source": VOLUME, "options": ["rbind", "rw"]},
]
#: config.md, "Configuration Schema Example", but for /proc, which is the first of them there.
WHOLE = [
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    {
        "destination": "/dev/mqueue",
        "type": "mqueue",
        "source": "mqueue",
        "options": ["nosuid", "noexec", "nodev"],
    },
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    },
]
#: config-linux.md, "User namespace mappings" and "Offset for Time Namespace".
MAPPING = [{"containerID": 0, "hostID": 1000, "size": 32000}]
OFFSETS = {
    "monotonic": {"secs": 172800, "nanosecs": 0},
    "boottime": {"secs": 604800, "nanosecs": 0},
}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host("examples") as made:
        furnish(made)
        made.sh(f"mkdir -p {VOLUME} {ROOT}/data && echo there >{VOLUME}/file")
        yield made
    sweep()


@pytest.fixture(autouse=True)
def nothing_is_left(host: Host) -> Iterator[None]:
    yield
    assert settle(host, lambda: host.weft("ps", "-aq").stdout == "")


def run(host: Host, way: str, made: dict[str, Any]) -> str:
    """What a bundle says, run by weft itself, or by a runtime without weft."""
    path = bundle(host, made)
    if way == "weft":
        return host.weft("run", "--rm", "--bundle", path).stdout
    return host.run([way, "run", "--bundle", path, made["hostname"]]).stdout


def spaces(host: Host, pid: int | str = "self") -> dict[str, str]:
    return {kind: host.run(["readlink", f"/proc/{pid}/ns/{kind}"]).stdout.strip() for kind in KINDS}


# -- mounts


@pytest.mark.parametrize("way", ["weft", "runc", "crun"])
def test_the_example_of_mounts(host: Host, way: str) -> None:
    script = "grep -E ' /(tmp|data) ' /proc/self/mountinfo; cat /data/file; echo new >/data/new; df -k /tmp"
    made = config("sh", "-c", f"{script}; stat -c %a /tmp", id="mounts")
    made["mounts"] += MOUNTS
    host.sh(f"ln -sf busybox {ROOT}/bin/df; ln -sf busybox {ROOT}/bin/stat")
    *rows, there, _, size, mode = run(host, way, made).splitlines()
    found = {row.split()[4]: row.split(" - ") for row in rows}
    assert list(found) == ["/tmp", "/data"]
    assert {"rw", "nosuid"} <= set(found["/tmp"][0].split()[5].split(","))
    assert not {"relatime", "noatime"} & set(found["/tmp"][0].split()[5].split(","))
    assert found["/tmp"][1].startswith("tmpfs tmpfs ") and size.split()[1] == "65536"
    assert found["/data"][0].split()[3] == VOLUME.removeprefix("/run")
    assert (there, mode) == ("there", "755")
    assert host.read(f"{VOLUME}/new") == "new\n"
    host.sh(f"rm {VOLUME}/new")


def test_the_mounts_of_the_whole_example(host: Host) -> None:
    """The same points, file systems and options as runc makes of them, but that nothing is set-user-id."""
    made = config("sh", "-c", "cat /proc/self/mountinfo; stat -c '%a %g' /dev/ptmx /dev/shm /dev/pts", id="w")
    made["mounts"] = [made["mounts"][0], *WHOLE]
    made["linux"]["namespaces"].append({"type": "cgroup"})
    said = {way: run(host, way, made).splitlines() for way in ("weft", "runc")}
    found = {way: [_row(line) for line in lines if " - " in line] for way, lines in said.items()}
    own = {row[0] for row in found["weft"]} - {row[0] for row in found["runc"]}
    # Names are weft's; and for hierarchies it asks the kernel, not the host's mounts (fewer here, for crun).
    assert own == {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/sys/fs/cgroup/unified"}
    # runc leaves the directory of the hierarchies writable, which was to be read-only.
    top = ("/sys/fs/cgroup", "tmpfs", ("ro", "nodev", "noexec", "relatime"))
    assert top in found["weft"]
    for row in [row for row in found["runc"] if row[0] != top[0]]:
        assert row in found["weft"], (row, [r for r in found["weft"] if r[0] == row[0]])
    assert said["weft"][-3:] == said["runc"][-3:]


def _row(line: str) -> tuple[str, str, tuple[str, ...]]:
    left, _, right = line.partition(" - ")
    words = left.split()
    return words[4], right.split()[0], tuple([o for o in words[5].split(",") if o != "nosuid"])


# -- namespaces


@pytest.fixture
def donor(host: Host) -> Iterator[str]:
    """A process in a pid namespace of its own, and a network namespace neta."""
    holder = host.popen(["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo; exec sleep 100"])
    assert holder.stdout and holder.stdout.readline()
    assert settle(host, lambda: host.run(["pgrep", "-xf", "sleep 100"], check=False).returncode == 0)
    host.run(["ip", "netns", "add", "neta"])
    yield host.run(["pgrep", "-xf", "sleep 100"]).stdout.strip()
    host.run(["ip", "netns", "del", "neta"])
    holder.end()


@pytest.mark.parametrize("way", ["weft", "crun"])
def test_the_example_of_namespaces(host: Host, donor: str, way: str) -> None:
    """Two by their paths, six new ones. Debian's runc has no time namespaces, and its crun never ends when it
    joins a pid namespace beside a new user namespace: it makes one. That crun shifts no clocks, either."""
    made = config("sh", "-c", f"{SAYS}; id -u; cat /proc/self/uid_map; cut -d. -f1 /proc/uptime", id="spaces")
    made["linux"]["namespaces"] = [
        {"type": "pid"} | ({"path": f"/proc/{donor}/ns/pid"} if way == "weft" else {}),
        {"type": "network", "path": "/var/run/netns/neta"},
        *[{"type": kind} for kind in ("mount", "ipc", "uts", "user", "cgroup", "time")],
    ]
    made["linux"] |= {"uidMappings": MAPPING, "gidMappings": MAPPING, "timeOffsets": OFFSETS}
    # /proc and /sys are of namespaces that the container's root has no rights over.
    made["mounts"][0] = {"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]}
    made["mounts"][2] = {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"]}
    host.sh(f"ln -sf busybox {ROOT}/bin/cut")
    *found, uid, mapped, up = run(host, way, made).splitlines()
    theirs, ours = dict(zip(KINDS, found, strict=True)), spaces(host)
    netns = f"net:[{host.run(['stat', '-L', '-c', '%i', '/run/netns/neta']).stdout.strip()}]"
    assert (theirs["pid"] == spaces(host, donor)["pid"]) == (way == "weft")
    assert theirs["net"] == netns != ours["net"]
    assert [kind for kind in KINDS if theirs[kind] == ours[kind]] == []
    assert (uid, mapped.split()) == ("0", ["0", "1000", "32000"])
    shift = OFFSETS["boottime"]["secs"] if way == "weft" else 0
    assert abs(int(up) - float(host.read("/proc/uptime").split()[0]) - shift) < 60


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("seconds", [172800, -1])
def test_clocks(host: Host, user: bool, seconds: int) -> None:
    """Both clocks, forwards and back, also within a user namespace; a further command has them, too."""
    made = config("sleep", "1000", id="clocks")
    made["linux"]["namespaces"].append({"type": "time"})
    offsets = {"monotonic": {"secs": seconds, "nanosecs": 5}, "boottime": {"secs": 2 * seconds}}
    made["linux"]["timeOffsets"] = offsets
    if user:
        made["linux"]["namespaces"].append({"type": "user"})
        made["linux"] |= {"uidMappings": MAPPING, "gidMappings": MAPPING}
    name = host.weft("run", "-d", "--name", "clocks", "--network", "none", "--bundle", bundle(host, made))
    pid = host.weft_json("inspect", "clocks")[0]["pid"]
    rows = [line.split() for line in host.read(f"/proc/{pid}/timens_offsets").splitlines()]
    assert rows == [["monotonic", str(seconds), "5"], ["boottime", str(2 * seconds), "0"]], name
    up = float(host.weft("exec", "clocks", "cat", "/proc/uptime").stdout.split()[0])
    assert -60 < up - float(host.read("/proc/uptime").split()[0]) - 2 * seconds < 60
    assert spaces(host, pid)["time"] != spaces(host)["time"]
    host.weft("rm", "-f", "clocks")


@pytest.mark.parametrize(
    ("offsets", "said"),
    [
        ({"realtime": {"secs": 1}}, "linux.timeOffsets.realtime: is not one of monotonic, boottime"),
        ({"monotonic": {"secs": "1"}}, "linux.timeOffsets.monotonic.secs: is a string"),
        ({"monotonic": {"nanosecs": 10**9}}, "linux.timeOffsets.monotonic.nanosecs: 1000000000 is not in"),
        ({"monotonic": {"secs": -(10**9)}}, "clock monotonic cannot be shifted by -1e+09 s"),
        ({"boottime": {"secs": 1 << 62}}, "linux.timeOffsets.boottime.secs"),
    ],
)
def test_clocks_that_cannot_be(host: Host, offsets: dict[str, Any], said: str) -> None:
    made = config("true", id="clocks")
    made["linux"]["namespaces"].append({"type": "time"})
    made["linux"]["timeOffsets"] = offsets
    done = host.weft("run", "--rm", "--network", "none", "--bundle", bundle(host, made), check=False)
    assert (done.returncode, done.stdout, said in done.stderr) == (2, "", True), done.stderr
    made["linux"]["namespaces"].pop()
    done = host.weft("run", "--rm", "--network", "none", "--bundle", bundle(host, made), check=False)
    assert done.returncode == 2 and "linux.timeOffsets" in done.stderr, json.dumps(offsets)


def test_a_time_namespace_by_its_path(host: Host) -> None:
    argv = ["unshare", "--time", "--boottime", "604800", "--fork", "--kill-child"]
    holder = host.popen([*argv, "sh", "-c", "echo; exec sleep 200"])
    assert holder.stdout and holder.stdout.readline()
    assert settle(host, lambda: host.run(["pgrep", "-xf", "sleep 200"], check=False).returncode == 0)
    pid = host.run(["pgrep", "-xf", "sleep 200"]).stdout.strip()
    made = config("sh", "-c", "echo $$; readlink /proc/self/ns/time; cat /proc/uptime", id="timed")
    made["linux"]["namespaces"].append({"type": "time", "path": f"/proc/{pid}/ns/time"})
    first, space, up = run(host, "weft", made).splitlines()
    assert (first, space) == ("1", spaces(host, pid)["time"]) and space != spaces(host)["time"]
    assert abs(float(up.split()[0]) - float(host.read("/proc/uptime").split()[0]) - 604800) < 60
    holder.end()
