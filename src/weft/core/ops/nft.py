"""Elements of nf_tables sets and maps, tables made and deleted (nft(8)).

Networks, containers and ports are only elements: adding one costs the same at any number.
"""

from __future__ import annotations

from weft.core.model.address import from_packed, parse_address, parse_subnet
from weft.core.model.names import mac_bytes, mac_text
from weft.core.ops.base import VANISHES, Final, Names, Op, quote
from weft.core.wire import nfnetlink as nf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.ops.base import Message

    Part = tuple[str, str]  # (nft data type, text)

FAMILIES = {"inet": nf.NFPROTO_INET, "bridge": nf.NFPROTO_BRIDGE}
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-frag": 44, "ipv6-icmp": 58}

_PACK: dict[str, Callable[[str], bytes]] = {
    "ifname": lambda text: text.encode().ljust(16, b"\0"),
    "ether_addr": lambda text: mac_bytes(text) + b"\0\0",
    "ipv4_addr": lambda text: parse_address(text).packed,
    "ipv6_addr": lambda text: parse_address(text).packed,
    "integer": lambda text: int(text, 16).to_bytes(16, "big"),
    "inet_proto": lambda text: bytes([PROTOCOLS[text], 0, 0, 0]),
    "inet_service": lambda text: int(text).to_bytes(2, "big") + b"\0\0",
}
#: Lengths of a value that stands alone; in a concatenation each is padded to four bytes.
_ALONE = {
    "integer": 16,
    "ifname": 16,
    "ether_addr": 6,
    "ipv4_addr": 4,
    "ipv6_addr": 16,
    "inet_proto": 1,
    "inet_service": 2,
}


def pack(parts: tuple[Part, ...]) -> bytes:
    """The bytes of a key or of data, a concatenation when there are several parts."""
    if len(parts) == 1:
        kind, text = parts[0]
        return _PACK[kind](text)[: _ALONE[kind]]
    return b"".join([_PACK[kind](text) for kind, text in parts])


def _text(parts: tuple[Part, ...]) -> str:
    return " . ".join(f'"{text}"' if kind == "ifname" else text for kind, text in parts)


