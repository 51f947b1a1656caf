"""What weft knows, as plain lists and dictionaries: the keys are a contract of the command line."""

from __future__ import annotations

from weft.core.drivers.bridge import LENT
from weft.core.ipam.pool import room
from weft.engine.stats import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.model.network import Endpoint, Network, Pool, Sandbox
    from weft.core.model.state import State
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
        "options": {k: v for k, v in network.options if k != LENT},
        "labels": dict(network.labels),
        "bridge": network.bridge,
        "adopted": network.adopted,
        "endpoints": [_endpoint(e) for e in endpoints],
        "publish": [p for e in endpoints for p in publishes(e)],
    }


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


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "container": endpoint.container,
        "ifname": endpoint.ifname,
        "host_ifname": endpoint.host_ifname,
        "mac": endpoint.hardware,
        "addresses": [str(c) for c in endpoint.addresses],
        "aliases": list(endpoint.aliases),
        "gw_priority": endpoint.priority,
    }


def publishes(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The published ports of an endpoint."""
    return [
        {
            "container": endpoint.container,
            "proto": p.proto,
            "host_ip": str(p.host),
            "host_port": p.host_port,
            "container_port": p.port,
        }
        for p in endpoint.publish
    ]


def containers(work: Work, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The containers of these names, or all: id, name, state, pids, networks and the rest.

    What they use of their limits is looked up for those that are named.
    """
    found = [work.store.container(n) for n in names] if names else work.store.containers()
    inodes = {s.name: work.netns_inode(s.name) for s, _ in found}
    inside = work.inside([s.name for s, _ in found])
    networks = {n.name: n for n in work.store.networks()}
    return [_container(work, s, state, inodes[s.name], inside, networks, bool(names)) for s, state in found]


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
    # Held by its name alone, which somebody took off.
    gone = state.word == "running" and state.pid is None and not inode
    spaces = work.machine.inodes_of(state.pid) if running and state.pid else {}
    return {
        "id": sandbox.id,
        "name": sandbox.name,
        "hostname": sandbox.hostname,
        "state": "exited" if gone else state.word,
        "pid": state.pid if running else None,
        "pids": sorted(inside.get(sandbox.name, [])),
        "exit_code": state.exit_code,
        "created": sandbox.created,
        "network_mode": sandbox.mode or "networks",
        "networks": {e.network: _membership(e, networks[e.network]) for e in endpoints},
        "namespaces": spaces or ({"net": inode} if inode else {}),
        "publish": [p for e in endpoints for p in publishes(e)],
        "limits": limits(work, sandbox, state, used),
        "command": list(sandbox.command),
        "dns": list(sandbox.dns),
        "extra_hosts": [f"{name}:{address}" for name, address in sandbox.extra_hosts],
        "auto_remove": sandbox.auto_remove,
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
