"""What dockerd asks of its IPAM driver."""

from __future__ import annotations

import pytest

from frontends.docker.daemon import MAC, POOL, Daemon

OTHER = "02:42:00:00:00:0b"


def ask(docker: Daemon, address: str, mac: str) -> str:
    options = {"com.docker.network.endpoint.macaddress": mac}
    return docker.refused("IpamDriver.RequestAddress", PoolID=POOL, Address=address, Options=options)


def test_an_address_is_one_containers(docker: Daemon) -> None:
    docker.pool()
    docker.gateway()
    assert docker.address() == "10.99.0.2/24"
    assert docker.address(mac=OTHER) == "10.99.0.3/24"
    assert docker.address(address="10.99.0.3", mac=OTHER) == "10.99.0.3/24", "asked again by whose it is"
    assert "is taken by another container of Docker's" in ask(docker, "10.99.0.2", OTHER)
    assert "is the gateway" in ask(docker, "10.99.0.1", OTHER)
    assert "broadcast" in ask(docker, "10.99.0.255", OTHER)
    assert "outside" in ask(docker, "10.98.0.1", OTHER)
    docker.ask("IpamDriver.ReleaseAddress", PoolID=POOL, Address="10.99.0.2/24")
    assert docker.address(address="10.99.0.2", mac=OTHER) == "10.99.0.2/24"


def test_dockerd_is_restarted(docker: Daemon) -> None:
    """It asks for all of it again; what it has forgotten others may have."""
    docker.pool()
    assert docker.gateway(address="10.99.0.9") == "10.99.0.9/24"
    for address, mac in (("10.99.0.2", MAC), ("10.99.0.3", OTHER), ("10.99.0.4", "")):
        docker.address(address=address, mac=mac)
    docker.raw("Plugin.Activate", b"")
    assert docker.pool() == POOL
    assert docker.gateway(address="10.99.0.9") == "10.99.0.9/24"
    assert docker.address(address="10.99.0.2") == "10.99.0.2/24"
    assert docker.address(address="10.99.0.4", mac="") == "10.99.0.4/24"
    assert "is taken" in ask(docker, "10.99.0.2", OTHER)
    assert docker.address(mac="02:42:00:00:00:0c") == "10.99.0.1/24", "the lowest that nobody may have"
    assert docker.address(address="10.99.0.3", mac="02:42:00:00:00:0d") == "10.99.0.3/24"


def test_a_pool_is_one_networks(docker: Daemon) -> None:
    docker.pool()
    body = {"AddressSpace": "weft-local", "Pool": "10.99.0.0/16", "V6": False}
    assert "overlaps 10.99.0.0/24 of another network" in docker.refused("IpamDriver.RequestPool", **body)
    docker.raw("Plugin.Activate", b"")
    assert docker.pool("10.99.0.0/16") == "weft-local=10.99.0.0/16", (
        "Docker has not asked for the other again"
    )
    assert "is not known" in docker.refused("IpamDriver.RequestAddress", PoolID=POOL, Address="")


def test_pools_that_nobody_chose(docker: Daemon) -> None:
    """Each another one, of each family; a range gives the addresses."""
    found = [
        docker.ask("IpamDriver.RequestPool", AddressSpace="weft-local", V6=six)
        for six in (False, False, True)
    ]
    pools = [answer["Pool"] for answer in found]
    assert (
        pools[:2] == ["10.81.0.0/24", "10.81.1.0/24"]
        and pools[2].startswith("fd")
        and pools[2].endswith("/64")
    )
    assert docker.gateway(found[2]["PoolID"]) == pools[2].replace("::/64", "::1/64")
    ranged = docker.pool(SubPool="10.99.0.128/25")
    assert ranged == f"{POOL}=10.99.0.128/25"
    assert docker.address(ranged) == "10.99.0.128/24"


def test_a_pool_that_is_full(docker: Daemon) -> None:
    pool = docker.pool("10.99.0.0/29")
    docker.gateway(pool)
    for n in range(2, 7):
        assert docker.address(pool, mac=f"02:42:00:00:00:{n:02x}") == f"10.99.0.{n}/29"
    options = {"com.docker.network.endpoint.macaddress": MAC}
    said = docker.refused("IpamDriver.RequestAddress", PoolID=pool, Address="", Options=options)
    assert "no free address is left" in said
    docker.raw("Plugin.Activate", b"")
    docker.pool("10.99.0.0/29")
    assert docker.address(pool) == "10.99.0.2/29", "what was not asked for again"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"AddressSpace": "mars"}, "is not weft's"),
        ({"AddressSpace": ""}, "AddressSpace is missing"),
        ({"Pool": "10.99.0.0/24", "V6": True}, "is not an IPv6 subnet"),
        ({"Pool": "fd00::/64", "V6": False}, "is not an IPv4 subnet"),
        ({"Pool": "10.99.0.1/24"}, "10.99.0.1/24"),
        ({"Pool": "127.0.0.0/8"}, "loopback"),
        ({"Pool": "0.0.0.0/0"}, "0.0.0.0/0"),
        ({"Pool": "10.99.0.0/24", "SubPool": "10.98.0.0/24"}, "outside"),
        ({"SubPool": "10.98.0.0/24"}, "needs the subnet"),
        ({"Pool": "10.99.0.0/24", "V6": "perhaps"}, "neither true nor false"),
    ],
)
def test_pools_that_cannot_be(docker: Daemon, body: dict[str, object], said: str) -> None:
    assert said in docker.refused("IpamDriver.RequestPool", **{"AddressSpace": "weft-local", **body})
    assert docker.bench.store.below("docker/") == []
