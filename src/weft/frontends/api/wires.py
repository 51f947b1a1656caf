"""Wires and switches of the Python library (``weft.wire``, ``weft.Switch``).

>>> with weft.wire("red=10.0.1.1/24", "blue=10.0.1.2/24") as cable:
...     print(cable)
red:eth0 -- blue:eth0
>>> with weft.Switch("br0", addresses=["10.0.5.254/24"]) as switch:
...     switch.plug("red=10.0.5.1/24", "blue=10.0.5.2/24")

Ends are written as the command line takes them, ``NS[:IF][=ADDR,..]``; an object with a name stands for it.
"""

from __future__ import annotations

from weft.engine import bridges
from weft.engine import switch as switches
from weft.engine import wire as wires
from weft.frontends.api.handle import Handle, quiet
from weft.wiring import open_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol, Self

    from weft.core.drivers.wire import Wire as Made
    from weft.engine.work import Work

    class Named(Protocol):
        """A namespace or container of this library."""

        @property
        def name(self) -> str: ...


def _word(end: str | Named) -> str:
    return end if isinstance(end, str) else end.name


class Wire(Handle):
    """A veth pair that was laid. ``ends`` are both, the host's first, as ``NS:IF``."""

    __slots__ = ("_made",)

    def __init__(self, made: Made, work: Work) -> None:
        super().__init__(f"{made.first} -- {made.second}", work)
        self._made = made

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends as ``NS:IF``."""
        return str(self._made.first), str(self._made.second)

    @property
    def macs(self) -> tuple[str, str]:
        """The MACs of both ends, derived from their names: the same every time."""
        return self._made.first.mac, self._made.second.mac

    def __str__(self) -> str:
        return self.name

    def remove(self) -> None:
        """Removes both ends; NotFound when it is gone already."""
        wires.remove(self._work, self._made)


def wire(one: str | Named, other: str | Named, *, root: str = "") -> Wire:
    """Lays a wire between two namespaces; both ends are up and carry. BadInput, NotFound, Conflict."""
    work = open_work(root, quiet)
    return Wire(wires.lay(work, _word(one), _word(other)), work)


class Switch(Handle):
    """A bridge, made in the host's namespace or ``inside`` another; ``Switch.get`` takes what exists."""

    __slots__ = ("inside",)

    def __init__(
        self,
        name: str,
        *,
        inside: str | Named = "host",
        addresses: Iterable[str] = (),
        stp: bool = False,
        root: str = "",
    ) -> None:
        super().__init__(name, open_work(root, quiet))
        self.inside = _word(inside)
        switches.add(self._work, name, self.inside, tuple(addresses), stp)

    @classmethod
    def get(cls, name: str, *, inside: str | Named = "host", root: str = "") -> Self:
        """A bridge that exists, whoever made it; NotFound."""
        found = cls.__new__(cls)
        Handle.__init__(found, name, open_work(root, quiet))
        found.inside = _word(inside)
        found.show()
        return found

    def plug(self, *ends: str | Named) -> list[Wire]:
        """Connects namespaces, all or none. BadInput, NotFound, Conflict."""
        made = switches.put(self._work, self.name, [_word(end) for end in ends], self.inside)
        return [Wire(one, self._work) for one in made]

    def unplug(self, *ends: str | Named) -> list[str]:
        """Disconnects namespaces, or single interfaces as ``NS:IF``; what went. NotFound."""
        return switches.pull(self._work, self.name, [_word(end) for end in ends], self.inside)

    def show(self) -> dict[str, Any]:
        """What ``weft switch show`` tells: ports, MAC table, spanning tree, counters. NotFound."""
        return bridges.show(self._work, self.name, self.inside)

    def remove(self) -> None:
        """Removes it with its wires. NotFound; Conflict for a bridge that is not a switch of weft's."""
        switches.remove(self._work, (self.name,), self.inside)
