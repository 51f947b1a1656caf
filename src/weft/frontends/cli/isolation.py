"""The flags of ``weft run`` that say what a container is: its namespaces, root, mounts, user and rights."""

from __future__ import annotations

from weft.core.model import isolation
from weft.core.model.errors import BadInput
from weft.core.model.names import check_hostname, check_name
from weft.core.model.oci import IDMapping, Mount, Namespace, Process, Resources, Rlimit, Spec, User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.oci import Capabilities
    from weft.frontends.cli.args import Args

#: Flag, its default, and the other words it takes; C is a container.
_MODES = {
    "pid": ("private", ("host", "container:")),
    "ipc": ("private", ("none", "shareable", "host", "container:")),
    "uts": ("private", ("host",)),
    "userns": ("host", ("private",)),
    "cgroupns": ("", ("private", "host")),
}
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: How Docker spells the ways of a volume; the SELinux and copy-up ones have no meaning here.
_VOLUME = (
    "ro",
    "rw",
    "rprivate",
    "private",
    "rshared",
    "shared",
    "rslave",
    "slave",
    "nosuid",
    "noexec",
    "nodev",
)


def modes(args: Args) -> dict[str, str]:
    """The mode of each kind of namespace. BadInput."""
    found = {}
    for flag, (default, others) in _MODES.items():
        mode = args.one(flag) or default
        kind, colon, donor = mode.partition(":")
        if colon and f"{kind}:" in others:
            mode = f"container:{check_name(donor, 'container')}"
            if donor == args.one("name"):
                raise BadInput(f"container {donor} cannot share its own {flag} namespace")
        elif mode != default and (colon or mode not in others):
            words = ", ".join([w + "C" if w.endswith(":") else w for w in (default, *others) if w])
            raise BadInput(f"--{flag} {mode!a} is not one of {words}")
        found[flag] = mode
    _check_conflicts(args, found)
    return found


def _check_conflicts(args: Args, found: dict[str, str]) -> None:
    if found["uts"] == "host" and (args.one("hostname") or args.one("domainname")):
        raise BadInput("--hostname conflicts with --uts host", "the host's name is the host's")
    if found["userns"] == "private":
        for flag, value in (("pid", found["pid"]), ("network", args.one("network"))):
            if value == "host":
                raise BadInput(
                    f"--userns private conflicts with --{flag} host", "its root has no rights over the host's"
                )
        if args.on("privileged"):
            raise BadInput("--userns private conflicts with --privileged", "its root is nobody outside")
    if args.one("domainname"):
        check_hostname(args.one("domainname"), "domain name")


def spec(args: Args, rows: tuple[tuple[str, str], ...]) -> Spec:
    """What the flags ask for; the engine knows its network, its name, other containers. BadInput.

    ``rows`` are the environment.
    """
    found, privileged = modes(args), args.on("privileged")
    if not found["cgroupns"]:
        from weft.wiring import cgroup_private

        found["cgroupns"] = "private" if cgroup_private(privileged) else "host"
    root = _root(args)
    if root:
        mounts = isolation.root_mounts(privileged, _shm_size(args), found["ipc"])
    else:
        mounts = isolation.ipc_views(_shm_size(args), found["ipc"])
        # Its root may make none of the host's.
        mounts = (*mounts, *((isolation.TERMINALS,) if found["userns"] == "private" else ()))
    mapped = subordinate() if found["userns"] == "private" else ((), ())
    profile, locked = _security(args)
    own_init = args.one("init") != "false" and found["pid"] == "private"
    made = Spec(
        _process(args, rows, root, privileged, locked),
        root=root,
        root_readonly=args.on("read-only"),
        nodev=bool(root) and not privileged,
        rootfs_propagation="" if root else "rslave",
        hostname=args.one("hostname"),
        domainname=args.one("domainname"),
        namespaces=_namespaces(found),
        mounts=(*mounts, *_own_mounts(args)),
        masked_paths=() if privileged else isolation.MASKED,
        readonly_paths=() if privileged else isolation.READ_ONLY,
        uid_mappings=mapped[0],
        gid_mappings=mapped[1],
        resources=_resources(args, privileged),
        filter="unconfined" if privileged else profile,
        init=own_init,
        annotations=(("weft.ipc", found["ipc"]),),
    )
    if not made.filter.startswith("file:"):
        return made
    from weft.machine import filtered  # as it is now, whatever becomes of the file

    return filtered(made)


