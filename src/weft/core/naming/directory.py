"""The files of aardvark-dns's configuration directory, one a network (aardvark-dns, src/config/mod.rs).

The file's name is the network's, with ``%int`` behind it where that is internal. Its first line says where to
listen and, perhaps, whom to ask: ``IP[,IP..][ SERVER[,SERVER..]]``. Each other one is a container:
``ID IP4,.. IP6,.. NAME,.. [SERVER,..]``; lists may be empty, so that two blanks follow each other.
"""

from __future__ import annotations

from weft.core.model.address import parse_address
from weft.core.model.errors import BadInput
from weft.core.naming.zone import Member, Served

INTERNAL = "%int"
_SHORT = 12


def read(name: str, text: str, port: int) -> tuple[Served, list[Member]]:
    """A network and its members. BadInput names the line."""
    lines = text.split("\n")
    listen, _, servers = lines[0].strip().partition(" ")
    try:
        served = Served(
            name.removesuffix(INTERNAL),
            _addresses(listen),
            port,
            _addresses(servers),
            name.endswith(INTERNAL),
        )
        if not served.gateways:
            raise BadInput("no address to listen on")
    except BadInput as error:
        raise BadInput(f"network file {name!a} line 1: {error}") from None
    members: list[Member] = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            try:
                members += _members(served.name, line)
            except BadInput as error:
                raise BadInput(f"network file {name!a} line {number}: {error}") from None
    return served, members


def _members(network: str, line: str) -> list[Member]:
    words = line.rstrip("\r").split(" ")
    if len(words) < 4:
        raise BadInput(f"{len(words)} words, a container has 4 or more")
    key, four, six, names = words[:4]
    called = [n for n in names.lower().split(",") if n]
    if len(key) >= _SHORT and key[:_SHORT].lower() not in called:
        called.append(key[:_SHORT].lower())
    servers = _addresses(words[4]) if len(words) > 4 else ()
    addresses = [*_addresses(four), *_addresses(six)]
    return [Member(network, key, a, parse_address(a).packed, tuple(called), servers) for a in addresses]


def _addresses(text: str) -> tuple[str, ...]:
    """Addresses, as the kernel writes them. Those of a link keep its name (fe80::1%eth0)."""
    found = []
    for word in text.split(","):
        if word.strip():
            address, percent, zone = word.strip().partition("%")
            found.append(f"{parse_address(address)}{percent}{zone}")
    return tuple(found)
