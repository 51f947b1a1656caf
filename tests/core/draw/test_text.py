"""The picture in text: one box a network, one line a container, one arrow a published port."""

from __future__ import annotations

from typing import Any

from weft.core.draw.text import draw


def network(*members: str, publish: tuple[str, ...] = ()) -> dict[str, Any]:
    """``members`` are container names; those in ``publish`` have port 8080."""
    return {
        "name": "blue",
        "bridge": "lxcbr0",
        "subnets": [{"subnet": "192.168.10.0/24", "gateway": "192.168.10.1"}],
        "endpoints": [
            {
                "container": name,
                "ifname": "eth0",
                "host_ifname": f"wv{n}",
                "addresses": [f"192.168.10.{n + 2}/24"],
            }
            for n, name in enumerate(members)
        ],
        "publish": [
            {
                "container": name,
                "host_ip": "0.0.0.0",
                "host_port": 8080 + n,
                "container_port": 80,
                "proto": "tcp",
            }
            for n, name in enumerate(publish)
        ],
    }


def container(name: str, networks: tuple[str, ...] = ("blue",)) -> dict[str, Any]:
    state = "running" if networks else "exited"
    return {"name": name, "networks": dict.fromkeys(networks), "state": state, "network_mode": "networks"}


def test_nothing() -> None:
    assert draw([], []) == "no networks"


def test_an_empty_network_is_a_closed_box() -> None:
    lines = draw([network()], []).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert (lines[0][0], lines[0][-1], lines[2][0], lines[2][-1]) == ("┌", "┐", "└", "┘")
    assert set(lines[2][1:-1]) == {"─"}


def test_members_hang_from_the_box() -> None:
    lines = draw([network("web", "db")], [container("web"), container("db")]).splitlines()
    assert len({len(line) for line in lines[:3]}) == 1, "the box is closed"
    assert lines[1] == "│ network blue   bridge lxcbr0   192.168.10.1/24 │"
    assert lines[3:] == [
        " ├──[wv0]──── web  eth0 192.168.10.2/24",
        " └──[wv1]──── db  eth0 192.168.10.3/24",
    ]
    assert lines[2][1] == "┬", "the cable starts at the box"


def test_published_ports_under_their_container() -> None:
    picture = draw([network("web", "db", publish=("web", "db"))], [])
    lines = picture.splitlines()[3:]
    assert lines == [
        " ├──[wv0]──── web  eth0 192.168.10.2/24",
        " │        ◄── 0.0.0.0:8080 published, to 80/tcp",
        " └──[wv1]──── db  eth0 192.168.10.3/24",
        "          ◄── 0.0.0.0:8081 published, to 80/tcp",
    ]


def test_several_networks_and_who_has_none() -> None:
    rows = [container("web"), container("done", ()), container("old", ())]
    picture = draw([network("web"), network()], rows)
    assert picture.count("network blue") == 2
    assert picture.endswith("\n\nexited, without a network: done, old")
