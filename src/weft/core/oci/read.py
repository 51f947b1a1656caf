"""A bundle's config.json (runtime-spec: config.md, config-linux.md), read strictly: what is not there is as
the specification says, what is unknown is ignored, and what cannot be, or what weft does not do, is refused.

Nothing here looks at the machine: paths are only joined to the bundle's.
"""

from __future__ import annotations

from weft.core.model.errors import Unsupported
from weft.core.model.oci import (
    Capabilities,
    Device,
    Hook,
    IDMapping,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Spec,
    User,
)
from weft.core.oci.fields import parse
from weft.core.oci.names import CAPABILITIES, CLOCKS, HOOKS, IPC_SYSCTLS, NAMESPACES, PROPAGATIONS, RLIMITS
from weft.core.oci.profile import read_seccomp
from weft.core.oci.resources import read_resources
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.oci.fields import Field

_UINT32, _UINT64 = (1 << 32) - 1, (1 << 64) - 1
#: The kernel's KTIME_SEC_MAX (timens_offsets in proc_pid(5)).
_MOST_SECONDS = (1 << 63) // 10**9
_INSTEAD = "`--runtime runc` does it"


class Read(Record):
    """A bundle's wishes, and what is to be remarked about them: capabilities that nobody knows."""

    spec: Spec
    remarks: tuple[str, ...] = ()


def read(data: bytes, bundle: str) -> Read:
    """What a config.json says; ``bundle`` is the directory that it is in, an absolute path.

    BadInput names the place (``linux.namespaces[2].type: ...``); Unsupported for what weft does not do.
    """
    root = parse(data, "config.json")
    version = root.need("ociVersion")
    if version.text().split(".")[0] != "1":
        raise version.wrong(f"{version.text()[:64]!a} is not a version that weft knows", "weft knows 1.x")
    remarks: list[str] = []
    process = _process(root.need("process"), remarks)
    linux = root.get("linux")
    _refuse(linux, ("intelRdt", "mountLabel", "netDevices", "memoryPolicy"))
    _personality(linux.get("personality"))
    seccomp = linux.get("seccomp")
    files = root.need("root")
    spec = Spec(
        process=process,
        root=_root(files.need("path"), bundle),
        root_readonly=files.get("readonly").flag(),
        rootfs_propagation=linux.get("rootfsPropagation").one_of(PROPAGATIONS),
        hostname=root.get("hostname").text(),
        domainname=root.get("domainname").text(),
        namespaces=_namespaces(linux.get("namespaces")),
        mounts=tuple([_mount(one) for one in root.get("mounts").items()]),
        masked_paths=tuple([absolute(one) for one in linux.get("maskedPaths").items()]),
        readonly_paths=tuple([absolute(one) for one in linux.get("readonlyPaths").items()]),
        devices=tuple([_device(one) for one in linux.get("devices").items()]),
        uid_mappings=_mappings(linux.get("uidMappings")),
        gid_mappings=_mappings(linux.get("gidMappings")),
        sysctl=tuple([(key, one.text()) for key, one in linux.get("sysctl").members()]),
        resources=read_resources(linux.get("resources")),
        cgroups_path=_cgroup(linux.get("cgroupsPath")),
        seccomp=read_seccomp(seccomp) if seccomp else None,
        filter="given" if seccomp else "unconfined",
        annotations=_annotations(root.get("annotations")),
        hooks=tuple([_hook(kind, one) for kind in HOOKS for one in root.get("hooks").get(kind).items()]),
        clocks=_clocks(linux.get("timeOffsets")),
    )
    _check(spec, root)
    return Read(spec, tuple(remarks))


def absolute(found: Field) -> str:
    """A path from /. BadInput."""
    path = found.text()
    if not path.startswith("/"):
        raise found.wrong(f"{path[:64]!a} is not an absolute path")
    return path


def _refuse(where: Field, keys: tuple[str, ...]) -> None:
    """What weft does not do, if it is asked for; empty it asks for nothing."""
    for key in keys:
        found = where.get(key)
        if found.full():
            raise Unsupported(f"{found.path}: weft does not do that", _INSTEAD)


