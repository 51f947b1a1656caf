"""/dev of a container with a root of its own (runtime-spec, config-linux.md, default devices)."""

from __future__ import annotations

import errno
import os
import stat

from weft.core.model.errors import BadInput, KernelError
from weft.core.model.mountopt import parse
from weft.core.model.oci import Device
from weft.linux import mountapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.model.oci import Spec

    Point = Callable[[int, str, bool], int]

DEFAULT = (
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
    Device("/dev/tty", "c", 5, 0),
)
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make(spec: Spec, root: int, point: Point) -> None:
    """Devices and links, unless /dev is a bind mount: then it is complete. BadInput, KernelError."""
    bound = [m for m in spec.mounts if m.destination.rstrip("/") == "/dev" and parse(m).bind]
    given = [d.path for d in spec.devices]
    if not bound:
        for device in DEFAULT:
            if device.path not in given:
                _device(device, root, point)
    for device in spec.devices:
        _device(device, root, point)
    if not bound:
        _links(root, point)


def _device(device: Device, root: int, point: Point) -> None:
    above, _, name = device.path.rpartition("/")
    if device.type not in _TYPES or name in ("", ".", ".."):
        raise BadInput(f"device {device.path!a} of type {device.type!a} cannot be made")
    try:
        parent = point(root, above or "/", True)
        try:
            _node(device, parent, name)
        finally:
            os.close(parent)
    except OSError as error:
        raise KernelError(
            f"cannot make the device {device.path!a}: {error.strerror}", error.errno or 0
        ) from None


def _node(device: Device, parent: int, name: str) -> None:
    try:
        os.mknod(
            name, _TYPES[device.type] | device.mode, os.makedev(device.major, device.minor), dir_fd=parent
        )
    except FileExistsError:
        return
    except PermissionError:  # in a user namespace nobody makes devices: the host's is shown
        _bind(device, parent, name)
        return
    os.chown(name, device.uid, device.gid, dir_fd=parent, follow_symlinks=False)


def _bind(device: Device, parent: int, name: str) -> None:
    found = os.stat(device.path)
    if (os.major(found.st_rdev), os.minor(found.st_rdev)) != (device.major, device.minor):
        raise OSError(errno.EPERM, "only the host's devices can be shown in a user namespace")
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
    target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    tree = mountapi.tree(device.path)
    mountapi.attach(tree, target)
    os.close(tree)
    os.close(target)


def _links(root: int, point: Point) -> None:
    dev = point(root, "/dev", True)
    try:
        for name, target in _LINKS:
            try:
                os.symlink(target, name, dir_fd=dev)
            except FileExistsError:
                pass
    finally:
        os.close(dev)


def null_tree() -> int:
    """A mount of the host's /dev/null, which masks a file. KernelError when that is something else."""
    found = os.stat("/dev/null")
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
        raise KernelError("/dev/null of the host is not the null device: nothing can be masked by it")
    return mountapi.tree("/dev/null")
