"""The plain kind of DNS messages, read as dnspython reads them; answers that dnspython understands."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.reversename
from hypothesis import given
from hypothesis import strategies as st

from weft.core.wire import dns as wire

LABELS = st.text("abcXYZ019-_", min_size=1, max_size=63)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join).filter(lambda n: len(n) < 250)
KINDS = st.sampled_from(["A", "AAAA", "PTR", "MX", "TXT", "HTTPS", "ANY", "TYPE65280"])


def library(name: dns.name.Name) -> bytes:
    """A name as the library writes it, less the root."""
    found = name.to_wire()
    assert found
    return found[:-1]


@given(NAMES, KINDS, st.none() | st.integers(0, 65535), st.booleans())
def test_a_question_is_read_as_the_library_reads_it(
    name: str, kind: str, size: int | None, dnssec: bool
) -> None:
    asked = dns.message.make_query(
        name, kind, use_edns=size is not None, payload=size or 0, want_dnssec=dnssec and size is not None
    )
    found = wire.read(asked.to_wire())
    assert found.name == wire.to_wire(name) == library(dns.name.from_text(name)).lower()
    assert found.type == dns.rdatatype.from_text(kind)
    assert found.edns == (size is not None)
    assert found.size == (max(512, min(size, 1232)) if size is not None else 512)


@given(st.binary(max_size=600))
def test_bytes_are_a_question_or_odd(data: bytes) -> None:
    try:
        found = wire.read(data)
    except wire.Odd:
        return
    parsed = dns.message.from_wire(data)
    assert len(parsed.question) == 1
    assert found.end <= len(data)


@given(NAMES, st.data())
def test_a_message_with_one_byte_changed_is_read_or_odd(name: str, data: st.DataObject) -> None:
    message = bytearray(dns.message.make_query(name, "A", use_edns=0).to_wire())
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] = data.draw(st.integers(0, 255))
    try:
        wire.read(bytes(message))
    except wire.Odd:
        pass


def test_pointers_in_a_question_are_odd() -> None:
    head = b"\0\1\1\0\0\1\0\0\0\0\0\0"
    for name in (b"\xc0\x0c", b"\x01a\xc0\x0c", b"\x40a\0", b"\x3f" + b"a" * 10):
        try:
            wire.read(head + name + b"\0\1\0\1")
        except wire.Odd:
            continue
        raise AssertionError(name)


@given(NAMES, st.booleans(), st.lists(st.binary(min_size=4, max_size=4), max_size=60))
def test_an_answer_is_understood_and_keeps_the_letter_case(name: str, edns: bool, found: list[bytes]) -> None:
    asked = dns.message.make_query(name, "A", use_edns=edns)
    question = wire.read(asked.to_wire())
    records = tuple([wire.record(wire.A, packed) for packed in dict.fromkeys(found)])
    data = wire.answer(asked.to_wire(), question, wire.NOERROR, records, question.size)
    assert len(data) <= question.size
    parsed = dns.message.from_wire(data)
    assert asked.is_response(parsed)
    assert str(parsed.question[0].name) == str(asked.question[0].name)  # names compare without letter case
    assert (parsed.edns >= 0) == edns
    cut = bool(parsed.flags & dns.flags.TC)
    assert sum(len(s) for s in parsed.answer) == (0 if cut else len(records))


@given(st.ip_addresses().filter(lambda a: not str(a).startswith("::ffff:")))
def test_reverse_names_are_the_library_s(address: object) -> None:
    expected = library(dns.reversename.from_address(str(address)))
    assert wire.reverse(address.packed) == expected  # type: ignore[attr-defined]


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_none(text: str) -> None:
    found = wire.to_wire(text)
    assert not found or len(dns.name.from_wire(found + b"\0", 0)[0].labels) > 1


@given(st.binary(max_size=80), st.binary(min_size=12, max_size=80))
def test_only_the_answer_to_a_question_answers_it(data: bytes, asked: bytes) -> None:
    if wire.answers(data, asked, len(asked)):
        assert data[:2] == asked[:2]
        assert data[2] & 0x80
