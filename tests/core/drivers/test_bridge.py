"""What the bridge driver wants: the order of making, the guard before the address, marks on all."""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.model.address import Cidr, parse_address, parse_subnet
from weft.core.model.network import Endpoint, Network, Pool, Sandbox
from weft.core.model.publish import Publish, parse_publish
from weft.core.ops.address import AddressAdd
from weft.core.ops.base import Final, Op
from weft.core.ops.link import BridgeAdd, LinkUp, VethAdd
from weft.core.ops.netns import EtcNetns, NetnsAdd, Sysctl
from weft.core.ops.nft import ElementAdd
from weft.core.ops.route import DefaultRoute
from weft.core.plan.plan import Plan

ROOT = "0123abcd"
BLUE = Network(
    ROOT, "blue", 1, (Pool(parse_subnet("192.168.10.0/24"), parse_address("192.168.10.1")),), "lxcbr0"
)
WEB = Sandbox(ROOT, "web", "www", dns=("8.8.8.8", "9.9.9.9"), search=("example.net", "lan"))
HOSTS = "/run/weft/hosts/blue"


def endpoint(*publish: Publish) -> Endpoint:
    address = parse_address("192.168.10.11")
    return Endpoint(ROOT, "blue", "web", (Cidr(address, 24),), aliases=("shop",), publish=publish)


def places(ops: tuple[Op, ...]) -> dict[str, int]:
    """Where each kind of operation stands; the first of its kind."""
    found: dict[str, int] = {}
    for n, op in enumerate(ops):
        found.setdefault(type(op).__name__, n)
    return found


def attach(end: Endpoint) -> tuple[Op, ...]:
    """All that a container in one network wants."""
    routes = driver.default_routes([(BLUE, end)], "web")
    inside = (*driver.endpoint_wants(BLUE, WEB, end), *driver.sandbox_starts(WEB), *routes)
    return (*driver.sandbox_wants(WEB, HOSTS), *inside, *driver.names_want(WEB, end, [HOSTS]))


def test_a_network_in_order() -> None:
    wants = driver.network_wants(BLUE, HOSTS)
    at = places(wants)
    assert at["HostsFile"] < at["BridgeAdd"] < at["Sysctl"] < at["ElementAdd"] < at["AddressAdd"]
    assert at["ProhibitAdd"] < at["AddressAdd"], "kept apart before anything can be routed"
    assert wants[-1] == LinkUp("lxcbr0")
    bridge = wants[at["BridgeAdd"]]
    assert isinstance(bridge, BridgeAdd)
    assert (bridge.mark, bridge.mac) == (BLUE.mark, BLUE.mac)
    assert bridge.alias == f"weft root={ROOT} network=blue"
    assert wants[at["Sysctl"]] == Sysctl("net/ipv6/conf/lxcbr0/disable_ipv6", "1")
    assert wants[at["AddressAdd"]] == AddressAdd("lxcbr0", parse_address("192.168.10.1"), 24)


def test_all_elements_of_a_network_carry_its_mark() -> None:
    elements = [op for op in driver.network_wants(BLUE, HOSTS) if isinstance(op, ElementAdd)]
    assert {e.set for e in elements} == set("bridges gateways same shielded own4 taken4 subnet4 nat4".split())
    assert all(e.comment.startswith(BLUE.mark) for e in elements)


def test_a_container_in_order() -> None:
    wants = attach(endpoint())
    at = places(wants)
    assert at["EtcNetns"] < at["NetnsAdd"] < at["VethAdd"] < at["ElementAdd"] < at["AddressAdd"]
    assert wants[at["NetnsAdd"]] == NetnsAdd("web")
    veth = wants[at["VethAdd"]]
    assert isinstance(veth, VethAdd)
    assert (veth.bridge, veth.group, veth.peer_netns, veth.peer) == ("lxcbr0", BLUE.group, "web", "eth0")
    assert veth.mark == endpoint().mark
    assert veth.mac == "fe" + veth.peer_mac[2:]
    assert "container=web" in veth.alias
    route = wants[at["DefaultRoute"]]
    assert route == DefaultRoute(parse_address("192.168.10.1"), "eth0", "web")
    assert LinkUp("lo", "web") in wants
    assert wants[-1].describe() == "name 192.168.10.11 web www shop"


def test_name_files() -> None:
    (files,) = [o for o in attach(endpoint()) if isinstance(o, EtcNetns)]
    assert files.hosts == HOSTS
    assert files.resolv == "search example.net lan\nnameserver 8.8.8.8\nnameserver 9.9.9.9\n"
    assert driver.resolv_conf(WEB._replace(search=(), dns=())) == ""


def test_a_published_port_is_elements_only() -> None:
    bare = attach(endpoint())
    local, wide, one, udp = (
        attach(endpoint(*parse_publish(spec)))
        for spec in ("8080:80", "0.0.0.0:8080:80", "203.0.113.1:8080:80", "8080:80/udp")
    )

    def more(wants: tuple[Op, ...]) -> set[str]:
        added = [op for op in wants if op not in bare]
        assert all(isinstance(op, ElementAdd) for op in added)
        return {op.set for op in added if isinstance(op, ElementAdd)}

    assert more(local) == {"loopback4"}
    assert more(wide) == {"publish4_any", "loopback4_any"}
    assert more(one) == {"publish4"}
    assert more(udp) == set(), "the proxy's own socket is the one that is dialled"


def test_the_proxy_holds_every_published_port() -> None:
    found = driver.loopback_wants(endpoint(*parse_publish("0.0.0.0:8080-8081:80-81")))
    assert [op.describe() for op in found] == [
        "hold 0.0.0.0:8080/tcp for 192.168.10.11:80",
        "hold 0.0.0.0:8081/tcp for 192.168.10.11:81",
    ]


def test_undo_goes_backwards_and_leaves_nothing_out_that_stays() -> None:
    wants = attach(endpoint(*parse_publish("0.0.0.0:8080:80")))
    undone = [type(op).__name__ for op in Plan(wants).undo().ops]
    assert undone == [
        "HostsDel",
        *["ElementDel"] * 4,
        "LinkDel",
        "NetnsDel",
        "EtcNetnsDel",
    ]


def test_forwarding_is_never_switched_off() -> None:
    undo = driver.forwarding().undo()
    assert isinstance(undo, Final)
    assert "others" in undo.reason
