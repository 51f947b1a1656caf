"""What an operation is: a frozen value that can be described, printed, encoded and undone."""

from __future__ import annotations

from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Message = tuple[int, int, bytes]


class Names:
    """What encoding needs from the kernel, which only the hands can ask: names to numbers.

    Plans hold names, since an ifindex is stale as soon as somebody else acts. ``index`` finds an
    interface in the operation's own namespace, ``netns`` gives an open descriptor.
    """

    __slots__ = ("index", "netns")

    def __init__(self, index: Callable[[str], int], netns: Callable[[str], int]) -> None:
        self.index = index
        self.netns = netns


class Final(Record):
    """Stands where an undo would: this operation is not undone, and why."""

    reason: str


#: For what goes away together with the namespace, link or table that holds it.
VANISHES = Final("goes with what holds it")


def quote(word: str) -> str:
    """One word for /bin/sh."""
    from shlex import quote as sh_quote

    return sh_quote(word)


class Op(Record):
    """One step of a plan.

    ``kind`` tells the hands which tool it takes: ``rtnl`` and ``nft`` are messages, the rest are
    calls that linux/execute knows by the operation's class. ``netns`` is "" for the host's own, a name
    under /run/netns, or the path of any network namespace, which begins with a slash.
    """

    kind = "call"
    #: Whether it needs what operations before it make, so that it goes out after them.
    later = False

    @property
    def netns(self) -> str:
        """The namespace it acts in, by name or path; "" is the host's own."""
        return ""

    def describe(self) -> str:
        """One line for people."""
        raise NotImplementedError

    def shell(self) -> tuple[str, ...]:
        """The commands it equals, for /bin/sh."""
        raise NotImplementedError

    def encode(self, names: Names) -> tuple[Message, ...]:
        """The netlink messages it equals (``rtnl`` and ``nft`` only)."""
        raise NotImplementedError

    def undo(self) -> Op | Final:
        """The operation that takes it back. Undoing what is not there is no error."""
        raise NotImplementedError


def inside(netns: str, words: str) -> str:
    """An ``ip`` command line for the host (netns ""), for a named namespace, or for one by its path."""
    if netns.startswith("/"):
        return f"nsenter --net={quote(netns)} ip {words}"  # ``ip -n`` takes names only
    return f"ip -n {quote(netns)} {words}" if netns else f"ip {words}"
