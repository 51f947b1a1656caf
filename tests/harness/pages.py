"""Small servers to be reached through what weft built: ``python3 -IS pages.py MODE ADDRESS PORT TEXT``.

``http`` answers every request with TEXT, ``udp`` every datagram; both name the client as they saw it,
which is how a test tells whether its address was translated. ``ask`` is udp's client. An empty address
means all of them, both families. ``ready`` is printed once the port is open.
"""

from __future__ import annotations

import socket
import sys


def listener(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    family = socket.AF_INET if "." in address else socket.AF_INET6
    opened = socket.socket(family, kind)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6 and not address:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.bind((address, port))
    return opened


def plain(address: str) -> str:
    return address.removeprefix("::ffff:")


def request_ended(client: socket.socket) -> bool:
    seen = b""
    while b"\r\n\r\n" not in seen:
        chunk = client.recv(4096)
        if not chunk:
            return False
        seen += chunk
    return True


def http(address: str, port: int, text: str) -> None:
    server = listener(socket.SOCK_STREAM, address, port)
    server.listen(64)
    print("ready", flush=True)
    body = text.encode()
    while True:
        client, peer = server.accept()
        client.settimeout(2)  # someone who connects and is silent must not stop the others
        head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", f"X-Client: {plain(peer[0])}"]
        try:
            if request_ended(client):
                client.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)
        except OSError:
            pass
        client.close()


def udp(address: str, port: int, text: str) -> None:
    server = listener(socket.SOCK_DGRAM, address, port)
    if server.family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    print("ready", flush=True)
    while True:
        _, asked, _, peer = server.recvmsg(65535, 64)
        # Answer from the very address that was asked: its 16 bytes, and no interface index.
        source = [(level, kind, data[:16] + bytes(4)) for level, kind, data in asked]
        try:
            server.sendmsg([f"{text}\n{plain(peer[0])}".encode()], source, 0, peer)
        except OSError:
            pass  # no way back to that client: its own time-out will tell


def ask(address: str, port: int, seconds: str) -> None:
    client = socket.socket(socket.AF_INET if "." in address else socket.AF_INET6, socket.SOCK_DGRAM)
    client.settimeout(float(seconds))
    try:
        client.connect((address, port))
        client.send(b"?")
        print(client.recv(65535).decode())
    except OSError as error:
        sys.exit(str(error))


{"http": http, "udp": udp, "ask": ask}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), sys.argv[4])
