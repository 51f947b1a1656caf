"""A plug-in of Docker's: HTTP on a Unix socket, POST /Service.Method with JSON both ways (moby,
pkg/plugins).

Each request is answered by a process of its own: what weft does for it may take its time, fork, or fail,
and 40 containers start at once. So a connection carries one request. The framing is Python's own
http.server.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ForkingMixIn, UnixStreamServer

from weft.core.model.errors import BadInput, Conflict, WeftError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    #: A method and the body of a request: status and body of the answer, and what is to be done after it.
    Answer = tuple[int, bytes, Callable[[], None] | None]
    Handler = Callable[[str, bytes], Answer]

#: Bytes of a request; dockerd's longest have a line for each published port.
_LARGEST = 4 << 20
#: Seconds that a client may take to say what it wants: dockerd has it ready.
_PATIENCE = 5
#: Seconds after which processes that have answered are collected, when there is no other request.
_REAPS = 30
_TYPE = "application/vnd.docker.plugins.v1.2+json"


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "weft", ""
    timeout = _PATIENCE
    handler: Handler

    def do_POST(self) -> None:
        self.close_connection = True
        body = self._body()
        if body is None:
            return
        status, answer, rest = self.handler(self.path.lstrip("/"), body)
        self._answer(status, answer)
        if rest is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            _aside(rest)

    def _body(self) -> bytes | None:
        if self.headers.get("Transfer-Encoding"):
            self._refuse(411, "a request needs a Content-Length")
            return None
        words = self.headers.get_all("Content-Length") or ["0"]
        if len(words) > 1 or not words[0].isdecimal() or len(words[0]) > 10:
            self._refuse(400, "Content-Length is not a number")
            return None
        if int(words[0]) > _LARGEST:
            self._refuse(413, f"a request is larger than {_LARGEST} bytes")
            return None
        body = self.rfile.read(int(words[0]))
        return body if len(body) == int(words[0]) else None  # its sender has gone

    def _refuse(self, status: int, why: str) -> None:
        self._answer(status, b'{"Err": "%s"}' % why.encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """A Unix socket's clients have no address."""
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: errors go to the one who asked."""


def _aside(rest: Callable[[], None]) -> None:
    """In a process that nobody waits for: who asked does not, and it takes no place of another request's."""
    if os.fork():
        return
    status = 1
    try:
        rest()
        status = 0
    finally:
        os._exit(status)


class _Server(ForkingMixIn, UnixStreamServer):
    max_children = 64
    request_queue_size = 128
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or what nobody foresaw: the next request has its own process."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            sys.stderr.write(f"weft: error: {type(error).__name__}: {error}\n")


class _Ended(BaseException):
    """The service was told to end."""


def serve(path: str, handler: Handler, ready: Callable[[], None]) -> None:
    """Answers on a Unix socket until SIGTERM or SIGINT. ``ready`` is called when it does.

    Conflict when somebody answers there already; BadInput when there is something else.
    """
    _make_room(path)
    before = os.umask(0o117)
    try:
        server = _Server(path, type("Request", (_Request,), {"handler": staticmethod(handler)}))
    except OSError as error:
        raise WeftError(f"cannot listen on {path}: {error.strerror}") from None
    finally:
        os.umask(before)
    own = os.stat(path).st_ino

    def end(*_: object) -> None:
        raise _Ended

    parent = os.getpid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        ready()
        _notify("READY=1")
        server.serve_forever(poll_interval=_REAPS)
    except _Ended:
        if os.getpid() != parent:
            os._exit(1)
        _remove(path, own)
        server.server_close()


def _make_room(path: str) -> None:
    """The directory, and no socket that a killed one left."""
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInput(f"cannot listen on {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise BadInput(f"{path} is there and is no socket", "remove it, or use --socket PATH")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        try:
            other.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise BadInput(f"cannot listen on {path}: {error.strerror}") from None
    raise Conflict(f"somebody answers on {path} already", "systemctl stop weft-docker, or use --socket PATH")


def _remove(path: str, inode: int) -> None:
    """The socket, unless another one has been put in its place."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        pass


def _notify(text: str) -> None:
    """Tells systemd, where it asked to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notice:
            try:
                notice.sendto(text.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
            except OSError as error:
                sys.stderr.write(f"weft: warning: NOTIFY_SOCKET: {error.strerror}\n")
