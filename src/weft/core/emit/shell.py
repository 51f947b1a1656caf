"""A plan as what a person would type: a script for /bin/sh with the same result."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.core.ops.base import Op

HEAD = "#!/bin/sh\nset -e\n"


def lines(op: Op, program: str = "weft") -> tuple[str, ...]:
    """One operation's commands. ``program`` is how weft itself is called, where it is needed."""
    from shlex import quote

    found = op.shell()
    if op.kind != "loopback":
        return found
    return tuple([quote(program) + line.removeprefix("weft") for line in found])


def script(ops: Iterable[Op], program: str = "weft") -> str:
    """A whole plan, each step under a comment that says what it does."""
    parts = [HEAD]
    for op in ops:
        parts.append(f"# {op.describe()}\n")
        parts += [line + "\n" for line in lines(op, program)]
    return "".join(parts)
