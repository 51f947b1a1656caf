"""What only the kernel writes, written here field by field, so that reading it can be tried on anything."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from weft.core.wire import inotify as ino
from weft.core.wire import nsfs
from weft.core.wire import rtnetlink as rt
from weft.core.wire.buffer import attr


def statmount(mount: nsfs.StatMount) -> bytes:
    """struct statmount of Linux 6.18; the strings begin at 1, as that kernel has them."""
    strings = b"\0"
    offsets = {}
    for field in ("fs_type", "mnt_root", "mnt_point", "sb_source"):
        text = getattr(mount, field)
        offsets[field] = len(strings) if text is not None else 0
        strings += b"" if text is None else text.encode("utf-8", "surrogateescape") + b"\0"
    fields = (
        pack("=II", 512 + len(strings), 0),  # size, mnt_opts
        pack("=Q", mount.mask),
        pack("=IIQI", 0, 0, 0, 0),  # sb_dev_major, sb_dev_minor, sb_magic, sb_flags
        pack("=I", offsets["fs_type"]),
        pack("=QQ", mount.mnt_id or 0, mount.mnt_parent_id or 0),
        pack("=II", mount.mnt_id_old or 0, 0),  # mnt_parent_id_old
        pack("=Q", 0),  # mnt_attr
        pack("=QQQ", mount.mnt_propagation or 0, mount.mnt_peer_group or 0, mount.mnt_master or 0),
        pack("=Q", 0),  # propagate_from
        pack("=II", offsets["mnt_root"], offsets["mnt_point"]),
        pack("=Q", mount.mnt_ns_id or 0),
        pack("=I", 0),  # fs_subtype
        pack("=I", offsets["sb_source"]),
        pack("=IIII", 0, 0, 0, 0),  # opt_num, opt_array, opt_sec_num, opt_sec_array
        pack("=Q", 0),  # supported_mask
        pack("=IIII", 0, 0, 0, 0),  # mnt_uidmap_num, mnt_uidmap, mnt_gidmap_num, mnt_gidmap
        bytes(43 * 8),
    )
    return b"".join(fields) + strings


def pidfd_info(info: nsfs.PidfdInfo) -> bytes:
    """struct pidfd_info as first published."""
    return (
        pack("=QQ", info.mask, info.cgroupid or 0)
        + pack("=III", info.pid or 0, info.tgid or 0, info.ppid or 0)
        + pack("=IIII", info.ruid or 0, info.rgid or 0, info.euid or 0, info.egid or 0)
        + pack("=IIII", 0, 0, 0, 0)  # suid, sgid, fsuid, fsgid
        + pack("=i", info.exit_code or 0)
    )


def mnt_ns_info(info: nsfs.MntNsInfo) -> bytes:
    """struct mnt_ns_info."""
    return pack("=IIQ", 16, info.nr_mounts, info.mnt_ns_id)


def ids(numbers: Sequence[int]) -> bytes:
    """What listmount(2) and listns(2) fill in."""
    return b"".join([pack("=Q", number) for number in numbers])


def counters(found: rt.Counters) -> bytes:
    """A link with struct rtnl_link_stats64."""
    rest = bytes(17 * 8)
    return (
        bytes(16) + attr(7, bytes(96)) + attr(23, b"".join([pack("=Q", n) for n in found._astuple()]) + rest)
    )


def events(found: Sequence[ino.Event]) -> bytes:
    """struct inotify_event, each name padded with NULs to 16 bytes."""
    data = b""
    for event in found:
        name = event.name.encode("utf-8", "surrogateescape")
        padded = name + bytes(16 - len(name) % 16) if name else b""
        data += pack("=iIII", event.wd, event.mask, event.cookie, len(padded)) + padded
    return data
