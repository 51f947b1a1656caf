"""``weft serve --docker`` with a kernel, asked as dockerd asks; what libnetwork does itself is done by
hand."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest

from frontends.docker.daemon import END, IDS, KEY, MAC, NET, POOL, PORTS
from harness import Host, Process, differences, settle, snapshot
from scenarios.life import WEFT, run

SOCKET = "/run/docker/plugins/weft.sock"
GENERIC = {"com.docker.network.generic": {"weft.network": "blue"}}
DATA = [{"Pool": "10.99.0.0/24", "Gateway": "10.99.0.1/24"}]


def serve(host: Host) -> Process:
    process = host.popen([WEFT, "serve", "--docker"])
    assert process.stdout and process.stdout.readline() == f"ready: {SOCKET}\n"
    return process


def ask(host: Host, method: str, **body: Any) -> Any:
    connection = http.client.HTTPConnection("plugin.moby.localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(host.path(SOCKET)))
    connection.request("POST", f"/{method}", json.dumps(body))
    found = json.loads(connection.getresponse().read())
    connection.close()
    assert not found.get("Err") and not found.get("Error"), (method, found)
    return found


def start(host: Host, ids: dict[str, str], address: str, mac: str, sandbox: str) -> None:
    """What libnetwork does with an endpoint: its own namespace, and the end moved, named, addressed,
    routed."""
    interface = {"Address": address, "MacAddress": mac}
    ask(host, "NetworkDriver.CreateEndpoint", **ids, Interface=interface, Options=PORTS)
    found = ask(host, "NetworkDriver.Join", **ids, SandboxKey=f"/run/netns/{sandbox}", Options=PORTS)
    name = found["InterfaceName"]["SrcName"]
    assert f"{name}@" in host.ip("-br", "link", "show", "dev", name), "it waits in the host's namespace"
    assert "UP" not in host.ip("-br", "link", "show", "dev", name).split()[1]
    host.ip("netns", "add", sandbox)
    host.ip("link", "set", name, "netns", sandbox, "name", "eth0")
    lines = f"address add {address} dev eth0\nlink set lo up\nlink set eth0 up\n"
    host.run(["ip", "-batch", "-"], input=f"{lines}route add default via {found['Gateway']}\n", netns=sandbox)


@pytest.fixture
def blue(host: Host) -> Host:
    host.weft("net", "create", "blue", "--subnet", "10.99.0.0/24")
    host.weft("run", "--rm", "--network", "blue", "-p", "8080:80", "--", "true")
    return host


def test_a_life(blue: Host) -> None:
    """In a network of weft's, reached and published, its guards around it; then nothing of it is left, by way
    of a service that was killed in between."""
    service = serve(blue)
    before = snapshot(blue)
    ask(blue, "IpamDriver.RequestPool", AddressSpace="weft-local", Pool="10.99.0.0/24")
    ask(blue, "NetworkDriver.CreateNetwork", NetworkID=NET, Options=GENERIC, IPv4Data=DATA)
    start(blue, IDS, "10.99.0.9/24", MAC, "sandbox")
    ask(blue, "NetworkDriver.ProgramExternalConnectivity", **IDS, Options=PORTS)
    blue.serve(80, "in docker's", netns="sandbox")
    run(blue, "-d", "--", "sleep", "1000")
    assert blue.weft("exec", "c", "--", "ping", "-c1", "-W2", "10.99.0.9").returncode == 0
    assert blue.fetch("http://127.0.0.1:8080/").body == "in docker's"
    (row,) = [r for r in blue.weft_json("ps", "-a") if r["engine"] == "docker"]
    assert (row["name"], row["networks"]["blue"]["mac"]) == ("docker:sandbox", MAC)

    # Its guard: another's address is not its own.
    blue.ip("address", "add", "10.99.0.77/24", "dev", "eth0", netns="sandbox")
    spoof = ["ping", "-c1", "-W1", "-I", "10.99.0.77", "10.99.0.1"]
    assert blue.run(spoof, netns="sandbox", check=False).returncode == 1
    assert blue.pings("10.99.0.1", netns="sandbox")

    service.kill()
    service.wait()
    blue.weft("gc")
    service = serve(blue)
    assert blue.pings("10.99.0.1", netns="sandbox"), "a plug-in that is gone is not missed"
    ask(blue, "NetworkDriver.RevokeExternalConnectivity", **IDS)
    assert not blue.fetch("http://127.0.0.1:8080/").ok
    ask(blue, "NetworkDriver.Leave", **IDS)
    ask(blue, "NetworkDriver.DeleteEndpoint", **IDS)
    ask(blue, "NetworkDriver.DeleteNetwork", NetworkID=NET)
    ask(blue, "IpamDriver.ReleasePool", PoolID=POOL)
    blue.ip("netns", "del", "sandbox")
    blue.weft("rm", "-f", "c")
    assert [n["name"] for n in blue.weft_json("net", "ls")] == ["blue"]
    service.terminate()
    assert service.wait(10) == 0
    assert not blue.path(SOCKET).exists()
    service = serve(blue)
    assert differences(blue, before) == []


def test_a_flush_and_a_cable_that_was_cut(blue: Host) -> None:
    """`weft repair` mends Docker's endpoints too: inside the sandbox, where it knows of that."""
    serve(blue)
    ask(blue, "NetworkDriver.CreateNetwork", NetworkID=NET, Options=GENERIC, IPv4Data=DATA)
    start(blue, IDS, "10.99.0.9/24", MAC, "sandbox")
    blue.nft("flush ruleset")
    (cable,) = [
        link["ifname"] for link in json.loads(blue.ip("-j", "link")) if link["ifname"].startswith("wv")
    ]
    blue.ip("link", "del", cable)
    blue.weft("repair")
    assert blue.pings("10.99.0.1", netns="sandbox")
    assert MAC in blue.ip("-br", "link", "show", "dev", "eth0", netns="sandbox")
    ask(blue, "NetworkDriver.DeleteEndpoint", **IDS)
    assert "eth0" not in blue.ip("-br", "link", netns="sandbox")


