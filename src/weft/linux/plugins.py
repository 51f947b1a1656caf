"""Third-party plug-ins of Docker's: found as Docker finds them, and asked over HTTP (moby, pkg/plugins).

What they answer is believed in nothing: its size, its form, how long it takes.
"""

from __future__ import annotations

import json
import os
import socket
from http.client import HTTPConnection, HTTPException
from time import monotonic, sleep

from weft.core.model.errors import BadInput, NotFound, PeerError, WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKETS = "/run/docker/plugins"
SPECS = ("/etc/docker/plugins", "/usr/lib/docker/plugins")
_LARGEST, _SPEC = 4 << 20, 1 << 16
#: Seconds: for an answer; and for somebody to listen, asked again after 1, 2, 4 ... of them as Docker does.
#: Those are spent before weft's lock is taken (``activate``); with it held a plug-in has to be there.
_ANSWERS, _COMES, _IS_THERE = 10.0, 30.0, 3.0
_ACCEPT = "application/vnd.docker.plugins.v1.2+json"


class Place:
    """Where a plug-in listens: a Unix socket's path, or host and port with the files of TLS."""

    __slots__ = ("host", "path", "port", "tls")

    def __init__(
        self, path: str = "", host: str = "", port: int = 0, tls: dict[str, Any] | None = None
    ) -> None:
        self.path, self.host, self.port, self.tls = path, host, port, tls

    def connect(self, seconds: float) -> socket.socket:
        """OSError, which ssl.SSLError is."""
        if self.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                sock.settimeout(seconds)
                sock.connect(self.path)
            except BaseException:
                sock.close()
                raise
            return sock
        sock = socket.create_connection((self.host, self.port), seconds)
        return sock if self.tls is None else _wrap(sock, self.tls, self.host)


def _wrap(sock: socket.socket, tls: dict[str, Any], host: str) -> socket.socket:
    import ssl

    context = ssl.create_default_context(cafile=tls.get("CAFile") or None)
    if tls.get("InsecureSkipVerify") is True:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls.get("CertFile"):
        context.load_cert_chain(tls["CertFile"], tls.get("KeyFile") or None)
    return context.wrap_socket(sock, server_hostname=host)


def find(name: str, sockets: str = SOCKETS, specs: tuple[str, ...] = SPECS) -> Place:
    """A socket of that name first, then a file that says where. NotFound; BadInput for a file that says
    nothing."""
    for path in (f"{sockets}/{name}.sock", f"{sockets}/{name}/{name}.sock"):
        if os.path.exists(path):
            return Place(path)
    for folder in specs:
        for base in (f"{folder}/{name}", f"{folder}/{name}/{name}"):
            for path in (f"{base}.spec", f"{base}.json"):
                if os.path.exists(path):
                    return _spec(path)
    raise NotFound(
        f"no driver {name!a}",
        f"weft has bridge, macvlan and ipvlan; a plug-in's socket would be {sockets}/{name}.sock",
    )


def _spec(path: str) -> Place:
    try:
        with open(path, "rb") as file:
            text = file.read(_SPEC).decode()
        if path.endswith(".spec"):
            return _address(text.strip(), None)
        said = json.loads(text)
        return _address(said["Addr"], said.get("TLSConfig"))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput(
            f"{path} does not say where a plug-in listens", "write unix:///path or tcp://host:port"
        ) from None


def _address(text: str, tls: dict[str, Any] | None) -> Place:
    """ValueError."""
    scheme, colon, rest = text.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return Place(rest)
    host, _, port = rest.partition("/")[0].rpartition(":")
    if not colon or scheme not in ("tcp", "http", "https") or not host or not 0 < int(port) < 65536:
        raise ValueError(text)
    if tls is not None and not isinstance(tls, dict):
        raise ValueError("TLSConfig")
    secure = tls or ({} if scheme == "https" else None)
    return Place(host=host.strip("[]"), port=int(port), tls=secure)


