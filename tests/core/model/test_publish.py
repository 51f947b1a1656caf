"""``-p``: every form of the contract, every slip, and which ports clash."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.model.address import parse_address
from weft.core.model.errors import BadInput
from weft.core.model.publish import Publish, parse_publish

PORTS = st.integers(1, 65535)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("8080:80", ["127.0.0.1:8080:80/tcp"]),
        ("8080:80/tcp", ["127.0.0.1:8080:80/tcp"]),
        ("53:53/udp", ["127.0.0.1:53:53/udp"]),
        ("0.0.0.0:8080:80", ["0.0.0.0:8080:80/tcp"]),
        ("203.0.113.1:1:65535/udp", ["203.0.113.1:1:65535/udp"]),
        ("8000-8002:80-82", ["127.0.0.1:8000:80/tcp", "127.0.0.1:8001:81/tcp", "127.0.0.1:8002:82/tcp"]),
        ("0.0.0.0:7-7:9-9/udp", ["0.0.0.0:7:9/udp"]),
    ],
)
def test_what_is_said(spec: str, said: list[str]) -> None:
    assert [str(p) for p in parse_publish(spec)] == said


@pytest.mark.parametrize(
    "spec",
    [
        "",
        ":",
        "::",
        "a",
        "80:",
        "8080:http",
        "0:80",
        "8080:0",
        "65536:80",
        "8080:65536",
        "-1:80",
        "+1:80",
        " 80:80",
        "80:80 ",
        "80:80\n",
        "8٠:80",
        "8080:80/sctp",
        "8080:80/",
        "8080:80/TCP",
        "8080:80/tcp/udp",
        "8080:80-81",
        "8080-8081:80-82",
        "8081-8080:80-81",
        "8080-:80",
        "-8080:80",
        "1:2:3:4",
        "localhost:8080:80",
        "256.0.0.1:8080:80",
        "0.0.0.0.0:8080:80",
        "127.0.0.1/8:8080:80",
        "::1:8080:80",
        "[::1]",
        "[::1]:",
        "[::1]80:80",
        "[::1:80:80",
        "::1]:80:80",
        "[127.0.0.1]:80:80",
        "[fe80::1%eth0]:80:80",
        "[]:80:80",
        "[::1]:1:2:3",
        "9" * 5000 + ":80",
    ],
    ids=ascii,
)
def test_slips(spec: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_publish(spec)
    assert re.fullmatch(r"[ -~]+", caught.value.message)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("80", [("127.0.0.1", 80, 0, 0)]),
        ("80/udp", [("127.0.0.1", 80, 0, 0)]),
        (":80", [("127.0.0.1", 80, 0, 0)]),
        ("80-82", [("127.0.0.1", n, 0, 0) for n in (80, 81, 82)]),
        ("0.0.0.0::80", [("0.0.0.0", 80, 0, 0)]),
        ("127.0.0.1::53/udp", [("127.0.0.1", 53, 0, 0)]),
        ("[::]::80-81", [("::", 80, 0, 0), ("::", 81, 0, 0)]),
        ("9000-9003:80", [("127.0.0.1", 80, 9000, 9003)]),
        ("[::1]:1-65535:80", [("::1", 80, 1, 65535)]),
    ],
)
def test_ports_that_weft_is_to_choose(spec: str, said: list[tuple[str, int, int, int]]) -> None:
    found = parse_publish(spec)
    assert [(str(p.host), p.port, p.low, p.high) for p in found] == said
    assert {p.host_port for p in found} == {0}
    assert {p.proto for p in found} == {"udp" if spec.endswith("/udp") else "tcp"}


def test_sctp_is_refused_with_its_reason() -> None:
    with pytest.raises(BadInput, match="SCTP is not served"):
        parse_publish("132:132/sctp")


@given(st.text(alphabet="0123456789:-[]./tcpud \n\x00é", max_size=24))
def test_whatever_is_written_is_ports_or_bad_input(spec: str) -> None:
    try:
        found = parse_publish(spec)
    except BadInput as error:
        assert error.message.isprintable()
        return
    for one in found:
        assert 0 < one.port < 65536 and 0 <= one.host_port < 65536 and 0 <= one.low <= one.high < 65536
        if one.host_port:
            assert parse_publish(str(one)) == (one,)


@given(st.ip_addresses(), PORTS, PORTS, st.sampled_from(["tcp", "udp"]))
def test_round_trip(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address, outer: int, inner: int, proto: str
) -> None:
    spec = f"[{host}]:{outer}:{inner}/{proto}" if host.version == 6 else f"{host}:{outer}:{inner}/{proto}"
    (found,) = parse_publish(spec)
    assert str(found) == spec
    assert found == Publish(proto, parse_address(str(host)), outer, inner)
    assert found.covers_loopback == (host.is_loopback or int(host) == 0)


@given(PORTS, st.integers(0, 300))
def test_ranges_lead_port_by_port(low: int, more: int) -> None:
    high = min(65535, low + more)
    found = parse_publish(f"{low}-{high}:{low}-{high}")
    assert [(p.host_port, p.port) for p in found] == [(n, n) for n in range(low, high + 1)]


HOSTS = st.sampled_from(["0.0.0.0", "127.0.0.1", "127.0.0.2", "203.0.113.1", "::", "::1", "2001:db8::1"])
PUBLISHES = st.builds(
    Publish, st.sampled_from(["tcp", "udp"]), HOSTS.map(parse_address), st.integers(1, 2), st.integers(1, 3)
)


@given(PUBLISHES, PUBLISHES)
def test_clashes_are_what_two_listeners_could_not_share(one: Publish, two: Publish) -> None:
    """Held sockets of IPv6 are V6ONLY: 0.0.0.0 and [::] are two."""
    wild = one.host.value == 0 or two.host.value == 0
    shared = one.host.version == two.host.version and (one.host == two.host or wild)
    expected = one.proto == two.proto and one.host_port == two.host_port and shared
    assert one.clashes(two) == two.clashes(one) == expected
    if one.key == two.key:
        assert expected
