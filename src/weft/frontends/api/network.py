"""Networks and containers as objects."""

from __future__ import annotations

from weft.core.model.publish import parse_publish
from weft.engine import container as containers
from weft.engine import inspect, removal
from weft.engine import network as networks
from weft.frontends.api.handle import Handle, quiet
from weft.wiring import open_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self


class Network(Handle):
    """A bridge network. Made when there is none of this name; ``Network.get`` takes only what exists."""

    __slots__ = ()

    def __init__(
        self,
        name: str,
        *,
        subnet: str = "",
        gateway: str = "",
        bridge: str = "",
        mtu: int = 0,
        root: str = "",
    ) -> None:
        work = open_work(root, quiet)
        subnets = (subnet,) if subnet else ()
        networks.create(work, networks.NetworkRequest(name, subnets, gateway, bridge, mtu))
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
        address: str = "",
        mac: str = "",
        ifname: str = "eth0",
        hostname: str = "",
        aliases: Iterable[str] = (),
        dns: Iterable[str] = (),
        search: Iterable[str] = (),
        publish: Iterable[str] = (),
    ) -> Container:
        """Attaches a container without a process; its network namespace is /run/netns/NAME.

        All texts are as the command line takes them.
        """
        request = containers.RunRequest(
            name=name,
            network=self.name,
            address=address,
            mac=mac,
            ifname=ifname,
            hostname=hostname,
            aliases=tuple(aliases),
            publish=tuple([p for spec in publish for p in parse_publish(spec)]),
            dns=tuple(dns),
            search=tuple(search),
        )
        containers.create(self._work, request)
        return Container(name, self._work)

    def containers(self, names: Iterable[str]) -> list[Container]:
        """Attaches many plain containers as one durable change: all or none."""
        requests = [containers.RunRequest(name, self.name) for name in names]
        found = containers.attach_many(self._work, requests)
        return [Container(one.sandbox.name, self._work) for one in found]

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

    def remove(self, force: bool = True) -> None:
        """Removes it; processes inside are killed unless ``force`` is off: then Conflict names them."""
        removal.remove(self._work, (self.name,), force)
