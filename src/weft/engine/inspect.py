"""What weft knows, as plain lists and dictionaries: the keys are a contract of the command line."""

from __future__ import annotations

from weft.core.drivers.bridge import FILTERS, LENT
from weft.core.ipam.pool import room
from weft.core.model.clock import shown
from weft.core.model.policy import signal_name
from weft.engine.stats import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.boundary import Store
    from weft.core.model.network import Endpoint, Network, Pool, Sandbox
    from weft.core.model.policy import Health
    from weft.core.model.state import Life, State
    from weft.engine.work import Work


def networks(work: Work, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The networks of these names, or all: id, name, driver, subnets, endpoints and the rest."""
    found = [work.store.network(n) for n in names] if names else work.store.networks()
    return [_network(work, network) for network in found]


def _network(work: Work, network: Network) -> dict[str, Any]:
    endpoints = work.store.endpoints(network.name)
    return {
        "id": network.id,
        "name": network.name,
        "driver": network.driver,
        "internal": network.internal,
        "isolated": network.isolated,
        "nat": network.nat,
        "ipv6": network.ipv6,
        "mtu": network.mtu,
        "created": network.created,
        "subnets": [_subnet(work, network, pool) for pool in network.pools],
        "options": _options(network),
        "labels": dict(network.labels),
        "bridge": network.bridge if network.bridged else "",
        "parent": "" if network.bridged else network.device,
        "adopted": network.adopted,
        "endpoints": [_endpoint(work, network, e) for e in endpoints],
        "publish": [p for e in endpoints for p in publishes(work, e)],
    }


def _options(network: Network) -> dict[str, str]:
    """As they were given, and the IPAM driver."""
    own = {k: v for k, v in network.options if k not in (LENT, FILTERS) and not k.startswith("remote.")}
    return {**own, **dict(network.given_options), **({"ipam": network.ipam} if network.ipam else {})}


def _subnet(work: Work, network: Network, pool: Pool) -> dict[str, Any]:
    """``used`` counts the gateway and containers' addresses, ``free`` what is left to be given away."""
    taken = work.store.count_addresses(network.name, pool.subnet)
    within = work.store.count_addresses(network.name, pool.ip_range) if pool.ip_range else taken
    return {
        "subnet": str(pool.subnet),
        "gateway": str(pool.gateway),
        "ip_range": str(pool.ip_range) if pool.ip_range else None,
        "aux": {name: str(address) for name, address in pool.aux},
        "used": taken + 1,
        "free": max(room(pool) - within, 0),
    }


def called(store: Store, name: str) -> str:
    """What a container of another engine is called there, ``docker:web``, where weft had to give it a name
    before that was known."""
    engine, colon, _ = name.partition(":")
    if not colon or not store.has_container(name):
        return name
    known = dict(store.container(name)[0].labels).get(f"{engine}.name")
    return f"{engine}:{known}" if known else name


def _endpoint(work: Work, network: Network, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "container": called(work.store, endpoint.container),
        "ifname": endpoint.ifname,
        "host_ifname": endpoint.host_ifname if network.bridged else "",
        "mac": endpoint.hardware,
        "addresses": [str(c) for c in endpoint.addresses],
        "aliases": list(endpoint.aliases),
        "gw_priority": endpoint.priority,
    }


def publishes(work: Work, endpoint: Endpoint) -> list[dict[str, Any]]:
    """The published ports of an endpoint."""
    name = called(work.store, endpoint.container)
    return [
        {
            "container": name,
            "proto": p.proto,
            "host_ip": str(p.host),
            "host_port": p.host_port,
            "container_port": p.port,
        }
        for p in endpoint.publish
    ]


def containers(work: Work, names: Sequence[str] = (), others: bool = False) -> list[dict[str, Any]]:
    """The containers of these names, or all: id, name, state, pids, networks and the rest. ``others``: with
    those of other engines that are in weft's networks. What is used of limits is looked up for named ones."""
    found = [work.store.container(n) for n in names] if names else work.store.containers()
    found += work.store.foreign() if others else []
    inside = work.inside([s.name for s, _ in found if not s.target])
    networks = {n.name: n for n in work.store.networks()}
    rows = []
    for sandbox, state in found:
        inode = 0 if sandbox.target else work.netns_inode(sandbox.name)
        if sandbox.target:
            state, inode = _others(work, sandbox, inside)
        rows.append(_container(work, sandbox, state, inode, inside, networks, bool(names)))
    return rows


def _others(work: Work, sandbox: Sandbox, inside: dict[str, list[int]]) -> tuple[State, int]:
    """What becomes of a container that is not weft's; its processes come to ``inside``."""
    from weft.core.model.state import State
    from weft.engine.target import find

    place = find(work, sandbox.target)
    work.machine.unpin()
    if place is None or place.inode != sandbox.inode:
        return State("exited"), 0
    pids = work.machine.processes([sandbox.inode])[sandbox.inode]
    inside[sandbox.name] = pids
    return State("running", pids[0] if pids else None), sandbox.inode


def _container(
    work: Work,
    sandbox: Sandbox,
    state: State,
    inode: int,
    inside: dict[str, list[int]],
    networks: dict[str, Network],
    used: bool,
) -> dict[str, Any]:
    endpoints = work.store.endpoints_of(sandbox.name)
    running = state.word in ("running", "paused") and state.pid is not None
    life = work.store.life(sandbox.name)
    # Held by its name alone, which somebody took off.
    gone = state.word == "running" and state.pid is None and not inode
    spaces = work.machine.inodes_of(state.pid) if running and state.pid else {}
    return {
        "id": sandbox.id,
        "name": called(work.store, sandbox.name),
        "engine": sandbox.name.partition(":")[0] if sandbox.target else "weft",
        "hostname": sandbox.hostname,
        "labels": dict(sandbox.labels),
        "state": "exited" if gone else state.word,
        "pid": state.pid if running else None,
        "pids": sorted(inside.get(sandbox.name, [])),
        "exit_code": state.exit_code,
        "created": sandbox.created,
        "network_mode": sandbox.mode or "networks",
        "networks": {e.network: _membership(e, networks[e.network]) for e in endpoints},
        "namespaces": spaces or ({"net": inode} if inode else {}),
        "publish": [p for e in endpoints for p in publishes(work, e)],
        "limits": limits(work, sandbox, state, used),
        "command": list(sandbox.command),
        "dns": list(sandbox.dns),
        "extra_hosts": [f"{name}:{address}" for name, address in sandbox.extra_hosts],
        "auto_remove": sandbox.auto_remove,
        **_life(work, sandbox, state, life),
    }


def _life(work: Work, sandbox: Sandbox, state: State, life: Life) -> dict[str, Any]:
    """How it lives. Times are RFC 3339, None: not yet; ``monitor`` is who waits for its command."""
    policy = life.policy
    health = policy.health
    status = {"status": life.health, "failing_streak": life.failures, "output": life.said}
    return {
        "started_at": shown(life.started_at) if life.started_at else None,
        "finished_at": shown(life.finished_at) if life.finished_at else None,
        "restart": policy.restart_shown,
        "restart_count": life.restarts,
        "stop_signal": signal_name(policy.stop_signal),
        "stop_timeout": policy.stop_timeout,
        "monitor": state.watcher,
        "stdin_open": policy.stdin,
        "health": {**status, "check": _check(health)} if health is not None else None,
        "log": {"max_size": policy.log_size, "max_file": policy.log_files},
    }


def _check(health: Health) -> dict[str, Any]:
    """Times in milliseconds."""
    return {
        "command": list(health.command),
        "interval": health.interval,
        "timeout": health.timeout,
        "start_period": health.start_period,
        "start_interval": health.start_interval,
        "retries": health.retries,
    }


def _membership(endpoint: Endpoint, network: Network) -> dict[str, Any]:
    """``gateway`` is that of the first address, ``gateways`` one for each."""
    gateways = [str(network.gateway_for(c.address)) for c in endpoint.addresses]
    return {
        "ifname": endpoint.ifname,
        "host_ifname": endpoint.host_ifname,
        "mac": endpoint.hardware,
        "addresses": [str(c) for c in endpoint.addresses],
        "gateway": "" if network.internal else next(iter(gateways), ""),
        "gateways": [] if network.internal else gateways,
        "gw_priority": endpoint.priority,
        "aliases": list(endpoint.aliases),
    }
