"""What macvlan and ipvlan links are made with: IFLA_INFO_DATA of links that share a lower one.

linux/if_link.h (IFLA_MACVLAN_*, IFLA_IPVLAN_*), drivers/net/macvlan.c, drivers/net/ipvlan/ipvlan_main.c.
"""

from __future__ import annotations

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import S32, U16, U32, attrs, get_fields, put_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.wire.buffer import Column

MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}


class Sublink(Record):
    """``mode`` by its number. ``broadcast_cutoff`` (macvlan): above how many receivers a multicast goes by
    the kernel's queue instead of at once; -1 never, 0 always."""

    mode: int | None = None
    broadcast_cutoff: int | None = None


_COLUMNS: dict[str, tuple[Column, ...]] = {
    "macvlan": ((1, "mode", U32), (9, "broadcast_cutoff", S32)),
    "ipvlan": ((1, "mode", U16),),
}


def _columns(kind: str) -> tuple[Column, ...]:
    if kind not in _COLUMNS:
        raise WireError(f"a link of kind {kind} has no such options")
    return _COLUMNS[kind]


def put_sublink(kind: str, sublink: Sublink) -> bytes:
    """The attributes for a kind. WireError."""
    return put_fields(sublink, _columns(kind))


def get_sublink(kind: str, data: bytes) -> Sublink:
    """What the kernel says of one. WireError."""
    return Sublink(**get_fields(attrs(data), _columns(kind)))
