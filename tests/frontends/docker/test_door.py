"""What dockerd asks of its network driver, and what weft does about it."""

from __future__ import annotations

from typing import Any

import pytest

from frontends.docker.daemon import END, IDS, KEY, MAC, NET, PORTS, Daemon
from weft.core.model.address import parse_address, parse_subnet
from weft.core.model.network import IPAM, Network, Pool
from weft.core.ops.link import VethAdd
from weft.engine import container, gc, network
from weft.engine.network import NetworkRequest
from weft.engine.request import RunRequest

OTHER = "d" * 64


def test_a_life(docker: Daemon) -> None:
    """All that dockerd asks for `network create`, `run -p`, `rm` and `network rm`: afterwards nothing is
    left."""
    before, meta = docker.bench.kernel(), docker.bench.store.below("")
    assert docker.raw("Plugin.Activate", b"") == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
    assert docker.ask("NetworkDriver.GetCapabilities") == {"Scope": "local", "ConnectivityScope": "local"}
    pool = docker.network()
    (made,) = docker.bench.store.networks()
    assert (made.name, str(made.pools[0].subnet)) == ("docker-17a6ed8c9c15", "10.99.0.0/24")
    address = docker.address()
    assert address == "10.99.0.2/24"
    assert docker.endpoint(address) == {"Interface": {}}, "only what was left empty may be answered"
    ops = docker.bench.plan(docker.join)
    cable = next(op for op in ops if isinstance(op, VethAdd))
    assert (cable.peer_netns, cable.peer_mac) == ("", MAC), "Docker takes that end itself"
    joined = docker.join()
    assert joined["InterfaceName"] == {"SrcName": cable.peer, "DstPrefix": "eth"}
    assert (joined["Gateway"], joined["GatewayIPv6"], joined["DisableGatewayService"]) == (
        "10.99.0.1",
        "",
        False,
    )
    docker.ask("NetworkDriver.ProgramExternalConnectivity", **IDS, Options=PORTS)
    docker.ask("NetworkDriver.ProgramExternalConnectivity", **IDS, Options=PORTS)
    value = docker.ask("NetworkDriver.EndpointOperInfo", **IDS)["Value"]
    assert value["weft.publish"] == ["0.0.0.0:8080:80/tcp", "127.0.0.1:9000:53/udp"]
    docker.ask("NetworkDriver.RevokeExternalConnectivity", **IDS)
    assert not docker.bench.machine.held
    docker.ask("NetworkDriver.Leave", **IDS)
    for _ in range(2):
        docker.ask("NetworkDriver.DeleteEndpoint", **IDS)
        docker.ask("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.99.0.2")
    docker.ask("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.99.0.1")
    for _ in range(2):
        docker.ask("IpamDriver.ReleasePool", PoolID=pool)
        docker.ask("NetworkDriver.DeleteNetwork", NetworkID=NET)
    assert docker.bench.store.networks() == () and docker.bench.store.foreign() == []
    assert [p for p in docker.bench.store.below("") if p not in meta and p != ("proxy_port", "")] == []
    assert docker.bench.kernel() == before


def test_a_network_that_exists(docker: Daemon) -> None:
    """By the driver option: its subnet must be the one, and it stays when Docker's is removed."""
    network.create(docker.bench.work, NetworkRequest("blue", ("10.99.0.0/24",), ("10.99.0.254",)))
    pool = docker.pool()
    assert docker.gateway(pool) == "10.99.0.254/24"
    docker.ask("IpamDriver.ReleasePool", PoolID=pool)
    docker.network(**{"weft.network": "blue"})
    data = [{"Pool": "10.98.0.0/24", "Gateway": "10.98.0.1/24"}]
    options = {"com.docker.network.generic": {"weft.network": "blue"}}
    said = docker.refused("NetworkDriver.CreateNetwork", NetworkID=OTHER, Options=options, IPv4Data=data)
    assert "blue" in said and "10.98.0.0/24" in said
    said = docker.refused(
        "NetworkDriver.CreateNetwork",
        NetworkID=OTHER,
        Options=options,
        IPv4Data=[{"Pool": "10.99.0.0/24", "Gateway": "10.99.0.254/24"}],
    )
    assert "is Docker's network 17a6ed8c9c15 already" in said
    docker.ask("NetworkDriver.DeleteNetwork", NetworkID=NET)
    assert [n.name for n in docker.bench.store.networks()] == ["blue"]


@pytest.mark.parametrize(
    "of", [{"driver": "other"}, {"options": ((IPAM, "other"),)}], ids=["driver", "ipam driver"]
)
def test_a_network_of_a_third_party(docker: Daemon, of: dict[str, Any]) -> None:
    pool = Pool(parse_subnet("10.99.0.0/24"), parse_address("10.99.0.1"))
    theirs = Network(docker.bench.store.root, "theirs", 7, (pool,), "wbx", **of)
    docker.bench.store.add_network(theirs)
    said = docker.refused(
        "NetworkDriver.CreateNetwork",
        NetworkID=NET,
        Options={"com.docker.network.generic": {"weft.network": "theirs"}},
        IPv4Data=[{"Pool": "10.99.0.0/24", "Gateway": "10.99.0.1/24"}],
    )
    assert "is the driver other's" in said


