"""What a container's cgroup needs: on version 1, 2 and hybrid hosts, and where a controller is missing."""

from __future__ import annotations

import pytest

from weft.core.drivers import cgroup as driver
from weft.core.model.errors import Unsupported
from weft.core.model.hierarchy import Cgroups, Hierarchy, hierarchies
from weft.core.model.oci import Resources
from weft.core.ops.cgroup import CgroupDel

V1 = tuple(
    Hierarchy(f"/sys/fs/cgroup/{names}", 1, tuple(names.split(",")))
    for names in ("cpu,cpuacct", "memory", "pids", "devices", "freezer", "cpuset")
)
V2 = Hierarchy("/sys/fs/cgroup", 2, ("cpuset", "cpu", "io", "memory", "pids"))
EMPTY = Hierarchy("/sys/fs/cgroup/unified", 2, ("hugetlb",))
ALL = Resources(memory=64 << 20, swap=128 << 20, cpu_quota=50_000, pids=20)
PATH = "weft/web"


def settings(found: Cgroups, wanted: Resources) -> dict[str, str]:
    (op,) = driver.group_wants(found, PATH, wanted)
    return {
        f"{directory}/{file}".removeprefix("/sys/fs/cgroup/"): value
        for directory, pairs in op.groups
        for file, value in pairs
    }


def test_version_1() -> None:
    assert settings(Cgroups(V1, swap=True), ALL) == {
        "memory/weft/web/memory.limit_in_bytes": str(64 << 20),
        "memory/weft/web/memory.memsw.limit_in_bytes": str(128 << 20),
        "cpu,cpuacct/weft/web/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/weft/web/cpu.cfs_quota_us": "50000",
        "pids/weft/web/pids.max": "20",
    }


def test_memory_before_memory_and_swap() -> None:
    """The kernel takes no limit of both that is below the one of memory."""
    keys = list(settings(Cgroups(V1, swap=True), ALL))
    first, second = [i for i, key in enumerate(keys) if "limit_in_bytes" in key]
    assert "memsw" in keys[second]
    assert first < second


def test_version_2() -> None:
    found = Cgroups((V2,), swap=True)
    assert settings(found, ALL) == {
        "weft/web/memory.max": str(64 << 20),
        "weft/web/memory.swap.max": str(64 << 20),
        "weft/web/cpu.max": "50000 100000",
        "weft/web/pids.max": "20",
    }
    (op,) = driver.group_wants(found, PATH, ALL)
    assert op.directories == ("/sys/fs/cgroup/weft/web",)
    assert op.enable == (
        ("/sys/fs/cgroup", "+cpu +memory +pids"),
        ("/sys/fs/cgroup/weft", "+cpu +memory +pids"),
    )


def test_hybrid_freezes_by_version_2() -> None:
    found = Cgroups((*V1, EMPTY))
    (op,) = driver.group_wants(found, PATH, Resources())
    assert "/sys/fs/cgroup/unified/weft/web" in op.directories
    assert not any("freezer" in d or "cpuset" in d for d in op.directories)
    assert op.enable == ()
    assert driver.freeze(found, PATH).directory == "/sys/fs/cgroup/unified/weft/web"


def test_version_1_freezes_by_its_controller() -> None:
    (op,) = driver.group_wants(Cgroups(V1), PATH, Resources())
    assert "/sys/fs/cgroup/freezer/weft/web" in op.directories
    freeze = driver.freeze(Cgroups(V1), PATH)
    assert freeze.shell() == ("echo FROZEN > /sys/fs/cgroup/freezer/weft/web/freezer.state",)
    assert freeze.undo() == driver.thaw(Cgroups(V1), PATH)


def test_nothing_freezes() -> None:
    with pytest.raises(Unsupported, match="freezer"):
        driver.freeze(Cgroups(V1[:4]), PATH)


@pytest.mark.parametrize(
    ("wanted", "controller"),
    [
        (Resources(memory=64 << 20), "memory"),
        (Resources(cpu_quota=50_000), "cpu"),
        (Resources(cpu_shares=512), "cpu"),
        (Resources(pids=5), "pids"),
        (Resources(cpuset_cpus="0"), "cpuset"),
    ],
)
@pytest.mark.parametrize("found", [Cgroups(), Cgroups((EMPTY,)), Cgroups((V1[4],))], ids=["none", "v2", "v1"])
def test_a_missing_controller_is_named(found: Cgroups, wanted: Resources, controller: str) -> None:
    with pytest.raises(Unsupported, match=f"controller {controller} is not there"):
        driver.group_wants(found, PATH, wanted)


def test_without_cgroups_nothing_is_wanted() -> None:
    assert driver.group_wants(Cgroups(), PATH, Resources()) == ()
    assert driver.group_goes(Cgroups(), PATH) == ()
    devices = Resources(devices=((False, "a", -1, -1, "rwm"),))
    assert driver.group_wants(Cgroups(), PATH, devices) == ()


def test_swap_that_nobody_counts() -> None:
    """Without any swap a limit of it means nothing; with some it would be no limit."""
    assert "memory/weft/web/memory.memsw.limit_in_bytes" not in settings(Cgroups(V1), ALL)
    with pytest.raises(Unsupported, match="swap"):
        driver.group_wants(Cgroups(V1, swapping=True), PATH, ALL)


def test_unlimited_swap_of_a_bundle() -> None:
    wanted = Resources(memory=64 << 20, swap=-1)
    assert settings(Cgroups(V1, swap=True), wanted)["memory/weft/web/memory.memsw.limit_in_bytes"] == "-1"
    assert settings(Cgroups((V2,), swap=True), wanted)["weft/web/memory.swap.max"] == "max"


