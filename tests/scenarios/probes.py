"""Questions to the ground, each with a short word for what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable

from harness.host import PYTHON
from scenarios import packets
from scenarios.ground import Ground

Probe = Callable[[Ground, float], str]


def web(who: str, url: str) -> Probe:
    def ask(ground: Ground, patience: float) -> str:
        page = ground.fetch(who, url, timeout=patience)
        return f"{page.body} saw {page.client}" if page.ok else "nothing"

    return ask


def datagram(who: str, address: str, port: int) -> Probe:
    def ask(ground: Ground, patience: float) -> str:
        page = ground.ask_udp(who, address, port, timeout=patience)
        return f"{page.body} saw {page.client}" if page.ok else "nothing"

    return ask


def ping(who: str, address: str) -> Probe:
    def ask(ground: Ground, patience: float) -> str:
        return "answer" if ground.host.pings(address, netns=who, timeout=patience) else "nothing"

    return ask


_LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.settimeout(float(sys.argv[2]))
print("ready", flush=True)
try:
    print(s.recv(2048).decode())
except TimeoutError:
    print("nothing")
"""


def to_loopback(who: str, source: str, by: str) -> Probe:
    """A datagram to 127.0.0.1 by the host's interface ``by``, on which somebody has set route_localnet."""

    def ask(ground: Ground, patience: float) -> str:
        machine, netns = (ground.lan.box, None) if who == "lan" else (ground.host, who)
        (link,) = json.loads(machine.ip("-j", "link", "show", "eth0", netns=netns))
        to = ground.host.run(["cat", f"/sys/class/net/{by}/address"]).stdout.strip()
        frame = packets.ether(
            link["address"], packets.IPV4, packets.udp4(source, "127.0.0.1", "probe", 9997), to=to
        )
        listener = ground.host.popen([*PYTHON, "-c", _LISTEN, "9997", str(patience)])
        assert listener.stdout
        assert listener.stdout.readline() == "ready\n"
        ground.host.sysctl(f"net/ipv4/conf/{by}/route_localnet", "1")
        try:
            ground.send(who, frame)
            return listener.communicate(timeout=patience + 20)[0].strip()
        finally:
            ground.host.sysctl(f"net/ipv4/conf/{by}/route_localnet", "0")
            listener.end()

    return ask
