"""Networks: made, removed, looked up (docker-network(1), for the bridge driver)."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.drivers import options
from weft.core.model.errors import BadInput, Conflict, NotFound, NotOurs
from weft.core.model.names import check_ifname, check_name, mark
from weft.core.model.network import DEFAULT, DRIVERS, ENGINE, Network, derived_bridge
from weft.core.ops.base import Op
from weft.core.ops.link import LinkDel, LinkGroupDel
from weft.core.ops.nft import TableAdd, TableDel
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine import dns, driven, events, pools
from weft.engine.work import NETWORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.facts import BridgeFact, HostFacts, RouteFact
    from weft.engine.pools import Asked
    from weft.engine.work import Work

_MTU = (68, 65535)
#: RFC 8200: every link that carries IPv6 takes packets of this size.
_MTU6 = 1280


class NetworkRequest(Record):
    """What a user asks of ``net create``; texts are as typed. ``options`` are those of ``-o``. ``driver`` and
    ``ipam`` are third parties', "" weft's own."""

    name: str
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    bridge: str = ""
    mtu: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    ranges: tuple[str, ...] = ()
    aux: tuple[str, ...] = ()
    ipv6: bool = False
    internal: bool = False
    isolated: bool = False
    nat: str = ""
    options: tuple[tuple[str, str], ...] = ()
    driver: str = "bridge"
    ipam: str = ""
    ipam_options: tuple[tuple[str, str], ...] = ()


class Checked(Record):
    """A request with its options worked in, its addresses parsed."""

    request: NetworkRequest
    asked: Asked


def create(work: Work, request: NetworkRequest) -> Network:
    """Makes a network. Conflict when its name, bridge or subnet is taken; BadInput, NotYet."""
    checked = check(request)
    if request.driver not in DRIVERS or request.ipam:
        from weft.engine import remote

        remote.activate(work, request)
    with work.machine.lock():
        work.recover()
        return make(work, checked)


def check(request: NetworkRequest) -> Checked:
    """All that can be refused without looking at the machine."""
    check_name(request.name, "network")
    if request.name == DEFAULT:
        raise BadInput("network name 'default' is reserved", "it is made when a container first needs it")
    return _check(request)


def _check(request: NetworkRequest) -> Checked:
    given: dict[str, str] = {}
    third = request.driver not in DRIVERS
    if third or request.ipam or request.ipam_options:
        from weft.engine import remote

        remote.check(request)
    if third:
        request = request._replace(options=remote.kept(request))
    else:
        given = options.parse(request.options, request.driver)
        request = _with_options(request, given)
        if request.ipam:
            request = request._replace(options=(*request.options, *remote.kept(request)))
    asked = pools.parse(request.subnets, request.gateways, request.ranges, request.aux)
    asked = asked._replace(ipv6=request.ipv6, ipv4=given.get("ipv4", "true") == "true")
    if not asked.ipv4 and not asked.ipv6 and not asked.subnets:
        raise BadInput("a network without IPv4 and without IPv6", "add --ipv6 or a subnet")
    if not asked.ipv4 and any(s.version == 4 for s in asked.subnets):
        raise BadInput("option ipv4=false conflicts with an IPv4 subnet")
    if request.bridge:
        check_ifname(request.bridge)
    six = asked.ipv6 or any(s.version == 6 for s in asked.subnets)
    low, high = (_MTU6 if six else _MTU[0]), _MTU[1]
    if request.mtu and not low <= request.mtu <= high:
        raise BadInput(f"MTU {request.mtu} is not between {low} and {high}")
    if not third and request.driver != "bridge":
        _check_sublink(request)
    _check_bridge(request, given)
    if request.nat not in ("", "nat", "routed"):
        raise BadInput(f"--nat {request.nat!a} is not nat or routed")
    if request.internal and request.nat == "routed":
        raise BadInput(
            "--internal conflicts with --nat routed", "an internal network has no way out and none in"
        )
    return Checked(request, asked)


def _check_bridge(request: NetworkRequest, given: dict[str, str]) -> None:
    """Options that need or shut out one another."""
    if given.get("unmanaged") == "true" and not request.bridge:
        raise BadInput("option unmanaged needs --bridge", "a bridge that is there is used as it is")
    if given.get("preserve_default_vlan") and not given.get("vlan"):
        raise BadInput("option preserve_default_vlan needs the option vlan")
    if "vrf" in given:
        _check_vrf(request, given)


def _check_vrf(request: NetworkRequest, given: dict[str, str]) -> None:
    """What a network in a VRF cannot be: its packets are seen coming by the VRF, not by its bridge."""
    why = "packets of a bridge in a VRF are seen coming by the VRF"
    if request.internal:
        raise BadInput(
            "--internal conflicts with the option vrf", f"{why}: a VRF without a way out is internal"
        )
    for key in ("exposed", "unmanaged", "ptp"):
        if given.get(key) == "true":
            raise BadInput(f"option {key} conflicts with the option vrf", why)
    if given.get("isolate", "strict") != "strict":
        raise BadInput("options isolate and vrf conflict", f"{why}: a network in a VRF mixes with no other")
    if given.get("dns") == "true":
        raise BadInput("options dns and vrf conflict", "the DNS server is not in the VRF: give members --dns")


def _check_sublink(request: NetworkRequest) -> None:
    """What is a bridge's alone: members of macvlan and ipvlan are on the wire, past the host."""
    flags = {"--bridge": request.bridge, "--isolated": request.isolated, "--nat": request.nat}
    for flag, given in flags.items():
        if given:
            raise BadInput(f"{flag} is for the bridge driver, not for {request.driver}")


