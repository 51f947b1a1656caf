"""Every guard is seen to fail when it is taken away: a mutation test of both firewall tables.

For each rule of core/firewall/tables.py there is a Watch: a probe whose result changes when that rule is
deleted from the live table. A rule without one is an error. Where a second layer hides the loss, the Watch
names what else must be taken away to see it, and why it is there at all; then the probe's result must be
the same with only the second layer gone: the first holds alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest

from scenarios import more_guards, packets
from scenarios.ground import BLUE, BOX, BRIDGES, FAR, HOST, NS2, RED, Ground
from scenarios.probes import Probe, datagram, ping, web
from weft.core.firewall import tables

LINK_LOCAL = "169.254.7.7"

# -- probes: what is asked, and a short word for what came of it


def new_neighbour(ground: Ground, patience: float) -> str:
    ground.host.ip("neigh", "flush", "all", netns="ns2")
    return ping("ns2", BLUE)(ground, patience)


def other_bridge(ground: Ground, patience: float) -> str:
    """Traffic across a bridge that is not weft's is nobody's business of ours."""
    return ping("mine1", "10.44.0.2")(ground, patience)


def forged_source(ground: Ground, _: float) -> str:
    """ns2 sends as its sibling, to its sibling's own wire."""
    ns1, ns2 = ground.members["ns1"], ground.members["ns2"]
    frame = packets.ether(ns2.mac, packets.IPV4, packets.udp4(ns1.address, BLUE, "probe"))
    return "arrives" if ground.arrives("ns2", frame, "ns1", ground.honest("ns2")) else "nothing"


def foreign_source(ground: Ground, _: float) -> str:
    """ns2 sends to the LAN as somebody of a third network."""
    ns2 = ground.members["ns2"]
    to = bridge_mac(ground)
    frame = packets.ether(ns2.mac, packets.IPV4, packets.udp4("172.31.9.9", BOX, "probe"), to=to)
    # The honest one goes the same way, and its label survives the translation of its address.
    end = packets.ether(ns2.mac, packets.IPV4, packets.udp4(ns2.address, BOX, "end"), to=to)
    return "arrives" if ground.arrives("ns2", frame, "lan", end) else "nothing"


def loopback_from_lan(ground: Ground, _: float) -> str:
    """The neighbour sends to 127.0.0.1 by way of the host; whether a server there hears it."""
    box = packets.ether(lan_mac(ground), packets.IPV4, packets.udp4(BOX, "127.0.0.1", "probe", 9997))
    end = packets.ether(lan_mac(ground), packets.IPV4, packets.udp4(BOX, HOST, "end", 9997))
    listen = (
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('', 9997)); print('ready', flush=True)\n"
        "heard = ''\n"
        "while '<<end>>' not in heard: heard += s.recv(2048).decode()\n"
        "print(heard)\n"
    )
    server = ground.host.popen(["/usr/bin/python3", "-IS", "-c", listen])
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    ground.send("lan", box, end)
    heard = server.communicate(timeout=20)[0]
    return "arrives" if "probe" in heard else "nothing"


def bridge_mac(ground: Ground) -> str:
    return ground.host.run(["cat", f"/sys/class/net/{BRIDGES['blue']}/address"]).stdout.strip()


def lan_mac(ground: Ground) -> str:
    return ground.lan.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()


PROBES: dict[str, Probe] = {
    "host's own loopback": web("host", "http://127.0.0.1:9999/"),
    "loopback from the LAN": loopback_from_lan,
    "LAN to a gateway address": web("lan", f"http://{BLUE}:9999/"),
    "LAN straight in": web("lan", f"http://{NS2}/"),
    "forged source": forged_source,
    "foreign source": foreign_source,
    "new neighbour": new_neighbour,
    "sibling": web("ns2", "http://192.168.10.11/"),
    "another bridge": other_bridge,
    "published on an address": web("lan", f"http://{HOST}:8082/"),
    "published": web("lan", f"http://{HOST}:8081/"),
    "published on loopback": web("host", "http://127.0.0.1:8080/"),
    "published, by loopback": web("host", "http://127.0.0.1:8081/"),
    "published, from the host": web("host", f"http://{HOST}:8081/"),
    "published, from a sibling": web("ns2", f"http://{HOST}:8081/"),
    "published, from itself": web("ns1", f"http://{HOST}:8081/"),
    "published, from another network": web("far", f"http://{HOST}:8081/"),
    "container to LAN": web("ns2", f"http://{BOX}/"),
    "another network": web("ns2", f"http://{FAR}/"),
    "link-local": web("ns2", f"http://{LINK_LOCAL}/"),
    "host to container": web("host", f"http://{NS2}/"),
    "ping the gateway": ping("ns2", BLUE),
    "DNS": datagram("ns2", BLUE, 53),
    "DNS by TCP": web("ns2", f"http://{BLUE}:53/"),
    "the host's own services": web("ns2", f"http://{BLUE}:9999/"),
    "another gateway": web("ns2", f"http://{RED}:9999/"),
}

# -- rules, and what watches each