class Plugins:
    """The plug-ins that have been asked so far, by name: each is activated once."""

    __slots__ = ("_gone", "_known")

    def __init__(self) -> None:
        self._known: dict[str, tuple[Place, tuple[str, ...]]] = {}
        self._gone: set[str] = set()

    def activate(self, name: str, service: str, comes: float = _COMES) -> None:
        """The handshake. NotFound; BadInput when it is no ``service`` (NetworkDriver, IpamDriver); PeerError,
        WireError."""
        if name not in self._known:
            place = find(name)
            offers = self._ask(place, name, "Plugin.Activate", {}, comes).get("Implements")
            words = [word for word in offers if isinstance(word, str)] if isinstance(offers, list) else []
            self._known[name] = place, tuple(words)
        if service not in self._known[name][1]:
            shown = ", ".join(self._known[name][1]) or "nothing"
            raise BadInput(f"the plug-in {name} is no {service}: it implements {shown[:200]!a}")

    def call(self, name: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of a driver. PeerError with what it says when it refuses."""
        self.activate(name, method.partition(".")[0], _IS_THERE)
        return self._ask(self._known[name][0], name, method, body, _IS_THERE)

    def _ask(
        self, place: Place, name: str, method: str, body: dict[str, Any], comes: float
    ) -> dict[str, Any]:
        """One that did not listen is not waited for again: a removal asks it for several things."""
        try:
            sock = _connected(place, name, 0 if name in self._gone else comes)
        except PeerError:
            self._gone.add(name)
            raise
        return _ask(sock, place, name, method, body)


#: Those of this program.
PLUGINS = Plugins()


def _ask(sock: socket.socket, place: Place, name: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        status, data = _exchange(sock, place, method, json.dumps(body).encode() if body else b"")
    except TimeoutError:
        raise PeerError(f"the driver {name} has not answered {method} for {_ANSWERS:.0f} s") from None
    except (OSError, HTTPException) as error:
        raise WireError(f"the driver {name} answered {method} with no HTTP: {_said(error)}") from None
    finally:
        sock.close()
    answer = _read(name, method, data, status)
    refusal = answer.get("Err") or answer.get("Error")
    if status == 404 and method.endswith("ExternalConnectivity"):
        return {}  # older drivers do not have these
    if refusal or status != 200:
        said = refusal if isinstance(refusal, str) else f"HTTP status {status}"
        raise PeerError(f"the driver {name} refused {method}: {_plain(said)}")
    return answer


def _connected(place: Place, name: str, comes: float) -> socket.socket:
    until, pause = monotonic() + comes, 1.0
    while True:
        try:
            return place.connect(_ANSWERS)
        except (TimeoutError, OSError) as error:
            # Nothing tells when somebody begins to listen.
            if monotonic() + pause > until:
                raise PeerError(
                    f"the driver {name} does not listen: {_said(error)}", "start its plug-in"
                ) from None
        sleep(pause)
        pause *= 2


def _exchange(sock: socket.socket, place: Place, method: str, body: bytes) -> tuple[int, bytes]:
    until = monotonic() + _ANSWERS
    connection = HTTPConnection("plugin.moby.localhost" if place.path else place.host, timeout=_ANSWERS)
    connection.sock = sock
    connection.request("POST", f"/{method}", body, {"Accept": _ACCEPT, "Connection": "close"})
    response = connection.getresponse()
    data = b""
    while chunk := response.read1(1 << 16):
        data += chunk
        if len(data) > _LARGEST:
            raise HTTPException(f"more than {_LARGEST} bytes")
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
    if response.length:
        raise HTTPException("it was cut short")
    return response.status, data


def _read(name: str, method: str, data: bytes, status: int) -> dict[str, Any]:
    try:
        found = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError):
        if status != 200:
            return {}
        raise WireError(
            f"the driver {name} answered {method} with no JSON: {_plain(repr(data[:80]))}"
        ) from None
    if found is not None and not isinstance(found, dict):
        raise WireError(f"the driver {name} answered {method} with no JSON object")
    return found or {}


def _said(error: BaseException) -> str:
    return _plain(str(getattr(error, "strerror", "") or error) or type(error).__name__)


def _plain(text: str) -> str:
    return "".join([c if c.isprintable() else " " for c in text[:500]])
