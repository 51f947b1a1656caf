"""A third-party network and IPAM driver of Docker's: ``python3 driver.py SOCKET LOG``.

It does what such drivers do, with ip(8), writes a line for each call, and misbehaves where LOG.wrongs
says so, METHOD=KIND: refuse, garbage, list, deep, huge, close, half, hang, status, wrong (fields that lie).
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

SPACES = {"LocalDefaultAddressSpace": "fake-local", "GlobalDefaultAddressSpace": "fake-global"}
LIES: dict[str, dict[str, Any]] = {
    "Plugin.Activate": {"Implements": ["VolumeDriver"]},
    "NetworkDriver.Join": {"InterfaceName": {"SrcName": "no-such-link"}, "Gateway": "10.44.0.1"},
    "NetworkDriver.CreateEndpoint": {"Interface": {"Address": "10.44.0.99/24"}},
    "IpamDriver.RequestPool": {"PoolID": "p", "Pool": "not-a-subnet"},
    "IpamDriver.RequestAddress": {"Address": "192.0.2.1/24"},
    "IpamDriver.GetDefaultAddressSpaces": {"LocalDefaultAddressSpace": 7},
}
BROKEN = {
    "refuse": (200, b'{"Err": "no, thank you", "Error": "no, thank you"}'),
    "garbage": (200, b"\xff\xfe<html>"),
    "list": (200, b"[1]"),
    "deep": (200, b"[" * 100_000),
    "huge": (200, b" " * (5 << 20)),
    "status": (500, b"it broke"),
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class State:
    def __init__(self, log: str) -> None:
        self.log = log
        self.taken: dict[str, set[str]] = {}
        self.made: dict[str, str] = {}

    def tell(self, line: str) -> None:
        with open(self.log, "a") as file:
            file.write(line + "\n")

    def wrong(self, method: str) -> str:
        try:
            with open(f"{self.log}.wrongs") as file:
                return dict(word.split("=") for word in file.read().split()).get(method, "")
        except FileNotFoundError:
            return ""

    def answer(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        do = getattr(self, method.partition(".")[2], None)
        return do(body) if do is not None else {}

    def Activate(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"Implements": ["NetworkDriver", "IpamDriver"]}

    def GetDefaultAddressSpaces(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return SPACES

    def RequestPool(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        pool = body["Pool"] or ("fd44::/64" if body["V6"] else "10.44.0.0/24")
        self.taken[pool] = set()
        return {"PoolID": pool, "Pool": pool, "Data": None}

    def RequestAddress(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        subnet, taken = ipaddress.ip_network(body["PoolID"]), self.taken[body["PoolID"]]
        wanted = body["Address"] or next(str(a) for a in subnet.hosts() if str(a) not in taken)
        if wanted in taken:
            return {"Error": f"{wanted} is taken"}
        taken.add(wanted)
        return {"Address": f"{wanted}/{subnet.prefixlen}", "Data": {}}

    def ReleaseAddress(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.taken[body["PoolID"]].discard(body["Address"])
        return {}

    def ReleasePool(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        assert not self.taken.pop(body["PoolID"]), "addresses are left in it"
        return {}

    def CreateNetwork(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        bridge = self.made[body["NetworkID"]] = "fk" + body["NetworkID"][:8]
        ip("link", "add", bridge, "address", "02:fa:ce:00:00:01", "type", "bridge")
        for data in (*body["IPv4Data"], *body["IPv6Data"]):
            ip("address", "add", data["Gateway"], "dev", bridge, *(["nodad"] if ":" in data["Pool"] else []))
        ip("link", "set", bridge, "up")
        return {}

    def DeleteNetwork(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        ip("link", "del", self.made.pop(body["NetworkID"]))
        return {}

    def CreateEndpoint(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if body["EndpointID"] in self.made:
            return {"Err": "endpoint exists"}
        outer = self.made[body["EndpointID"]] = "fh" + body["EndpointID"][:8]
        mac = body["Interface"]["MacAddress"]
        ip("link", "add", outer, "type", "veth", "peer", "name", "fc" + outer[2:], "address", mac)
        ip("link", "set", outer, "master", self.made[body["NetworkID"]], "up")
        return {"Interface": {}}

    def Join(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        source = "fc" + self.made[body["EndpointID"]][2:]
        routes = [{"Destination": "198.18.0.0/15", "RouteType": 0, "NextHop": "10.44.0.1"}]
        names = {"SrcName": source, "DstPrefix": "eth"}
        return {"InterfaceName": names, "Gateway": "10.44.0.1", "GatewayIPv6": "", "StaticRoutes": routes}

    def DeleteEndpoint(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        outer = self.made.pop(body["EndpointID"], "")
        if not outer:
            return {"Err": "no such endpoint"}
        ip("link", "del", outer)
        return {}


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        method = self.path[1:]
        kind = self.state.wrong(method)
        self.state.tell(f"{method} {json.dumps(body, sort_keys=True)}")
        self.close_connection = True
        if kind == "close":
            return
        if kind == "half":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            return
        if kind == "hang":
            os.read(os.open(f"{self.state.log}.fifo", os.O_RDONLY), 1)
        found = LIES[method] if kind == "wrong" else {}
        status, data = BROKEN.get(kind) or (
            200,
            json.dumps(found or self.state.answer(method, body)).encode(),
        )
        if method.endswith("ExternalConnectivity"):
            status = 404  # as drivers answer that are older
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


def main() -> None:
    path, log = sys.argv[1:]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    Request.state = State(log)
    server = Server(path, Request)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