def _with_options(request: NetworkRequest, given: dict[str, str]) -> NetworkRequest:
    """A flag and an option that say the same thing may not differ."""
    routed = given.get("gateway_mode_ipv4", given.get("gateway_mode_ipv6", ""))
    if given.get("enable_ip_masquerade") == "false":
        routed = "routed"
    said = {
        "bridge": given.get("bridge", ""),
        "mtu": int(given.get("mtu", "0")),
        "nat": routed,
    }
    for field, value in said.items():
        flag = getattr(request, field)
        if value and flag and flag != value:
            raise BadInput(f"--{field} {flag} and the option for it ({value}) differ")
        if value:
            request = request._replace(**{field: value})
    isolated = request.isolated or given.get("enable_icc") == "false"
    ipv6 = request.ipv6 or given.get("ipv6") == "true"
    kept = {k: v for k, v in given.items() if k in options.KEPT and v}
    return request._replace(isolated=isolated, ipv6=ipv6, options=tuple(sorted(kept.items())))


def make(work: Work, checked: Checked) -> Network:
    """Makes a checked network; the lock is held."""
    request = checked.request
    if work.store.find_network(request.name) is not None:
        raise Conflict(
            f"network {request.name} exists already", f"`weft net inspect {request.name}` shows it"
        )
    facts = work.machine.host_facts()
    known = work.store.networks()
    if not request.ipam or work.dry:
        return _make(work, _decide(work, checked, facts, known), facts, known)
    from weft.engine.remote import Taking

    taking = Taking(work, request.ipam, request.ipam_options)
    try:
        given, ids = taking.pools(checked.asked)
        network = _bare(work, checked, facts)
        network = network._replace(pools=given, options=(*network.options, *ids))
        return _make(work, network, facts, known)
    except BaseException:
        taking.give_back()
        raise


def _make(work: Work, network: Network, facts: HostFacts, known: tuple[Network, ...]) -> Network:
    if network.bridged:
        found = _check_host(work, network, facts, known)
        network = network if found is None else _adopted(network, found)
        if network.vlan or network.vrf:
            from weft.engine import vlan

            network = vlan.placed(network, facts, found, known)
    elif not network.remote:
        network = _on_parent(work, network, facts)
    pools.check_clashes(network.pools, network.device, _others(network, facts), known)
    dns.check(work, network)
    plan = _plan(work, network, facts, first=not known)
    if work.dry:
        work.show(plan)
        return network

    def wish() -> None:
        work.store.add_network(network)
        dns.note(work, network)

    entry = work.make(NETWORK, network.name, plan, wish)
    work.settle(entry, lambda: events.note_network(work, "create", network))
    _tell(work, network, facts)
    return network


def _others(network: Network, facts: HostFacts) -> HostFacts:
    """Whose subnets a network must stay clear of: whoever uses a LAN that is there has its subnet from the
    user; an engine that says what it wants is not kept from it by what stands in a file of engines; and an
    engine's network of the same name and subnet is this one, as that engine knows it."""
    if not network.managed and not network.remote:
        return facts._replace(routes=(), kept=())
    if ENGINE in dict(network.labels):
        return facts._replace(kept=())
    return facts._replace(kept=tuple([k for k in facts.kept if not _same(network, k)]))


def _same(network: Network, kept: RouteFact) -> bool:
    return kept.name == network.name and any(p.subnet == kept.subnet for p in network.pools)


def _tell(work: Work, network: Network, facts: HostFacts) -> None:
    if network.internal or not network.managed:
        return
    if network.ipv4 and not facts.forwarding:
        work.say("switched net.ipv4.ip_forward on: containers reach other networks through this host")
    if network.ipv6 and not facts.forwarding6:
        work.say(
            "switched net.ipv6.conf.all.forwarding on: containers reach other networks through this host"
        )
        for ifname in facts.advertised:
            work.say(
                f"set accept_ra of {ifname} to 2: a forwarding host would drop its advertised IPv6 routes"
            )


