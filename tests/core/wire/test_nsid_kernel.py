"""Ids of namespaces as the kernel gives them, seen through iproute2."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import pytest

from core.wire.sandbox import Kernel, command, new_netns, process_in, sandboxed
from weft.core.model.errors import WireError
from weft.core.wire import buffer as wire
from weft.core.wire import nsid as ns
from weft.core.wire import rtnetlink as rt


def listed(*words: str) -> list[int]:
    """What ``ip netns list-id`` says."""
    found: list[dict[str, Any]] = json.loads(command("ip", "-j", "netns", "list-id", *words) or "[]")
    return sorted([row["nsid"] for row in found])


def asked(kernel: Kernel, *args: Any, **kwargs: Any) -> ns.Nsid:
    (payload,) = kernel.ask(ns.get_nsid_request(*args, **kwargs))
    return ns.get_nsid(payload)


def dumped(kernel: Kernel, target: int | None = None) -> list[ns.Nsid]:
    return [ns.get_nsid(payload) for payload in kernel.ask(ns.dump_nsids(target))]


@pytest.mark.parametrize("strict", [False, True])
@sandboxed
def test_an_id_of_ones_choice(strict: bool) -> None:
    netns, other = new_netns(), new_netns()
    with Kernel(strict=strict) as kernel:
        assert asked(kernel, netns).nsid == ns.NSID_NOT_ASSIGNED
        kernel.do(ns.new_nsid(netns, nsid=12))
        again, taken = kernel.acks([ns.new_nsid(netns, nsid=13), ns.new_nsid(other, nsid=12)])
        assert asked(kernel, netns).nsid == 12
        assert dumped(kernel) == [ns.Nsid(12)]
    assert listed() == [12]
    assert (again.errno, again.text) == (errno.EEXIST, "Peer netns already has a nsid assigned")
    assert (taken.errno, taken.text) == (errno.EEXIST, "The specified nsid is already used")


@sandboxed
def test_any_id_that_is_free_and_its_echo() -> None:
    kind, flags, payload = ns.new_nsid(new_netns(), flags=wire.NLM_F_ECHO)
    with Kernel() as kernel:
        kernel.do(ns.new_nsid(new_netns()))
        (told,) = kernel.exchange(wire.frame(kind, flags, 5, payload))
        (ack,) = kernel.heard()
    assert (told.kind, told.seq, ns.get_nsid(told.payload)) == (ns.RTM_NEWNSID, 5, ns.Nsid(1))
    assert (ack.kind, wire.get_ack(ack.payload, ack.flags)) == (wire.NLMSG_ERROR, wire.Ack(0))
    assert listed() == [0, 1]


@sandboxed
def test_the_namespace_of_a_process() -> None:
    with Kernel() as kernel, process_in(new_netns()) as process:
        kernel.do(ns.new_nsid(pid=process.pid, nsid=3))
        there = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
        assert asked(kernel, there) == asked(kernel, pid=process.pid) == ns.Nsid(3)


@sandboxed
def test_ones_own_namespace_has_no_id_until_it_gets_one() -> None:
    with Kernel() as kernel:
        assert asked(kernel, pid=os.getpid()).nsid == ns.NSID_NOT_ASSIGNED
        kernel.do(ns.new_nsid(pid=os.getpid(), nsid=0))
        assert asked(kernel, pid=os.getpid()).nsid == 0


@sandboxed
def test_a_link_gives_both_ends_an_id() -> None:
    netns = new_netns()
    with Kernel() as kernel:
        peer = rt.Link(ifname="eth0", netns_fd=netns)
        kernel.do(rt.new_link(rt.Link(ifname="v0", kind="veth", peer=peer)))
        (payload,) = kernel.ask(rt.get_link_request(name="v0"))
        assert asked(kernel, netns).nsid == rt.get_link(payload).link_netnsid == listed()[0]


@pytest.mark.parametrize("strict", [False, True])
@sandboxed
def test_what_another_namespace_calls_them(strict: bool) -> None:
    """Numbers are local: 4 here is 9 there."""
    near, far = new_netns(), new_netns()
    with Kernel(strict=strict) as kernel:
        kernel.do(ns.new_nsid(near, nsid=4), ns.new_nsid(far, nsid=7))
        with_fd = f"/proc/{os.getpid()}/fd/{near}"
        command("mount", "-t", "tmpfs", "none", "/run")
        command("ip", "netns", "add", "far", netns=far)
        command("touch", "/run/netns/near")
        command("mount", "--bind", with_fd, "/run/netns/near")
        command("ip", "netns", "set", "near", "9", netns=far)
        translated = asked(kernel, nsid=4, target_nsid=7)
        there = dumped(kernel, 7)
        (unknown,) = kernel.acks([(ns.RTM_GETNSID, 5, ns.get_nsid_request(nsid=4, target_nsid=99)[2])])
    assert (translated.nsid, translated.current_nsid) == (9, 4)
    # a dump that is not strict does not look who is meant
    assert there == ([ns.Nsid(9, current_nsid=4)] if strict else [ns.Nsid(4), ns.Nsid(7)])
    assert listed("target-nsid", "7") == [9]
    assert unknown.errno == errno.EINVAL


@sandboxed
def test_births_and_deaths_are_told() -> None:
    netns = new_netns()
    with Kernel() as kernel, Kernel() as ears:
        ears.listen(rt.RTNLGRP_NSID)
        kernel.do(ns.new_nsid(netns, nsid=21))
        (born,) = ears.heard()
        os.close(netns)
        (gone,) = ears.heard()
    assert (born.kind, ns.get_nsid(born.payload)) == (ns.RTM_NEWNSID, ns.Nsid(21))
    assert (gone.kind, ns.get_nsid(gone.payload)) == (ns.RTM_DELNSID, ns.Nsid(21))


@sandboxed
def test_what_is_no_namespace() -> None:
    with Kernel() as kernel, open("/dev/null", "rb") as file:
        acks = kernel.acks([ns.new_nsid(file.fileno()), ns.new_nsid(1 << 20), ns.new_nsid(pid=0x7FFFFFFF)])
    assert [ack.errno for ack in acks] == [errno.EINVAL, errno.EBADF, errno.ESRCH]


def test_one_namespace_must_be_said() -> None:
    for bad in (
        ns.new_nsid,
        lambda: ns.new_nsid(3, 4),
        ns.get_nsid_request,
        lambda: ns.get_nsid_request(3, 4),
        lambda: ns.get_nsid_request(3, nsid=0),
    ):
        with pytest.raises(WireError):
            bad()
