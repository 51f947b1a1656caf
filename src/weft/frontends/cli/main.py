"""From argv to an exit status: finds the command, runs it, and tells errors in the reader's words."""

from __future__ import annotations

import posix
import sys

from weft.core.model.errors import BadInput, WeftError
from weft.frontends.cli import args as arguments
from weft.frontends.cli import spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from weft.core.ops.base import Op
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args
    from weft.frontends.cli.spec import Flag

#: Commands whose own failures must not look like the command's.
_RUNS = ("run", "exec", "ns exec", "ns enter", "ns unshare")


_FILTERED = ("ls", "ps", "inspect", "events")


def out(text: str) -> None:
    """Data, to stdout."""
    put(text + "\n")


def put(data: str | bytes) -> None:
    """The same without a newline, or bytes as they are. WeftError when stdout takes no more."""
    try:
        if isinstance(data, bytes):
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(_shown(sys.stdout, data))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _full(error) from None


def _full(error: OSError) -> WeftError:
    return WeftError(f"cannot write to stdout: {error.strerror}")


def _shown(file: TextIO, text: str) -> str:
    """What may hold anybody's words: as they are for a file or pipe, harmless to a terminal."""
    return safe(text, "\n\t") if file.isatty() else text


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


def work_for(args: Args, looks: bool = False) -> Work:
    """The engine for this command, with its way of telling things. ``looks``: it changes nothing."""
    from weft.wiring import open_work

    shown = printer(args)
    return open_work(args.one("root"), _remark if shown else say, shown, args.on("dry-run"), looks)


def printer(args: Args) -> Printer | None:
    """What prints commands, where that is wanted."""
    dry = args.on("dry-run")
    return Printer(dry, args.one("root")) if _shows(args) or dry else None


def _shows(args: Args) -> bool:
    wish = args.one("show")
    if wish not in ("", "commands"):
        raise BadInput(f"--show takes `commands`, not {wish!a}")
    return bool(wish)


def _remark(text: str) -> None:
    """Beside printed commands a remark is a comment, so that the whole is still a script."""
    _tell(f"# weft: {safe(text)}\n")


class Printer:
    """Prints each step as the commands that it equals: a dry run's are the data, others go beside it."""

    __slots__ = ("_dry", "_head", "_program", "_root")

    def __init__(self, dry: bool, root: str = "") -> None:
        from weft.core.emit.shell import HEAD
        from weft.machine import Places
        from weft.watched import launcher

        self._dry = dry
        self._head = HEAD
        self._program = launcher()
        self._root = Places(root).root

    def __call__(self, op: Op) -> None:
        from weft.core.emit.shell import lines

        self.write("".join([f"{line}\n" for line in lines(op, self._program, self._root)]))

    def write(self, text: str) -> None:
        """Commands that no operation of a plan stands for. The first that is printed makes it a script."""
        text, self._head = self._head + text, ""
        if self._dry:
            put(text)
        else:
            _tell(_shown(sys.stderr, text))


def show(work: Work, commands: Callable[[], str]) -> None:
    """Prints the commands that a step beside the plan equals, where commands are printed."""
    if isinstance(work.step, Printer):
        work.step.write(commands() + "\n")


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
        if argv and not args.on("help"):
            raise BadInput("no command is given", "`weft --help` lists the commands")
        from weft.frontends.cli.words import overview

        out(overview())
        return 0
    if command not in spec.COMMANDS and command not in spec.HIDDEN:
        return _unknown(command, rest, args)
    arguments.parse(command, rest, args)
    if args.on("help"):
        from weft.frontends.cli.words import usage

        out(usage(command))
        return 0
    _, flags, target, *_ = spec.COMMANDS.get(command) or spec.HIDDEN[command]
    _check(command, flags, args)
    module, _, function = target.partition(":")
    # __import__ rather than importlib: that package costs 2 ms under -S.
    room = __import__(f"weft.frontends.cli.{module}", fromlist=[function])
    return int(getattr(room, function)(args))


def _check(command: str, flags: Sequence[Flag], args: Args) -> None:
    """The flags that all commands share, where they mean nothing: refused rather than ignored."""
    forms = [f[1] for f in (*flags, *spec.GLOBAL) if f[0] == "--format"]
    if args.one("format", "table") not in "|".join(forms).split("|"):
        raise BadInput(f"--format takes {forms[0]}, not {args.one('format')!a}")
    if args.many("filter") and command.rpartition(" ")[2] not in _FILTERED:
        raise BadInput(f"`weft {command}` has no --filter", "every ls, ps and inspect has")


def _unknown(command: str, rest: Sequence[str], args: Args) -> int:
    group = [name for name in (*spec.COMMANDS, *spec.NOT_YET) if name.startswith(f"{command} ")]
    asked = args.on("help") or (bool(rest) and rest[0] in ("--help", "-h"))
    if group and asked:
        from weft.frontends.cli.words import overview

        out(overview(command))
        return 0
    if group and not rest:
        raise BadInput(f"`weft {command}` needs a command", f"`weft {command} --help` lists them")
    word = f"{command} {rest[0]}" if group and rest else command
    raise BadInput(f"no command {word!a}", "`weft --help` lists the commands")


def _wants_json(argv: Sequence[str], args: Args) -> bool:
    """Whether errors are to be JSON: those of parsing too, but not for the sake of a container's command."""
    if args.tail:
        return args.one("format") == "json"
    return any(a == "--format=json" or argv[i : i + 2] == ["--format", "json"] for i, a in enumerate(argv))


def main(argv: Sequence[str]) -> int:
    """Runs one command line (without the program's name); its exit status. Never a traceback."""
    args = arguments.Args("")
    command = ""
    try:
        command, rest, args = arguments.find_command(argv)
        status = _dispatch(argv, args, command, rest)
        put(b"")  # what is not written yet
        return status
    except WeftError as error:
        _fail(error, _wants_json(argv, args))
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
        _fail(_unforeseen(error, args.one("root")), _wants_json(argv, args))
        return 125 if command in _RUNS else 1


#: What a machine may be out of, by errno: ENOMEM, ENFILE, EMFILE, ENOSPC.
_SHORT = {12: "", 23: "sysctl fs.file-max", 24: "ulimit -n", 28: ""}


def _unforeseen(error: Exception, root: str) -> WeftError:
    """A shortage can show up at any call; everything else that nobody caught is a mistake of weft's."""
    if isinstance(error, OSError) and error.errno in _SHORT:
        limit = _SHORT[error.errno]
        file = f"{error.filename}: " if error.filename else ""
        return WeftError(f"{file}{error.strerror}", f"raise the limit: {limit}" if limit else "")
    from weft.wiring import damage

    found = damage(root)
    if found is not None:
        return found
    what = f"internal error: {type(error).__name__}: {error}"
    return WeftError(what, "please report it; WEFT_DEBUG=1 shows where it happened")


def _open_standard_streams() -> None:
    """What the caller closed (``2>&-``) is the null device: no kernel object may get its number.

    That of a command which is run either: it inherits them.
    """
    if sys.stdin and sys.stdout and sys.stderr:
        return
    while (fd := posix.open("/dev/null", posix.O_RDWR)) < 3:
        posix.set_inheritable(fd, True)
    posix.close(fd)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def entry() -> None:
    """The program: exits without tearing the interpreter down, which would take 2 ms."""
    _open_standard_streams()
    # Words that are not UTF-8 go out as they came in; without this they would be an error in most locales.
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    status = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass  # of stdout it has been said
    posix._exit(status)
