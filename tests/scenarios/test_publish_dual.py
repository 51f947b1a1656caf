"""C12, IPv6: published ports in both families and from one to the other, with and without bridge-nf.

    blue 192.168.10.0/24 fd00:10::/64   web .2 ::2, sib .3 ::3
    red  10.7.0.0/24     fd00:7::/64    far .2 ::2
    old  10.8.0.0/24                    four .2
    new                  fd00:8::/64    six ::2
    LAN  the host has 203.0.113.1 and .9, 2001:db8:113::1 and ::9

Beside whether an answer comes, each row says which client address the server saw.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import Host, Lan, Page

HOST, BOX, HOST6, BOX6 = Lan.HOST, Lan.BOX, Lan.HOST6, Lan.BOX6
TWO, TWO6 = "203.0.113.9", "2001:db8:113::9"
BLUE, BLUE6, RED6, OLD, NEW6 = "192.168.10.1", "fd00:10::1", "fd00:7::1", "10.8.0.1", "fd00:8::1"
SIB6, FAR, FAR6 = "fd00:10::3", "10.7.0.2", "fd00:7::2"
PORTS = {
    "web": (
        *("[::]:8081:80", "0.0.0.0:8081:80", f"[{HOST6}]:8082:80", "[::1]:8080:80"),
        *("[::]:5301:53/udp", "[::1]:5302:53/udp", f"[{HOST6}]:5303:53/udp"),
        # the same port of two addresses of the host, in each family: far has the other one
        *(f"{HOST}:9000:80", f"[{HOST6}]:9000:80", f"{HOST}:5900:53/udp"),
    ),
    "far": (f"{TWO}:9000:80", f"[{TWO6}]:9000:80", f"{TWO}:5900:53/udp", "[::]:8090:80"),
    # IPv6 of the host to a container without, and the other way round
    "four": ("[::]:8083:80", f"[{HOST6}]:8084:80", "[::1]:8086:80", "[::]:5304:53/udp"),
    "six": ("0.0.0.0:8085:80", "127.0.0.1:8087:80", f"{HOST}:8088:80", "0.0.0.0:5305:53/udp"),
    "sib": (),
}
REACHED = (
    ("host", "::1", 8080, "web", BLUE6),
    ("host", "::1", 8081, "web", BLUE6),
    ("host", "127.0.0.1", 8081, "web", BLUE),
    ("host", HOST6, 8081, "web", HOST6),
    ("host", HOST6, 8082, "web", HOST6),
    ("host", BLUE6, 8081, "web", BLUE6),
    ("host", "::1", 8090, "far", RED6),
    # from the LAN the client's own address is kept
    ("lan", HOST6, 8081, "web", BOX6),
    ("lan", HOST6, 8082, "web", BOX6),
    ("lan", TWO6, 8081, "web", BOX6),
    ("lan", HOST6, 8090, "far", BOX6),
    # one port of two addresses
    ("lan", HOST, 9000, "web", BOX),
    ("lan", TWO, 9000, "far", BOX),
    ("lan", HOST6, 9000, "web", BOX6),
    ("lan", TWO6, 9000, "far", BOX6),
    # (a second IPv4 address of one subnet is dialled from the first)
    ("host", TWO, 9000, "far", HOST),
    ("host", TWO6, 9000, "far", TWO6),
    # a sibling
    ("sib", HOST6, 8081, "web", BLUE6),
    ("sib", HOST6, 8082, "web", BLUE6),
    ("sib", BLUE6, 8081, "web", BLUE6),
    # another network
    ("far", HOST6, 8081, "web", FAR6),
    ("far", RED6, 8081, "web", FAR6),
    ("far", BLUE6, 8081, "web", FAR6),
    ("far", HOST, 9000, "web", FAR),
    ("sib", TWO6, 9000, "far", SIB6),
    # itself
    ("web", HOST6, 8081, "web", BLUE6),
    ("web", BLUE6, 8081, "web", BLUE6),
    ("far", TWO6, 9000, "far", RED6),
    # from one family to the other a proxy speaks for the client
    ("host", "::1", 8083, "four", OLD),
    ("host", "::1", 8086, "four", OLD),
    ("host", HOST6, 8083, "four", OLD),
    ("host", HOST6, 8084, "four", OLD),
    ("lan", HOST6, 8083, "four", OLD),
    ("lan", TWO6, 8083, "four", OLD),
    ("lan", HOST6, 8084, "four", OLD),
    ("host", "127.0.0.1", 8085, "six", NEW6),
    ("host", "127.9.9.9", 8085, "six", NEW6),
    ("host", "127.0.0.1", 8087, "six", NEW6),
    ("lan", HOST, 8085, "six", NEW6),
    ("lan", TWO, 8085, "six", NEW6),
    ("lan", HOST, 8088, "six", NEW6),
)
REACHED_UDP = (
    ("host", "::1", 5301, "web", BLUE6),
    ("host", "::1", 5302, "web", BLUE6),
    ("host", HOST6, 5301, "web", HOST6),
    ("host", HOST6, 5303, "web", HOST6),
    ("lan", HOST6, 5301, "web", BOX6),
    ("lan", HOST6, 5303, "web", BOX6),
    ("sib", HOST6, 5301, "web", BLUE6),
    ("sib", BLUE6, 5301, "web", BLUE6),
    ("far", HOST6, 5301, "web", FAR6),
    ("web", HOST6, 5301, "web", BLUE6),
    ("lan", HOST, 5900, "web", BOX),
    ("lan", TWO, 5900, "far", BOX),
    ("host", "::1", 5304, "four", OLD),
    ("lan", HOST6, 5304, "four", OLD),
    ("lan", TWO6, 5304, "four", OLD),
    ("host", "127.0.0.1", 5305, "six", NEW6),
    ("lan", HOST, 5305, "six", NEW6),
    ("lan", TWO, 5305, "six", NEW6),
)
NOT_REACHED = (
    # published on ::1 only
    ("host", HOST6, 8080),
    ("host", BLUE6, 8080),
    ("lan", HOST6, 8080),
    ("sib", BLUE6, 8080),
    ("sib", "::1", 8080),
    ("far", HOST6, 8080),
    ("lan", HOST6, 8086),
    # published on one address of the host, which is another one than these
    ("host", "::1", 8082),
    ("host", BLUE6, 8082),
    ("lan", TWO6, 8082),
    ("lan", TWO6, 8084),
    ("lan", TWO, 8088),
    ("host", "127.0.0.1", 8088),
    # published in the other family only
    ("lan", HOST, 8083),
    ("lan", HOST, 8082),
    ("lan", HOST6, 8085),
    ("host", "::1", 8087),
    ("host", "127.0.0.1", 8090),
    # what the proxy serves on the host's own sockets is not for weft's containers
    ("far", HOST6, 8083),
    ("far", RED6, 8083),
    ("sib", HOST, 8085),
    # nobody published it
    ("lan", HOST6, 80),
    ("lan", HOST6, 7765),
    ("lan", "fd00:10::2", 80),
)
NOT_REACHED_UDP = (("host", HOST6, 5302), ("lan", HOST6, 5302), ("lan", TWO6, 5303), ("lan", HOST, 5304))


class Ground:
    """The host of this page's head, and who can ask from where."""

    def __init__(self, bridge_nf: int) -> None:
        self.host = Host(bridge_nf=bridge_nf)
        try:
            self.lan = Lan(self.host)
            for address in (f"{TWO}/24", f"{TWO6}/64"):
                nodad = ["nodad"] if ":" in address else []
                self.host.ip("address", "add", address, "dev", Lan.UPLINK, *nodad)
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        weft = self.host.weft
        weft("net", "create", "blue", "--subnet", "192.168.10.0/24", "--subnet", "fd00:10::/64")
        weft("net", "create", "red", "--subnet", "10.7.0.0/24", "--subnet", "fd00:7::/64")
        weft("net", "create", "old", "--subnet", "10.8.0.0/24")
        weft("net", "create", "new", "--subnet", "fd00:8::/64")
        networks = {"web": "blue", "sib": "blue", "far": "red", "four": "old", "six": "new"}
        for name, network in networks.items():
            ports = [word for spec in PORTS[name] for word in ("-p", spec)]
            weft("run", "--name", name, "--network", network, *ports)
            for port, kind in ((80, "http"), (53, "udp")):
                address = "" if name == "four" else "::"
                self.host.serve(port, name, netns=name, kind=kind, address=address)

    def fetch(self, who: str, address: str, port: int, timeout: float = 5) -> Page:
        url = f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"
        if who == "lan":
            return self.lan.fetch(url, timeout=timeout)
        return self.host.fetch(url, netns=None if who == "host" else who, timeout=timeout)

    def ask_udp(self, who: str, address: str, port: int, timeout: float = 5) -> Page:
        machine = self.lan.box if who == "lan" else self.host
        netns = None if who in ("host", "lan") else who
        return machine.ask_udp(address, port, netns=netns, timeout=timeout)

    def close(self) -> None:
        if hasattr(self, "lan"):
            self.lan.close()
        self.host.close()


@pytest.fixture(scope="module", params=[0, 1], ids=["bridge-nf-0", "bridge-nf-1"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    made = Ground(request.param)
    yield made
    made.close()


def test_every_client_reaches_what_is_published(ground: Ground) -> None:
    found = []
    for who, address, port, _, _ in REACHED:
        page = ground.fetch(who, address, port)
        found.append((who, address, port, page.body or page.error, page.client))
    assert found == list(REACHED)


def test_the_same_by_udp(ground: Ground) -> None:
    found = []
    for who, address, port, _, _ in REACHED_UDP:
        page = ground.ask_udp(who, address, port)
        found.append((who, address, port, page.body or page.error, page.client))
    assert found == list(REACHED_UDP)


def test_nothing_else_is_reached(ground: Ground) -> None:
    through = []
    for who, address, port in NOT_REACHED:
        page = ground.fetch(who, address, port, timeout=0.5)
        if page.ok or page.body:
            through.append((who, address, port, page))
    for who, address, port in NOT_REACHED_UDP:
        page = ground.ask_udp(who, address, port, timeout=0.3)
        if page.ok:
            through.append((who, address, port, page))
    assert not through