KNOWN = "ct state established,related accept"
DNAT = "ct status dnat accept"
SAME = 'iifname . oifname @same accept comment "bridge-nf-call-iptables"'
OTHERS = 'oifname @bridges drop comment "other networks"'
UNPUBLISHED = 'drop comment "not published"'
STRAIGHT_IN = 'iifname != @bridges ip daddr @subnet4 drop comment "a neighbour routing straight in"'
FORGED = 'drop comment "spoofed, tagged, or neither ARP nor IP"'
LOOPBACK_IN = 'ip daddr 127.0.0.0/8 drop comment "loopback from outside"'

Rule = tuple[str, str, str]
ENTERING: Rule = ("inet", "entering", UNPUBLISHED)


class Watch(NamedTuple):
    """``without``: other layers that hide the loss: rules, or the words "ip rule", "martians".

    ``why`` says what a rule that is hidden so is good for.
    """

    probe: str
    bridge_nf: int = 0
    without: tuple[Rule | str, ...] = ()
    why: str = ""


WATCHES: dict[Rule, Watch] = {
    ("bridge", "guard", 'meta iifgroup & 0xffff0000 != 0x77650000 accept comment "not a weft port"'): Watch(
        "another bridge"
    ),
    (
        "bridge",
        "guard",
        "ether type arp iifname . ether saddr . arp saddr ip @lease4"
        ' iifname . arp saddr ether . arp saddr ip @lease4 accept comment "ARP: its own MAC and address"',
    ): Watch("new neighbour"),
    (
        "bridge",
        "guard",
        "ether type ip iifname . ether saddr . ip saddr @lease4 accept"
        ' comment "IPv4: its own MAC and address"',
    ): Watch("sibling"),
    ("bridge", "guard", FORGED): Watch("forged source"),
    ("inet", "guard", 'iifname "lo" accept'): Watch("host's own loopback"),
    ("inet", "guard", LOOPBACK_IN): Watch(
        "loopback from the LAN",
        without=("martians",),
        why="the kernel drops 127/8 from a wire only until somebody sets route_localnet",
    ),
    ("inet", "guard", STRAIGHT_IN): Watch("LAN to a gateway address"),
    (
        "inet",
        "guard",
        'iifname @gateways fib saddr . iif oif 0 drop comment "source of another network"',
    ): Watch(
        "foreign source",
        without=(("bridge", "guard", FORGED),),
        why="the bridge table holds every source to its lease; this one stands if that table is flushed",
    ),
    ("inet", "publish", "dnat ip to meta l4proto . ip daddr . th dport map @publish4"): Watch(
        "published on an address"
    ),
    ("inet", "publish", "dnat ip to meta l4proto . th dport map @publish4_any"): Watch("published"),
    (
        "inet",
        "loopback",
        "meta l4proto tcp ip daddr . tcp dport @loopback4 redirect to meta l4proto map @proxy",
    ): Watch("published on loopback"),
    (
        "inet",
        "loopback",
        "meta l4proto tcp tcp dport @loopback4_any redirect to meta l4proto map @proxy",
    ): Watch("published, by loopback"),
    ("inet", "prerouting", "fib daddr type local jump publish"): Watch("published"),
    (
        "inet",
        "published",
        "iifname @bridges ct status dnat meta mark set meta mark | 0x01000000",
    ): Watch("published, from another network"),
    ("inet", "output", "ip daddr 127.0.0.0/8 goto loopback"): Watch("published, by loopback"),
    ("inet", "output", "fib daddr type local jump publish"): Watch("published, from the host"),
    (
        "inet",
        "postrouting",
        'ct status dnat iifname . oifname @same masquerade comment "hairpin, sibling"',
    ): Watch("published, from a sibling"),
    (
        "inet",
        "postrouting",
        "ct status dnat iifname != @bridges ip saddr @nat4 oifname @bridges masquerade"
        ' comment "hairpin, sibling, bridged"',
    ): Watch("published, from itself", bridge_nf=1),
    ("inet", "postrouting", "ip saddr @nat4 oifname != @bridges masquerade"): Watch("container to LAN"),
    ("inet", "leaving", DNAT): Watch("published, from another network"),
    ("inet", "leaving", SAME): Watch("sibling", bridge_nf=1),
    ("inet", "leaving", OTHERS): Watch(
        "another network",
        without=(ENTERING, "ip rule"),
        why="networks are kept apart three times: leaving, entering, and by routing",
    ),
    ("inet", "leaving", 'ip daddr 169.254.0.0/16 drop comment "link-local, cloud metadata"'): Watch(
        "link-local"
    ),
    ("inet", "entering", KNOWN): Watch("container to LAN"),
    ("inet", "entering", DNAT): Watch("published"),
    ("inet", "entering", SAME): Watch(
        "sibling",
        bridge_nf=1,
        without=(("inet", "forward", "iifname @bridges jump leaving"),),
        why="what is bridged has been accepted by `leaving`, which is asked first",
    ),
    ENTERING: Watch(
        "LAN straight in",
        without=(("inet", "guard", STRAIGHT_IN),),
        why="the guard drops the same before routing",
    ),
    ("inet", "forward", "iifname @bridges jump leaving"): Watch("link-local"),
    ("inet", "forward", "oifname @bridges jump entering"): Watch(
        "LAN straight in",
        without=(("inet", "guard", STRAIGHT_IN),),
        why="the guard drops the same before routing",
    ),
    ("inet", "host", KNOWN): Watch("host to container"),
    ("inet", "host", "iifname . ip daddr @own4 ip protocol icmp accept"): Watch("ping the gateway"),
    ("inet", "host", "iifname . ip daddr @own4 udp dport 53 accept"): Watch("DNS"),
    ("inet", "host", "iifname . ip daddr @own4 tcp dport 53 accept"): Watch("DNS by TCP"),
    ("inet", "host", 'drop comment "the host\'s own services"'): Watch("the host's own services"),
    ("inet", "input", "iifname @shielded jump host"): Watch("another gateway"),
}


