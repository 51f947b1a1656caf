"""Mappings of a new user namespace (user_namespaces(7)), written by its parent."""

from __future__ import annotations

import errno
import os

from weft.core.model.errors import BadInput, KernelError, NotPermitted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.core.model.oci import IDMapping, Spec


def check(spec: Spec) -> None:
    """BadInput unless a new user namespace has mappings, and only that."""
    if "user" not in spec.fresh():
        return
    for what, mappings in (("uid", spec.uid_mappings), ("gid", spec.gid_mappings)):
        if not mappings:
            raise BadInput(f"a new user namespace needs {what} mappings", "as /etc/subuid gives them")
        if any(m.size < 1 or min(m.container_id, m.host_id) < 0 for m in mappings):
            raise BadInput(f"a {what} mapping has no ids")
        if not any(m.container_id <= 0 < m.container_id + m.size for m in mappings):
            raise BadInput(f"the {what} mappings have no root (id 0) inside")


def map_ids(pid: int, spec: Spec) -> None:
    """Gives a process's new user namespace its ids, as newuidmap(1) does. NotPermitted, BadInput."""
    _write(pid, "uid_map", spec.uid_mappings)
    _write(pid, "gid_map", spec.gid_mappings)


def outside(spec: Spec, uid: int) -> int:
    """The host's number for a user inside, which has one."""
    found = [m for m in spec.uid_mappings if m.container_id <= uid < m.container_id + m.size]
    return found[0].host_id + uid - found[0].container_id


def _write(pid: int, name: str, mappings: Iterable[IDMapping]) -> None:
    text = "".join([f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings])
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        said = f"cannot write {name}: {error.strerror}"
        if error.errno == errno.EPERM:
            raise NotPermitted(said, "run weft as root") from None
        if error.errno == errno.EINVAL:
            raise BadInput(said, "mappings may not overlap, and the kernel takes 340 of them") from None
        raise KernelError(said, error.errno or 0) from None
