"""An ARP announcement (RFC 5227 section 3): neighbours forget who had this address before."""

from __future__ import annotations

from _socket import AF_PACKET, SOCK_CLOEXEC, SOCK_RAW, socket

_ETHERTYPE_ARP = b"\x08\x06"
#: Ethernet, IPv4, their lengths, operation request
_HEAD = b"\x00\x01\x08\x00\x06\x04\x00\x01"


def announce(ifname: str, mac: bytes, address: bytes) -> None:
    """Broadcasts, from an interface of the calling thread's namespace, that ``mac`` has ``address``.

    An address that was free a moment ago may still stand in the host's and the siblings' caches
    under another MAC, and they would go on sending there for up to a minute.
    """
    frame = b"\xff" * 6 + mac + _ETHERTYPE_ARP + _HEAD + mac + address + bytes(6) + address
    sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
    try:
        sock.bind((ifname, 0))
        sock.send(frame)
    finally:
        sock.close()
