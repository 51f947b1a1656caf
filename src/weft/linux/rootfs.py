"""What a container sees of files: its root, its mounts, what is masked (runtime-spec, config.md and
config-linux.md; pivot_root(2), mount_namespaces(7)).

All is put where descriptors point that were found as the container's own root would find them, so a root
that somebody hostile has filled with symbolic links leads nowhere outside. It is all done before that root
is in place: an error can still be told.
"""

from __future__ import annotations

import errno
import os
import stat

from weft.core.model.errors import BadInput, KernelError, WeftError
from weft.core.model.mountopt import RDONLY, Options, parse
from weft.linux import devices, libc, mountapi, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.oci import Mount, Spec

_SAFE = mountapi.NOSUID | mountapi.NODEV | mountapi.NOEXEC
#: The namespace that a file system shows. Where that is not the container's own, nobody inside can mount it.
_SHOWS = {"sysfs": "net", "mqueue": "ipc", "cgroup2": "cgroup", "proc": "pid"}
_PROPAGATION = {"shared": 1 << 20, "slave": 1 << 19, "private": 1 << 18, "unbindable": 1 << 17}
#: What may be covered of a /proc, as runc has it: the rest is what the kernel and others trust.
_OF_PROC = frozenset(
    "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid "
    "sys/crypto/fips_enabled".split()
)
_MAX_LINKS = 40


class Sources:
    """Mounts that are made, attached nowhere yet, by their place in ``Spec.mounts``; ``root`` and ``sys``
    are -1 where there is none."""

    __slots__ = ("mounts", "root", "sys")

    def __init__(self) -> None:
        self.mounts: dict[int, int] = {}
        self.root = self.sys = -1

    def fds(self) -> list[int]:
        return [fd for fd in (*self.mounts.values(), self.root, self.sys) if fd >= 0]


def check(spec: Spec) -> None:
    """BadInput for what cannot be, before anything is touched."""
    if "mnt" not in spec.fresh():
        if spec.root or spec.mounts or spec.masked_paths or spec.readonly_paths:
            raise BadInput("a root, mounts and masked paths need a mount namespace of their own")
        return
    if spec.root and not os.path.isdir(spec.root):
        raise BadInput(f"root {spec.root!a} is no directory", "give an unpacked image")
    for mount in spec.mounts:
        options = parse(mount)
        if not options.bind and mount.type in ("", "none"):
            raise BadInput(f"mount {mount.destination!a} has no type", "as tmpfs, or bind")
        if options.bind and not os.path.lexists(mount.source):
            raise BadInput(f"mount {mount.destination!a}: source {mount.source!a} does not exist")


def outside(spec: Spec, sources: Sources) -> None:
    """Makes what only somebody outside a new user namespace can: copies of the host's mounts, and file
    systems that show namespaces which are not the container's own. WeftError."""
    if spec.root:
        sources.root = _root_tree(spec)
        _make_points(spec, sources.root)
    elif _shows_sys(spec) and "net" not in spec.fresh():
        sources.sys = mountapi.fs("sysfs", (), _SAFE)
    for place, mount in enumerate(spec.mounts):
        kind = _SHOWS.get(mount.type)
        if parse(mount).bind or (kind and kind not in spec.fresh()):
            sources.mounts[place] = _made(mount)


def _make_points(spec: Spec, root: int) -> None:
    """Mount points that are missing: the root need not be writable for its user namespace."""
    above: list[str] = []
    for mount in spec.mounts:
        path = "/" + mount.destination.strip("/")
        if not any(path.startswith(f"{a}/") for a in above) and not parse(mount).optional:
            directory = not parse(mount).bind or os.path.isdir(mount.source)
            try:
                os.close(point(root, path, directory))
            except OSError:
                pass  # said where it is mounted
        above.append(path)
    for path in ("/dev", spec.process.cwd):
        if not any(path == a or path.startswith(f"{a}/") for a in above):
            os.close(point(root, path, True))


