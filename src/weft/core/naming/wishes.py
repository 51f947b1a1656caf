"""weft's own networks and containers, as DNS has them."""

from __future__ import annotations

from weft.core.model.address import from_packed
from weft.core.model.names import object_id
from weft.core.naming.zone import Member, Served

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.model.network import Network

#: Kinds of TARGET whose value is no name.
_NAMELESS = ("pid", "path", "host")
#: The sandbox label under which an engine's own id is kept; people write its first 12 digits.
ID = "id"
_SHORT = 12


def served(network: Network) -> Served:
    """Where a network is answered, and how."""
    return Served(
        network.name,
        tuple([str(p.gateway) for p in network.pools]),
        network.dns_port,
        tuple(network.option("dns_servers").split()),
        network.internal,
        network.option("dns_inside") == "true",
    )


def member(root: str, row: tuple[Any, ...]) -> Member:
    """One address of a member, from a row of ``store.answered``."""
    network, container, packed, hostname, aliases, servers, target, inode, labels, out = row
    names = [*_own_names(container, hostname, bool(target)), *aliases.split()]
    marks = dict([line.split("=", 1) for line in labels.split("\n") if "=" in line])
    ids = [marks.get(ID, ""), object_id(root, "container", container)]
    names += [i[:_SHORT] for i in ids if len(i) >= _SHORT]
    return Member(
        network,
        container,
        str(from_packed(packed)),
        packed,
        tuple(dict.fromkeys([n for n in names if n])),
        tuple(servers.split()),
        _place(container, target, inode),
        bool(out),
    )


def _own_names(container: str, hostname: str, foreign: bool) -> list[str]:
    """Its name first: that is what its address is told as."""
    if not foreign:
        return [container, hostname]
    kind, _, value = container.partition(":")
    return [hostname] if kind in _NAMELESS else [value, hostname]


def _place(container: str, target: str, inode: int) -> str:
    """Where its network namespace is found: PATH, or PATH#INODE; "" when nobody knows that by name."""
    if not target:
        return f"/run/netns/{container}"
    if target.isdigit():
        return f"/proc/{target}/ns/net#{inode}"
    if target.startswith("netns:"):
        target = f"/run/netns/{target[6:]}"
    return f"{target}#{inode}" if target.startswith("/") else ""
