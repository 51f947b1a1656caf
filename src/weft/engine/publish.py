"""Ports published and unpublished on an endpoint that exists."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.firewall.elements import open_elements, publish_elements
from weft.core.model.errors import BadInput, NotFound
from weft.core.model.publish import Publish, parse_publish
from weft.core.model.target import parse_target
from weft.core.ops.loopback import LoopbackDel
from weft.core.plan.plan import Plan
from weft.engine import connect, container, ports, proxy
from weft.engine.lease import Claims
from weft.engine.work import PUBLISH, UNPUBLISH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weft.core.model.address import Address
    from weft.core.model.network import Endpoint, Network
    from weft.core.ops.base import Op
    from weft.engine.work import Work


def publish(work: Work, network: str, name: str, specs: Sequence[str]) -> tuple[Publish, ...]:
    """Publishes ports of a running container; which ones, with those chosen that were left to weft.

    NotFound when it is not in the network, Conflict when a port is taken, BadInput on an internal network.
    """
    wanted = [p for spec in specs for p in parse_publish(spec)]
    target = parse_target(name)
    with work.machine.lock():
        work.recover()
        found = work.store.network(network)
        endpoint = _endpoint(work, found, connect.member(work, found, target).name)
        return _publish(work, found, endpoint, wanted)


def add(work: Work, endpoint: Endpoint, wanted: Sequence[Publish]) -> tuple[Publish, ...]:
    """The same for an endpoint that is known, and ports that are read."""
    with work.machine.lock():
        work.recover()
        found = work.store.network(endpoint.network)
        return _publish(work, found, _endpoint(work, found, endpoint.container), wanted)


def _publish(
    work: Work, found: Network, endpoint: Endpoint, wanted: Sequence[Publish]
) -> tuple[Publish, ...]:
    """The lock is held."""
    if found.internal:
        raise BadInput(f"network {found.name} is internal, nothing comes in", "publish on another network")
    if not found.managed:
        raise BadInput(f"members of network {found.name} are reached by their own addresses")
    container.check_network(work, found)
    added = ports.claim_ports(work, endpoint, wanted, Claims())
    plan = _plan(work, found, endpoint, added)
    if work.dry:
        work.show(plan)
        return added

    def wish() -> None:
        for one in added:
            work.store.add_publish(endpoint, one)

    work.settle(work.make(PUBLISH, _subject(found, endpoint, added), plan, wish))
    return added


def _endpoint(work: Work, network: Network, name: str) -> Endpoint:
    found = work.store.endpoint(name, network.name)
    if found is None:
        raise NotFound(f"container {name} is not in network {network.name}")
    return found


def _plan(work: Work, network: Network, endpoint: Endpoint, added: Sequence[Publish]) -> Plan:
    only = endpoint._replace(publish=tuple(added))
    return Plan(
        (
            *ports.hold_ports(work, [only]),
            *_elements(network, endpoint, added),
            *driver.fresh_wants(added),
        )
    )


def _elements(network: Network, endpoint: Endpoint, some: Sequence[Publish]) -> list[Op]:
    """What these ports add to the firewall, beside the endpoint's others."""
    chosen = set(some)
    rest = tuple([p for p in endpoint.publish if p not in chosen])
    before = set(open_elements(network, endpoint._replace(publish=rest)))
    after = open_elements(network, endpoint._replace(publish=(*rest, *some)))
    found: list[Op] = [op for p in some for op in publish_elements(network, endpoint, p)]
    return [*found, *[op for op in after if op not in before]]


def _subject(network: Network, endpoint: Endpoint, some: Sequence[Publish]) -> str:
    """What recovery forgets: see ``work.forget``."""
    return "\n".join([network.name, endpoint.container, *map(str, some)])


def unpublish(work: Work, network: str, name: str, specs: Sequence[str]) -> tuple[Publish, ...]:
    """Takes published ports back, as they were typed or as ``weft port`` prints them; which ones.

    NotFound when one is not published. Without a host port in SPEC: all that lead to the container port.
    """
    target = parse_target(name)
    wanted = [(spec, p) for spec in specs for p in parse_publish(_typed(spec))]
    with work.machine.lock():
        work.recover()
        found = work.store.network(network)
        endpoint = _endpoint(work, found, connect.member(work, found, target).name)
        known = _by_target(endpoint)
        gone = tuple(
            dict.fromkeys([p for spec, one in wanted for p in _matching(endpoint, known, one, spec)])
        )
        plan = Plan(
            (*_released(work, endpoint, gone), *_back(found, endpoint, gone), *driver.flush_wants(gone))
        )
        if work.dry:
            work.show(plan)
            return gone
        subject = _subject(found, endpoint, gone)
        work.unmake(UNPUBLISH, subject, plan, lambda: proxy.forget(work, plan), populated=False)
        return gone


def _typed(spec: str) -> str:
    """``80/tcp -> 0.0.0.0:8080``, as ``weft port`` prints it, in the words of ``-p``."""
    inner, arrow, outer = spec.partition(" -> ")
    if not arrow:
        return spec
    port, slash, proto = inner.partition("/")
    return f"{outer}:{port}{slash}{proto}"


def _by_target(endpoint: Endpoint) -> dict[tuple[str, Address, int], list[Publish]]:
    """Its ports by what they lead to: a range may be thousands."""
    found: dict[tuple[str, Address, int], list[Publish]] = {}
    for one in endpoint.publish:
        found.setdefault((one.proto, one.host, one.port), []).append(one)
    return found


def _matching(
    endpoint: Endpoint, known: Mapping[tuple[str, Address, int], list[Publish]], one: Publish, spec: str
) -> list[Publish]:
    found = [
        p
        for p in known.get((one.proto, one.host, one.port), ())
        if (p.host_port == one.host_port or not one.host_port)
        and (not one.low or one.low <= p.host_port <= one.high)
    ]
    if not found:
        raise NotFound(
            f"container {endpoint.container} does not publish {spec}",
            f"`weft port {endpoint.container}` shows",
        )
    return found


def _released(work: Work, endpoint: Endpoint, gone: Sequence[Publish]) -> list[Op]:
    """The held sockets; with the last port that the proxy serves, the proxy."""
    if not work.store.needs_proxy():
        return []
    dels: list[Op] = [LoopbackDel(*p.key) for p in gone]
    going = set(gone)
    left = [p for p in endpoint.publish if p not in going and endpoint.is_proxied(p)]
    if left or work.store.proxied() - {(endpoint.container, endpoint.network)}:
        return dels
    return [*dels, *proxy.stop(work)]


def _back(network: Network, endpoint: Endpoint, gone: Sequence[Publish]) -> tuple[Op, ...]:
    return Plan(tuple(_elements(network, endpoint, gone))).undo().ops
