"""Options of macvlan and ipvlan links, as `ip link add ... type macvlan mode private` sends them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.model.errors import WireError
from weft.core.wire import rtnetlink as rt
from weft.core.wire.sublink import IPVLAN_MODES, MACVLAN_MODES, Sublink, get_sublink, put_sublink

NUMBERS = st.none() | st.integers(0, 65535)


@given(NUMBERS, st.none() | st.integers(-1, 100))
def test_there_and_back(mode: int | None, cutoff: int | None) -> None:
    sublink = Sublink(mode, cutoff)
    assert get_sublink("macvlan", put_sublink("macvlan", sublink)) == sublink
    assert get_sublink("ipvlan", put_sublink("ipvlan", Sublink(mode))) == Sublink(mode)


def test_bytes() -> None:
    assert put_sublink("macvlan", Sublink(MACVLAN_MODES["private"])) == bytes.fromhex("0800010001000000")
    assert put_sublink("ipvlan", Sublink(IPVLAN_MODES["l3s"])) == bytes.fromhex("0600010002000000")
    both = put_sublink("macvlan", Sublink(MACVLAN_MODES["bridge"], -1))
    assert both == bytes.fromhex("0800010004000000 08000900ffffffff")


def test_within_a_link() -> None:
    options = put_sublink("macvlan", Sublink(MACVLAN_MODES["vepa"]))
    link = rt.Link(ifname="eth0", kind="macvlan", link=3, options=options)
    found = rt.get_link(rt.put_link(link))
    assert found == link
    assert get_sublink("macvlan", found.options or b"").mode == MACVLAN_MODES["vepa"]


def test_other_kinds_have_none() -> None:
    with pytest.raises(WireError, match="veth"):
        put_sublink("veth", Sublink(1))
    with pytest.raises(WireError, match="veth"):
        get_sublink("veth", b"")
