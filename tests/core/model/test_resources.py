"""Limits as they are typed: Docker's words, this host's sizes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.model.errors import BadInput
from weft.core.model.oci import Resources
from weft.core.model.resources import LEAST_MEMORY, resources

MIB = 1 << 20


def memory(text: str) -> int:
    found = resources(text, "", "", 2)
    assert found == Resources(memory=found.memory, swap=2 * found.memory)
    return found.memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 0),
        ("0", 0),
        ("6m", 6 * MIB),
        ("6291456", 6 * MIB),
        ("6291456b", 6 * MIB),
        ("65536k", 64 * MIB),
        ("64M", 64 * MIB),
        ("64mb", 64 * MIB),
        ("64MiB", 64 * MIB),
        ("1.5g", 1536 * MIB),
        ("0.5G", 512 * MIB),
        ("2t", 2 << 40),
        ("6.0000001m", 6 * MIB),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert memory(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "m",
        "-1",
        "-6m",
        "+6m",
        "6 m",
        "6mm",
        "6x",
        "1e9",
        "1.m",
        ".5g",
        "nan",
        "inf",
        "6_000m",
        "0x10m",
        "٦m1.0000000000g",
        "6m\n",
        "12345678901234567890",
        "6mi",
        "b",
        "1..5g",
    ],
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(BadInput, match="is not a size") as refused:
        memory(text)
    assert "b, k, m or g" in refused.value.hint


@pytest.mark.parametrize("text", ["1", "1b", "4096", "5m", "6143k", "5.999m", "0.001g", "0.5b"])
def test_the_least_memory_is_named_with_its_unit(text: str) -> None:
    with pytest.raises(BadInput, match="below the minimum of 6m"):
        memory(text)


@pytest.mark.parametrize("text", ["2097152t", "9223372036854775807", "999999999999g"])
def test_more_memory_than_can_be_counted(text: str) -> None:
    with pytest.raises(BadInput, match="more than a kernel can count"):
        memory(text)


@pytest.mark.parametrize(
    ("text", "quota"),
    [("", 0), ("0", 0), ("0.01", 1000), ("0.5", 50_000), ("1", 100_000), ("1.25", 125_000), ("2", 200_000)],
)
def test_cpus(text: str, quota: int) -> None:
    found = resources("", text, "", 2)
    assert found == Resources(cpu_quota=quota)
    assert found.cpu_period == 100_000


@pytest.mark.parametrize("text", ["2.01", "3", "64", "2.000011"])
def test_more_cpus_than_there_are(text: str) -> None:
    with pytest.raises(BadInput, match="this host has 2"):
        resources("", text, "", 2)


@pytest.mark.parametrize("text", ["0.009", "0.000001"])
def test_the_least_of_a_cpu(text: str) -> None:
    with pytest.raises(BadInput, match=r"below the minimum of 0\.01"):
        resources("", text, "", 2)


@pytest.mark.parametrize(
    "text", ["-1", "all", "1,5", "1e0", "nan", "inf", ".5", "1.", " 1", "0-1", "1234567"]
)
def test_no_cpus(text: str) -> None:
    with pytest.raises(BadInput, match="is not a number of CPUs"):
        resources("", text, "", 2)


@pytest.mark.parametrize(("text", "most"), [("", 0), ("-1", 0), ("0", 0), ("1", 1), ("4194304", 1 << 22)])
def test_pids(text: str, most: int) -> None:
    assert resources("", "", text, 2) == Resources(pids=most)


@pytest.mark.parametrize("text", ["-2", "1.5", "max", "1k", "٣", "99999999999", " 1", "+1"])
def test_no_pids(text: str) -> None:
    with pytest.raises(BadInput, match="is not a number of processes"):
        resources("", "", text, 2)


def test_more_pids_than_a_kernel_has() -> None:
    with pytest.raises(BadInput, match="at most 4194304"):
        resources("", "", "4194305", 2)


def test_no_flag_is_no_limit() -> None:
    found = resources("", "", "", 2)
    assert found == Resources()
    assert not found.limited


def test_which_devices_there_are_is_no_limit() -> None:
    assert not Resources(devices=((False, "a", -1, -1, "rwm"),), cpu_period=50_000).limited
    assert Resources(pids=1).limited


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_anything_else_is_refused(one: str, two: str, three: str) -> None:
    """Whatever is typed is a limit or an error of the user's, with its flag in it."""
    for given_, flag in (((one, "", ""), "--memory"), (("", two, ""), "--cpus"), (("", "", three), "--pids")):
        try:
            found = resources(*given_, 4)
        except BadInput as error:
            assert error.message.startswith(flag)
            continue
        assert found.memory == 0 or found.memory >= LEAST_MEMORY
        assert 0 <= found.cpu_quota <= 400_000
        assert found.pids >= 0


@given(st.integers(6 * 1024, 1 << 40))
def test_units_agree(kib: int) -> None:
    assert memory(f"{kib}k") == memory(str(kib * 1024)) == memory(f"{kib * 1024}b")
