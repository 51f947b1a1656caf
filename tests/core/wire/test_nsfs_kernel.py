"""Every number and structure of nsfs.py, put to the running kernel."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.wire import syscalls as sc
from core.wire.sandbox import Kernel, command, new_netns, process_in, sandboxed
from weft.core.model.errors import WireError
from weft.core.wire import nsfs
from weft.core.wire import rtnetlink as rt
from weft.core.wire.nsid import new_nsid

KERNEL = tuple([int(number) for number in os.uname().release.split("-")[0].split(".")[:2]])
pytestmark = pytest.mark.skipif(KERNEL < (6, 18), reason="the youngest of these calls came with Linux 6.18")

BASIC = nsfs.STATMOUNT_MNT_BASIC
ALL = (
    BASIC
    | nsfs.STATMOUNT_MNT_ROOT
    | nsfs.STATMOUNT_MNT_POINT
    | nsfs.STATMOUNT_FS_TYPE
    | nsfs.STATMOUNT_MNT_NS_ID
    | nsfs.STATMOUNT_SB_SOURCE
)
#: pidfd ioctl, file in /proc/PID/ns.
OF_PIDFD = {
    nsfs.PIDFD_GET_CGROUP_NAMESPACE: "cgroup",
    nsfs.PIDFD_GET_IPC_NAMESPACE: "ipc",
    nsfs.PIDFD_GET_MNT_NAMESPACE: "mnt",
    nsfs.PIDFD_GET_NET_NAMESPACE: "net",
    nsfs.PIDFD_GET_PID_NAMESPACE: "pid",
    nsfs.PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE: "pid_for_children",
    nsfs.PIDFD_GET_TIME_NAMESPACE: "time",
    nsfs.PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE: "time_for_children",
    nsfs.PIDFD_GET_USER_NAMESPACE: "user",
    nsfs.PIDFD_GET_UTS_NAMESPACE: "uts",
}


def ns(kind: str, pid: int | str = "self") -> int:
    return os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def inum(fd: int) -> int:
    return os.fstat(fd).st_ino


def own_mnt_ns_id() -> int:
    return sc.ns_id(ns("mnt"))


@contextlib.contextmanager
def unshared(*flags: str) -> Iterator[int]:
    """A process in namespaces of its own, a child of unshare(1) if that forks: its pid here."""
    words = ["unshare", *flags, "sh", "-c", "read -r pid rest </proc/self/stat; echo $pid; exec cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        # /proc is the outer one's: it says the outer pid even inside a pid namespace
        yield int(process.stdout.readline())
        process.stdin.close()


@pytest.mark.parametrize("kind", sorted(sc.TYPES))
@sandboxed
def test_the_identity_of_a_namespace_of_each_type(kind: str) -> None:
    fd = ns(kind)
    data = sc.handle(fd)
    found = nsfs.get_handle(data)
    assert found == nsfs.NsfsHandle(sc.ns_id(fd), sc.TYPES[kind], inum(fd))
    assert data.startswith(nsfs.put_handle(found))
    assert sc.ioctl(fd, nsfs.NS_GET_NSTYPE) == sc.TYPES[kind]
    again = sc.open_handle(nsfs.put_handle(found))
    assert os.path.samestat(os.fstat(again), os.fstat(fd))


@sandboxed
def test_a_handle_outlives_the_name_but_not_the_namespace() -> None:
    netns = new_netns()
    with Kernel() as kernel, Kernel() as ears:
        ears.listen(rt.RTNLGRP_NSID)
        # who has an id for it is told of its end
        kernel.do(new_nsid(netns))
        ears.heard()
        with process_in(netns):
            handle = nsfs.put_handle(nsfs.get_handle(sc.handle(netns)))
            os.close(netns)
            os.close(sc.open_handle(handle))
        ears.heard()
        with pytest.raises(OSError, match="Stale"):
            sc.open_handle(handle)


@sandboxed
def test_a_handle_with_another_number_in_it_is_refused() -> None:
    found = nsfs.get_handle(sc.handle(ns("net")))
    for wrong in (
        found._replace(ns_inum=found.ns_inum + 1),
        found._replace(ns_id=1 << 40),
        found._replace(ns_type=sc.TYPES["uts"]),
    ):
        with pytest.raises(OSError, match="Stale"):
            sc.open_handle(nsfs.put_handle(wrong))


def test_another_files_handle(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="no namespace's"):
        nsfs.get_handle(sc.handle(-100, str(tmp_path)))


@sandboxed
def test_who_owns_a_namespace() -> None:
    with unshared("--user", "--map-root-user", "--net") as pid:
        user, net = ns("user", pid), ns("net", pid)
        owner = sc.ioctl(net, nsfs.NS_GET_USERNS)
        parent = sc.ioctl(user, nsfs.NS_GET_PARENT)
        _, uid = sc.read_ioctl(user, nsfs.NS_GET_OWNER_UID, bytes(4))
        assert inum(owner) == inum(user)
        assert inum(parent) == inum(ns("user"))
        assert uid == bytes(4)
        with pytest.raises(OSError, match="Invalid argument"):
            sc.ioctl(net, nsfs.NS_GET_PARENT)


@sandboxed
def test_pid_namespaces_and_the_numbers_in_them() -> None:
    with unshared("--pid", "--fork") as pid:
        inner = ns("pid", pid)
        parent = sc.ioctl(inner, nsfs.NS_GET_PARENT)
        assert inum(parent) == inum(ns("pid"))
        for outward in (nsfs.NS_GET_PID_FROM_PIDNS, nsfs.NS_GET_TGID_FROM_PIDNS):
            assert sc.ioctl(inner, outward, 1) == pid
        for inward in (nsfs.NS_GET_PID_IN_PIDNS, nsfs.NS_GET_TGID_IN_PIDNS):
            assert sc.ioctl(inner, inward, pid) == 1


@sandboxed
def test_the_namespaces_behind_a_pidfd() -> None:
    with unshared("--net", "--uts", "--ipc", "--cgroup") as pid:
        pidfd = os.pidfd_open(pid)
        for number, kind in OF_PIDFD.items():
            fd = sc.ioctl(pidfd, number)
            assert inum(fd) == inum(ns(kind, pid)), kind


@sandboxed
def test_the_process_behind_a_pidfd() -> None:
    with unshared("--net") as pid:
        found = sc.process(os.pidfd_open(pid))
        status = Path(f"/proc/{pid}/status").read_text()
    assert (found.pid, found.tgid, found.ppid) == (pid, pid, os.getpid())
    assert re.search(r"Uid:\s(\d+)\s(\d+)", status)
    assert (found.ruid, found.euid, found.rgid, found.egid) == (os.getuid(), os.geteuid(), 0, 0)
    assert found.exit_code is None
    assert found.mask & nsfs.PIDFD_INFO_PID
    assert found.mask & nsfs.PIDFD_INFO_CREDS


def test_real_and_effective_ids_are_told_apart() -> None:
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.setresgid(6, 7, 8)
        os.setresuid(3, 4, 5)
        os.write(ready[1], b"1")
        os.close(go[1])
        os.read(go[0], 1)
        os._exit(0)
    pidfd = os.pidfd_open(child)
    os.read(ready[0], 1)
    found = sc.process(pidfd)
    for fd in (*ready, *go, pidfd):
        os.close(fd)
    os.waitpid(child, 0)
    assert (found.ruid, found.euid, found.rgid, found.egid) == (3, 4, 6, 7)


def test_a_process_that_was_waited_for() -> None:
    child = os.fork()
    if not child:
        os._exit(3)
    pidfd = os.pidfd_open(child)
    os.waitpid(child, 0)
    found = sc.process(pidfd, nsfs.PIDFD_INFO_EXIT)
    assert (found.exit_code, found.pid) == (3 << 8, None)
    with pytest.raises(ProcessLookupError):
        sc.process(pidfd)
    os.close(pidfd)


def test_the_cgroup_of_a_process() -> None:
    """Its id is the inode of its directory."""
    pidfd = os.pidfd_open(os.getpid())
    found = sc.process(pidfd)
    os.close(pidfd)
    (path,) = [
        line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")
    ]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    (root, *_) = [line.split()[4] for line in mounts if " - cgroup2 " in line] or [""]
    if not root or path.startswith("/.."):
        pytest.skip("no cgroup2 file system is mounted here, whose inodes would tell")
    assert found.cgroupid == os.stat(root + path).st_ino


@sandboxed
def test_the_namespace_of_a_socket() -> None:
    netns = new_netns()
    own = ns("net")
    sc.setns(netns)
    with socket.socket() as sock:
        sc.setns(own)
        fd = sc.ioctl(sock.fileno(), nsfs.SIOCGSKNS)
    assert inum(fd) == inum(netns) != inum(own)


def unescaped(text: str) -> str:
    raw = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), os.fsencode(text))
    return raw.decode("utf-8", "surrogateescape")


def mountinfo() -> dict[int, tuple[str, ...]]:
    """By the old id: parent, root, point, file system, source, shared and master group."""
    rows = {}
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, after = line.split(" - ")
        number, _, _, root, point, _, *tags = before.split(" ")
        kind, source, _ = after.split(" ", 2)
        groups = dict(tag.split(":") for tag in tags if ":" in tag)
        shown = [unescaped(text) for text in (root, point, kind, source)]
        rows[int(number)] = (*shown, groups.get("shared", "0"), groups.get("master", "0"))
    return rows


@sandboxed
def test_mounts_as_mountinfo_shows_them() -> None:
    netns = new_netns()
    command("mount", "-t", "tmpfs", "none", "/run")
    strange = Path(os.fsdecode(b"/run/a b\n\\040\xff\x1b"))
    for path in (strange, Path("/run/shared"), Path("/run/slave")):
        path.mkdir()
    Path("/run/name").touch()
    command("mount", "-t", "tmpfs", "a source\\\n", str(strange))
    command("mount", "--bind", f"/proc/{os.getpid()}/fd/{netns}", "/run/name")
    command("mount", "-t", "tmpfs", "--make-shared", "none", "/run/shared")
    command("mount", "--bind", "/run/shared", "/run/slave")
    command("mount", "--make-slave", "/run/slave")
    found = [sc.mount_of(number, ALL) for number in sc.mounts()]
    theirs = mountinfo()
    ours = {
        m.mnt_id_old: (
            m.mnt_root,
            m.mnt_point,
            m.fs_type,
            m.sb_source,
            str(m.mnt_peer_group),
            str(m.mnt_master),
        )
        for m in found
    }
    assert ours == theirs
    assert {m.mnt_ns_id for m in found} == {own_mnt_ns_id()}
    assert {m.mask & ALL for m in found} == {ALL}
    by_point = {m.mnt_point: m for m in found}
    assert by_point["/run/name"].fs_type == "nsfs"
    assert by_point["/run/name"].mnt_root == f"net:[{inum(netns)}]"
    assert by_point[str(strange)].mnt_parent_id == by_point["/run"].mnt_id
    shared, slave, private = 1 << 20, 1 << 19, 1 << 18
    assert [by_point[f"/run/{name}"].mnt_propagation for name in ("shared", "slave", "name")] == [
        shared, slave, private
    ]  # fmt: skip
    assert by_point["/run/slave"].mnt_master == by_point["/run/shared"].mnt_peer_group


@sandboxed
def test_only_what_was_asked_for_is_told() -> None:
    (number, *_) = sc.mounts()
    whole = sc.mount_of(number, ALL)
    for bit, names in (
        (BASIC, {name for name in nsfs.StatMount._fields if name.startswith("mnt_")}
            - {"mnt_root", "mnt_point", "mnt_ns_id"}),
        (nsfs.STATMOUNT_MNT_ROOT, {"mnt_root"}),
        (nsfs.STATMOUNT_MNT_POINT, {"mnt_point"}),
        (nsfs.STATMOUNT_FS_TYPE, {"fs_type"}),
        (nsfs.STATMOUNT_MNT_NS_ID, {"mnt_ns_id"}),
        (nsfs.STATMOUNT_SB_SOURCE, {"sb_source"}),
    ):  # fmt: skip
        part = sc.mount_of(number, bit)
        rest = set(nsfs.StatMount._fields) - names - {"mask"}
        assert part.mask == bit
        assert {name: getattr(part, name) for name in names} == {name: getattr(whole, name) for name in names}
        assert {name: getattr(part, name) for name in rest} == dict.fromkeys(rest)


@sandboxed
def test_a_list_is_read_on_from_where_it_ended() -> None:
    numbers = sc.mounts()
    (first,) = nsfs.get_ids(sc.listed(nsfs.NR_LISTMOUNT, nsfs.put_listmount(), 1))
    rest = nsfs.get_ids(sc.listed(nsfs.NR_LISTMOUNT, nsfs.put_listmount(after=first)))
    assert (first, *rest) == numbers
    assert len(numbers) > 2


@sandboxed
def test_the_mounts_below_one() -> None:
    command("mount", "-t", "tmpfs", "none", "/run")
    Path("/run/deep").mkdir()
    command("mount", "-t", "tmpfs", "none", "/run/deep")
    points = {sc.mount_of(number, ALL).mnt_point: number for number in sc.mounts()}
    request = nsfs.put_listmount(mnt_id=points["/run"])
    assert nsfs.get_ids(sc.listed(nsfs.NR_LISTMOUNT, request)) == (points["/run/deep"],)


@sandboxed
def test_mounts_of_a_namespace_that_no_name_and_no_process_leads_to() -> None:
    """It is held by a descriptor alone: found by walking over all mount namespaces."""
    netns = new_netns()
    script = (
        f"mount -t tmpfs none /run; touch /run/name; mount --bind /proc/{os.getpid()}/fd/{netns} /run/name"
    )
    with unshared("--mount") as pid:
        command("nsenter", f"--mount=/proc/{pid}/ns/mnt", "sh", "-c", script)
        held = ns("mnt", pid)
        wanted = nsfs.get_mnt_ns_info(sc.read_ioctl(held, nsfs.NS_MNT_GET_INFO, nsfs.NO_MNT_NS_INFO)[1])
    assert wanted.mnt_ns_id == sc.ns_id(held)
    found = [(info, inum(fd)) for info, fd in sc.mnt_namespaces(ns("mnt")) if info == wanted]
    assert found == [(wanted, inum(held))]
    numbers = sc.mounts(wanted.mnt_ns_id)
    assert len(numbers) == wanted.nr_mounts
    names = [m for m in (sc.mount_of(n, ALL, wanted.mnt_ns_id) for n in numbers) if m.fs_type == "nsfs"]
    assert [(m.mnt_point, m.mnt_root) for m in names] == [("/run/name", f"net:[{inum(netns)}]")]


@sandboxed
def test_mount_namespaces_are_in_the_order_of_their_ids() -> None:
    """Which is not that of their births: each CPU deals from a batch of its own."""
    with unshared("--mount") as pid:
        both = sorted([ns("mnt"), ns("mnt", pid)], key=sc.ns_id)
        (number,) = nsfs.get_ids(sc.read_ioctl(both[1], nsfs.NS_GET_MNTNS_ID, bytes(8))[1])
        before, answer = sc.read_ioctl(both[1], nsfs.NS_MNT_GET_PREV, nsfs.NO_MNT_NS_INFO)
        after, _ = sc.read_ioctl(before, nsfs.NS_MNT_GET_NEXT, nsfs.NO_MNT_NS_INFO)
        # others come and go meanwhile
        assert sc.ns_id(both[0]) <= sc.ns_id(before) < sc.ns_id(after) <= sc.ns_id(both[1])
    assert number == sc.ns_id(both[1])
    assert nsfs.get_mnt_ns_info(answer).mnt_ns_id == sc.ns_id(before)


def test_listns() -> None:
    """Linux 6.19 has it; its numbers are from that kernel's headers."""
    own = {}
    for kind in sc.TYPES:
        fd = ns(kind)
        own[kind] = sc.ns_id(fd)
        os.close(fd)
    try:
        everything = nsfs.get_ids(sc.listed(nsfs.NR_LISTNS, nsfs.put_listns()))
    except OSError as error:
        assert error.errno == errno.ENOSYS
        pytest.skip("this kernel has no listns(2)")
    assert set(own.values()) <= set(everything)
    for kind, flag in sc.TYPES.items():
        found = nsfs.get_ids(sc.listed(nsfs.NR_LISTNS, nsfs.put_listns(flag)))
        assert own[kind] in found
        assert not set(found) & (set(own.values()) - {own[kind]})
        later = nsfs.get_ids(sc.listed(nsfs.NR_LISTNS, nsfs.put_listns(flag, after=own[kind])))
        assert later == tuple([number for number in found if number > own[kind]])
    mine = nsfs.get_ids(sc.listed(nsfs.NR_LISTNS, nsfs.put_listns(user_ns_id=nsfs.LISTNS_CURRENT_USER)))
    by_id = nsfs.get_ids(sc.listed(nsfs.NR_LISTNS, nsfs.put_listns(user_ns_id=own["user"])))
    assert mine == by_id
    assert own["net"] in mine
