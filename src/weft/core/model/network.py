"""Networks, endpoints and sandboxes: what is wished for, in libnetwork's words."""

from __future__ import annotations

from weft.core.model.address import Address, Cidr, Subnet
from weft.core.model.names import bridge_name, cgroup_top, host_ifname, mac_bytes, mac_of, mark, object_id
from weft.core.model.publish import Publish
from weft.core.record import Record

#: The network of containers that name none; made when first needed.
DEFAULT = "default"
#: The label of a network that an engine made: it goes with its last member (engine/foreign.py).
ENGINE = "weft.engine"
#: The upper 16 bits of the link group of every weft bridge port; the lower are the network's number.
#: The bridge guard matches on them, so that a port is guarded from its birth.
PORT_GROUP = 0x77650000
#: The same of the further bridges of a network, and of the cables between its bridges.
SHARD_GROUP = 0x77660000
#: The same of the one end, in the first bridge, of the cable to further ones: it is a hairpin.
JOINT_GROUP = 0x77670000
#: How many containers one bridge gets. The kernel's BR_MAX_PORTS is 1 << 10 (net/bridge/br_private.h), but a
#: broadcast, of which each port gets a copy, goes by a CPU's backlog of net.core.netdev_max_backlog packets,
#: 1000 unless somebody raised it: what is beyond is dropped, and who is there answers no ARP. From a bridge
#: in the middle it goes on to two others at once.
BRIDGE_PORTS = 480
#: The same of an adopted bridge, which gets no further ones.
ADOPTED_PORTS = 1000
#: How many further bridges a network may have: each is joined to the one before.
SHARDS = 49

#: Options of an endpoint, which the doors for other engines set: whether it may give the default routes
#: (true, false, 4, 6), and their metric (else 0, in a namespace of somebody else's 7765).
DEFAULT_ROUTE = "default_route"
METRIC = "metric"
#: With 4 or 6 behind it: by whom the default route of that family leads, where that is not its network's
#: gateway.
GATEWAY = "gateway"
#: How fast it may receive and send: ``RATE:BURST``, in bytes a second and bytes.
INGRESS, EGRESS = "ingress", "egress"
#: What the host's end of its cable is to be called.
HOST_IFNAME = "host_ifname"

#: The drivers that are weft's own; any other is a third party's.
DRIVERS = ("bridge", "macvlan", "ipvlan")
#: Options of a network under which is kept which IPAM driver it is of, and what third parties were told and
#: said.
IPAM, POOL_ID, GIVEN = "remote.ipam", "remote.pool", "remote.option."

#: Seconds that a released address rests, while neighbours may still have its old MAC in their caches
#: (arp(7): an entry may be used for up to base_reachable_time * 1.5 unconfirmed).
REST = 60


class Pool(Record):
    """One subnet of a network: its gateway, where addresses are taken from (``ip_range``, else all), and
    (name, address) pairs that are never given away (``aux``)."""

    subnet: Subnet
    gateway: Address
    ip_range: Subnet | None = None
    aux: tuple[tuple[str, Address], ...] = ()


