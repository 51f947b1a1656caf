"""docs/reference/firewall.md is what a live machine has: made by this test, and compared with the
committed page.

To write it anew: WEFT_WRITE_DOCS=1 .venv/bin/python -m pytest tests/docs/test_firewall_page.py
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from harness import Host
from harness.host import REPO
from weft.core.firewall import tables
from weft.core.firewall.tables import ChainSpec, SetSpec

PAGE = REPO / "docs/reference/firewall.md"
COMMANDS = (
    "weft net create blue --subnet 192.168.10.0/24 --subnet fd10::/64 --bridge bluebr",
    "weft net create red --subnet 10.7.0.0/24 --bridge redbr --internal",
    "weft net create routed --subnet 10.9.0.0/24 --bridge routedbr --nat routed",
    "weft net create named --subnet 10.11.0.0/24 --bridge namedbr -o dns=true -o dns_port=5300",
    "weft run --name web --network blue -p 0.0.0.0:8080:80 -p [::]:8080:80 -p 127.0.0.1:8081:81 --dns 8.8.8.8",
    "weft run --name api --network routed -p 0.0.0.0:9000:90 --dns 8.8.8.8",
)
CHAINS = {
    "six": "What an IPv6 packet with an honest source may be. Router advertisements, redirects and multicast"
    " listener reports are not on the list, and of extension headers only the fragment's is.",
    "joint": "Where a network has further bridges. With bridge-nf-call-iptables a published port leads a frame from a"
    " further bridge to another container there: it leaves the first bridge by the port that it came in by. No other"
    " frame may; and such a one has a MAC of its own as its source, since further bridges would look for the sender on"
    " the wrong side.",
    "publish": "Published ports: the host's address and port lead to a container's. Whoever connects keeps his address.",
    "loopback": "TCP to a published port on 127.x goes to the loopback proxy, since such packets cannot be routed.",
    "prerouting": "Who comes from outside and means this host may mean a published port. Who asks for names at his"
    " gateway's port 53 is led to weft's DNS server where that has another port.",
    "published": "Packets of a connection that came by a published port are marked: the routing rules that keep"
    " networks apart (`ip rule`, preference 118) let them answer.",
    "output": "The host itself may mean a published port too. ::1 is left to the proxy's own sockets.",
    "postrouting": "Leaving packets show the host's address: always where a container reaches itself or a sibling by"
    " a published port, else where the network is translated.",
    "leaving": "What a container sends to elsewhere.",
    "entering": "What comes to a container from elsewhere.",
    "forward": "Only what comes from or goes to a bridge of weft's; the rest is other people's.",
    "host": "What a container may ask of the host itself: ping and DNS at its own gateway's address.",
    "input": "Only what comes from a bridge of weft's. One that was adopted may be the host's own way to its LAN.",
}
GUARDS = {
    "bridge": "An allow-list for the ports of weft's bridges: a lease is an element that must be there.",
    "inet": "Nothing but this host reaches 127.x, nobody routes straight into a container's subnet, and no"
    " container sends as somebody of another network.",
}
SETS = {
    "lease4": "(port, MAC, address) of every container",
    "lease6": "the same, with its link-local address",
    "target6": "the same once more: what a neighbour advertisement may be about",
    "bridges": "all bridges of all networks",
    "gateways": "those with a gateway's address: the first of each network",
    "shards": "the further bridges of networks with more than 480 containers",
    "same": "pairs that are one network",
    "shielded": "bridges from which the host's own services are out of reach",
    "internal": "networks without a way out",
    "isolated": "networks whose members cannot talk to each other",
    "mixing": "networks whose members may reach those of other networks (option isolate=false or true)",
    "shared": "of these, the ones that all of these reach (isolate=false)",
    "exposed": "networks whose members others reach by their own addresses (option exposed=true)",
    "own": "gateways' addresses",
    "taken": "every address once: none is given out twice, whatever the database says",
    "subnet": "subnets into which nobody routes from outside",
    "nat": "subnets that show the host's address",
    "routed": "subnets that others route to",
    "open": "published ports of those, at the container's own address",
    "dns": "where weft's DNS server answers members: networks with `-o dns=true`",
    "dns_at": "where it does, by the port 53 that members ask at, if that is another",
    "snat": "subnets that show a chosen address of the host",
    "publish": "ports published on one address of the host",
    "publish_any": "ports published on all of them",
    "loopback4": "TCP ports published on an address of 127.0.0.0/8",
    "loopback4_any": "TCP ports published on 0.0.0.0, hence on 127.x too",
    "proxy": "where the loopback proxy listens",
}


def _said(name: str) -> str:
    plain = name if name in SETS else re.sub(r"[46](?=_|$)", "", name)
    return SETS[plain]


def _elements(host: Host, family: str, name: str) -> list[str]:
    listed = host.nft("list", "set" if not _is_map(family, name) else "map", family, "weft", name)
    body = re.search(r"elements = \{(.*?)\}", listed, re.DOTALL)
    return sorted(" ".join(e.split()) for e in body[1].split(",")) if body else []


def _is_map(family: str, name: str) -> bool:
    return any(s.name == name and s.data for s in _sets(family))


def _sets(family: str) -> tuple[SetSpec, ...]:
    return tables._BRIDGE_SETS if family == "bridge" else tables._INET_SETS


def _chains(family: str) -> tuple[ChainSpec, ...]:
    return tables.bridge_chains() if family == "bridge" else tables.inet_chains()


def _chain(host: Host, family: str, chain: ChainSpec) -> list[str]:
    listed = json.loads(host.nft("-j", "list", "chain", family, "weft", chain.name))
    live: list[Any] = [part for part in listed["nftables"] if "rule" in part]
    assert len(live) == len(chain.rules), chain.name
    hook = f"hook {chain.hook}, priority {chain.priority}" if chain.hook else "jumped to"
    said = GUARDS[family] if chain.name == "guard" else CHAINS[chain.name]
    rules = [f"    {rule.text}" for rule in chain.rules]
    return [f"### {chain.name}", "", f"*{hook}.* {said}", "", *rules, ""]


def page() -> str:
    with Host() as host:
        for command in COMMANDS:
            host.weft(*command.split()[1:])
        lines = [
            "# The firewall",
            "",
            "Made from a live machine by a test (`tests/docs/test_firewall_page.py`): do not edit.",
            "",
            "Two tables, made with the first network and gone with the last. Networks, containers and ports are",
            "elements of sets and maps, so the rules are the same at one container and at ten thousand; an",
            "element's comment says whose it is. Each chain below shows its rules in the order in which they are",
            "asked; a packet that none of them decides is accepted, for other people's traffic is not weft's. Why",
            "it is so: [decision 4](../decisions/0004-firewall.md).",
            "",
            "How to read it: `@name` is a set or map of the same table, listed behind the chains with what is in",
            "it. `accept` and `drop` decide; `jump` asks another chain and comes back, `goto` does not. Of a",
            "concatenation, `iifname . ip daddr @own4`, all parts must be in one element. `nft list ruleset` shows",
            "your machine's, rules in nft's own shorter words: it leaves out `ether type` where the rest implies it,",
            "and writes names for priorities.",
            "",
            "What follows stood after:",
            "",
            *[f"    {command}" for command in COMMANDS],
            "",
        ]
        for family in ("bridge", "inet"):
            lines += [f"## table {family} weft", ""]
            for chain in _chains(family):
                lines += _chain(host, family, chain)
            lines += ["### sets and maps", "", "| name | what is in it | here |", "|---|---|---|"]
            for spec in _sets(family):
                found = "<br>".join([f"`{e}`" for e in _elements(host, family, spec.name)])
                lines.append(f"| {spec.name} | {_said(spec.name)} | {found} |")
            lines.append("")
    return "\n".join(lines)


def test_the_page_is_what_a_machine_has() -> None:
    found = page()
    if os.environ.get("WEFT_WRITE_DOCS"):
        PAGE.write_text(found)
    assert PAGE.read_text() == found, "it has changed: see the head of this file"
