"""A container's Spec: what was asked of it, completed by what its networks and other containers are."""

from __future__ import annotations

from weft.core.model import isolation
from weft.core.model.errors import Conflict
from weft.core.model.oci import Mount, Namespace, Process, Resources, Spec
from weft.core.ops.netns import ETC_NETNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Sandbox
    from weft.engine.work import Work

#: Where ip-netns(8) keeps named ones.
_RUN_NETNS = "/run/netns"
#: The mode of its IPC namespace, which says who may share it.
IPC = "weft.ipc"
_SHARE = "container:"
#: As Docker has them: ping needs no CAP_NET_RAW, and port 80 no root. Both are the container's network's.
OPEN = (
    ("net.ipv4.ping_group_range", "0 2147483647"),
    ("net.ipv4.ip_unprivileged_port_start", "0"),
)


def opened(given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """What was asked of a network's sysctls, and OPEN where nothing else was."""
    known = {key.replace("/", ".") for key, _ in given}
    return (*[(key, value) for key, value in OPEN if key not in known], *given)


def asked(command: tuple[str, ...], env: tuple[tuple[str, str], ...] = (), cwd: str = "/") -> Spec:
    """What a container is when only a command is asked of it: Docker's defaults, on the host's files."""
    kinds = ("net", "mnt", "pid", "ipc", "uts") if command else ("net", "mnt", "ipc", "uts")
    return Spec(
        Process(command, env, cwd, capabilities=isolation.capabilities((), ()), no_new_privileges=True),
        namespaces=tuple([Namespace(kind) for kind in kinds]),
        rootfs_propagation="rslave",
        mounts=isolation.ipc_views(isolation.SHM_SIZE, "private"),
        masked_paths=isolation.MASKED,
        readonly_paths=isolation.READ_ONLY,
        resources=Resources(devices=isolation.DEVICES),
        filter="default",
        init=bool(command),
    )


def resolve(work: Work, spec: Spec) -> Spec:
    """With the namespaces of the containers that it names. NotFound; Conflict for one that is not running, or
    does not share what is asked for."""
    if not any(n.path.startswith(_SHARE) for n in spec.namespaces):
        return spec
    with work.machine.lock():
        return resolve_locked(work, spec)


def resolve_locked(work: Work, spec: Spec) -> Spec:
    """The same; the lock is held."""
    if not any(n.path.startswith(_SHARE) for n in spec.namespaces):
        return spec
    found = [_donated(work, n) if n.path.startswith(_SHARE) else n for n in spec.namespaces]
    shm = [f"{n.path.rpartition('/ns/')[0]}/root/dev/shm" for n in found if n.type == "ipc" and n.path]
    options = ("rbind", "nosuid", "noexec", "nodev")
    return spec._replace(
        namespaces=tuple(found),
        mounts=(*spec.mounts, *[Mount("/dev/shm", path, "bind", options) for path in shm]),
    )


def _donated(work: Work, namespace: Namespace) -> Namespace:
    name, kind = namespace.path.removeprefix(_SHARE), namespace.type
    sandbox, state = work.store.container(name)
    if state.word not in ("running", "paused"):
        raise Conflict(f"container {sandbox.name} is not running", f"its {kind} namespace is gone")
    if state.pid is None or not work.machine.alive(state.pid, state.started):
        raise Conflict(
            f"container {sandbox.name} has no process", f"so it has no {kind} namespace that could be shared"
        )
    donor = work.store.spec(sandbox.name)
    if donor is not None and donor.namespace(kind) is None:
        raise Conflict(f"container {sandbox.name} has no {kind} namespace of its own: it uses the host's")
    if kind == "ipc" and donor is not None and dict(donor.annotations).get(IPC) != "shareable":
        raise Conflict(
            f"container {sandbox.name} does not share its ipc namespace", "start it with --ipc shareable"
        )
    return Namespace(kind, f"/proc/{state.pid}/ns/{kind}")


def complete(spec: Spec, sandbox: Sandbox, hosts: str) -> Spec:
    """With its network namespace, its name, and the files of names that are its own."""
    host = sandbox.mode == "host"
    kept = tuple([n for n in spec.namespaces if n.type != "net"])
    # The host's, or one that a bundle joins by its path: weft has no part in it.
    given = tuple([n for n in spec.namespaces if n.type == "net" and n.path])
    net = given if host else (Namespace("net", f"{_RUN_NETNS}/{sandbox.name}"),)
    resolv = f"{ETC_NETNS}/{sandbox.name}/resolv.conf"
    files = [(hosts, "/etc/hosts"), (resolv, "/etc/resolv.conf")]
    if spec.root:
        files.append((f"{ETC_NETNS}/{sandbox.name}/hostname", "/etc/hostname"))
    if host:
        files = [(to, to) for _, to in files[:2] if spec.root]
    # Who mounts such a file himself is to see that.
    given_files = {m.destination for m in spec.mounts}
    files = [(source, to) for source, to in files if source and to not in given_files]
    # What the host has no file for, its programs do not ask for; a root gets what it lacks.
    options = ("bind", "ro") if spec.root else ("bind", "ro", "optional")
    asked = {key.replace("/", ".") for key, _ in sandbox.sysctls}
    # In a user namespace of its own it has no rights over its network's: they are written from outside.
    owned = not host and not sandbox.mode.startswith("container:") and "user" not in spec.fresh()
    named = any(n.type == "uts" for n in kept)
    return spec._replace(
        hostname=(spec.hostname or sandbox.hostname) if named else "",
        cgroups_path=sandbox.cgroup,
        namespaces=(*net, *kept),
        sysctl=(*spec.sysctl, *[(k, v) for k, v in OPEN if owned and k not in asked]),
        mounts=(*spec.mounts, *[Mount(to, source, "bind", options) for source, to in files]),
    )
