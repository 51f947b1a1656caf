"""DNS messages that are not one plain question, as dnspython reads them; without it, the error they get.

Nothing here trusts the message: whatever it makes the library do, one answer comes out.
"""

from __future__ import annotations

from weft.core.wire import dns
from weft.core.wire.dns import Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOTAUTH = 9
_IN = 1


#: Records that a query may bring along, and how long it may be: what is more is no query of anybody's.
_RECORDS, _LONGEST = 8, 1024


def read(message: bytes, patient: bool = True) -> Question | bytes:
    """What is asked after all, or the error that is the answer. ``message`` has a header at least.

    Without ``patient`` the library is not asked: it takes a fifth of a millisecond.
    """
    if message[2] & 0x78:
        return dns.refusal(message, dns.NOTIMP)
    answers, authorities, others = message[6:8], message[8:10], int.from_bytes(message[10:12], "big")
    plausible = answers == authorities == b"\0\0" and others <= _RECORDS and len(message) <= _LONGEST
    library = _library() if plausible and patient and message[4:6] == b"\0\1" else None
    if library is None:
        return dns.refusal(message, dns.FORMERR)
    try:
        parsed = library.from_wire(message)
    except library.UnknownTSIGKey:
        return dns.refusal(message, _NOTAUTH)
    except Exception:  # whatever a hostile message brings about in somebody else's code
        return dns.refusal(message, dns.FORMERR)
    return _asked(message, parsed)


def _asked(message: bytes, parsed: Any) -> Question | bytes:
    """The question of a message that is one: of class IN, and of data rather than of the server."""
    if len(parsed.question) != 1 or parsed.answer or parsed.authority:
        return dns.refusal(message, dns.FORMERR)
    asked = parsed.question[0]
    try:
        end = dns.skip_name(message, dns.HEADER) + 4
    except dns.Odd:
        return dns.refusal(message, dns.FORMERR)  # a question by pointers: nobody has written it so
    if asked.rdclass != _IN or 128 <= asked.rdtype < dns.ANY or asked.rdtype in (0, dns.OPT):
        return dns.failure(message, end, dns.REFUSED)
    extended = parsed.edns >= 0
    if parsed.edns > 0:
        return dns.failure(message, end, dns.FORMERR)
    size = max(dns.PLAIN, min(parsed.payload, dns.MOST)) if extended else dns.PLAIN
    flags = int.from_bytes(message[2:4], "big")
    return Question(message[dns.HEADER : end - 5].lower(), int(asked.rdtype), end, flags, size, extended)


def _library() -> Any:
    """dnspython; None where it is not installed."""
    from weft.linux.library import find

    return find("dns", "dns.message")
