"""Published ports: what ``-p [IP:][PORT|LO-HI:]PORT[-HI][/tcp|udp]`` says, one value a port."""

from __future__ import annotations

from weft.core.model.address import Address, parse_address
from weft.core.model.errors import BadInput
from weft.core.record import Record

_DIGITS = frozenset("0123456789")
_FORM = "write it as [IP:]HOST_PORT:CONTAINER_PORT[/tcp|udp], for example 0.0.0.0:8080:80"


class Publish(Record):
    """One host port that leads to one container port. Protocol is ``tcp`` or ``udp``.

    Where weft is to choose the host port, ``host_port`` is 0; then ``low`` and ``high`` are the range to
    choose
    from, or 0 for the kernel's range of ephemeral ports.
    """

    proto: str
    host: Address
    host_port: int
    port: int
    low: int = 0
    high: int = 0

    def __str__(self) -> str:
        return f"{self.shown}:{self.host_port}:{self.port}/{self.proto}"

    @property
    def shown(self) -> str:
        """The host address as it is written before a port: IPv6 in brackets."""
        return f"[{self.host}]" if self.host.version == 6 else str(self.host)

    @property
    def every_address(self) -> bool:
        """Published on 0.0.0.0 or [::]: all addresses of a family, loopback too."""
        return self.host.value == 0

    @property
    def covers_loopback(self) -> bool:
        """Whether 127.x or ::1 on the host is served, which only the loopback proxy can."""
        return self.host.loopback or self.every_address

    @property
    def key(self) -> tuple[str, str, int]:
        """What no two publishes share: protocol, host address, host port."""
        return self.proto, str(self.host), self.host_port

    def clashes(self, other: Publish) -> bool:
        """Whether both cannot exist: 0.0.0.0 takes the port on every IPv4 address, [::] on every IPv6 one."""
        same_port = (self.proto, self.host_port) == (other.proto, other.host_port)
        return (
            same_port
            and self.host.version == other.host.version
            and (self.host == other.host or self.every_address or other.every_address)
        )


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
    """All ports of one ``-p``; the host address is 127.0.0.1 unless it is written, in brackets if it is IPv6.

    Without a host port each gets one of its own; a range of them for one container port means any of it.
    """
    body, slash, proto = spec.partition("/")
    proto = proto if slash else "tcp"
    if proto == "sctp":
        raise BadInput(f"published port {spec!a}: SCTP is not served", "tcp and udp are")
    if proto not in ("tcp", "udp"):
        raise BadInput(f"published port {spec!a}: protocol {proto!a} is not tcp or udp", _FORM)
    host, ports = _host(body, spec)
    outer, _, inner = ports.rpartition(":")
    if ":" in outer:
        raise BadInput(f"published port {spec!a} is malformed", _FORM)
    within = _range(inner, spec)
    if not outer:
        return tuple([Publish(proto, host, 0, port) for port in within])
    without = _range(outer, spec)
    if len(within) == 1 and len(without) > 1:
        return (Publish(proto, host, 0, within[0], without[0], without[-1]),)
    if len(without) != len(within):
        raise BadInput(f"published port {spec!a}: the two ranges differ in length", _FORM)
    return tuple([Publish(proto, host, h, c) for h, c in zip(without, within, strict=True)])


def _host(body: str, spec: str) -> tuple[Address, str]:
    """The host address of a ``-p``, and what follows it."""
    if body.startswith("["):
        text, bracket, rest = body[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise BadInput(f"published port {spec!a} is malformed", "write it as [::1]:8080:80")
        found = parse_address(text, "published address")
        if found.version != 6:
            raise BadInput(f"published port {spec!a}: brackets are for IPv6 addresses", _FORM)
        return found, rest[1:]
    if body.count(":") > 2:
        raise BadInput(
            f"published port {spec!a} is malformed", "IPv6 addresses go in brackets: [::1]:8080:80"
        )
    if body.count(":") == 2:
        text, _, rest = body.partition(":")
        return parse_address(text, "published address"), rest
    return Address(4, 0x7F000001), body
