"""Who asks at Docker's door: dockerd, in its own words."""

from __future__ import annotations

import json
from typing import Any

from fakes.bench import Bench
from weft.frontends.docker.main import Door

NET = "17a6ed8c9c154904846f032a1abf3d459210355a9723c4d89d9dc5d476d9797c"
END = "c1d584d7dcd8e19b8fe911c03df5aee10e355a523aba097b7ab4a06522cf4b27"
KEY = "/run/docker/netns/08ff92cc8145"
POOL = "weft-local=10.99.0.0/24"
IDS = {"NetworkID": NET, "EndpointID": END}
MAC = "02:42:3b:3f:e8:aa"
PORTS = {
    "com.docker.network.portmap": [
        {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080},
        {"Proto": 17, "IP": "", "Port": 53, "HostIP": "127.0.0.1", "HostPort": 9000, "HostPortEnd": 9005},
    ]
}


class Daemon:
    """What dockerd asks, in its own words (recorded from 20.10)."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.door = Door(lambda: bench.work, bench.remarks.append)

    def raw(self, method: str, data: bytes) -> tuple[int, Any]:
        status, answer, _ = self.door(method, data)
        return status, json.loads(answer)

    def ask(self, method: str, **body: Any) -> Any:
        """The answer, which must be none of refusal."""
        status, answer = self.raw(method, json.dumps(body).encode())
        assert status == 200
        assert not answer.get("Err") and not answer.get("Error"), (method, answer)
        return answer

    def refused(self, method: str, **body: Any) -> str:
        status, answer = self.raw(method, json.dumps(body).encode())
        assert status == 200, answer
        key = "Error" if method.startswith("IpamDriver") else "Err"
        assert list(answer) == [key], answer
        return str(answer[key])

    def pool(self, subnet: str = "10.99.0.0/24", **more: Any) -> str:
        six = ":" in subnet
        wanted = {"AddressSpace": "weft-local", "Pool": subnet, "SubPool": "", "Options": {}, "V6": six}
        return str(self.ask("IpamDriver.RequestPool", **{**wanted, **more})["PoolID"])

    def gateway(self, pool: str = POOL, address: str = "") -> str:
        options = {"RequestAddressType": "com.docker.network.gateway"}
        answer = self.ask("IpamDriver.RequestAddress", PoolID=pool, Address=address, Options=options)
        return str(answer["Address"])

    def address(self, pool: str = POOL, address: str = "", mac: str = MAC) -> str:
        options = {"com.docker.network.endpoint.macaddress": mac}
        answer = self.ask("IpamDriver.RequestAddress", PoolID=pool, Address=address, Options=options)
        return str(answer["Address"])

    def network(self, id: str = NET, subnet: str = "10.99.0.0/24", **generic: str) -> str:
        pool = self.pool(subnet)
        gateway = self.gateway(pool)
        options = {"com.docker.network.enable_ipv6": False, "com.docker.network.generic": generic}
        data = [{"AddressSpace": "weft-local", "Gateway": gateway, "Pool": subnet}]
        self.ask("NetworkDriver.CreateNetwork", NetworkID=id, Options=options, IPv4Data=data, IPv6Data=[])
        return pool

    def endpoint(self, address: str, id: str = END, mac: str = MAC) -> Any:
        interface = {"Address": address, "AddressIPv6": "", "MacAddress": mac}
        ids = {**IDS, "EndpointID": id}
        return self.ask("NetworkDriver.CreateEndpoint", **ids, Interface=interface, Options=PORTS)

    def join(self, id: str = END, key: str = KEY) -> Any:
        return self.ask("NetworkDriver.Join", **{**IDS, "EndpointID": id}, SandboxKey=key, Options=PORTS)
