"""What a container is, in the words of the OCI runtime specification (runtime-spec 1.1, config.md and
config-linux.md): ``weft run`` makes one from its flags, a bundle's config.json says one, the hands start it.

Field names are the specification's in this language's spelling; types of namespaces are the kernel's
(``net`` for ``network``, ``mnt`` for ``mount``).
"""

from __future__ import annotations

from weft.core.record import Record

#: Annotations of weft's own: which other runtime starts the container, and where that keeps what it knows.
RUNTIME, RUNTIME_DIR = "weft.runtime", "weft.runtime.dir"


class Mount(Record):
    """``mounts[]``: options are as in mount(8), and ``optional``: left out where the destination is missing.

    ``source`` and ``type`` as in mount(2); type "" or ``bind`` with option ``bind`` or ``rbind`` is a bind.
    """

    destination: str
    source: str = ""
    type: str = ""
    options: tuple[str, ...] = ()


class Device(Record):
    """``linux.devices[]``: ``type`` is c, b, u or p."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


class Rlimit(Record):
    """``process.rlimits[]``: ``type`` is RLIMIT_NOFILE and its kin (getrlimit(2))."""

    type: str
    soft: int
    hard: int


class IDMapping(Record):
    """``linux.uidMappings[]`` (user_namespaces(7))."""

    container_id: int
    host_id: int
    size: int


class Capabilities(Record):
    """``process.capabilities``: names as in capabilities(7), with CAP_."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Namespace(Record):
    """``linux.namespaces[]``: ``path`` "" is a new one. A type that is not listed is the host's."""

    type: str
    path: str = ""


class Resources(Record):
    """``linux.resources``: memory and swap in bytes (0: no limit), CPU time as quota and period in
    microseconds, processes. ``devices`` are the rules of config-linux.md: (allow, type, major, minor,
    access), -1 for any; none: the host's."""

    memory: int = 0
    swap: int = 0
    cpu_quota: int = 0
    cpu_period: int = 100_000
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    pids: int = 0
    devices: tuple[tuple[bool, str, int, int, str], ...] = ()

    @property
    def limited(self) -> bool:
        """Whether a limit is asked for; which devices there are is none."""
        return self._replace(devices=(), cpu_period=0) != Resources(cpu_period=0)

    @property
    def any(self) -> bool:
        """Whether anything is limited at all."""
        return self != Resources()


class SyscallArg(Record):
    """``seccomp.syscalls[].args[]``: ``op`` is SCMP_CMP_EQ and its kin."""

    index: int
    value: int
    op: str
    value_two: int = 0


class SyscallRule(Record):
    """``seccomp.syscalls[]``."""

    names: tuple[str, ...]
    action: str
    errno: int = -1
    args: tuple[SyscallArg, ...] = ()


class Seccomp(Record):
    """``linux.seccomp``: actions are SCMP_ACT_ERRNO and its kin; ``errno`` -1 is EPERM."""

    default_action: str
    default_errno: int = -1
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    syscalls: tuple[SyscallRule, ...] = ()


class User(Record):
    """``process.user``; ``name`` is as typed (USER[:GROUP]), looked up in the container's /etc/passwd and
    /etc/group when it starts; "" means the numbers."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int = -1
    name: str = ""


class Process(Record):
    """``process``. ``capabilities`` None: those of who starts it (no change)."""

    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    user: User = User()
    terminal: bool = False
    capabilities: Capabilities | None = None
    no_new_privileges: bool = False
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None


class Hook(Record):
    """``hooks.*[]``; ``timeout`` in seconds, 0: none."""

    kind: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int = 0


class Spec(Record):
    """``config.json``. ``root`` "" means the host's files: a mount namespace that follows the host's.

    ``filter`` names the seccomp filter: ``default`` (weft's own, by the capabilities), ``unconfined``, or
    ``given`` (``seccomp``). ``cgroups_path`` "" puts it into no cgroup of its own. ``init``: weft's init is
    pid 1 of the new pid namespace, reaps and passes signals on; else the command is. ``nodev``: no device
    node works but those of ``devices`` and the default ones, which are the host's own. ``clocks`` are the
    ``timeOffsets`` of a new time namespace: monotonic and boottime, in nanoseconds.
    """

    process: Process
    root: str = ""
    root_readonly: bool = False
    nodev: bool = False
    rootfs_propagation: str = ""
    hostname: str = ""
    domainname: str = ""
    namespaces: tuple[Namespace, ...] = ()
    mounts: tuple[Mount, ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    sysctl: tuple[tuple[str, str], ...] = ()
    resources: Resources = Resources()
    cgroups_path: str = ""
    seccomp: Seccomp | None = None
    filter: str = "unconfined"
    init: bool = False
    annotations: tuple[tuple[str, str], ...] = ()
    hooks: tuple[Hook, ...] = ()
    clocks: tuple[tuple[str, int], ...] = ()

    def namespace(self, kind: str) -> Namespace | None:
        """That of a type; None: the host's."""
        return next((n for n in self.namespaces if n.type == kind), None)

    def fresh(self) -> tuple[str, ...]:
        """Types of which it gets a new one."""
        return tuple([n.type for n in self.namespaces if not n.path])
