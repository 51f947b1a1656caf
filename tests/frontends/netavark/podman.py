"""What Podman says to netavark, as values to change."""

from __future__ import annotations

import json
from typing import Any

NETWORK_ID = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9"
CONTAINER_ID = "6ce776ea58b5cd8b4a0a9b2c3d4e5f60718293a4b5c6d7e8f901234567890abc"


def network(name: str = "podman", number: int = 88, **changes: Any) -> dict[str, Any]:
    """A network's file."""
    found = {
        "name": name,
        "id": NETWORK_ID,
        "driver": "bridge",
        "network_interface": f"{name}0",
        "created": "2026-11-30T12:00:00.000000000Z",
        "subnets": [{"subnet": f"10.{number}.0.0/16", "gateway": f"10.{number}.0.1"}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
    }
    return {k: v for k, v in (found | changes).items() if v is not None}


def place(address: str = "10.88.0.2", ifname: str = "eth0", **changes: Any) -> dict[str, Any]:
    """A container's part in a network."""
    found = {"static_ips": [address], "interface_name": ifname, "aliases": [CONTAINER_ID[:12]]}
    return {k: v for k, v in (found | changes).items() if v is not None}


def port(host_port: int = 8080, container_port: int = 80, **changes: Any) -> dict[str, Any]:
    """A port mapping."""
    found = {"host_ip": "", "container_port": container_port, "host_port": host_port}
    return found | {"range": 1, "protocol": "tcp"} | changes


def wish(
    networks: dict[str, tuple[dict[str, Any], dict[str, Any]]] | None = None,
    name: str = "web",
    **changes: Any,
) -> dict[str, Any]:
    """Setup's input of 1.x: networks by name, each with the container's part in it."""
    chosen = networks or {"podman": (network(), place())}
    found = {
        "container_id": CONTAINER_ID,
        "container_name": name,
        "networks": {key: part for key, (_, part) in chosen.items()},
        "network_info": {key: whole for key, (whole, _) in chosen.items()},
    }
    return {k: v for k, v in (found | changes).items() if v is not None}


def second(old: dict[str, Any]) -> dict[str, Any]:
    """The same as 2.x has it: an array."""
    return old | {"networks": [{"name": name, **part} for name, part in old["networks"].items()]}


def text(value: Any) -> str:
    """As it is sent."""
    return json.dumps(value)
