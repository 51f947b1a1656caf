"""Subnets that other engines keep for networks of theirs: no route shows one whose network is down.

Their files are foreign and may be anything: each is read bounded, and one that cannot be read as what it
should be says nothing, as it says nothing to its engine either.
"""

from __future__ import annotations

import posix

from weft.core.model.address import parse_subnet
from weft.core.model.errors import BadInput
from weft.core.model.facts import RouteFact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Found = tuple[str, str, list[str]]  # network, bridge, subnets

_LIMIT = 1 << 18
_MOST = 1000


def engine_subnets(prefix: str = "") -> tuple[RouteFact, ...]:
    """Every subnet that Podman, CNI and libvirt have written down, and whose it is."""
    facts: list[RouteFact] = []
    for folder, endings, who, read in _PLACES:
        for text in _files(prefix + folder, endings):
            try:
                name, bridge, subnets = read(text)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
            for subnet in subnets:
                facts += _fact(subnet, f"{who} network {name}", bridge, "" if read is _libvirt else name)
    return tuple(facts)


def _fact(text: str, by: str, bridge: str, name: str) -> list[RouteFact]:
    """Host bits may be set, as in libvirt's ``<ip address>``."""
    try:
        address, slash, prefix = text.partition("/")
        whole = parse_subnet(f"{_base(address, int(prefix))}/{prefix}") if slash else None
    except (BadInput, ValueError):
        return []
    return [] if whole is None else [RouteFact(whole, by, bridge, name)]


def _base(address: str, prefix: int) -> str:
    from ipaddress import ip_network

    return str(ip_network(f"{address}/{prefix}", strict=False).network_address)


def _files(folder: str, endings: tuple[str, ...]) -> Iterator[str]:
    try:
        names = sorted(posix.listdir(folder))[:_MOST]
    except OSError:
        return
    for name in names:
        if name.endswith(endings):
            try:
                fd = posix.open(f"{folder}/{name}", posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
            except OSError:
                continue
            try:
                yield posix.read(fd, _LIMIT).decode(errors="replace")
            except OSError:
                pass
            finally:
                posix.close(fd)


def _podman(text: str) -> Found:
    """A network of netavark's (podman-network-create(1))."""
    data = _json(text)
    subnets = [str(item["subnet"]) for item in data.get("subnets") or []]
    return _plain(data["name"]), _plain(data.get("network_interface", "")), subnets


def _cni(text: str) -> Found:
    """A CNI configuration list: every ``subnet`` in its plugins' ``ipam``."""
    data = _json(text)
    plugins = data.get("plugins") or [data]
    bridge = next((_plain(p["bridge"]) for p in plugins if p.get("bridge")), "")
    return _plain(data["name"]), bridge, [s for p in plugins for s in _cni_subnets(p.get("ipam") or {})]


def _cni_subnets(ipam: dict[str, Any]) -> list[str]:
    ranges = [item for group in ipam.get("ranges") or [] for item in group]
    return [str(item["subnet"]) for item in (ipam, *ranges) if item.get("subnet")]


def _json(text: str) -> dict[str, Any]:
    import json

    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _libvirt(text: str) -> Found:
    """A network of libvirt's (https://libvirt.org/formatnetwork.html), by its few attributes that count.

    No parser of XML: entities of a foreign file are not to be followed.
    """
    name = text.partition("<name>")[2].partition("</name>")[0]
    bridge, subnets = "", []
    for tag in text.split("<")[1:]:
        words = tag.partition(">")[0]
        if words.startswith("bridge "):
            bridge = _attribute(words, "name")
        elif words.startswith("ip ") and _attribute(words, "address"):
            subnets.append(f"{_attribute(words, 'address')}/{_prefix(words)}")
    if not name:
        raise ValueError("no name")
    return _plain(name), _plain(bridge), subnets


def _attribute(words: str, name: str) -> str:
    rest = words.partition(f" {name}=")[2]
    return rest[1:].partition(rest[:1])[0] if rest else ""


def _prefix(words: str) -> int:
    """From ``prefix`` or ``netmask``; without them libvirt takes the class of the address."""
    given, mask = _attribute(words, "prefix"), _attribute(words, "netmask")
    if given:
        return int(given)
    if mask:
        return sum(int(part).bit_count() for part in mask.split("."))
    first = int(_attribute(words, "address").split(".", maxsplit=1)[0])
    return 8 if first < 128 else 16 if first < 192 else 24


def _plain(text: object) -> str:
    """A foreign name as it can be printed."""
    return ascii(str(text)[:64])[1:-1]


_PLACES: tuple[tuple[str, tuple[str, ...], str, Callable[[str], Found]], ...] = (
    ("/etc/containers/networks", (".json",), "Podman's", _podman),
    ("/etc/cni/net.d", (".conflist", ".conf"), "the CNI", _cni),
    ("/etc/libvirt/qemu/networks", (".xml",), "libvirt's", _libvirt),
)
