"""Ids of network namespaces: RTM_NEWNSID, RTM_GETNSID, RTM_DELNSID (ip-netns(8), linux/net_namespace.h).

A namespace numbers the others that it knows. The kernel does so by itself when the other end of a link
goes into one, and takes the id back when that namespace is gone (RTM_DELNSID, to RTNLGRP_NSID). What
the kernel does: net/core/net_namespace.c.
"""

from __future__ import annotations

from struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    S32,
    U32,
    get_fields,
    put_fields,
    split,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.wire.buffer import Column, Message

RTM_NEWNSID = 88
RTM_DELNSID = 89
RTM_GETNSID = 90

#: No id: what the kernel reports of a namespace that has none, and "any that is free" to new_nsid().
NSID_NOT_ASSIGNED = -1

#: One byte, padded as the attributes behind it need.
_RTGENMSG = Struct("=Bxxx")


class Nsid(Record):
    """The id of a namespace, which is found by a process in it, by a descriptor of it or by its id.

    ``target_nsid`` is whose numbers are asked for, when not the socket's own namespace's: then the
    answer's ``nsid`` is the id there, and ``current_nsid`` the id here (-1: none).
    """

    nsid: int | None = None
    pid: int | None = None
    fd: int | None = None
    target_nsid: int | None = None
    current_nsid: int | None = None


_NSID: tuple[Column, ...] = (
    (1, "nsid", S32),
    (2, "pid", U32),
    (3, "fd", U32),
    (4, "target_nsid", S32),
    (5, "current_nsid", S32),
)


def put_nsid(nsid: Nsid) -> bytes:
    """rtgenmsg and attributes."""
    return _RTGENMSG.pack(0) + put_fields(nsid, _NSID)


def get_nsid(data: bytes) -> Nsid:
    """The payload of RTM_NEWNSID or RTM_DELNSID. WireError."""
    _, found = split(data, _RTGENMSG)
    return Nsid(**get_fields(found, _NSID))


def new_nsid(
    fd: int | None = None, pid: int | None = None, nsid: int = NSID_NOT_ASSIGNED, flags: int = 0
) -> Message:
    """Gives a namespace an id. With NLM_F_ECHO the kernel says which before it acknowledges. It
    refuses with EEXIST when the namespace has an id, or the id a namespace. WireError unless
    exactly one of fd and pid is given."""
    if (fd is None) == (pid is None):
        raise WireError("which namespace to give an id is not said, or said twice")
    return RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK | flags, put_nsid(Nsid(nsid, pid, fd))


def get_nsid_request(
    fd: int | None = None, pid: int | None = None, nsid: int | None = None, target_nsid: int | None = None
) -> Message:
    """Asks for the id of one namespace; the kernel answers NSID_NOT_ASSIGNED when it has none. An
    ``nsid`` is translated to the number in ``target_nsid``. WireError unless exactly one of fd, pid
    and nsid is given."""
    if (fd is None) + (pid is None) + (nsid is None) != 2:
        raise WireError("which namespace's id to read is not said, or said twice")
    return RTM_GETNSID, NLM_F_REQUEST, put_nsid(Nsid(nsid, pid, fd, target_nsid))


def dump_nsids(target_nsid: int | None = None) -> Message:
    """Asks for all ids that the socket's namespace, or the one of that id, has given. Only a socket with
    NETLINK_GET_STRICT_CHK heeds ``target_nsid``; to another the kernel answers with its own."""
    return RTM_GETNSID, NLM_F_REQUEST | NLM_F_DUMP, put_nsid(Nsid(target_nsid=target_nsid))
