"""From argv to an exit status: finds the command, runs it, and tells errors in the reader's words."""

from __future__ import annotations

import posix
import sys

from weft.core.model.errors import BadInput, WeftError
from weft.frontends.cli import args as arguments
from weft.frontends.cli import spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from weft.core.ops.base import Op
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

#: Commands whose own failures must not look like the command's.
_RUNS = ("run", "exec")


def out(text: str) -> None:
    """Data, to stdout."""
    put(sys.stdout, text + "\n")


def put(file: TextIO, text: str) -> None:
    """Writes what may hold anybody's words: as they are into a file or pipe, harmless to a terminal."""
    file.write(safe(text, "\n\t") if file.isatty() else text)


def _tell(text: str) -> None:
    """To stderr; that nobody can read it (closed, a full disk) changes nothing about the work."""
    try:
        sys.stderr.write(text)
    except OSError:
        pass


def say(text: str) -> None:
    """All else, to stderr, with nothing in it that could steer a terminal."""
    _tell(f"weft: {safe(text)}\n")


def safe(text: str, keep: str = "") -> str:
    """The text without control characters and bidirectional overrides: names may be hostile."""
    if text.isascii() and text.isprintable():
        return text
    return "".join([c if c.isprintable() or c in keep else f"\\x{ord(c):02x}" for c in text])


def work_for(args: Args) -> Work:
    """The engine for this command, with its way of telling things."""
    from weft.wiring import open_work

    dry = args.on("dry-run")
    shown = dry or _shows(args)
    root = args.one("root")
    return open_work(root, _remark if shown else say, Printer(dry, root) if shown else None, dry)


def _shows(args: Args) -> bool:
    wish = args.one("show")
    if wish not in ("", "commands"):
        raise BadInput(f"--show takes `commands`, not {wish!a}")
    return bool(wish)


def _remark(text: str) -> None:
    """Beside printed commands a remark is a comment, so that the whole is still a script."""
    _tell(f"# weft: {safe(text)}\n")


class Printer:
    """Prints each step as commands: a dry run's are the data, others go beside it."""

    __slots__ = ("_file", "_program", "_root")

    def __init__(self, dry: bool, root: str = "") -> None:
        from weft.core.emit.shell import HEAD
        from weft.wiring import Places, launcher

        self._file = sys.stdout if dry else sys.stderr
        self._program = launcher()
        self._root = Places(root).root
        self._file.write(HEAD)

    def __call__(self, op: Op) -> None:
        from weft.core.emit.shell import lines

        put(self._file, "".join([f"{line}\n" for line in lines(op, self._program, self._root)]))


def _fail(error: WeftError, as_json: bool) -> None:
    if as_json:
        import json

        said = {"code": error.code, "message": error.message, "hint": error.hint}
        _tell(json.dumps({"error": said}) + "\n")
        return
    hint = f"hint: {safe(error.hint)}\n" if error.hint else ""
    _tell(f"weft: error: {safe(error.message)}\n{hint}")


def _dispatch(argv: Sequence[str], args: Args, command: str, rest: Sequence[str]) -> int:
    if not command:
        from weft.frontends.cli.words import overview

        out(overview())
        return 0 if args.on("help") or not argv else 2
    if command not in spec.COMMANDS and command not in spec.HIDDEN:
        return _unknown(command, rest, args)
    arguments.parse(command, rest, args)
    if args.on("help"):
        from weft.frontends.cli.words import usage

        out(usage(command))
        return 0
    if args.one("format", "table") not in ("table", "json", "text"):
        raise BadInput(f"--format takes table or json, not {args.one('format')!a}")
    target = (spec.COMMANDS.get(command) or spec.HIDDEN[command])[2]
    module, _, function = target.partition(":")
    # __import__ rather than importlib: that package costs 2 ms under -S.
    room = __import__(f"weft.frontends.cli.{module}", fromlist=[function])
    return int(getattr(room, function)(args))


def _unknown(command: str, rest: Sequence[str], args: Args) -> int:
    group = [name for name in (*spec.COMMANDS, *spec.NOT_YET) if name.startswith(f"{command} ")]
    asked = args.on("help") or (bool(rest) and rest[0] in ("--help", "-h"))
    if group and (asked or not rest):
        from weft.frontends.cli.words import overview

        out(overview(command))
        return 0 if asked else 2
    word = f"{command} {rest[0]}" if group and rest else command
    raise BadInput(f"no command {word!a}", "`weft --help` lists the commands")


def main(argv: Sequence[str]) -> int:
    """Runs one command line (without the program's name); its exit status. Never a traceback."""
    args = arguments.Args("")
    command = ""
    # Known before parsing, so that errors of parsing are written as asked for too.
    as_json = any(a == "--format=json" or argv[i : i + 2] == ["--format", "json"] for i, a in enumerate(argv))
    try:
        command, rest, args = arguments.find_command(argv)
        return _dispatch(argv, args, command, rest)
    except WeftError as error:
        _fail(error, as_json)
        return 125 if error.status == 1 and command in _RUNS else error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us has had enough, as with `weft ps | head -1`.
        posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 1)
        return 141
    except Exception as error:
        if b"WEFT_DEBUG" in posix.environ:
            raise
        what = f"internal error: {type(error).__name__}: {error}"
        _fail(WeftError(what, "please report it; WEFT_DEBUG=1 shows where it happened"), as_json)
        return 125 if command in _RUNS else 1


def _open_standard_streams() -> None:
    """What the caller closed (``2>&-``) is the null device: no kernel object may get its number."""
    if sys.stdin and sys.stdout and sys.stderr:
        return
    fd = 0
    while fd < 3:
        fd = posix.open("/dev/null", posix.O_RDWR)
    posix.close(fd)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def entry() -> None:
    """The program: exits without tearing the interpreter down, which would take 2 ms."""
    _open_standard_streams()
    # Words that are not UTF-8 go out as they came in; without this they would be an error in most locales.
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    status = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or 141
    except OSError as error:
        _fail(WeftError(f"cannot write to stdout: {error.strerror}"), False)
        status = status or 1
    try:
        sys.stderr.flush()
    except OSError:
        pass
    posix._exit(status)
