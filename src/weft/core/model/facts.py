"""What was observed of the kernel, as one frozen value: the other half of every decision."""

from __future__ import annotations

from weft.core.model.address import Address, Cidr, Subnet
from weft.core.record import Record


class LinkFact(Record):
    """A link of the host: its name, kind, and the names that mark it."""

    ifname: str
    kind: str
    altnames: tuple[str, ...]


class RouteFact(Record):
    """A subnet that the host routes or is on, or that another engine keeps, and by what or whom. ``bridge``:
    of the engine's network that has it; ``name``: that network's, where its engine can use weft's of that
    name."""

    subnet: Subnet
    by: str
    bridge: str = ""
    name: str = ""


class VrfFact(Record):
    """A VRF of the host: its device, its routing table, and the smallest MTU of a link with a default route
    there, 1500 without one."""

    ifname: str
    table: int
    mtu: int = 1500


class HostFacts(Record):
    """What a network needs to know of the host before it is made.

    ``tables`` are (family, comment) of nf_tables tables named weft; ``nameservers``, routes and ``kept``
    (subnets in other engines' configuration) are what an automatic subnet must stay clear of.
    ``forwarding`` is for IPv4, ``forwarding6`` for IPv6; ``advertised`` are the links whose IPv6 routes come
    from router advertisements, which a forwarding host ignores unless told otherwise. ``uplink_mtu`` is the
    smallest MTU of a link with a default route, 1500 without one; ``uplink`` the link of the default route
    that is taken, IPv4's first. ``machine`` tells this host from others. ``knows_vrfs``: the kernel has them.
    """

    links: tuple[LinkFact, ...]
    routes: tuple[RouteFact, ...]
    tables: tuple[tuple[str, str], ...]
    forwarding: bool
    nameservers: tuple[Address, ...] = ()
    kept: tuple[RouteFact, ...] = ()
    forwarding6: bool = False
    advertised: tuple[str, ...] = ()
    uplink_mtu: int = 1500
    uplink: str = ""
    machine: str = ""
    vrfs: tuple[VrfFact, ...] = ()
    knows_vrfs: bool = False

    def link(self, name: str) -> LinkFact | None:
        """The link that has a name or altname."""
        return next((f for f in self.links if name == f.ifname or name in f.altnames), None)

    def table(self, family: str) -> str | None:
        """The comment of a table; None when there is no such table."""
        return next((said for f, said in self.tables if f == family), None)


class BridgeFact(Record):
    """A bridge that somebody else made: its addresses, its MTU, whether it is VLAN-aware, its VRF."""

    addresses: tuple[Cidr, ...]
    mtu: int
    filters: bool = False
    vrf: str = ""


class NetworkFacts(Record):
    """What a container's attach needs to know of its network: the bridge, and the tables as in HostFacts."""

    bridge: LinkFact | None
    tables: tuple[tuple[str, str], ...]


class PlaceFacts(Record):
    """What stands in the way of a container: links with its marks, a namespace or name file of somebody
    else."""

    stale: tuple[tuple[LinkFact, str], ...]
    netns: bool
    foreign_file: str
