"""Namespaces as a tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weft.core.draw.tree import draw


def row(inode: int, kind: str, owner: int | None = None, parent: int | None = None) -> dict[str, Any]:
    return {"inode": inode, "type": kind, "owner": owner, "parent": parent}


def say(row: dict[str, Any]) -> str:
    return f"{row['type']} {row['inode']}"


def test_owners_and_parents() -> None:
    rows = [
        row(1, "user"),
        row(2, "net", 1),
        row(3, "pid", 1),
        row(4, "pid", 1, 3),
        row(5, "user", 1, 1),
        row(6, "pid", 5, 4),
        row(7, "net", 99),
        row(0, "net"),
    ]
    assert draw(rows, say).splitlines() == [
        "user 1",
        "├─ net 2",
        "├─ pid 3",
        "│  └─ pid 4",
        "└─ user 5",
        "   └─ pid 6",
        "net 7",
        "net 0",
    ]


def test_nothing() -> None:
    assert draw([], say) == ""


KINDS = st.sampled_from(["user", "pid", "net"])


@given(st.lists(st.tuples(KINDS, st.integers(1, 8), st.integers(1, 8)), max_size=8))
def test_each_once(found: list[tuple[str, int, int]]) -> None:
    """A user namespace's owner is its parent, and both are older than it."""
    rows: list[dict[str, Any]] = []
    for place, (kind, owner, parent) in enumerate(found, 1):
        above = owner if owner < place and rows[owner - 1]["type"] == "user" else None
        within = parent if parent < place and rows[parent - 1]["type"] == kind else None
        rows.append(row(place, kind, above, above if kind == "user" else within))
    assert sorted(line.strip(" │├└─") for line in draw(rows, say).splitlines()) == sorted(map(say, rows))
