"""What watches the rules for IPv6, and for internal, isolated and routed networks: see test_guards.py.

six 10.8.0.0/24  fd07::/64   s1 .2 (published ports), s2 .3      snat 10.12.0.0/24 fd12::/64  h1, shown as .7
int 10.9.0.0/24  (internal)  n1 .2                               iso  10.10.0.0/24 (isolated) i1 .2, i2 .3
rtd 10.11.0.0/24 fd11::/64 (routed)  r1 .2, one published port
dns 10.14.0.0/24 fd14::/64 (internal, weft's DNS at port 5300)  d1 .2
"""

from __future__ import annotations

import json
import struct
from typing import Any

from harness import Lan, asks
from harness.host import PYTHON, REPO
from scenarios import packets
from scenarios.ground import BOX, HOST, Ground, Member
from scenarios.probes import Probe, datagram, ping, web

HOST6, BOX6 = Lan.HOST6, Lan.BOX6
SHOWN, SHOWN6 = "203.0.113.7", "2001:db8:113::7"
S1, S2, GATEWAY = "fd07::2", "fd07::3", "fd07::1"
METADATA = "fd00:ec2::254"
NETWORKS = (
    ("six", "--subnet", "10.8.0.0/24", "--subnet", "fd07::/64"),
    ("int", "--subnet", "10.9.0.0/24", "--internal"),
    ("iso", "--subnet", "10.10.0.0/24", "--isolated"),
    ("rtd", "--subnet", "10.11.0.0/24", "--subnet", "fd11::/64", "--nat", "routed"),
    (
        *("snat", "--subnet", "10.12.0.0/24", "--subnet", "fd12::/64"),
        *("-o", f"host_ipv4={SHOWN}", "-o", f"host_ipv6={SHOWN6}"),
    ),
    (
        *("dns", "--subnet", "10.14.0.0/24", "--subnet", "fd14::/64", "--internal"),
        *("-o", "dns=true", "-o", "dns_port=5300"),
    ),
)
CONTAINERS = (
    ("s1", "six", "[::]:8181:80", f"[{HOST6}]:8182:80"),
    ("s2", "six"),
    ("n1", "int"),
    ("i1", "iso"),
    ("i2", "iso"),
    ("r1", "rtd", "0.0.0.0:8383:80", "[::]:8383:80"),
    ("h1", "snat"),
    ("d1", "dns"),
)


def furnish(ground: Ground) -> None:
    """The networks, their servers, and what their neighbours need to find them."""
    host, lan = ground.host, ground.lan
    host.ip("address", "add", f"{SHOWN}/24", "dev", lan.UPLINK)
    host.ip("address", "add", f"{SHOWN6}/64", "dev", lan.UPLINK, "nodad", "preferred_lft", "0")
    for name, *flags in NETWORKS:
        host.weft("net", "create", name, *flags)
    for name, network, *ports in CONTAINERS:
        host.weft("run", "--name", name, "--network", network, *[w for p in ports for w in ("-p", p)])
    for name in ("s1", "i2", "r1"):
        host.serve(80, name, netns=name)
    host.serve(53, "s1", netns="s1", kind="udp")
    host.serve(53, "host", address=GATEWAY)
    host.serve(53, "host", address=GATEWAY, kind="udp")
    host.serve(53, "host", address="10.9.0.1", kind="udp")
    for subnet in ("fd07::/64", "fd11::/64"):
        lan.run(["ip", "route", "add", subnet, "via", HOST6])
    lan.run(["ip", "route", "add", "10.11.0.0/24", "via", HOST])
    lan.run(["ip", "address", "add", f"{METADATA}/128", "dev", "lo"])
    host.weft("net", "publish", "blue", "ns1", "0.0.0.0:9202:9202")
    host.run([*PYTHON, "-c", _WIDE])
    host.weft("net", "publish", "wide", "w1", "0.0.0.0:8484:80")
    host.serve(80, "w1", netns="w1")
    # What the root of a container may do to get out, or round the bridge by way of its gateway.
    host.ip("route", "add", "default", "via", "10.9.0.1", netns="n1")
    host.ip("route", "add", "10.10.0.3/32", "via", "10.10.0.1", netns="i1")
    host.ip("route", "add", "10.10.0.2/32", "via", "10.10.0.1", netns="i2")


