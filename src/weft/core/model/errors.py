"""Every way in which weft says no: typed by whose fault it is, each with an exit code and a hint.

The exit codes are a contract of the command line: 1 failed; 2 wrong usage or bad input; 3 no such
object; 4 exists, taken or in use; 5 not permitted, not yet built, or missing from the kernel.
"""

from __future__ import annotations


class WeftError(Exception):
    """Any failure that has no kind of its own; base of all errors that weft raises on purpose.

    ``code`` is the stable word that scripts see in JSON, ``status`` the exit status of the
    command, ``hint`` what the reader can do about it ("" where there is nothing to say).
    """

    code = "failed"
    status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(WeftError):
    """The user's: a name, address or flag that cannot be right, refused before anything is touched."""

    code = "bad-input"
    status = 2


class NotFound(WeftError):
    """The user's: no object of that name."""

    code = "not-found"
    status = 3


class Conflict(WeftError):
    """Something has that name, address or port already, or still uses what is to go."""

    code = "conflict"
    status = 4


class NotOurs(Conflict):
    """A kernel object of that name exists and does not carry this root's mark."""

    code = "not-ours"


class IfnameTaken(Conflict):
    """There is an interface of that name in the namespace already."""

    code = "ifname-taken"


class Exhausted(Conflict):
    """A pool, a bridge or a range has no room left."""

    code = "exhausted"


class NotPermitted(WeftError):
    """The caller may not do this (not root, a capability missing)."""

    code = "not-permitted"
    status = 5


class NotYet(WeftError):
    """Named by the command line's contract, not built so far."""

    code = "not-yet"
    status = 5


class Unsupported(WeftError):
    """The running kernel lacks a feature; the message names it."""

    code = "unsupported"
    status = 5


class KernelError(WeftError):
    """The kernel refused an operation: carries errno and the extended acknowledgement's text."""

    code = "kernel"

    def __init__(self, message: str, errno: int = 0, hint: str = "") -> None:
        super().__init__(message, hint)
        self.errno = errno


class WireError(WeftError):
    """Bytes from outside that are not what their protocol says: truncated, oversized, hostile."""

    code = "wire"


class PeerError(WeftError):
    """A program that weft asks has refused, or does not answer: a third-party driver."""

    code = "peer"


class StoreError(WeftError):
    """The state directory or its database cannot be used."""

    code = "store"


class Damaged(StoreError):
    """The database is not what was written: a flipped bit, a lost piece. `weft repair` makes it anew from
    the kernel."""

    code = "damaged"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, "`weft repair` sets it aside and makes it anew from what stands in the kernel"
        )


class CommandNotFound(WeftError):
    """The command to run does not exist (127, as the shell says it)."""

    code = "command-not-found"
    status = 127


class CommandNotExecutable(WeftError):
    """The command exists and cannot be executed (126, as the shell says it)."""

    code = "command-not-executable"
    status = 126
