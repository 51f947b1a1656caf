"""Networks and containers as objects."""

from __future__ import annotations

from weft.core.model.publish import parse_publish
from weft.engine import container as containers
from weft.engine import inspect, removal
from weft.engine import network as networks
from weft.engine.request import Join, RunRequest
from weft.frontends.api.handle import Handle, quiet
from weft.wiring import open_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Self


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
        super().__init__(name, work)

    @classmethod
    def get(cls, name: str, *, root: str = "") -> Self:
        """An existing network, by name or unique id prefix; NotFound."""
        work = open_work(root, quiet)
        found = cls.__new__(cls)
        Handle.__init__(found, work.store.network(name).name, work)
        return found

    @property
    def info(self) -> dict[str, Any]:
        """What ``weft net inspect`` shows of it."""
        return inspect.networks(self._work, (self.name,))[0]

    def container(
        self,
        name: str,
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
    ) -> Container:
        """Attaches a container without a process; its network namespace is /run/netns/NAME.

        ``also`` are further networks that it is in. All texts are as the command line takes them.
        """
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
        return Container(name, self._work)

    def containers(self, names: Iterable[str]) -> list[Container]:
        """Attaches many plain containers as one durable change: all or none."""
        requests = [RunRequest(name, (Join(self.name),)) for name in names]
        found = containers.attach_many(self._work, requests)
        return [Container(one.sandbox.name, self._work) for one in found]

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


class Container(Handle):
    """A container that exists."""

    __slots__ = ()

    @classmethod
    def get(cls, name: str, *, root: str = "") -> Self:
        """An existing container, by name or unique id prefix; NotFound."""
        work = open_work(root, quiet)
        return cls(work.store.container(name)[0].name, work)

    @property
    def info(self) -> dict[str, Any]:
        """What ``weft inspect`` shows of it."""
        return inspect.containers(self._work, (self.name,))[0]

    @property
    def address(self) -> str:
        """Its address, without the prefix length; "" when it has exited."""
        endpoint = self._work.store.endpoint(self.name)
        return str(endpoint.address) if endpoint else ""

    def publish(self, network: str, *specs: str) -> list[str]:
        """Publishes ports on one of its networks; as ``IP:PORT:PORT/PROTO``, with those chosen by weft."""
        from weft.engine import publish

        return [str(p) for p in publish.publish(self._work, network, self.name, specs)]

    def unpublish(self, network: str, *specs: str) -> None:
        """Takes published ports back. NotFound."""
        from weft.engine import publish

        publish.unpublish(self._work, network, self.name, specs)

    def remove(self, force: bool = True) -> None:
        """Removes it; processes inside are killed unless ``force`` is off: then Conflict names them."""
        removal.remove(self._work, (self.name,), force)
