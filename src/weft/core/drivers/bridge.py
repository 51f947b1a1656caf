"""The bridge driver: what a network and an endpoint want, as operations in the order of making."""

from __future__ import annotations

from weft.core.firewall.elements import endpoint_elements, network_elements, proxy_element, shard_elements
from weft.core.model.address import Subnet, parse_address
from weft.core.model.names import mac_of, mark
from weft.core.model.network import DEFAULT_ROUTE, GATEWAY, METRIC, link_local
from weft.core.ops.address import AddressAdd, AddressLend
from weft.core.ops.conntrack import ConntrackFlush
from weft.core.ops.file import HostsAdd, HostsCopy, HostsFile, OwnHosts
from weft.core.ops.hop import RefusalAdd, RouteAdd
from weft.core.ops.link import AddrGenNone, BridgeAdd, BridgeAdopt, LinkGroup, LinkUp, VethAdd
from weft.core.ops.loopback import LoopbackAdd, LoopbackStart
from weft.core.ops.netns import EtcNetns, NetnsAdd, NetnsAttach, Sysctl
from weft.core.ops.route import DefaultRoute
from weft.core.ops.shard import JointAdd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weft.core.model.network import Endpoint, Hop, Network, Sandbox
    from weft.core.model.publish import Publish
    from weft.core.ops.base import Op

#: Routing rules and prohibit routes of weft: `ip rule` shows them by this protocol number.
PROTOCOL = 119
TABLE = 7765
MAIN = 254
OWN_PREFERENCE = 117
APART_PREFERENCE = 118
#: The option under which the gateway addresses are kept that an adopted bridge was given.
LENT = "lent"
#: That under which is kept that an adopted bridge did not know VLANs before.
FILTERS = "filters"


def isolation(network: Network) -> tuple[Op, ...]:
    """The second layer between networks, which survives `nft flush ruleset`: rules and prohibits.

    From its bridge a packet may be routed to its own subnet, and to no other network's, unless its
    connection came by a published port (the mark).
    """
    from weft.core.ops.route import ProhibitAdd

    found: list[Op] = [ProhibitAdd(p.subnet, TABLE, PROTOCOL) for p in network.pools]
    if network.mixes or network.vrf:
        # The firewall alone tells whom its members reach; or no rule, but the VRF's own, may say in which
        # table its bridge's packets are looked up.
        return tuple(found)
    return (*found, *[rule for shard in range(network.shards + 1) for rule in _apart(network, shard)])


def _apart(network: Network, shard: int) -> list[Op]:
    """The routing rules for what comes by one of a network's bridges."""
    if network.vrf:
        return []
    from weft.core.firewall.tables import PUBLISHED_MARK
    from weft.core.ops.rule import Rule, RuleAdd

    bridge = network.bridge_of(shard)
    own = Rule(OWN_PREFERENCE, bridge, MAIN, PROTOCOL)
    found: list[Op] = [RuleAdd(own._replace(to=p.subnet, version=p.subnet.version)) for p in network.pools]
    apart = Rule(APART_PREFERENCE, bridge, TABLE, PROTOCOL, unmarked=PUBLISHED_MARK)
    versions = sorted({p.subnet.version for p in network.pools})
    return [*found, *[RuleAdd(apart._replace(version=v)) for v in versions]]


def joint_name(network: Network, shard: int) -> str:
    """The end, in the bridge before it, of the cable to a further one."""
    return "wj" + network.shard_id(shard)[:12]


def shard_links(network: Network, shard: int) -> tuple[Op, ...]:
    """A further bridge of a network, without any address, and the cable to the one before."""
    oid, bridge = network.shard_id(shard), network.bridge_of(shard)
    alias = f"weft root={network.root} network={network.name} shard={shard}"
    joint = JointAdd(
        ifname=joint_name(network, shard),
        peer="wk" + oid[:12],
        mac="fe" + mac_of(oid)[2:],
        peer_mac="fa" + mac_of(oid)[2:],
        bridge=network.bridge_of(shard - 1),
        peer_bridge=bridge,
        mtu=network.mtu,
        group=network.shard_group if shard > 1 else network.joint_group,
        peer_group=network.shard_group,
        mark=f"{mark(oid)}:joint",
        isolated=network.apart,
        hairpin=shard == 1,
    )
    return (
        BridgeAdd(bridge, mac_of(oid), network.mtu, mark(oid), alias),
        *_placed(network, bridge, False),
        LinkGroup(bridge, network.shard_group),
        *_shut(bridge, False),
        # Or it would answer, with its own MAC, whoever asks for the gateway (ip-sysctl, arp_ignore).
        Sysctl(f"net/ipv4/conf/{bridge}/arp_ignore", "8"),
        joint,
        LinkUp(bridge),
    )