def _root(found: Field, bundle: str) -> str:
    """The host's own files are a root too; then there is nothing to change to."""
    path = found.text()
    if not path:
        raise found.wrong("is empty")
    path = path if path.startswith("/") else f"{bundle}/{path}"
    return "" if not path.strip("/") else path


# -- the process


def _process(found: Field, remarks: list[str]) -> Process:
    for key, plain in (("apparmorProfile", "unconfined"), ("selinuxLabel", "")):
        label = found.get(key)
        if label.text() not in ("", plain):
            raise Unsupported(f"{label.path}: weft does not do that", _INSTEAD)
    _refuse(found, ("scheduler", "ioPriority", "execCPUAffinity"))
    args = found.need("args")
    if not args.texts():
        raise args.wrong("is empty")
    return Process(
        args=args.texts(),
        env=tuple([_variable(one) for one in found.get("env").items()]),
        cwd=absolute(found.need("cwd")),
        user=_user(found.get("user")),
        terminal=found.get("terminal").flag(),
        capabilities=_capabilities(found.get("capabilities"), remarks),
        no_new_privileges=found.get("noNewPrivileges").flag(),
        rlimits=_rlimits(found.get("rlimits")),
        oom_score_adj=found.get("oomScoreAdj").number(-1000, 1000) if found.get("oomScoreAdj") else None,
    )


def _variable(found: Field) -> tuple[str, str]:
    name, equals, value = found.text().partition("=")
    if not name or not equals:
        raise found.wrong(f"{found.text()[:64]!a} is not NAME=VALUE")
    return name, value


def _user(found: Field) -> User:
    umask = found.get("umask")
    return User(
        uid=found.get("uid").number(0, _UINT32 - 1),
        gid=found.get("gid").number(0, _UINT32 - 1),
        additional_gids=tuple([one.number(0, _UINT32 - 1) for one in found.get("additionalGids").items()]),
        umask=umask.number(0, 0o777) if umask else -1,
    )


def _capabilities(found: Field, remarks: list[str]) -> Capabilities:
    """Those that nobody knows are remarked and left out, as the specification wants it. None said: none
    held."""
    sets = []
    for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        known = []
        for one in found.get(name).items():
            if one.text() in CAPABILITIES:
                known.append(one.text())
            else:
                remarks.append(f"{one.path}: no capability is called {one.text()[:64]!a}")
        sets.append(tuple(dict.fromkeys(known)))
    return Capabilities(*sets)


def _rlimits(found: Field) -> tuple[Rlimit, ...]:
    limits: dict[str, Rlimit] = {}
    for one in found.items():
        kind = one.need("type").one_of(RLIMITS)
        soft, hard = [one.need(key).number(0, _UINT64) for key in ("soft", "hard")]
        if kind in limits:
            raise one.wrong(f"{kind} is there twice")
        if soft > hard:
            raise one.wrong(f"soft limit {soft} is above the hard one, {hard}")
        limits[kind] = Rlimit(kind, *[-1 if value == _UINT64 else value for value in (soft, hard)])
    return tuple(limits.values())


# -- what it sees


def _mount(found: Field) -> Mount:
    _refuse(found, ("uidMappings", "gidMappings"))
    return Mount(
        destination=absolute(found.need("destination")),
        source=found.get("source").text(),
        type=found.get("type").text(),
        options=found.get("options").texts(),
    )


def _namespaces(found: Field) -> tuple[Namespace, ...]:
    types: dict[str, Namespace] = {}
    for one in found.items():
        where = one.need("type")
        kind = NAMESPACES[where.one_of(tuple(NAMESPACES))]
        path = one.get("path")
        if kind in types:
            raise where.wrong(f"{where.text()} is there twice")
        types[kind] = Namespace(kind, absolute(path) if path.text() else "")
    return tuple(types.values())


def _mappings(found: Field) -> tuple[IDMapping, ...]:
    return tuple(
        [
            IDMapping(
                container_id=one.need("containerID").number(0, _UINT32),
                host_id=one.need("hostID").number(0, _UINT32),
                size=one.need("size").number(1, _UINT32),
            )
            for one in found.items()
        ]
    )


