"""A plug-in's socket: HTTP as dockerd speaks it, and as nobody should."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host import REPO

PROGRAM = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from weft.core.model.errors import WeftError
from weft.services.plugin import serve
def handler(method, body):
    if method == "Die":
        os._exit(9)
    if method == "Raise":
        raise ValueError("unforeseen")
    rest = (lambda: open(sys.argv[3], "w").close()) if method == "Later" else None
    if method == "Wait":
        os.read(os.open(sys.argv[3], os.O_RDONLY), 1)
    return 200, method.encode() + b" " + body, rest
try:
    serve(sys.argv[2], handler, lambda: print("ready", flush=True))
except WeftError as error:
    print("error:", error, flush=True)
"""


def start(path: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", PROGRAM, str(REPO / "src"), str(path), f"{path}.done"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "plugins" / "weft.sock"
    process = start(path)
    assert line(process) == "ready"
    yield path
    process.terminate()
    assert process.wait(10) == 0
    assert not path.exists()


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(path))
    return sock


def post(path: Path, method: str, body: bytes = b"") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("plugin.moby.localhost")
    connection.sock = connect(path)
    connection.request("POST", f"/{method}", body, {"Accept": "application/vnd.docker.plugins.v1.2+json"})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    assert answer.getheader("Content-Type") == "application/vnd.docker.plugins.v1.2+json"
    connection.close()
    return found


def raw(path: Path, data: bytes) -> bytes:
    with connect(path) as sock:
        sock.sendall(data)
        found = b""
        while chunk := sock.recv(1 << 16):
            found += chunk
        return found


def test_requests(served: Path) -> None:
    assert post(served, "Plugin.Activate") == (200, b"Plugin.Activate ")
    assert post(served, "A.B", b'{"a": 1}' * 10_000) == (200, b"A.B " + b'{"a": 1}' * 10_000)
    assert served.stat().st_mode & 0o777 == 0o660
    os.mkfifo(f"{served}.done")
    assert post(served, "Later") == (200, b"Later "), "who asked does not wait for what is done after it"
    Path(f"{served}.done").read_text()


def test_many_at_once(served: Path) -> None:
    """One that takes its time keeps no other waiting."""
    os.mkfifo(f"{served}.done")
    slow = threading.Thread(target=post, args=(served, "Wait"))
    slow.start()
    found: list[tuple[int, bytes]] = []
    many = [threading.Thread(target=lambda n=n: found.append(post(served, f"A{n}"))) for n in range(40)]
    for thread in many:
        thread.start()
    for thread in many:
        thread.join()
    assert sorted(found) == sorted([(200, b"A%d " % n) for n in range(40)])
    assert slow.is_alive()
    os.close(os.open(f"{served}.done", os.O_WRONLY))
    slow.join()


def test_what_is_done_afterwards_takes_no_place(served: Path) -> None:
    """However much of that there is, the next request is answered."""
    os.mkfifo(f"{served}.done")
    for _ in range(70):
        assert post(served, "Later") == (200, b"Later ")
    assert post(served, "A") == (200, b"A ")
    there = os.open(f"{served}.done", os.O_RDWR)  # those that wait go on, and who comes later finds a file
    os.unlink(f"{served}.done")
    os.close(there)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /A HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"400"),
        (b"POST /A HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", b"413"),
        (b"POST /A HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /A HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", b"400"),
        (b"POST /A HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"GET /A HTTP/1.1\r\n\r\n", b"501"),
        (b"POST /A HTTP/9.9.9\r\n\r\n", b"400"),
        (b"POST /" + b"A" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"POST /A HTTP/1.1\r\n" + b"B: c\r\n" * 500 + b"\r\n", b"431"),
    ],
)
def test_what_is_no_request(served: Path, head: bytes, status: bytes) -> None:
    assert status in raw(served, head)[:600]
    assert post(served, "B") == (200, b"B ")


def test_who_goes_away(served: Path) -> None:
    """Before, while and after asking; and a process that dies of its request: the next one is answered."""
    connect(served).close()
    with connect(served) as sock:
        sock.sendall(b"POST /A HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    for method in ("Die", "Raise"):
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            post(served, method)
    assert post(served, "B") == (200, b"B ")


def test_a_socket_that_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "weft.sock"
    first = start(path)
    assert line(first) == "ready"
    second = start(path)
    assert "somebody answers on" in line(second), "one that lives keeps its place"
    second.wait(10)
    assert post(path, "A") == (200, b"A ")
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert path.exists()
    third = start(path)
    assert line(third) == "ready"
    assert post(path, "B") == (200, b"B ")
    path.unlink()
    fourth = start(path)
    assert line(fourth) == "ready"
    third.terminate()
    assert third.wait(10) == 0
    assert post(path, "C") == (200, b"C "), "what is another's by now is left"
    fourth.terminate()
    assert fourth.wait(10) == 0


def test_what_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for path in (tmp_path / "file", tmp_path / "file" / "weft.sock", tmp_path / ("x" * 120)):
        process = start(path)
        assert line(process).startswith("error: ")
        assert process.wait(10) == 0
    assert (tmp_path / "file").read_text() == "text"


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it can be asked, not before."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        process = start(tmp_path / "weft.sock")
        assert notices.recv(100) == b"READY=1"
        assert post(tmp_path / "weft.sock", "A") == (200, b"A ")
        process.terminate()
        assert process.wait(10) == 0
