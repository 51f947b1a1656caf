"""JSON as ``json`` has it, without it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.model.jsontext import dump, load

LEAVES = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    text = dump(value)
    assert text.isascii() and "\n" not in text
    assert load(text) == value == json.loads(text)


@given(VALUES, st.sampled_from(("", " ", "\t\r\n")))
def test_what_json_writes_is_read(value: Any, blank: str) -> None:
    for indent in (None, 2):
        assert load(blank + json.dumps(value, indent=indent) + blank) == value


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \\u\t\n', max_size=30))
def test_both_accept_and_refuse_the_same(text: str) -> None:
    try:
        theirs: Any = json.loads(text, parse_constant=pytest.fail)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            load(text)
    else:
        mine = load(text)
        same = mine == theirs or (isinstance(mine, float) and math.isnan(mine))
        assert same


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "{} []", "", "  ", "[1,]", "'a'"])
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        load(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_nested_too_deep(text: str) -> None:
    with pytest.raises(RecursionError):
        load(text)


def test_what_is_no_value() -> None:
    with pytest.raises(TypeError, match="bytes"):
        dump({"a": b"x"})


@pytest.mark.parametrize(
    "text", ["{", '{"a"', '"', "[1,", "nul", "", "\ufeff{}", "NaN", '{"a": 1} {}', "[" * 100_000]
)
def test_errors_without_json(text: str) -> None:
    """An interpreter that has not imported json: its scanner cannot raise json's error by itself."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from weft.core.model.jsontext import load\n"
        "try: load(sys.stdin.read())\n"
        "except (ValueError, RecursionError) as error: print(type(error).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code, "src"], input=text, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() in ("ValueError", "JSONDecodeError", "RecursionError"), (
        done.stdout,
        done.stderr,
    )
