"""Third-party plug-ins: found by Docker's rules, and asked with patience that ends."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from weft.core.model.errors import BadInput, NotFound, PeerError, WireError
from weft.linux import plugins

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def said(data: object) -> bytes:
    body = json.dumps(data).encode()
    return OK % (len(body), body)


def request(client: socket.socket) -> bytes:
    """All of one, as its Content-Length says."""
    heard = b""
    while True:
        heard += client.recv(1 << 16)
        head, blank, body = heard.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if blank and len(body) == int(length[1] if length else 0):
            return heard


class Peer:
    """Answers each connection with the next of these, after reading what came."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.answers: list[bytes | Callable[[socket.socket], None]] = []
        self.heard: list[bytes] = []
        sock.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client = self.sock.accept()[0]
                self.heard.append(request(client))
                answer = self.answers.pop(0)
                client.sendall(answer) if isinstance(answer, bytes) else answer(client)
                client.close()
            except OSError:
                return


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = plugins.find
    specs = (str(tmp_path / "etc"), str(tmp_path / "lib"))
    monkeypatch.setattr(plugins, "find", lambda name: found(name, str(tmp_path / "run"), specs))
    for folder in ("run", "etc", "lib"):
        (tmp_path / folder).mkdir()
    return tmp_path


@pytest.fixture
def peer(places: Path) -> Iterator[Peer]:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(places / "run" / "fake.sock"))
    made = Peer(sock)
    made.answers.append(said({"Implements": ["NetworkDriver"]}))
    yield made
    sock.close()


def test_where_they_are_looked_for(places: Path) -> None:
    """A socket, its folder, then .spec and .json in /etc, then in /usr/lib: the first that is there."""
    with pytest.raises(NotFound, match="no driver 'x'"):
        plugins.find("x")
    for name, text, wanted in (
        ("lib/x/x.json", '{"Addr": "tcp://h:1"}', "h"),
        ("lib/x.spec", "unix:///a", "/a"),
        ("etc/x/x.spec", "unix:///b\n", "/b"),
        ("etc/x.json", '{"Addr": "https://c:2/x", "TLSConfig": {"CAFile": "/ca"}}', "c"),
        ("run/x/x.sock", "", str(places / "run/x/x.sock")),
        ("run/x.sock", "", str(places / "run/x.sock")),
    ):
        (places / name).parent.mkdir(exist_ok=True)
        (places / name).write_text(text)
        found = plugins.find("x")
        assert (found.path or found.host) == wanted, name


@pytest.mark.parametrize(
    "text",
    ["", "unix://relative", "tcp://", "tcp://h", "tcp://h:0", "tcp://h:99999", "tcp://h:x", "ftp://h:1"],
)
def test_addresses_that_are_none(places: Path, text: str) -> None:
    (places / "etc/x.spec").write_text(text)
    with pytest.raises(BadInput, match="does not say where"):
        plugins.find("x")


@pytest.mark.parametrize(
    "text", ["{", "[]", "7", '{"Addr": 7}', '{"Addr": "tcp://h:1", "TLSConfig": 1}', "[" * 9999]
)
def test_files_that_say_nothing(places: Path, text: str) -> None:
    (places / "etc/x.json").write_text(text)
    with pytest.raises(BadInput, match="does not say where"):
        plugins.find("x")


