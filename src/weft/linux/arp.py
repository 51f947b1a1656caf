"""Announcements by ARP (RFC 5227 section 3) and neighbour advertisement (RFC 4861 7.2.6): neighbours forget
who had this address before."""

from __future__ import annotations

from _socket import AF_PACKET, SOCK_CLOEXEC, SOCK_RAW, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ETHERTYPE_ARP = b"\x08\x06"
#: Ethernet, IPv4, their lengths, operation request
_HEAD = b"\x00\x01\x08\x00\x06\x04\x00\x01"

_ETHERTYPE_IPV6 = b"\x86\xdd"
_ALL_NODES_MAC = b"\x33\x33\0\0\0\1"
_ALL_NODES = b"\xff\x02" + bytes(13) + b"\1"
_ICMPV6 = 58
_NEIGHBOUR_ADVERTISEMENT = 136
_OVERRIDE = 0x20


def _advertisement(mac: bytes, address: bytes) -> bytes:
    """An unsolicited neighbour advertisement to all nodes, with the target's link-layer address (option
    2)."""
    body = bytes([_NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, _OVERRIDE, 0, 0, 0]) + address + b"\2\1" + mac
    pseudo = address + _ALL_NODES + len(body).to_bytes(4, "big") + bytes([0, 0, 0, _ICMPV6])
    body = body[:2] + _checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([_ICMPV6, 255])
    return head + address + _ALL_NODES + body


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum([int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)])
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _frame(mac: bytes, address: bytes) -> bytes:
    if len(address) == 16:
        return _ALL_NODES_MAC + mac + _ETHERTYPE_IPV6 + _advertisement(mac, address)
    return b"\xff" * 6 + mac + _ETHERTYPE_ARP + _HEAD + mac + address + bytes(6) + address


def announce(ifname: str, mac: bytes, addresses: Iterable[bytes]) -> None:
    """Broadcasts, from an interface of the calling thread's namespace, that ``mac`` has these addresses.

    An address that was free a moment ago may still stand in the host's and the siblings' caches
    under another MAC, and they would go on sending there for up to a minute. One socket for all: closing
    it takes the kernel an RCU grace period.
    """
    sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
    try:
        sock.bind((ifname, 0))
        for address in addresses:
            sock.send(_frame(mac, address))
    finally:
        sock.close()