#: See ``no_redirects``.
ALL_SEND_REDIRECTS = "net/ipv4/conf/all/send_redirects"


def shard_wants(network: Network, shard: int) -> tuple[Op, ...]:
    """What another bridge adds to a network that stands."""
    return (*shard_elements(network, shard), *_apart(network, shard), *shard_links(network, shard))


def _shut(ifname: str, ipv6: bool, netns: str = "") -> tuple[Sysctl, ...]:
    """No router's word and no redirect changes an interface's routes (CVE-2020-13401): set before it is
    up."""
    six, four = f"net/ipv6/conf/{ifname}", f"net/ipv4/conf/{ifname}"
    if not ipv6:
        return (Sysctl(f"{six}/disable_ipv6", "1", netns=netns),)
    return (
        Sysctl(f"{six}/accept_ra", "0", netns=netns),
        Sysctl(f"{six}/accept_redirects", "0", netns=netns),
        Sysctl(f"{six}/disable_ipv6", "0", netns=netns),
        *([] if netns else [Sysctl(f"{four}/accept_redirects", "0")]),
    )


def _placed(network: Network, bridge: str, first: bool = True) -> list[Op]:
    """A bridge's VLAN and VRF: before it has addresses, whose routes would be in another table."""
    if not network.vlan and not network.vrf:
        return []
    from weft.core.ops.vlan import BridgeVlan, VrfJoin

    found: list[Op] = [BridgeVlan(bridge, network.vlan)] if network.vlan else []
    return [*found, VrfJoin(bridge, network.vrf)] if network.vrf and first else found


def _aware(network: Network) -> list[Op]:
    """The same of an adopted bridge, whose other ports stay as they are; it is in its VRF already."""
    if not network.vlan:
        return []
    from weft.core.ops.vlan import PortVlan, VlanFilter

    found: list[Op] = [VlanFilter(network.bridge, True)] if network.option(FILTERS) else []
    if not network.managed:
        return found
    return [*found, PortVlan(network.bridge, network.vlan, itself=True, keep=_keeps_default(network))]


def _keeps_default(network: Network) -> bool:
    return network.option("preserve_default_vlan") == "true"


def port_vlan(network: Network, endpoint: Endpoint) -> list[Op]:
    """What puts a member's port into its network's VLAN: its other end is down so far."""
    if not network.vlan:
        return []
    from weft.core.ops.vlan import PortVlan

    return [PortVlan(endpoint.host_ifname, network.vlan, keep=_keeps_default(network))]


def network_wants(network: Network, hosts: str) -> tuple[Op, ...]:
    """A network: its bridge and addresses, its isolation, its elements, its hosts file."""
    bridge = network.bridge
    if not network.managed:
        return HostsFile(hosts), BridgeAdopt(bridge, network.mark), *_aware(network)
    if network.adopted:
        return (
            HostsFile(hosts),
            BridgeAdopt(bridge, network.mark),
            *_aware(network),
            *network_elements(network),
            *isolation(network),
            *_lent(network),
            *no_redirects(network),
            LinkUp(bridge),
        )
    alias = f"weft root={network.root} network={network.name}"
    gateways = [AddressAdd(bridge, p.gateway, p.subnet.prefix) for p in network.pools]
    local = link_local(network.mac)
    if network.option("gateway_address") == "false":  # another machine on the bridge is the gateway
        gateways = []
    elif network.ipv6:
        gateways.append(AddressAdd(bridge, local.address, local.prefix))
    return (
        HostsFile(hosts),
        BridgeAdd(bridge, network.mac, network.mtu, network.mark, alias),
        *_placed(network, bridge),
        *([AddrGenNone(bridge)] if network.ipv6 else []),
        *_shut(bridge, network.ipv6),
        Sysctl(f"net/ipv4/conf/{bridge}/send_redirects", "0"),
        *no_redirects(network),
        *network_elements(network),
        *isolation(network),
        *gateways,
        LinkUp(bridge),
        *[op for shard in range(1, network.shards + 1) for op in shard_links(network, shard)],
    )


