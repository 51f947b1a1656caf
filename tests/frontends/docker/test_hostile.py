"""Whatever comes: an answer in Docker's own form, and nothing done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from frontends.docker.daemon import END, KEY, NET, POOL, PORTS, Daemon
from weft.frontends.docker.main import _SERVICES

IDS = {"NetworkID": NET, "EndpointID": END}
DATA = [{"AddressSpace": "weft-local", "Gateway": "10.98.0.1/24", "Pool": "10.98.0.0/24", "AuxAddresses": {}}]
OPTIONS = {"com.docker.network.generic": {"com.docker.network.driver.mtu": "1400"}}
#: A good request of each kind.
GOOD: dict[str, dict[str, Any]] = {
    "NetworkDriver.CreateNetwork": {
        "NetworkID": "e" * 64,
        "Options": OPTIONS,
        "IPv4Data": DATA,
        "IPv6Data": [],
    },
    "NetworkDriver.DeleteNetwork": {"NetworkID": "f" * 64},
    "NetworkDriver.CreateEndpoint": {
        **IDS,
        "EndpointID": "d" * 64,
        "Interface": {"Address": "10.99.0.7/24", "AddressIPv6": "", "MacAddress": "02:42:00:00:00:07"},
        "Options": PORTS,
    },
    "NetworkDriver.Join": {**IDS, "SandboxKey": KEY, "Options": {}},
    "NetworkDriver.ProgramExternalConnectivity": {**IDS, "Options": PORTS},
    "IpamDriver.RequestPool": {
        "AddressSpace": "weft-local",
        "Pool": "10.97.0.0/24",
        "SubPool": "",
        "V6": False,
    },
    "IpamDriver.RequestAddress": {
        "PoolID": POOL,
        "Address": "10.99.0.9",
        "Options": {"RequestAddressType": ""},
    },
    "IpamDriver.ReleaseAddress": {"PoolID": POOL, "Address": "10.99.0.250"},
    "IpamDriver.ReleasePool": {"PoolID": "x"},
}
DEEP = '{"NetworkID": ' + "[" * 10_000 + "]" * 10_000 + "}"
WRONG: list[object] = [
    1,
    -1,
    1e309,
    True,
    [],
    {},
    [1],
    {"a": 1},
    "x",
    "a\0b",
    "\ud800",
    "../..",
    "/" * 5000,
    "é",
    "0" * 200,
]


@pytest.fixture
def ready(docker: Daemon) -> Daemon:
    docker.network()
    docker.endpoint(docker.address())
    return docker


def refused(answer: dict[str, Any]) -> bool:
    return bool(answer.get("Err") or answer.get("Error"))


@pytest.mark.parametrize("method", [f"{s}.{m}" for s, (_, methods) in _SERVICES.items() for m in methods])
@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'"x"',
        b"1",
        b"\xff\xfe{}",
        DEEP.encode(),
        b"[" * 200_000,
        b"1" * 10_000,
        b"{}",
        b"null",
        b"",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_bodies_that_are_none(docker: Daemon, method: str, data: bytes) -> None:
    before = docker.bench.kernel()
    status, answer = docker.raw(method, data)
    assert status == 200
    empty = data in (b"", b"{}", b"null")
    simple = method.rpartition(".")[2] in (
        "GetCapabilities GetDefaultAddressSpaces AllocateNetwork FreeNetwork DiscoverNew DiscoverDelete"
    )
    assert refused(answer) == (not (empty and simple)), answer
    assert docker.bench.kernel() == before


@pytest.mark.parametrize("method", GOOD)
def test_fields_that_are_wrong(ready: Daemon, method: str) -> None:
    """Each field missing, null, and of every wrong type: refused or harmless, and never half done."""
    for key in GOOD[method]:
        for value in [None, *WRONG]:
            body = {**GOOD[method], key: value}
            before, known = ready.bench.kernel(), ready.bench.store.below("docker/")
            status, answer = ready.raw(method, json.dumps(body).encode())
            assert status == 200, (key, value, answer)
            if refused(answer):
                assert ready.bench.kernel() == before, (key, value)
                if method not in ("NetworkDriver.CreateEndpoint", "NetworkDriver.Join"):
                    assert ready.bench.store.below("docker/") == known, (key, value)
            else:
                _undo(ready, method, body)


def _undo(docker: Daemon, method: str, body: dict[str, Any]) -> None:
    """What an unusual value was good for goes again."""
    if method == "NetworkDriver.CreateNetwork":
        docker.ask("NetworkDriver.DeleteNetwork", NetworkID=body["NetworkID"])
    if method == "NetworkDriver.ProgramExternalConnectivity":
        docker.ask("NetworkDriver.RevokeExternalConnectivity", **IDS)
    if method == "IpamDriver.RequestPool":
        for key, _ in docker.bench.store.below("docker/pool/"):
            if key != f"docker/pool/{POOL}":
                docker.ask("IpamDriver.ReleasePool", PoolID=key.removeprefix("docker/pool/"))
    if method == "IpamDriver.RequestAddress" and body.get("Address"):
        docker.ask("IpamDriver.ReleaseAddress", PoolID=POOL, Address=body["Address"])


def test_a_good_request_is_none_of_these(ready: Daemon) -> None:
    """So that a wrong field is what is refused. Unknown fields are no matter."""
    ready.join()
    for method, body in GOOD.items():
        ready.ask(method, **body, Unknown={"deep": [1]})
