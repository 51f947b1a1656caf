"""Published ports of endpoints: whose they are, and how they are held."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.model.errors import BadInput, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.network import Endpoint, Network
    from weft.core.model.publish import Publish
    from weft.core.ops.base import Op
    from weft.engine.lease import Claims
    from weft.engine.work import Work


def published(
    work: Work, members: list[tuple[Network, Endpoint]], wanted: Sequence[Publish], claims: Claims
) -> list[tuple[Network, Endpoint]]:
    """Endpoints with the ports: those belong to the first network that has a way out. Conflict, BadInput."""
    if not wanted:
        return members
    place = next((i for i, (n, _) in enumerate(members) if n.managed and not n.internal), -1)
    if place < 0:
        check_publishes(members[0][0])
        raise BadInput(
            f"--publish: network {members[0][0].name} is internal, nothing comes in", "use another network"
        )
    network, endpoint = members[place]
    check_publishes(network)
    publish = claim_ports(work, endpoint, wanted, claims)
    return [*members[:place], (network, endpoint._replace(publish=publish)), *members[place + 1 :]]


def check_publishes(network: Network) -> None:
    """BadInput for a network in which weft publishes nothing."""
    if network.remote:
        raise BadInput(
            f"--publish: network {network.name} is the driver {network.remote}'s",
            "put a network of weft's first",
        )
    if not network.managed:
        raise BadInput(
            f"--publish: members of network {network.name} are reached by their own addresses",
            "nothing of what they send and get passes this host",
        )


def claim_ports(
    work: Work, endpoint: Endpoint, wanted: Sequence[Publish], claims: Claims
) -> tuple[Publish, ...]:
    """The ports with those chosen that were left to weft. Conflict when one is published already;
    Exhausted."""
    found = []
    for one in wanted:
        publish = one if one.host_port else _chosen_port(work, endpoint, one, claims)
        near = claims.ports.setdefault((publish.proto, publish.host_port), [])
        owner = _port_owner(work, publish, claims)
        if owner:
            from weft.engine.inspect import called

            raise Conflict(
                f"port {publish.host_port}/{publish.proto} on {publish.host}"
                f" is published by container {called(work.store, owner)}",
                "choose another host port",
            )
        near.append(publish)
        found.append(publish)
    return tuple(found)


def _port_owner(work: Work, publish: Publish, claims: Claims) -> str:
    near = claims.ports.get((publish.proto, publish.host_port), ())
    return "of this batch" if any(publish.clashes(p) for p in near) else work.store.port_holder(publish)


def _chosen_port(work: Work, endpoint: Endpoint, wanted: Publish, claims: Claims) -> Publish:
    """A port that nobody has. In a range the lowest; else the search begins where no other container's
    does."""
    free = wanted._replace(low=0, high=0)

    def is_taken(port: int) -> bool:
        return bool(_port_owner(work, free._replace(host_port=port), claims))

    start = 0 if wanted.low else int(endpoint.id[:8], 16)
    port = work.machine.free_port(wanted.proto, str(wanted.host), wanted.low, wanted.high, start, is_taken)
    return free._replace(host_port=port)


def hold_ports(work: Work, endpoints: Sequence[Endpoint]) -> tuple[Op, ...]:
    """What keeps published ports from other programs, and serves them on 127.x."""
    publishes = [(e, p) for e in endpoints for p in e.publish]
    if not publishes:
        return ()
    running = work.store.needs_proxy()  # ``recover`` has seen to it that it lives
    if not running and not any(e.is_proxied(p) for e, p in publishes):
        for _, publish in publishes:
            work.machine.probe_port(publish)
        return ()
    first: tuple[Op, ...] = ()
    if not running:
        from weft.engine import proxy

        first = proxy.start(work)
    return (*first, *[op for e in endpoints for op in driver.loopback_wants(e)])


def published_remark(publishes: Sequence[Publish]) -> str:
    """What a user should know of ports published on 127.0.0.1 by default; "" when there are none."""
    local = [p for p in publishes if p.host.loopback]
    if not local:
        return ""
    ports = ", ".join([f"{p.shown}:{p.host_port} -> {p.port}/{p.proto}" for p in local])
    return f"published on loopback only: {ports} (0.0.0.0:PORT:PORT opens it to the network)"
