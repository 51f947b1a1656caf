"""What weft knows, as plain lists and dictionaries: the keys are a contract of the command line."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.model.network import Endpoint, Network, Sandbox
    from weft.core.model.state import State
    from weft.engine.work import Work


def networks(work: Work, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The networks of these names, or all: id, name, driver, subnets, endpoints and the rest."""
    found = [work.store.network(n) for n in names] if names else work.store.networks()
    return [_network(network, work.store.endpoints(network.name)) for network in found]


def _network(network: Network, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    pool = network.pool4
    low, high = pool.subnet.usable
    usable = high - low + 1
    used = len(endpoints) + 1
    return {
        "id": network.id,
        "name": network.name,
        "driver": network.driver,
        "internal": False,
        "ipv6": False,
        "mtu": network.mtu,
        "created": network.created,
        "subnets": [
            {
                "subnet": str(pool.subnet),
                "gateway": str(pool.gateway),
                "ip_range": None,
                "used": used,
                "free": usable - used,
            }
        ],
        "options": {},
        "labels": dict(network.labels),
        "bridge": network.bridge,
        "endpoints": [_endpoint(e) for e in endpoints],
        "publish": [p for e in endpoints for p in publishes(e)],
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "container": endpoint.container,
        "ifname": endpoint.ifname,
        "host_ifname": endpoint.host_ifname,
        "mac": endpoint.hardware,
        "addresses": [str(c) for c in endpoint.addresses],
        "aliases": list(endpoint.aliases),
    }


def publishes(endpoint: Endpoint | None) -> list[dict[str, Any]]:
    """The published ports of an endpoint."""
    if endpoint is None:
        return []
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
    """The containers of these names, or all: id, name, state, pids, networks and the rest."""
    found = [work.store.container(n) for n in names] if names else work.store.containers()
    inodes = {s.name: work.netns_inode(s.name) for s, _ in found}
    inside = work.machine.processes(inodes.values())
    gateways = {n.name: str(n.pool4.gateway) for n in work.store.networks()}
    return [_container(work, s, state, inodes[s.name], inside, gateways) for s, state in found]


def _container(
    work: Work,
    sandbox: Sandbox,
    state: State,
    inode: int,
    inside: dict[int, list[int]],
    gateways: dict[str, str],
) -> dict[str, Any]:
    endpoint = work.store.endpoint(sandbox.name)
    running = state.word == "running" and state.pid is not None
    # Held by its name alone, which somebody took off.
    gone = state.word == "running" and state.pid is None and not inode
    spaces = work.machine.inodes_of(state.pid) if running and state.pid else {}
    return {
        "id": sandbox.id,
        "name": sandbox.name,
        "hostname": sandbox.hostname,
        "state": "exited" if gone else state.word,
        "pid": state.pid if running else None,
        "pids": sorted(inside.get(inode, [])),
        "exit_code": state.exit_code,
        "created": sandbox.created,
        "networks": {endpoint.network: _membership(endpoint, gateways)} if endpoint else {},
        "namespaces": spaces or ({"net": inode} if inode else {}),
        "publish": publishes(endpoint),
        "limits": {},
        "command": list(sandbox.command),
        "dns": list(sandbox.dns),
        "auto_remove": sandbox.auto_remove,
    }


def _membership(endpoint: Endpoint, gateways: dict[str, str]) -> dict[str, Any]:
    return {
        "ifname": endpoint.ifname,
        "host_ifname": endpoint.host_ifname,
        "mac": endpoint.hardware,
        "addresses": [str(c) for c in endpoint.addresses],
        "gateway": gateways.get(endpoint.network, ""),
        "aliases": list(endpoint.aliases),
    }