def test_cpuset_of_version_1_is_filled_from_above() -> None:
    (op,) = driver.group_wants(Cgroups(V1), PATH, Resources(cpuset_cpus="0"))
    groups = dict(op.groups)
    copied = (("cpuset.cpus", ""), ("cpuset.mems", ""))
    assert groups["/sys/fs/cgroup/cpuset/weft"] == copied
    assert groups["/sys/fs/cgroup/cpuset/weft/web"] == (*copied, ("cpuset.cpus", "0"))
    assert "/sys/fs/cgroup/cpuset/weft" not in op.directories
    assert "cat /sys/fs/cgroup/cpuset/cpuset.mems > /sys/fs/cgroup/cpuset/weft/cpuset.mems" in op.shell()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ((False, "a", -1, -1, "rwm"), "a"),
        ((True, "c", 1, 3, "rwm"), "c 1:3 rwm"),
        ((True, "c", 136, -1, "rw"), "c 136:* rw"),
        ((True, "b", -1, -1, "m"), "b *:* m"),
        ((False, "c", 10, 200, ""), "c 10:200 rwm"),
    ],
)
def test_device_rules(rule: tuple[bool, str, int, int, str], text: str) -> None:
    (op,) = driver.group_wants(Cgroups(V1), PATH, Resources(devices=(rule,)))
    file = "devices.allow" if rule[0] else "devices.deny"
    assert dict(op.groups)["/sys/fs/cgroup/devices/weft/web"] == ((file, text),)


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (0, 1), (1 << 40, 10000)]
)
def test_shares_as_weight(shares: int, weight: int) -> None:
    """As the runtime specification and runc convert them."""
    assert driver.weight(shares) == weight


def test_the_shell_makes_the_same() -> None:
    (op,) = driver.group_wants(Cgroups((V2,), swap=True), PATH, ALL)
    assert op.shell() == (
        "mkdir -p /sys/fs/cgroup/weft/web",
        "echo '+cpu +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control",
        "echo '+cpu +memory +pids' > /sys/fs/cgroup/weft/cgroup.subtree_control",
        f"echo {64 << 20} > /sys/fs/cgroup/weft/web/memory.max",
        f"echo {64 << 20} > /sys/fs/cgroup/weft/web/memory.swap.max",
        "echo '50000 100000' > /sys/fs/cgroup/weft/web/cpu.max",
        "echo 20 > /sys/fs/cgroup/weft/web/pids.max",
    )
    assert op.undo() == CgroupDel(PATH, ("/sys/fs/cgroup/weft/web",))
    assert op.describe().startswith("make the cgroup weft/web with memory.max=67108864")
    (free,) = driver.group_wants(Cgroups((V2,)), PATH, Resources())
    assert all(line.endswith("|| true") for line in free.shell())
    assert free.describe() == "make the cgroup weft/web"


# what is mounted

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:32 / /mnt/memory rw,relatime - cgroup cgroup rw,memory
"""
TOP = "4:memory:/\n1:cpu,cpuacct:/\n0::/\n"


def test_hybrid_mounts() -> None:
    """Not those without a use for containers, nor the same hierarchy once more."""
    assert hierarchies(HYBRID, TOP) == (
        Hierarchy("/sys/fs/cgroup/cpu,cpuacct", 1, ("cpu", "cpuacct")),
        Hierarchy("/sys/fs/cgroup/memory", 1, ("memory",)),
        Hierarchy("/sys/fs/cgroup/unified", 2, ()),
    )


def base(line: str, own: str) -> str:
    (found,) = hierarchies(line, own)
    return found.base


V2_MOUNT = "41 31 0:38 {root} {point} rw,relatime - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


@pytest.mark.parametrize(
    ("root", "own", "where"),
    [
        ("/", "/", "/sys/fs/cgroup"),
        # A login's or a service's own group has processes: what is made is not below it.
        ("/", "/user.slice/user-0.slice/session-3.scope", "/sys/fs/cgroup"),
        ("/", "/docker/0123", "/sys/fs/cgroup"),
        ("/", "/../elsewhere", "/sys/fs/cgroup"),
        # Inside a container of weft's it is, that its limits hold for what is inside.
        ("/", "/weft/web", "/sys/fs/cgroup/weft/web"),
        ("/", "/weft-0123abcd/web/deeper", "/sys/fs/cgroup/weft-0123abcd/web"),
        ("/", "/weft/web/weft-0123abcd/inner/x", "/sys/fs/cgroup/weft/web/weft-0123abcd/inner"),
        ("/docker/0123", "/docker/0123/weft/a", "/sys/fs/cgroup/weft/a"),
        ("/docker/0123", "/weft/a", "/sys/fs/cgroup"),
        ("/docker/0123", "/docker/01234/weft/a", "/sys/fs/cgroup"),
        ("/", "/weft", "/sys/fs/cgroup"),
        ("/", "/weft-more/web", "/sys/fs/cgroup"),
        ("/", "/weft-test-1/web", "/sys/fs/cgroup"),
    ],
)
def test_where_groups_are_made(root: str, own: str, where: str) -> None:
    assert base(V2_MOUNT.format(root=root, point="/sys/fs/cgroup"), f"0::{own}\n") == where


def test_a_mount_over_another() -> None:
    """The last one counts, as paths lead to it."""
    mounts = V2_MOUNT.format(root="/", point="/c") + V2_MOUNT.format(root="/weft/a", point="/c")
    assert base(mounts, "0::/weft/a/weft/b\n") == "/c/weft/b"


def test_a_strange_mount_point() -> None:
    assert base(V2_MOUNT.format(root="/", point=r"/a\040b\134c"), "0::/\n") == "/a b\\c"


def test_no_cgroups() -> None:
    assert hierarchies("", "") == ()