class Network(Record):
    """A network. ``number`` (1 to 65535) is unique within the root and names its link group.

    ``internal``: no way out and none in but from the host. ``isolated``: members cannot talk to each other.
    ``nat`` is ``nat`` (masquerade) or ``routed`` (others route to the subnet, and reach what is published).
    ``adopted``: the bridge was there before and stays. ``follows_mtu``: the MTU is the uplink's.
    ``shards`` is how many further bridges it has, each joined to the one before. ``options`` are those of
    ``-o``, as
    they were given.
    """

    root: str
    name: str
    number: int
    pools: tuple[Pool, ...]
    bridge: str
    mtu: int = 1500
    driver: str = "bridge"
    labels: tuple[tuple[str, str], ...] = ()
    created: int = 0
    internal: bool = False
    isolated: bool = False
    nat: str = "nat"
    adopted: bool = False
    follows_mtu: bool = False
    shards: int = 0
    options: tuple[tuple[str, str], ...] = ()

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
    def shard_group(self) -> int:
        """The link group of its further bridges and what joins them."""
        return SHARD_GROUP | self.number

    @property
    def joint_group(self) -> int:
        """The link group of its first bridge's cable to further ones, at that end."""
        return JOINT_GROUP | self.number

    def shard_id(self, shard: int) -> str:
        """16 hex digits derived from (root, name, shard)."""
        return object_id(self.root, "shard", self.name, str(shard))

    def bridge_of(self, shard: int) -> str:
        """The name of one of its bridges: the first one is number 0."""
        return bridge_name(self.shard_id(shard)) if shard else self.bridge

    @property
    def bridged(self) -> bool:
        """Whether its members are plugged into a bridge: not those of macvlan and ipvlan."""
        return self.driver == "bridge"

    @property
    def managed(self) -> bool:
        """Whether weft is its gateway and firewall: not where the bridge is to be used as it is."""
        return self.driver == "bridge" and self.option("unmanaged") != "true"

    @property
    def mixes(self) -> bool:
        """Whether its members may reach those of other networks, as far as these let them."""
        return self.managed and not self.internal and self.option("isolate", "strict") != "strict"

    @property
    def device(self) -> str:
        """The link of the host that it is on: its bridge, or the parent of its members' links."""
        return self.bridge if self.driver == "bridge" else self.option("parent")

    @property
    def ipv4(self) -> bool:
        """Whether it has an IPv4 subnet."""
        return any(p.subnet.version == 4 for p in self.pools)

    @property
    def ipv6(self) -> bool:
        """Whether it has an IPv6 subnet."""
        return any(p.subnet.version == 6 for p in self.pools)

    @property
    def exposed(self) -> bool:
        """Whether others reach its members by their own addresses, and its members the host's services."""
        return self.managed and not self.internal and self.option("exposed") == "true"

    @property
    def ptp(self) -> bool:
        """Whether its members have the gateway as their only neighbour: whom else they reach they reach by
        it."""
        return self.option("ptp") == "true"

    @property
    def apart(self) -> bool:
        """Whether no frame passes from one member's port to another's."""
        return self.isolated or self.ptp

    def pool_of(self, address: Address) -> Pool:
        """The pool that an address is in."""
        return next(p for p in self.pools if address in p.subnet)

    def gateway_for(self, address: Address) -> Address:
        """The gateway of the subnet that an address is in."""
        return next(p.gateway for p in self.pools if address in p.subnet)

    @property
    def pool4(self) -> Pool:
        """Its first IPv4 pool."""
        return next(p for p in self.pools if p.subnet.version == 4)

    def option(self, key: str, default: str = "") -> str:
        """The value of an ``-o`` option."""
        return next((v for k, v in self.options if k == key), default)

    @property
    def vlan(self) -> int:
        """The VLAN of its bridge that its members are in, 0 for none."""
        return int(self.option("vlan", "0"))

    @property
    def vrf(self) -> str:
        """The VRF that its bridge is in, "" for none."""
        return self.option("vrf")

    @property
    def dns(self) -> bool:
        """Whether weft's DNS server answers in it: it was asked for, and the gateways are this host's."""
        wanted = self.managed and self.option("dns") == "true"
        return wanted and self.option("gateway_address") != "false"

    @property
    def dns_port(self) -> int:
        """Where that listens."""
        return int(self.option("dns_port", "53"))

    @property
    def remote(self) -> str:
        """The third-party driver that makes it; "" for weft's own."""
        return "" if self.driver in DRIVERS else self.driver

    @property
    def ipam(self) -> str:
        """The third-party IPAM driver that its subnets and addresses come from."""
        return self.option(IPAM)

    def pool_id(self, version: int) -> str:
        """What its IPAM driver calls its pool of a family."""
        return self.option(f"{POOL_ID}{version}")

    @property
    def given_options(self) -> tuple[tuple[str, str], ...]:
        """The options that a third-party driver gets."""
        return tuple([(k.removeprefix(GIVEN), v) for k, v in self.options if k.startswith(GIVEN)])


def derived_bridge(root: str, name: str) -> str:
    """The bridge's name where the user gave none."""
    return bridge_name(object_id(root, "network", name))


