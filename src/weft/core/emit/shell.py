"""A plan as what a person would type: a script for /bin/sh with the same result."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.core.ops.base import Op

HEAD = "#!/bin/sh\nset -e\numask 022\n"


def lines(op: Op, program: str = "weft", root: str = "") -> tuple[str, ...]:
    """One operation's commands. ``program`` and ``root``: how weft itself is called, where it is needed."""
    from shlex import quote

    found = op.shell()
    if op.kind != "loopback":
        return found
    call = quote(program) + (f" --root {quote(root)}" if root else "")
    return tuple([call + line.removeprefix("weft") for line in found])


def script(ops: Iterable[Op], program: str = "weft", root: str = "") -> str:
    """A whole plan, each step under a comment that says what it does."""
    parts = [HEAD]
    for op in ops:
        parts += [f"# {line}\n" for line in op.describe().splitlines()]
        parts += [line + "\n" for line in lines(op, program, root)]
    return "".join(parts)
