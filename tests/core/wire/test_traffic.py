"""Queueing disciplines, against what tc(8) sends and the kernel says."""

from __future__ import annotations

import pytest

from weft.core.model.errors import WireError
from weft.core.wire import traffic
from weft.core.wire.buffer import attrs


def test_a_tbf_can_be_read_back() -> None:
    for rate in (125_000, (1 << 32) + 5):
        _, _, payload = traffic.new_tbf(9, traffic.Shape(rate, 16_000, 20_000))
        assert traffic.get_qdisc(payload) == traffic.Qdisc(9, "tbf", rate, 20_000)


def test_other_disciplines_are_named() -> None:
    _, _, payload = traffic.new_ingress(4)
    assert traffic.get_qdisc(payload) == traffic.Qdisc(4, "ingress")


def test_a_redirect_is_u32_with_one_key_that_matches_anything() -> None:
    number, _, payload = traffic.new_redirect(4, 7)
    assert number == traffic.RTM_NEWTFILTER
    options = attrs(attrs(payload[20:])[2])
    assert options[5] == bytes.fromhex("01000100" + "00" * 12 + "00" * 16)
    assert options[7].endswith((1).to_bytes(4, "little") + (7).to_bytes(4, "little"))


def test_what_lies_is_refused() -> None:
    _, _, payload = traffic.new_tbf(9, traffic.Shape(1, 1, 1))
    with pytest.raises(WireError):
        traffic.get_qdisc(payload[:10])
    with pytest.raises(WireError):
        traffic.get_qdisc(payload[:40])
