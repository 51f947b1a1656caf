"""The kernel's marks read backwards: which networks and endpoints they were made for.

For a root whose database is lost. A name that an alias or a file tells is believed only where the mark
derived from it is the one that the link bears, so that nobody else's words make an object of weft's.
"""

from __future__ import annotations

from weft.core.model.address import Address, Cidr, Subnet, from_packed
from weft.core.model.names import mac_of, mac_text, mark, object_id
from weft.core.model.network import DEFAULT, PORT_GROUP, Endpoint, Network, Pool
from weft.core.model.publish import Publish
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from weft.core.model.inventory import Entry, Inventory, SeenLink

    #: What the loopback proxy holds: protocol, host address, port, target address, port.
    Held = tuple[str, str, int, str, int]

_LINK_LOCAL = Subnet(6, 0xFE80 << 112, 10)
_PROTOCOLS = {6: "tcp", 17: "udp"}
_IFNAME, _MAC = 16, 8


class Traces:
    """An inventory, ready to be read backwards. ``held``: what the loopback proxy holds."""

    def __init__(self, root: str, seen: Inventory, held: Iterable[Held]) -> None:
        self.root = root
        self.seen = seen
        self.held = tuple(held)
        self._sets = {family: dict(table.sets) for family, table in seen.tables}
        self._files = {path.rpartition("/")[2]: lines for path, lines in seen.files if "/hosts/" in path}

    def entries(self, family: str, name: str) -> list[Entry]:
        """The elements of a set, in order; none where it is gone."""
        return sorted(self._sets.get(family, {}).get(name, ()))

    @property
    def guarded(self) -> bool:
        """Whether the tables are there: else it is unknown which networks are closed."""
        return "inet" in self._sets

    def on_bridge(self, name: str, bridge: str) -> list[bytes]:
        """What stands behind a bridge's name in a set's keys."""
        head = _padded(bridge)
        return [key[_IFNAME:] for key, _, _ in self.entries("inet", name) if key[:_IFNAME] == head]

    def lines(self, network: str) -> dict[str, tuple[str, ...]]:
        """A network's hosts file: names by address."""
        found = [line.split() for line in self._files.get(network, ())]
        return {words[0]: tuple(words[1:]) for words in found if words}

    def networks(self) -> list[Network]:
        """All networks whose bridge bears this root's mark."""
        names = {mark(object_id(self.root, "network", n)): n for n in (*self._files, DEFAULT)}
        for link in self.seen.links:
            told = self._told(link).get("network", "")
            names.setdefault(mark(object_id(self.root, "network", told)), told)
        bridges = [link for link in self.seen.links if link.kind == "bridge"]
        marked = [(link, names[m]) for link in bridges for m in link.altnames if m in names]
        numbers = {link.ifname: self._number(link) for link, _ in marked}
        free = (n for n in range(1, 1 << 16) if n not in numbers.values())
        found = []
        for link, name in sorted(marked, key=lambda pair: pair[1]):
            pools = tuple(self._pools(link))
            if pools:
                number = numbers[link.ifname] or next(free)
                found.append(self._network(link, name, number, pools))
        return found

    def _told(self, link: SeenLink) -> dict[str, str]:
        """An alias of this root's: ``weft root=R network=N [container=C if=I]``."""
        word, *rest = link.alias.split(" ")
        pairs = dict([part.partition("=")[::2] for part in rest])
        return pairs if word == "weft" and pairs.get("root") == self.root else {}

    def _number(self, bridge: SeenLink) -> int:
        """By the link group of its ports; 0 where it has none."""
        ports = [p.group for p in self.seen.links if p.master == bridge.ifname]
        return next((g & 0xFFFF for g in ports if g & ~0xFFFF == PORT_GROUP and g & 0xFFFF), 0)

    def _network(self, link: SeenLink, name: str, number: int, pools: tuple[Pool, ...]) -> Network:
        bridge = link.ifname
        ports = [p for p in self.seen.links if p.master == bridge and self._told(p)]
        routed = any(self._within(f"routed{p.subnet.version}", p.gateway) for p in pools)
        found = Network(
            root=self.root,
            name=name,
            number=number,
            pools=pools,
            bridge=bridge,
            mtu=link.mtu,
            internal=self._has("internal", bridge),
            isolated=self._has("isolated", bridge) or (bool(ports) and all(p.isolated for p in ports)),
            nat="routed" if routed else "nat",
            adopted=not self._told(link),
            options=(*self._answered(bridge), *self._shown(pools), *self._placed(link)),
        )
        marks = {name for seen in self.seen.links for name in seen.altnames}
        shards = next(n for n in range(len(marks) + 1) if mark(found.shard_id(n + 1)) not in marks)
        return found._replace(shards=shards)

    def _has(self, name: str, bridge: str) -> bool:
        return any(key == _padded(bridge) for key, _, _ in self.entries("inet", name))

    def _pools(self, link: SeenLink) -> Iterator[Pool]:
        """By the gateways that the firewall knows; where that was flushed, by the bridge's addresses."""
        bridge = link.ifname
        own = [from_packed(raw) for v in "46" for raw in self.on_bridge(f"own{v}", bridge)]
        there = {address: prefix for name, address, prefix in self.seen.addresses if name == bridge}
        gateways = own if self.guarded else list(there) if self._told(link) else []
        for gateway in sorted(gateways, key=lambda a: (a.version, a.value)):
            if gateway.version == 6 and gateway in _LINK_LOCAL:
                continue
            subnet = self._subnet(gateway, there.get(gateway))
            if subnet is not None:
                yield Pool(subnet, gateway)

    def _subnet(self, gateway: Address, prefix: int | None) -> Subnet | None:
        if prefix is not None:
            base = gateway.value >> (gateway.bits - prefix) << (gateway.bits - prefix)
            return Subnet(gateway.version, base, prefix)
        names = (f"subnet{gateway.version}", f"routed{gateway.version}")
        return next((s for n in names for s, _ in self._intervals(n) if gateway in s), None)

    def _intervals(self, name: str) -> list[tuple[Subnet, bytes]]:
        """The subnets in a set of intervals, each with its data."""
        entries = self.entries("inet", name)
        ends = [key for key, _, is_end in entries if is_end]
        found = []
        for key, data, is_end in entries:
            if is_end:
                continue
            first, bits = from_packed(key), len(key) * 8
            end = min([e for e in ends if e > key], default=b"")
            size = (int.from_bytes(end, "big") if end else 1 << bits) - first.value
            found.append((Subnet(first.version, first.value, bits - size.bit_length() + 1), data))
        return found

    def _within(self, name: str, address: Address) -> bool:
        return any(address in subnet for subnet, _ in self._intervals(name))

    def _answered(self, bridge: str) -> Iterator[tuple[str, str]]:
        """Whether weft's DNS server answers there, and at which port."""
        keys = [key for v in "46" for key, _, _ in self.entries("inet", f"dns{v}")]
        ports = {int.from_bytes(key[-4:-2], "big") for key in keys if key.startswith(_padded(bridge))}
        for port in sorted(ports)[:1]:
            yield "dns", "true"
            if port != 53:
                yield "dns_port", str(port)

    def _placed(self, link: SeenLink) -> Iterator[tuple[str, str]]:
        """The bridge's VLAN and VRF. What an adopted one has may be there for others: its members' tell."""
        vlans = {p.pvid for p in self.seen.links if p.master == link.ifname and self._told(p)}
        vlan = link.vlan if self._told(link) else vlans.pop() if len(vlans) == 1 else 0
        if vlan and link.filters:
            yield "vlan", str(vlan)
        vrfs = [one.ifname for one in self.seen.links if one.kind == "vrf" and one.ifname == link.master]
        if vrfs:
            yield "vrf", vrfs[0]

    def _shown(self, pools: Iterable[Pool]) -> Iterator[tuple[str, str]]:
        """The address that a network shows to others instead of being masqueraded."""
        for pool in pools:
            v = pool.subnet.version
            for subnet, data in self._intervals(f"snat{v}"):
                if subnet == pool.subnet:
                    yield f"host_ipv{v}", str(from_packed(data))

    def endpoints(self, networks: Iterable[Network], lost: Callable[[str], None]) -> list[Endpoint]:
        """All endpoints whose host end bears this root's mark. ``lost`` is told of those without an
        address."""
        known = {network.name: network for network in networks}
        found = []
        for link in self.seen.links:
            told = self._told(link)
            network, container = known.get(told.get("network", "")), told.get("container", "")
            if network is None or not container:
                continue
            if mark(object_id(self.root, "endpoint", network.name, container)) not in link.altnames:
                continue
            endpoint = self._endpoint(network, container, told.get("if", ""), link)
            if endpoint is None:
                lost(f"the address of container {container} in network {network.name}")
            else:
                found.append(endpoint)
        return sorted(found, key=lambda e: (e.container, e.ifname))

    def _endpoint(self, network: Network, container: str, ifname: str, link: SeenLink) -> Endpoint | None:
        addresses, hardware = self._leases(link.ifname)
        lines = self.lines(network.name)
        if not addresses and "bridge" not in self._sets:
            addresses = [a for text, names in lines.items() if container in names[:1] for a in _parsed(text)]
        pools = [(a, p.subnet) for a in addresses for p in network.pools if a in p.subnet]
        if not pools or not ifname:
            return None
        bare = Endpoint(self.root, network.name, container, (), ifname=ifname)
        names = lines.get(str(pools[0][0]), ())
        publish = tuple(self._published([a for a, _ in pools]))
        return bare._replace(
            addresses=tuple([Cidr(a, subnet.prefix) for a, subnet in pools]),
            mac="" if hardware in ("", mac_of(bare.id)) else hardware,
            aliases=tuple([n for n in names if n != container]),
            publish=publish,
            shard=next((n for n in range(network.shards + 1) if network.bridge_of(n) == link.master), 0),
        )

    def _leases(self, port: str) -> tuple[list[Address], str]:
        """A port's addresses, and the MAC that goes with them."""
        addresses: list[Address] = []
        hardware = ""
        for name in ("lease4", "lease6"):
            for key, _, _ in self.entries("bridge", name):
                if key[:_IFNAME] == _padded(port):
                    hardware = mac_text(key[_IFNAME : _IFNAME + 6])
                    address = from_packed(key[_IFNAME + _MAC :])
                    addresses += [] if address.version == 6 and address in _LINK_LOCAL else [address]
        return addresses, hardware

    def _published(self, addresses: Iterable[Address]) -> list[Publish]:
        """Ports that lead to one of these addresses: those of the maps, and those that the proxy serves."""
        mine = {a.packed for a in addresses}
        found: dict[tuple[str, str, int], Publish] = {}
        for v in (4, 6):
            size = 4 if v == 4 else 16
            for name in (f"publish{v}", f"publish{v}_any"):
                for key, data, _ in self.entries("inet", name):
                    if data[:size] in mine and key[0] in _PROTOCOLS:
                        host = Address(v, int.from_bytes(key[4:-4], "big"))
                        port = int.from_bytes(data[size : size + 2], "big")
                        outer = int.from_bytes(key[-4:-2], "big")
                        one = Publish(_PROTOCOLS[key[0]], host, outer, port)
                        found[one.key] = one
        for proto, host_text, outer, target, port in self.held:
            if any(a.packed in mine for a in _parsed(target)):
                one = Publish(proto, _parsed(host_text)[0], outer, port)
                found.setdefault(one.key, one)
        return [found[key] for key in sorted(found)]


def _padded(ifname: str) -> bytes:
    return ifname.encode().ljust(_IFNAME, b"\0")


def _parsed(text: str) -> list[Address]:
    from weft.core.model.address import parse_address
    from weft.core.model.errors import BadInput

    try:
        return [parse_address(text)]
    except BadInput:
        return []


class Found(Record):
    """What is known again, and what was lost, in words."""

    networks: tuple[Network, ...]
    endpoints: tuple[Endpoint, ...]
    lost: tuple[str, ...]


def read(root: str, seen: Inventory, held: Iterable[Held]) -> Found:
    """All of it."""
    traces, lost = Traces(root, seen, held), []
    networks = traces.networks()
    if not traces.guarded and networks:
        lost.append("which networks are internal or routed: the firewall was gone too")
    endpoints = traces.endpoints(networks, lost.append)
    return Found(tuple(networks), tuple(endpoints), tuple(lost))
