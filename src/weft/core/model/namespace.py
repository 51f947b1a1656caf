"""Namespaces as weft knows and finds them (namespaces(7))."""

from __future__ import annotations

from weft.core.record import Record

#: The kernel's names under /proc/PID/ns, in the order in which they are listed.
TYPES = ("net", "mnt", "pid", "uts", "ipc", "user", "cgroup", "time")


class NamedNs(Record):
    """A name under /run/netns that weft gave: ``how`` is "made" or "adopted".

    ``handle`` is the namespace's file handle, b"" where the kernel gives none. ``removed``: weft took the
    name off, and whether the namespace went too was not known then.
    """

    id: int
    name: str
    how: str
    inode: int
    handle: bytes
    removed: bool


class Place(Record):
    """A network namespace where a plan acts. ``netns`` is what operations call it: "" for the host's own, a
    name under /run/netns, or a path. ``shown`` is what people call it."""

    netns: str
    shown: str
    inode: int = 0


class Holder(Record):
    """What keeps a namespace alive.

    ``kind`` is process, thread, mount, file, socket, device, child, or unknown; ``pid`` whose it is, 0 when
    nobody's; ``where`` says more: a mount point, ``fd 5``, a device's name, the child.
    """

    kind: str
    pid: int = 0
    where: str = ""


class EngineName(Record):
    """What an engine calls a container that uses a namespace."""

    engine: str
    name: str
    id: str


class NsFact(Record):
    """A namespace that exists, as it was found.

    ``inode`` is 0 for one that is known only by a device tied to a known one, or by a stale name. ``nsid``
    is its id as seen from here, None without one; ``owner`` and ``parent`` are inodes of the user
    namespace that owns it and of the parent (pid and user only), 0 where the kernel does not tell;
    ``pids`` are the processes in it, the lowest first; ``command`` and ``user`` are the lowest's.
    ``links`` are the links of one that only a device tells of. ``here``: the caller is in it.

    ``stale``: the name leads to no network namespace any more, and nothing else is known. ``former`` are
    names that weft took off: without others, and alive, it is ``leaked``.
    """

    inode: int
    type: str
    names: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    command: str = ""
    user: str = ""
    owner: int = 0
    parent: int = 0
    nsid: int | None = None
    held_by: tuple[Holder, ...] = ()
    container: EngineName | None = None
    links: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    here: bool = False
    stale: bool = False

    @property
    def leaked(self) -> bool:
        """Whether weft took its name off and it lives on."""
        return bool(self.former) and not self.names