def no_redirects(network: Network) -> tuple[Sysctl, ...]:
    """What goes from one subnet of a network to another leaves by where it came in, and is no detour to
    tell members of. An interface sends redirects where it or ``all`` says so (ip-sysctl, send_redirects)."""
    if len([p for p in network.pools if p.gateway.version == 4]) < 2 and not network.ptp:
        return ()
    return (Sysctl(ALL_SEND_REDIRECTS, "0", stays="other interfaces send by their own value"),)


def _lent(network: Network) -> Iterable[Op]:
    """The gateway addresses that an adopted bridge did not have."""
    lent = network.option(LENT).split()
    for pool in network.pools:
        if str(pool.gateway) in lent:
            yield AddressLend(network.bridge, pool.gateway, pool.subnet.prefix)


def tables_want(root: str) -> tuple[Op, ...]:
    """What comes with the first network and goes with the last."""
    from weft.core.firewall.tables import tables

    return tables(root)


def forwarding(version: int = 4) -> Op:
    """The host forwards: switched on when first needed, never switched off."""
    key = "net/ipv4/ip_forward" if version == 4 else "net/ipv6/conf/all/forwarding"
    return Sysctl(key, "1", stays="others may rely on it by now")


def keep_advertised(ifname: str) -> Op:
    """A host that forwards ignores router advertisements unless it is told otherwise: its own IPv6 stays."""
    return Sysctl(f"net/ipv6/conf/{ifname}/accept_ra", "2", stays="the host's own IPv6 routes depend on it")


#: How many name servers resolv.conf(5) may have: MAXNS.
_MAXNS = 3


def resolv_conf(sandbox: Sandbox, networks: Iterable[Network] = ()) -> str:
    """The container's resolv.conf(5): the gateways where weft's DNS server answers, which asks the
    container's own servers in their stead; without such a network those themselves."""
    search = f"search {' '.join(sandbox.search)}\n" if sandbox.search else ""
    answering = sorted([n for n in networks if n.dns], key=lambda n: n.internal)
    gateways = [str(p.gateway) for n in answering for p in n.pools][:_MAXNS]
    return search + "".join([f"nameserver {a}\n" for a in gateways or sandbox.dns])


def copies_want(own: str, shared: Iterable[str]) -> list[Op]:
    """The members of networks in a container's own hosts file: itself too, since its line is there by now."""
    return [HostsCopy(own, path) for path in shared]


def sandbox_wants(
    sandbox: Sandbox,
    hosts: str,
    lines: tuple[str, ...] | None = None,
    donor: str = "",
    rooted: bool = False,
    networks: Iterable[Network] = (),
) -> tuple[Op, ...]:
    """A container's namespace and name files. ``lines``: of a hosts file of its own at ``hosts``, to which
    its
    networks' are copied last of all (``copies_want``).

    ``donor`` is the container whose network namespace it shares. ``rooted``: it has a root of its own.
    """
    name = sandbox.name
    files: list[Op] = [] if lines is None else [OwnHosts(hosts, lines)]
    files.append(EtcNetns(name, hosts, resolv_conf(sandbox, networks), sandbox.hostname if rooted else ""))
    if donor:
        return (*files, NetnsAttach(name, f"/run/netns/{donor}"))
    return (*files, NetnsAdd(name))


def sandbox_starts(sandbox: Sandbox) -> tuple[Op, ...]:
    """What is done inside once its interfaces are there: lo, and the container's own sysctls."""
    name = sandbox.name
    return (LinkUp("lo", name), *[Sysctl(key, value, netns=name) for key, value in sandbox.sysctls])


def _cable(network: Network, endpoint: Endpoint, where: str, peer: str) -> VethAdd:
    ifname = endpoint.ifname
    alias = f"weft root={network.root} network={network.name} container={endpoint.container} if={ifname}"
    return VethAdd(
        ifname=endpoint.host_ifname,
        mac=_host_mac(endpoint.hardware),
        mtu=network.mtu,
        bridge=network.bridge_of(endpoint.shard),
        group=network.group,
        peer_netns=where,
        peer=peer,
        peer_mac=endpoint.hardware,
        mark=endpoint.mark,
        alias=alias,
        isolated=network.apart,
    )


