"""A name server of somebody else's, for tests: ``python -IS upstream.py ADDRESS TEXT``, UDP and TCP, port 53.

What it does is in the first label that is asked for: ``never`` (no answer), ``fail`` (SERVFAIL), ``liar`` (a
wrong id and a wrong question first), ``big`` (too long for UDP), ``back-ADDRESS`` (asks that address the same
question first: a loop), ``slow`` (half a second). Else an A record made of how often that was asked. Each
question is a line on stdout.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time


def skip(message: bytes) -> int:
    at = 12
    while message[at]:
        at += 1 + message[at]
    return at + 5


def answer(message: bytes, count: int, stream: bool) -> bytes:
    end = skip(message)
    label = message[13 : 13 + message[12]].decode()
    records = [b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, count % 256])]
    flags = 0x8180
    if label == "fail":
        records, flags = [], 0x8182
    if label == "big":
        records = [b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, n, 1]) for n in range(100)]
        if not stream:
            records, flags = [], 0x8380
    head = flags.to_bytes(2, "big") + b"\0\1" + len(records).to_bytes(2, "big") + bytes(4)
    return message[:2] + head + message[12:end] + b"".join(records)


class Server:
    def __init__(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.udp = socket.socket(family, socket.SOCK_DGRAM)
        self.tcp = socket.socket(family, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in (self.udp, self.tcp):
            sock.bind((address, 53))
        self.tcp.listen(16)
        self.counts: dict[str, int] = {}

    def count(self, message: bytes, way: str) -> int:
        label = message[13 : 13 + message[12]].decode()
        self.counts[label] = self.counts.get(label, 0) + 1
        print(way, label, message[:2].hex(), flush=True)
        return self.counts[label]

    def datagram(self, message: bytes, peer: tuple[str, int]) -> None:
        count = self.count(message, "udp")
        label = message[13 : 13 + message[12]].decode()
        found = answer(message, count, False)
        if label == "never":
            return
        if label == "slow":
            time.sleep(0.5)
        if label == "liar":
            self.udp.sendto(bytes([found[0] ^ 1]) + found[1:-1] + b"\x63", peer)
            self.udp.sendto(found[:13] + b"x" + found[14:-1] + b"\x63", peer)
        if label.startswith("back-"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(1)
                sock.connect((label[5:].replace("-", "."), 53))
                sock.send(message)
                try:
                    found = message[:2] + sock.recv(4096)[2:]
                except OSError:
                    return
        self.udp.sendto(found, peer)

    def stream(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as file:
            size = int.from_bytes(file.read(2), "big")
            message = file.read(size)
            found = answer(message, self.count(message, "tcp"), True)
            sock.sendall(len(found).to_bytes(2, "big") + found)

    def run(self) -> None:
        while True:
            ready = select.select([self.udp, self.tcp], [], [])[0]
            if self.udp in ready:
                threading.Thread(target=self.datagram, args=self.udp.recvfrom(4096), daemon=True).start()
            if self.tcp in ready:
                threading.Thread(target=self.stream, args=(self.tcp.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    server = Server(sys.argv[1])
    print("ready", flush=True)
    server.run()
