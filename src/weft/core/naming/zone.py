"""Who has which name, as DNS tells it: networks, their members, and what each of those may see.

Changes cost what has changed, at any number of members: see ``Zone.change``.
"""

from __future__ import annotations

from weft.core.record import Record
from weft.core.wire import dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Upstream = tuple[str, int]

#: The search domain that Podman gives to containers: names below it are ours alone.
PODMAN = dns.to_wire("dns.podman")
#: By these a container means the machine that it is on.
_HOST = frozenset(map(dns.to_wire, ("host.containers.internal", "host.docker.internal")))


class Served(Record):
    """A network that is answered in: at these addresses, and forwarding to ``upstreams`` (none: the host's).

    ``internal``: nothing is asked outside. ``inside``: members are answered at 127.0.0.11 too, each in its
    own namespace.
    """

    name: str
    gateways: tuple[str, ...]
    port: int = 53
    upstreams: tuple[str, ...] = ()
    internal: bool = False
    inside: bool = False


class Member(Record):
    """One address of one member of a network, with all names that stand for it; ``key`` is who it is.

    ``place`` is where its network namespace is found, where it is to be answered inside that. ``out``: it is
    in a network that is not internal, answered in or not.
    """

    network: str
    key: str
    address: str
    packed: bytes
    names: tuple[str, ...]
    upstreams: tuple[str, ...] = ()
    place: str = ""
    out: bool = False


class View:
    """What somebody who asks at a network's address sees, and where his other questions go."""

    __slots__ = ("answers", "forwards", "listener", "networks", "refused", "upstreams", "who")

    def __init__(
        self,
        listener: str,
        who: str,
        networks: tuple[str, ...],
        answers: dict[bytes, bytes],
        refused: bool = False,
    ) -> None:
        self.listener = listener
        self.who = who
        self.networks = networks
        #: Encoded answers by what was asked, shared by all who see the same.
        self.answers = answers
        self.forwards = False
        self.refused = refused
        self.upstreams: tuple[str, ...] = ()


class _Names:
    """The names of one network: under each the addresses of both families."""

    __slots__ = ("at", "suffix")

    def __init__(self, name: str) -> None:
        self.at: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
        self.suffix = dns.to_wire(name)

    def add(self, name: bytes, packed: bytes) -> None:
        self.at.setdefault(name, ([], []))[len(packed) == 16].append(packed)

    def drop(self, name: bytes, packed: bytes) -> None:
        found = self.at.get(name)
        if found is not None and packed in found[len(packed) == 16]:
            found[len(packed) == 16].remove(packed)
            if not found[0] and not found[1]:
                del self.at[name]


