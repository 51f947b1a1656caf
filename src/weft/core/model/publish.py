"""Published ports: what ``-p [IP:][PORT|LO-HI:]PORT[-HI][/tcp|udp]`` says, one value a port."""

from __future__ import annotations

from weft.core.model.address import Address, parse_address
from weft.core.model.errors import BadInput, NotYet
from weft.core.record import Record

_DIGITS = frozenset("0123456789")
_FORM = "write it as [IP:]HOST_PORT:CONTAINER_PORT[/tcp|udp], for example 0.0.0.0:8080:80"


class Publish(Record):
    """One host port that leads to one container port. Protocol is ``tcp`` or ``udp``."""

    proto: str
    host: Address
    host_port: int
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.host_port}:{self.port}/{self.proto}"

    @property
    def every_address(self) -> bool:
        """Published on 0.0.0.0: all addresses of the host, 127.0.0.1 too."""
        return self.host.value == 0

    @property
    def covers_loopback(self) -> bool:
        """Whether 127.x on the host is served, which only the loopback proxy can."""
        return self.host.loopback or self.every_address

    @property
    def key(self) -> tuple[str, str, int]:
        """What no two publishes share: protocol, host address, host port."""
        return self.proto, str(self.host), self.host_port

    def clashes(self, other: Publish) -> bool:
        """Whether both cannot exist: 0.0.0.0 takes the port on every address."""
        same_port = (self.proto, self.host_port) == (other.proto, other.host_port)
        return same_port and (self.host == other.host or self.every_address or other.every_address)


def _port(text: str, spec: str) -> int:
    if not text or len(text) > 5 or frozenset(text) - _DIGITS or not 0 < int(text) < 65536:
        raise BadInput(f"published port {spec!a}: {text!a} is not a port (1 to 65535)", _FORM)
    return int(text)


def _range(text: str, spec: str) -> range:
    low, dash, high = text.partition("-")
    first = _port(low, spec)
    last = _port(high, spec) if dash else first
    if last < first:
        raise BadInput(f"published port {spec!a}: the range {text} runs backwards", _FORM)
    return range(first, last + 1)


def parse_publish(spec: str) -> tuple[Publish, ...]:
    """All ports of one ``-p``; the host address is 127.0.0.1 unless it is written."""
    body, slash, proto = spec.partition("/")
    proto = proto if slash else "tcp"
    if proto not in ("tcp", "udp"):
        raise BadInput(f"published port {spec!a}: protocol {proto!a} is not tcp or udp", _FORM)
    if body.startswith("["):
        raise NotYet(f"published port {spec!a}: IPv6 host addresses are not built yet")
    parts = body.split(":")
    if len(parts) == 1 or (len(parts) == 3 and not parts[1]) or (len(parts) == 2 and not parts[0]):
        _range(parts[-1], spec)
        raise NotYet(f"published port {spec!a}: a host port chosen by weft is not built yet", _FORM)
    if len(parts) > 3:
        raise BadInput(f"published port {spec!a} is malformed", _FORM)
    host = parse_address(parts[0], "published address") if len(parts) == 3 else Address(4, 0x7F000001)
    outer, inner = _range(parts[-2], spec), _range(parts[-1], spec)
    if len(outer) != len(inner):
        raise BadInput(f"published port {spec!a}: the two ranges differ in length", _FORM)
    return tuple([Publish(proto, host, h, c) for h, c in zip(outer, inner, strict=True)])
