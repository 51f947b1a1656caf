"""What goes to stdout: errors and versions (CNI specification, section 5). Results are in result.py."""

from __future__ import annotations

from weft.core.model import jsontext
from weft.core.model.errors import (
    BadInput,
    Conflict,
    Exhausted,
    NotFound,
    NotPermitted,
    StoreError,
    Unsupported,
    WeftError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What is spoken. 0.3.0 and 0.3.1 are the same but for the number; 0.1 and 0.2 knew one address of a family.
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
#: Which the commands came with.
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

BAD_VERSION, UNSUPPORTED_FIELD, UNKNOWN_CONTAINER, BAD_ENVIRONMENT = 1, 2, 3, 4
IO_FAILURE, UNDECODABLE, BAD_CONFIG, TRY_AGAIN, UNAVAILABLE, LIMITED = 5, 6, 7, 11, 50, 51
#: weft's own: what is taken, has no room left, is not permitted, is missing in the kernel, is not there.
CONFLICT, EXHAUSTED, NOT_PERMITTED, LACKING, NOT_THERE, FAILED = 101, 102, 103, 104, 105, 100
#: Of a message.
_LONGEST = 1000

_CODES: tuple[tuple[type[WeftError], int], ...] = (
    (BadInput, BAD_CONFIG),
    (NotFound, NOT_THERE),
    (Exhausted, EXHAUSTED),
    (Conflict, CONFLICT),
    (NotPermitted, NOT_PERMITTED),
    (Unsupported, LACKING),
    (StoreError, IO_FAILURE),
)


class Failure(WeftError):
    """An error with a code of the protocol's."""

    def __init__(self, number: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.number = number


def code_of(error: WeftError) -> int:
    """The protocol's code of an error."""
    if isinstance(error, Failure):
        return error.number
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def error_text(error: WeftError, version: str) -> str:
    """The error object."""
    found: dict[str, Any] = {"cniVersion": version if version in VERSIONS else VERSIONS[-1]}
    found |= {"code": code_of(error), "msg": _short(error.message)}
    if error.hint:
        found["details"] = _short(error.hint)
    return jsontext.dump(found) + "\n"


def _short(text: str) -> str:
    """What a configuration has in it may be of any length; a runtime logs all of a message."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def versions_text(version: str) -> str:
    """The answer to VERSION."""
    found = {"cniVersion": version if version in VERSIONS else VERSIONS[-1], "supportedVersions": VERSIONS}
    return jsontext.dump(found) + "\n"


def order(version: str) -> tuple[int, ...]:
    """A version as numbers to compare."""
    return tuple([int(part) for part in version.split(".")])


def check_version(version: str, command: str) -> None:
    """Failure unless the version is one that is spoken and has the command."""
    if version not in VERSIONS:
        shown = version[:32] or "0.1.0 (none is given)"
        raise Failure(
            BAD_VERSION,
            f"incompatible CNI versions: config is {shown!a}, plugin supports {', '.join(VERSIONS)}",
        )
    since = SINCE.get(command, VERSIONS[0])
    if order(version) < order(since):
        raise Failure(BAD_VERSION, f"config version {version} does not allow {command}: it came with {since}")