def _root_tree(spec: Spec) -> int:
    try:
        tree = _isolated(mountapi.tree(spec.root, recursive=True), spec.rootfs_propagation)
        if spec.nodev:
            mountapi.set_attributes(tree, mountapi.NODEV, recursive=True)
        return tree
    except OSError as error:
        raise BadInput(
            f"root {spec.root!a}: {os.strerror(error.errno or 0)}", "give an unpacked image"
        ) from None


def _isolated(tree: int, propagation: str = "") -> int:
    """What the container mounts in a copy does not show on the host, unless that was asked for."""
    kind = _PROPAGATION.get(propagation.removeprefix("r"), libc.MS_SLAVE)
    mountapi.set_attributes(tree, propagation=kind, recursive=True)
    return tree


def _made(mount: Mount) -> int:
    """A mount of ``Spec.mounts``, attached nowhere."""
    options = parse(mount)
    try:
        fd = _bound(mount, options) if options.bind else _mounted(mount, options)
    except OSError as error:
        what = f"source {mount.source!a}" if options.bind else f"type {mount.type!a}"
        said = f"mount {mount.destination!a}: {what}: {error.strerror}"
        raise BadInput(said, "the source of a bind must exist" if options.bind else "") from None
    if options.propagation:
        mountapi.set_attributes(
            fd, propagation=options.propagation, recursive=options.propagation_all and options.recursive
        )
    return fd


def _bound(mount: Mount, options: Options) -> int:
    fd = _isolated(_copied(mount.source, options.recursive))
    if options.all_add | options.all_clear:
        mountapi.set_attributes(fd, options.all_add, options.all_clear, recursive=True)
    if options.add | options.clear:
        mountapi.set_attributes(fd, options.add, options.clear)
    return fd


def _copied(source: str, recursive: bool) -> int:
    """A copy of the mount at a path. /proc/PID/root/PATH is of another mount namespace, from which one
    copies inside only; that leaves nobody where his root was, so it comes before there is a new one."""
    owner = _owner(source)
    if not owner:
        return mountapi.tree(source, recursive)
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/proc/{owner}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        libc.setns(there, libc.CLONE_NEWNS)
        try:
            return mountapi.tree(source.removeprefix(f"/proc/{owner}/root") or "/", recursive)
        finally:
            libc.setns(home, libc.CLONE_NEWNS)
            os.fchdir(here)
    finally:
        for fd in (home, there, here):
            os.close(fd)


def _owner(source: str) -> str:
    """The process in whose mount namespace a path is, where it says so."""
    words = source.split("/", 4)
    return words[2] if words[:2] == ["", "proc"] and words[3:4] == ["root"] else ""


def _mounted(mount: Mount, options: Options) -> int:
    source: tuple[tuple[str, str | None], ...] = (("source", mount.source),) if mount.source else ()
    add = options.add | options.all_add
    # Mount points and devices are made in a read-only one first.
    if mount.type in ("tmpfs", "cgroup"):
        add &= ~RDONLY
    if mount.type == "cgroup":
        from weft.linux import cgroupfs

        return cgroupfs.made(add)
    return mountapi.fs(mount.type, (*source, *options.data), add)


# in the new mount namespace


def furnish(spec: Spec, sources: Sources) -> int:
    """Makes all that the container will see; a descriptor of its root, for ``enter``. WeftError, OSError."""
    propagation = _PROPAGATION.get(spec.rootfs_propagation.removeprefix("r"), libc.MS_SLAVE)
    libc.mount("", "/", "none", propagation | libc.MS_REC)
    for place, mount in enumerate(spec.mounts):
        # On the host's files, too, a bind is of what the host has there, not what covers it.
        if place not in sources.mounts and (_owner(mount.source) or (not spec.root and parse(mount).bind)):
            sources.mounts[place] = _made(mount)
    if spec.root:
        root = sources.root if sources.root >= 0 else _root_tree(spec)
        libc.mount("", "/", "none", libc.MS_SLAVE)  # pivot_root(2) refuses a shared parent
        _attach(root, os.open("/", os.O_PATH | os.O_CLOEXEC))
    else:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if spec.root_readonly:
            mountapi.set_attributes(root, RDONLY, recursive=True)
        _host_views(spec, root, sources.sys)
    _Furnisher(spec, root, sources).all()
    return root