def test_addresses_are_of_one_pool_with_wefts_own(docker: Daemon) -> None:
    """Neither takes what the other has, also before Docker has told of its endpoint."""
    docker.network()
    name = "docker-17a6ed8c9c15"
    assert docker.address() == "10.99.0.2/24"
    own = container.create(
        docker.bench.work, RunRequest("own", (RunRequest("x").joins[0]._replace(network=name),))
    )
    assert str(own.endpoint.address) == "10.99.0.3"
    assert docker.address(mac="02:42:00:00:00:02") == "10.99.0.4/24"
    ids = {**IDS, "EndpointID": OTHER}
    interface = {"Address": "10.99.0.3/24", "AddressIPv6": "", "MacAddress": ""}
    said = docker.refused("NetworkDriver.CreateEndpoint", **ids, Interface=interface)
    assert "taken by container own" in said
    options = {"com.docker.network.endpoint.macaddress": MAC}
    asked = {"PoolID": "weft-local=10.99.0.0/24", "Address": "10.99.0.3", "Options": options}
    assert "taken by container own" in docker.refused("IpamDriver.RequestAddress", **asked)


def test_without_an_ipam_driver_of_its_own(docker: Daemon) -> None:
    """An endpoint that Docker has no address for gets one of weft's."""
    data = [{"Pool": "10.99.0.0/24", "Gateway": "10.99.0.1/24", "AuxAddresses": {"router": "10.99.0.2/24"}}]
    docker.ask("NetworkDriver.CreateNetwork", NetworkID=NET, Options=None, IPv4Data=data, IPv6Data=None)
    made = docker.ask("NetworkDriver.CreateEndpoint", **IDS, Interface=None, Options=None)["Interface"]
    assert made["Address"] == "10.99.0.3/24"
    assert made["MacAddress"] and "AddressIPv6" not in made


def test_an_internal_network_has_no_way_out(docker: Daemon) -> None:
    """Docker would give it a bridge of its own (docker_gwbridge) unless it is told not to."""
    options = {"com.docker.network.internal": True}
    data = [{"Pool": "10.99.0.0/24", "Gateway": "10.99.0.1/24"}]
    docker.ask("NetworkDriver.CreateNetwork", NetworkID=NET, Options=options, IPv4Data=data)
    docker.endpoint("10.99.0.2/24")
    joined = docker.join()
    assert (joined["Gateway"], joined["DisableGatewayService"]) == ("", True)
    said = docker.refused("NetworkDriver.ProgramExternalConnectivity", **IDS, Options=PORTS)
    assert "internal" in said


def test_what_is_asked_twice(docker: Daemon) -> None:
    """An answer that was lost: the same again is no error, and one thing."""
    docker.network()
    docker.ask(
        "NetworkDriver.CreateNetwork",
        NetworkID=NET,
        Options={},
        IPv4Data=[{"Pool": "10.99.0.0/24", "Gateway": "10.99.0.1/24"}],
    )
    assert docker.address() == docker.address(address="10.99.0.2") == "10.99.0.2/24"
    for _ in range(2):
        docker.endpoint("10.99.0.2/24")
    for key in (KEY, KEY, "/var/run/docker/netns/other"):
        docker.join(key=key)
    (one,) = docker.bench.store.endpoints("docker-17a6ed8c9c15")
    assert one.container == "docker:other"
    docker.endpoint("10.99.0.9/24")  # made anew: the old one goes
    assert docker.bench.store.endpoints("docker-17a6ed8c9c15") == ()
    docker.ask("NetworkDriver.DeleteEndpoint", **IDS)


def test_a_sandbox_in_two_networks(docker: Daemon) -> None:
    """It is one container; an endpoint's end is that of one place alone."""
    docker.network()
    second = "2" * 64
    docker.network(second, "10.98.0.0/24")
    docker.endpoint("10.99.0.2/24")
    docker.join()
    ids = {"NetworkID": second, "EndpointID": OTHER}
    docker.ask("NetworkDriver.CreateEndpoint", **ids, Interface={"Address": "10.98.0.2/24"})
    docker.ask("NetworkDriver.Join", **ids, SandboxKey=KEY)
    ((sandbox, _),) = docker.bench.store.foreign()
    assert sandbox.name == "docker:08ff92cc8145"
    assert [e.ifname for e in docker.bench.store.endpoints_of(sandbox.name)] == ["eth0", "eth1"]
    docker.ask("NetworkDriver.DeleteEndpoint", **IDS)
    assert [e.network for e in docker.bench.store.endpoints_of(sandbox.name)] == ["docker-222222222222"]
    assert "is in use by docker:08ff92cc8145" in docker.refused(
        "NetworkDriver.DeleteNetwork", NetworkID=second
    )


