"""Third-party drivers: networks of theirs, and subnets and addresses of theirs (`-d NAME`,
`--ipam-driver NAME`)."""

from __future__ import annotations

from weft.core.ipam import pool as ipam
from weft.core.model.address import Cidr, parse_address, parse_prefix, parse_subnet
from weft.core.model.errors import BadInput, PeerError, WeftError, WireError
from weft.core.model.network import GIVEN, IPAM, POOL_ID, REMOTE, Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.model.address import Subnet
    from weft.core.model.network import Network
    from weft.engine.lease import Claims
    from weft.engine.network import NetworkRequest
    from weft.engine.pools import Asked
    from weft.engine.work import Work

    Options = tuple[tuple[str, str], ...]

_GATEWAY = "com.docker.network.gateway"
_POOL_ID_MAX = 1000


def check(request: NetworkRequest) -> None:
    """What a third-party driver cannot be asked. BadInput."""
    given = {
        "--bridge": request.bridge,
        "--nat": request.nat,
        "--mtu": request.mtu,
        "--isolated": request.isolated,
    }
    wrong = next((flag for flag, value in given.items() if value), "")
    if request.remote and wrong:
        raise BadInput(
            f"{wrong} is not for the driver {request.remote}", "give what it knows by -o KEY=VALUE"
        )
    if request.ipam_options and not request.ipam:
        raise BadInput("--ipam-opt needs --ipam-driver")
    for name in (request.remote, request.ipam):
        if name and (
            "/" in name or name[0] == "." or not name.isascii() or not name.isprintable() or len(name) > 100
        ):
            raise BadInput(f"driver {name[:64]!a} is not a name")


def kept(request: NetworkRequest) -> Options:
    """The options under which a network knows its drivers."""
    found = [(REMOTE, request.remote)] if request.remote else []
    found += [(GIVEN + key, value) for key, value in request.options] if request.remote else []
    return (*found, *([(IPAM, request.ipam)] if request.ipam else []))


def activate(work: Work, request: NetworkRequest) -> None:
    """Sees to it that the drivers are there, before the lock is taken: that may last. NotFound,
    BadInput, PeerError."""
    for name, service in ((request.remote, "NetworkDriver"), (request.ipam, "IpamDriver")):
        if name and not work.dry:
            work.machine.activate_plugin(name, service)


class Taking:
    """What an IPAM driver gives; all of it goes back when something fails before it is on record."""

    def __init__(self, work: Work, driver: str, options: Options = ()) -> None:
        self._work, self._driver, self._given = work, driver, dict(options)
        self._back: list[tuple[str, dict[str, Any]]] = []

    def _ask(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._work.machine.call_plugin(self._driver, f"IpamDriver.{method}", body)

    def _text(self, method: str, answer: dict[str, Any], key: str) -> str:
        found = answer.get(key)
        if not isinstance(found, str) or not 0 < len(found) <= _POOL_ID_MAX or not found.isprintable():
            raise WireError(f"the IPAM driver {self._driver} answered {method} with no {key}")
        return found

    def give_back(self) -> None:
        """Last first; what fails is told."""
        for method, body in reversed(self._back):
            try:
                self._ask(method, body)
            except WeftError as error:
                self._work.say(f"warning: {error}")

    def pools(self, asked: Asked) -> tuple[tuple[Pool, ...], Options]:
        """A pool for each subnet that is asked for, else for each family; and the ids of those."""
        space = self._text(
            "GetDefaultAddressSpaces", self._ask("GetDefaultAddressSpaces", {}), "LocalDefaultAddressSpace"
        )
        wanted: list[tuple[int, Subnet | None]] = [(s.version, s) for s in asked.subnets]
        versions = [version for version, _ in wanted]
        if len(set(versions)) < len(versions):
            raise BadInput("an IPAM driver gives one subnet of each family")
        if asked.ipv4 and 4 not in versions and (asked.ipv6 or not asked.subnets):
            wanted.append((4, None))
        if asked.ipv6 and 6 not in versions:
            wanted.append((6, None))
        found, ids = [], []
        for version, subnet in sorted(wanted, key=lambda pair: pair[0]):
            pool, id = self._pool(asked, space, version, subnet)
            found.append(pool)
            ids.append((f"{POOL_ID}{version}", id))
        return tuple(found), tuple(ids)

    def _pool(self, asked: Asked, space: str, version: int, subnet: Subnet | None) -> tuple[Pool, str]:
        near = next((r for r in asked.ranges if subnet is not None and r.first in subnet), None)
        body = {"AddressSpace": space, "Pool": str(subnet or ""), "SubPool": str(near or "")}
        answer = self._ask("RequestPool", {**body, "Options": self._given, "V6": version == 6})
        id = self._text("RequestPool", answer, "PoolID")
        self._back.append(("ReleasePool", {"PoolID": id}))
        try:
            got = parse_subnet(self._text("RequestPool", answer, "Pool"))
            if got.version != version or (subnet is not None and got != subnet):
                raise WireError(f"the IPAM driver {self._driver} gave the pool {got}, which is not asked for")
            gateway = next((g for g in asked.gateways if g in got), None)
            data = answer.get("Data")
            said = data.get(_GATEWAY) if isinstance(data, dict) and gateway is None else None
            if isinstance(said, str) and said:
                router = parse_prefix(said, "gateway")[0]
            else:
                kind = {"RequestAddressType": _GATEWAY}
                router = self.address(id, str(gateway or ""), kind, got).address
            ipam.check_host(got, router, "gateway")
        except BadInput as error:
            raise WireError(f"the IPAM driver {self._driver}: {error.message}") from None
        aux = tuple([(name, a) for name, a in asked.aux if a in got])
        for _, address in aux:
            self.address(id, str(address), {}, got)
        return Pool(got, router, near, aux), id

    def address(self, pool: str, wanted: str, options: dict[str, str], subnet: Subnet) -> Cidr:
        """One address. PeerError, WireError."""
        answer = self._ask("RequestAddress", {"PoolID": pool, "Address": wanted, "Options": options})
        text = self._text("RequestAddress", answer, "Address")
        self._back.append(("ReleaseAddress", {"PoolID": pool, "Address": text.partition("/")[0]}))
        try:
            found = parse_address(text.partition("/")[0], "address")
            ipam.check_host(subnet, found, "address")
        except BadInput as error:
            raise WireError(f"the IPAM driver {self._driver}: {error.message}") from None
        return Cidr(found, subnet.prefix)


def addresses(
    work: Work, network: Network, wanted: dict[int, str], mac: str, claims: Claims
) -> tuple[Cidr, ...]:
    """One address of each family that the network has, of its IPAM driver; those that are ``wanted``, by
    family.

    PeerError, WireError.
    """
    taking = Taking(work, network.ipam)
    claims.back.append(taking.give_back)
    found = []
    for pool in network.pools:
        version = pool.subnet.version
        options = {"com.docker.network.endpoint.macaddress": mac}
        cidr = taking.address(network.pool_id(version), wanted.get(version, ""), options, pool.subnet)
        owner = work.store.address_holder(network.name, cidr.address)
        if owner:
            raise PeerError(
                f"the IPAM driver {network.ipam} gave {cidr.address}, which container {owner} has"
            )
        found.append(cidr)
    return tuple(found)