def _decide(work: Work, checked: Checked, facts: HostFacts, known: tuple[Network, ...]) -> Network:
    network = _bare(work, checked, facts)
    found = pools.decide(checked.asked, network.id, facts, known, work.machine.auto_pools())
    if any(p.subnet.version == 6 for p in found):
        network = network._replace(mtu=max(network.mtu, _MTU6))
    return network._replace(pools=found)


def _bare(work: Work, checked: Checked, facts: HostFacts) -> Network:
    """A network without its subnets."""
    root, request = work.store.root, checked.request
    return Network(
        root=root,
        name=request.name,
        number=work.store.free_number(),
        pools=(),
        bridge=request.bridge or derived_bridge(root, request.name),
        mtu=request.mtu or facts.uplink_mtu,
        labels=request.labels,
        created=work.machine.now(),
        internal=request.internal,
        isolated=request.isolated,
        nat=request.nat or "nat",
        follows_mtu=not request.mtu,
        driver=request.driver,
        options=request.options,
    )


def _check_host(
    work: Work, network: Network, facts: HostFacts, known: tuple[Network, ...]
) -> BridgeFact | None:
    """Nothing foreign is in the way: bridge, tables. A bridge that is somebody's is looked at: it is
    adopted."""
    for other in known:
        if other.bridge == network.bridge:
            raise Conflict(f"bridge {network.bridge} belongs to network {other.name}")
    for family, said in facts.tables:
        if said != mark(network.root):
            raise NotOurs(
                f"the firewall table {family} weft exists and is not this root's ({said or 'no mark'})",
                f"another weft root has it, or see: nft list table {family} weft",
            )
    link = facts.link(network.bridge)
    if link is None and not network.managed:
        raise NotFound(
            f"there is no bridge {network.bridge} to be used as it is", "make it, or leave unmanaged out"
        )
    if link is None or network.mark in link.altnames:
        return None
    if link.kind != "bridge" or any(name.startswith("weft:") for name in link.altnames):
        whose = "another weft root's" if link.kind == "bridge" else "not a bridge"
        raise NotOurs(
            f"a link {network.bridge} ({link.kind or 'device'}) exists and is {whose}",
            "choose another --bridge",
        )
    return work.machine.bridge_fact(network.bridge)


def _on_parent(work: Work, network: Network, facts: HostFacts) -> Network:
    """A macvlan or ipvlan network on its parent, the link of the default route where none is named. BadInput,
    NotFound."""
    parent = network.option("parent") or facts.uplink
    if not parent:
        raise BadInput(
            f"{network.driver} needs a link to be on, and no default route names one", "-o parent=IF"
        )
    link = next((one for one in work.machine.links_of("") if parent in (one.ifname, *one.altnames)), None)
    if link is None:
        raise NotFound(f"there is no interface {parent} to be the parent of network {network.name}")
    most = link.mtu or network.mtu
    if network.mtu > most and not network.follows_mtu:
        raise BadInput(f"MTU {network.mtu} is larger than that of {parent}, {most}")
    mtu = most if network.follows_mtu else network.mtu
    others = [pair for pair in network.options if pair[0] != "parent"]
    kept = tuple(sorted([*others, ("parent", link.ifname or parent)]))
    return network._replace(options=kept, mtu=mtu, follows_mtu=False)


def _adopted(network: Network, found: BridgeFact) -> Network:
    """The network on a bridge that was there before: its gateway is the address that the bridge has; where it
    is to be used as it is, the one that was asked for."""
    if not network.managed:
        mtu = found.mtu if network.follows_mtu else network.mtu
        return network._replace(adopted=True, mtu=mtu, follows_mtu=False)
    chosen = []
    for pool in network.pools:
        has = next((c.address for c in found.addresses if c.address in pool.subnet), None)
        chosen.append(pool if has is None else pool._replace(gateway=has))
    mtu = found.mtu if network.follows_mtu else network.mtu
    there = {c.address for c in found.addresses}
    lent = " ".join([str(p.gateway) for p in chosen if p.gateway not in there])
    options = (*network.options, *([(driver.LENT, lent)] if lent else []))
    return network._replace(adopted=True, pools=tuple(chosen), mtu=mtu, follows_mtu=False, options=options)


def _plan(work: Work, network: Network, facts: HostFacts, first: bool) -> Plan:
    """What is wanted less what is there; leftovers that carry our mark go first."""
    if network.remote:
        return Plan(driven.network_wants(network, work.hosts_file(network.name)))
    ops: list[Op] = []
    link = facts.link(network.mark)
    if link is not None:
        ops.append(LinkDel(link.ifname, network.mark))
    for op in driver.tables_want(network.root) if network.bridged else ():
        if isinstance(op, TableAdd):
            there = facts.table(op.family) is not None
            if there and first:
                ops.append(TableDel(op.family, op.table))
            if first or not there:
                ops.append(op)
    onward = _forwarding(network, facts) if network.managed and not network.internal else []
    # Forwarding stays on when a plan fails: where the kernel may refuse a bridge's VLAN, that is seen before.
    early, late = ((), onward) if network.vlan else (onward, ())
    from weft.core.firewall.foreign import foreign_wants  # much to import, and not for every command

    wanted = driven.network_wants(network, work.hosts_file(network.name))
    other = foreign_wants(network, work.machine.foreign_facts()) if network.managed else ()
    return Plan((*ops, *early, *wanted, *other, *dns.wants(network), *late))


