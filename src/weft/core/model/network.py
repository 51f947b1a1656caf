"""Networks, endpoints and sandboxes: what is wished for, in libnetwork's words."""

from __future__ import annotations

from weft.core.model.address import Address, Subnet
from weft.core.model.names import bridge_name, host_ifname, mac_of, mark, object_id
from weft.core.model.publish import Publish
from weft.core.record import Record

#: The network of containers that name none; made when first needed.
DEFAULT = "default"
#: The upper 16 bits of the link group of every weft bridge port; the lower are the network's number.
#: The bridge guard matches on them, so that a port is guarded from its birth.
PORT_GROUP = 0x77650000
#: The kernel's BR_MAX_PORTS is 1 << 10 and port 0 is not used (net/bridge/br_private.h).
BRIDGE_PORTS = 1023


class Pool(Record):
    """One subnet of a network with its gateway. The model carries both families."""

    subnet: Subnet
    gateway: Address


class Network(Record):
    """A bridge network. ``number`` (1 to 65535) is unique within the root and names its link group."""

    root: str
    name: str
    number: int
    pools: tuple[Pool, ...]
    bridge: str
    mtu: int = 1500
    driver: str = "bridge"
    labels: tuple[tuple[str, str], ...] = ()
    created: int = 0

    @property
    def id(self) -> str:
        """16 hex digits derived from (root, name)."""
        return object_id(self.root, "network", self.name)

    @property
    def mark(self) -> str:
        """The altname of its bridge and the comment of its firewall elements."""
        return mark(self.id)

    @property
    def mac(self) -> str:
        """The bridge's MAC: given at birth, as a bridge otherwise takes its lowest port's."""
        return mac_of(self.id)

    @property
    def group(self) -> int:
        """The link group of its ports."""
        return PORT_GROUP | self.number

    @property
    def pool4(self) -> Pool:
        """Its IPv4 pool."""
        return next(p for p in self.pools if p.subnet.version == 4)


def derived_bridge(root: str, name: str) -> str:
    """The bridge's name where the user gave none."""
    return bridge_name(object_id(root, "network", name))


class Endpoint(Record):
    """One container's place in one network: addresses, names, and both ends of its veth pair."""

    root: str
    network: str
    container: str
    address: Address
    prefix: int
    mac: str = ""
    ifname: str = "eth0"
    aliases: tuple[str, ...] = ()
    publish: tuple[Publish, ...] = ()

    @property
    def id(self) -> str:
        """16 hex digits derived from (root, network, container)."""
        return object_id(self.root, "endpoint", self.network, self.container)

    @property
    def mark(self) -> str:
        """The altname of its host end and the comment of its firewall elements."""
        return mark(self.id)

    @property
    def host_ifname(self) -> str:
        """The host's end of the veth pair."""
        return host_ifname(self.id)

    @property
    def hardware(self) -> str:
        """Its MAC: as given, else derived."""
        return self.mac or mac_of(self.id)

    @property
    def cidr(self) -> str:
        """The address with its prefix length, as ``ip`` writes it."""
        return f"{self.address}/{self.prefix}"


class Sandbox(Record):
    """A container: a named network namespace, its name files, and the command it may run."""

    root: str
    name: str
    hostname: str
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    auto_remove: bool = False
    created: int = 0

    @property
    def id(self) -> str:
        """16 hex digits derived from (root, name)."""
        return object_id(self.root, "container", self.name)

    @property
    def hosts_names(self) -> tuple[str, ...]:
        """The names that stand for it in its network: container name, then host name."""
        return (self.name,) if self.hostname == self.name else (self.name, self.hostname)
