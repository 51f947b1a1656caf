"""Networks, endpoints, sandboxes: the names they derive are the same every time and never shared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.core.model.address import Cidr, parse_address, parse_subnet
from weft.core.model.network import Endpoint, Network, Pool, Sandbox, derived_bridge

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True)
ROOT = "0123abcd"


def network(name: str = "blue", root: str = ROOT, number: int = 3) -> Network:
    pool = Pool(parse_subnet("192.168.10.0/24"), parse_address("192.168.10.1"))
    return Network(root, name, number, (pool,), "lxcbr0")


def endpoint(net: str = "blue", container: str = "web", root: str = ROOT, mac: str = "") -> Endpoint:
    return Endpoint(root, net, container, (Cidr(parse_address("192.168.10.11"), 24),), mac)


def test_a_network_by_its_parts() -> None:
    blue = network()
    assert blue.mark == f"weft:{blue.id}"
    assert (blue.group, str(blue.pool4.gateway)) == (0x77650003, "192.168.10.1")
    assert derived_bridge(ROOT, "blue") == "wb" + blue.id[:12]


@given(NAMES, NAMES, NAMES)
def test_ids_of_kinds_never_meet(one: str, two: str, three: str) -> None:
    """A container named as its network, or names that read the same when joined."""
    ids = [network(one).id, Sandbox(ROOT, one, one).id, endpoint(one, two).id, endpoint(two, three).id]
    assert len(set(ids)) == len(ids) - ((one, two) == (two, three))


@given(NAMES)
def test_another_root_is_another_object(name: str) -> None:
    assert network(name).id != network(name, root="ffffffff").id
    assert endpoint(name).host_ifname != endpoint(name, root="ffffffff").host_ifname


def test_the_number_and_the_address_do_not_name_it() -> None:
    assert network(number=1).id == network(number=2).id
    assert endpoint().id == endpoint()._replace(addresses=(Cidr(parse_address("192.168.10.12"), 24),)).id


def test_a_given_mac_stands_and_changes_nothing_else() -> None:
    given_mac = endpoint(mac="02:42:ac:11:00:02")
    assert given_mac.hardware == "02:42:ac:11:00:02"
    assert given_mac.host_ifname == endpoint().host_ifname
    assert str(endpoint().addresses[0]) == "192.168.10.11/24"


def test_names_in_the_hosts_file() -> None:
    assert Sandbox(ROOT, "web", "web").hosts_names == ("web",)
    assert Sandbox(ROOT, "web", "www").hosts_names == ("web", "www")
