"""Networks as objects."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.publish import parse_publish
from weft.engine import container as containers
from weft.engine import inspect
from weft.engine import network as networks
from weft.engine.request import Join, RunRequest
from weft.frontends.api.container import Container, run
from weft.frontends.api.handle import Handle, quiet
from weft.wiring import open_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Self, Unpack

    from weft.frontends.api.container import Options


def _several(given: str | Iterable[str]) -> tuple[str, ...]:
    return ((given,) if given else ()) if isinstance(given, str) else tuple(given)


class Network(Handle):
    """A bridge network. Made when there is none of this name; ``Network.get`` takes only what exists."""

    __slots__ = ()

    def __init__(
        self,
        name: str,
        *,
        subnet: str | Iterable[str] = (),
        gateway: str | Iterable[str] = (),
        ip_range: str | Iterable[str] = (),
        aux_addresses: Mapping[str, str] | None = None,
        bridge: str = "",
        mtu: int = 0,
        ipv6: bool = False,
        internal: bool = False,
        isolated: bool = False,
        nat: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        root: str = "",
    ) -> None:
        """What may be given several times on the command line is a text or several."""
        work = open_work(root, quiet)
        request = networks.NetworkRequest(
            name,
            _several(subnet),
            _several(gateway),
            bridge,
            mtu,
            tuple((labels or {}).items()),
            _several(ip_range),
            tuple([f"{key}={value}" for key, value in (aux_addresses or {}).items()]),
            ipv6,
            internal,
            isolated,
            nat,
            tuple((options or {}).items()),
        )
        networks.create(work, request)
        super().__init__(name, work, root)

    @classmethod
    def get(cls, name: str, *, root: str = "") -> Self:
        """An existing network, by name or unique id prefix; NotFound."""
        work = open_work(root, quiet)
        found = cls.__new__(cls)
        Handle.__init__(found, work.store.network(name).name, work, root)
        return found

    @property
    def info(self) -> dict[str, Any]:
        """What ``weft net inspect`` shows of it."""
        return inspect.networks(self._work, (self.name,))[0]

    def container(
        self,
        name: str,
        command: Sequence[str] = (),
        *,
        address: str | Iterable[str] = (),
        mac: str = "",
        ifname: str = "",
        hostname: str = "",
        aliases: Iterable[str] = (),
        dns: Iterable[str] = (),
        search: Iterable[str] = (),
        publish: Iterable[str] = (),
        also: Iterable[str] = (),
        **options: Unpack[Options],
    ) -> Container:
        """Attaches a container; its network namespace is /run/netns/NAME. With a ``command`` it is started
        in it, else it has no process.

        ``also`` are further networks that it is in. All texts are as the command line takes them, further
        ``options`` are those of ``weft.run``, and need a command.
        """
        if command:
            known = {"ip": _several(address), "mac": (mac,), "ifname": (ifname,), "alias": tuple(aliases)}
            words = [f"{key}={value}" for key, values in known.items() for value in values if value]
            return run(
                command,
                name,
                network=[f"{self.name}:{','.join(words)}" if words else self.name, *also],
                hostname=hostname,
                dns=dns,
                dns_search=search,
                publish=publish,
                root=self._root,
                **options,
            )
        if options:
            raise BadInput(f"{', '.join(options)}: a container without a command has none of these")
        join = Join(self.name, _several(address), mac, ifname, tuple(aliases))
        request = RunRequest(
            name=name,
            joins=(join, *[Join(other) for other in also]),
            hostname=hostname,
            publish=tuple([p for spec in publish for p in parse_publish(spec)]),
            dns=tuple(dns),
            search=tuple(search),
        )
        containers.create(self._work, request)
        return Container(name, self._work, self._root)

    def containers(self, names: Iterable[str]) -> list[Container]:
        """Attaches many plain containers as one durable change: all or none."""
        requests = [RunRequest(name, (Join(self.name),)) for name in names]
        found = containers.attach_many(self._work, requests)
        return [Container(one.sandbox.name, self._work, self._root) for one in found]

    def connect(
        self,
        container: Container | str,
        *,
        address: str | Iterable[str] = (),
        mac: str = "",
        ifname: str = "",
        aliases: Iterable[str] = (),
        priority: int = 0,
    ) -> None:
        """Connects a running container, or any namespace by its TARGET (``podman:web``, a pid, a name)."""
        from weft.engine import connect

        name = container if isinstance(container, str) else container.name
        join = Join(self.name, _several(address), mac, ifname, tuple(aliases), priority)
        connect.connect(self._work, name, join)

    def disconnect(self, container: Container | str, *, force: bool = False) -> None:
        """Takes a container or TARGET out of it; NotFound when it is not in it, unless ``force``."""
        from weft.engine import connect

        name = container if isinstance(container, str) else container.name
        connect.disconnect(self._work, self.name, name, force)

    def edit(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        isolated: bool | None = None,
        nat: str = "",
        mtu: int = 0,
    ) -> None:
        """Changes what can change while it is used. A label with an empty value goes."""
        from weft.engine import edit

        pairs = tuple((labels or {}).items())
        edit.edit(self._work, self.name, edit.Change(pairs, isolated, nat, mtu))

    def remove(self, force: bool = True) -> None:
        """Removes it, with its containers unless ``force`` is off: then Conflict names them."""
        networks.remove(self._work, self.name, force)
