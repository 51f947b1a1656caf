"""``weft-aardvark``: aardvark-dns's command line, for netavark and whoever else starts it.

``weft-aardvark [-c DIR] [-p PORT] [-f DOMAIN] run``: reads DIR, listens, goes to the background, writes
DIR/aardvark.pid; SIGHUP makes it read DIR again, and it ends when no network is left. What keeps it from that
is told on stderr before the foreground process ends (netavark passes it on).
"""

from __future__ import annotations

import posix
import sys

from weft.core.model.errors import BadInput, WeftError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTIONS = {
    **dict.fromkeys(("-c", "--config"), "config"),
    **dict.fromkeys(("-p", "--port"), "port"),
    **dict.fromkeys(("-f", "-d", "--filter-search-domain"), "domain"),
}
_PORT, _DOMAIN = "5533", ".dns.podman"
_USAGE = """usage: weft-aardvark [OPTIONS] run|version

  -c, --config DIR                   the directory of network files
  -p, --port PORT                    where to listen (default: 5533)
  -f, --filter-search-domain DOMAIN  names below it are never asked elsewhere (default: .dns.podman)
  -V, --version
"""


class _Wish:
    """A command line, read."""

    __slots__ = ("command", "values")

    def __init__(self) -> None:
        self.command = ""
        self.values = {"config": "", "port": _PORT, "domain": _DOMAIN}


def _read(argv: Sequence[str]) -> _Wish:
    """As clap reads it: options before and after the command, with a blank or ``=``. BadInput."""
    wish, rest = _Wish(), list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word in ("-h", "--help", "help", "-V", "--version"):
            wish.command = {"-h": "help", "--help": "help", "help": "help"}.get(word, "--version")
            return wish
        if name in _OPTIONS or word[:2] in _OPTIONS:
            if name not in _OPTIONS:
                name, equals, value = word[:2], "=", word[2:]
            if not equals and not rest:
                raise BadInput(f"{name} needs a value")
            wish.values[_OPTIONS[name]] = value if equals else rest.pop(0)
        elif word in ("run", "version") and not wish.command:
            wish.command = word
        else:
            raise BadInput(f"no option or command {word!a}", "run or version")
    if not wish.command:
        raise BadInput("no command is given", "run or version")
    return wish


def main(argv: Sequence[str]) -> int:
    """Runs one command line; its exit status. Never a traceback."""
    try:
        wish = _read(argv)
        if wish.command == "run":
            _run(wish)
        else:
            sys.stdout.write(_said(wish.command))
    except WeftError as error:
        hint = f" ({error.hint})" if error.hint else ""
        sys.stderr.write(f"weft-aardvark: {error}{hint}\n")
        return 1
    return 0


def _said(command: str) -> str:
    from weft import __version__

    if command == "help":
        return _USAGE
    if command == "--version":
        return f"weft-aardvark {__version__}\n"
    import json

    return json.dumps({"version": __version__, "commit": "", "build_time": "", "target": sys.platform}) + "\n"


def _run(wish: _Wish) -> None:
    port = wish.values["port"]
    if not (port.isascii() and port.isdigit() and 0 < len(port) < 6 and 0 < int(port) < 65536):
        raise BadInput(f"port {port!a} is not a number from 1 to 65535")
    if not wish.values["config"]:
        raise BadInput("no --config is given", "the directory of network files")
    from weft.wiring import directory_serve

    directory_serve(wish.values["config"], int(port), wish.values["domain"].lstrip("."))


def entry() -> None:
    """The program."""
    status = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError):
            pass
    posix._exit(status)
