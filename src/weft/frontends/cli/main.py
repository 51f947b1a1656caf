"""From argv to an exit status: finds the command, runs it, and tells errors in the reader's words."""

from __future__ import annotations

import os
import sys

from weft.core.model.errors import BadInput, WeftError
from weft.frontends.cli import args as arguments
from weft.frontends.cli import spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.ops.base import Op
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

#: Commands whose own failures must not look like the command's.
_RUNS = ("run", "exec")


def out(text: str) -> None:
    """Data, to stdout."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """All else, to stderr, with nothing in it that could steer a terminal."""
    sys.stderr.write(f"weft: {safe(text)}\n")


def safe(text: str) -> str:
    """The text without control characters and bidirectional overrides: names may be hostile."""
    if text.isascii() and text.isprintable():
        return text
    return "".join([c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text])


def work_for(args: Args) -> Work:
    """The engine for this command, with its way of telling things."""
    from weft.wiring import open_work

    dry = args.on("dry-run")
    shown = dry or _shows(args)
    return open_work(args.one("root"), _remark if shown else say, Printer(dry) if shown else None, dry)


def _shows(args: Args) -> bool:
    wish = args.one("show")
    if wish not in ("", "commands"):
        raise BadInput(f"--show takes `commands`, not {wish!a}")
    return bool(wish)


def _remark(text: str) -> None:
    """Beside printed commands a remark is a comment, so that the whole is still a script."""
    sys.stderr.write(f"# weft: {safe(text)}\n")


class Printer:
    """Prints each step as commands: a dry run's are the data, others go beside it."""

    __slots__ = ("_file", "_program")

    def __init__(self, dry: bool) -> None:
        from weft.core.emit.shell import HEAD
        from weft.wiring import launcher

        self._file = sys.stdout if dry else sys.stderr
        self._program = launcher()
        self._file.write(HEAD)

    def __call__(self, op: Op) -> None:
        from weft.core.emit.shell import lines

        self._file.write("".join([f"{line}\n" for line in lines(op, self._program)]))


def _fail(error: WeftError, as_json: bool) -> None:
    if as_json:
        import json

        said = {"code": error.code, "message": error.message, "hint": error.hint}
        sys.stderr.write(json.dumps({"error": said}) + "\n")
        return
    hint = f"hint: {safe(error.hint)}\n" if error.hint else ""
    sys.stderr.write(f"weft: error: {safe(error.message)}\n{hint}")


def _dispatch(argv: Sequence[str], args: Args, command: str, rest: Sequence[str]) -> int:
    if not command or (args.on("help") and command not in spec.COMMANDS):
        from weft.frontends.cli.words import overview

        out(overview(command))
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
    if group and (not rest or rest[0] in ("--help", "-h")):
        from weft.frontends.cli.words import overview

        out(overview(command))
        return 0 if rest else 2
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:
        if os.environ.get("WEFT_DEBUG"):
            raise
        what = f"internal error: {type(error).__name__}: {error}"
        _fail(WeftError(what, "please report it; WEFT_DEBUG=1 shows where it happened"), as_json)
        return 125 if command in _RUNS else 1


def entry() -> None:
    """The program: exits without tearing the interpreter down, which would take 2 ms."""
    status = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or 141
    sys.stderr.flush()
    os._exit(status)
