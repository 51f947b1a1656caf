"""Every operation, with the values that weft's own checks let through, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from weft.core.firewall.elements import endpoint_elements, network_elements, proxy_element
from weft.core.firewall.tables import tables
from weft.core.model.address import Address, Cidr, Subnet
from weft.core.model.foreign import FilterRule, Place
from weft.core.model.network import Endpoint, Network, Pool
from weft.core.model.publish import Publish
from weft.core.ops import (
    address,
    cgroup,
    conntrack,
    dns,
    file,
    foreign,
    hop,
    link,
    loopback,
    netns,
    nft,
    process,
    remote,
    route,
    rule,
    shard,
    sublink,
    traffic,
    tune,
    vlan,
    wire,
)
from weft.core.ops.base import Op
from weft.core.plan.plan import Plan

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True)
IFNAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,14}", fullmatch=True)
HEX = st.text("0123456789abcdef", min_size=16, max_size=16)
MARKS = HEX.map(lambda digits: f"weft:{digits}")
MACS = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
PORTS = st.integers(1, 65535)
#: What no check of weft's restricts but that it can be printed: paths under --root.
PRINTABLE = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1, max_size=30
)
PATHS = PRINTABLE.map(lambda text: f"/{text}/hosts/blue")
ADDRESSES = st.integers(1, (1 << 32) - 2).map(lambda value: Address(4, value))
PREFIXES = st.integers(8, 30)
SUBNETS = st.builds(
    lambda v, p: Subnet(4, v >> (32 - p) << (32 - p), p), st.integers(0, (1 << 32) - 1), PREFIXES
)
VLANS = st.integers(1, 4094)
METRICS = st.integers(0, (1 << 32) - 1)
BYTES = st.integers(1, (1 << 32) - 1)
REFUSALS = st.sampled_from(("blackhole", "unreachable", "prohibit"))
PROTOS = st.sampled_from(("tcp", "udp"))
PUBLISHES = st.builds(
    Publish,
    PROTOS,
    st.sampled_from(
        [
            *(Address(4, v) for v in (0, 0x7F000001, 0xCB007101)),
            *(Address(6, v) for v in (0, 1, 0x20010DB8 << 96)),
        ]
    ),
    PORTS,
    PORTS,
)
ENDPOINTS = st.builds(
    Endpoint,
    root=st.just("0123abcd"),
    network=NAMES,
    container=NAMES,
    addresses=st.builds(Cidr, ADDRESSES, PREFIXES).map(lambda cidr: (cidr,)),
    mac=st.just("") | MACS,
    ifname=IFNAMES,
    aliases=st.lists(NAMES, max_size=3).map(tuple),
    publish=st.lists(PUBLISHES, max_size=3).map(tuple),
)
APART = st.sampled_from(
    ((), (FilterRule("br", "docker0", "drop"), FilterRule("br", verdict="DOCKER-STAGE-2")))
)
FOREIGN = st.builds(
    Place,
    st.sampled_from(("nft", "iptables-nft", "iptables-legacy")),
    st.sampled_from(("ip", "ip6", "inet")),
    st.from_regex(r"[a-z][a-z_]{0,20}", fullmatch=True),
    st.from_regex(r"[A-Za-z][A-Za-z_-]{0,20}", fullmatch=True),
)
NETWORKS = st.builds(
    Network,
    root=st.just("0123abcd"),
    name=NAMES,
    number=st.integers(1, 65535),
    pools=st.builds(lambda s: (Pool(s, Address(4, s.first.value + 1)),), SUBNETS),
    bridge=IFNAMES,
    driver=st.just("bridge"),
    shards=st.integers(0, 2),
)
RULES = st.builds(
    rule.Rule, st.integers(1, 32000), IFNAMES, st.integers(1, 1 << 31), st.integers(1, 255),
    st.none() | SUBNETS, st.sampled_from((0, 0x01000000)),
)  # fmt: skip
ADDED = st.one_of(
    NETWORKS.flatmap(lambda n: st.sampled_from(network_elements(n))),
    st.tuples(NETWORKS, ENDPOINTS).flatmap(lambda pair: st.sampled_from(endpoint_elements(*pair))),
    PORTS.map(proxy_element),
)
NUMBERS = st.integers(1, (1 << 31) - 1)
#: A namespace by name, or by its path, which may hold anything but a NUL.
FAR = NAMES | PRINTABLE.map(lambda text: f"/proc/{text}/ns/net")
PLACES = st.just("") | FAR
#: A name that the kernel takes, however hostile: link rm must be able to delete it.
HOSTILE = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/ \t\n\v\f\r:\x85\xa0"), min_size=1, max_size=5
)
GROUPS = NAMES.map(lambda name: f"weft/{name}")
TOPS = PRINTABLE.map(lambda text: f"/sys/fs/{text}")

#: As Docker has them.
IDS = st.text("0123456789abcdef", min_size=64, max_size=64)
TAKEN = st.lists(ADDRESSES.map(str), max_size=2).map(tuple)
STRATEGIES: dict[type[Op], st.SearchStrategy[Any]] = {
    address.AddressAdd: st.builds(address.AddressAdd, IFNAMES, ADDRESSES, PREFIXES, PLACES),
    address.AddressLend: st.builds(address.AddressLend, IFNAMES, ADDRESSES, PREFIXES, PLACES),
    address.AddressDel: st.builds(address.AddressDel, IFNAMES, ADDRESSES, PREFIXES, PLACES),
    file.HostsFile: st.builds(file.HostsFile, PATHS),
    file.OwnHosts: st.builds(file.OwnHosts, PATHS, st.lists(NAMES, max_size=4).map(tuple)),
    file.HostsCopy: st.builds(file.HostsCopy, PATHS, PATHS),
    file.HostsUncopy: st.builds(file.HostsUncopy, PATHS, PATHS),
    file.FileMove: st.builds(file.FileMove, PATHS, PATHS),
    process.Signal: st.builds(process.Signal, NUMBERS, st.integers(1, 64), st.just("SIGTERM")),
    file.HostsSwitch: st.builds(file.HostsSwitch, NAMES, PATHS, PATHS, st.just(0) | NUMBERS, NUMBERS),
    hop.RouteAdd: st.builds(
        hop.RouteAdd, SUBNETS, st.none() | ADDRESSES, IFNAMES, FAR, METRICS, st.none() | ADDRESSES
    ),
    hop.RefusalAdd: st.builds(hop.RefusalAdd, SUBNETS, REFUSALS, FAR, METRICS),
    hop.RefusalDel: st.builds(hop.RefusalDel, SUBNETS, REFUSALS, FAR, METRICS),
    sublink.SublinkAdd: st.builds(
        sublink.SublinkAdd,
        st.just("macvlan"),
        IFNAMES,
        IFNAMES,
        st.sampled_from(("bridge", "source")),
        st.just("") | MACS,
        st.integers(68, 65535),
        FAR,
        MARKS,
        st.sampled_from(("", "-1", "0", "9")),
    ),
    hop.GatewayChange: st.builds(
        hop.GatewayChange, ADDRESSES, IFNAMES, ADDRESSES, IFNAMES, FAR, st.integers(0, 9999)
    ),
    link.PortIsolate: st.builds(link.PortIsolate, IFNAMES, st.booleans()),
    traffic.IfbAdd: st.builds(traffic.IfbAdd, IFNAMES, MACS, st.integers(68, 65535), MARKS, PRINTABLE),
    traffic.Tbf: st.builds(traffic.Tbf, IFNAMES, st.integers(1, 1 << 40), BYTES, BYTES),
    traffic.TbfDel: st.builds(traffic.TbfDel, IFNAMES),
    traffic.IngressDel: st.builds(traffic.IngressDel, IFNAMES),
    traffic.Redirect: st.builds(traffic.Redirect, IFNAMES, IFNAMES),
    tune.LinkTune: st.one_of(
        st.builds(tune.LinkTune, IFNAMES, st.just("address"), MACS, MACS, PLACES),
        st.builds(
            tune.LinkTune, IFNAMES, st.sampled_from(("mtu", "txqueuelen")), *2 * [PORTS.map(str)], PLACES
        ),
        st.builds(
            tune.LinkTune,
            IFNAMES,
            st.sampled_from(("promisc", "allmulticast")),
            *2 * [st.sampled_from(("on", "off"))],
            PLACES,
        ),
    ),
    link.LinkMtu: st.builds(link.LinkMtu, IFNAMES, st.integers(68, 65535), st.integers(68, 65535), PLACES),
    link.LinkGroup: st.builds(link.LinkGroup, IFNAMES, NUMBERS),
    link.Replug: st.builds(link.Replug, IFNAMES, IFNAMES, st.booleans(), st.booleans()),
    shard.JointAdd: st.builds(
        shard.JointAdd,
        *(IFNAMES, IFNAMES, MACS, MACS, IFNAMES, IFNAMES),
        *(st.integers(68, 65535), NUMBERS, NUMBERS, MARKS, st.booleans(), st.booleans()),
    ),
    vlan.BridgeVlan: st.builds(vlan.BridgeVlan, IFNAMES, VLANS),
    vlan.VlanFilter: st.builds(vlan.VlanFilter, IFNAMES, st.booleans()),
    vlan.PortVlan: st.builds(vlan.PortVlan, IFNAMES, VLANS, VLANS, st.booleans(), st.booleans()),
    vlan.VrfJoin: st.builds(vlan.VrfJoin, IFNAMES, IFNAMES),
    link.AddrGenNone: st.builds(link.AddrGenNone, IFNAMES, PLACES),
    link.BridgeAdopt: st.builds(link.BridgeAdopt, IFNAMES, MARKS),
    link.BridgeRelease: st.builds(link.BridgeRelease, IFNAMES, MARKS),
    file.HostsFileDel: st.builds(file.HostsFileDel, PATHS),
    file.HostsAdd: st.builds(
        file.HostsAdd, PATHS, ADDRESSES.map(str), st.lists(NAMES, min_size=1, max_size=4).map(tuple)
    ),
    file.HostsDel: st.builds(
        file.HostsDel, PATHS, st.lists(ADDRESSES.map(str), min_size=1, max_size=4).map(tuple)
    ),
    link.BridgeAdd: st.builds(
        link.BridgeAdd, IFNAMES, MACS, st.integers(68, 65535), MARKS, PRINTABLE, st.booleans(), PLACES
    ),
    wire.VethPairAdd: st.builds(
        wire.VethPairAdd,
        *(IFNAMES, MACS, IFNAMES, MACS, FAR, MARKS, PRINTABLE, PLACES),
        st.just("") | IFNAMES,
    ),
    wire.LinkMark: st.builds(wire.LinkMark, IFNAMES, MARKS, PRINTABLE, PLACES),
    wire.LinkMaster: st.builds(wire.LinkMaster, IFNAMES, IFNAMES, PLACES),
    wire.LinksDel: st.lists(st.tuples(IFNAMES, MARKS), min_size=1, max_size=4).flatmap(
        lambda pairs: st.builds(
            wire.LinksDel, st.just(tuple(p[0] for p in pairs)), st.just(tuple(p[1] for p in pairs)), PLACES
        )
    ),
    wire.LinkRemove: st.builds(wire.LinkRemove, HOSTILE, PLACES),
    link.VethAdd: st.builds(
        link.VethAdd,
        IFNAMES,
        MACS,
        st.integers(68, 65535),
        IFNAMES,
        NUMBERS,
        st.just("") | NAMES,
        IFNAMES,
        MACS,
        MARKS,
        PRINTABLE,
        st.booleans(),
    ),
    link.LinkUp: st.builds(link.LinkUp, IFNAMES, PLACES),
    link.LinkDel: st.builds(link.LinkDel, IFNAMES, MARKS, PLACES, st.just("") | MACS),
    link.LinkGroupDel: st.builds(link.LinkGroupDel, NUMBERS),
    conntrack.ConntrackFlush: st.lists(PUBLISHES.map(lambda p: p.key), min_size=1, max_size=7)
    .map(tuple)
    .map(conntrack.ConntrackFlush),
    loopback.LoopbackStart: st.builds(loopback.LoopbackStart, PORTS),
    loopback.LoopbackStop: st.just(loopback.LoopbackStop()),
    loopback.LoopbackAdd: st.builds(
        loopback.LoopbackAdd, PROTOS, ADDRESSES.map(str), PORTS, ADDRESSES.map(str), PORTS
    ),
    loopback.LoopbackDel: st.builds(loopback.LoopbackDel, PROTOS, ADDRESSES.map(str), PORTS),
    remote.RemoteNetworkAdd: st.builds(
        remote.RemoteNetworkAdd,
        NAMES,
        IDS,
        st.lists(st.tuples(SUBNETS.map(str), ADDRESSES.map(lambda a: f"{a}/24")), max_size=2).map(tuple),
        st.lists(st.tuples(PRINTABLE, PRINTABLE), max_size=2).map(tuple),
        st.booleans(),
    ),
    remote.RemoteNetworkDel: st.builds(remote.RemoteNetworkDel, NAMES, IDS),
    remote.RemoteTaken: st.builds(remote.RemoteTaken, NAMES, PRINTABLE, TAKEN, st.booleans()),
    remote.RemoteReleased: st.builds(remote.RemoteReleased, NAMES, PRINTABLE, TAKEN, st.booleans()),
    remote.RemoteJoin: st.builds(
        remote.RemoteJoin,
        NAMES,
        IDS,
        IDS,
        FAR,
        IFNAMES,
        st.lists(ADDRESSES.map(lambda a: f"{a}/24"), max_size=2).map(tuple),
        MACS,
        MARKS,
        st.sampled_from(((), (4,), (4, 6))),
    ),
    remote.RemoteLeave: st.builds(remote.RemoteLeave, NAMES, IDS, IDS, FAR, IFNAMES, MARKS),
    netns.NetnsAdd: st.builds(netns.NetnsAdd, NAMES, st.booleans()),
    netns.NetnsAttach: st.builds(netns.NetnsAttach, NAMES, FAR),
    netns.NetnsDel: st.builds(netns.NetnsDel, NAMES),
    netns.NsBind: st.builds(
        netns.NsBind, st.builds(lambda text, name: f"/{text}/ns/{name}/uts", PRINTABLE, NAMES), FAR
    ),
    netns.NsUnbind: st.builds(
        netns.NsUnbind, st.builds(lambda text, name: f"/{text}/ns/{name}/uts", PRINTABLE, NAMES)
    ),
    cgroup.CgroupAdd: st.builds(
        lambda path, tops, settings, limited: cgroup.CgroupAdd(
            path,
            tuple((f"{top}/{path}", tuple(settings)) for top in tops),
            tuple((top, "+cpu +memory") for top in tops),
            limited,
        ),
        GROUPS,
        st.lists(TOPS, min_size=1, max_size=3),
        st.lists(st.tuples(st.just("memory.max"), st.just("") | NUMBERS.map(str)), max_size=2),
        st.booleans(),
    ),
    cgroup.CgroupDel: st.builds(
        lambda path, tops: cgroup.CgroupDel(path, tuple(f"{top}/{path}" for top in tops)),
        GROUPS,
        st.lists(TOPS, min_size=1, max_size=3),
    ),
    **{
        kind: st.builds(kind, GROUPS, TOPS, st.sampled_from((1, 2)))
        for kind in (cgroup.CgroupFreeze, cgroup.CgroupThaw)
    },
    netns.NetnsEnd: st.builds(netns.NetnsEnd, NAMES),
    netns.Sysctl: st.builds(
        netns.Sysctl,
        IFNAMES.map(lambda name: f"net/ipv6/conf/{name}/disable_ipv6"),
        st.sampled_from(("0", "1")),
        st.just("") | PRINTABLE,
        PLACES,
    ),
    netns.EtcNetns: st.builds(
        netns.EtcNetns, NAMES, PATHS, st.text("nameserver 1.\n'\"$`\\", max_size=30), st.just("") | NAMES
    ),
    netns.ResolvConf: st.builds(
        netns.ResolvConf, NAMES, *[st.text("nameserver 1.\n'\"$`\\", max_size=30) for _ in range(2)]
    ),
    dns.DnsStart: st.just(dns.DnsStart()),
    netns.EtcNetnsDel: st.builds(netns.EtcNetnsDel, NAMES),
    foreign.PassAdd: st.builds(foreign.PassAdd, FOREIGN, IFNAMES, APART),
    foreign.PassDel: st.builds(foreign.PassDel, FOREIGN, IFNAMES, APART),
    foreign.PassChainAdd: st.builds(foreign.PassChainAdd, FOREIGN, st.integers(0, 99)),
    foreign.PassChainDel: st.builds(foreign.PassChainDel, FOREIGN),
    foreign.ZoneAdd: st.builds(foreign.ZoneAdd, st.tuples(IFNAMES)),
    foreign.ZoneDel: st.builds(foreign.ZoneDel, st.tuples(IFNAMES, IFNAMES)),
    nft.ElementAdd: ADDED,
    nft.ElementDel: ADDED.map(lambda op: op.undo()),
    nft.TableAdd: HEX.flatmap(lambda root: st.sampled_from(tables(root[:8]))),
    nft.TableDel: st.builds(nft.TableDel, st.sampled_from(("inet", "bridge")), st.just("weft")),
    route.DefaultRoute: st.builds(route.DefaultRoute, ADDRESSES, IFNAMES, NAMES, st.integers(0, 9999)),
    route.ProhibitAdd: st.builds(route.ProhibitAdd, SUBNETS, NUMBERS, st.integers(1, 255)),
    route.ProhibitDel: st.builds(route.ProhibitDel, SUBNETS, NUMBERS, st.integers(1, 255)),
    rule.RuleAdd: st.builds(rule.RuleAdd, RULES),
    rule.RuleDel: st.builds(rule.RuleDel, RULES),
}
OPS = st.one_of(*STRATEGIES.values())
PLANS = st.lists(OPS, max_size=8).map(lambda ops: Plan(tuple(ops)))