def _forwarding(network: Network, facts: HostFacts) -> list[Op]:
    ops: list[Op] = []
    if network.ipv4 and not facts.forwarding:
        ops.append(driver.forwarding())
    if network.ipv6 and not facts.forwarding6:
        ops += [driver.keep_advertised(ifname) for ifname in facts.advertised]
        ops.append(driver.forwarding(6))
    return ops


def ensure_default(work: Work) -> Network:
    """The network of containers that name none; made when first needed. The lock is held."""
    found = work.store.find_network(DEFAULT)
    return found or make(work, _check(NetworkRequest(DEFAULT)))


def drop_default(work: Work) -> None:
    """Takes the default network back when what it was made for failed, unless somebody has joined it."""
    found = work.store.find_network(DEFAULT)
    if found is not None and not work.store.count_endpoints(DEFAULT):
        drop(work, found)


def drop(work: Work, network: Network) -> None:
    """Removes a network that nobody is in; the lock is held."""
    _remove(work, network, [])


def remove(work: Work, name: str, force: bool = False) -> Network:
    """Removes a network; Conflict, naming them, while containers use it, unless ``force`` takes those out:
    containers that are in no other network are removed, others and foreign namespaces are disconnected."""
    from weft.engine import connect

    with work.machine.lock():
        work.recover()
        network = work.store.network(name)
        endpoints = work.store.endpoints(network.name)
        if endpoints and not force:
            names = ", ".join([e.container for e in endpoints[:5]])
            more = f" and {len(endpoints) - 5} more" if len(endpoints) > 5 else ""
            raise Conflict(
                f"network {network.name} is in use by {names}{more}",
                "remove those containers, or use `weft net rm -f`",
            )
        alone = []
        for endpoint in endpoints:
            sandbox = work.store.container(endpoint.container)[0]
            if sandbox.target or len(work.store.endpoints_of(sandbox.name)) > 1:
                connect.disconnect_locked(work, network, sandbox)
            else:
                alone.append(sandbox.name)
        _remove(work, network, alone)
        return network


def prune(work: Work) -> list[str]:
    """Removes the networks that nobody is in; their names."""
    with work.machine.lock():
        work.recover()
        gone = [n for n in work.store.networks() if not work.store.count_endpoints(n.name)]
        for network in gone:
            drop(work, network)
        return [network.name for network in gone]


def _remove(work: Work, network: Network, members: list[str]) -> None:
    """The network and its members as one durable change: a crash in between ends in neither or both."""
    from weft.engine import proxy, removal

    found = [work.store.container(name)[0] for name in members]
    removal.check_joiners(work, found)
    inside = removal.ends(work, found)
    detach = removal.detach_plan(work, found)
    others = {n.name for n in work.store.networks()} - work.shown - {network.name}
    plan = Plan((*detach.ops, *_removal(work, network, last=not others).ops))
    if work.dry:
        work.show(plan)
        work.shown.add(network.name)
        return
    subject = "\n".join([network.name, *members])

    def wish() -> None:
        proxy.forget(work, plan)
        removal.note_gone(work, found)
        events.note_network(work, "destroy", network)

    work.unmake(NETWORK, subject, plan, wish, populated=bool(inside))
    work.mend_dns()


def _removal(work: Work, network: Network, last: bool) -> Plan:
    """The way back of making it. Ports that something still holds go as a group, with one wait."""
    made = (*driver.tables_want(network.root),) if last else ()
    wanted = driven.network_wants(network, work.hosts_file(network.name))
    if network.remote:
        return Plan((*made, *wanted)).undo()
    if last:
        # The elements go with their tables.
        wanted = tuple([op for op in wanted if op.kind != "nft"])
    from weft.core.firewall.foreign import foreign_unwants

    foreign = foreign_unwants(network.bridge, work.machine.foreign_facts()) if network.managed else ()
    return Plan((*_ports_away(network), *Plan((*made, *wanted)).undo().ops, *foreign))


def _ports_away(network: Network) -> list[Op]:
    """All ports, further bridges and what joins them, each kind with one wait."""
    if not network.bridged:
        return []
    groups = [network.group, *([network.shard_group] if network.shards else [])]
    return [LinkGroupDel(group) for group in groups]
