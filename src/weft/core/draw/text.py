"""Networks and containers as a picture in text."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _member(endpoint: dict[str, Any], ports: list[str], last: bool) -> list[str]:
    corner, bar = ("└", " ") if last else ("├", "│")
    who = f"{endpoint['container']}  {endpoint['ifname']} {', '.join(endpoint['addresses'])}"
    lines = [f"  {corner}──[{endpoint['host_ifname']}]──── {who}"]
    return lines + [f"  {bar}        ◄── {port}" for port in ports]


def _network(network: dict[str, Any]) -> list[str]:
    gateways = [f"{s['gateway']}/{s['subnet'].partition('/')[2]}" for s in network["subnets"]]
    title = f"network {network['name']}   bridge {network['bridge']}   {' '.join(gateways)}"
    lines = ["┌" + "─" * (len(title) + 2) + "┐", f"│ {title} │", "└┬" + "─" * (len(title) + 1) + "┘"]
    members = network["endpoints"]
    if not members:
        return ["┌" + "─" * (len(title) + 2) + "┐", f"│ {title} │", "└" + "─" * (len(title) + 2) + "┘"]
    for n, endpoint in enumerate(members):
        mine = [p for p in network["publish"] if p["container"] == endpoint["container"]]
        ports = [
            f"{p['host_ip']}:{p['host_port']} published, to {p['container_port']}/{p['proto']}" for p in mine
        ]
        lines += _member(endpoint, ports, n == len(members) - 1)
    return [
        lines[0],
        lines[1],
        lines[2],
        *[" " + line[2:] if line[:2] == "  " else line for line in lines[3:]],
    ]


def draw(networks: list[dict[str, Any]], containers: list[dict[str, Any]]) -> str:
    """The picture: a box a network, a line a container with its cable, an arrow a published port."""
    if not networks:
        return "no networks"
    parts = ["\n".join(_network(n)) for n in networks]
    gone = [c["name"] for c in containers if not c["networks"] and c["state"] == "exited"]
    if gone:
        parts.append(f"exited, without a network: {', '.join(gone)}")
    modes = [f"{c['name']} ({c['network_mode']})" for c in containers if c["network_mode"] != "networks"]
    if modes:
        parts.append(f"in no network of weft's: {', '.join(modes)}")
    return "\n\n".join(parts)
