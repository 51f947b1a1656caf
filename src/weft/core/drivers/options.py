"""Options of a network (``-o KEY=VALUE``): weft's short keys, and Docker's labels for the same.

Docker's: daemon/libnetwork/drivers/bridge/labels.go and daemon/libnetwork/netlabel. What is not here, and
why, is
in docs/docker-options.md.
"""

from __future__ import annotations

from weft.core.model.address import parse_address
from weft.core.model.errors import BadInput
from weft.core.model.names import check_ifname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: The modes of each driver, the first where none is asked for (linux/if_link.h; Docker's and netavark's too).
MODES = {
    "macvlan": ("bridge", "private", "vepa", "passthru", "source"),
    "ipvlan": ("l2", "l3", "l3s"),
}
_BRIDGE = "com.docker.network.bridge."
_NET = "com.docker.network."
#: Docker's label -> weft's key.
_ALIASES = {
    f"{_BRIDGE}name": "bridge",
    f"{_NET}driver.mtu": "mtu",
    f"{_BRIDGE}enable_icc": "enable_icc",
    f"{_BRIDGE}enable_ip_masquerade": "enable_ip_masquerade",
    f"{_BRIDGE}gateway_mode_ipv4": "gateway_mode_ipv4",
    f"{_BRIDGE}gateway_mode_ipv6": "gateway_mode_ipv6",
    f"{_BRIDGE}host_binding_ipv4": "host_binding",
    f"{_NET}container_iface_prefix": "ifname_prefix",
    f"{_NET}host_ipv4": "host_ipv4",
    f"{_NET}host_ipv6": "host_ipv6",
    f"{_NET}enable_ipv4": "ipv4",
    f"{_NET}enable_ipv6": "ipv6",
    "macvlan_mode": "mode",
    "ipvlan_mode": "mode",
}


#: As many as resolv.conf(5) may have, MAXNS, and then some.
_MOST_SERVERS = 8


def _flag(key: str, value: str) -> str:
    if value not in ("true", "false", "1", "0"):
        raise BadInput(f"option {key} is true or false, not {value!a}")
    return "true" if value in ("true", "1") else "false"


def _number(key: str, value: str) -> str:
    if not (value.isascii() and value.isdigit()) or len(value) > 5:
        raise BadInput(f"option {key}: {value!a} is not a number")
    return value


def _mode(key: str, value: str) -> str:
    if value not in ("nat", "routed"):
        raise BadInput(f"option {key} is nat or routed, not {value!a}", "docs/docker-options.md tells why")
    return value


def _address(version: int) -> Callable[[str, str], str]:
    def check(key: str, value: str) -> str:
        found = parse_address(value, f"option {key}")
        if version and found.version != version:
            raise BadInput(f"option {key}: {value} is not an IPv{version} address")
        return str(found)

    return check


def _prefix(key: str, value: str) -> str:
    if len(value) > 12:
        raise BadInput(f"option {key}: {value!a} leaves no room for a number", "use at most 12 characters")
    return check_ifname(value)


def _port(key: str, value: str) -> str:
    number = int(_number(key, value))
    if not 0 < number < 65536:
        raise BadInput(f"option {key}: {value} is not a port from 1 to 65535")
    return str(number)


def _servers(key: str, value: str) -> str:
    """Name servers, with commas or blanks between them; those of a link may name it (fe80::1%eth0)."""
    found = []
    for word in value.replace(",", " ").split():
        address, percent, zone = word.partition("%")
        found.append(
            f"{parse_address(address, f'option {key}')}{percent}{check_ifname(zone) if percent else ''}"
        )
    if len(found) > _MOST_SERVERS:
        raise BadInput(f"option {key}: more than {_MOST_SERVERS} servers")
    return " ".join(found)


def _isolate(key: str, value: str) -> str:
    if value not in ("true", "false", "strict"):
        raise BadInput(f"option {key} is true, false or strict, not {value!a}")
    return value


