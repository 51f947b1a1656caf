"""What the macvlan and ipvlan drivers want."""

from __future__ import annotations

import pytest

from weft.core.drivers import macvlan
from weft.core.model.address import Cidr, parse_address, parse_subnet
from weft.core.model.network import Endpoint, Network, Pool, Sandbox
from weft.core.ops.file import HostsFile
from weft.core.ops.link import LinkDel
from weft.core.ops.sublink import SublinkAdd
from weft.core.ops.wire import LinkMark
from weft.core.plan.plan import Plan
from weft.engine import driven

ROOT = "0123abcd"
POOL = Pool(parse_subnet("192.168.10.0/24"), parse_address("192.168.10.1"))
WEB = Sandbox(ROOT, "web", "www")
END = Endpoint(ROOT, "lan", "web", (Cidr(parse_address("192.168.10.11"), 24),))


def lan(driver: str = "macvlan", **options: str) -> Network:
    chosen = tuple({"parent": "eth9", **options}.items())
    return Network(ROOT, "lan", 1, (POOL,), "unused", driver=driver, mtu=1400, options=chosen)


def test_a_network_is_its_names() -> None:
    assert driven.network_wants(lan(), "/hosts") == (HostsFile("/hosts"),)
    assert (lan().bridged, lan().managed, lan().mixes, lan().device) == (False, False, False, "eth9")


def test_a_link_is_born_marked_and_then_as_any_other() -> None:
    ops = driven.endpoint_wants(lan(mode="private"), WEB, END)
    link, mark = ops[:2]
    assert isinstance(link, SublinkAdd) and isinstance(mark, LinkMark)
    assert (link.parent, link.mode, link.mtu, link.peer_netns) == ("eth9", "private", 1400, "web")
    assert (link.mac, link.mark) == (END.hardware, END.mark)
    assert (link.netns, mark.netns) == ("", "web"), "its parent is the host's, its mark is inside"
    assert not any(op.kind == "nft" for op in ops), "nothing of it passes the host"
    far = driven.endpoint_wants(lan(), WEB, END, "/proc/9/ns/net")
    assert {op.netns for op in far} == {"", "/proc/9/ns/net"}


def test_the_way_back() -> None:
    born = macvlan.birth(lan(), END, "web")
    assert Plan(born).undo().ops == (LinkDel("eth0", END.mark, "web", END.hardware),)
    assert driven.unplugged(lan(), END, "web") == (LinkDel("eth0", END.mark, "web"),)
    assert driven.unplugged(lan(), END, "") == (), "it went with its namespace"


@pytest.mark.parametrize(
    ("network", "mode"), [(lan(), "bridge"), (lan("ipvlan"), "l2"), (lan("ipvlan", mode="l3"), "l3")]
)
def test_modes(network: Network, mode: str) -> None:
    link = macvlan.birth(network, END, "web")[0]
    assert isinstance(link, SublinkAdd)
    assert (link.link_kind, link.mode) == (network.driver, mode)


def test_who_has_the_parents_mac() -> None:
    for network, shared in ((lan(), False), (lan(mode="passthru"), True), (lan("ipvlan"), True)):
        link = macvlan.birth(network, END, "web")[0]
        assert isinstance(link, SublinkAdd)
        assert macvlan.shares_mac(network) == (link.mac == "") == shared
