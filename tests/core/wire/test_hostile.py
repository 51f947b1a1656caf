"""Bytes from outside: whatever they are, a codec gives a record or a WireError, and soon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.wire import world, written
from core.wire.strategies import CODECS
from weft.core.model.errors import WireError
from weft.core.wire import buffer as wire
from weft.core.wire import ctnetlink as ct
from weft.core.wire import inotify as ino
from weft.core.wire import neighbour as nb
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex
from weft.core.wire import nsfs, nsid
from weft.core.wire import rtnetlink as rt

Get = Callable[[bytes], Any]

_PORT = rt.Port(state=3, hairpin=1, cost=2, root_id=bytes(8), no=1)
_MOUNT = nsfs.StatMount(0x27A, 1, 2, 3, 4, 5, 6, "nsfs", "net:[1]", "/run/netns/blue", 7, "nsfs")
_ENTRY = nb.Neighbour(
    3,
    7,
    bytes(4),
    bytes(6),
    nb.NUD_NOARP,
    nb.NTF_MASTER,
    vlan=1,
    master=2,
    cacheinfo=nb.CacheInfo(1, 2, 3, 4),
)
_EVENTS = [ino.Event(1, ino.IN_CREATE, 0, "blue"), ino.Event(1, ino.IN_DELETE_SELF, 0, "")]
_PEER = rt.Link(ifname="eth0", mac=bytes(6), netns_fd=3)
_VETH = rt.Link(
    5, ifname="h", kind="veth", peer=_PEER, port=_PORT, altnames=("weft:0123", "b"), addr_gen_mode=1
)
_RULE = nf.RuleDef(
    1, "t", "c", tuple([e for rule in world.RULES[:3] for e in rule.expressions]), "said", handle=3
)
_THERE = ct.Tuple(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 17, 40000, 53)
_BACK = ct.Tuple(bytes([10, 0, 0, 3]), bytes([10, 0, 0, 1]), 17, 53, 40000)
_FLOW = ct.Connection(_THERE, _BACK, bytes([1, 2, 3, 4]), bytes([0, 9]))
SAMPLES: dict[str, tuple[bytes, Get]] = {
    "veth": (rt.put_link(_VETH), rt.get_link),
    "connection": (ct.put_connection(_FLOW), ct.get_connection),
    "names of a link": (rt.put_link(_VETH), rt.get_link_names),
    "bridge": (rt.put_link(rt.Link(kind="bridge", bridge=rt.Bridge(stp_state=1))), rt.get_link),
    "nsid": (nsid.put_nsid(nsid.Nsid(1, current_nsid=2)), nsid.get_nsid),
    "neighbour": (nb.put_neighbour(_ENTRY), nb.get_neighbour),
    "counters": (written.counters(rt.Counters(1, 2, 3, 4, 5, 6, 7, 8)), rt.get_counters),
    "nsfs_handle": (nsfs.put_handle(nsfs.NsfsHandle(1, 2, 3)), nsfs.get_handle),
    "mnt_ns_info": (written.mnt_ns_info(nsfs.MntNsInfo(1, 2)), nsfs.get_mnt_ns_info),
    "statmount": (written.statmount(_MOUNT), nsfs.get_statmount),
    "events": (written.events(_EVENTS), lambda data: list(ino.get_events(data))),
    "address": (rt.put_address(rt.Address(2, bytes(4), 24, flags=0x200, label="l")), rt.get_address),
    "route": (rt.put_route(rt.Route(2, bytes(4), 24, oif=3, table=1000)), rt.get_route),
    "rule": (rt.put_rule(rt.Rule(2, 5, iifname="br0", table=1000, protocol=3)), rt.get_rule),
    "table": (nf.put_table(world.TABLES[0]), nf.get_table),
    "chain": (nf.put_chain(world.CHAINS[1]), nf.get_chain),
    "set": (nf.put_set(world.SETS[3]), nf.get_set),
    "nft_rule": (nf.put_rule(_RULE), nf.get_rule),
    "elements": (nf.put_elements(nf.Elements(1, "t", "s", world.ELEMENTS["publish4"])), nf.get_elements),
    "verdicts": (nf.put_elements(nf.Elements(1, "t", "s", world.ELEMENTS["doors"])), nf.get_elements),
    "ack": (
        bytes.fromhex("eaffffff") + wire.frame(16, 5, 1, b"")[:16] + wire.string(1, "no") + wire.u32(2, 20),
        lambda data: wire.get_ack(data, wire.NLM_F_CAPPED | wire.NLM_F_ACK_TLVS),
    ),
    "uncapped": (
        bytes.fromhex("eaffffff") + wire.frame(16, 5, 1, bytes(16)) + wire.string(1, "no"),
        lambda data: wire.get_ack(data, wire.NLM_F_ACK_TLVS),
    ),
    "done": (bytes(4) + wire.string(1, "no"), lambda data: wire.get_done(data, wire.NLM_F_ACK_TLVS)),
    "frames": (wire.frame(16, 5, 1, b"abcde") + wire.frame(17, 5, 2, b""), lambda d: list(wire.frames(d))),
    "attrs": (wire.u32(1, 5) + wire.string(2, "abcd") + wire.u8(3, 1), wire.attrs),
}


def tried(get: Get, data: bytes) -> bool:
    """Whether it was taken. Anything but a WireError goes through, and fails the test."""
    try:
        get(data)
    except WireError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_truncated_at_every_byte(name: str) -> None:
    data, get = SAMPLES[name]
    taken = [size for size in range(len(data)) if tried(get, data[:size])]
    assert tried(get, data)
    # the end of an attribute may lack its padding; a whole attribute less cannot be noticed
    assert all(get(data[:size]) == get(data[: size + (-size & 3)]) for size in taken)
    assert len(taken) < len(data) / 2


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_byte_changed(name: str) -> None:
    data, get = SAMPLES[name]
    taken = set()
    for at in range(len(data)):
        for value in (0, 1, 3, 4, 5, 0x7F, 0x80, 0xFF, data[at] ^ 1, data[at] ^ 4):
            taken.add(tried(get, data[:at] + bytes((value,)) + data[at + 1 :]))
    assert taken == {True, False}


@pytest.mark.parametrize("name", sorted(SAMPLES))
@given(data=st.data())
def test_cut_and_spliced(name: str, data: st.DataObject) -> None:
    payload, get = SAMPLES[name]
    at = data.draw(st.integers(0, len(payload)))
    upto = data.draw(st.integers(at, len(payload)))
    tried(get, payload[:at] + data.draw(st.binary(max_size=12)) + payload[upto:])


@pytest.mark.parametrize("name", sorted(CODECS))
@given(data=st.binary(max_size=200))
def test_noise(name: str, data: bytes) -> None:
    _, (_, get) = CODECS[name]
    tried(get, data)


#: Those that no netlink attribute comes near.
_STRUCTURES = {"nsfs_handle", "statmount", "pidfd_info", "mnt_ns_info", "ids", "events"}


@pytest.mark.parametrize("name", sorted(set(CODECS) - _STRUCTURES))
@given(items=st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=24)), max_size=8))
def test_attributes_of_any_type_and_size(name: str, items: list[tuple[int, bytes]]) -> None:
    """Well-formed all the way, and nonsense: header, then attributes that the family may know."""
    _, (_, get) = CODECS[name]
    body = b"".join([wire.attr(kind, payload) for kind, payload in items])
    for header in (0, 4, 8, 12, 16):
        tried(get, bytes(header) + body)


def test_a_fixed_structure_cut_short() -> None:
    for data, get in (
        (written.pidfd_info(nsfs.PidfdInfo(0)), nsfs.get_pidfd_info),
        (written.mnt_ns_info(nsfs.MntNsInfo(1, 2)), nsfs.get_mnt_ns_info),
        (nsfs.put_handle(nsfs.NsfsHandle(1, 2, 3)), nsfs.get_handle),
        (written.ids([1]), nsfs.get_ids),
    ):
        assert tried(get, data)
        assert not [size for size in range(1, len(data)) if tried(get, data[:size])]
    assert nsfs.get_ids(b"") == ()


def test_structures_that_have_grown_are_read_as_far_as_they_are_known() -> None:
    later = bytes(range(40))
    handle = nsfs.put_handle(nsfs.NsfsHandle(1, 2, 3))
    longer = (16 + len(later)).to_bytes(4, "little") + handle[4:] + later
    for data, get, known in (
        (longer, nsfs.get_handle, handle),
        (written.pidfd_info(nsfs.PidfdInfo(1, 2, 3, 4)) + later, nsfs.get_pidfd_info, None),
        (written.mnt_ns_info(nsfs.MntNsInfo(1, 2)) + later, nsfs.get_mnt_ns_info, None),
    ):
        assert get(data) == get(known or data[: -len(later)])


def test_a_bridge_id_of_another_size_is_refused() -> None:
    for size in (0, 6, 7, 9):
        with pytest.raises(WireError):
            rt.get_link(rt.put_link(rt.Link(port=rt.Port(root_id=bytes(size)))))


def test_a_connection_of_two_families_is_refused() -> None:
    for family in (0, 1, 2, 7, 10):
        for source, target in ((4, 16), (16, 4), (4, 4), (16, 16), (0, 0), (8, 8)):
            kinds = enumerate((source, target, source, target), 1)
            there = wire.nested(1, *[wire.attr(kind, bytes(size)) for kind, size in kinds])
            fits = (family, source, target) in ((2, 4, 4), (10, 16, 16))
            assert tried(lambda data, f=family: ct.get_tuple(data, f), there) == fits  # type: ignore[misc]


def test_lengths_that_would_not_advance() -> None:
    for size in (0, 1, 2, 3):
        with pytest.raises(WireError):
            wire.attrs(size.to_bytes(2, "little") + b"\1\0" + bytes(64))
    for size in range(16):
        with pytest.raises(WireError):
            list(wire.frames(size.to_bytes(4, "little") + bytes(64)))


def test_lengths_past_the_end() -> None:
    with pytest.raises(WireError):
        wire.attrs(b"\xff\xff\1\0" + bytes(8))
    with pytest.raises(WireError):
        list(wire.frames(b"\xff\xff\xff\xff" + bytes(60)))
    with pytest.raises(WireError):
        list(wire.frames(wire.frame(3, 0, 0, b"") + bytes(3)))


def test_nothing_nests_until_the_stack_ends() -> None:
    inner = bytes(16)
    while len(inner) < 60000:
        peer = wire.nested(2, wire.attr(1, inner))
        inner = bytes(16) + wire.nested(18, wire.string(1, "veth"), peer)
    with pytest.raises(WireError):
        rt.get_link(inner)


def test_what_does_not_fit_an_attribute_is_refused() -> None:
    assert len(wire.attr(1, bytes(wire.MAX_PAYLOAD))) == 65536
    with pytest.raises(WireError):
        wire.attr(1, bytes(wire.MAX_PAYLOAD + 1))
    with pytest.raises(WireError):
        rt.add_altname("lo", *[f"weft:{n:016x}" for n in range(4000)])
    many = tuple([nf.Element(n.to_bytes(4, "big")) for n in range(9000)])
    with pytest.raises(WireError):
        nf.put_elements(nf.Elements(1, "t", "s", many))


def test_text_with_a_nul_is_refused() -> None:
    for bad in (
        lambda: rt.set_link(rt.Link(ifname="a\0b")),
        lambda: rt.new_rule(rt.Rule(2, iifname="a\0b")),
        lambda: nf.del_table(1, "a\0b"),
        lambda: ex.put_expr(ex.Lookup("a\0b", 1)),
    ):
        with pytest.raises(WireError):
            bad()


def test_a_missing_name_is_refused() -> None:
    for get in (nf.get_table, nf.get_chain, nf.get_set, nf.get_rule):
        with pytest.raises(WireError):
            get(bytes(4))
    with pytest.raises(WireError):
        rt.get_address(bytes(8))
    with pytest.raises(WireError):
        ex.get_expr(wire.string(1, "cmp") + wire.nested(2, wire.be32(1, 1)))
    with pytest.raises(WireError):
        ex.get_expr(wire.nested(2, wire.be32(1, 1)))


def test_an_address_of_no_family_is_refused() -> None:
    for size in (0, 3, 5, 8, 17):
        with pytest.raises(WireError):
            rt.new_address(rt.Address(1, bytes(size), 24))


def test_an_error_that_is_not_negative_is_refused() -> None:
    with pytest.raises(WireError):
        wire.get_ack((1).to_bytes(4, "little") + bytes(16), 0)
