"""What weft runs, as a config.json can say it."""

from __future__ import annotations

from weft.core.model.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.oci import Mount, Seccomp, Spec

#: How weft's own notes begin.
OWN = "weft."


def without_notes(spec: Spec) -> Spec:
    """Without weft's own annotations."""
    return spec._replace(annotations=tuple([n for n in spec.annotations if not n[0].startswith(OWN)]))


def for_runtime(spec: Spec, name: str, filter: Seccomp | None) -> Spec:
    """A container for another runtime, in a cgroup of its own. ``filter`` is what its seccomp filter says.

    BadInput for one on the host's files, which no other runtime can change to.
    """
    if not spec.root:
        raise BadInput(
            "another runtime cannot run on the host's files: it needs a directory as root",
            "give --rootfs DIR",
        )
    path = absolute(spec.cgroups_path or f"weft/{name}")
    return said(without_notes(spec), filter)._replace(cgroups_path=path)


def said(spec: Spec, filter: Seccomp | None) -> Spec:
    """With the filter's rules in place of its name, and without weft's init."""
    return spec._replace(
        mounts=tuple([_with_nodes(m) if spec.nodev else m for m in spec.mounts]),
        nodev=False,
        seccomp=filter,
        filter="given" if filter else "unconfined",
        init=False,
    )


def _with_nodes(mount: Mount) -> Mount:
    """Weft puts the host's own nodes into /dev; others make theirs in it, and guard them by cgroups."""
    if (mount.destination, mount.type) != ("/dev", "tmpfs"):
        return mount
    return mount._replace(options=tuple([o for o in mount.options if o != "nodev"]))


def absolute(path: str) -> str:
    """A cgroup's path from the root of the hierarchy (config-linux.md)."""
    return path if not path or path.startswith("/") else f"/{path}"