#: The types of routes that lead nowhere (ip-route(8)).
REFUSING = ("blackhole", "unreachable", "prohibit")


class Hop(Record):
    """A route that an endpoint brings: to a subnet, by an address, or directly by its interface.

    ``type`` is that of ip-route(8): unicast, or one that refuses (blackhole, unreachable, prohibit) and has
    neither gateway nor interface. ``metric`` 0 is the kernel's own choice.
    """

    to: Subnet
    via: Address | None = None
    type: str = "unicast"
    metric: int = 0


def link_local(mac: str) -> Cidr:
    """The link-local address that a MAC gives (modified EUI-64, RFC 4291 appendix A)."""
    raw = mac_bytes(mac)
    low = bytes([raw[0] ^ 2, *raw[1:3], 0xFF, 0xFE, *raw[3:]])
    return Cidr(Address(6, 0xFE80 << 112 | int.from_bytes(low, "big")), 64)


class Endpoint(Record):
    """One container's place in one network: addresses, names, and both ends of its veth pair.

    ``addresses``: one of each family that the network has. ``priority``: of a container's endpoints the one
    with the highest gives the default routes. ``sysctls`` are (key with slashes, value), of its interface.
    ``shard``: which of the network's bridges it is plugged into, from 0. ``options`` are what its engine asks
    of it beside that (DEFAULT_ROUTE and the like, and what its driver knows).
    """

    root: str
    network: str
    container: str
    addresses: tuple[Cidr, ...]
    mac: str = ""
    ifname: str = "eth0"
    aliases: tuple[str, ...] = ()
    publish: tuple[Publish, ...] = ()
    priority: int = 0
    sysctls: tuple[tuple[str, str], ...] = ()
    routes: tuple[Hop, ...] = ()
    shard: int = 0
    options: tuple[tuple[str, str], ...] = ()

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
        """The host's end of the veth pair: its engine's name for it, else derived."""
        return self.option(HOST_IFNAME) or host_ifname(self.id)

    @property
    def hardware(self) -> str:
        """Its MAC: as given, else derived."""
        return self.mac or mac_of(self.id)

    @property
    def address(self) -> Address:
        """Its first address: the IPv4 one where it has one."""
        return self.addresses[0].address

    def target_of(self, publish: Publish) -> Address:
        """Where a published port leads: the address of the host address's family, else the other one."""
        return self.address_of(publish.host.version) or self.address

    def is_proxied(self, publish: Publish) -> bool:
        """Whether the loopback proxy serves a published port, or some of it."""
        return publish.covers_loopback or self.address_of(publish.host.version) is None

    def option(self, key: str, default: str = "") -> str:
        """The value of one of its options."""
        return next((v for k, v in self.options if k == key), default)

    def address_of(self, version: int) -> Address | None:
        """Its first address of a family (4 or 6)."""
        return next((c.address for c in self.addresses if c.address.version == version), None)


class Sandbox(Record):
    """A container: a named network namespace, its name files, and the command it may run.

    ``mode`` is "" for weft's networks, or ``host``, ``none``, ``container:NAME``. ``target``: what was joined
    is not weft's own but this TARGET, whose network namespace had this ``inode``. ``extra_hosts``
    are further lines of its hosts file, (name, address); ``sysctls`` (key with slashes, value).
    ``labels``: what its engine knows it by.
    """

    root: str
    name: str
    hostname: str
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    auto_remove: bool = False
    created: int = 0
    mode: str = ""
    target: str = ""
    inode: int = 0
    extra_hosts: tuple[tuple[str, str], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """16 hex digits derived from (root, name)."""
        return object_id(self.root, "container", self.name)

    @property
    def cgroup(self) -> str:
        """The path of its cgroup, below where weft makes them (core/model/hierarchy.py)."""
        return f"{cgroup_top(self.root)}/{self.name}"

    @property
    def hosts_names(self) -> tuple[str, ...]:
        """The names that stand for it in its network: container name, then host name.

        Those of a namespace that is not weft's are its aliases alone.
        """
        if self.target:
            return (self.hostname,) if self.hostname else ()
        return (self.name,) if self.hostname == self.name else (self.name, self.hostname)
