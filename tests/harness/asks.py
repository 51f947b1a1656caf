"""A DNS client, for tests: asks inside a machine, understands what comes by dnspython."""

from __future__ import annotations

import json
from typing import NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.reversename

from harness.host import PYTHON, Host

_ASK = """
import json, select, socket, sys
server, port, way, patience, size, *messages = sys.argv[1:]
family = socket.AF_INET6 if ":" in server else socket.AF_INET
kind = socket.SOCK_STREAM if way == "tcp" else socket.SOCK_DGRAM
s = socket.socket(family, kind)
s.settimeout(float(patience))
found = []
try:
    s.connect((server, int(port)))
    data = b"".join(
        len(m).to_bytes(2, "big") * (way == "tcp") + m for m in map(bytes.fromhex, messages)
    ) if way == "tcp" else None
    if data is not None:
        s.sendall(data)
        f = s.makefile("rb")
        for _ in messages:
            n = int.from_bytes(f.read(2), "big")
            found.append(f.read(n).hex())
    else:
        for m in messages:
            s.send(bytes.fromhex(m))
            found.append(s.recv(65535).hex())
except OSError:
    pass
print(json.dumps(found))
"""


class Said(NamedTuple):
    """What a server said: ``answers`` are (name, TYPE value), in order."""

    said: str
    answers: tuple[str, ...] = ()
    truncated: bool = False
    message: dns.message.Message | None = None


def raw(
    host: Host,
    server: str,
    *messages: bytes,
    port: int = 53,
    netns: str | None = None,
    tcp: bool = False,
    patience: float = 5,
) -> list[bytes]:
    """The answers to these bytes, one after the other; fewer when one does not come in time."""
    words = [server, str(port), "tcp" if tcp else "udp", str(patience), "0", *[m.hex() for m in messages]]
    got = host.run([*PYTHON, "-c", _ASK, *words], netns=netns, timeout=patience * len(messages) + 10)
    return [bytes.fromhex(text) for text in json.loads(got.stdout)]


def query(name: str, kind: str = "A", edns: int | None = None) -> dns.message.QueryMessage:
    """A question; of an address that is its PTR's."""
    asked = dns.reversename.from_address(name) if kind == "PTR" else name
    return dns.message.make_query(asked, kind, use_edns=edns is not None, payload=edns or 0)


def ask(
    host: Host,
    server: str,
    name: str,
    kind: str = "A",
    *,
    port: int = 53,
    netns: str | None = None,
    tcp: bool = False,
    edns: int | None = None,
    patience: float = 5,
) -> Said:
    """One question; ``said`` is the answers, NODATA, the error's name, or "nothing"."""
    asked = query(name, kind, edns)
    found = raw(host, server, asked.to_wire(), port=port, netns=netns, tcp=tcp, patience=patience)
    return understood(found[0], asked) if found else Said("nothing")


def understood(data: bytes, asked: dns.message.Message) -> Said:
    """An answer, which must be one to what was asked."""
    message = dns.message.from_wire(data)
    assert message.id == asked.id
    assert message.question in (asked.question, []), (message.question, asked.question)
    answers = tuple(f"{dns.rdatatype.to_text(s.rdtype)} {rdata}" for s in message.answer for rdata in s)
    cut = bool(message.flags & dns.flags.TC)
    code = dns.rcode.to_text(message.rcode())
    words = " ".join(sorted(a.partition(" ")[2] for a in answers)) or ("truncated" if cut else "NODATA")
    return Said(words if code == "NOERROR" else code, answers, cut, message)
