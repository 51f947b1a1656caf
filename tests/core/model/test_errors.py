"""Errors: the exit codes of the contract, one stable word each."""

from __future__ import annotations

import pytest

from weft.core.model import errors
from weft.core.model.errors import WeftError

KINDS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, WeftError)]
#: cli.md: 1 failed; 2 bad input; 3 no such object; 4 exists or in use; 5 not permitted, not yet, lacking.
STATUS = {
    "WeftError": 1,
    "KernelError": 1,
    "WireError": 1,
    "PeerError": 1,
    "StoreError": 1,
    "Damaged": 1,
    "BadInput": 2,
    "NotFound": 3,
    "Conflict": 4,
    "NotOurs": 4,
    "Exhausted": 4,
    "IfnameTaken": 4,
    "NotPermitted": 5,
    "NotYet": 5,
    "Unsupported": 5,
    "CommandNotExecutable": 126,
    "CommandNotFound": 127,
}


def test_every_kind_has_its_exit_code() -> None:
    assert {kind.__name__: kind.status for kind in KINDS} == STATUS


def test_every_kind_has_a_word_of_its_own() -> None:
    words = [kind.code for kind in KINDS]
    assert len(set(words)) == len(words)
    assert all(word.replace("-", "").isalpha() and word.islower() for word in words)


def test_damage_says_what_mends_it() -> None:
    assert "weft repair" in errors.Damaged("it broke").hint


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not errors.Damaged], ids=lambda k: k.__name__)
def test_message_and_hint(kind: type[WeftError]) -> None:
    error = kind("it broke", hint="mend it")
    assert (error.message, error.hint, str(error)) == ("it broke", "mend it", "it broke")
    assert kind("it broke").hint == ""


def test_the_kernels_number_stays() -> None:
    assert errors.KernelError("refused", 17).errno == 17
