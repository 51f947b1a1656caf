"""What third-party drivers are told: networks, pools, addresses, endpoints (libnetwork's remote drivers).

The hands turn them into calls (linux/remote.py); ids are 64 hex digits as Docker's are, so that a driver
cannot tell who asks.
"""

from __future__ import annotations

import json

from weft.core.ops.base import Final, Op, inside, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GENERIC = "com.docker.network.generic"


def _curl(driver: str, method: str, body: dict[str, Any]) -> str:
    """A call as curl(1) makes it, where the driver has the usual socket."""
    socket = quote(f"/run/docker/plugins/{driver}.sock")
    return f"curl -fsS --unix-socket {socket} -d {quote(json.dumps(body))} http://localhost/{method}"


def _field(name: str) -> str:
    """Takes a text out of the answer to the last join."""
    return f'"$(echo "$joined" | sed -n \'s/.*"{name}": *"\\([^"]*\\)".*/\\1/p\')"'


class RemoteNetworkAdd(Op):
    """Has a driver make a network. ``pools`` are (subnet, gateway with prefix length), ``options`` those
    of -o."""

    driver: str
    id: str
    pools: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...] = ()
    internal: bool = False
    kind = "remote"

    def describe(self) -> str:
        return f"have the driver {self.driver} make the network {self.id[:12]}"

    @property
    def body(self) -> dict[str, Any]:
        """The request CreateNetwork."""
        data: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        for subnet, gateway in self.pools:
            one = {"AddressSpace": "", "Pool": subnet, "Gateway": gateway, "AuxAddresses": {}}
            data[":" in subnet].append(one)
        options: dict[str, Any] = {
            GENERIC: dict(self.options),
            "com.docker.network.enable_ipv6": bool(data[True]),
        }
        if self.internal:
            options["com.docker.network.internal"] = True
        return {"NetworkID": self.id, "Options": options, "IPv4Data": data[False], "IPv6Data": data[True]}

    def shell(self) -> tuple[str, ...]:
        return (_curl(self.driver, "NetworkDriver.CreateNetwork", self.body),)

    def undo(self) -> Op:
        return RemoteNetworkDel(self.driver, self.id)


class RemoteNetworkDel(Op):
    """Has a driver remove a network."""

    driver: str
    id: str
    kind = "remote"

    def describe(self) -> str:
        return f"have the driver {self.driver} remove the network {self.id[:12]}"

    def shell(self) -> tuple[str, ...]:
        return (_curl(self.driver, "NetworkDriver.DeleteNetwork", {"NetworkID": self.id}),)

    def undo(self) -> Final:
        return Final("the driver has forgotten it")


class RemoteTaken(Op):
    """Stands for what an IPAM driver has given, when it was asked for its choice: addresses of a pool,
    and, if ``whole``, the pool itself."""

    driver: str
    pool: str
    addresses: tuple[str, ...] = ()
    whole: bool = False
    #: Nothing to do, and not undone with the rest when a plan fails: whoever has asked gives it back then.
    kind = "taken"

    def describe(self) -> str:
        what = ", ".join(self.addresses) or self.pool
        return f"take {what} of the IPAM driver {self.driver}"

    def shell(self) -> tuple[str, ...]:
        asked = [{"PoolID": self.pool, "Address": address, "Options": {}} for address in self.addresses]
        return tuple([_curl(self.driver, "IpamDriver.RequestAddress", body) for body in asked]) or (":",)

    def undo(self) -> Op:
        return RemoteReleased(self.driver, self.pool, self.addresses, self.whole)


class RemoteReleased(Op):
    """Gives it back."""

    driver: str
    pool: str
    addresses: tuple[str, ...] = ()
    whole: bool = False
    kind = "taken"

    def describe(self) -> str:
        what = ", ".join(self.addresses) or self.pool
        return f"give {what} back to the IPAM driver {self.driver}"

    def shell(self) -> tuple[str, ...]:
        gone = [{"PoolID": self.pool, "Address": address} for address in self.addresses]
        lines = [_curl(self.driver, "IpamDriver.ReleaseAddress", body) for body in gone]
        if self.whole:
            lines.append(_curl(self.driver, "IpamDriver.ReleasePool", {"PoolID": self.pool}))
        return tuple(lines) or (":",)

    def undo(self) -> Final:
        return Final("another may have it by now")


class RemoteJoin(Op):
    """Has a driver make an endpoint, takes the interface that it hands out into a namespace, under its
    name, with these addresses (CIDR), and the routes that it says.

    ``defaults`` are the families of which it gives the default route. The interface gets the mark.
    """

    driver: str
    network: str
    id: str
    where: str
    ifname: str
    addresses: tuple[str, ...]
    mac: str
    mark: str
    defaults: tuple[int, ...] = ()
    kind = "remote"

    def describe(self) -> str:
        return f"have the driver {self.driver} connect {self.where}:{self.ifname}"

    @property
    def ids(self) -> dict[str, str]:
        """What all requests about it begin with."""
        return {"NetworkID": self.network, "EndpointID": self.id}

    @property
    def body(self) -> dict[str, Any]:
        """The request CreateEndpoint."""
        four = next((a for a in self.addresses if ":" not in a), "")
        six = next((a for a in self.addresses if ":" in a), "")
        interface = {"Address": four, "AddressIPv6": six, "MacAddress": self.mac}
        return {**self.ids, "Interface": interface, "Options": {}}

    @property
    def joining(self) -> dict[str, Any]:
        """The request Join."""
        key = self.where if self.where.startswith("/") else f"/run/netns/{self.where}"
        return {**self.ids, "SandboxKey": key, "Options": {}}

    def shell(self) -> tuple[str, ...]:
        ifname, netns = quote(self.ifname), quote(self.where)
        routes = {4: "Gateway", 6: "GatewayIPv6"}
        return (
            _curl(self.driver, "NetworkDriver.CreateEndpoint", self.body),
            f"joined=$({_curl(self.driver, 'NetworkDriver.Join', self.joining)})",
            f"ip link set {_field('SrcName')} netns {netns} name {ifname}",
            *[inside(self.where, f"address add {address} dev {ifname}") for address in self.addresses],
            inside(self.where, f"link set dev {ifname} up"),
            *[
                inside(self.where, f"route add default via {_field(routes[v])} dev {ifname}")
                for v in self.defaults
            ],
        )

    def undo(self) -> Op:
        return RemoteLeave(self.driver, self.network, self.id, self.where, self.ifname, self.mark)


class RemoteLeave(Op):
    """Gives the interface back, and has the driver remove the endpoint."""

    driver: str
    network: str
    id: str
    where: str
    ifname: str
    mark: str
    kind = "remote"

    def describe(self) -> str:
        return f"have the driver {self.driver} disconnect {self.where}:{self.ifname}"

    @property
    def ids(self) -> dict[str, str]:
        """What all requests about it begin with."""
        return {"NetworkID": self.network, "EndpointID": self.id}

    def shell(self) -> tuple[str, ...]:
        return (
            _curl(self.driver, "NetworkDriver.Leave", self.ids),
            inside(self.where, f"link del dev {quote(self.ifname)} || true"),
            _curl(self.driver, "NetworkDriver.DeleteEndpoint", self.ids),
        )

    def undo(self) -> Final:
        return Final("the driver has forgotten it")
