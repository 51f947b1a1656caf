"""Every codec gives back what it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.wire import world
from core.wire.strategies import CODECS
from weft.core.wire import buffer as wire
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nft_expr as ex


@pytest.mark.parametrize("name", sorted(CODECS))
@given(data=st.data())
def test_what_is_put_is_got(name: str, data: st.DataObject) -> None:
    records, (put, get) = CODECS[name]
    record = data.draw(records)
    payload = put(record)
    assert get(payload) == record
    assert put(get(payload)) == payload


def test_every_expression_is_drawn() -> None:
    """A new expression without a strategy would be tested by nothing."""
    from core.wire.strategies import _FIELDS

    assert set(_FIELDS) == set(ex.Expr.__subclasses__()) - {ex.Unknown}


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=30)), max_size=8))
def test_attributes(items: list[tuple[int, bytes]]) -> None:
    data = b"".join([wire.attr(kind, payload) for kind, payload in items])
    assert len(data) % 4 == 0
    assert list(wire.iter_attrs(data)) == items
    assert wire.attrs(data) == dict(items)
    ((_, inner),) = wire.iter_attrs(wire.nested(7, data))
    assert inner == data


_U16, _U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


@given(st.lists(st.tuples(_U16, _U16, _U32, st.binary(max_size=50)), max_size=5))
def test_frames(messages: list[tuple[int, int, int, bytes]]) -> None:
    data = b"".join([wire.frame(*message) for message in messages])
    assert list(wire.frames(data)) == messages


@given(st.lists(st.integers(0, 3000), max_size=20))
def test_split_elements_lose_nothing(sizes: list[int]) -> None:
    elements = [nf.Element(n.to_bytes(4, "big"), data=bytes(size * 9)) for n, size in enumerate(sizes)]
    messages = nf.new_elements(1, "t", "s", elements)
    found = [nf.get_elements(payload) for _, _, payload in messages]
    assert [e for answer in found for e in answer.elements] == elements
    assert all(answer.elements for answer in found)


def test_the_userdata_that_none_stands_for_reads_as_none() -> None:
    for item in world.SETS:
        found = wire.attrs(nf.put_set(item)[4:])[13]
        spelled_out = item._replace(userdata=nf._byteorders(item.key_type, item.data_type))
        assert wire.attrs(nf.put_set(spelled_out)[4:])[13] == found
        assert nf.get_set(nf.put_set(spelled_out)) == item
