"""The small part of DNS messages that is answered many times a second (RFC 1035, RFC 6891): one question of
class IN, and perhaps an OPT record. All else is for a library (services/dns_odd.py).

Names stay as they are on the wire, lower-cased and without the root's zero byte: length bytes are below 64,
so that lower() leaves them alone.
"""

from __future__ import annotations

from _struct import Struct

from weft.core.record import Record

A, NS, CNAME, PTR, AAAA, OPT, AXFR, ANY = 1, 2, 5, 12, 28, 41, 252, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
#: What fits into a datagram of somebody who did not say how much does (RFC 1035 section 2.3.4), and what we
#: say and never exceed: no fragments on any link (DNS flag day 2020).
PLAIN, MOST = 512, 1232
#: The shortest message: a header.
HEADER = 12
#: Seconds that an answer may be kept: none, as an address may be another's a moment later.
TTL = 0

_QR, _AA, _TC, _RD, _RA, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
_OPCODE = 0x7800
_DO = 0x8000
_HEAD = Struct("!HHHHHH")
_FLAGS = Struct("!HHHHH")
_PAIR = Struct("!HH")
_OPT = Struct("!xHHIH")
#: A record whose name is that of the question, which stands at offset 12.
_RECORD = Struct("!HHHIH")
_POINTER = 0xC000 | HEADER
_UNDO_ODD = "not one question of class IN"


class Odd(Exception):
    """A message that is not of the plain kind: perhaps one all the same."""


class Question(Record):
    """A plain query. ``name`` as in the head of this file; ``end`` is where the question ends in the message.

    ``size`` is what fits into the asker's datagrams, ``edns`` whether there was an OPT record, and ``do`` its
    bit that DNSSEC is understood.
    """

    name: bytes
    type: int
    end: int
    flags: int
    size: int = PLAIN
    edns: bool = False
    do: bool = False
    version: int = 0


def read(message: bytes) -> Question:
    """What is asked. Odd when it is not one plain question, or not even a message."""
    if len(message) < HEADER:
        raise Odd("shorter than a header")
    _id, flags, questions, answers, authorities, others = _HEAD.unpack_from(message)
    if flags & (_QR | _OPCODE) or questions != 1 or answers or authorities or others > 1:
        raise Odd(_UNDO_ODD)
    end = skip_name(message, HEADER)
    if end + 4 > len(message):
        raise Odd("cut off")
    kind, klass = _PAIR.unpack_from(message, end)
    if klass != 1 or kind in (OPT, 0) or 128 <= kind < ANY:
        raise Odd(_UNDO_ODD)
    name = message[HEADER : end - 1].lower()
    end += 4
    if not others:
        if end != len(message):
            raise Odd("more behind its end")
        return Question(name, kind, end, flags)
    return _extended(message, Question(name, kind, end, flags))


def skip_name(message: bytes, at: int) -> int:
    """Where a name without pointers ends, its zero byte included. Odd when it does not, or is too long."""
    start, total = at, len(message)
    while at < total:
        length = message[at]
        at += 1 + length
        if not length:
            return at
        if length > 63 or at - start > 254:
            break
    raise Odd("no name")


def _extended(message: bytes, question: Question) -> Question:
    """With the OPT record, which is all that is left; its options mean nothing to us (RFC 6891 section 6)."""
    at = question.end
    if len(message) < at + _OPT.size or message[at]:
        raise Odd("no OPT record")
    kind, size, ttl, length = _OPT.unpack_from(message, at)
    if kind != OPT or at + _OPT.size + length != len(message):
        raise Odd("no OPT record, or more behind it")
    return question._replace(
        size=max(PLAIN, min(size, MOST)), edns=True, do=bool(ttl & _DO), version=ttl >> 16 & 0xFF
    )


def options_length(message: bytes, question: Question) -> int:
    """How many bytes of options its OPT record has: cookies make every query another one."""
    return len(message) - question.end - _OPT.size if question.edns else 0


