"""What a network namespace looks like inside: links, addresses, routes (what CNI's CHECK compares)."""

from __future__ import annotations

from weft.core.model.address import Address
from weft.core.record import Record


class SeenInterface(Record):
    """A link, and its addresses with their prefix lengths."""

    ifindex: int
    ifname: str
    mac: str
    mtu: int
    up: bool
    promisc: bool
    allmulti: bool
    txqlen: int
    addresses: tuple[tuple[Address, int], ...] = ()


class SeenRoute(Record):
    """A route of the main table: where to, by whom, over what."""

    to: Address
    prefix: int
    gateway: Address | None
    ifname: str


class Inside(Record):
    """All of it."""

    links: tuple[SeenInterface, ...]
    routes: tuple[SeenRoute, ...]

    def link(self, ifname: str) -> SeenInterface | None:
        """The link of that name."""
        return next((one for one in self.links if one.ifname == ifname), None)
