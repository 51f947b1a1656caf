"""What must be as it should before anything is attached: networks whole, places free."""

from __future__ import annotations

from weft.core.model.errors import KernelError, NotOurs
from weft.core.model.names import mark
from weft.core.ops.link import LinkDel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weft.core.model.network import Endpoint, Network
    from weft.core.ops.base import Op
    from weft.engine.container import Attached
    from weft.engine.work import Work


def preparation(work: Work, networks: Iterable[Network], found: Sequence[Attached]) -> list[Op]:
    """What must go first, after a look at what is there. Only what carries our mark may go."""
    for network in networks:
        check_network(work, network)
    return [op for one in found for op in _make_room(work, one)]


def check_network(work: Work, network: Network) -> None:
    """A network is whole: without its bridge and the guards nothing is attached. KernelError."""
    if network.remote:
        return
    facts = work.machine.network_facts(network.device)
    if not network.bridged:
        if facts.bridge is None:
            raise gone(network)
        return
    if facts.bridge is None or network.mark not in facts.bridge.altnames:
        raise KernelError(
            f"bridge {network.bridge} of network {network.name} is gone, or no longer weft's",
            hint="`weft repair` makes it again",
        )
    if [family for family, said in facts.tables if said == mark(network.root)] != ["inet", "bridge"]:
        raise KernelError(
            "the firewall tables of weft are gone: without its guards no container is attached",
            hint="somebody flushed nftables; `weft repair` makes them again",
        )


def gone(network: Network) -> KernelError:
    """Why nobody can be on an interface."""
    return KernelError(
        f"the interface {network.device} that network {network.name} is on is gone",
        hint="members of it are made on that interface",
    )


def _make_room(work: Work, found: Attached) -> list[Op]:
    name = found.sandbox.name
    if found.sandbox.mode == "host":
        return []
    facts = work.machine.place_facts([e.mark for _, e in found.members], name)
    if facts.netns:
        raise NotOurs(
            f"a network namespace {name} exists under /run/netns and is not weft's", "choose another --name"
        )
    if facts.foreign_file:
        raise NotOurs(f"{facts.foreign_file} exists and is not weft's", "choose another --name")
    # A container of this name was removed a moment ago and its namespace is still dying.
    return [LinkDel(link.ifname, link_mark) for link, link_mark in facts.stale]


def stale_links(work: Work, endpoints: Sequence[Endpoint]) -> list[Op]:
    """Links of earlier endpoints of the same place, which are to go first."""
    facts = work.machine.place_facts([e.mark for e in endpoints], "")
    return [LinkDel(link.ifname, link_mark) for link, link_mark in facts.stale]