def _resources(args: Args, privileged: bool) -> Resources:
    limits = args.one("memory"), args.one("cpus"), args.one("pids-limit")
    devices = () if privileged else isolation.DEVICES
    if not any(limits):
        return Resources(devices=devices)
    from os import cpu_count

    from weft.core.model.resources import resources

    return resources(*limits, cpu_count() or 1)._replace(devices=devices)


def _namespaces(found: dict[str, str]) -> tuple[Namespace, ...]:
    kinds = {"pid": "pid", "ipc": "ipc", "uts": "uts", "user": "userns", "cgroup": "cgroupns"}
    listed = [Namespace("net"), Namespace("mnt")]
    for kind, flag in kinds.items():
        mode = found[flag]
        if mode == "host":
            continue
        listed.append(Namespace(kind, mode if mode.startswith("container:") else ""))
    return tuple(listed)


def _process(
    args: Args, rows: tuple[tuple[str, str], ...], root: str, privileged: bool, locked: bool
) -> Process:
    return Process(
        tuple(args.tail),
        rows,
        _directory(args, root),
        User(name=args.one("user")),
        terminal=args.on("tty"),
        capabilities=_capabilities(args, privileged),
        no_new_privileges=locked and not privileged,
        rlimits=tuple([_rlimit(text) for text in args.many("ulimit")]),
    )


def _capabilities(args: Args, privileged: bool) -> Capabilities:
    add = ("ALL",) if privileged else args.many("cap-add")
    return isolation.capabilities(add, args.many("cap-drop"))


def _security(args: Args) -> tuple[str, bool]:
    """The seccomp filter, and whether privileges cannot be gained."""
    profile, locked = "default", True
    for text in args.many("security-opt"):
        key, _, value = text.replace(":", "=", 1).partition("=")
        if key == "seccomp" and value:
            profile = value if value in ("default", "unconfined") else f"file:{_absolute(value)}"
        elif key == "no-new-privileges" and value in ("", "true", "false"):
            locked = value != "false"
        else:
            raise BadInput(
                f"--security-opt {text!a} is not known",
                "seccomp=unconfined, seccomp=FILE, no-new-privileges=false",
            )
    return profile, locked


def _absolute(path: str) -> str:
    import os

    return os.path.abspath(path)


def _root(args: Args) -> str:
    import os

    given = args.one("rootfs")
    if not given:
        return ""
    root = os.path.realpath(given)
    if not os.path.isdir(root):
        raise BadInput(f"root {given!a} is not a directory", "--rootfs takes an unpacked image")
    if root == "/":
        raise BadInput(
            "--rootfs / is the host's own root", "leave the flag out: the host's files are the default"
        )
    return root


def _directory(args: Args, root: str) -> str:
    """The working directory: -w, else the caller's, else / of the root."""
    import os

    given = args.one("workdir")
    if root:
        if given and not given.startswith("/"):
            raise BadInput(f"working directory {given!a} is not absolute", "it is one of the container's")
        return given or "/"
    try:
        wanted = os.path.abspath(given or os.curdir)
    except FileNotFoundError:
        raise BadInput("the current directory does not exist any more", "give one with --workdir") from None
    if not os.path.isdir(wanted):
        raise BadInput(f"working directory {wanted!a} does not exist")
    return wanted


def _own_mounts(args: Args) -> list[Mount]:
    """Those of --volume and --tmpfs: what is inside of another after that. BadInput."""
    found = [*[_volume(text) for text in args.many("volume")], *_tmpfs(args)]
    places = [mount.destination for mount in found]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise BadInput(f"{twice!a} is given twice to mount something at")
    return sorted(found, key=lambda mount: mount.destination.count("/"))