def test_a_network_that_was_taken_away(docker: Daemon) -> None:
    """`weft net rm`: Docker does not know of it, so it comes back with its next container."""
    docker.network()
    network.remove(docker.bench.work, "docker-17a6ed8c9c15")
    docker.endpoint(docker.address())
    docker.join()
    (found,) = docker.bench.store.networks()
    assert str(found.pools[0].subnet) == "10.99.0.0/24"
    docker.ask("NetworkDriver.DeleteEndpoint", **IDS)
    docker.ask("NetworkDriver.DeleteNetwork", NetworkID=NET)
    assert docker.bench.store.networks() == ()


def test_others_are_in_the_network_that_docker_removes(docker: Daemon) -> None:
    docker.network()
    name = "docker-17a6ed8c9c15"
    container.create(docker.bench.work, RunRequest("own", (RunRequest("x").joins[0]._replace(network=name),)))
    docker.ask("NetworkDriver.DeleteNetwork", NetworkID=NET)
    assert docker.bench.store.count_endpoints(name) == 1
    assert "docker.network" not in dict(docker.bench.store.network(name).labels)


def test_what_is_not_known(docker: Daemon) -> None:
    ids = {"NetworkID": NET, "EndpointID": END}
    assert "knows no network 17a6ed8c9c15" in docker.refused("NetworkDriver.CreateEndpoint", **ids)
    assert "knows no network" in docker.refused("NetworkDriver.Join", **ids, SandboxKey=KEY)
    docker.network()
    assert "knows no endpoint" in docker.refused("NetworkDriver.Join", **ids, SandboxKey=KEY)
    assert "knows no endpoint" in docker.refused(
        "NetworkDriver.ProgramExternalConnectivity", **ids, Options=PORTS
    )
    for method in ("RevokeExternalConnectivity", "Leave", "DeleteEndpoint"):
        docker.ask(f"NetworkDriver.{method}", **ids)
    assert docker.raw("NetworkDriver.Fly", b"{}")[0] == 404
    assert docker.raw("Fly", b"{}")[0] == 404


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"Proto": 132, "Port": 80, "HostPort": 80}, "SCTP"),
        ({"Proto": 1, "Port": 80, "HostPort": 80}, "protocol 1"),
        ({"Proto": 6, "Port": 0, "HostPort": 80}, "is not a port"),
        ({"Proto": 6, "Port": 80, "HostPort": 70000}, "HostPort is not a number"),
        ({"Proto": 6, "Port": True, "HostPort": 80}, "Port is not a number"),
        ({"Proto": 6, "Port": 80, "HostIP": "1.2.3", "HostPort": 80}, "1.2.3"),
        ({"Proto": 6, "Port": 80, "HostIP": "0.0.0.0:1:2/tcp", "HostPort": 80}, "is not tcp or udp"),
    ],
)
def test_port_mappings_that_are_none(docker: Daemon, mapping: dict[str, object], said: str) -> None:
    docker.network()
    docker.endpoint("10.99.0.2/24")
    docker.join()
    before = docker.bench.kernel()
    options = {"com.docker.network.portmap": [mapping]}
    found = docker.refused("NetworkDriver.ProgramExternalConnectivity", **IDS, Options=options)
    assert said in found
    assert docker.bench.kernel() == before


def test_a_port_that_is_taken(docker: Daemon) -> None:
    docker.network()
    for id, address, key in ((END, "10.99.0.2/24", KEY), (OTHER, "10.99.0.3/24", "/run/docker/netns/b")):
        docker.endpoint(address, id, "")
        docker.join(id, key)
    docker.ask("NetworkDriver.ProgramExternalConnectivity", **IDS, Options=PORTS)
    said = docker.refused(
        "NetworkDriver.ProgramExternalConnectivity", **{**IDS, "EndpointID": OTHER}, Options=PORTS
    )
    assert "port 8080/tcp on 0.0.0.0 is published by" in said


def test_what_fails_halfway_leaves_nothing(docker: Daemon) -> None:
    docker.network()
    docker.endpoint("10.99.0.2/24")
    before = docker.bench.kernel()
    docker.bench.machine.fail_at = "plug wd"
    assert "refused on purpose" in docker.refused("NetworkDriver.Join", **IDS, SandboxKey=KEY)
    assert docker.bench.kernel() == before
    assert docker.bench.store.foreign() == []
    docker.bench.machine.fail_at = ""
    docker.join()


def test_gc_leaves_dockers_networks_and_endpoints(docker: Daemon) -> None:
    """It tells itself when they go; a sandbox's namespace comes after its endpoint."""
    docker.network()
    docker.endpoint("10.99.0.2/24")
    docker.join()
    with docker.bench.machine.change_lock:
        assert gc._gone_namespaces(docker.bench.work) == []
    docker.ask("NetworkDriver.DeleteEndpoint", **IDS)
    with docker.bench.machine.change_lock:
        assert gc._left_networks(docker.bench.work) == []
        docker.bench.store.take(f"docker/network/{NET}")  # weft was killed before it was on record
        assert len(gc._left_networks(docker.bench.work)) == 1
