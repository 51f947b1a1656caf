"""What happens to containers and networks, put down with the change itself: one transaction."""

from __future__ import annotations

from weft.core.model.names import object_id
from weft.core.model.state import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.engine.work import Work


def note(work: Work, action: str, sandboxes: Iterable[Sandbox], **attributes: object) -> None:
    """Something happened to containers; inside a transaction."""
    now = work.machine.now_ns()
    pairs = tuple([(key, str(value).replace("\n", " ")) for key, value in attributes.items()])
    work.store.add_events([Event("container", action, s.name, s.id, now, pairs) for s in sandboxes])


def note_network(work: Work, action: str, network: Network) -> None:
    """Something happened to a network."""
    now = work.machine.now_ns()
    pairs = (("driver", network.driver),)
    work.store.add_events([Event("network", action, network.name, network.id, now, pairs)])


def note_members(work: Work, action: str, endpoints: Iterable[Endpoint]) -> None:
    """Containers joined networks, or left them: ``connect``, ``disconnect``."""
    now, root = work.machine.now_ns(), work.store.root
    found = []
    for e in endpoints:
        id = object_id(root, "network", e.network)
        found.append(Event("network", action, e.network, id, now, (("container", e.container),)))
    work.store.add_events(found)


def born(work: Work, sandbox: Sandbox, endpoints: Sequence[Endpoint], made: bool = True) -> None:
    """A container stands; ``made``: it was not there before."""
    if made:
        note(work, "create", [sandbox])
    note_members(work, "connect", endpoints)
    note(work, "start", [sandbox])
