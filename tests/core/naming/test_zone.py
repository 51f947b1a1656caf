"""Who sees which name: views, changes that cost what has changed, and the files of aardvark-dns."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.model.errors import BadInput
from weft.core.model.network import Network
from weft.core.naming import directory, wishes
from weft.core.naming.zone import Member, Served, Zone
from weft.core.wire import dns

BLUE = Served("blue", ("10.9.0.1", "fd09::1"), 53, ("9.9.9.9",))
RED = Served("red", ("10.8.0.1",), 53, (), True)


def member(network: str, key: str, address: str, *names: str, servers: tuple[str, ...] = ()) -> Member:
    return Member(network, key, address, ipaddress.ip_address(address).packed, names or (key,), servers)


def zone() -> Zone:
    made = Zone()
    made.serve((BLUE, RED))
    made.change(
        (
            member("blue", "web", "10.9.0.2", "web", "www.example", "Host"),
            member("blue", "web", "fd09::2", "web", "www.example", "Host"),
            member("blue", "both", "10.9.0.3", "both", "pool", servers=("8.8.8.8",)),
            member("red", "both", "10.8.0.3", "both", "pool", servers=("8.8.8.8",)),
            member("red", "db", "10.8.0.2", "db", "pool"),
        ),
        (),
    )
    return made


def seen(made: Zone, listener: str, source: str, name: str, kind: int = dns.A) -> list[str] | None:
    found = made.find(made.view(listener, source), dns.to_wire(name), kind)
    if found is None:
        return None
    return sorted(str(ipaddress.ip_address(record[12:])) for record in found)


@pytest.mark.parametrize(
    ("listener", "source", "name", "expected"),
    [
        ("blue", "10.9.0.2", "web", ["10.9.0.2"]),
        ("blue", "10.9.0.2", "WEB", ["10.9.0.2"]),
        ("blue", "10.9.0.2", "web.blue", ["10.9.0.2"]),
        ("blue", "10.9.0.2", "web.dns.podman", ["10.9.0.2"]),
        ("blue", "10.9.0.2", "www.example", ["10.9.0.2"]),
        ("blue", "10.9.0.2", "host", ["10.9.0.2"]),
        ("blue", "10.9.0.2", "db", None),
        ("blue", "10.9.0.2", "db.red", None),
        ("blue", "10.9.0.3", "db", ["10.8.0.2"]),
        ("blue", "10.9.0.3", "db.red", ["10.8.0.2"]),
        ("blue", "10.9.0.3", "db.blue", None),
        ("blue", "10.9.0.3", "pool", ["10.8.0.2", "10.8.0.3", "10.9.0.3"]),
        ("red", "10.8.0.2", "pool", ["10.8.0.2", "10.8.0.3"]),
        ("red", "10.8.0.1", "db", ["10.8.0.2"]),
        ("red", "10.8.0.1", "web", None),
        ("blue", "10.9.0.2", "host.containers.internal", ["10.9.0.1"]),
        ("red", "10.8.0.3", "host.docker.internal", ["10.8.0.1"]),
        ("blue", "10.9.0.2", "eb", None),
        ("blue", "10.9.0.2", "xweb", None),
        ("blue", "10.9.0.2", "blue", None),
        ("blue", "10.9.0.2", "dns.podman", None),
    ],
)
def test_everybody_sees_his_networks(
    listener: str, source: str, name: str, expected: list[str] | None
) -> None:
    assert seen(zone(), listener, source, name) == expected


def test_a_known_name_without_such_a_record_is_known() -> None:
    made = zone()
    assert seen(made, "blue", "10.9.0.2", "both", dns.AAAA) == []
    assert seen(made, "blue", "10.9.0.2", "web", dns.AAAA) == ["fd09::2"]
    assert seen(made, "blue", "10.9.0.2", "web", 15) == []
    assert seen(made, "blue", "10.9.0.2", "host.docker.internal", 15) == []


def test_an_address_is_told_to_who_shares_a_network() -> None:
    made = zone()
    name = dns.reverse(ipaddress.ip_address("10.8.0.2").packed)
    (record,) = made.find(made.view("red", "10.8.0.3"), name, dns.PTR) or ()
    assert record[12:] == b"\2db\3red\0"
    assert made.find(made.view("blue", "10.9.0.2"), name, dns.PTR) is None


def test_only_members_and_the_host_are_answered() -> None:
    made = zone()
    assert made.view("blue", "192.0.2.7").refused  # on an adopted bridge the LAN is near
    assert made.view("blue", "10.8.0.2").refused
    assert not made.view("blue", "10.9.0.1").refused
    assert not made.view("blue", "10.9.0.2").refused


def test_where_questions_go() -> None:
    made = zone()
    views = {source: made.view(*source) for source in [("blue", "10.9.0.2"), ("blue", "10.9.0.3")]}
    assert views["blue", "10.9.0.2"].upstreams == ("9.9.9.9",)
    assert views["blue", "10.9.0.3"].upstreams == ("8.8.8.8",)
    assert not made.view("red", "10.8.0.2").forwards
    assert not made.view("red", "10.8.0.1").forwards
    assert made.view("red", "10.8.0.3").forwards  # it has its own way out by the other network
    assert made.is_private(dns.to_wire("x.dns.podman"))
    assert not made.is_private(dns.to_wire("x.podman"))


ADDRESSES = [f"10.9.0.{n}" for n in range(2, 7)]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.sampled_from(["x", "y", "X", "z.y"]), max_size=3),
    ),
    max_size=30,
)


@given(CHANGES)
def test_changes_one_by_one_are_the_same_as_all_at_once(changes: list[tuple[str, str, list[str]]]) -> None:
    made = Zone()
    made.serve((BLUE,))
    held: dict[str, Member] = {}
    for address, key, names in changes:
        gone = held.pop(address, None)
        if gone is None:
            held[address] = member("blue", key, address, key, *names)
        made.change([held[address]] if gone is None else [], [gone] if gone else [])
    fresh = Zone()
    fresh.serve((BLUE,))
    fresh.change(held.values(), ())
    for name in ("a", "b", "c", "x", "y", "z.y"):
        assert seen(made, "blue", "10.9.0.1", name) == seen(fresh, "blue", "10.9.0.1", name)
    for zone_ in (made, fresh):
        zone_.change((), list(held.values()))
        assert not zone_.members and not zone_._reverse and not zone_._places
        assert not zone_._names["blue"].at


def test_a_network_that_goes_takes_its_members_along() -> None:
    made = zone()
    made.serve((BLUE,))
    assert {m.network for m in made.members.values()} == {"blue"}
    assert seen(made, "blue", "10.9.0.3", "db") is None


def test_a_row_of_the_store() -> None:
    row = (
        "blue",
        "podman:web",
        b"\x0a\x09\0\2",
        "webhost",
        "www cache",
        "8.8.8.8",
        "4913",
        77,
        "id=abcdef0123456789",
        1,
    )
    found = wishes.member("root", row)
    assert found.names[:4] == ("web", "webhost", "www", "cache")
    assert "abcdef012345" in found.names
    assert (found.address, found.upstreams, found.place) == ("10.9.0.2", ("8.8.8.8",), "/proc/4913/ns/net#77")


def test_a_named_namespace_of_somebody_else_s() -> None:
    row = ("blue", "cni:x", b"\x0a\x09\0\2", "", "", "1.1.1.1 9.9.9.9", "netns:x", 7, "", 0)
    found = wishes.member("root", row)
    assert found.upstreams == ("1.1.1.1", "9.9.9.9")
    assert found.place == "/run/netns/x#7"
    assert not found.out


def test_a_network_of_the_store() -> None:
    options = (("dns", "true"), ("dns_port", "5300"), ("dns_servers", "9.9.9.9 fe80::1%eth0"))
    found = wishes.served(Network("root", "blue", 1, (), "br0", internal=True, options=options))
    assert found == Served("blue", (), 5300, ("9.9.9.9", "fe80::1%eth0"), True)


FILE = (
    "10.9.0.1,fd09::1 9.9.9.9,8.8.8.8\n"
    "1234567890abcdef 10.9.0.2 fd09::2 Web,alias\n"
    "2234567890abcdef 10.9.0.3  db,223456789 1.1.1.1\n"
    "\n"
)


def test_a_file_of_aardvark() -> None:
    served, members = directory.read("blue%int", FILE, 5533)
    assert served == Served("blue", ("10.9.0.1", "fd09::1"), 5533, ("9.9.9.9", "8.8.8.8"), True)
    assert [(m.key[:1], m.address, m.names[0], m.upstreams) for m in members] == [
        ("1", "10.9.0.2", "web", ()),
        ("1", "fd09::2", "web", ()),
        ("2", "10.9.0.3", "db", ("1.1.1.1",)),
    ]
    assert "1234567890ab" in members[0].names


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("nonsense", 1),
        ("10.9.0.1 nonsense", 1),
        ("10.9.0.1\nid 10.9.0.2", 2),
        ("10.9.0.1\nid 10.9.0.2  a\nid 300.9.0.2  a", 3),
    ],
)
def test_a_file_that_makes_no_sense_names_its_line(text: str, line: int) -> None:
    with pytest.raises(BadInput, match=f"line {line}"):
        directory.read("blue", text, 53)


@given(st.text(max_size=200))
def test_any_file_is_read_or_refused(text: str) -> None:
    for head in ("", "10.9.0.1\n"):
        try:
            directory.read("blue", head + text, 53)
        except BadInput:
            pass
