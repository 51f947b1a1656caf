"""What finding namespaces says to the kernel beside netlink: structures of nsfs, mounts and pidfds.

File handles of namespaces (name_to_handle_at(2)), ioctls on their descriptors (ioctl_nsfs(2)) and on
pidfds (ioctl_pidfd(2)), statmount(2), listmount(2) and listns(2). Headers: linux/nsfs.h, linux/mount.h,
linux/pidfd.h; the kernel's side: fs/nsfs.c, fs/namespace.c, fs/pidfs.c, kernel/nstree.c. Structures grow
at their end: what a newer kernel adds is not looked at, and ours are taken by it as they are.
"""

from __future__ import annotations

from _struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The same on all of our architectures, and in no libc that is old enough.
NR_STATMOUNT = 457
NR_LISTMOUNT = 458
NR_LISTNS = 470

#: On descriptors of namespaces. NS_GET_USERNS and _PARENT give a descriptor, _NSTYPE a CLONE_NEW*, *_PIDNS
#: take a pid and give one. NS_MNT_* write a mnt_ns_info, and _NEXT and _PREV give a descriptor too. The
#: others write a number: the owner's in 32 bits, ids in 64.
NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703
NS_GET_OWNER_UID = 0xB704
NS_GET_MNTNS_ID = 0x8008B705
NS_GET_PID_FROM_PIDNS = 0x8004B706
NS_GET_TGID_FROM_PIDNS = 0x8004B707
NS_GET_PID_IN_PIDNS = 0x8004B708
NS_GET_TGID_IN_PIDNS = 0x8004B709
NS_MNT_GET_INFO = 0x8010B70A
NS_MNT_GET_NEXT = 0x8010B70B
NS_MNT_GET_PREV = 0x8010B70C
NS_GET_ID = 0x8008B70D

#: On a socket: a descriptor of its network namespace.
SIOCGSKNS = 0x894C

#: On pidfds; a descriptor comes back, and the argument must be 0.
PIDFD_GET_CGROUP_NAMESPACE = 0xFF01
PIDFD_GET_IPC_NAMESPACE = 0xFF02
PIDFD_GET_MNT_NAMESPACE = 0xFF03
PIDFD_GET_NET_NAMESPACE = 0xFF04
PIDFD_GET_PID_NAMESPACE = 0xFF05
PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE = 0xFF06
PIDFD_GET_TIME_NAMESPACE = 0xFF07
PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE = 0xFF08
PIDFD_GET_USER_NAMESPACE = 0xFF09
PIDFD_GET_UTS_NAMESPACE = 0xFF0A
#: Its size field says 64 bytes, the first that was published; the kernel answers as much.
PIDFD_GET_INFO = 0xC040FF0B

PIDFD_INFO_PID = 0x1
PIDFD_INFO_CREDS = 0x2
PIDFD_INFO_CGROUPID = 0x4
PIDFD_INFO_EXIT = 0x8

#: In place of a directory, to open_by_handle_at(2): the handle says all.
FD_NSFS_ROOT = -10003
FILEID_NSFS = 0xF1

STATMOUNT_MNT_BASIC = 0x002
STATMOUNT_MNT_ROOT = 0x008
STATMOUNT_MNT_POINT = 0x010
STATMOUNT_FS_TYPE = 0x020
STATMOUNT_MNT_NS_ID = 0x040
STATMOUNT_SB_SOURCE = 0x200

#: Every mount of the namespace, to listmount(2).
LSMT_ROOT = 0xFFFFFFFFFFFFFFFF
#: To listns(2): owned by the caller's user namespace.
LISTNS_CURRENT_USER = 0xFFFFFFFFFFFFFFFF

_FILE_HANDLE = Struct("=Ii")
_NSFS_FILE_HANDLE = Struct("=QII")
_MNT_ID_REQ = Struct("=IIQQQ")
_NS_ID_REQ = Struct("=IxxxxQIxxxxQ")
_MNT_NS_INFO = Struct("=IIQ")
_PIDFD_INFO = Struct("=QQ7I16xi")
_STATMOUNT = Struct("=I4xQ20xIQQI4x8xQQQ8xIIQ4xI")
#: Where a struct statmount's strings begin, from which their offsets count.
_STRINGS = 512