#: A network whose bridges are full with one container each: w1 is on a further one.
_WIDE = f"""
import os, sys
sys.path.insert(0, {str(REPO / "src")!r})
os.environ["WEFT_PROGRAM"] = {str(REPO / "weft")!r}
import weft.engine.container
weft.engine.container.BRIDGE_PORTS = 1
import weft
weft.Network("wide", subnet="10.13.0.0/24").containers(["w0", "w1"])
"""


def round_the_gateway(ground: Ground, _: float) -> str:
    """w1 sends to the LAN by the MAC of the further bridge that it is plugged into."""
    one = _member(ground, "w1", ".")
    links = json.loads(ground.host.ip("-j", "link"))
    macs = {link["ifname"]: link["address"] for link in links}
    further = next(link["master"] for link in links if link["ifname"] == one.host_ifname)
    first = ground.host.weft_json("net", "inspect", "wide")[0]["bridge"]
    frames = [
        packets.ether(one.mac, packets.IPV4, packets.udp4(one.address, BOX, label), to=macs[by])
        for label, by in (("probe", further), ("end", first))
    ]
    return "arrives" if ground.arrives("w1", frames[0], "lan", frames[1]) else "nothing"


def beyond(ground: Ground, patience: float) -> str:
    """Every frame from the first bridge to the next, and back, is none of the host's."""
    return web("w0", f"http://{_member(ground, 'w1', '.').address}/")(ground, patience)


def back_to_its_bridge(ground: Ground, _: float) -> str:
    """What w1 sends to all comes to its bridge again, by the cable; what w0 sends comes by it surely."""
    one, other = _member(ground, "w1", "."), _member(ground, "w0", ".")
    links = json.loads(ground.host.ip("-j", "link"))
    further = next(link["master"] for link in links if link["ifname"] == one.host_ifname)
    cable = next(k["ifname"] for k in links if k.get("master") == further and k["ifname"].startswith("wk"))
    with ground.catching("host", cable, "receive") as catcher:
        for member, label in ((one, "probe"), (other, "end")):
            payload = packets.udp4(member.address, "255.255.255.255", label)
            ground.send(member.name, packets.ether(member.mac, packets.IPV4, payload))
        labels = catcher.communicate(timeout=20)[0].split()
    return "arrives" if "probe" in labels else "nothing"


def _member(ground: Ground, name: str, family: str = ":") -> Member:
    """Its address is the first with that character."""
    (found,) = ground.host.weft_json("inspect", name)
    (net,) = found["networks"].values()
    address = next(a for a in net["addresses"] if family in a)
    return Member(name, address.partition("/")[0], net["mac"], net["host_ifname"])


def _frame(ground: Ground, payload: bytes) -> str:
    """Whether what s1 sends comes to its sibling; an honest frame of its own comes behind it."""
    one = _member(ground, "s1")
    end = packets.ether(one.mac, packets.IPV4, packets.udp4("10.8.0.2", "255.255.255.255", "end"))
    frame = packets.ether(one.mac, packets.IPV6, payload, to="33:33:00:00:00:01")
    return "arrives" if ground.arrives("s1", frame, "s2", end) else "nothing"


def icmp(kind: int, rest: bytes = bytes(4)) -> Probe:
    def ask(ground: Ground, _: float) -> str:
        return _frame(ground, packets.icmp6(S1, kind, rest, "probe"))

    return ask


def advertisement(ground: Ground, _: float) -> str:
    return _frame(ground, packets.neighbour_advertisement(S1, "probe"))


def fragment(proto: int, offset: int, body: bytes) -> Probe:
    """A part of a packet: the header that says so comes before the transport's."""

    def ask(ground: Ground, _: float) -> str:
        text = body + b"<<probe>>"
        head = struct.pack("!BBHI", proto, 0, offset << 3 | 1, 7)
        first = struct.pack("!IHBB", 6 << 28, len(head) + len(text), 44, 64)
        return _frame(ground, first + packets.ip(S1) + packets.ip("ff02::1") + head + text)

    return ask


