"""The C module under ``sqlite3``, without what it drags in.

``_sqlite3`` wants one name of functools, ``lru_cache``; importing functools (and with it collections)
takes 3.6 ms, a third of all that a weft command may spend on imports. So that one name is lent to it
while it is imported. Where functools is there already, nothing of this happens.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _lru_cache(maxsize: int = 128, typed: bool = False) -> Callable[[Any], Any]:
    """What functools.lru_cache is made of, without its Python half (only cache_info() differs)."""
    from _functools import _lru_cache_wrapper  # type: ignore[import-not-found]

    return lambda function: _lru_cache_wrapper(function, maxsize, typed, tuple)


def _import() -> Any:
    if "functools" in sys.modules:
        import _sqlite3

        return _sqlite3
    loan = type(sys)("functools")
    loan.lru_cache = _lru_cache  # type: ignore[attr-defined]
    sys.modules["functools"] = loan
    try:
        import _sqlite3

        return _sqlite3
    finally:
        del sys.modules["functools"]


sqlite = _import()
