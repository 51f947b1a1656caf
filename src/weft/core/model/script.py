"""What a person would type to start a container's command, or a further one, as weft does it by itself.

What has no command line is said in a comment.
"""

from __future__ import annotations

from shlex import join, quote

from weft.core.model.enter import OPTION
from weft.core.model.launch import OWN_SYS
from weft.core.model.mountopt import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.core.model.launch import Launch
    from weft.core.model.oci import Device, IDMapping, Mount, Process, Spec

_LINKS = ("fd /proc/self/fd", "stdin fd/0", "stdout fd/1", "stderr fd/2", "ptmx pts/ptmx")
_NODES = ("null c 1 3", "zero c 1 5", "full c 1 7", "random c 1 8", "urandom c 1 9", "tty c 5 0")

_READ_ONLY = '[ ! -e "$f" ] || { mount --rbind "$f" "$f"; mount -o remount,bind,ro "$f"; }'
_MASK = (
    'if [ -d "$f" ]; then mount -t tmpfs -o ro,nosuid,nodev,noexec,size=0 tmpfs "$f"; '
    'elif [ -e "$f" ]; then mount --bind /dev/null "$f"; fi'
)


def start(launch: Launch) -> str:
    """A container: its namespaces, and in them a shell that furnishes them and becomes the command."""
    spec = launch.spec
    head = f"mkdir -p -m 0700 {quote(launch.log.rpartition('/')[0])}\n" if launch.log else ""
    tail = f" >>{quote(launch.log)} 2>&1 </dev/null &" if launch.log else ""
    body = ["set -e", *_outside(spec), *_view(spec), *_names(spec), *_command(spec)]
    return f"{head}{_namespaces(spec)}sh -c {quote(chr(10).join(body))}{tail}"


def further(pid: int, spec: Spec) -> str:
    """A further command of the container whose process that is."""
    enter = f"nsenter --target={pid} --all --wdns={quote(spec.process.cwd)}"
    return "\n".join(
        [*_outside(spec), *_remarks(spec.process, spec.filter), f"exec {enter} {_words(spec.process)}"]
    )


def _namespaces(spec: Spec) -> str:
    """nsenter(1) into what is given, unshare(1) into what is new."""
    given = [f"--{OPTION[n.type]}={quote(n.path)}" for n in spec.namespaces if n.path]
    fresh = [f"--{OPTION[t]}" for t in spec.fresh()]
    if "pid" in spec.fresh():
        fresh += ["--fork", "--kill-child"]
    if "user" in spec.fresh():
        fresh += [*_mapped("users", spec.uid_mappings), *_mapped("groups", spec.gid_mappings)]
        fresh += ["--setuid=0", "--setgid=0"]
    fresh += [f"--{clock}={shift // 10**9}" for clock, shift in spec.clocks]
    if "mnt" in spec.fresh():
        fresh += [f"--propagation={spec.rootfs_propagation.removeprefix('r') or 'slave'}"]
    enter = f"nsenter {' '.join(given)} " if given else ""
    return enter + (f"unshare {' '.join(fresh)} " if fresh else "")


def _mapped(what: str, mappings: Iterable[IDMapping]) -> list[str]:
    return [f"--map-{what}={m.host_id},{m.container_id},{m.size}" for m in mappings]


def _outside(spec: Spec) -> list[str]:
    found = []
    if spec.cgroups_path:
        groups = f"/sys/fs/cgroup/*/{quote(spec.cgroups_path)} /sys/fs/cgroup/{quote(spec.cgroups_path)}"
        found.append(f'for g in {groups}; do [ ! -d "$g" ] || echo $$ >"$g/cgroup.procs"; done')
    if spec.process.oom_score_adj is not None:
        found.append(f"echo {spec.process.oom_score_adj} >/proc/self/oom_score_adj")
    return found


def _names(spec: Spec) -> list[str]:
    found = [f"hostname {quote(spec.hostname)}"] if spec.hostname else []
    return [*found, *([f"domainname {quote(spec.domainname)}"] if spec.domainname else [])]


def _view(spec: Spec) -> list[str]:
    """What it sees of files."""
    if "mnt" not in spec.fresh():
        return []
    found: list[str] = []
    given = [m.destination.rstrip("/") for m in spec.mounts]
    if spec.root:
        found += [f"mount --rbind {quote(spec.root)} {quote(spec.root)}", f"cd {quote(spec.root)}"]
    else:
        found += ["mount -o remount,bind,ro /"] if spec.root_readonly else []
        proc = bool(spec.namespace("pid")) and "/proc" not in given
        found += ["mount -t proc -o nosuid,nodev,noexec proc /proc"] if proc else []
        if spec.namespace("net") and "/sys" not in given:
            found += OWN_SYS
            # Whoever has files to be read only is not to write these: root is their owner.
            closed = "for f in /sys /sys/fs/cgroup /sys/fs/cgroup/*/; do mountpoint -q $f || continue; "
            found += [f"{closed}mount -o remount,bind,ro $f; done"] if spec.readonly_paths else []
    top = "." if spec.root else ""
    for mount in spec.mounts:
        found += _mounted(mount, top)
    if spec.root:
        found += _devices(spec)
    found += [f"sysctl -q -w {quote(f'{key}={value}')}" for key, value in spec.sysctl]
    found += _covered(spec.readonly_paths, top, _READ_ONLY) + _covered(spec.masked_paths, top, _MASK)
    if spec.process.no_new_privileges:
        found.append("# every mount becomes nosuid: mount_setattr(2), AT_RECURSIVE")
    if spec.root:
        found += ["mount -o remount,bind,ro ."] if spec.root_readonly else []
        found += ["pivot_root . .", "umount -l ."]
    return found