class NsfsHandle(Record):
    """A namespace's identity, which outlives a name and is never used again: ``ns_id``, its type
    (CLONE_NEW*) and its inode number on nsfs. The larger ``ns_id`` is not the younger: each CPU deals
    from a batch of its own."""

    ns_id: int
    ns_type: int
    ns_inum: int


#: What name_to_handle_at(2) writes a handle over: its capacity, then that many bytes.
NO_HANDLE = _FILE_HANDLE.pack(128, 0) + bytes(128)


def put_handle(handle: NsfsHandle) -> bytes:
    """struct file_handle, as open_by_handle_at(2) takes it."""
    body = _NSFS_FILE_HANDLE.pack(*handle._astuple())
    return _FILE_HANDLE.pack(len(body), FILEID_NSFS) + body


def get_handle(data: bytes) -> NsfsHandle:
    """What name_to_handle_at(2) wrote of a namespace. WireError for any other file's handle."""
    if len(data) < _FILE_HANDLE.size:
        raise WireError(f"a file handle of {len(data)} bytes, shorter than its header")
    size, kind = _FILE_HANDLE.unpack_from(data)
    if kind != FILEID_NSFS:
        raise WireError(f"a file handle of type {kind:#x}, which is no namespace's")
    if not _NSFS_FILE_HANDLE.size <= size <= len(data) - _FILE_HANDLE.size:
        raise WireError(f"a namespace's handle of {size} bytes in {len(data)}")
    return NsfsHandle(*_NSFS_FILE_HANDLE.unpack_from(data, _FILE_HANDLE.size))


def put_listmount(mnt_ns_id: int = 0, after: int = 0, mnt_id: int = LSMT_ROOT) -> bytes:
    """struct mnt_id_req for listmount(2): the mounts below one, of the mount namespace of that id (0:
    one's own), from behind the last that was listed on."""
    return _MNT_ID_REQ.pack(_MNT_ID_REQ.size, 0, mnt_id, after, mnt_ns_id)


def put_statmount(mnt_id: int, mask: int, mnt_ns_id: int = 0) -> bytes:
    """struct mnt_id_req for statmount(2): what of a mount is asked for (STATMOUNT_*)."""
    return _MNT_ID_REQ.pack(_MNT_ID_REQ.size, 0, mnt_id, mask, mnt_ns_id)


def put_listns(ns_type: int = 0, after: int = 0, user_ns_id: int = 0) -> bytes:
    """struct ns_id_req for listns(2): the namespaces of some types (CLONE_NEW*, or'ed; 0: all), from
    behind the last that was listed on, owned by the user namespace of that id (0: by any)."""
    return _NS_ID_REQ.pack(_NS_ID_REQ.size, after, ns_type, user_ns_id)


def get_ids(data: bytes) -> tuple[int, ...]:
    """Ids in 64 bits each: the answer of listmount(2), of listns(2), of NS_GET_ID and NS_GET_MNTNS_ID.
    WireError when the last is cut."""
    if len(data) % 8:
        raise WireError(f"a list of 64-bit ids in {len(data)} bytes")
    return Struct(f"={len(data) // 8}Q").unpack(data)


class MntNsInfo(Record):
    """A mount namespace (struct mnt_ns_info): how many mounts it has, and its id."""

    nr_mounts: int
    mnt_ns_id: int


#: What NS_MNT_GET_INFO, _NEXT and _PREV write over.
NO_MNT_NS_INFO = bytes(_MNT_NS_INFO.size)


def get_mnt_ns_info(data: bytes) -> MntNsInfo:
    """What NS_MNT_GET_INFO wrote of the descriptor's mount namespace, or NS_MNT_GET_NEXT and _PREV of the
    one with the next id up or down, for which they give a descriptor too. WireError."""
    if len(data) < _MNT_NS_INFO.size:
        raise WireError(f"a mount namespace's information in {len(data)} bytes")
    size, nr_mounts, mnt_ns_id = _MNT_NS_INFO.unpack_from(data)
    if size < _MNT_NS_INFO.size:
        raise WireError(f"a mount namespace's information of {size} bytes")
    return MntNsInfo(nr_mounts, mnt_ns_id)