def _shows_sys(spec: Spec) -> bool:
    """Whether the host's files get a /sys of the container's network, as no mount says what is there."""
    return bool(spec.namespace("net")) and "/sys" not in [m.destination.rstrip("/") for m in spec.mounts]


def _host_views(spec: Spec, root: int, sys: int) -> None:
    """/proc and /sys of the new namespaces over the host's, unless the mounts say something else."""
    given = [m.destination.rstrip("/") for m in spec.mounts]
    if spec.namespace("pid") and "/proc" not in given:
        _attach(mountapi.fs("proc", (), _SAFE), mountapi.resolve(root, "proc"))
    if _shows_sys(spec):
        # Whoever has files to be read only is not to write cgroups either: root is their owner.
        mounts.own_sys(bool(spec.readonly_paths), sys)


def _attach(mount: int, target: int) -> None:
    try:
        mountapi.attach(mount, target)
    finally:
        os.close(target)


def enter(root: int, spec: Spec) -> None:
    """Makes that root the calling process's; of the old one nothing stays mounted. OSError."""
    if spec.root:
        os.fchdir(root)
        libc.pivot_root(".", ".")
        libc.umount2(".", libc.MNT_DETACH)
    os.chdir("/")
    os.close(root)


class _Furnisher:
    """One root's furnishing."""

    __slots__ = ("_late", "_own", "_proc", "_root", "_sources", "_spec")

    def __init__(self, spec: Spec, root: int, sources: Sources) -> None:
        self._spec, self._root, self._sources = spec, root, sources
        self._late: list[int] = []
        self._proc: set[int] = set()
        self._own: set[int] = set()

    def all(self) -> None:
        spec = self._spec
        for place, mount in enumerate(spec.mounts):
            self._mount(place, mount)
        if spec.root:
            devices.make(spec, self._root, point)
            self._make_directory(spec.process.cwd)
        for fd in self._late:
            mountapi.set_attributes(fd, RDONLY)
            os.close(fd)
        _sysctls(spec)
        for path in spec.readonly_paths:
            self._cover(path, self._read_only)
        for path in spec.masked_paths:
            self._cover(path, self._mask)
        if spec.root and spec.root_readonly:
            mountapi.set_attributes(self._root, RDONLY)
        if spec.process.no_new_privileges:
            # Then file capabilities are ignored instead of refused (capabilities(7)).
            mountapi.set_attributes(self._root, mountapi.NOSUID, recursive=True)

    def _mount(self, place: int, mount: Mount) -> None:
        options = parse(mount)
        made = self._sources.mounts.get(place)
        there = made is not None or not options.optional or self._has(mount.destination)
        if not there and not self._ours(mount.destination):
            return
        fd = _made(mount) if made is None else made
        target = self._target(mount, fd, options)
        if target < 0:
            os.close(fd)
            return
        try:
            _attach(fd, target)
        except OSError as error:
            raise BadInput(f"mount {mount.destination!a}: {error.strerror}") from None
        if mount.type == "proc":
            self._proc.add(os.fstat(fd).st_dev)
        if mount.type == "tmpfs":
            self._own.add(os.fstat(fd).st_dev)
        if mount.type == "cgroup":
            from weft.linux import cgroupfs

            cgroupfs.fill(fd, options.add | options.all_add, "cgroup" in self._spec.fresh())
        if mount.type in ("tmpfs", "cgroup") and (options.add | options.all_add) & RDONLY:
            self._late.append(fd)
        else:
            os.close(fd)

    def _has(self, path: str) -> bool:
        try:
            os.close(mountapi.resolve(self._root, path))
        except OSError:
            return False
        return True

    def _ours(self, path: str) -> bool:
        """Whether it is in a tmpfs that was made here, where a missing mount point is made too."""
        above = path.rstrip("/").rpartition("/")[0] if self._own else ""
        while above:
            try:
                fd = mountapi.resolve(self._root, above)
            except OSError:
                above = above.rpartition("/")[0]
                continue
            try:
                return os.fstat(fd).st_dev in self._own
            finally:
                os.close(fd)
        return False

    def _target(self, mount: Mount, fd: int, options: Options) -> int:
        """Where a mount goes; -1 where an optional one has no place."""
        try:
            target = self._place(mount, fd, options.optional)
        except OSError as error:
            if options.optional:
                return -1
            hint = "" if self._spec.root else "on the host's files weft makes no mount points: make it first"
            raise BadInput(f"mount {mount.destination!a}: {error.strerror}", hint) from None
        inside = mount.destination.strip("/").removeprefix("proc/")
        if os.fstat(target).st_dev in self._proc and inside not in _OF_PROC:
            raise BadInput(f"mount {mount.destination!a}: it would cover a part of /proc")
        return target

    def _place(self, mount: Mount, fd: int, optional: bool) -> int:
        how = mountapi.IN_ROOT
        if self._spec.root and mount.type in ("proc", "sysfs"):
            how |= mountapi.NO_SYMLINKS  # writes meant for the kernel must go nowhere else
        if not self._spec.root or optional:
            try:
                return mountapi.resolve(self._root, mount.destination, how=how)
            except FileNotFoundError:
                if not self._ours(mount.destination):
                    raise
        return point(self._root, mount.destination, _is_directory(fd), how)

    def _make_directory(self, path: str) -> None:
        try:
            os.close(point(self._root, path, True))
        except OSError as error:
            raise BadInput(f"working directory {path!a}: {error.strerror}") from None

    def _cover(self, path: str, how: _Cover) -> None:
        try:
            target = mountapi.resolve(self._root, path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise KernelError(f"cannot mask {path!a}: {error.strerror}", error.errno or 0) from None
        cover = how(target)
        _attach(cover, target)
        os.close(cover)

    @staticmethod
    def _read_only(target: int) -> int:
        tree = mountapi.tree("", recursive=True, at=target)
        mountapi.set_attributes(tree, RDONLY, recursive=True)
        return tree

    @staticmethod
    def _mask(target: int) -> int:
        if _is_directory(target):
            return mountapi.fs("tmpfs", (("size", "0"), ("nr_inodes", "2")), RDONLY | _SAFE)
        return devices.null_tree()


if TYPE_CHECKING:
    from collections.abc import Callable

    _Cover = Callable[[int], int]


def point(root: int, path: str, directory: bool, how: int = mountapi.IN_ROOT, links: int = 0) -> int:
    """Opens a mount point below a root, making what is missing of it, as runc does. OSError."""
    try:
        return mountapi.resolve(root, path, how=how)
    except FileNotFoundError:
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
    above, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        return point(root, above, True, how, links + 1)
    parent = point(root, above or "/", True, how, links)
    try:
        made = _make(parent, name, directory)
        if made >= 0:
            return made
        if how & mountapi.NO_SYMLINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        link = os.readlink(name, dir_fd=parent)  # it leads to what is not there yet
    finally:
        os.close(parent)
    return point(root, link if link.startswith("/") else f"{above}/{link}", directory, how, links + 1)


def _make(parent: int, name: str, directory: bool) -> int:
    """Makes an entry; -1 where there is one of that name."""
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:
        return -1
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _sysctls(spec: Spec) -> None:
    """Through a /proc that is mounted nowhere: no path of the container's leads there."""
    if not spec.sysctl:
        return
    proc = mountapi.fs("proc", (), _SAFE)
    sys = mountapi.resolve(proc, "sys")
    try:
        for key, value in spec.sysctl:
            _sysctl(sys, key if "/" in key else key.replace(".", "/"), value)
    finally:
        os.close(sys)
        os.close(proc)


def _sysctl(sys: int, path: str, value: str) -> None:
    try:
        fd = mountapi.resolve(sys, path, os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise BadInput(f"the kernel has no sysctl {path!a}") from None
    except OSError as error:
        raise refused(f"cannot set the sysctl {path} to {value!a}: {error.strerror}", error) from None


def refused(message: str, error: OSError) -> WeftError:
    """The kernel's no."""
    return KernelError(message, error.errno or 0)