def answer(message: bytes, question: Question, rcode: int, records: tuple[bytes, ...], limit: int) -> bytes:
    """The whole answer, its question as it was asked. What is longer than ``limit`` bytes says so instead
    (TC), and has no records."""
    opt = b""
    if question.edns:
        ttl = (rcode >> 4) << 24 | (_DO if question.do else 0)
        opt = b"\0" + _PAIR.pack(OPT, MOST) + ttl.to_bytes(4, "big") + b"\0\0"
    size = question.end + sum(map(len, records)) + len(opt)
    cut = size > limit
    flags = _QR | _AA | _RA | (question.flags & (_RD | _CD)) | (rcode & 15) | (_TC if cut else 0)
    head = _FLAGS.pack(flags, 1, 0 if cut else len(records), 0, len(opt) > 0)
    return b"".join((message[:2], head, message[HEADER : question.end], *(() if cut else records), opt))


def refusal(message: bytes, rcode: int) -> bytes:
    """An error to somebody whose message is at least a header: that alone, with his id and opcode."""
    flags = int.from_bytes(message[2:4], "big")
    kept = _QR | _RA | flags & (_OPCODE | _RD) | rcode & 15
    return message[:2] + _FLAGS.pack(kept, 0, 0, 0, 0)


def failure(message: bytes, end: int, rcode: int) -> bytes:
    """An error with the question, which ends at ``end``, and without EDNS (RFC 6891 section 7)."""
    flags = int.from_bytes(message[2:4], "big")
    kept = _QR | _RA | flags & (_OPCODE | _RD | _CD) | rcode & 15
    return message[:2] + _FLAGS.pack(kept, 1, 0, 0, 0) + message[HEADER:end]


def cut(message: bytes, end: int) -> bytes:
    """An answer of somebody else's that is too long for a datagram: its head and question, marked (TC)."""
    flags = int.from_bytes(message[2:4], "big") | _TC
    return message[:2] + _FLAGS.pack(flags, 1, 0, 0, 0) + message[HEADER:end]


def record(kind: int, data: bytes) -> bytes:
    """A record of the name that was asked for."""
    return _RECORD.pack(_POINTER, kind, 1, TTL, len(data)) + data


def is_response(message: bytes) -> bool:
    """Whether it is an answer: who answers those talks to himself one day."""
    return bool(message[2] & 0x80)


def rcode_of(message: bytes) -> int:
    """The lower four bits of an answer's code."""
    return message[3] & 15


def is_cut(message: bytes) -> bool:
    """Whether an answer says that it is not all (TC)."""
    return bool(message[2] & 2)


def asks_to_recurse(flags: int) -> bool:
    """Whether the server is to ask others (RD)."""
    return bool(flags & _RD)


def answers(message: bytes, asked: bytes, end: int) -> bool:
    """Whether a datagram answers what was asked: its id, an answer, and the same question.

    In whatever letter case: some servers change that.
    """
    if len(message) < HEADER or message[:2] != asked[:2] or not is_response(message):
        return False
    if message[4:6] == b"\0\0" and rcode_of(message) in (FORMERR, NOTIMP, SERVFAIL, REFUSED):
        return True  # some servers refuse without a word of the question
    return message[4:6] == b"\0\1" and message[HEADER:end].lower() == asked[HEADER:end].lower()


def to_wire(name: str) -> bytes:
    """A name as text, lower-cased, as it is looked up; b"" when it is none (RFC 1035 section 3.1)."""
    try:
        labels = name.lower().rstrip(".").encode("ascii").split(b".")
    except UnicodeEncodeError:
        return b""
    wire = b"".join([bytes([len(label)]) + label if len(label) < 64 else b"" for label in labels])
    good = all(0 < len(label) < 64 for label in labels) and len(wire) < 254
    return wire if good else b""


def reverse(packed: bytes) -> bytes:
    """The name under which an address is asked for (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    if len(packed) == 4:
        return to_wire(".".join([str(b) for b in reversed(packed)]) + ".in-addr.arpa")
    return to_wire(".".join(reversed(packed.hex())) + ".ip6.arpa")
