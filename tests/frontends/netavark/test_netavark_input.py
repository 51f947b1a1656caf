"""Podman's words: both forms of them, and what hostile input becomes: one error, in netavark's words."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontends.netavark import podman
from weft.core.model.errors import BadInput, WeftError
from weft.core.model.publish import Publish, parse_publish
from weft.frontends.netavark import read, translate
from weft.frontends.netavark.read import Wish


def parsed(value: Any) -> Wish:
    return read.read(read.document(json.dumps(value).encode()))


def decided(value: Any) -> None:
    """All that is worked out before anything is touched."""
    wish = parsed(value)
    for place in wish.places:
        if place.net.driver in translate.OWN:
            translate.asked(place.net, "", 53)
            translate.join(place, "web")
    translate.publishes(wish.ports, True)


def full() -> dict[str, Any]:
    """A wish in which everything is said."""
    net = podman.network(
        dns_enabled=True,
        network_dns_servers=["9.9.9.9"],
        options={"mtu": "1400", "isolate": "true", "metric": "50", "outbound_addr4": "203.0.113.7"},
        routes=[
            {"destination": "10.200.0.0/16", "gateway": "10.88.0.9", "metric": 5},
            {"destination": "10.201.0.0/16", "route_type": "blackhole"},
        ],
        subnets=[
            {
                "subnet": "10.88.0.0/16",
                "gateway": "10.88.0.1",
                "lease_range": {"start_ip": "10.88.0.2", "end_ip": "10.88.0.9"},
            }
        ],
        labels={"a": "b"},
    )
    part = podman.place(
        static_mac="02:00:00:00:00:02", aliases=["shop"], options={"host_interface_name": "out0"}
    )
    return podman.wish(
        {"podman": (net, part)},
        port_mappings=[podman.port(8080, range=3, protocol="tcp,udp", host_ip="203.0.113.1")],
        dns_servers=["8.8.8.8"],
        container_hostname="www",
    )


def test_both_forms_are_one() -> None:
    old, new = parsed(full()), parsed(podman.second(full()))
    assert [(p.net.name, p.interface, p.addresses) for p in old.places] == [
        (p.net.name, p.interface, p.addresses) for p in new.places
    ]
    assert old.ports == new.ports


def test_what_a_network_becomes() -> None:
    (place,) = parsed(full()).places
    found = translate.asked(place.net, "", 5353)
    assert (found.name, found.bridge, found.mtu, found.subnets, found.gateways) == (
        "podman",
        "podman0",
        1400,
        ("10.88.0.0/16",),
        ("10.88.0.1",),
    )
    options = dict(found.options)
    assert (options["metric"], options["isolate"], options["host_ipv4"]) == ("50", "true", "203.0.113.7")
    assert (options["dns"], options["dns_port"], options["dns_servers"]) == ("true", "5353", "9.9.9.9")
    joined = translate.join(place, "web")
    assert joined.routes == ("10.200.0.0/16@10.88.0.9 unicast metric 5", "10.201.0.0/16 blackhole metric 50")
    assert (joined.mac, joined.aliases, joined.options) == (
        "02:00:00:00:00:02",
        ("shop",),
        (("host_ifname", "out0"),),
    )


def test_the_default_is_strict_and_metric_100() -> None:
    (place,) = parsed(podman.wish()).places
    assert translate.asked(place.net, "", 53).options == (("metric", "100"), ("isolate", "strict"))


def test_vlans_and_vrfs() -> None:
    def options(**given: str) -> tuple[tuple[str, str], ...]:
        net = podman.network(options=given, dns_enabled=True)
        (place,) = parsed(podman.wish({"podman": (net, podman.place())})).places
        return translate.asked(place.net, "", 53).options

    assert ("vlan", "5") in options(vlan="5") and ("dns", "true") in options(vlan="5")
    assert ("vlan", "5") in options(vlan="5", mode="unmanaged")
    alone = options(vrf="red", isolate="false")
    assert ("vrf", "red") in alone and ("isolate", "strict") in alone
    assert ("dns", "true") not in alone, "the DNS server is not in the VRF"


def test_ports() -> None:
    found = translate.publishes(parsed(full()).ports, True)
    assert [str(p) for p in found] == [
        f"203.0.113.1:{8080 + n}:{80 + n}/{proto}" for proto in ("tcp", "udp") for n in range(3)
    ]
    everywhere = parsed(podman.wish(port_mappings=[podman.port()])).ports
    assert translate.publishes(everywhere, True) == (
        *parse_publish("0.0.0.0:8080:80"),
        *parse_publish("[::]:8080:80"),
    )
    assert [p.host.version for p in translate.publishes(everywhere, False)] == [4]
    assert all(isinstance(p, Publish) for p in found)


def test_no_gateway_is_nobodys_route() -> None:
    net = podman.network(subnets=[{"subnet": "10.88.0.0/24"}])
    (place,) = parsed(podman.wish({"podman": (net, podman.place())})).places
    found = translate.asked(place.net, "", 53)
    assert found.gateways == ("10.88.0.254",)
    assert ("no_default_route", "true") in found.options
    said = translate.answer(place, "02:00:00:00:00:02", ["10.88.0.2/24"], parsed(podman.wish()))
    assert said["interfaces"]["eth0"]["subnets"] == [{"gateway": None, "ipnet": "10.88.0.2/24"}]  # type: ignore[index]


NAMES = [("blue", "blue"), ("12345", "podman-2f259bab93aa"), ("default", "podman-2f259bab93aa")]


@pytest.mark.parametrize(("podmans", "wefts"), [*NAMES, ("n" * 200, "podman-2f259bab93aa")])
def test_a_name_that_weft_does_not_take(podmans: str, wefts: str) -> None:
    net = podman.network(podmans, network_interface="br0")
    (place,) = parsed(podman.wish({podmans: (net, podman.place())})).places
    assert translate.network_name(place.net) == wefts


CHANGES: list[tuple[dict[str, Any], str]] = [
    *[
        ({"options": {"vlan": text}}, 'unable to parse "vlan"')
        for text in ("0", "4095", "x", "-1", "٣", "9" * 9)
    ],
    ({"options": {"isolate": "maybe"}}, "isolate"),
    ({"options": {"mtu": "many"}}, 'unable to parse "mtu"'),
    ({"options": {"mode": "strange"}}, "invalid bridge mode"),
    ({"options": {"no_default_route": "si"}}, "no_default_route"),
    ({"ipam_options": {"driver": "dhcp"}}, "unsupported ipam driver dhcp"),
    ({"ipam_options": {"driver": "x"}}, "unsupported ipam driver x"),
    ({"subnets": []}, "no subnet"),
    ({"subnets": [{"subnet": "10.88.0.0/16"}, {"subnet": "10.88.1.0/24"}]}, "overlap"),
    ({"subnets": [{"subnet": "10.88.0.0/16"}, {"subnet": "10.88.0.0/16"}]}, "overlap"),
    ({"driver": "macvlan", "options": {"mode": "strange"}}, "invalid macvlan mode"),
    ({"driver": "ipvlan", "options": {"mode": "strange"}}, "invalid ipvlan mode"),
    ({"routes": [{"destination": "10.9.0.0/16"}]}, "no gateway"),
]


@pytest.mark.parametrize(("changes", "said"), CHANGES)
def test_networks_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WeftError) as caught:
        decided(podman.wish({"podman": (podman.network(**changes), podman.place())}))
    assert said in f"{caught.value.message} {caught.value.hint}"


PLACES: list[tuple[dict[str, Any], str]] = [
    ({"static_ips": None}, "^no static ips provided$"),
    ({"static_ips": []}, "^no static ips provided$"),
    ({"static_ips": ["10.99.0.2"]}, "^not all static IPs matched a subnet: expected 1, got 0$"),
    ({"static_ips": ["10.88.0.2", "fd00::2"]}, "^not all static IPs matched a subnet: expected 2, got 1$"),
    ({"static_ips": ["no"]}, "static ip"),
    ({"static_mac": "xx"}, "^unable to parse mac address xx"),
    ({"interface_name": ""}, "^no container interface name given$"),
]


@pytest.mark.parametrize(("changes", "said"), PLACES)
def test_places_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        decided(podman.wish({"podman": (podman.network(), podman.place(**changes))}))


PORTS: list[tuple[dict[str, Any], str]] = [
    ({"host_ip": "abcd"}, '^invalid host ip "abcd" provided for port 8080$'),
    ({"protocol": "sctp"}, "sctp"),
    ({"protocol": "tcp,icmp"}, "unknown protocol"),
    ({"range": 65535}, "ends above 65535"),
    ({"host_port": 70000}, "not in 1 to 65535"),
    ({"container_port": -1}, "not in 1 to 65535"),
]


@pytest.mark.parametrize(("changes", "said"), PORTS)
def test_ports_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WeftError, match=said):
        decided(podman.wish(port_mappings=[podman.port(**changes)]))


def paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where anything stands in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*before, key)
        yield from paths(inner, (*before, key))


def changed(path: tuple[Any, ...], value: Any) -> Any:
    """The full wish with another value at a path; ``...`` takes it out."""
    root = copy.deepcopy(full())
    inner: Any = root
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return root


NEEDED = [
    ("container_id",),
    ("container_name",),
    ("networks",),
    ("network_info",),
    ("networks", "podman", "interface_name"),
    *[
        ("network_info", "podman", key)
        for key in ("name", "id", "driver", "dns_enabled", "internal", "ipv6_enabled")
    ],
    ("port_mappings", 0, "container_port"),
    ("port_mappings", 0, "host_port"),
]


@pytest.mark.parametrize("path", NEEDED)
def test_what_must_be_there(path: tuple[Any, ...]) -> None:
    with pytest.raises(BadInput, match=f"missing field `{path[-1]}`"):
        decided(changed(path, ...))


@pytest.mark.parametrize("path", [p for p in paths(full()) if p not in NEEDED])
def test_nothing_else_must_be_there(path: tuple[Any, ...]) -> None:
    """What follows from its not being there may be an error, and a plain one."""
    try:
        decided(changed(path, ...))
    except WeftError as error:
        assert "internal" not in error.message


STRANGE = [
    [],
    {},
    [[]],
    7,
    -1,
    1 << 70,
    1.5,
    True,
    None,
    "",
    "x" * 100_000,
    "\0",
    "\ud800",
    "é",
    "../../x",
    "a b",
]


@pytest.mark.parametrize("path", list(paths(full())), ids=lambda p: ".".join(map(str, p)))
def test_any_value_anywhere_is_taken_or_refused(path: tuple[Any, ...]) -> None:
    for value in STRANGE:
        try:
            decided(changed(path, value))
        except WeftError as error:
            assert len(error.message) < 1000, path


def test_unknown_keys_are_ignored() -> None:
    for path in [(), ("networks", "podman"), ("network_info", "podman"), ("port_mappings", 0)]:
        decided(changed((*path, "unheard_of"), {"deep": [1, {"er": None}]}))


DOCUMENTS = [
    (b"", "expected a value"),
    (b"[]", "expected a map"),
    (b"null", "expected a map"),
    (b"{", "JSON Decoding error"),
    (b"{} {}", "more than one value"),
    (b'{"a": NaN}', "NaN"),
    (b"\xff{}", "stream did not contain valid UTF-8"),
    (b"[" * 10_000 + b"]" * 10_000, "recursion limit exceeded"),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "recursion limit exceeded"),
    (b'{"container_id": ' + b"1" * 5000 + b"}", "JSON Decoding error"),
    (b" " * (read.MOST + 1), "more than"),
]


@pytest.mark.parametrize(("data", "said"), DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_documents_that_are_none(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read.document(data)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    try:
        read.read(read.document(data))
    except WeftError as error:
        assert error.message


def test_a_network_that_is_not_told_of() -> None:
    broken = podman.wish(network_info={})
    with pytest.raises(BadInput, match=r"^network options for network podman not found$"):
        decided(broken)


def test_a_network_twice() -> None:
    twice = podman.second(podman.wish())
    twice["networks"] *= 2
    with pytest.raises(BadInput, match="given twice"):
        decided(twice)