def test_what_is_asked(peer: Peer) -> None:
    """As dockerd asks: one handshake, an Accept header, a body only where there is something to say."""
    peer.answers += [said({"a": 1}), said(None)]
    asked = plugins.Plugins()
    assert asked.call("fake", "NetworkDriver.Join", {"b": 2}) == {"a": 1}
    assert asked.call("fake", "NetworkDriver.GetCapabilities", {}) == {}
    first, second, third = peer.heard
    assert first.startswith(b"POST /Plugin.Activate HTTP/1.1\r\nHost: plugin.moby.localhost\r\n")
    assert second.endswith(b'\r\n\r\n{"b": 2}') and third.endswith(b"\r\n\r\n")
    assert b"Accept: application/vnd.docker.plugins.v1.2+json" in second
    with pytest.raises(BadInput, match="is no IpamDriver"):
        asked.call("fake", "IpamDriver.RequestPool", {})


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (said({"Err": "no\x1b[31m"}), PeerError, r"refused NetworkDriver.Join: no \[31m"),
        (said({"Error": "no"}), PeerError, "refused"),
        (said({"Err": ["no"]}), PeerError, "refused"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\nxx", PeerError, "HTTP status 500"),
        (b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", PeerError, "HTTP status 404"),
        (b"SSH-2.0-OpenSSH_9\r\n", WireError, "no HTTP"),
        (b"", WireError, "no HTTP"),
        (OK % (100, b"{"), WireError, "no HTTP"),
        (OK % (5 << 20, b" " * (5 << 20)), WireError, "more than"),
        (OK % (2, b"\xff\xfe"), WireError, "no JSON"),
        (OK % (3, b"[1]"), WireError, "no JSON object"),
        (OK % (90000, b"[" * 90000), WireError, "no JSON"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500, WireError, "no HTTP"),
    ],
)
def test_answers_that_are_none(peer: Peer, answer: bytes, kind: type[Exception], text: str) -> None:
    peer.answers.append(answer)
    with pytest.raises(kind, match=text) as error:
        plugins.Plugins().call("fake", "NetworkDriver.Join", {"x": 1})
    assert str(error.value).isprintable() and len(str(error.value)) < 700


def test_one_that_does_not_answer(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor by a byte now and then."""
    monkeypatch.setattr(plugins, "_ANSWERS", 0.2)
    held = threading.Event()

    def drip(client: socket.socket) -> None:
        client.sendall(OK % (1 << 20, b"{"))
        try:
            while not held.wait(0.01):
                client.sendall(b" ")
        except OSError:
            pass

    def hang(_: socket.socket) -> None:
        held.wait()

    peer.answers += [hang, drip]
    asked = plugins.Plugins()
    with pytest.raises(PeerError, match="has not answered"):
        asked.call("fake", "NetworkDriver.Join", {})
    held.set()
    held.clear()
    with pytest.raises(PeerError, match="has not answered"):
        asked.call("fake", "NetworkDriver.Join", {})
    held.set()


def test_one_that_comes_later(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again after 1, 2, 4 ... seconds; one that never came is not waited for a second time."""
    paused: list[float] = []
    path = places / "run" / "fake.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    clock = [0.0]

    def sleep(seconds: float) -> None:
        paused.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(plugins, "sleep", sleep)
    monkeypatch.setattr(plugins, "monotonic", lambda: clock[0])
    asked = plugins.Plugins()
    for _ in range(2):
        with pytest.raises(PeerError, match="does not listen"):
            asked.activate("fake", "NetworkDriver")
    assert paused == [1, 2, 4, 8]


def test_by_tls(places: Path) -> None:
    """As the file says: its certificate must be the one that is named, unless that is not asked for."""
    key, certificate = places / "key", places / "certificate"
    made = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += [
        "-subj",
        "/CN=x",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("not installed: openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    sock = socket.create_server(("127.0.0.1", 0))
    peer = Peer(context.wrap_socket(sock, server_side=True))
    address = f"tcp://127.0.0.1:{sock.getsockname()[1] if sock.fileno() >= 0 else peer.sock.getsockname()[1]}"
    for config in ({"CAFile": str(certificate)}, {"InsecureSkipVerify": True}):
        (places / "etc/safe.json").write_text(json.dumps({"Addr": address, "TLSConfig": config}))
        peer.answers.append(said({"Implements": ["IpamDriver"]}))
        plugins.Plugins().activate("safe", "IpamDriver")
    peer.sock.close()


def test_no_surprise_is_left() -> None:
    assert issubclass(ssl.SSLError, OSError) and not issubclass(HTTPException, OSError)
