"""C12, IPv4: published ports, from everywhere a client can be, TCP and UDP, with and without bridge-nf.

Beside whether an answer comes, each row says which client address the server saw.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scenarios.ground import BLUE, BOX, FAR, HOST, NS1, NS2, RED, Ground

#: who asks, which address, which port; the text of the answer and the client's address as the server sees it
REACHED = (
    # on 127.0.0.1 a proxy speaks for the host, so that the container sees its own gateway
    ("host", "127.0.0.1", 8080, "ns1", BLUE),
    ("host", "127.0.0.1", 8081, "ns1", BLUE),
    ("host", "127.8.9.10", 8081, "ns1", BLUE),
    ("host", "127.0.0.1", 8090, "far", RED),
    ("host", HOST, 8081, "ns1", HOST),
    ("host", HOST, 8082, "ns1", HOST),
    ("host", BLUE, 8081, "ns1", BLUE),
    ("host", NS1, 80, "ns1", BLUE),
    # from the LAN the client's own address is kept
    ("lan", HOST, 8081, "ns1", BOX),
    ("lan", HOST, 8082, "ns1", BOX),
    ("lan", HOST, 8090, "far", BOX),
    # a sibling by the host's address: answers must come back by the host, hence the bridge's address
    ("ns2", HOST, 8081, "ns1", BLUE),
    ("ns2", BLUE, 8081, "ns1", BLUE),
    ("ns2", HOST, 8082, "ns1", BLUE),
    ("ns2", NS1, 80, "ns1", NS2),
    # another network
    ("far", HOST, 8081, "ns1", FAR),
    ("far", BLUE, 8081, "ns1", FAR),
    ("far", RED, 8081, "ns1", FAR),
    ("ns2", HOST, 8090, "far", NS2),
    # itself
    ("ns1", HOST, 8081, "ns1", BLUE),
    ("ns1", BLUE, 8081, "ns1", BLUE),
    ("far", HOST, 8090, "far", RED),
    # a range
    ("lan", HOST, 9100, "ns1", BOX),
    ("lan", HOST, 9102, "ns1", BOX),
    ("host", "127.0.0.1", 9101, "ns1", BLUE),
)
REACHED_UDP = (
    ("host", "127.0.0.1", 5301, BLUE),
    ("host", "127.0.0.1", 5302, BLUE),
    ("host", HOST, 5301, HOST),
    ("host", HOST, 5303, HOST),
    ("host", BLUE, 5301, BLUE),
    ("lan", HOST, 5301, BOX),
    ("lan", HOST, 5303, BOX),
    ("ns2", HOST, 5301, BLUE),
    ("ns2", BLUE, 5301, BLUE),
    ("far", HOST, 5301, FAR),
    ("ns1", HOST, 5301, BLUE),
)
NOT_REACHED = (
    # 8080 is published on 127.0.0.1 only
    ("host", HOST, 8080),
    ("host", BLUE, 8080),
    ("lan", HOST, 8080),
    ("ns2", HOST, 8080),
    ("ns2", BLUE, 8080),
    ("ns2", "127.0.0.1", 8080),
    ("ns1", "127.0.0.1", 8080),
    ("far", HOST, 8080),
    ("far", RED, 8080),
    # 8082 is published on one address of the host, which is another one than these
    ("host", "127.0.0.1", 8082),
    ("host", BLUE, 8082),
    ("ns2", BLUE, 8082),
    ("far", RED, 8082),
    # a port that nobody published, though a server listens, and the container's own number of one
    ("lan", HOST, 8888),
    ("host", "127.0.0.1", 8888),
    ("lan", HOST, 80),
    ("lan", HOST, 9103),
    # the loopback proxy's own listener
    ("lan", HOST, 7765),
    ("ns2", BLUE, 7765),
    ("ns2", HOST, 7765),
)
NOT_REACHED_UDP = (("host", HOST, 5302), ("lan", HOST, 5302), ("ns2", BLUE, 5302), ("lan", HOST, 53))


@pytest.fixture(scope="module", params=[0, 1], ids=["bridge-nf-0", "bridge-nf-1"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with Ground(request.param) as made:
        yield made


def test_every_client_reaches_what_is_published(ground: Ground) -> None:
    found, wanted = [], []
    for who, address, port, text, client in REACHED:
        page = ground.fetch(who, f"http://{address}:{port}/")
        found.append((who, address, port, page.body or page.error, page.client))
        wanted.append((who, address, port, text, client))
    assert found == wanted


def test_the_same_by_udp(ground: Ground) -> None:
    found, wanted = [], []
    for who, address, port, client in REACHED_UDP:
        page = ground.ask_udp(who, address, port)
        found.append((who, address, port, page.body or page.error, page.client))
        wanted.append((who, address, port, "ns1", client))
    assert found == wanted


def test_nothing_else_is_reached(ground: Ground) -> None:
    through = []
    for who, address, port in NOT_REACHED:
        page = ground.fetch(who, f"http://{address}:{port}/", timeout=0.5)
        if page.ok or page.body:
            through.append((who, address, port, page))
    for who, address, port in NOT_REACHED_UDP:
        page = ground.ask_udp(who, address, port, timeout=0.3)
        if page.ok:
            through.append((who, address, port, page))
    assert not through
