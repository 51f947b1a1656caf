"""How a container lives, as it is typed."""

from __future__ import annotations

import signal

import pytest

from weft.core.model.errors import BadInput
from weft.core.model.policy import (
    Health,
    Policy,
    parse_detach_keys,
    parse_duration,
    parse_health,
    parse_log_options,
    parse_policy,
    parse_restart,
    parse_signal,
    parse_size,
    parse_stop_timeout,
    signal_name,
)


def test_signals_are_the_kernels() -> None:
    for number in range(1, 32):
        name = signal_name(number)
        assert parse_signal(name) == parse_signal(name[3:].lower()) == parse_signal(str(number)) == number
        if number != 16:  # SIGSTKFLT has no name in Python 3.11's module
            assert getattr(signal, name) == number
    assert parse_signal("RTMIN") == signal.SIGRTMIN and parse_signal("SIGRTMAX-1") == signal.SIGRTMAX - 1
    assert parse_signal("rtmin+3") == 37 and signal_name(37) == "SIGRTMIN+3"
    assert parse_signal("POLL") == signal.SIGIO


@pytest.mark.parametrize(
    "text", ["", "0", "65", "-9", "SIG", "SIGSIG", "TERM ", "９", "RTMIN+", "RTMIN-1", "RTMIN+31", "9.0"]
)
def test_no_signals(text: str) -> None:
    with pytest.raises(BadInput):
        parse_signal(text)


def test_restart() -> None:
    assert parse_restart("on-failure:5") == ("on-failure", 5)
    assert parse_restart("on-failure") == ("on-failure", 0)
    for text in ("", "sometimes", "always:3", "on-failure:", "on-failure:x", "on-failure:-1", "NO"):
        with pytest.raises(BadInput):
            parse_restart(text)


def test_when_it_is_started_again() -> None:
    always, twice = Policy("always"), Policy("on-failure", 2)
    assert always.again(0, 1000) and Policy("unless-stopped").again(1, 0) and not Policy().again(1, 0)
    assert [twice.again(code, n) for code, n in ((0, 0), (1, 0), (1, 1), (1, 2))] == [
        False,
        True,
        True,
        False,
    ]
    assert Policy("on-failure").again(137, 99)
    assert (twice.restart_shown, always.restart_shown) == ("on-failure:2", "always")


def test_durations() -> None:
    found = {"30s": 30_000, "1m30s": 90_000, "500ms": 500, "1.5h": 5_400_000, "0s": 0, "2m1ms": 120_001}
    assert {text: parse_duration(text, "x") for text in found} == found
    for text in ("", "30", "s", "1x", "-1s", "1s ", "1..2s", ".s", "９s", "1" * 13 + "s"):
        with pytest.raises(BadInput):
            parse_duration(text, "x")


def test_sizes_and_logs() -> None:
    assert [parse_size(t, "x") for t in ("10m", "10MB", "512k", "4096", "1g")] == [
        10 << 20,
        10 << 20,
        512 << 10,
        4096,
        1 << 30,
    ]
    assert parse_log_options(["max-size=1m", "max-file=7"]) == (1 << 20, 7)
    assert parse_log_options([]) == (10 << 20, 3)
    for option in (
        "max-size=10",
        "max-size",
        "max-size=",
        "max-file=0",
        "max-file=x",
        "mode=x",
        "max-size=1t",
    ):
        with pytest.raises(BadInput):
            parse_log_options([option])


def test_health() -> None:
    assert parse_health("") is None
    found = parse_health("curl x", "5s", "1s", "0s", "2s", "4")
    assert found == Health(("/bin/sh", "-c", "curl x"), 5000, 1000, 0, 2000, 4)
    assert parse_health("true") == Health(("/bin/sh", "-c", "true"), 30_000, 30_000, 0, 5000, 3)
    for flags in ({"interval": "1s"}, {"retries": "3"}):
        with pytest.raises(BadInput, match="needs --health-cmd"):
            parse_health("", **flags)
    for flags in ({"interval": "0s"}, {"retries": "0"}, {"timeout": "x"}):
        with pytest.raises(BadInput):
            parse_health("true", **flags)


def test_policy() -> None:
    assert parse_policy() == Policy()
    assert parse_policy("on-failure:3", "SIGINT", "-1", stdin=True) == Policy(
        "on-failure", 3, 2, -1, stdin=True
    )
    with pytest.raises(BadInput, match="conflicts with --rm"):
        parse_policy("always", auto_remove=True)
    for text in ("-2", "1.5", "x", ""):
        with pytest.raises(BadInput):
            parse_stop_timeout(text)


def test_detach_keys() -> None:
    assert parse_detach_keys("") == b"\x10\x11"
    assert parse_detach_keys("a,ctrl-a,ctrl-@,Ctrl-[") == b"a\x01\x00\x1b"
    for text in (",", "ctrl-", "ctrl-1", "ab", "ctrl-pp", "é"):
        with pytest.raises(BadInput):
            parse_detach_keys(text)