def _covered(paths: Iterable[str], top: str, how: str) -> list[str]:
    """Where there are such files."""
    words = " ".join([quote(top + path) for path in paths])
    return [f"for f in {words}; do {how}; done"] if words else []


def _mounted(mount: Mount, top: str) -> list[str]:
    options = parse(mount)
    to = quote(top + mount.destination)
    words = [w for w in mount.options if w not in ("bind", "rbind", "optional")]
    if not options.bind:
        given = f" -o {quote(','.join(words))}" if words else ""
        made = f"mount -t {quote(mount.type)}{given} {quote(mount.source or mount.type)} {to}"
    else:
        flag = "--rbind" if options.recursive else "--bind"
        made = (
            f"mount {flag}{f' -o {quote(chr(44).join(words))}' if words else ''} {quote(mount.source)} {to}"
        )
    if options.optional:
        return [f"[ ! -e {to} ] || {made}"]
    return [*([f"mkdir -p {to}"] if top and not options.bind else []), made]


def _devices(spec: Spec) -> list[str]:
    found = [f"mknod -m 666 ./dev/{node}" for node in _NODES]
    found += [f"ln -sf {to} ./dev/{name}" for name, to in [pair.split() for pair in _LINKS]]
    return [*found, *[_node(device) for device in spec.devices]]


def _node(device: Device) -> str:
    numbers = "" if device.type == "p" else f" {device.major} {device.minor}"
    made = f"mknod -m {device.mode:o} {quote('.' + device.path)} {device.type}{numbers}"
    owned = f" && chown {device.uid}:{device.gid} {quote('.' + device.path)}"
    return made + (owned if device.uid or device.gid else "")


def _command(spec: Spec) -> list[str]:
    """Inside: the last steps to the command."""
    found = []
    if spec.init and "pid" in spec.fresh():
        found.append("# pid 1 is an init of its own: it reaps, passes signals on, ends with the command")
    found += _remarks(spec.process, spec.filter)
    return [*found, f"cd {quote(spec.process.cwd)}", f"exec {_words(spec.process)}"]


def _remarks(process: Process, filter: str) -> list[str]:
    found = ["# descriptors 0 to 2 are a terminal of /dev/pts here"] if process.terminal else []
    found += [f"# seccomp filter: {filter}"] if filter != "unconfined" else []
    return [*found, *([f"umask {process.user.umask:04o}"] if process.user.umask >= 0 else [])]


def _words(process: Process) -> str:
    """The command, and those that lead to it."""
    limits = [
        f"--{one.type.removeprefix('RLIMIT_').lower()}={one.soft}:{one.hard}" for one in process.rlimits
    ]
    limited = ["prlimit", *limits, "--"] if limits else []
    env = ["env", "-i", "--", *[f"{k}={v}" for k, v in process.env]]
    return join([*limited, *_privileges(process), *env, *process.args])


def _privileges(process: Process) -> list[str]:
    """setpriv(1)."""
    user, found = process.user, []
    if user.name:
        name, _, group = user.name.partition(":")
        found += [
            f"--reuid={name or 0}",
            *([f"--regid={group}", "--clear-groups"] if group else ["--init-groups"]),
        ]
    elif user.uid or user.gid or user.additional_gids:
        groups = ",".join([str(gid) for gid in user.additional_gids])
        found += [
            f"--reuid={user.uid}",
            f"--regid={user.gid}",
            f"--groups={groups}" if groups else "--clear-groups",
        ]
    caps = process.capabilities
    if caps is not None:
        bounding = ",".join(["-all", *[_plus(name) for name in caps.bounding]])
        found += [f"--bounding-set={bounding}"]
        found += [f"--inh-caps={','.join(['-all', *[_plus(name) for name in caps.inheritable]])}"]
        found += (
            [f"--ambient-caps={','.join([_plus(name) for name in caps.ambient])}"] if caps.ambient else []
        )
    found += ["--no-new-privs"] if process.no_new_privileges else []
    return ["setpriv", *found, "--"] if found else []


def _plus(name: str) -> str:
    return f"+{name.removeprefix('CAP_').lower()}"
