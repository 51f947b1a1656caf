"""Frames as bytes, honest and forged. Each carries ``<<LABEL>>``, by which frames.py knows it again."""

from __future__ import annotations

import ipaddress
import struct

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, IPV4, IPV6, VLAN, QINQ = b"\x08\x06", b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\xa8"


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def ether(source: str, kind: bytes, payload: bytes, *, to: str = BROADCAST, tags: bytes = b"") -> bytes:
    """``tags`` stand between the addresses and the type, as 802.1Q has them."""
    return mac(to) + mac(source) + tags + kind + payload


def tag(number: int, kind: bytes = VLAN) -> bytes:
    return kind + number.to_bytes(2, "big")


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(sender_mac: str, sender_ip: str, label: str) -> bytes:
    """A reply that says: this address is at that MAC. The label is in what would be padding."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
    return head + mac(sender_mac) + ip(sender_ip) + mac(BROADCAST) + ip(sender_ip) + f"<<{label}>>".encode()


def udp4(source: str, target: str, label: str, port: int = 4444) -> bytes:
    text = f"<<{label}>>".encode()
    datagram = struct.pack("!HHHH", 4444, port, 8 + len(text), 0) + text
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0) + ip(source) + ip(target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + datagram


def icmp6(source: str, kind: int, rest: bytes, label: str) -> bytes:
    """An ICMPv6 message to all nodes; the label goes after it, where options would be."""
    target = ip("ff02::1")
    body = struct.pack("!BBH", kind, 0, 0) + rest + f"<<{label}>>".encode()
    pseudo = ip(source) + target + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + ip(source) + target + body


def router_advertisement(source: str, label: str) -> bytes:
    return icmp6(source, 134, struct.pack("!BBHII", 64, 0, 1800, 0, 0), label)


def neighbour_advertisement(source: str, label: str) -> bytes:
    return icmp6(source, 136, bytes([0x20, 0, 0, 0]) + ip(source), label)


def echo6(source: str, label: str) -> bytes:
    return icmp6(source, 128, bytes(4), label)


def extended6(source: str, label: str) -> bytes:
    """A router advertisement behind a destination-options header, which fools who looks at one header."""
    plain = router_advertisement(source, label)
    options = bytes([58, 0, 1, 4, 0, 0, 0, 0])
    head = bytearray(plain[:40])
    head[4:6] = struct.pack("!H", len(plain) - 40 + len(options))
    head[6] = 60
    return bytes(head) + options + plain[40:]


def bpdu(source: str, label: str) -> bytes:
    """A spanning-tree message in an 802.3 frame, to the bridges' own group address."""
    body = b"\x42\x42\x03" + bytes(35) + f"<<{label}>>".encode()
    return mac("01:80:c2:00:00:00") + mac(source) + len(body).to_bytes(2, "big") + body