def _metric(key: str, value: str) -> str:
    if not (value.isascii() and value.isdigit()) or len(value) > 10 or not 0 < int(value) < 1 << 32:
        raise BadInput(f"option {key}: {value!a} is not a route's metric", "1 to 4294967295")
    return str(int(value))


def _vlan(key: str, value: str) -> str:
    if not (value.isascii() and value.isdigit()) or len(value) > 4 or not 0 < int(value) < 4095:
        raise BadInput(f"option {key}: {value!a} is not a VLAN", "1 to 4094")
    return str(int(value))


def _cutoff(key: str, value: str) -> str:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or int(value) < -1:
        raise BadInput(f"option {key}: {value!a} is not a number of receivers", "-1 is no limit")
    return str(int(value))


#: Of links on another one's wire, and of bridges. What stands in neither is for all.
_SUBLINK = ("parent", "mode", "bclim")
_BRIDGED = (
    "bridge enable_icc enable_ip_masquerade gateway_mode_ipv4 gateway_mode_ipv6 host_binding host_ipv4"
    " host_ipv6 isolate unmanaged ptp gateway_address exposed vlan preserve_default_vlan vrf"
).split()
#: What is kept with a network; the others are its fields.
KEPT = (
    "ifname_prefix host_ipv4 host_ipv6 parent mode bclim isolate unmanaged metric no_default_route"
    " ptp gateway_address exposed dns dns_port dns_servers dns_inside vlan preserve_default_vlan vrf"
).split()

#: What each key takes; its value comes back as it is kept.
_KEYS: dict[str, Callable[[str, str], str]] = {
    "bridge": lambda _, value: check_ifname(value),
    "mtu": _number,
    "enable_icc": _flag,
    "enable_ip_masquerade": _flag,
    "gateway_mode_ipv4": _mode,
    "gateway_mode_ipv6": _mode,
    "host_binding": _address(0),
    "ifname_prefix": _prefix,
    "host_ipv4": _address(4),
    "host_ipv6": _address(6),
    "ipv4": _flag,
    "ipv6": _flag,
    "parent": lambda _, value: check_ifname(value),
    "mode": lambda _, value: value,
    "bclim": _cutoff,
    "isolate": _isolate,
    "unmanaged": _flag,
    "metric": _metric,
    "no_default_route": _flag,
    "ptp": _flag,
    "gateway_address": _flag,
    "exposed": _flag,
    "dns": _flag,
    "dns_port": _port,
    "dns_servers": _servers,
    "dns_inside": _flag,
    "vlan": _vlan,
    "preserve_default_vlan": _flag,
    "vrf": lambda _, value: check_ifname(value),
}
#: What can change while a network is used; an empty value takes the option back.
EDITABLE = ("dns", "dns_port", "dns_servers", "dns_inside")


def parse(given: Iterable[tuple[str, str]], driver: str = "bridge") -> dict[str, str]:
    """Options by weft's keys, checked. BadInput for one that is not known, not the driver's, given twice, or
    out of range."""
    found: dict[str, str] = {}
    for name, value in given:
        key = _ALIASES.get(name, name)
        check = _KEYS.get(key)
        if check is None:
            raise BadInput(f"network option {name!a} is not known", f"known are {', '.join(sorted(_KEYS))}")
        if key in found:
            raise BadInput(f"network option {key} is given twice")
        if key in (_SUBLINK if driver == "bridge" else _BRIDGED):
            raise BadInput(f"network option {name!a} is not for driver {driver}")
        found[key] = check(key, value)
    if driver != "bridge" and found.get("mode", "") not in ("", *MODES[driver]):
        raise BadInput(f"mode {found['mode']!a} of {driver} is not known", ", ".join(MODES[driver]))
    modes = {found[k] for k in ("gateway_mode_ipv4", "gateway_mode_ipv6") if k in found}
    if len(modes) > 1:
        raise BadInput(
            "gateway_mode_ipv4 and gateway_mode_ipv6 differ", "a network is nat or routed as a whole"
        )
    return found