PROBES |= more_guards.PROBES
WATCHES |= {rule: Watch(*values) for rule, values in more_guards.WATCHES.items()}


def _rules() -> Iterator[tuple[Rule, int]]:
    for family, chains in (("bridge", tables.bridge_chains()), ("inet", tables.inet_chains())):
        for chain in chains:
            for position, rule in enumerate(chain.rules):
                yield (family, chain.name, rule.text), position


RULES = dict(_rules())
PLACES = {rule: (rule[0], rule[1], position) for rule, position in RULES.items()}


def _furnish(ground: Ground) -> None:
    """What only these tests need: a bridge that is not weft's, and neighbours with more addresses."""
    ground.host.sh(
        "ip netns add mine1; ip netns add mine2; ip link add mine type bridge; ip link set mine up\n"
        + "".join(
            f"ip link add p{n} master mine type veth peer name eth0 netns mine{n}; ip link set p{n} up\n"
            f"ip -n mine{n} address add 10.44.0.{n}/24 dev eth0; ip -n mine{n} link set eth0 up\n"
            for n in (1, 2)
        )
        + f"ip address add 169.254.7.1/16 dev {ground.lan.UPLINK}\n"
    )
    lan = ground.lan.run
    lan(["ip", "address", "add", f"{LINK_LOCAL}/16", "dev", "eth0"])
    lan(["ip", "route", "add", BLUE, "via", HOST])
    lan(["ip", "route", "add", NS2, "via", HOST])
    ground.host.weft("run", "--name", "warm", "--", "true")
    more_guards.furnish(ground)


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with Ground(request.param) as made:
        _furnish(made)
        yield made


@contextmanager
def _without(ground: Ground, layers: tuple[Rule | str, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        rules = [PLACES[layer] for layer in layers if not isinstance(layer, str)]
        stack.enter_context(ground.without_rules(rules))
        if "ip rule" in layers:
            stack.enter_context(ground.without_routing_guard())
        if "martians" in layers:
            stack.enter_context(_without_martians(ground))
        yield


@contextmanager
def _without_martians(ground: Ground) -> Iterator[None]:
    """The kernel's own refusal of 127/8 from a wire."""
    key = f"net/ipv4/conf/{ground.lan.UPLINK}/route_localnet"
    ground.host.sysctl(key, "1")
    try:
        yield
    finally:
        ground.host.sysctl(key, "0")


#: What must get nothing while all guards stand; the other probes get an answer.
REFUSED = frozenset(
    (
        *("loopback from the LAN", "LAN to a gateway address", "LAN straight in", "forged source"),
        *("foreign source", "another network", "link-local", "the host's own services", "another gateway"),
        *more_guards.REFUSED,
    )
)
#: How long a probe that should get nothing is waited for; one that should be answered may take its time.
SHORT, LONG = 0.5, 5.0


def test_every_rule_is_watched_and_nothing_else() -> None:
    assert WATCHES.keys() == RULES.keys()
    assert all(watch.why for watch in WATCHES.values() if watch.without)


def _cases() -> Iterator[object]:
    """Each rule; every third in the fast set."""
    for place, rule in enumerate(RULES):
        mode = WATCHES[rule].bridge_nf if rule in WATCHES else 0
        marks = pytest.mark.campaign if place % 3 else ()
        yield pytest.param(mode, rule, id=f"{rule[0]}-{rule[1]}-{rule[2][:60]}", marks=marks)


@pytest.mark.parametrize(("ground", "rule"), list(_cases()), indirect=["ground"], scope="module")
def test_a_rule_taken_away_is_missed(ground: Ground, rule: Rule) -> None:
    watch = WATCHES[rule]
    probe, refused = PROBES[watch.probe], watch.probe in REFUSED
    patience, otherwise = (SHORT, LONG) if refused else (LONG, SHORT)
    guarded = probe(ground, patience)
    assert (guarded == "nothing") == refused, guarded
    if watch.without:
        with _without(ground, watch.without):
            assert probe(ground, patience) == guarded, "this rule does not hold alone"
    with _without(ground, (*watch.without, rule)):
        assert probe(ground, otherwise) != guarded
    assert probe(ground, patience) == guarded, "the rule came back as another one"
