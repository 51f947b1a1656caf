"""What a container sees of files: its mounts, its devices, what is masked; and roots that somebody hostile
has filled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import Host
from linux.boxes import FRESH, MASKED, MOUNTS, READ_ONLY, ROOT, USER, busybox, run, said, sh, spec, started
from linux.inside import inside
from weft.core.model.errors import BadInput, WeftError
from weft.core.model.mountopt import Options, parse
from weft.core.model.oci import Device, Mount, Spec

BIND = ("rbind",)


def with_mounts(script: str, *mounts: Mount, **changes: object) -> Spec:
    return sh(script, mounts=(*MOUNTS, *mounts), **changes)


def table(text: str) -> dict[str, tuple[set[str], str]]:
    """Mount points of a mountinfo: options, and file system."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        found[words[4]] = set(words[5].split(",")), words[words.index("-") + 1]
    return found


MOUNTINFO = "cat /proc/self/mountinfo"


# -- the root


@inside
def test_nothing_of_the_old_root_is_left(host: Host) -> None:
    busybox()
    found = table(said(sh(MOUNTINFO)))
    own = {"/", *[m.destination for m in MOUNTS], *READ_ONLY}
    assert {p for p in own if os.path.exists(p)} <= set(found) <= own | set(MASKED)
    assert said(sh("ls / | grep -v -e bin -e etc")) == "dev\nproc\nsys\n"
    assert said(sh("cd ../../..; ls -d * | wc -l; chroot . /bin/true; cd /; ls ..|wc -l")) == "5\n5\n"


@inside
def test_a_classic_escape(host: Host) -> None:
    """chroot(2) into a directory, then up from where one was: with CAP_SYS_CHROOT it leads to one's own
    root at most."""
    busybox()
    Path(f"{ROOT}/bin/out").write_text(
        "#!/bin/sh\nmkdir -p /jail/bin\ncp=/bin/busybox\ncat $cp >/jail/bin/busybox; "
        "busybox chmod +x /jail/bin/busybox; cd /; chroot /jail /bin/busybox ls ../../../../..\n"
    )
    os.chmod(f"{ROOT}/bin/out", 0o755)
    Path("/run/outside").touch()
    assert said(spec("out")) == "bin\n"
    assert "outside" not in said(sh("ls -R / 2>/dev/null | grep outside || echo no"))


@inside
def test_the_hosts_mounts_stay_as_they_were(host: Host) -> None:
    busybox()
    before = Path("/proc/self/mountinfo").read_text()
    inner = "mkdir /tmp; mount -t tmpfs mine /tmp && echo mounted"
    everything = spec("true").process.capabilities
    assert everything is not None
    held = (*everything.bounding, "CAP_SYS_ADMIN")
    caps = everything._replace(bounding=held, effective=held, permitted=held)
    assert said(sh(inner, capabilities=caps)) == "mounted\n"
    assert Path("/proc/self/mountinfo").read_text() == before


@inside
def test_read_only_roots(host: Host) -> None:
    busybox()
    done = run(sh("touch /x; touch /dev/shm/x && echo shm; touch /etc/x", root_readonly=True))
    assert done.out == "shm\n" and done.err.count("Read-only file system") == 2
    assert not os.path.exists(f"{ROOT}/x")


@inside
def test_no_new_privileges_is_nosuid_everywhere(host: Host) -> None:
    """Then file capabilities are ignored instead of refused."""
    busybox()
    os.mkdir("/run/more")
    more = Mount("/more", "/run/more", "bind", ("rbind", "suid"))
    for root in (ROOT, ""):
        script = "cat /proc/self/mountinfo"
        wanted = with_mounts(script, more) if root else sh(script, root="")
        assert all("nosuid" in options for options, _ in table(said(wanted)).values())
    assert "nosuid" not in table(said(sh(MOUNTINFO, no_new_privileges=False)))["/"][0]


# -- mounts


