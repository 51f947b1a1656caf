"""Namespaces as a tree: what each user namespace owns, user and pid namespaces within each other."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def draw(rows: list[dict[str, Any]], say: Callable[[dict[str, Any]], str]) -> str:
    """Each namespace on a line of its own, as ``say`` puts it, below the one it is in.

    That is its parent where it has one of its own owner, else the user namespace which owns it. What is
    in none that is listed begins a tree of its own.
    """
    there = {row["inode"]: row for row in rows if row["inode"]}
    below: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        below.setdefault(_above(row, there), []).append(row)
    lines: list[str] = []
    _write(lines, below, 0, "", say)
    return "\n".join(lines)


def _above(row: dict[str, Any], there: dict[int, dict[str, Any]]) -> int:
    parent = there.get(row["parent"] or 0)
    if parent is not None and (row["type"] == "user" or parent["owner"] == row["owner"]):
        return int(parent["inode"])
    return row["owner"] if row["owner"] in there and row["owner"] != row["inode"] else 0


def _write(
    lines: list[str],
    below: dict[int, list[dict[str, Any]]],
    above: int,
    margin: str,
    say: Callable[[dict[str, Any]], str],
) -> None:
    children = below.pop(above, [])
    for place, row in enumerate(children):
        last = place == len(children) - 1
        top = above == 0
        lines.append(margin + ("" if top else "└─ " if last else "├─ ") + say(row))
        if row["inode"]:
            _write(lines, below, row["inode"], margin + ("" if top else "   " if last else "│  "), say)
