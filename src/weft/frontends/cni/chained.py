"""The plug-ins that come behind in a chain: portmap, firewall, bandwidth. All of what they do is weft's own
doing.

They need the container in the weft network of the list's name, where bridge, ptp or weft has put it.
"""

from __future__ import annotations

from weft.core.model.errors import Conflict
from weft.core.model.network import EGRESS, INGRESS
from weft.engine import attachment
from weft.frontends.cni import checking, config
from weft.frontends.cni import result as res
from weft.frontends.cni.answer import BAD_CONFIG, UNSUPPORTED_FIELD, Failure
from weft.frontends.cni.result import Interface, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Endpoint, Network
    from weft.engine.work import Work
    from weft.frontends.cni.call import Call
    from weft.frontends.cni.field import Loose

#: Options of portmap that would change what a port does. Those that say how its rules are written (backend,
#: markMasqBit, externalSetMarkChain) have no rules to be about.
_NOT_OF_PORTMAP = {
    "masqAll": "a container sees who really calls",
    "conditionsV4": "there is no iptables rule to be added to",
    "conditionsV6": "there is no iptables rule to be added to",
}


def place(work: Work, call: Call, conf: Loose) -> tuple[Network, Endpoint]:
    """The container's place. Failure when no plug-in of weft's has put it there."""
    name = config.name_of(conf)
    endpoint = work.store.endpoint(call.member, name) if work.store.has_container(call.member) else None
    if endpoint is None:
        raise Failure(
            BAD_CONFIG,
            f"{call.plugin}: container {call.container} is not in weft network {name}",
            "the plug-in before it in the list is to be weft's bridge, ptp or weft",
        )
    return work.store.network(endpoint.network), endpoint


def _there(work: Work, call: Call, conf: Loose) -> Endpoint | None:
    """The same where nothing may be there any more."""
    name = config.name_of(conf)
    return work.store.endpoint(call.member, name) if work.store.has_container(call.member) else None


# portmap


def _check_portmap(conf: Loose) -> None:
    for key, why in _NOT_OF_PORTMAP.items():
        field = conf.get(key)
        if field.full():
            raise Failure(
                UNSUPPORTED_FIELD, f"{field.path}: {str(field.value())[:64]!a} is not supported: {why}"
            )
    if not conf.get("snat").flag(True):
        raise Failure(
            UNSUPPORTED_FIELD, "snat: false is not supported: a container could not reach its own port"
        )


def add_ports(work: Work, call: Call, conf: Loose) -> Result:
    """ADD of portmap."""
    from weft.engine.publish import publish

    before = res.need_previous(conf)
    _check_portmap(conf)
    ports = config.ports(conf.get("runtimeConfig").get("portMappings"))
    if ports:
        network, endpoint = place(work, call, conf)
        versions = frozenset([c.address.version for c in endpoint.addresses])
        publish(work, network.name, call.member, config.specs(ports, versions))
    return before


def delete_ports(work: Work, call: Call, conf: Loose) -> None:
    """DEL: all that is published for the container in this network."""
    from weft.engine.publish import unpublish

    endpoint = _there(work, call, conf)
    if endpoint is not None and endpoint.publish and endpoint.ifname == call.ifname:
        unpublish(work, endpoint.network, call.member, [str(p) for p in endpoint.publish])


def check_ports(work: Work, call: Call, conf: Loose) -> None:
    """CHECK."""
    res.need_previous(conf)
    _check_portmap(conf)
    ports = config.ports(conf.get("runtimeConfig").get("portMappings"))
    if ports:
        place(work, call, conf)
        checking.check_ports(work, call, config.name_of(conf), ports)


# firewall


def add_guard(work: Work, call: Call, conf: Loose) -> Result:
    """ADD of firewall: the guards stand already; what is left is whom members may reach."""
    from weft.engine.edit import Change, edit

    before = res.need_previous(conf)
    wanted = config.policy(conf)
    network, _ = place(work, call, conf)
    if wanted == "isolated" and not network.isolated:
        edit(work, network.name, Change(isolated=True))
    if wanted == "open" and not network.exposed:
        raise Failure(
            UNSUPPORTED_FIELD,
            "ingressPolicy: 'open' is not supported here: the network stands, and is closed to others",
            "write it into the plug-in that makes the network (bridge or weft), which reads it too",
        )
    return before


def check_guard(work: Work, call: Call, conf: Loose) -> None:
    """CHECK."""
    res.need_previous(conf)
    wanted = config.policy(conf)
    network, endpoint = place(work, call, conf)
    attachment.check_whole(work, network, endpoint)
    if wanted == "isolated" and not network.isolated:
        raise checking.differs(f"network {network.name} is not isolated any more")


# bandwidth


def _rates(conf: Loose) -> tuple[tuple[str, str], ...]:
    """The runtime's, else the configuration's own."""
    run = conf.get("runtimeConfig").get("bandwidth")
    for key in ("unshapedSubnets", "shapedSubnets"):
        if conf.get(key).full() or run.get(key).full():
            raise Failure(UNSUPPORTED_FIELD, f"{key} is not supported: all that a container sends is shaped")
    return config.bandwidth(run if run else conf)


def add_rates(work: Work, call: Call, conf: Loose) -> Result:
    """ADD of bandwidth."""
    from weft.core.ops.traffic import queue_ifname

    before, rates = res.need_previous(conf), _rates(conf)
    if not rates:
        return before
    network, endpoint = place(work, call, conf)
    if endpoint.option(INGRESS) or endpoint.option(EGRESS):
        raise Conflict(f"container {call.container} has its rates already")
    attachment.shape(work, network.name, call.member, rates)
    if EGRESS not in dict(rates):
        return before
    queue = Interface(queue_ifname(endpoint), attachment.queue_mac(endpoint), "", network.mtu)
    return before._replace(interfaces=(*before.interfaces, queue))


def delete_rates(work: Work, call: Call, conf: Loose) -> None:
    """DEL."""
    endpoint = _there(work, call, conf)
    if endpoint is not None and endpoint.ifname == call.ifname:
        attachment.unshape(work, endpoint.network, call.member)


def check_rates(work: Work, call: Call, conf: Loose) -> None:
    """CHECK: the queues in the kernel are as they were made."""
    from weft.core.ops.traffic import Tbf, shaping
    from weft.wiring import queues

    res.need_previous(conf)
    rates = _rates(conf)
    if not rates:
        return
    network, endpoint = place(work, call, conf)
    wanted = endpoint._replace(options=rates)
    for op in shaping(network, wanted):
        if isinstance(op, Tbf) and (op.rate, op.limit) not in queues(op.ifname):
            raise checking.differs(f"{op.ifname} does not send {op.rate * 8} bit/s")
