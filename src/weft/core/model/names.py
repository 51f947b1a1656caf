"""Names that people type, and the ids, device names, MACs and marks derived from them.

Derived means: the same (root, network, container) gives the same names every time, on any machine,
so that what a crash left behind can be recognised without the database.
"""

from __future__ import annotations

from _blake2 import blake2b

from weft.core.model.errors import BadInput

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _LETTERS | frozenset("_.-")
_HOST = _LETTERS | frozenset("-")
_IFNAME = _NAME | frozenset("@:+")
_RESERVED = {"container": ("host", "none", "all"), "network": ("host", "none", "all", "container")}

IFNAMSIZ = 16
MARK_PREFIX = "weft:"


def check_name(name: str, what: str) -> str:
    """The name, if it is one: ``[A-Za-z0-9][A-Za-z0-9_.-]{0,62}``, not all digits, not reserved."""
    good = name and len(name) <= 63 and name[0] in _LETTERS and not frozenset(name) - _NAME
    if not good or name.isdigit():
        raise BadInput(
            f"{what} name {name!a} is not valid",
            "use 1 to 63 of A-Z a-z 0-9 _ . - with a letter or digit first, and not only digits",
        )
    if name in _RESERVED.get(what, ()):
        raise BadInput(f"{what} name {name!a} is reserved", "choose another name")
    return name


def check_ifname(name: str) -> str:
    """An interface name that the kernel takes and that is safe to print (dev_valid_name(), stricter)."""
    good = 0 < len(name) < IFNAMSIZ and name[0] in _LETTERS and not frozenset(name) - _IFNAME
    if not good or name in ("all", "default", "lo"):
        raise BadInput(
            f"interface name {name[:64]!a} is not valid",
            "use 1 to 15 of A-Z a-z 0-9 _ . - with a letter or digit first",
        )
    return name


def check_hostname(name: str, what: str = "host name") -> str:
    """A host name or alias: RFC 1123 labels, underscores allowed as containers have them, at most 63."""
    labels = name.split(".")
    good = 0 < len(name) <= 63 and all(
        label and label[0] != "-" and label[-1] != "-" and not frozenset(label) - _HOST - {"_"}
        for label in labels
    )
    if not good:
        raise BadInput(f"{what} {name!a} is not valid", "use letters, digits and hyphens, at most 63")
    return name


def object_id(root: str, *words: str) -> str:
    """16 hex digits that stand for this object of this root. NUL joins, as no name holds one."""
    return blake2b("\0".join((root, *words)).encode(), digest_size=8).hexdigest()


def root_id(state_dir: str) -> str:
    """The id of a state directory: 8 hex digits of its path, so that a lost database changes nothing."""
    return object_id("weft-root", state_dir)[:8]


_DEFAULT_ROOT = root_id("/var/lib/weft")


def cgroup_top(root: str) -> str:
    """The directory below which the cgroups of a root's containers are: its own, where --root is used."""
    return "weft" if root == _DEFAULT_ROOT else f"weft-{root}"


def mark(oid: str) -> str:
    """The altname or comment that says an object is weft's: ``weft:`` and the id's 16 digits."""
    return MARK_PREFIX + oid


def bridge_name(network_id: str) -> str:
    """The bridge of a network, where the user gave no name."""
    return "wb" + network_id[:12]


def host_ifname(endpoint_id: str) -> str:
    """The host's end of a container's veth pair."""
    return "wv" + endpoint_id[:12]


def mac_of(oid: str) -> str:
    """A locally administered unicast MAC made of an id's first 48 bits (IEEE 802-2014 8.4)."""
    first = (int(oid[:2], 16) | 0x02) & 0xFE
    return ":".join([f"{first:02x}", *(oid[i : i + 2] for i in range(2, 12, 2))])


def check_mac(text: str) -> str:
    """A unicast MAC in colon form, lower case; BadInput when it is none."""
    parts = text.lower().split(":")
    hexdigits = frozenset("0123456789abcdef")
    if len(parts) != 6 or any(len(p) != 2 or frozenset(p) - hexdigits for p in parts):
        raise BadInput(f"MAC address {text!a} is not valid", "write it as 02:42:ac:11:00:02")
    if int(parts[0], 16) & 1 or not any(int(p, 16) for p in parts):
        raise BadInput(
            f"MAC address {text!a} is not a unicast address", "clear the lowest bit of the first byte"
        )
    return ":".join(parts)


def mac_bytes(text: str) -> bytes:
    """Colon form to the six bytes on the wire."""
    return bytes.fromhex(text.replace(":", ""))


def mac_text(raw: bytes) -> str:
    """The six bytes on the wire to colon form."""
    return raw.hex(":")