class Zone:
    """All names of all networks. ``qualified``: an address's own name is told with its network's. ``closed``:
    nobody is answered but members and the host."""

    def __init__(
        self, qualified: bool = True, private: Iterable[str] = ("dns.podman",), closed: bool = True
    ) -> None:
        self.networks: dict[str, Served] = {}
        self.members: dict[tuple[str, str], Member] = {}
        self._qualified = qualified
        self._closed = closed
        self._private = tuple([wire for wire in map(dns.to_wire, private) if wire])
        self._names: dict[str, _Names] = {}
        self._reverse: dict[bytes, list[Member]] = {}
        self._places: dict[str, dict[tuple[str, str], Member]] = {}
        self._answers: dict[tuple[str, ...], dict[bytes, bytes]] = {}

    def serve(self, networks: Iterable[Served]) -> None:
        """These are the networks from now on; members of others go."""
        wanted = {n.name: n for n in networks}
        gone = [m for m in self.members.values() if m.network not in wanted]
        self.networks = wanted
        self.change((), gone)
        self._names = {name: self._names.get(name) or _Names(name) for name in wanted}

    def change(self, come: Iterable[Member], gone: Iterable[Member]) -> None:
        """Members that have gone, and those that have come; what was answered is forgotten."""
        self._answers.clear()
        for member in gone:
            found = self.members.pop((member.network, member.address), None)
            if found is not None:
                self._drop(found)
        for member in come:
            if member.network in self.networks:
                self._add(member)

    def forget(self) -> None:
        """Encoded answers, that is."""
        self._answers.clear()

    def _add(self, member: Member) -> None:
        self.members[member.network, member.address] = member
        names = self._names[member.network]
        for name in _wires(member):
            names.add(name, member.packed)
        self._reverse.setdefault(dns.reverse(member.packed), []).append(member)
        self._places.setdefault(member.key, {})[member.network, member.address] = member

    def _drop(self, member: Member) -> None:
        names = self._names.get(member.network)
        if names is not None:
            for name in _wires(member):
                names.drop(name, member.packed)
        reverse = dns.reverse(member.packed)
        self._reverse[reverse].remove(member)
        if not self._reverse[reverse]:
            del self._reverse[reverse]
        places = self._places[member.key]
        del places[member.network, member.address]
        if not places:
            del self._places[member.key]

    def view(self, listener: str, source: str) -> View:
        """What an address sees that asks at a network's gateway. Who is no member, as the host itself, sees
        that network."""
        member = self.members.get((listener, source))
        if member is None:
            # What the host sends to an address of its own comes from that, unless it is translated.
            if self._closed and not any(source in n.gateways for n in self.networks.values()):
                return View(listener, "", (), {}, True)
            return self._view(listener, None, (listener,))
        return self.view_of(listener, member)

    def view_of(self, listener: str, member: Member) -> View:
        """What a member sees that asks at a network's gateway."""
        others = {network for network, _ in self._places[member.key]} - {listener}
        return self._view(listener, member, (listener, *sorted(others)))

    def _view(self, listener: str, member: Member | None, networks: tuple[str, ...]) -> View:
        view = View(listener, member.key if member else "", networks, self._answers.setdefault(networks, {}))
        # Who is in an internal network and in another one has his way out by that.
        view.forwards = (member is not None and member.out) or any(
            not self.networks[n].internal for n in networks
        )
        own = member.upstreams if member else ()
        view.upstreams = own or tuple(
            dict.fromkeys(
                [u for n in networks if not self.networks[n].internal for u in self.networks[n].upstreams]
            )
        )
        return view

    def find(self, view: View, name: bytes, kind: int) -> tuple[bytes, ...] | None:
        """The records of a name, none of that kind perhaps; None when nobody has it."""
        found = self._reverse.get(name)
        if found is not None:
            return self._pointers(view, found, kind)
        if name in _HOST:
            return self._host(view, kind)
        name = self._bare(name)
        known, four, six = False, [], []
        for network in view.networks:
            names = self._names[network]
            for one in (name, _without(name, names.suffix)):
                place = names.at.get(one) if one else None
                if place is not None:
                    known = True
                    four += place[0]
                    six += place[1]
        return _records(four, six, kind) if known else None

    def is_private(self, name: bytes) -> bool:
        """Whether nobody else may be asked for a name: below Podman's search domain, or the host's names."""
        return self._bare(name) is not name or name in _HOST

    def _bare(self, name: bytes) -> bytes:
        for private in self._private:
            rest = _without(name, private)
            if rest or name == private:
                return rest
        return name

    def _host(self, view: View, kind: int) -> tuple[bytes, ...]:
        from weft.core.model.address import parse_address

        found = [parse_address(a).packed for a in self.networks[view.listener].gateways]
        return _records([p for p in found if len(p) == 4], [p for p in found if len(p) == 16], kind)

    def _pointers(self, view: View, members: list[Member], kind: int) -> tuple[bytes, ...] | None:
        seen = [m for m in members if m.network in view.networks and m.names]
        if not seen:
            return None
        if kind not in (dns.PTR, dns.ANY):
            return ()
        records = []
        for member in seen:
            for name in member.names[:1] if self._qualified else member.names:
                wire = dns.to_wire(f"{name}.{member.network}" if self._qualified else name)
                if wire:
                    records.append(dns.record(dns.PTR, wire + b"\0"))
        return tuple(records)


def _wires(member: Member) -> list[bytes]:
    return list(dict.fromkeys([wire for wire in map(dns.to_wire, member.names) if wire]))


def _without(name: bytes, suffix: bytes) -> bytes:
    """A name less its last labels; b"" when it has others, or none besides."""
    cut = len(name) - len(suffix)
    if cut <= 0 or not suffix or not name.endswith(suffix):
        return b""
    at = 0
    while at < cut:  # the end of a label, not something within one that looks the same
        at += 1 + name[at]
    return name[:cut] if at == cut else b""


def _records(four: list[bytes], six: list[bytes], kind: int) -> tuple[bytes, ...]:
    found = [dns.record(dns.A, p) for p in four] if kind in (dns.A, dns.ANY) else []
    if kind in (dns.AAAA, dns.ANY):
        found += [dns.record(dns.AAAA, p) for p in six]
    return tuple(dict.fromkeys(found))