class StatMount(Record):
    """A mount (struct statmount); what ``mask`` does not say is None.

    ``mnt_id_old`` is the number in /proc/PID/mountinfo, which others get later; ``mnt_id`` never comes
    again. ``mnt_point`` is seen from the root of the mount's namespace. A namespace's mount has
    the ``fs_type`` "nsfs" and a ``mnt_root`` like "net:[4026531840]".
    """

    mask: int
    mnt_id: int | None = None
    mnt_parent_id: int | None = None
    mnt_id_old: int | None = None
    mnt_propagation: int | None = None
    mnt_peer_group: int | None = None
    mnt_master: int | None = None
    fs_type: str | None = None
    mnt_root: str | None = None
    mnt_point: str | None = None
    mnt_ns_id: int | None = None
    sb_source: str | None = None


def _get_text(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset)
    if end < 0:
        raise WireError(f"a mount's string at {offset}, of which there is no end")
    return strings[offset:end].decode("utf-8", "surrogateescape")


def get_statmount(data: bytes) -> StatMount:
    """What statmount(2) wrote. WireError when sizes and offsets lie."""
    if len(data) < _STRINGS:
        raise WireError(f"a mount's description of {len(data)} bytes")
    size, mask, fs_type, *basic, mnt_root, mnt_point, mnt_ns_id, sb_source = _STATMOUNT.unpack_from(data)
    if not _STRINGS <= size <= len(data):
        raise WireError(f"a mount's description of {size} bytes in {len(data)}")
    fields: dict[str, Any] = {}
    if mask & STATMOUNT_MNT_BASIC:
        fields.update(zip(_BASIC, basic, strict=True))
    if mask & STATMOUNT_MNT_NS_ID:
        fields["mnt_ns_id"] = mnt_ns_id
    strings = data[_STRINGS:size]
    for bit, field, offset in (
        (STATMOUNT_FS_TYPE, "fs_type", fs_type),
        (STATMOUNT_MNT_ROOT, "mnt_root", mnt_root),
        (STATMOUNT_MNT_POINT, "mnt_point", mnt_point),
        (STATMOUNT_SB_SOURCE, "sb_source", sb_source),
    ):
        if mask & bit:
            fields[field] = _get_text(strings, offset)
    return StatMount(mask, **fields)


_BASIC = ("mnt_id", "mnt_parent_id", "mnt_id_old", "mnt_propagation", "mnt_peer_group", "mnt_master")


class PidfdInfo(Record):
    """The process behind a pidfd (struct pidfd_info), its numbers as the caller's namespaces see them;
    what ``mask`` does not say is None. ``exit_code`` is what wait(2) would say; it is there
    when it was asked for and the process has been waited for."""

    mask: int
    pid: int | None = None
    tgid: int | None = None
    ppid: int | None = None
    ruid: int | None = None
    rgid: int | None = None
    euid: int | None = None
    egid: int | None = None
    cgroupid: int | None = None
    exit_code: int | None = None


def put_pidfd_info(mask: int = 0) -> bytes:
    """What PIDFD_GET_INFO reads and writes over: more that is asked for (PIDFD_INFO_EXIT)."""
    return _PIDFD_INFO.pack(mask, *[0] * 9)


def get_pidfd_info(data: bytes) -> PidfdInfo:
    """What PIDFD_GET_INFO wrote. WireError."""
    if len(data) < _PIDFD_INFO.size:
        raise WireError(f"a process's information in {len(data)} bytes")
    mask, cgroupid, pid, tgid, ppid, *creds, exit_code = _PIDFD_INFO.unpack_from(data)
    fields: dict[str, int] = {}
    if mask & PIDFD_INFO_PID:
        fields.update(pid=pid, tgid=tgid, ppid=ppid)
    if mask & PIDFD_INFO_CREDS:
        fields.update(zip(("ruid", "rgid", "euid", "egid"), creds, strict=True))
    if mask & PIDFD_INFO_CGROUPID:
        fields["cgroupid"] = cgroupid
    if mask & PIDFD_INFO_EXIT:
        fields["exit_code"] = exit_code
    return PidfdInfo(mask, **fields)
