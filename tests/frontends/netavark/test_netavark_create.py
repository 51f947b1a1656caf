"""create: what becomes of a network that a user asks Podman for."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from frontends.netavark import podman
from frontends.netavark.test_netavark_input import STRANGE, paths
from weft.core.model.errors import Conflict, WeftError
from weft.engine.work import Work
from weft.frontends.netavark import create, read

POOLS = [{"base": "10.89.0.0/16", "size": 24}, {"base": "10.90.0.0/15", "size": 24}]


def asked(used: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A network as `podman network create new` asks for it."""
    bare = {"subnets": None, "network_interface": None, "ipam_options": None, "created": None}
    network = podman.network(**{"name": "new", "dns_enabled": True, **bare, **changes})
    wishes = {"subnet_pools": POOLS, "default_interface_name": "podman", "check_used_subnets": False}
    return {"network": network, "used": used or {}, "options": wishes}


def made(value: Any) -> dict[str, Any]:
    def opened() -> Work:
        raise AssertionError("no engine is needed")

    return create.create(read.document(json.dumps(value).encode()), (), opened)


def test_completed() -> None:
    found = made(asked())
    assert found["subnets"] == [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}]
    assert found["ipam_options"] == {"driver": "host-local"}
    assert found["network_interface"].startswith("podman") and found["created"].endswith("Z")
    assert (found["ipv6_enabled"], found["internal"], found["dns_enabled"]) == (False, False, True)


def test_what_is_taken() -> None:
    used: dict[str, Any] = {
        "subnets": ["10.89.0.0/24", "10.89.1.0/24"],
        "interfaces": [f"podman{n}" for n in range(1, 9)],
    }
    found = made(asked(used))
    assert found["subnets"][0]["subnet"] == "10.89.2.0/24"
    assert found["network_interface"] == "podman9"
    full = {"subnets": ["10.0.0.0/8"]}
    with pytest.raises(WeftError, match="could not find free subnet"):
        made(asked(full))
    for used, said in (
        ({"names": {"new": "0" * 64}}, "already used: network already exists"),
        ({"names": {"x": podman.NETWORK_ID}}, "ID"),
        ({"subnets": ["10.99.0.0/16"]}, "is already used on the host or by another config"),
        ({"interfaces": ["mine0"]}, "already in use"),
    ):
        with pytest.raises(Conflict, match=said):
            made(asked(used, subnets=[{"subnet": "10.99.0.0/16"}], network_interface="mine0"))


def test_families() -> None:
    found = made(asked(ipv6_enabled=True))
    four, six = found["subnets"]
    assert four["subnet"] == "10.89.0.0/24"
    assert six["subnet"].startswith("fd") and six["subnet"].endswith("::/64")
    assert six["gateway"] == six["subnet"].removesuffix("/64") + "1"
    found = made(asked(subnets=[{"subnet": "fd00::/64"}]))
    assert found["ipv6_enabled"] and found["subnets"] == [{"subnet": "fd00::/64", "gateway": "fd00::1"}]


def test_options() -> None:
    options = {"com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.name": "mine0"}
    found = made(asked(options={**options, "isolate": "true"}))
    assert found["options"] == {"mtu": "1400", "isolate": "true"}
    assert found["network_interface"] == "mine0"
    found = made(asked(driver="macvlan", options={"parent": "eth0"}, subnets=[{"subnet": "10.1.0.0/24"}]))
    assert (found["network_interface"], found["dns_enabled"], found["options"]) == ("eth0", False, {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../x"}, "names must match"),
        ({"id": "short"}, "invalid network ID"),
        ({"options": {"colour": "red"}}, "^unsupported bridge network option: colour$"),
        ({"options": {"vlan": "0"}}, "vlan"),
        ({"options": {"vlan": "4095"}}, "vlan"),
        ({"options": {"mtu": "x"}}, "mtu"),
        ({"driver": "macvlan"}, "unsupported ipam driver dhcp"),
        ({"driver": "ipvlan"}, "a subnet is required"),
        ({"driver": "other"}, "failed to find driver or plugin"),
        ({"ipam_options": {"driver": "none"}}, "no subnet"),
        ({"ipam_options": {"driver": "dhcp"}, "subnets": [{"subnet": "10.1.0.0/24"}]}, "subnets are set"),
        ({"dns_enabled": False, "network_dns_servers": ["1.1.1.1"]}, "dns_enabled is false"),
        ({"network_dns_servers": ["no"]}, "dns server"),
        ({"subnets": [{"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"}]}, "not in subnet"),
        ({"subnets": [{"subnet": "10.1.0.0/24", "lease_range": {"start_ip": "10.2.0.1"}}]}, "not in subnet"),
        ({"subnets": [{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/16"}]}, "overlap"),
        ({"network_interface": "a name"}, "interface name"),
    ],
)
def test_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WeftError, match=said):
        made(asked(**changes))


def full() -> dict[str, Any]:
    subnets = [{"subnet": "10.1.0.0/24", "gateway": "10.1.0.1", "lease_range": {"start_ip": "10.1.0.2"}}]
    used = {"names": {"x": "1" * 64}, "subnets": ["10.2.0.0/24"], "interfaces": ["b0"]}
    return asked(used, subnets=subnets, options={"mtu": "1400"}, network_dns_servers=["1.1.1.1"])


@pytest.mark.parametrize("path", list(paths(full())), ids=lambda p: ".".join(map(str, p)))
def test_any_value_anywhere_is_taken_or_refused(path: tuple[Any, ...]) -> None:
    for value in STRANGE:
        root = copy.deepcopy(full())
        inner: Any = root
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        try:
            made(root)
        except WeftError as error:
            assert len(error.message) < 1000, path
