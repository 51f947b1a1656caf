"""TARGET: what people write where a namespace is meant (the command line's word for it).

``web`` (a container's name, else one under /run/netns), ``4913`` (a pid), ``/proc/4913/ns/net`` (a path),
``docker:web`` (a container of an engine), ``netns:blue`` (surely the name under /run/netns), ``host``.
"""

from __future__ import annotations

from weft.core.model.address import Address, parse_prefix
from weft.core.model.errors import BadInput
from weft.core.model.names import check_ifname, check_name
from weft.core.record import Record

#: The engines whose containers can be named, in the order in which they are asked.
ENGINES = ("weft", "docker", "podman", "containerd", "cri", "lxc", "incus", "systemd", "runc", "crun")
#: CNI is nobody to ask: its containers are those that are in weft's networks.
_PREFIXES = ("netns", "cni", *ENGINES)
#: PID_MAX_LIMIT of 64-bit kernels (linux/threads.h).
_PID_MAX = 1 << 22
_PATH_MAX = 4096


class Target(Record):
    """``kind`` is "name", "pid", "path", "host", "netns", or an engine; ``value`` what it says."""

    kind: str
    value: str

    def __str__(self) -> str:
        return self.value if self.kind in ("name", "pid", "path", "host") else f"{self.kind}:{self.value}"


class End(Record):
    """One end of a wire as people write it, ``NS[:IF][=ADDR,..]``. No ``ifname``: the next free one."""

    target: Target
    ifname: str = ""
    addresses: tuple[tuple[Address, int], ...] = ()


def _engine_name(kind: str, value: str) -> str:
    """Engines have their own rules for names: nothing that could be a path or steer a terminal."""
    if not (0 < len(value) <= 255 and value.isascii() and value.isprintable()) or frozenset(value) & set(
        " /\\"
    ):
        raise BadInput(f"{kind} name {value!a} is not valid", f"write it as {kind}:NAME")
    return value


def parse_target(text: str) -> Target:
    """The target a user wrote. BadInput, before anything is looked up, when it cannot be one."""
    if text == "host":
        return Target("host", text)
    if text.startswith("/"):
        if "\0" in text or len(text) >= _PATH_MAX:
            raise BadInput(f"path {text[:64]!a} is not valid")
        return Target("path", text)
    if text.isascii() and text.isdigit():
        if text[0] == "0" or len(text) > 7 or int(text) > _PID_MAX:
            raise BadInput(f"{text[:32]} is not a pid", f"pids are 1 to {_PID_MAX}")
        return Target("pid", text)
    kind, colon, value = text.partition(":")
    if not colon:
        return Target("name", check_name(text, "namespace"))
    if kind not in _PREFIXES:
        raise BadInput(f"{kind!a} in {text!a} is no engine", f"one of {', '.join(_PREFIXES)}")
    if kind in ("netns", "weft"):
        return Target(kind, check_name(value, "namespace"))
    return Target(kind, _engine_name(kind, value))


def parse_ends(text: str) -> tuple[Target, str]:
    """``NS[:IF]``: the target and the interface's name, "" when it is left out."""
    head, colon, tail = text.rpartition(":")
    if colon and tail and "/" not in tail and head not in _PREFIXES:
        return parse_target(head), check_ifname(tail)
    return parse_target(text), ""


def parse_end(text: str) -> End:
    """``NS[:IF][=ADDR[,ADDR]..]`` of ``weft wire`` and ``weft switch plug``. BadInput."""
    head, equals, tail = text.partition("=") if not text.startswith("/") else text.rpartition("=")
    if text.startswith("/") and not equals:
        head, tail = tail, ""
    target, ifname = parse_ends(head)
    if equals and not tail:
        raise BadInput(f"{text!a} has no address after the =", "write it as web:eth1=10.0.0.1/24")
    return End(target, ifname, tuple([interface_address(word) for word in tail.split(",")]) if tail else ())


def interface_address(text: str) -> tuple[Address, int]:
    """An address with its prefix length as an interface has it: a host's, not a subnet's. BadInput."""
    address, prefix = parse_prefix(text, "address")
    bits = 32 if address.version == 4 else 128
    last = (1 << (bits - prefix)) - 1
    if prefix == 0 or address.value == 0 or address.loopback:
        raise BadInput(f"address {text!a} is not one that an interface can have")
    group = 0xE if address.version == 4 else 0xFF
    if address.value >> (bits - group.bit_length()) == group:
        raise BadInput(f"address {text!a} is a multicast address")
    if address.version == 4 and prefix < 31 and address.value & last in (0, last):
        raise BadInput(f"address {text!a} is the network or broadcast address of its subnet")
    return address, prefix