def _device(found: Field) -> Device:
    kind = found.need("type").one_of(("c", "b", "u", "p"))
    numbers = [0, 0]
    if kind != "p":
        # 12 and 20 bits: makedev(3) of the kernel.
        numbers = [found.need(key).number(0, high) for key, high in (("major", 0xFFF), ("minor", 0xFFFFF))]
    return Device(
        path=absolute(found.need("path")),
        type=kind,
        major=numbers[0],
        minor=numbers[1],
        mode=found.get("fileMode").number(0, _UINT32, 0o666) & 0o7777,
        uid=found.get("uid").number(0, _UINT32 - 1),
        gid=found.get("gid").number(0, _UINT32 - 1),
    )


def _clocks(found: Field) -> tuple[tuple[str, int], ...]:
    """How far clocks are shifted, in nanoseconds. One that is not shifted is as if it were not there."""
    shifts = []
    for clock, one in found.members():
        if clock not in CLOCKS:
            raise one.wrong(f"is not one of {', '.join(CLOCKS)}")
        seconds = one.get("secs").number(-_MOST_SECONDS, _MOST_SECONDS)
        shifts.append((clock, seconds * 10**9 + one.get("nanosecs").number(0, 10**9 - 1)))
    return tuple([(clock, shift) for clock, shift in shifts if shift])


def _cgroup(found: Field) -> str:
    path = found.text()
    if ".." in path.split("/"):
        raise found.wrong(f"{path[:64]!a} leads upwards")
    return path


def _personality(found: Field) -> None:
    if found and (
        found.get("domain").one_of(("LINUX", "LINUX32"), "LINUX") != "LINUX" or found.get("flags").full()
    ):
        raise Unsupported(f"{found.path}: weft does not do that", _INSTEAD)


def _annotations(found: Field) -> tuple[tuple[str, str], ...]:
    notes = tuple([(key, one.text()) for key, one in found.members()])
    if any(not key for key, _ in notes):
        raise found.wrong("has an empty key")
    return notes


def _hook(kind: str, found: Field) -> Hook:
    timeout = found.get("timeout")
    return Hook(
        kind=kind,
        path=absolute(found.need("path")),
        args=found.get("args").texts(),
        env=found.get("env").texts(),
        timeout=timeout.number(1, _UINT32) if timeout else 0,
    )


# -- what does not go together


def _check(spec: Spec, root: Field) -> None:
    fresh, types = spec.fresh(), [n.type for n in spec.namespaces]
    for name in ("hostname", "domainname"):
        if root.get(name).text() and "uts" not in types:
            raise root.get(name).wrong("needs a uts namespace of its own")
    linux = root.get("linux")
    if spec.clocks and "time" not in fresh:
        raise linux.get("timeOffsets").wrong("needs a new time namespace")
    for key, found in (("uidMappings", spec.uid_mappings), ("gidMappings", spec.gid_mappings)):
        if found and "user" not in types:
            raise linux.get(key).wrong("needs a user namespace of its own")
        if not found and "user" in fresh:
            raise linux.get(key).wrong("is missing: nobody would be anybody in the user namespace")
    for key, value in linux.get("sysctl").members():
        _check_sysctl(key, value, types)


def _check_sysctl(key: str, where: Field, types: list[str]) -> None:
    """Only what is a namespace's own: all else would be the host's (runc's validator says the same)."""
    words = key.replace("/", ".").split(".")
    if not all(word and word.isascii() and word.isprintable() for word in words):
        raise where.wrong("is not the name of a sysctl")
    ipc = words[:2] == ["fs", "mqueue"] or (words[0] == "kernel" and words[1:] in [[w] for w in IPC_SYSCTLS])
    kind = "net" if words[0] == "net" else "ipc" if ipc else ""
    kind = "uts" if words == ["kernel", "domainname"] else kind
    if not kind:
        raise where.wrong("is of the whole host: no namespace has one of its own")
    if kind not in types:
        raise where.wrong(f"needs a {kind} namespace of its own")