def _volume(text: str) -> Mount:
    import os

    source, colon, rest = text.partition(":")
    destination, _, options = rest.partition(":")
    words = tuple([w for w in options.split(",") if w])
    bad = next((w for w in words if w not in _VOLUME), None)
    if not colon or not destination.startswith("/") or bad:
        what = f"its option {bad!a} is not known" if bad else "write it as /source:/destination[:ro]"
        raise BadInput(f"--volume {text!a} is not SRC:DST[:ro]", what)
    if "/" not in source:
        raise BadInput(
            f"--volume {text!a} names no path", "weft keeps no volumes: give a directory, as ./data"
        )
    path = os.path.abspath(source)
    if not os.path.exists(path):
        raise BadInput(f"--volume source {source!a} does not exist", "make it first")
    return Mount(clean(destination, "--volume"), path, "bind", ("rbind", "nodev", *words))


def clean(path: str, flag: str) -> str:
    """A path inside a container, in its shortest form. BadInput for one that is not absolute, or is /."""
    import os

    found = os.path.normpath(path)
    if not path.startswith("/") or found in ("/", "//") or "\0" in path:
        raise BadInput(f"{flag}: {path!a} is not a path below the container's /")
    return found


def _tmpfs(args: Args) -> tuple[Mount, ...]:
    found = []
    for text in args.many("tmpfs"):
        path, _, options = text.partition(":")
        words = tuple([w for w in options.split(",") if w])
        found.append(Mount(clean(path, "--tmpfs"), "tmpfs", "tmpfs", ("nosuid", "nodev", "noexec", *words)))
    return tuple(found)


def size(text: str, flag: str) -> int:
    """Bytes of ``64m`` (b, k, m, g: powers of 1024). BadInput."""
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "b")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 15 or unit not in _UNITS:
        raise BadInput(f"--{flag} {text!a} is not a size", "write it as 64m or 1g")
    return int(digits) * _UNITS[unit]


def _shm_size(args: Args) -> int:
    return size(args.one("shm-size"), "shm-size") if args.one("shm-size") else isolation.SHM_SIZE


def _rlimit(text: str) -> Rlimit:
    name, equals, values = text.partition("=")
    soft, _, hard = values.partition(":")
    numbers = []
    for value in (soft, hard or soft):
        if value in ("unlimited", "-1"):
            numbers.append(-1)
        elif value.isascii() and value.isdigit() and len(value) < 19:
            numbers.append(int(value))
    if not equals or len(numbers) < 2 or not name.isalpha():
        raise BadInput(f"--ulimit {text!a} is not NAME=SOFT[:HARD]", "write it as nofile=1024:2048")
    soft_limit, hard_limit = numbers
    if hard_limit != -1 and not 0 <= soft_limit <= hard_limit:
        raise BadInput(f"--ulimit {text!a}: the soft limit is above the hard one")
    return Rlimit(f"RLIMIT_{name.upper()}", soft_limit, hard_limit)


def subordinate() -> tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]:
    """The ids of a user namespace of its own (subuid(5)): those of user weft, else containers, else root."""
    return _range("/etc/subuid"), _range("/etc/subgid")


def _range(path: str) -> tuple[IDMapping, ...]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 20).split("\n")
    except OSError:
        lines = []
    rows = {words[0]: words[1:] for words in (line.split(":") for line in lines) if len(words) == 3}
    for owner in ("weft", "containers", "root"):
        first, count = rows.get(owner, ("", ""))
        if first.isdigit() and count.isdigit() and int(first) > 0 and int(count) > 0:
            return (IDMapping(0, int(first), min(int(count), 1 << 30)),)
    raise BadInput(
        f"{path} gives user weft no ids",
        f"add a line like weft:1000000:65536 to {path}, of ids that are nobody else's",
    )