def entries(op: ElementAdd | ElementDel, comment: str | None = None) -> tuple[nf.Element, ...]:
    """One element, or the two ends of an interval where the key is a subnet."""
    if len(op.key) == 1 and "/" in op.key[0][1]:
        subnet = parse_subnet(op.key[0][1])
        end, bits = subnet.last.value + 1, subnet.bits
        data = pack(op.data) if op.data else None
        start = nf.Element(key=subnet.first.packed, data=data, comment=comment)
        if end == 1 << bits:
            return (start,)  # up to the last address there is: an interval without an end
        return start, nf.Element(key=end.to_bytes(bits // 8, "big"), flags=nf.NFT_SET_ELEM_INTERVAL_END)
    return (nf.Element(key=pack(op.key), data=pack(op.data) if op.data else None, comment=comment),)


_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
_UNPACK: dict[str, Callable[[bytes], str]] = {
    "ifname": lambda raw: raw.rstrip(b"\0").decode("utf-8", "replace"),
    "ether_addr": lambda raw: mac_text(raw[:6]),
    "ipv4_addr": lambda raw: str(from_packed(raw[:4])),
    "ipv6_addr": lambda raw: str(from_packed(raw[:16])),
    "integer": lambda raw: f"{int.from_bytes(raw[:16], 'big'):#034x}",
    "inet_proto": lambda raw: _PROTOCOL_NAMES.get(raw[0], str(raw[0])),
    "inet_service": lambda raw: str(int.from_bytes(raw[:2], "big")),
}
_TYPE_NAMES = {number: name for name, (number, _) in nf.DATATYPES.items()}


def unpack(kind: nf.Set, key: bytes) -> tuple[Part, ...]:
    """The parts of a set's key from its bytes."""
    numbers: list[int] = []
    number = kind.key_type
    while number:
        numbers.insert(0, number & 63)
        number >>= 6
    found: list[Part] = []
    at = 0
    for name in [_TYPE_NAMES[n] for n in numbers]:
        size = nf.DATATYPES[name][1]
        found.append((name, _UNPACK[name](key[at : at + size])))
        at += (size + 3) & ~3
    return tuple(found)


class ElementAdd(Op):
    """Adds one element to a set, or to a map when it has data."""

    family: str
    table: str
    set: str
    key: tuple[Part, ...]
    data: tuple[Part, ...] = ()
    comment: str = ""
    kind = "nft"

    def describe(self) -> str:
        arrow = f" : {_text(self.data)}" if self.data else ""
        return f"add {_text(self.key)}{arrow} to {self.set}"

    def shell(self) -> tuple[str, ...]:
        said = f' comment "{self.comment}"' if self.comment else ""
        data = f" : {_text(self.data)}" if self.data else ""
        element = quote(f"{{ {_text(self.key)}{said}{data} }}")
        return (f"nft add element {self.family} {self.table} {self.set} {element}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        elements = entries(self, self.comment or None)
        flags = nf.NLM_F_CREATE | nf.NLM_F_EXCL
        return tuple(nf.new_elements(FAMILIES[self.family], self.table, self.set, elements, flags))

    def undo(self) -> Op:
        return ElementDel(self.family, self.table, self.set, self.key, self.data)


class ElementDel(Op):
    """Deletes one element. ``comment`` is what it has: whoever puts it back gives it again."""

    family: str
    table: str
    set: str
    key: tuple[Part, ...]
    data: tuple[Part, ...] = ()
    comment: str = ""
    kind = "nft"

    def describe(self) -> str:
        return f"delete {_text(self.key)} from {self.set}"

    def shell(self) -> tuple[str, ...]:
        element = quote(f"{{ {_text(self.key)} }}")
        return (f"nft delete element {self.family} {self.table} {self.set} {element}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        elements = entries(self)
        bare = tuple([e._replace(data=None) for e in elements])
        return tuple(nf.del_elements(FAMILIES[self.family], self.table, self.set, bare))

    def undo(self) -> Op:
        return ElementAdd(self.family, self.table, self.set, self.key, self.data, self.comment)


class TableAdd(Op):
    """Makes a whole table: sets, chains, rules. Its text and its messages say the same.

    ``sets`` come first, then chains, then rules, as rules name both. Refuses to meet a table of
    that name: a second load of the same rules would double them.
    """

    family: str
    table: str
    comment: str
    text: str
    sets: tuple[nf.Set, ...]
    chains: tuple[nf.Chain, ...]
    rules: tuple[nf.RuleDef, ...]
    kind = "nft"

    def describe(self) -> str:
        return f"make the firewall table {self.family} {self.table}"

    def shell(self) -> tuple[str, ...]:
        # `create` refuses to meet a table of that name; with a body nft 1.0.6 makes the bare table only.
        bare = f'create table {self.family} {self.table} {{ comment "{self.comment}"; }}\n'
        return (f"nft -f - <<'END'\n{bare}{self.text}END",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        table = nf.Table(family=FAMILIES[self.family], name=self.table, comment=self.comment)
        return (
            nf.new_table(table, nf.NLM_F_CREATE | nf.NLM_F_EXCL),
            *[nf.new_set(s) for s in self.sets],
            *[nf.new_chain(c) for c in self.chains],
            *[nf.new_rule(r) for r in self.rules],
        )

    def undo(self) -> Op:
        return TableDel(self.family, self.table)


class TableDel(Op):
    """Deletes a table and all that is in it."""

    family: str
    table: str
    kind = "nft"

    def describe(self) -> str:
        return f"delete the firewall table {self.family} {self.table}"

    def shell(self) -> tuple[str, ...]:
        return (f"nft delete table {self.family} {self.table}",)

    def encode(self, names: Names) -> tuple[Message, ...]:
        return (nf.del_table(FAMILIES[self.family], self.table),)

    def undo(self) -> Final:
        return VANISHES