@inside
def test_options_as_mount_says_them(host: Host) -> None:
    busybox()
    os.makedirs("/run/src/below")
    os.system("mount -t tmpfs below /run/src/below")
    one = with_mounts(
        MOUNTINFO,
        Mount("/a", "/run/src", "bind", ("rbind", "ro", "nodev", "noexec", "noatime")),
        Mount("/b", "/run/src", "bind", ("rbind", "rro")),
        Mount("/c", "/run/src", "none", ("bind",)),
        Mount("/d", "x", "tmpfs", ("ro", "nosuid", "size=1m", "mode=700", "nr_inodes=7")),
        Mount("/e/f/g", "y", "tmpfs", ("rw", "nodiratime", "strictatime", "nosymfollow")),
        no_new_privileges=False,
    )
    found = table(said(one))
    assert {"ro", "nodev", "noexec", "noatime"} <= found["/a"][0]
    assert "rw" in found["/a/below"][0]
    assert "ro" in found["/b"][0] and "ro" in found["/b/below"][0]
    assert "rw" in found["/c"][0] and "/c/below" not in found
    assert {"ro", "nosuid"} <= found["/d"][0] and found["/d"][1] == "tmpfs"
    assert {"rw", "nodiratime"} <= found["/e/f/g"][0] and not {"relatime", "noatime"} & found["/e/f/g"][0]
    assert "nosymfollow" in found["/e/f/g"][0]
    assert said(with_mounts("stat -c %a /d; ls -a /d | wc -l", *one.mounts[-2:])) == "700\n2\n"


@pytest.mark.parametrize(
    "options", [("remount",), ("idmap",), ("bind", "size=1m"), ("=x",), ("a" * 3 + "=" + "b" * 256,)]
)
def test_options_that_cannot_be(options: tuple[str, ...]) -> None:
    with pytest.raises(BadInput):
        parse(Mount("/x", "x", "tmpfs", options))


def test_the_last_option_counts() -> None:
    assert parse(Mount("/x", "x", "tmpfs", ("ro", "rw"))) == Options(clear=1)
    assert parse(Mount("/x", "x", "tmpfs", ("suid", "nosuid", "async"))).add == 2


@inside
def test_propagation(host: Host) -> None:
    busybox()
    os.mkdir("/run/src")
    os.system("mount --bind /run/src /run/src; mount --make-shared /run/src")
    script = "grep -e ' /[abc] ' /proc/self/mountinfo"
    out = said(
        with_mounts(
            script,
            Mount("/a", "/run/src", "bind", ("rbind",)),
            Mount("/b", "/run/src", "bind", ("rbind", "rprivate")),
            Mount("/c", "/run/src", "bind", ("rbind", "rshared")),
        )
    )
    tags = {line.split()[4]: line.split()[6] for line in out.splitlines()}
    assert tags["/a"].startswith("master:") and tags["/b"] == "-" and tags["/c"].startswith("shared:")


@inside
def test_an_optional_mount_without_its_place(host: Host) -> None:
    busybox()
    Path("/run/names").write_text("names")
    names = ("bind", "ro", "optional")
    mounts = Mount("/etc/hosts", "/run/names", "", names), Mount("/etc/group", "/run/names", "", names)
    done = run(with_mounts("ls /etc; cat /etc/group; echo >/etc/group", *mounts))
    assert done.out == "group\npasswd\nnames" and "Read-only" in done.err


@inside
def test_mount_points_are_made_inside_the_root_only(host: Host) -> None:
    """Each of these symbolic links of the root's would lead outside, were it followed from here."""
    root = busybox()
    os.mkdir("/run/victim")
    Path("/run/names").write_text("names")
    os.symlink("/run/victim", f"{root}/abs")
    os.symlink("../../../../../run/victim", f"{root}/up")
    os.symlink("/run/victim/new", f"{root}/etc/hosts")
    os.symlink("loop", f"{root}/loop")
    names = Mount("/etc/hosts", "/run/names", "bind", ("bind", "ro"))
    mounts = [Mount(f"/{d}/deep/er", "x", "tmpfs") for d in ("abs", "up")]
    out = said(
        with_mounts(
            "cat /etc/hosts /run/victim/new; grep -c victim/deep/er /proc/self/mountinfo", names, *mounts
        )
    )
    assert out == "namesnames2\n"
    assert os.listdir("/run/victim") == []
    assert os.path.isfile(f"{root}/run/victim/new") and os.path.isdir(f"{root}/run/victim/deep/er")
    with pytest.raises(BadInput, match="Too many levels"):
        started(with_mounts("true", Mount("/loop/x", "x", "tmpfs")))


@inside
@pytest.mark.parametrize("where", ["proc", "sys"])
@pytest.mark.parametrize("fresh", [FRESH, (*FRESH, "user")])
def test_a_root_whose_proc_is_a_link(host: Host, where: str, fresh: tuple[str, ...]) -> None:
    """CVE-2019-19921's class: what is written to /proc must reach the kernel."""
    root = busybox()
    os.mkdir(f"{root}/tmp")
    os.symlink("/tmp", f"{root}/{where}")
    with pytest.raises(BadInput, match=f"mount '/{where}': Too many levels"):
        started(sh("true", fresh=fresh))
    os.unlink(f"{root}/{where}")
    Path(f"{root}/{where}").touch()
    with pytest.raises(BadInput, match=f"mount '/{where}'"):
        started(sh("true", fresh=fresh))


