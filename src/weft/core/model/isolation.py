"""Docker's defaults for a container, as parts of a Spec (moby: oci/defaults.go, oci/caps/defaults.go)."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.oci import Capabilities, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: Bytes of /dev/shm.
SHM_SIZE = 64 << 20
#: capabilities(7), in the order of their numbers.
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
).split()
#: Docker's, but NET_RAW: with it a container could say anything on its network. ping needs it no more.
DEFAULT = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
).split()
MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

#: What a container may open, as Docker's rules have it (moby: oci/defaults.go): any node may be made, and
#: null, zero, full, random, urandom, tty, console, ptmx and terminals be used.
_USED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, -1))
DEVICES: tuple[tuple[bool, str, int, int, str], ...] = (
    (False, "a", -1, -1, "rwm"),
    (True, "c", -1, -1, "m"),
    (True, "b", -1, -1, "m"),
    *[(True, "c", major, minor, "rwm") for major, minor in _USED],
)


def _known(name: str, flag: str) -> str:
    short = name.upper().removeprefix("CAP_")
    if short != "ALL" and short not in CAPABILITIES:
        raise BadInput(f"{flag} {name!a} is not a capability", "capabilities(7) lists them, as NET_ADMIN")
    return short


def capabilities(add: Iterable[str], drop: Iterable[str]) -> Capabilities:
    """The default ones, more, fewer; ``ALL`` stands for all (``docker run --cap-add``). BadInput."""
    added = {_known(name, "--cap-add") for name in add}
    dropped = {_known(name, "--cap-drop") for name in drop}
    kept = set(CAPABILITIES if "ALL" in added else () if "ALL" in dropped else DEFAULT)
    kept = (kept | added) - {"ALL"} - (dropped if "ALL" not in dropped else set())
    if "ALL" in dropped and "ALL" in added:
        kept = set(CAPABILITIES)
    names = tuple([f"CAP_{name}" for name in CAPABILITIES if name in kept])
    return Capabilities(bounding=names, effective=names, permitted=names)


TERMINALS = Mount(
    "/dev/pts",
    "devpts",
    "devpts",
    ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
)


def root_mounts(privileged: bool, shm_size: int, ipc: str) -> tuple[Mount, ...]:
    """What a directory given as root needs. ``ipc`` is the mode; sizes in bytes."""
    guard = ("nosuid", "noexec", "nodev")
    # CAP_MKNOD is among the default ones: what is made with it is good for nothing.
    shut = () if privileged else ("nodev",)
    mounts = [
        Mount("/proc", "proc", "proc", guard),
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", *shut, "strictatime", "mode=755", "size=65536k")),
        TERMINALS,
        Mount("/sys", "sysfs", "sysfs", (*guard, "rw" if privileged else "ro")),
        Mount("/dev/mqueue", "mqueue", "mqueue", guard),
    ]
    return (*mounts, *shm(shm_size, ipc))


def shm(size: int, ipc: str) -> tuple[Mount, ...]:
    """/dev/shm, by the mode of the IPC namespace: none, the host's, or one of its own."""
    if ipc == "none" or ipc.startswith("container:"):
        return ()
    if ipc == "host":
        return (Mount("/dev/shm", "/dev/shm", "bind", ("rbind", "nosuid", "noexec", "nodev")),)
    options = ("nosuid", "noexec", "nodev", "mode=1777", f"size={size}")
    return (Mount("/dev/shm", "shm", "tmpfs", options),)


def ipc_views(size: int, ipc: str) -> tuple[Mount, ...]:
    """What the host's files show of the IPC namespace, by its mode: the host's /dev/shm and queues only if it
    is the host's."""
    if ipc == "host":
        return ()
    guard = ("nosuid", "noexec", "nodev")
    queues = Mount("/dev/mqueue", "mqueue", "mqueue", (*guard, "optional"))
    nothing = Mount("/dev/shm", "shm", "tmpfs", (*guard, "ro", "optional"))
    return (*((nothing,) if ipc == "none" else shm(size, ipc)), queues)