def new_neighbour6(ground: Ground, patience: float) -> str:
    ground.host.ip("neigh", "flush", "all", netns="s2")
    return ping("s2", GATEWAY)(ground, patience)


def tracked_between_members(ground: Ground, patience: float) -> str:
    """Whether the host keeps an entry of what a member says to another: it need not."""
    ground.host.run(["conntrack", "-D", "-d", S1], check=False)
    if not ground.ask_udp("s2", S1, 53, timeout=patience).ok:
        return "nothing"
    return "tracked" if "udp" in ground.host.run(["conntrack", "-L", "-d", S1]).stdout else "not tracked"


def name(who: str, server: str) -> Probe:
    """Whether weft's DNS server says who that is."""

    def ask(ground: Ground, patience: float) -> str:
        return asks.ask(ground.host, server, who, netns=who, patience=patience).said

    return ask


def lan_ping(address: str) -> Probe:
    def ask(ground: Ground, patience: float) -> str:
        return "answer" if ground.lan.box.pings(address, timeout=patience) else "nothing"

    return ask


_SEGMENTS = """
import socket, sys
s = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
c = s.accept()[0]
print(c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
"""


def segments(server: str, client: str, url: str, port: int) -> Probe:
    """The largest segment that a server may send, as the client offered it; a link on the way is narrower."""

    def ask(ground: Ground, patience: float) -> str:
        machine = ground.lan.box if server == "lan" else ground.host
        netns = None if server == "lan" else server
        ground.host.ip("link", "set", ground.lan.UPLINK, "mtu", "1400")
        try:
            listener = machine.popen([*PYTHON, "-c", _SEGMENTS, str(port)], netns=netns)
            assert listener.stdout
            assert listener.stdout.readline() == "ready\n"
            ground.fetch(client, url, timeout=0.5)
            size = int(listener.communicate(timeout=patience + 5)[0])
            listener.end()
            return "fits" if size < 1360 else "too large"
        finally:
            ground.host.ip("link", "set", ground.lan.UPLINK, "mtu", "1500")

    return ask


PROBES: dict[str, Probe] = {
    "six: TCP": web("s2", f"http://[{S1}]/"),
    "six: UDP": datagram("s2", S1, 53),
    **{f"six: ICMPv6 {kind}": icmp(kind) for kind in (1, 2, 3, 4, 128, 129)},
    "six: solicitation": icmp(135, bytes(4) + packets.ip(S2)),
    "six: advertisement": advertisement,
    "six: later fragment": fragment(58, 100, bytes(8)),
    "six: first fragment, TCP": fragment(6, 0, bytes(20)),
    "six: first fragment, UDP": fragment(17, 0, bytes(8)),
    "six: first fragment, echo request": fragment(58, 0, bytes([128, 0, 0, 0, 0, 0, 0, 0])),
    "six: first fragment, echo reply": fragment(58, 0, bytes([129, 0, 0, 0, 0, 0, 0, 0])),
    "six: LAN to a gateway address": web("lan", f"http://[{GATEWAY}]:9999/"),
    "six: published on an address": web("lan", f"http://[{HOST6}]:8182/"),
    "six: published": web("lan", f"http://[{HOST6}]:8181/"),
    "six: published, by ::1": web("host", "http://[::1]:8181/"),
    "six: published, from itself": web("s1", f"http://[{HOST6}]:8181/"),
    "six: container to LAN": web("s2", f"http://[{BOX6}]/"),
    "six: metadata": web("s2", f"http://[{METADATA}]/"),
    "six: ping the gateway": ping("s2", GATEWAY),
    "six: new neighbour": new_neighbour6,
    "six: DNS": datagram("s2", GATEWAY, 53),
    "six: DNS by TCP": web("s2", f"http://[{GATEWAY}]:53/"),
    "shown as another address": web("h1", f"http://{BOX}/"),
    "six: shown as another address": web("h1", f"http://[{BOX6}]/"),
    "segments to the LAN": segments("lan", "ns2", f"http://{BOX}:9201/", 9201),
    "segments from the LAN": segments("ns1", "lan", f"http://{HOST}:9202/", 9202),
    "from a further bridge": web("w1", f"http://{BOX}/"),
    "round the gateway": round_the_gateway,
    "beyond the first bridge": beyond,
    "back to its bridge": back_to_its_bridge,
    "published beyond, from itself": web("w1", f"http://{HOST}:8484/"),
    "tracked between members": tracked_between_members,
    "internal to LAN": web("n1", f"http://{BOX}/"),
    "internal, DNS": datagram("n1", "10.9.0.1", 53),
    "internal, weft's DNS": name("d1", "10.14.0.1"),
    "six: internal, weft's DNS": name("d1", "fd14::1"),
    "isolated, round by the gateway": web("i1", "http://10.10.0.3/"),
    "routed, ping": lan_ping("10.11.0.2"),
    "six: routed, ping": lan_ping("fd11::2"),
    "routed and published": web("lan", "http://10.11.0.2/"),
    "six: routed and published": web("lan", "http://[fd11::2]/"),
}
REFUSED = (
    "round the gateway",
    "back to its bridge",
    "six: LAN to a gateway address",
    "six: metadata",
    "internal to LAN",
    "internal, DNS",
    "isolated, round by the gateway",
)

