"""`weft watch`: what a flush or a foreign hand takes is back by itself, and no packet crosses meanwhile."""

from __future__ import annotations

import time

import pytest

from harness import REPO, Host, Process, settle


def stands(host: Host) -> bool:
    listed = host.nft("list", "tables")
    return "table inet weft" in listed and "table bridge weft" in listed


def watching(host: Host) -> Process:
    """A watch that is awake: it has mended something."""
    process = host.popen([str(REPO / "weft"), "watch"])
    assert process.stdout
    host.nft("delete table bridge weft")
    assert "mended" in process.stdout.readline()
    return process


def world(host: Host, ports: int) -> None:
    host.weft("net", "create", "blue", "--subnet", "10.1.0.0/24")
    host.weft("net", "create", "red", "--subnet", "10.2.0.0/24")
    host.weft("run", "--network", "red", "--name", "far")
    published = [word for n in range(ports) for word in ("-p", f"0.0.0.0:{20000 + n}:80")]
    host.weft("run", "--network", "blue", "--name", "web", *published, "-p", "0.0.0.0:8080:80")


def crossing(host: Host) -> Process:
    """Somebody in another network who asks again and again."""
    return host.popen(["ping", "-n", "-i0.02", "-W0.1", "10.1.0.2"], netns="far")


def crossed(process: Process) -> int:
    process.send_signal(2)
    said, _ = process.communicate(timeout=10)
    assert "packets transmitted" in said
    assert int(said.partition(" packets transmitted")[0].split()[-1]) > 20, said
    return said.count("bytes from 10.1.0.2")


def flushes(host: Host, seconds: float, ports: int) -> None:
    world(host, ports)
    watch = watching(host)
    server = host.serve(80, "web", netns="web")
    ping = crossing(host)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        host.nft("flush ruleset")
        time.sleep(0.1)  # ten a second is what is asked for
    assert crossed(ping) == 0
    assert settle(host, lambda: stands(host))
    assert settle(host, lambda: host.fetch("http://127.0.0.1:8080").body == "web")
    assert host.nft("list", "map", "inet", "weft", "publish4_any").count("10.1.0.2 . 80") == ports + 1
    assert watch.poll() is None
    watch.send_signal(2)
    assert watch.wait(10) == 0
    server.end()
    assert host.weft("repair").stdout == ""


def test_ten_flushes_a_second() -> None:
    with Host() as host:
        flushes(host, 2, 20)


@pytest.mark.campaign
def test_ten_flushes_a_second_with_a_thousand_ports() -> None:
    with Host() as host:
        flushes(host, 60, 1000)


def test_what_a_foreign_hand_takes_is_back() -> None:
    with Host() as host:
        world(host, 0)
        watch = watching(host)
        bridge = host.weft_json("net", "inspect", "blue")[0]["bridge"]
        host.ip("link", "del", bridge)
        assert settle(host, lambda: host.pings("10.1.0.2", timeout=0.2))
        host.ip("addr", "flush", "dev", bridge)
        assert settle(host, lambda: host.pings("10.1.0.2", timeout=0.2))
        # What weft itself changes is no damage: nothing is said of it.
        host.weft("run", "--network", "blue", "--name", "other")
        host.weft("rm", "other")
        host.nft("flush ruleset")
        assert settle(host, lambda: stands(host))
        watch.send_signal(2)
        said, errors = watch.communicate(timeout=10)
        assert "other" not in said
        assert "Traceback" not in errors
