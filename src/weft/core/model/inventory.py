"""What stands in the kernel of all that weft makes, as one frozen value: the other half of every repair."""

from __future__ import annotations

from weft.core.model.address import Address, Subnet
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: Key, data, and whether it ends an interval.
    Entry = tuple[bytes, bytes, bool]


class SeenLink(Record):
    """A link of the host. ``master`` is its bridge's or VRF's name, "" for none. ``vlan``: of a VLAN-aware
    bridge the VLAN that its new ports are in; ``pvid``: the link's own there. 0 for none."""

    ifname: str
    kind: str
    altnames: tuple[str, ...]
    alias: str
    master: str
    up: bool
    mtu: int
    mac: str
    isolated: bool = False
    hairpin: bool = False
    group: int = 0
    filters: bool = False
    vlan: int = 0
    pvid: int = 0


class SeenTable(Record):
    """A table of nf_tables: its comment, its rules (chain, expressions), its sets with what is in them."""

    comment: str
    chains: frozenset[str]
    rules: tuple[tuple[str, tuple[object, ...]], ...]
    sets: tuple[tuple[str, frozenset[Entry]], ...]


class SeenRule(Record):
    """A routing policy rule of weft's protocol number."""

    version: int
    preference: int
    iif: str
    table: int
    to: Subnet | None
    unmarked: int


class Inventory(Record):
    """``addresses`` are (interface, address, prefix length) of the host; ``files`` the hosts files with their
    lines, ``shown`` where /etc/netns/NAME/hosts leads; ``names`` those under /run/netns that lead to a
    namespace."""

    links: tuple[SeenLink, ...]
    addresses: frozenset[tuple[str, Address, int]]
    tables: tuple[tuple[str, SeenTable], ...]
    rules: frozenset[SeenRule]
    prohibits: frozenset[Subnet]
    sysctls: tuple[tuple[str, str], ...]
    names: frozenset[str]
    files: tuple[tuple[str, frozenset[str]], ...]
    shown: tuple[tuple[str, str], ...]
