"""Neighbours as the kernel takes them, seen through iproute2. MAC tables: test_switch_kernel.py."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from core.wire.sandbox import Kernel, command, ip, sandboxed
from weft.core.wire import buffer as wire
from weft.core.wire import neighbour as nb
from weft.core.wire import rtnetlink as rt

MAC, OTHER = bytes.fromhex("0200000000aa"), bytes.fromhex("0200000000bb")
FOUR, SIX = socket.inet_aton("10.1.2.9"), socket.inet_pton(socket.AF_INET6, "fd00:1::9")


def prepared(kernel: Kernel, name: str = "br0", net: int = 2) -> int:
    kernel.do(rt.new_link(rt.Link(ifname=name, kind="bridge", flags=rt.IFF_UP, change=rt.IFF_UP)))
    index = socket.if_nametoindex(name)
    kernel.do(rt.new_address(rt.Address(index, bytes([10, 1, net, 1]), 24)))
    return index


def dumped(kernel: Kernel, *args: Any) -> list[nb.Neighbour]:
    return [nb.get_neighbour(payload) for payload in kernel.ask(nb.dump_neighbours(*args))]


def plain(entry: nb.Neighbour) -> nb.Neighbour:
    return entry._replace(cacheinfo=None)


def neigh(words: str = "show dev br0") -> dict[str, tuple[str, list[str]]]:
    return {row["dst"]: (row.get("lladdr", ""), row["state"]) for row in ip(f"neigh {words}")}


@pytest.mark.parametrize(("family", "dst", "text"), [(2, FOUR, "10.1.2.9"), (10, SIX, "fd00:1::9")])
@sandboxed
def test_a_permanent_neighbour(family: int, dst: bytes, text: str) -> None:
    with Kernel(strict=True) as kernel:
        index = prepared(kernel)
        ours = nb.Neighbour(index, family, dst, MAC, nb.NUD_PERMANENT)
        kernel.do(nb.new_neighbour(ours))
        (again,) = kernel.acks([nb.new_neighbour(ours)])
        said = neigh()
        (payload,) = kernel.ask(nb.get_neighbour_request(family, index, dst))
        back = nb.get_neighbour(payload)
        kernel.do(nb.del_neighbour(ours))
        (gone,) = kernel.acks([nb.del_neighbour(ours)])
        assert [entry for entry in dumped(kernel, family) if entry.dst == dst] == []
    assert said[text] == ("02:00:00:00:00:aa", ["PERMANENT"])
    assert back.cacheinfo
    assert plain(back) == ours._replace(type=rt.RTN_UNICAST)
    assert (again.errno, gone.errno) == (errno.EEXIST, errno.ENOENT)
    assert text not in neigh()


@sandboxed
def test_a_neighbour_is_changed() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        kernel.do(nb.new_neighbour(nb.Neighbour(index, 2, FOUR, MAC, nb.NUD_PERMANENT)))
        changed = nb.Neighbour(index, 2, FOUR, OTHER, nb.NUD_REACHABLE)
        kernel.do(nb.new_neighbour(changed, wire.NLM_F_REPLACE))
    assert neigh()["10.1.2.9"] == ("02:00:00:00:00:bb", ["REACHABLE"])


@sandboxed
def test_what_iproute2_added() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        command("ip", "neigh", "add", "10.1.2.7", "lladdr", "02:00:00:00:00:bb", "nud", "stale", "dev", "br0")
        command("ip", "neigh", "add", "10.1.2.8", "lladdr", "02:00:00:00:00:aa", "nud", "noarp", "router",
                "dev", "br0")  # fmt: skip
        found = {entry.dst: plain(entry) for entry in dumped(kernel, rt.AF_INET)}
    seven, eight = bytes([10, 1, 2, 7]), bytes([10, 1, 2, 8])
    assert found[seven] == nb.Neighbour(index, 2, seven, OTHER, nb.NUD_STALE, type=rt.RTN_UNICAST)
    assert found[eight] == nb.Neighbour(index, 2, eight, MAC, nb.NUD_NOARP, nb.NTF_ROUTER, rt.RTN_UNICAST)


@pytest.mark.parametrize("strict", [False, True])
@sandboxed
def test_the_neighbours_on_one_link(strict: bool) -> None:
    with Kernel(strict=strict) as kernel:
        first, second = prepared(kernel), prepared(kernel, "br1", 3)
        for index, net in ((first, 2), (second, 3)):
            here = nb.Neighbour(index, 2, bytes([10, 1, net, 9]), MAC, nb.NUD_PERMANENT)
            kernel.do(nb.new_neighbour(here))
        # the kernel has its own, of multicast
        ours = [entry for entry in dumped(kernel) if entry.state == nb.NUD_PERMANENT]
        on_one = dumped(kernel, rt.AF_INET, second)
    assert {entry.ifindex for entry in ours} == {first, second}
    assert {entry.ifindex for entry in on_one} == {second}
    assert bytes([10, 1, 3, 9]) in [entry.dst for entry in on_one]


@sandboxed
def test_an_address_whose_mac_is_not_known() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        command("ip", "neigh", "add", "10.1.2.9", "nud", "incomplete", "dev", "br0")
        found = [plain(entry) for entry in dumped(kernel, rt.AF_INET, index)]
    assert nb.Neighbour(index, 2, FOUR, state=nb.NUD_INCOMPLETE, type=rt.RTN_UNICAST) in found


@sandboxed
def test_neighbours_that_come_and_go_are_told() -> None:
    with Kernel() as kernel, Kernel() as ears:
        index = prepared(kernel)
        ears.listen(rt.RTNLGRP_NEIGH)
        ours = nb.Neighbour(index, 2, FOUR, MAC, nb.NUD_PERMANENT)
        kernel.do(nb.new_neighbour(ours), nb.del_neighbour(ours))
        heard: list[tuple[int, nb.Neighbour]] = []
        while nb.RTM_DELNEIGH not in [kind for kind, _ in heard]:
            both = [(answer.kind, nb.get_neighbour(answer.payload)) for answer in ears.heard()]
            heard += [(kind, plain(entry)) for kind, entry in both if entry.dst == FOUR]
    gone = nb.Neighbour(index, 2, FOUR, state=nb.NUD_FAILED, type=rt.RTN_UNICAST)
    assert heard[0] == (nb.RTM_NEWNEIGH, ours._replace(type=rt.RTN_UNICAST))
    assert heard[-1] == (nb.RTM_DELNEIGH, gone)


@sandboxed
def test_a_neighbour_that_is_not_there() -> None:
    with Kernel() as kernel:
        index = prepared(kernel)
        with pytest.raises(AssertionError, match="Neighbour entry not found"):
            kernel.ask(nb.get_neighbour_request(2, index, FOUR))
