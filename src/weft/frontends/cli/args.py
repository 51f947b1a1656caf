"""argv by hand, from the table in ``spec``: argparse alone would take 10 ms."""

from __future__ import annotations

from weft.core.model.errors import BadInput, NotYet
from weft.frontends.cli import spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.frontends.cli.spec import Flag


class Args:
    """A parsed command: values by the flag's long name without dashes, positionals, the command's tail."""

    __slots__ = ("_values", "command", "tail", "words")

    def __init__(self, command: str) -> None:
        self.command = command
        self.words: list[str] = []
        self.tail: list[str] = []
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Notes a flag's value; a switch's is "true" or "false"."""
        self._values.setdefault(name, []).append(value)

    def one(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        found = self._values.get(name)
        return found[-1] if found else default

    def many(self, name: str) -> tuple[str, ...]:
        """All values of a flag that may be repeated."""
        return tuple(self._values.get(name, ()))

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.one(name) == "true"


#: How many words come before the command that is to be executed.
_LEAD = {"run": 0, "spec": 0, "exec": 1, "ns exec": 1, "ns unshare": 0}


def find_command(argv: Sequence[str]) -> tuple[str, Sequence[str], Args]:
    """The command's name, what follows it, and the global flags before it. "" when there is none."""
    args = Args("")
    known = _table(spec.GLOBAL)
    i = 0
    while i < len(argv) and argv[i].startswith("-") and argv[i] != "--":
        i = _flag(argv, i, known, args)
    if i == len(argv):
        return "", (), args
    for words in (2, 1):
        name = " ".join(argv[i : i + words])
        if name in spec.COMMANDS or name in spec.HIDDEN:
            return name, argv[i + words :], args
        if name in spec.NOT_YET:
            raise NotYet(f"`weft {name}` is not built yet")
    return argv[i], argv[i + 1 :], args


def parse(command: str, argv: Sequence[str], args: Args) -> Args:
    """The command's own flags and words. BadInput for wrong usage, NotYet for what is refused so far."""
    takes, flags, *_ = spec.COMMANDS.get(command) or spec.HIDDEN[command]
    args.command = command
    known = _table(flags)
    known.update({n: f for n, f in _table(spec.GLOBAL).items() if n not in known})
    lead = _LEAD.get(command, -1)
    i = 0
    while i < len(argv):
        word = argv[i]
        if word == "--":
            args.tail = list(argv[i + 1 :])
            if lead < 0:
                args.words += args.tail
            break
        if lead >= 0 and (len(args.words) == lead or args.on("all")) and not _is_flag(word):
            args.tail = list(argv[i:])
            break
        if _is_flag(word):
            i = _flag(argv, i, known, args)
        else:
            args.words.append(word)
            i += 1
    if not args.on("help"):
        _count(command, takes, args)
    return args


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word[0] == "-"


def _count(command: str, takes: str, args: Args) -> None:
    """How many words there may be: ``A B`` two, ``A...`` at least one, ``[A]`` one or none."""
    usage = f"usage: weft {command} {takes}".rstrip()
    named = [w for w in takes.split() if w != "[--]" and "CMD" not in w]
    if named and named[0].endswith("|--all") and args.on("all"):
        del named[0]
    needed = [w for w in named if w[0] != "["]
    most = 999999 if any(w.rstrip("]").endswith("...") for w in named) else len(named)
    if len(args.words) < len(needed):
        missing = needed[len(args.words)].rstrip(".").removesuffix("|--all")
        raise BadInput(f"`weft {command}` needs {missing}", usage)
    if len(args.words) > most:
        raise BadInput(f"`weft {command}` does not take {args.words[most]!a}", usage)


def _table(flags: Sequence[Flag]) -> dict[str, Flag]:
    return {name: flag for flag in flags for name in flag[0].split()}


def _flag(argv: Sequence[str], i: int, known: dict[str, Flag], args: Args) -> int:
    """Takes one flag at ``i``; where the next word is."""
    word = argv[i]
    joined = word.startswith("--") or word[2:3] == "="
    name, given, value = word.partition("=") if joined else (word[:2], "", word[2:])
    flag = known.get(name)
    if flag is None:
        raise BadInput(f"unknown flag {word!a}", "see --help")
    long, metavar = flag[0].split()[0][2:], flag[1]
    if metavar.startswith("!"):
        raise NotYet(f"--{long} is not built yet")
    if not metavar:
        return _switch(argv, i, known, args, long, given, value)
    if not given and not value:
        if i + 1 >= len(argv):
            raise BadInput(f"flag --{long} needs a value: {metavar.rstrip('.')}")
        value, i = argv[i + 1], i + 1
    if not value and not metavar.endswith("..."):
        # A variable of a script that is not set: as if the flag were not there is hardly what was meant.
        raise BadInput(f"flag --{long} needs a value, not ''", f"give {metavar}, or leave the flag out")
    if args.many(long) and not metavar.endswith("..."):
        raise BadInput(f"flag --{long} is given twice")
    args.add(long, value)
    return i + 1


def _switch(
    argv: Sequence[str], i: int, known: dict[str, Flag], args: Args, long: str, given: str, value: str
) -> int:
    if given and value not in ("true", "false"):
        raise BadInput(f"flag --{long} takes true or false, not {value!a}")
    args.add(long, value if given else "true")
    if not given and value:
        # -df is -d -f
        _flag([f"-{value}", *argv[i + 1 :]], 0, known, args)
        return i + 1 if _alone(value, known) else i + 2
    return i + 1


def _alone(cluster: str, known: dict[str, Flag]) -> bool:
    """Whether a cluster of short flags needs no value from the next word."""
    for n, letter in enumerate(cluster):
        flag = known.get(f"-{letter}")
        if flag is not None and flag[1]:
            return n + 1 < len(cluster)
    return True
