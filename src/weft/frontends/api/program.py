"""The program itself, for what must not be forked from somebody else's: containers' monitors and commands."""

from __future__ import annotations

from weft.core.model import errors
from weft.core.model.errors import KernelError, WeftError
from weft.watched import launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ERROR = '{"error"'


def argv(root: str, *words: str) -> list[str]:
    """``weft WORDS`` on a root."""
    return [launcher(), *(["--root", root] if root else []), *words]


def flags(options: Mapping[str, object]) -> list[str]:
    """Keywords as flags of the command line: ``cap_add=["SYS_TIME"]`` is ``--cap-add=SYS_TIME``.

    A mapping gives KEY=VALUE for each; None and "" are as if they had not been given.
    """
    found: list[str] = []
    for keyword, value in options.items():
        flag = f"--{keyword.replace('_', '-')}"
        found += [f"{flag}={word}" for word in _words(value)]
    return found


def _words(value: object) -> Iterable[object]:
    if value is None or value == "":
        return ()
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, (str, int, float)):
        return (value,)
    if hasattr(value, "items"):
        return [f"{key}={word}" for key, word in value.items()]
    return list(value)  # type: ignore[call-overload, no-any-return, unused-ignore]


def ask(root: str, words: Sequence[str]) -> str:
    """Runs a command of weft's to its end; what it printed. Its error is raised as what it is: WeftError."""
    from subprocess import DEVNULL, run

    done = run(argv(root, "--format", "json", *words), stdin=DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise _error(done.stderr.decode(errors="replace"), done.returncode)
    return done.stdout.decode(errors="surrogateescape").strip()


def _error(said: str, status: int) -> WeftError:
    from json import loads

    line = next((line for line in reversed(said.splitlines()) if line.startswith(_ERROR)), "")
    if not line:
        return WeftError(said.strip() or f"weft ended with status {status}")
    error = loads(line)["error"]
    kinds = {kind.code: kind for kind in vars(errors).values() if hasattr(kind, "code")}
    kind = kinds.get(error["code"], WeftError)
    if kind is KernelError:
        return KernelError(error["message"], hint=error["hint"])
    try:
        found: WeftError = kind(error["message"], error["hint"])
    except TypeError:
        found = WeftError(error["message"], error["hint"])  # one that knows its own hint
    return found
