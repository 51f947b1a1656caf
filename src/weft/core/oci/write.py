"""config.json written: the way back from ``read``."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.oci.names import CAPABILITIES, HOOKS, NAMESPACES
from weft.core.oci.resources import write_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.model.oci import (
        Capabilities,
        Device,
        Hook,
        IDMapping,
        Mount,
        Process,
        Rlimit,
        Seccomp,
        Spec,
    )

#: The first version that has all that is written here.
VERSION = "1.1.0"
_TYPES = {kernel: word for word, kernel in NAMESPACES.items()}
#: A mount option of weft's own.
_OPTIONAL = "optional"


def write(spec: Spec) -> bytes:
    """config.json for a container. Its default seccomp filter, its user's name and what only weft knows of
    (init, optional mounts) must have been resolved by then, or are left out.

    BadInput when something in it cannot be text of JSON's.
    """
    import json

    try:
        return (json.dumps(document(spec), indent=2, ensure_ascii=False) + "\n").encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"{error.object[:64]!a} is not UTF-8, as all of a config.json is") from None


def document(spec: Spec) -> dict[str, Any]:
    """The same before it is text."""
    found: dict[str, Any] = {
        "ociVersion": VERSION,
        "process": _process(spec.process),
        "root": {"path": spec.root or "/", "readonly": spec.root_readonly},
        **_some(hostname=spec.hostname, domainname=spec.domainname),
        "mounts": [_mount(one) for one in spec.mounts],
        "linux": _linux(spec),
        **_some(annotations=dict(spec.annotations)),
    }
    hooks = {k: [_hook(h) for h in spec.hooks if h.kind == k] for k in HOOKS}
    return found | _some(hooks=_some(**hooks))


def _some(**found: Any) -> dict[str, Any]:
    """What is not empty."""
    return {key: value for key, value in found.items() if value}


def _process(process: Process) -> dict[str, Any]:
    user = process.user
    umask = {} if user.umask < 0 else {"umask": user.umask}
    adjust = {} if process.oom_score_adj is None else {"oomScoreAdj": process.oom_score_adj}
    return {
        "terminal": process.terminal,
        "user": {"uid": user.uid, "gid": user.gid, **umask, **_some(additionalGids=user.additional_gids)},
        "args": process.args,
        "env": [f"{key}={value}" for key, value in process.env],
        "cwd": process.cwd,
        "capabilities": _capabilities(process.capabilities),
        **_some(rlimits=[_rlimit(one) for one in process.rlimits]),
        "noNewPrivileges": process.no_new_privileges,
        **adjust,
    }


def _rlimit(one: Rlimit) -> dict[str, Any]:
    """No limit, -1, is RLIM_INFINITY there."""
    hard, soft = [value if value >= 0 else (1 << 64) - 1 for value in (one.hard, one.soft)]
    return {"type": one.type, "hard": hard, "soft": soft}


def _capabilities(held: Capabilities | None) -> dict[str, Any]:
    """Those of who starts it: all, as far as those go."""
    if held is None:
        return dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
    return {name: getattr(held, name) for name in held._fields}


def _mount(mount: Mount) -> dict[str, Any]:
    options = [o for o in mount.options if o != _OPTIONAL]
    return {
        "destination": mount.destination,
        **_some(type=mount.type, source=mount.source, options=options),
    }


def _linux(spec: Spec) -> dict[str, Any]:
    return _some(
        uidMappings=[_mapping(one) for one in spec.uid_mappings],
        gidMappings=[_mapping(one) for one in spec.gid_mappings],
        sysctl=dict(spec.sysctl),
        resources=write_resources(spec.resources),
        cgroupsPath=spec.cgroups_path,
        namespaces=[{"type": _TYPES[n.type], **_some(path=n.path)} for n in spec.namespaces],
        timeOffsets={clock: _offset(shift) for clock, shift in spec.clocks},
        devices=[_device(one) for one in spec.devices],
        seccomp=write_seccomp(spec.seccomp) if spec.seccomp and spec.filter != "unconfined" else None,
        rootfsPropagation=spec.rootfs_propagation,
        maskedPaths=spec.masked_paths,
        readonlyPaths=spec.readonly_paths,
    )


def _offset(shift: int) -> dict[str, int]:
    """Both fields are of one sum, and nanoseconds are never negative."""
    return {"secs": shift // 10**9, "nanosecs": shift % 10**9}


def _mapping(one: IDMapping) -> dict[str, int]:
    return {"containerID": one.container_id, "hostID": one.host_id, "size": one.size}


def _device(one: Device) -> dict[str, Any]:
    numbers = {} if one.type == "p" else {"major": one.major, "minor": one.minor}
    return {
        "path": one.path,
        "type": one.type,
        **numbers,
        "fileMode": one.mode,
        "uid": one.uid,
        "gid": one.gid,
    }


def write_seccomp(found: Seccomp) -> dict[str, Any]:
    """``linux.seccomp``."""
    errno = {} if found.default_errno < 0 else {"defaultErrnoRet": found.default_errno}
    rules = []
    for rule in found.syscalls:
        args = [{"index": a.index, "value": a.value, "valueTwo": a.value_two, "op": a.op} for a in rule.args]
        number = {} if rule.errno < 0 else {"errnoRet": rule.errno}
        rules.append({"names": rule.names, "action": rule.action, **number, **_some(args=args)})
    return {
        "defaultAction": found.default_action,
        **errno,
        **_some(architectures=found.architectures, flags=found.flags, syscalls=rules),
    }


def _hook(hook: Hook) -> dict[str, Any]:
    return {"path": hook.path, **_some(args=hook.args, env=hook.env, timeout=hook.timeout)}
