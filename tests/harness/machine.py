"""The first process of a throw-away machine: run by host.Host as ``python3 -IS machine.py SPEC``.

It makes the namespaces, furnishes them, says ``ready``, and then reaps orphans until its standard
input ends. As it is pid 1 of a pid namespace, its end is the end of every process in the machine,
also when the test that owned it was killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import sys
import time

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MS_SHARED = 0x1000, 0x2000, 0x4000, 0x40000, 0x100000
MNT_DETACH = 2
#: With the pid of who made them: the machines' groups.
OWN_GROUP = "weft-test-machine-"
CGROUPS = "/sys/fs/cgroup"

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: str, fstype: str = "none", flags: int = 0, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), fstype.encode(), ctypes.c_ulong(flags), options.encode())
    checked(libc.mount(*arguments), f"mount {fstype} {source} {target}")


def mounts_right_under(top: str) -> list[str]:
    """Mount points whose parent is the mount at ``top``: /sys/fs/cgroup, not /sys/fs/cgroup/cpu."""
    with open("/proc/self/mountinfo") as file:
        rows = [line.split() for line in file]
    tops = {row[0] for row in rows if row[4] == top}
    return [row[4] for row in rows if row[1] in tops]


def private_proc_and_sys() -> None:
    """A /proc of the new pid namespace; a /sys of the new net namespace which keeps the cgroup mounts."""
    kept = mounts_right_under("/sys")
    os.mkdir("/run/sys")
    mount("sysfs", "/run/sys", "sysfs")
    for point in kept:
        mount(point, "/run" + point, flags=MS_MOVE)
    # The old ones go, rather than lie underneath: /proc/self/mountinfo stays that of a plain machine.
    checked(libc.umount2(b"/sys", MNT_DETACH), "umount /sys")
    mount("/run/sys", "/sys", flags=MS_MOVE)
    checked(libc.umount2(b"/proc", MNT_DETACH), "umount /proc")
    mount("proc", "/proc", "proc")


def copy_on_write(directory: str) -> None:
    """Writes below ``directory`` go to memory: mount points can be made without touching the real one."""
    name = directory.replace("/", "-")
    os.mkdir(f"/run/{name}")
    os.mkdir(f"/run/{name}/upper")
    os.mkdir(f"/run/{name}/work")
    places = f"lowerdir={directory},upperdir=/run/{name}/upper,workdir=/run/{name}/work"
    mount("overlay", directory, "overlay", options=places)


def cgroup_mounts() -> list[str]:
    with open("/proc/self/mountinfo") as file:
        rows = [line.split(" - ") for line in file]
    return list(dict.fromkeys([left.split()[4] for left, right in rows if right.startswith("cgroup")]))


def make_cgroups(name: str) -> list[int]:
    """A cgroup of the machine's own in every hierarchy; descriptors of the directories they are in.

    What a machine left that was killed from outside goes first.
    """
    found = []
    for point in cgroup_mounts():
        for entry in os.listdir(point):
            if entry.startswith(OWN_GROUP) and not os.path.exists(f"/proc/{entry.removeprefix(OWN_GROUP)}"):
                top = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
                remove_cgroup(top, entry)
                os.close(top)
        os.mkdir(f"{point}/{name}")
        for file in ("cpuset.cpus", "cpuset.mems"):
            if os.path.exists(f"{point}/{name}/{file}") and os.path.exists(f"{point}/cpuset.cpu_exclusive"):
                with open(f"{point}/{file}") as above, open(f"{point}/{name}/{file}", "w") as own:
                    own.write(above.read())
        found.append(os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    return found


def remove_cgroup(above: int, name: str) -> None:
    """By descriptors, as the paths lead into the machine by then."""
    own = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=above)
    for entry in os.listdir(own):
        if stat.S_ISDIR(os.stat(entry, dir_fd=own).st_mode):
            remove_cgroup(own, entry)
    os.close(own)
    for _ in range(100):  # a process that has ended is in it for a moment more
        try:
            os.rmdir(name, dir_fd=above)
            return
        except OSError:
            time.sleep(0.01)


def own_cgroup_directory() -> None:
    """Where the hierarchies are mounted in a tmpfs, one of the machine's own: runtimes write below the name
    of a hierarchy even when that is not mounted, and all machines would share it."""
    points = [point for point in cgroup_mounts() if point.startswith(f"{CGROUPS}/")]
    if not points or os.path.exists(f"{CGROUPS}/cgroup.procs"):
        return
    os.mkdir("/run/cgroup")
    mount("tmpfs", "/run/cgroup", "tmpfs", options="mode=755")
    for entry in os.scandir(CGROUPS):
        if entry.is_symlink():  # cpu -> cpu,cpuacct
            os.symlink(os.readlink(entry.path), f"/run/cgroup/{entry.name}")
    for point in points:
        made = f"/run/cgroup{point.removeprefix(CGROUPS)}"
        os.makedirs(made, exist_ok=True)
        mount(point, made, flags=MS_BIND)
    checked(libc.umount2(CGROUPS.encode(), MNT_DETACH), f"umount {CGROUPS}")
    mount("/run/cgroup", CGROUPS, flags=MS_MOVE)
    os.rmdir("/run/cgroup")


def show_own_cgroups(name: str) -> None:
    """What is mounted begins at the machine's own, as in a container of Docker's under version 1."""
    own_cgroup_directory()
    for point in cgroup_mounts():
        mount(f"{point}/{name}", point, flags=MS_BIND)


def private_files(state_size: str) -> None:
    # This first tmpfs only lends room to the overlays; the second covers it.
    mount("scratch", "/run", "tmpfs", options="mode=755")
    private_proc_and_sys()
    copy_on_write("/etc")
    copy_on_write("/var/lib")
    mount("tmpfs", "/run", "tmpfs", options="mode=755")
    for directory, mode, options in (
        ("/etc/netns", 0o755, "mode=755"),
        ("/var/lib/weft", 0o700, f"mode=700,size={state_size}"),
    ):
        os.makedirs(directory, mode, exist_ok=True)
        mount("tmpfs", directory, "tmpfs", options=options)


def set_sysctls(values: dict[str, str]) -> None:
    for key, value in values.items():
        path = "/proc/sys/" + key.replace(".", "/")
        # net.bridge is missing where br_netfilter is not loaded: then nothing needs switching.
        if os.path.exists(path):
            with open(path, "w") as file:
                file.write(value)


def furnish(spec: dict[str, object]) -> None:
    name, sysctls = str(spec["name"]), spec["sysctls"]
    assert isinstance(sysctls, dict)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    private_files(str(spec["state_size"]))
    show_own_cgroups(str(spec["group"]))
    checked(libc.sethostname(name.encode(), len(name)), "sethostname")
    set_sysctls(sysctls)
    child = os.posix_spawnp("ip", ["ip", "link", "set", "lo", "up"], os.environ)
    if os.waitpid(child, 0)[1] != 0:
        raise OSError("ip link set lo up failed")
    if spec["shared"]:
        mount("none", "/", flags=MS_REC | MS_SHARED)
    os.chdir("/")


def reap(*_: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def first_process(spec: dict[str, object]) -> None:
    furnish(spec)
    signal.signal(signal.SIGCHLD, reap)
    os.write(1, b"ready\n")
    os.read(0, 1)


def main() -> None:
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    group = f"{OWN_GROUP}{os.getpid()}"
    hierarchies = make_cgroups(group)
    checked(libc.unshare(flags), "unshare")
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)
        os.read(told, 1)  # its pid is the first line, however long the parent is kept waiting
        first_process(json.loads(sys.argv[1]) | {"group": group})
        os._exit(0)
    os.close(0)
    os.write(1, f"{child}\n".encode())
    os.close(tell)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for fd in hierarchies:
        remove_cgroup(fd, group)
    sys.exit(status != 0)


main()
