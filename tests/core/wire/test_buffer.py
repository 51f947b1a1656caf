"""Bytes as linux/netlink.h and lib/nlattr.c lay them out, and what the hot paths import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weft.core.wire import buffer as wire
from weft.core.wire import nfnetlink as nf
from weft.core.wire import rtnetlink as rt

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes below are little endian")

SRC = Path(__file__).resolve().parents[3] / "src"
HEAVY = {
    "argparse", "collections", "dataclasses", "enum", "functools", "ipaddress", "json", "os", "re", "socket",
    "typing",
}  # fmt: skip


def test_attributes_byte_by_byte() -> None:
    assert wire.u8(3, 0x12) == bytes.fromhex("0500 0300 12000000")
    assert wire.u16(3, 0x1234) == bytes.fromhex("0600 0300 34120000")
    assert wire.u32(4, 1500) == bytes.fromhex("0800 0400 dc050000")
    assert wire.s32(37, -1) == bytes.fromhex("0800 2500 ffffffff")
    assert wire.u64(1, 2) == bytes.fromhex("0c00 0100 0200000000000000")
    assert wire.be16(1, 0x1234) == bytes.fromhex("0600 0100 12340000")
    assert wire.be32(2, 80) == bytes.fromhex("0800 0200 00000050")
    assert wire.sbe32(2, -100) == bytes.fromhex("0800 0200 ffffff9c")
    assert wire.be64(3, 7) == bytes.fromhex("0c00 0300 0000000000000007")
    assert wire.string(3, "lo") == bytes.fromhex("0700 0300 6c6f0000")
    assert wire.attr(1, b"") == bytes.fromhex("0400 0100")
    assert wire.nested(18, wire.u8(1, 1)) == bytes.fromhex("0c00 1280 0500 0100 01000000")


def test_an_element_byte_by_byte() -> None:
    payload = nf.put_elements(nf.Elements(1, "t", "s", (nf.Element(b"\0P", comment="x"),)))
    names = "06000100 74000000 06000200 73000000"
    element = "18000180 0c000180 06000100 00500000 08000600 00027800"
    assert payload == bytes.fromhex(f"01000000 {names} 1c000380 {element}")


def test_a_bridges_own_messages_have_vlans_where_others_have_families() -> None:
    """IFLA_AF_SPEC of AF_BRIDGE: attribute 10 in it is no AF_INET6, and no business of ours."""
    spec = wire.nested(26, wire.attr(10, b"vlan"))
    link = rt.get_link(bytes((7,)) + bytes(15) + spec)
    assert (link.family, link.addr_gen_mode) == (7, None)


def test_flag_bits_are_no_part_of_the_type() -> None:
    assert list(wire.iter_attrs(bytes.fromhex("0400 12c0"))) == [(18, b"")]


def test_a_frame_byte_by_byte() -> None:
    head = bytes.fromhex("15000000 1000 0504 07000000 00000000")
    assert wire.frame(16, 0x405, 7, b"abcde") == head + b"abcde\0\0\0"


def test_a_last_frame_without_padding_is_fine() -> None:
    assert list(wire.frames(wire.frame(2, 0, 1, b"abcde")[:21])) == [(2, 0, 1, b"abcde")]


def test_numbers_that_do_not_fit_are_the_callers_mistake() -> None:
    from struct import error

    with pytest.raises(error):
        rt.new_link(rt.Link(ifname="a", mtu=1 << 32))


REQUEST = wire.frame(16, 5, 9, b"abcdefg")
TLVS = wire.string(1, "Unknown device type") + wire.u32(2, 40)
EPERM = (-1).to_bytes(4, "little", signed=True)


@pytest.mark.parametrize(
    ("payload", "flags", "ack"),
    [
        (bytes(4) + REQUEST[:16], wire.NLM_F_CAPPED, wire.Ack(0)),
        (EPERM + REQUEST[:16], wire.NLM_F_CAPPED, wire.Ack(1)),
        (EPERM + REQUEST, 0, wire.Ack(1)),
        (EPERM + REQUEST[:16] + TLVS, 0x300, wire.Ack(1, "Unknown device type", 40)),
        (EPERM + REQUEST + TLVS, 0x200, wire.Ack(1, "Unknown device type", 40)),
        (EPERM + REQUEST[:16] + wire.u32(2, 8), 0x300, wire.Ack(1, "", 8)),
        # a policy (NLMSGERR_ATTR_POLICY) and others are passed over
        (EPERM + REQUEST[:16] + wire.nested(4, wire.u32(1, 1)), 0x300, wire.Ack(1)),
    ],
)
def test_acknowledgements(payload: bytes, flags: int, ack: wire.Ack) -> None:
    assert wire.get_ack(payload, flags) == ack


def test_the_end_of_a_dump() -> None:
    assert wire.get_done(bytes(4), wire.NLM_F_MULTI) == wire.Ack(0)
    assert wire.get_done(b"", wire.NLM_F_MULTI) == wire.Ack(0)
    enoent = (-2).to_bytes(4, "little", signed=True)
    assert wire.get_done(enoent + TLVS, 0x202) == wire.Ack(2, "Unknown device type", 40)


def test_requests_say_what_they_want() -> None:
    """NLM_F_CREATE on what should only change, or no NLM_F_DUMP, would go unnoticed for long."""
    create, change, dump = 0x605, 0x005, 0x301
    address = rt.Address(1, bytes(4), 8)
    flags = {
        rt.new_link(rt.Link(ifname="a"))[:2]: (16, create),
        rt.set_link(rt.Link(ifname="a"))[:2]: (16, change),
        rt.del_link(1)[:2]: (17, change),
        rt.del_group(1)[:2]: (17, change),
        rt.get_link_request(1)[:2]: (18, 0x001),
        rt.dump_links()[:2]: (18, dump),
        rt.add_altname("a", "b")[:2]: (108, create | 0x800),
        rt.del_altname("a", "b")[:2]: (109, change),
        rt.new_address(address)[:2]: (20, create),
        rt.del_address(address)[:2]: (21, change),
        rt.dump_addresses()[:2]: (22, dump),
        rt.new_route(rt.Route(2))[:2]: (24, create),
        rt.del_route(rt.Route(2))[:2]: (25, change),
        rt.dump_routes()[:2]: (26, dump),
        rt.new_rule(rt.Rule(2))[:2]: (32, create),
        rt.del_rule(rt.Rule(2))[:2]: (33, change),
        rt.dump_rules()[:2]: (34, dump),
        nf.new_rule(nf.RuleDef(1, "t", "c"))[:2]: (0xA06, 0xC05),
        nf.dump_elements(1, "t", "s")[:2]: (0xA0D, dump),
        nf.batch_begin()[:2]: (16, 0x001),
        nf.batch_end()[:2]: (17, 0x001),
    }
    assert {found: found for found in flags} == flags
    assert nf.batch_begin()[2] == bytes.fromhex("0000000a")


def test_the_codecs_import_nothing_heavy() -> None:
    script = (
        f"import sys; before = set(sys.modules); sys.path.insert(0, {str(SRC)!r}); "
        "import weft.core.wire.rtnetlink, weft.core.wire.nfnetlink; "
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    words = ["/usr/bin/python3", "-IS", "-c", script]
    loaded = set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & HEAVY
    outside = {name for name in loaded if not name.startswith("weft")}
    assert outside == {"__future__", "_collections", "_struct"}
    wire = [name for name in loaded if name.startswith("weft.core.wire.")]
    assert len(wire) == 7
    assert "weft.core.wire.nft_expr" not in wire  # only who writes rules needs it