def handed_name(endpoint: Endpoint) -> str:
    """What the container's end of a cable is called while it is in the host's namespace."""
    return "wd" + endpoint.id[:12]


def handed_wants(network: Network, endpoint: Endpoint) -> tuple[Op, ...]:
    """A place in a network of which another engine takes the container's end: it is down in the host's
    namespace, without addresses, until that moves, names, addresses and routes it. The guard stands
    before."""
    peer = handed_name(endpoint)
    return (
        _cable(network, endpoint, "", peer),
        *port_vlan(network, endpoint),
        *endpoint_elements(network, endpoint),
        *_shut(peer, False),
    )


def endpoint_wants(
    network: Network,
    sandbox: Sandbox,
    endpoint: Endpoint,
    netns: str = "",
) -> tuple[Op, ...]:
    """A container's place in a network: its cable, its guard, its addresses; its names come last of all.

    The guard stands before its address works. ``netns`` is the namespace of a sandbox that is not weft's.
    """
    where, ifname = netns or sandbox.name, endpoint.ifname
    return (
        _cable(network, endpoint, where, ifname),
        *port_vlan(network, endpoint),
        *endpoint_elements(network, endpoint),
        *_shaped(network, endpoint),
        *inside_wants(sandbox, endpoint, netns, _by_gateway(network, endpoint, where)),
    )


def _by_gateway(network: Network, endpoint: Endpoint, where: str) -> list[RouteAdd]:
    """The routes of a member whose only neighbour is the gateway: to that, and by that to its own subnet."""
    if not network.ptp:
        return []
    found = []
    for cidr in endpoint.addresses:
        pool = network.pool_of(cidr.address)
        host = Subnet(cidr.address.version, pool.gateway.value, pool.gateway.bits)
        found.append(RouteAdd(host, None, endpoint.ifname, where, 0, cidr.address))
        found.append(RouteAdd(pool.subnet, pool.gateway, endpoint.ifname, where, 0, cidr.address))
    return found


def inside_wants(
    sandbox: Sandbox, endpoint: Endpoint, netns: str = "", instead: Sequence[RouteAdd] = ()
) -> tuple[Op, ...]:
    """What is done inside once a container's link is there, whatever kind it is: sysctls, addresses, up,
    routes. ``instead`` are routes that stand for those that come with an address."""
    where, ifname = netns or sandbox.name, endpoint.ifname
    six = endpoint.address_of(6) is not None
    return (
        *_families(ifname, where, six, bool(netns)),
        *[Sysctl(key, value, netns=where) for key, value in endpoint.sysctls],
        *([AddrGenNone(ifname, where)] if six else []),
        *_addressed(endpoint, where, six, bool(instead)),
        *instead,
        *[_route(r, ifname, where) for r in endpoint.routes],
    )


def _route(hop: Hop, ifname: str, where: str) -> RouteAdd | RefusalAdd:
    if hop.type == "unicast":
        return RouteAdd(hop.to, hop.via, ifname, where, hop.metric)
    return RefusalAdd(hop.to, hop.type, where, hop.metric)


def _families(ifname: str, where: str, six: bool, foreign: bool) -> tuple[Sysctl, ...]:
    """IPv6 is off in a container until a network brings it: then for that interface, and for ::1.

    In a namespace that is not weft's it is the interface alone that is set, and it may be on there.
    """
    if not six:
        return _shut(ifname, False, where) if foreign else ()
    lo = () if foreign else (Sysctl("net/ipv6/conf/lo/disable_ipv6", "0", netns=where),)
    return (*lo, *_shut(ifname, True, where))


def _addressed(endpoint: Endpoint, where: str, six: bool, alone: bool) -> list[Op]:
    ifname = endpoint.ifname
    found: list[Op] = [AddressAdd(ifname, c.address, c.prefix, where, alone) for c in endpoint.addresses]
    if six:
        local = link_local(endpoint.hardware)
        found.append(AddressAdd(ifname, local.address, local.prefix, where))
    return [*found, LinkUp(ifname, where)]


