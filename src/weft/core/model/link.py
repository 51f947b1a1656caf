"""Where links are, and what weft's marks on them say.

A mark is an altname, ``weft:`` and an id, which finds a link. Its alias tells people, and ``owner_of``, what
it belongs to: words of the form ``key=value`` after ``weft``, without spaces in them.
"""

from __future__ import annotations

from weft.core.model.names import MARK_PREFIX
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: An alias holds 255 bytes (linux/if.h, IFALIASZ): what a name may take of them.
_SHOWN = 60


class Space(Record):
    """A network namespace whose links can be read.

    ``names`` are those under /run/netns, ``pid`` is a process in it, 0 when there is none, ``path`` opens it.
    All of them are empty, and ``inode`` 0, for a stranger: one that only a device tied to it tells of.
    ``container`` is what an engine calls it, as a TARGET (``docker:web``).
    """

    inode: int
    names: tuple[str, ...] = ()
    pid: int = 0
    path: str = ""
    container: str = ""


class Owner(Record):
    """What a link of weft's belongs to: ``kind`` is network, container, switch, wire, or weft where the alias
    does not say. ``plug``: it is a wire of that switch, not the bridge itself."""

    kind: str
    name: str
    root: str
    plug: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


def _word(text: str) -> str:
    """A name or path as one word of an alias."""
    word = ascii(text)[1:-1].replace(" ", "\\x20")
    return word if len(word) <= _SHOWN else word[: _SHOWN - 3] + "..."


def wire_alias(root: str, first: str, second: str) -> str:
    """Of both ends of a wire."""
    return f"weft root={root} wire={_word(first)}--{_word(second)}"


def switch_alias(root: str, name: str) -> str:
    """Of a switch's bridge."""
    return f"weft root={root} switch={name}"


def plug_alias(root: str, switch: str, end: str) -> str:
    """Of both ends of a switch's wire."""
    return f"{switch_alias(root, switch)} plug={_word(end)}"


def mark_of(altnames: Iterable[str]) -> str:
    """The mark among a link's altnames, "" when it has none."""
    size = len(MARK_PREFIX) + 16
    return next((a for a in altnames if a.startswith(MARK_PREFIX) and len(a) == size), "")


def owner_of(altnames: Iterable[str], alias: str | None) -> Owner | None:
    """What a link belongs to; None for one without a mark, whatever its alias says."""
    if not mark_of(altnames):
        return None
    said = {k: v for k, _, v in [word.partition("=") for word in (alias or "").split(" ")]}
    kind = next((k for k in ("container", "switch", "wire", "network") if k in said), "weft")
    return Owner(kind, said.get(kind, ""), said.get("root", ""), "plug" in said)
