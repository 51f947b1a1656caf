"""The netlink socket against the kernel: what it says when it refuses, batches, dumps, transactions."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from core.wire.sandbox import command, ip, new_netns, nft, sandboxed
from weft.core.model.errors import KernelError
from weft.core.wire import nfnetlink as nf
from weft.core.wire import rtnetlink as rt
from weft.linux import libc, netns
from weft.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink, Notices, Refusal

Message = tuple[int, int, bytes]
INET = nf.NFPROTO_INET
TABLE = nf.new_table(nf.Table(INET, "t"))
KEY_TYPE, KEY_LEN = nf.concat_type("ipv4_addr")
SET = nf.new_set(nf.Set(family=INET, table="t", name="s", key_type=KEY_TYPE, key_len=KEY_LEN))


def bridge(name: str) -> Message:
    return rt.new_link(rt.Link(ifname=name, kind="bridge"))


def missing(name: str) -> Message:
    return rt.set_link(rt.Link(ifname=name, mtu=1400))


def alias(number: int) -> Message:
    return rt.set_link(rt.Link(ifname="lo", alias=str(number)))


def pair(number: int) -> Message:
    return rt.new_link(rt.Link(ifname=f"v{number}", kind="veth", peer=rt.Link(ifname=f"w{number}")))


def element(number: int, name: str = "s") -> Message:
    flags = nf.NLM_F_CREATE | nf.NLM_F_EXCL
    (message,) = nf.new_elements(INET, "t", name, (nf.Element(number.to_bytes(4, "big")),), flags)
    return message


def bridges() -> set[str]:
    return {row["ifname"] for row in ip("link show type bridge")}


# -- refusals


@sandboxed
def test_a_refusal_says_which_message_and_why() -> None:
    unknown = rt.new_link(rt.Link(ifname="x", kind="no-such-kind"))
    with pytest.raises(Refusal) as refused:
        Netlink(NETLINK_ROUTE).send([bridge("one"), unknown, bridge("two")])
    error = refused.value
    assert (error.index, error.errno) == (1, errno.EOPNOTSUPP)
    assert error.text == "Unknown device type"
    assert str(error) == f"{os.strerror(errno.EOPNOTSUPP)} (Unknown device type)"
    assert bridges() == {"one", "two"}, "the kernel works through all of a send"


@sandboxed
def test_a_refusal_without_a_text_is_the_errno_alone() -> None:
    with pytest.raises(Refusal) as refused:
        Netlink(NETLINK_ROUTE).send([bridge("one"), bridge("one")])
    assert (refused.value.index, refused.value.text, str(refused.value)) == (1, "", "File exists")
    moved = refused.value.at(7)
    assert (moved.index, moved.errno, str(moved)) == (7, errno.EEXIST, "File exists")


@sandboxed
def test_what_needs_rights_is_told_so() -> None:
    """Exit 5 of the contract, also where only something was to be asked."""
    refused = Refusal(0, errno.EPERM, "")
    assert (refused.status, bool(refused.hint)) == (5, True)
    assert (Refusal(0, errno.ENODEV, "").status, Refusal(0, errno.ENODEV, "").hint) == (1, "")


@sandboxed
def test_a_batch_reports_all_that_was_refused() -> None:
    """Of 300 messages, which is more than one send takes: the first, the last, and those at the seams."""
    wrong = (0, 1, 127, 128, 200, 255, 256, 299)
    messages = [missing(f"no{n}") if n in wrong else alias(n) for n in range(300)]
    link = Netlink(NETLINK_ROUTE)
    errors = link.attempt(messages)
    assert [error.index for error in errors] == list(wrong)
    assert {error.errno for error in errors} == {errno.ENODEV}
    assert ip("link show lo")[0]["ifalias"] == "298"
    assert link.attempt([bridge("more")]) == [], "no answer of before is taken for one of now"
    assert link.attempt([]) == []


@sandboxed
def test_all_of_a_batch_may_be_refused() -> None:
    errors = Netlink(NETLINK_ROUTE).attempt([missing("no")] * 500)
    assert [error.index for error in errors] == list(range(500))


@sandboxed
def test_what_is_asked_is_answered_or_refused() -> None:
    link = Netlink(NETLINK_ROUTE)
    with pytest.raises(Refusal) as refused:
        link.ask(rt.get_link_request(name="nobody"))
    assert refused.value.errno == errno.ENODEV
    assert rt.get_link(link.ask(rt.get_link_request(name="lo"))).ifname == "lo"


# -- dumps


@sandboxed
def test_a_dump_is_whole() -> None:
    """Of many datagrams; and one that finds nothing is empty."""
    link = Netlink(NETLINK_ROUTE)
    link.send([pair(n) for n in range(60)])
    found = [rt.get_link(payload).ifname for payload in link.dump(rt.dump_links())]
    assert found == [row["ifname"] for row in ip("link")]
    assert len(found) == 121
    assert link.dump(rt.dump_addresses(socket.AF_INET)) == []


@sandboxed
def test_a_dump_that_is_refused() -> None:
    link = Netlink(NETLINK_ROUTE)
    with pytest.raises(Refusal):
        link.dump(rt.dump_links(target_netnsid=77))
    assert link.dump(rt.dump_links())


class Disturbed(Netlink):
    """A new link is made after the first datagram of each dump, so many times."""

    heard = times = 0

    def _receive(self) -> bytes:
        data = super()._receive()
        self.heard += 1
        if self.heard == 1 and self.times:
            self.times -= 1
            Netlink(NETLINK_ROUTE).send([bridge(f"late{self.times}")])
        return data

    def _dump(self, message: Message) -> list[bytes] | None:
        self.heard = 0
        return super()._dump(message)


@sandboxed
def test_a_dump_torn_by_a_change_is_made_again() -> None:
    link = Disturbed(NETLINK_ROUTE)
    link.send([pair(n) for n in range(60)])
    link.times = 3
    found = {rt.get_link(payload).ifname for payload in link.dump(rt.dump_links())}
    assert link.times == 0
    assert {"late0", "late1", "late2"} <= found
    link.times = 100
    with pytest.raises(KernelError) as refused:
        link.dump(rt.dump_links())
    assert refused.value.errno == errno.EINTR
    assert link.times == 90


# -- transactions


@sandboxed
def test_a_transaction_is_all_or_nothing() -> None:
    link = Netlink(NETLINK_NETFILTER)
    with pytest.raises(Refusal) as refused:
        link.transaction([TABLE, SET, element(1), element(2, "nowhere"), element(3)])
    assert (refused.value.index, refused.value.errno) == (3, errno.ENOENT)
    assert nft("list", "ruleset") == ""
    link.transaction([TABLE, SET, element(1), element(3)])
    with pytest.raises(Refusal) as refused:
        link.transaction([element(2), element(3)])
    assert (refused.value.index, refused.value.errno) == (1, errno.EEXIST)
    assert "{ 0.0.0.1, 0.0.0.3 }" in nft("list", "set", "inet", "t", "s")


@sandboxed
def test_the_first_and_the_last_of_a_transaction_are_told_apart() -> None:
    link = Netlink(NETLINK_NETFILTER)
    link.transaction([TABLE, SET, element(1)])
    for messages, wrong in (
        ([element(1)], 0),
        ([element(1), element(2)], 0),
        ([element(2), element(3), element(1)], 2),
    ):
        with pytest.raises(Refusal) as refused:
            link.transaction(messages)
        assert (refused.value.index, refused.value.errno) == (wrong, errno.EEXIST)
    link.transaction([element(2)])


@sandboxed
def test_a_transaction_of_a_thousand_containers() -> None:
    """More than the socket's buffer takes unless it is told to."""
    link = Netlink(NETLINK_NETFILTER)
    link.transaction([TABLE, SET, *[element(n) for n in range(5000)]])
    assert len(link.dump(nf.dump_elements(INET, "t", "s"))) > 1
    assert nft("list", "set", "inet", "t", "s").count("0.0.") == 5000