@inside
def test_a_root_whose_dev_leads_elsewhere(host: Host) -> None:
    root = busybox()
    os.mkdir("/run/victim")
    os.symlink("/run/victim", f"{root}/dev")
    said(sh("test -c /dev/null && test -d /run/victim && ls /run/victim/null"))
    assert os.listdir("/run/victim") == []
    # No /dev is mounted: devices are made in the root, and a file in their place is let be.
    plain = tuple([m for m in MOUNTS if not m.destination.startswith("/dev")])
    other = busybox("/run/other")
    os.mkdir(f"{other}/dev")
    os.symlink("/run/victim/null", f"{other}/dev/null")
    os.symlink("/run/victim/zero", f"{other}/dev/zero")
    said(sh("true", root=other, mounts=plain))
    assert os.listdir("/run/victim") == []


@inside
def test_what_may_not_be_covered_of_proc(host: Host) -> None:
    root = busybox()
    os.symlink("/proc/sys/kernel", f"{root}/innocent")
    Path("/run/fake").write_text("0")
    for where in ("/proc/sys", "/proc/sys/kernel/hostname", "/innocent/hostname", "/proc/self/attr"):
        with pytest.raises(BadInput, match="would cover a part of /proc"):
            started(with_mounts("true", Mount(where, "/run/fake", "bind", ("bind",))))
    out = said(with_mounts("cat /proc/uptime", Mount("/proc/uptime", "/run/fake", "bind", ("bind",))))
    assert out == "0"


@inside
def test_what_is_masked(host: Host) -> None:
    root = busybox()
    os.mkdir("/run/secrets")
    Path("/run/secrets/key").write_text("key")
    Path(f"{root}/file").write_text("file")
    os.symlink("/file", f"{root}/link")
    masked = (*MASKED, "/dir", "/link", "/nowhere", "/file/below")
    mount = Mount("/dir", "/run/secrets", "bind", ("rbind",))
    script = (
        "ls -A /dir /sys/firmware; cat /file /proc/keys /proc/timer_list; "
        "touch /dir/x; echo x >/file; cat /file"
    )
    done = run(with_mounts(script, mount, masked_paths=masked))
    assert done.out == "/dir:\n\n/sys/firmware:\n"
    assert "Read-only file system" in done.err and done.err.count("\n") == 1
    assert Path(f"{root}/file").read_text() == "file"


@inside
def test_what_is_read_only(host: Host) -> None:
    busybox()
    files = (
        "/proc/sys/kernel/hostname /proc/sys/net/ipv4/ip_forward /proc/sysrq-trigger "
        "/proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run"
    )
    done = run(sh(f"for f in {files}; do test -e $f || continue; echo 1 >$f && echo WROTE $f; done"))
    assert done.out == "" and done.err.count("Read-only file system") >= 3
    assert "WROTE" in run(sh("echo x >/proc/sys/kernel/hostname && echo WROTE", readonly_paths=())).out


@inside
def test_the_hosts_files_with_views_of_their_own(host: Host) -> None:
    wanted = sh(
        "echo $$; ls /proc | grep -c '^[0-9]'; ls /sys/class/net; cat /run/mine; ls /proc/1/exe 2>&1", root=""
    )
    Path("/run/mine").write_text("mine\n")
    out = run(wanted).out.splitlines()
    assert out[0] == "2" and int(out[1]) <= 5 and out[2:4] == ["lo", "mine"]
    done = run(
        sh(
            "echo 1 >/sys/kernel/mm/ksm/run; mkdir /sys/fs/cgroup/pids/weft-test-x; "
            "echo 1 >/proc/sys/vm/swappiness",
            root="",
        )
    )
    assert done.err.count("Read-only file system") == 3
    with pytest.raises(BadInput, match="mount '/run/no/where': No such file"):
        started(sh("true", root="", mounts=(Mount("/run/no/where", "x", "tmpfs"),)))
    assert not os.path.exists("/run/no")
    covered = sh("ls -A /mnt; touch /mnt/x", root="", mounts=(Mount("/mnt", "x", "tmpfs"),))
    assert said(covered) == ""
    # A bind is of what the host has; in a tmpfs of its own mount points are made, also of optional ones.
    Path("/run/names").write_text("names\n")
    own = (
        Mount("/run", "x", "tmpfs"),
        Mount("/run/a/b", "/run/names", "bind", ("bind",)),
        Mount("/run/c", "/run/names", "bind", ("bind", "optional")),
        Mount("/run/d/e", "y", "tmpfs", ("optional",)),
    )
    seen = said(sh("cat /run/a/b /run/c; ls /run /run/d", root="", mounts=own))
    assert seen == "names\nnames\n/run:\na\nc\nd\n\n/run/d:\ne\n"
    read_only = run(
        sh(
            "touch /run/x /etc/x; touch /mnt/x && echo own",
            root="",
            root_readonly=True,
            mounts=(Mount("/mnt", "x", "tmpfs"),),
        )
    )
    assert read_only.out == "own\n" and read_only.err.count("Read-only") == 2