Rule = tuple[str, str, str]
_SIX = "ether type ip6 ip6 nexthdr"
_ICMP = f"{_SIX} ipv6-icmp icmpv6 type"
_PART = f"{_SIX} ipv6-frag"
_OUT: Rule = (
    *("inet", "leaving"),
    'iifname @internal iifname . oifname != @same drop comment "out of an internal network"',
)
_IN: Rule = (
    *("inet", "entering"),
    'oifname @internal iifname . oifname != @same drop comment "into an internal network"',
)
_TYPES = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
}
_CLAMP = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
#: As test_guards.Watch: probe, bridge_nf, what else must go, and why.
WATCHES: dict[Rule, tuple[Any, ...]] = {
    ("bridge", "six", f"{_SIX} tcp accept"): ("six: TCP",),
    ("bridge", "six", f"{_SIX} udp accept"): ("six: UDP",),
    **{("bridge", "six", f"{_ICMP} {t} accept"): (f"six: ICMPv6 {n}",) for t, n in _TYPES.items()},
    ("bridge", "six", f"{_ICMP} nd-neighbor-solicit accept"): ("six: solicitation",),
    (
        "bridge",
        "six",
        f"{_ICMP} nd-neighbor-advert iifname . ether saddr . @th,64,128 @target6 accept",
    ): ("six: advertisement",),
    ("bridge", "six", f"{_PART} frag frag-off != 0 accept"): ("six: later fragment",),
    ("bridge", "six", f"{_PART} meta l4proto tcp accept"): ("six: first fragment, TCP",),
    ("bridge", "six", f"{_PART} meta l4proto udp accept"): ("six: first fragment, UDP",),
    **{
        ("bridge", "six", f"{_PART} meta l4proto ipv6-icmp icmpv6 type {t} accept"): (
            f"six: first fragment, {t.replace('-', ' ')}",
        )
        for t in ("echo-request", "echo-reply")
    },
    (
        "bridge",
        "guard",
        "ether type ip6 iifname . ether saddr . ip6 saddr @lease6 jump six"
        ' comment "IPv6: its own MAC and address"',
    ): ("six: TCP",),
    **{
        ("bridge", "joint", f"meta {end}group & 0xffff0000 != 0x77670000 accept"): (
            "beyond the first bridge",
        )
        for end in ("iif", "oif")
    },
    (
        *("bridge", "joint"),
        'meta mark & 0x01000000 == 0x00000000 drop comment "would come back to its sender"',
    ): ("back to its bridge",),
    ("bridge", "joint", "ether saddr set 02:77:65:66:00:01"): ("published beyond, from itself", 1),
    (
        "inet",
        "guard",
        'iifname != @bridges ip6 daddr @subnet6 drop comment "a neighbour routing straight in"',
    ): ("six: LAN to a gateway address",),
    ("inet", "publish", "dnat ip6 to meta l4proto . ip6 daddr . th dport map @publish6"): (
        "six: published on an address",
    ),
    ("inet", "publish", "dnat ip6 to meta l4proto . th dport map @publish6_any"): ("six: published",),
    ("inet", "output", 'ip6 daddr ::1 accept comment "the proxy\'s held sockets serve it"'): (
        "six: published, by ::1",
    ),
    (
        "inet",
        "postrouting",
        "ct status dnat iifname != @bridges ip6 saddr @nat6 oifname @bridges masquerade"
        ' comment "hairpin, sibling, bridged"',
    ): ("six: published, from itself", 1),
    ("inet", "postrouting", "oifname != @bridges snat ip to ip saddr map @snat4"): (
        "shown as another address",
    ),
    ("inet", "postrouting", "oifname != @bridges snat ip6 to ip6 saddr map @snat6"): (
        "six: shown as another address",
    ),
    ("inet", "postrouting", "ip6 saddr @nat6 oifname != @bridges masquerade"): ("six: container to LAN",),
    ("inet", "guard", "iifname @shards notrack"): ("from a further bridge", 1),
    ("inet", "guard", "iifname @gateways fib daddr . iif oif != 0 notrack"): ("tracked between members", 1),
    (
        *("inet", "leaving"),
        'iifname @shards oifname != @shards drop comment "a further bridge is no gateway"',
    ): ("round the gateway",),
    ("inet", "leaving", _CLAMP): ("segments to the LAN",),
    ("inet", "entering", _CLAMP): ("segments from the LAN",),
    _OUT: (
        "internal to LAN",
        0,
        (_IN,),
        "what answers is dropped on its way in: but one packet out may be all it takes",
    ),
    _IN: ("internal to LAN", 0, (_OUT,), "nothing is answered of what never left"),
    (
        "inet",
        "leaving",
        'iifname @isolated oifname @isolated drop comment "members that cannot talk to each other"',
    ): ("isolated, round by the gateway",),
    ("inet", "leaving", 'ip6 daddr fd00:ec2::254 drop comment "cloud metadata"'): ("six: metadata",),
    ("inet", "entering", 'ip daddr @routed4 ip protocol icmp accept comment "routed"'): ("routed, ping",),
    ("inet", "entering", 'ip6 daddr @routed6 meta l4proto ipv6-icmp accept comment "routed"'): (
        "six: routed, ping",
    ),
    (
        "inet",
        "entering",
        'ip daddr . meta l4proto . th dport @open4 accept comment "routed and published"',
    ): ("routed and published",),
    (
        "inet",
        "entering",
        'ip6 daddr . meta l4proto . th dport @open6 accept comment "routed and published"',
    ): ("six: routed and published",),
    ("inet", "host", "iifname . ip6 daddr @own6 meta l4proto ipv6-icmp accept"): ("six: ping the gateway",),
    ("inet", "host", "icmpv6 type nd-neighbor-solicit accept"): ("six: new neighbour",),
    ("inet", "host", 'iifname @internal drop comment "the host\'s DNS is no way out"'): ("internal, DNS",),
    **{
        rule: (f"{six}internal, weft's DNS",)
        for v, family, six in (("4", "ip", ""), ("6", "ip6", "six: "))
        for key in [f"iifname . {family} daddr . meta l4proto . th dport"]
        for rule in (
            ("inet", "host", f'{key} @dns{v} accept comment "weft dns"'),
            ("inet", "prerouting", f"dnat {family} to {key} map @dns{v}_at"),
        )
    },
    ("inet", "host", "iifname . ip6 daddr @own6 udp dport 53 accept"): ("six: DNS",),
    ("inet", "host", "iifname . ip6 daddr @own6 tcp dport 53 accept"): ("six: DNS by TCP",),
}
