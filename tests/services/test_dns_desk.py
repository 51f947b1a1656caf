"""What is answered to any bytes whatever: once at most, never to an answer, never by an exception."""

from __future__ import annotations

import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.tsigkeyring
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.naming.zone import Member, Served, Zone
from weft.core.wire import dns as wire
from weft.linux import library
from weft.services import dns_odd
from weft.services.dns_desk import Desk


class Nobody:
    """A forwarder that notes what it is asked, and asks nobody."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def ask(self, message: bytes, *_: object) -> bool:
        self.asked.append(message)
        return False


def desk() -> tuple[Desk, Zone, Nobody]:
    zone = Zone()
    zone.serve((Served("blue", ("10.9.0.1",)), Served("dark", ("10.8.0.1",), internal=True)))
    addresses = [f"10.9.1.{n}" for n in range(1, 100)]
    many = [
        Member("blue", a, a, bytes(map(int, a.split("."))), (f"c{n}", "pool"))
        for n, a in enumerate(addresses)
    ]
    zone.change(many, ())
    nobody = Nobody()
    return Desk(zone, nobody, zone.forget, lambda: 0.0), zone, nobody  # type: ignore[arg-type]


def say(data: bytes, source: str = "10.9.1.1", network: str = "blue", stream: bool = False) -> list[bytes]:
    made, zone, _ = desk()
    found: list[bytes] = []
    made.handle(data, zone.view(network, source), source, stream, found.append)
    return found


def check(data: bytes, found: list[bytes]) -> None:
    assert len(found) <= 1
    if len(data) < 12 or data[2] & 0x80:
        assert not found
        return
    (answer,) = found
    assert answer[:2] == data[:2]
    assert answer[2] & 0x80
    assert len(answer) <= max(1232, len(data))


@given(st.binary(max_size=700))
def test_any_bytes(data: bytes) -> None:
    check(data, say(data))


@given(st.binary(min_size=1, max_size=3), st.integers(0, 60), st.booleans())
def test_a_query_with_some_bytes_changed(noise: bytes, place: int, edns: bool) -> None:
    data = bytearray(dns.message.make_query("c1.blue", "A", use_edns=edns).to_wire())
    data[2] &= 0x7F
    data[place : place + len(noise)] = noise
    check(bytes(data), say(bytes(data)))


@given(st.lists(st.sampled_from([b"\xc0\x0c", b"\xc0\x10", b"\1a", b"\0", b"\x3f"]), max_size=40))
def test_names_that_point_in_circles(parts: list[bytes]) -> None:
    data = b"\0\7\1\0\0\1\0\1\0\0\0\0" + b"".join(parts) + b"\0\1\0\1" + b"".join(parts)
    check(data, say(data))


def code(data: bytes, **how: object) -> str:
    (answer,) = say(data, **how)  # type: ignore[arg-type]
    return dns.rcode.to_text(dns.message.from_wire(answer).rcode())


def odd(name: str = "c1", **changes: object) -> dns.message.Message:
    message: dns.message.Message = dns.message.make_query(name, "A")
    for key, value in changes.items():
        setattr(message, key, value)
    return message


def test_what_is_unusual_gets_its_error() -> None:
    notify = odd()
    notify.set_opcode(dns.opcode.NOTIFY)
    assert code(notify.to_wire()) == "NOTIMP"
    chaos = dns.message.make_query("version.bind", "TXT", dns.rdataclass.CH)
    assert code(chaos.to_wire()) == "REFUSED"
    assert code(dns.message.make_query("c1", "AXFR").to_wire()) == "REFUSED"
    two = odd()
    two.question.append(dns.rrset.RRset(two.question[0].name, dns.rdataclass.IN, dns.rdatatype.AAAA))
    assert code(two.to_wire()) == "FORMERR"
    assert code(odd().to_wire() + b"more") == "FORMERR"
    newer = dns.message.make_query("c1", "A", use_edns=1)
    assert code(newer.to_wire()) == "BADVERS"
    signed = odd()
    signed.use_tsig(dns.tsigkeyring.from_text({"key.": "c2VjcmV0"}), "key.")
    assert code(signed.to_wire()) == "NOTAUTH"


def test_a_question_with_more_than_usual_is_answered_all_the_same() -> None:
    message = odd()
    message.additional.append(dns.rrset.from_text("extra.", 0, "IN", "TXT", "said"))
    message.use_edns(0)
    (answer,) = say(message.to_wire())
    assert "10.9.1.2" in str(dns.message.from_wire(answer).answer[0])


def test_without_the_library_what_is_unusual_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_odd, "_library", lambda: None)
    chaos = dns.message.make_query("version.bind", "TXT", dns.rdataclass.CH)
    assert code(chaos.to_wire()) == "FORMERR"
    assert code(odd("c1").to_wire()) == "NOERROR"


def test_a_flood_of_the_unusual_is_answered_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    real = dns_odd._library

    def count() -> object:
        nonlocal asked
        asked += 1
        return real()

    monkeypatch.setattr(dns_odd, "_library", count)
    made, zone, _ = desk()
    chaos = dns.message.make_query("version.bind", "TXT", dns.rdataclass.CH).to_wire()
    found: list[bytes] = []
    for _ in range(500):
        made.handle(chaos, zone.view("blue", "10.9.1.1"), "10.9.1.1", False, found.append)
    assert (asked, len(found)) == (200, 500)


def test_a_library_that_is_not_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_places", lambda: ["/nonexistent"])
    assert library.find("nosuch", "nosuch.part") is None


def test_too_much_for_a_datagram_is_cut_and_whole_by_tcp() -> None:
    asked = dns.message.make_query("pool", "A")
    (small,) = say(asked.to_wire())
    assert wire.is_cut(small) and len(small) < 512
    (whole,) = say(asked.to_wire(), stream=True)
    assert sum(len(s) for s in dns.message.from_wire(whole).answer) == 99
    (more,) = say(dns.message.make_query("pool", "A", use_edns=0, payload=4096).to_wire())
    assert wire.is_cut(more)  # 99 records are more than fits into any datagram of ours


def test_who_has_several_addresses_gives_another_one_first_each_time() -> None:
    made, zone, _ = desk()
    asked = dns.message.make_query("pool", "A").to_wire()
    found: list[bytes] = []
    for _ in range(2):
        made.handle(asked, zone.view("blue", "10.9.1.1"), "10.9.1.1", True, found.append)
    first, second = [dns.message.from_wire(f).answer[0][0] for f in found]
    assert first != second


def test_internal_networks_ask_nobody() -> None:
    made, zone, nobody = desk()
    found: list[bytes] = []
    for network, source, expected in (("dark", "10.8.0.1", 0), ("blue", "10.9.0.1", 1)):
        asked = dns.message.make_query("example.com", "A").to_wire()
        made.handle(asked, zone.view(network, source), source, False, found.append)
        assert len(nobody.asked) == expected
    assert [wire.rcode_of(f) for f in found] == [wire.NXDOMAIN, wire.SERVFAIL]


def test_strangers_are_refused_and_nobody_is_asked_for_them() -> None:
    made, zone, nobody = desk()
    found: list[bytes] = []
    for name in ("c1", "c1", "example.com"):
        asked = dns.message.make_query(name, "A").to_wire()
        made.handle(asked, zone.view("blue", "192.0.2.7"), "192.0.2.7", False, found.append)
    assert [wire.rcode_of(f) for f in found] == [wire.REFUSED] * 3
    assert not nobody.asked


def test_answers_are_kept_by_what_was_asked_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made, zone, _ = desk()
    view = zone.view("blue", "10.9.1.1")
    asked = dns.message.make_query("c1", "A").to_wire()
    made.handle(asked, view, "10.9.1.1", False, lambda _: None)
    assert view.answers[asked[2:]]
    monkeypatch.setattr("weft.services.dns_desk._KEPT", 50)
    for n in range(500):
        message = dns.message.make_query(f"nobody{n}.dns.podman", "A").to_wire()
        made.handle(message, zone.view("blue", "10.9.1.1"), "10.9.1.1", False, lambda _: None)
    assert sum(map(len, zone._answers.values())) <= 51
