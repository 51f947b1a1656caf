"""IP addresses and subnets as values: version, integer, prefix length. Strict in what they accept.

``ipaddress`` takes 4 ms to import and accepts host masks: both families are parsed here, and tests compare.
"""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.record import Record

_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdefABCDEF")
_BITS = {4: 32, 6: 128}
#: Characters of the longest text of an IPv6 address, and of a wrong one that are shown.
_LONGEST, _SHOWN = 45, 64


def _parse4(text: str) -> int | None:
    try:
        raw = bytes([int(part) for part in text.split(".")])
    except ValueError:
        return None
    value = int.from_bytes(raw, "big")
    # Written back it is the same text: no leading zeros, no signs, no digits of other scripts.
    return value if len(raw) == 4 and _text4(value) == text else None


def _text4(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _groups(text: str, last: bool) -> list[int] | None:
    """Some of an IPv6 address's eight numbers; the last two may be an IPv4 address (RFC 4291 section 2.2)."""
    words = text.split(":") if text else []
    end: list[int] = []
    if last and words and "." in words[-1]:
        four = _parse4(words.pop())
        if four is None:
            return None
        end = [four >> 16, four & 0xFFFF]
    if any(not 0 < len(word) < 5 or frozenset(word) - _HEX for word in words):
        return None
    return [*[int(word, 16) for word in words], *end]


def _parse6(text: str) -> int | None:
    if len(text) > _LONGEST:
        return None
    before, gap, after = text.partition("::")
    one, two = _groups(before, not gap), _groups(after, True)
    if one is None or two is None:
        return None
    missing = 8 - len(one) - len(two)
    if missing < 1 if gap else missing:
        return None
    value = 0
    for group in (*one, *[0] * missing, *two):
        value = value << 16 | group
    return value


def _text6(value: int) -> str:
    """As RFC 5952 has it: lower case, and the first of the longest runs of zeros left out."""
    words = [f"{value >> shift & 0xFFFF:x}" for shift in range(112, -1, -16)]
    start = length = 0
    for place in range(8):
        run = 0
        while place + run < 8 and words[place + run] == "0":
            run += 1
        if run > max(length, 1):
            start, length = place, run
    if not length:
        return ":".join(words)
    return f"{':'.join(words[:start])}::{':'.join(words[start + length :])}"


class Address(Record):
    """One IP address: version 4 or 6, and its value."""

    version: int
    value: int

    def __str__(self) -> str:
        return _text4(self.value) if self.version == 4 else _text6(self.value)

    @property
    def packed(self) -> bytes:
        """The bytes on the wire, network order."""
        return self.value.to_bytes(_BITS[self.version] // 8, "big")

    @property
    def bits(self) -> int:
        """How many bits it has: 32 or 128."""
        return _BITS[self.version]

    @property
    def loopback(self) -> bool:
        """In 127.0.0.0/8, or ::1."""
        return self.value >> 24 == 127 if self.version == 4 else self.value == 1


def parse_address(text: str, what: str = "address") -> Address:
    """The address a user wrote: dotted quad without leading zeros, or RFC 4291 text without a zone."""
    value = _parse6(text) if ":" in text else _parse4(text)
    if value is None:
        raise BadInput(f"{what} {text[:_SHOWN]!a} is not an IP address", "write it as 192.168.10.11")
    return Address(6 if ":" in text else 4, value)


def from_packed(raw: bytes) -> Address:
    """The address in 4 or 16 bytes of network order."""
    return Address(4 if len(raw) == 4 else 6, int.from_bytes(raw, "big"))


class Cidr(Record):
    """An address of an interface with the prefix length of its subnet."""

    address: Address
    prefix: int

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


class Subnet(Record):
    """A subnet: the value of its first address and its prefix length; host bits are zero."""

    version: int
    base: int
    prefix: int

    def __str__(self) -> str:
        return f"{self.first}/{self.prefix}"

    @property
    def first(self) -> Address:
        """The network address itself."""
        return Address(self.version, self.base)

    @property
    def last(self) -> Address:
        """The highest address: the broadcast address of an IPv4 subnet up to /30."""
        return Address(self.version, self.base + self.size - 1)

    @property
    def size(self) -> int:
        """How many addresses there are, those included that cannot be given away."""
        return int(1 << (_BITS[self.version] - self.prefix))

    @property
    def usable(self) -> tuple[int, int]:
        """Lowest and highest value that a host may have.

        IPv4: not the network's and the broadcast address; both of a /31 (RFC 3021). IPv6: not the first,
        which
        is the routers' anycast address (RFC 4291 2.6.1); both of a /127 (RFC 6164).
        """
        if self.prefix + 1 >= _BITS[self.version]:
            return self.base, self.base + self.size - 1
        return self.base + 1, self.base + self.size - (2 if self.version == 4 else 1)

    def __contains__(self, address: Address) -> bool:
        return address.version == self.version and self.base <= address.value < self.base + self.size

    @property
    def bits(self) -> int:
        """How many bits an address of its family has."""
        return _BITS[self.version]

    def overlaps(self, other: Subnet) -> bool:
        """Whether any address is in both."""
        return (
            self.version == other.version
            and self.base < other.base + other.size
            and other.base < self.base + self.size
        )


def parse_prefix(text: str, what: str = "subnet") -> tuple[Address, int]:
    """``ADDRESS/LENGTH`` as a user wrote it, host bits allowed."""
    head, slash, tail = text.partition("/")
    address = parse_address(head, what)
    bits = _BITS[address.version]
    if not slash or not tail or len(tail) > 3 or frozenset(tail) - _DIGITS or int(tail) > bits:
        raise BadInput(f"{what} {text[:_SHOWN]!a} has no valid prefix length", f"write it as {head}/24")
    return address, int(tail)


def parse_subnet(text: str, what: str = "subnet") -> Subnet:
    """A subnet as a user wrote it; host bits set are refused, as they hide a slip."""
    address, prefix = parse_prefix(text, what)
    size = 1 << (_BITS[address.version] - prefix)
    base = address.value - address.value % size
    if base != address.value:
        meant = Subnet(address.version, base, prefix)
        raise BadInput(f"{what} {text} has host bits set", f"did you mean {meant}?")
    return Subnet(address.version, base, prefix)