# -- devices


LISTING = (
    "cd /dev; for f in null zero full random urandom tty; do stat -c '%n %t:%T %a %u' $f; done; "
    "ls -l | grep -o '[a-z]* -> .*' | sort"
)


@inside
@pytest.mark.parametrize("fresh", [FRESH, (*FRESH, "user")])
def test_devices(host: Host, fresh: tuple[str, ...]) -> None:
    busybox()
    out = said(sh(LISTING, fresh=fresh)).splitlines()
    kinds = dict([line.split()[:2] for line in out[:6]])
    assert kinds == {
        "null": "1:3",
        "zero": "1:5",
        "full": "1:7",
        "random": "1:8",
        "urandom": "1:9",
        "tty": "5:0",
    }
    assert out[6:] == [
        "fd -> /proc/self/fd",
        "ptmx -> pts/ptmx",
        "stderr -> /proc/self/fd/2",
        "stdin -> /proc/self/fd/0",
        "stdout -> /proc/self/fd/1",
    ]
    script = (
        "head -c4 /dev/zero | wc -c; echo x >/dev/null; head -c8 /dev/urandom | wc -c; "
        "echo x >/dev/full || echo full; ls /dev/pts; echo y >/dev/stdout; stat -c %a /dev/shm"
    )
    done = run(sh(script, fresh=fresh))
    assert done.out == "4\n8\nfull\nptmx\ny\n1777\n"


@inside
def test_devices_that_are_asked_for(host: Host) -> None:
    busybox()
    devices = (
        Device("/dev/fuse", "c", 10, 229, 0o640, 3, 4),
        Device("/deep/pipe", "p", mode=0o600),
        Device("/dev/null", "c", 1, 3, 0o600),
    )
    out = said(sh("stat -c '%F %t:%T %a %u:%g' /dev/fuse /deep/pipe /dev/null", devices=devices))
    assert (
        out == "character special file a:e5 640 3:4\nfifo 0:0 600 0:0\ncharacter special file 1:3 600 0:0\n"
    )
    with pytest.raises(BadInput, match="of type 'x'"):
        started(sh("true", devices=(Device("/dev/x", "x"),)))
    with pytest.raises(WeftError, match="no other can be shown"):
        started(sh("true", devices=(Device("/dev/null", "c", 8, 0),), fresh=(*FRESH, "user")))


# -- sysctls


@inside
def test_sysctls(host: Host) -> None:
    busybox()
    keys = (("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "4096"), ("net/ipv4/ping_group_range", "0 7"))
    files = [f"/proc/sys/{k.replace('.', '/')}" for k, _ in keys]
    before = [Path(f).read_text() for f in files]
    out = said(sh(f"cat {' '.join(files)}", sysctl=keys))
    assert out.split() == ["1", "4096", "0", "7"]
    assert [Path(f).read_text() for f in files] == before
    for key, value in (("no.such", "1"), ("../self/comm", "x"), ("kernel.msgmax", "many")):
        with pytest.raises(WeftError):
            started(sh("true", sysctl=((key, value),)))


# -- other containers


@inside
def test_files_of_another_container(host: Host) -> None:
    """A bind of /proc/PID/root/...: that is of another mount namespace."""
    busybox()
    donor = started(sh("echo theirs >/dev/shm/x; exec sleep 1000"))
    source = f"/proc/{donor.pid}/root/dev/shm"
    kept = tuple([m for m in MOUNTS if m.destination != "/dev/shm"])
    script = "until test -s /dev/shm/x; do :; done; cat /dev/shm/x"
    for fresh in (FRESH, (*FRESH, "user")):
        assert (
            said(sh(script, mounts=(*kept, Mount("/dev/shm", source, "bind", BIND)), fresh=fresh))
            == "theirs\n"
        )
    donor.cancel()
    with pytest.raises(BadInput, match="source"):
        started(sh("true", mounts=(Mount("/x", source, "bind", BIND),)))


def test_the_default_mappings_are_of_this_test() -> None:
    assert USER["uid_mappings"][0].host_id == 100_000