@sandboxed
def test_more_refusals_than_a_socket_holds() -> None:
    """The kernel drops what does not fit and says ENOBUFS (netlink(7)): the first is known all the same."""
    link = Netlink(NETLINK_NETFILTER)
    link.transaction([TABLE, SET, *[element(n) for n in range(3000)]])
    with pytest.raises(Refusal) as refused:
        link.transaction([element(9000), element(9001), *[element(n) for n in range(3000)]])
    assert (refused.value.index, refused.value.errno) == (2, errno.EEXIST)
    with pytest.raises(Refusal) as refused:
        link.transaction([element(9000), element(2999)])
    assert refused.value.index == 1, "no answer of before is taken for one of now"
    link.transaction([element(9000)])


# -- namespaces, notices


@sandboxed
def test_a_socket_stays_where_it_was_made() -> None:
    home, other = os.open(netns.HERE, os.O_RDONLY), new_netns()
    command("ip", "link", "add", "only-there", "type", "bridge", netns=other)
    libc.setns(other, libc.CLONE_NEWNET)
    link = Netlink(NETLINK_ROUTE)
    libc.setns(home, libc.CLONE_NEWNET)
    found = [rt.get_link(payload).ifname for payload in link.dump(rt.dump_links())]
    assert found == ["lo", "only-there"]
    assert not os.get_inheritable(link.fileno())
    link.close()
    assert link.fileno() == -1


@sandboxed
def test_notices_are_heard_from_the_moment_on() -> None:
    with Notices(rt.RTNLGRP_LINK, 5) as heard:
        Netlink(NETLINK_ROUTE).send([bridge("new")])
        assert heard.next()
    with Notices(rt.RTNLGRP_LINK, 0.01) as heard:
        assert not heard.next()


@sandboxed
def test_so_many_notices_that_some_are_lost_are_a_change_too() -> None:
    with Notices(rt.RTNLGRP_LINK, 5) as heard:
        flags = [rt.IFF_UP * (n % 2) for n in range(500)]
        Netlink(NETLINK_ROUTE).send(
            [rt.set_link(rt.Link(ifname="lo", flags=f, change=rt.IFF_UP)) for f in flags]
        )
        assert all(heard.next() for _ in range(3))