def _shaped(network: Network, endpoint: Endpoint) -> tuple[Op, ...]:
    """What holds a container to its rates, where its engine has asked for any."""
    if not endpoint.options:
        return ()
    from weft.core.ops.traffic import shaping  # not for every command

    return shaping(network, endpoint)


def host_lines(sandbox: Sandbox, endpoint: Endpoint) -> list[tuple[str, tuple[str, ...]]]:
    """A member's lines in a hosts file: (address, names)."""
    names = (*sandbox.hosts_names, *endpoint.aliases)
    return [(str(c.address), names) for c in endpoint.addresses] if names else []


def names_want(sandbox: Sandbox, endpoint: Endpoint, hosts: Sequence[str]) -> list[Op]:
    """A member's names in these hosts files."""
    return [HostsAdd(path, a, names) for path in hosts for a, names in host_lines(sandbox, endpoint)]


def gateway_of(members: Iterable[tuple[Network, Endpoint]], version: int) -> tuple[Network, Endpoint] | None:
    """Which of a container's endpoints gives the default route of a family: the highest priority; of those
    the
    one with both families; of those the first by name, as Docker has it (libnetwork/sandbox.go)."""
    fit = [(n, e) for n, e in members if _leads_out(n, e, version) and not n.option(METRIC)]
    fit.sort(key=lambda pair: (-pair[1].priority, not (pair[0].ipv4 and pair[0].ipv6), pair[0].name))
    return fit[0] if fit else None


def _leads_out(network: Network, endpoint: Endpoint, version: int) -> bool:
    no_route = network.internal or network.option("no_default_route") == "true"
    allowed = not no_route and endpoint.option(DEFAULT_ROUTE, "true") in ("true", str(version))
    return allowed and endpoint.address_of(version) is not None


#: Of a default route in a namespace that is somebody else's: the one that he gave it goes first.
FOREIGN_METRIC = 7765


def default_routes(members: Sequence[tuple[Network, Endpoint]], where: str) -> list[DefaultRoute]:
    """The default routes of a container, one a family; and one of each network that says its metric."""
    found = []
    for version in (4, 6):
        chosen = gateway_of(members, version)
        if chosen is not None and not chosen[0].remote:
            foreign = FOREIGN_METRIC if ":" in chosen[1].container else 0
            metric = int(chosen[1].option(METRIC, str(foreign)))
            found.append(_by(*chosen, version, where, metric))
        ranked = [(n, e) for n, e in members if n.option(METRIC) and _leads_out(n, e, version)]
        ranked.sort(key=lambda pair: -pair[1].priority)
        found += [_by(n, e, version, where, int(n.option(METRIC)))._replace(beside=True) for n, e in ranked]
    return found


def _by(network: Network, endpoint: Endpoint, version: int, where: str, metric: int) -> DefaultRoute:
    address = endpoint.address_of(version)
    assert address is not None  # _leads_out() has seen to it
    given = endpoint.option(f"{GATEWAY}{version}")
    gateway = parse_address(given) if given else network.gateway_for(address)
    return DefaultRoute(gateway, endpoint.ifname, where, metric)


def _host_mac(mac: str) -> str:
    """The host end's MAC: the container's with another first byte, so that the two never meet.

    It is higher than any bridge's own, so the bridge would keep its MAC even if it had to choose.
    """
    return "fe" + mac[2:]


def loopback_wants(endpoint: Endpoint) -> tuple[LoopbackAdd, ...]:
    """The ports that the loopback proxy holds for a container."""
    return tuple(
        [
            LoopbackAdd(p.proto, str(p.host), p.host_port, str(endpoint.target_of(p)), p.port)
            for p in endpoint.publish
        ]
    )


def flush_wants(publishes: Sequence[Publish]) -> list[Op]:
    """With a port taken back its connections are forgotten: they would go on as they went."""
    return [ConntrackFlush(tuple([p.key for p in publishes]))] if publishes else []


def fresh_wants(publishes: Sequence[Publish]) -> list[Op]:
    """With a port published, what was sent to it before. TCP begins with a SYN, which is looked up anew: what
    there is of it is a connection that somebody on the host still has."""
    return flush_wants([p for p in publishes if p.proto != "tcp"])


def proxy_wants(port: int) -> tuple[Op, ...]:
    """The loopback proxy itself, and where the redirect finds it."""
    return LoopbackStart(port), proxy_element(port)