def test_killed_while_a_container_starts(blue: Host) -> None:
    """The process of one request: what it half made the next one takes back."""
    service = serve(blue)
    ask(blue, "NetworkDriver.CreateNetwork", NetworkID=NET, Options=GENERIC, IPv4Data=DATA)
    ask(blue, "NetworkDriver.CreateEndpoint", **IDS, Interface={"Address": "10.99.0.9/24"})
    before = snapshot(blue)
    strace = ("strace", "-f", "-qq", "-o/dev/null", "-p", str(service.inner_pid()))
    tracer = blue.popen([*strace, "-etrace=sendmsg,sendto", "-einject=sendto:signal=KILL:when=3+"])
    assert settle(blue, lambda: "TracerPid:\t0" not in blue.read(f"/proc/{service.inner_pid()}/status"))
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(blue, "NetworkDriver.Join", **IDS, SandboxKey=KEY)
    tracer.terminate()
    tracer.wait()
    assert service.poll() is None, "the service itself goes on"
    blue.weft("ps")
    assert differences(blue, before) == []
    ask(blue, "NetworkDriver.Join", **IDS, SandboxKey=KEY)
    ask(blue, "NetworkDriver.DeleteEndpoint", **{**IDS, "EndpointID": END})


def test_refusals(host: Host) -> None:
    for words, status, said in (
        (("serve",), 2, "--docker"),
        (("serve", "--docker", "--socket", "x"), 2, "not an absolute path"),
        (("serve", "--docker", "--dry-run"), 2, "--dry-run"),
    ):
        done = host.weft(*words, check=False)
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    serve(host)
    done = host.weft("serve", "--docker", check=False)
    assert (done.returncode, "answers on" in done.stderr) == (4, True)
