"""JSON without json: what the standard library's own reader and writer say of the same text."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.model.jsontext import dump, load

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), 1 << 64) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_written_and_read(value: object) -> None:
    assert load(dump(value)) == json.loads(dump(value)) == value
    assert load(json.dumps(value, indent=2)) == value


@given(VALUES.map(json.dumps), st.integers(0, 40), st.sampled_from('{}[]",:x\\\x00 1-e'))
def test_what_is_damaged(text: str, place: int, other: str) -> None:
    """Both take it, or neither does."""
    place %= len(text)
    text = text[:place] + other + text[place + 1 :]
    try:
        wanted = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            load(text)
        return
    assert load(text) == wanted


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
