"""netavark's command line. Podman: ``--config DIR --rootless=false --aardvark-binary=PATH setup NS``."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Each flag's letter, and its long name.
_LETTERS = {"f": "file", "c": "config", "r": "rootless", "a": "aardvark-binary", "h": "help", "V": "version"}
_VALUES = (
    "file config rootless aardvark-binary plugin-directory firewall-driver network-dns-servers"
).split()
_FLAGS = ("help", "version")
#: What follows each command: how many words.
COMMANDS = {
    "setup": 1,
    "teardown": 1,
    "update": 1,
    "create": 0,
    "version": 0,
    "firewall-reload": 0,
    "firewalld-reload": 0,
    "dhcp-proxy": 0,
    "help": 0,
}


class Line(Record):
    """A command line, with the variables that stand for flags."""

    command: str = ""
    words: tuple[str, ...] = ()
    file: str = ""
    config: str = ""
    plugins: tuple[str, ...] = ()
    firewall: str = ""
    dns_servers: str | None = None
    dns_port: int = 53
    asked: str = ""


def read(argv: Sequence[str], env: Mapping[bytes, bytes]) -> Line:
    """The line behind the program's name. BadInput for what netavark does not know either."""
    given, words = _take(argv)
    if given.get("help") or words[:1] == ["help"]:
        return Line(asked="help")
    if given.get("version"):
        return Line(asked="version")
    if not words:
        raise BadInput("a subcommand is required but one was not provided", _usage())
    command, *rest = words
    if command not in COMMANDS:
        raise BadInput(f"unrecognized subcommand {command[:64]!a}", _usage())
    if len(rest) != COMMANDS[command] and command != "dhcp-proxy":
        raise BadInput(f"netavark {command} takes {COMMANDS[command]} arguments, {len(rest)} are given")
    servers = given.get("network-dns-servers")
    if command == "update" and servers is None:
        raise BadInput("netavark update needs --network-dns-servers")
    return Line(
        command=command,
        words=tuple(rest),
        file=_last(given, "file"),
        config=_last(given, "config"),
        plugins=tuple(given.get("plugin-directory", ())),
        firewall=_last(given, "firewall-driver") or _env(env, b"NETAVARK_FW"),
        dns_servers=None if servers is None else servers[-1],
        dns_port=_port(_env(env, b"NETAVARK_DNS_PORT")),
    )


def _take(argv: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    given: dict[str, list[str]] = {}
    words: list[str] = []
    left = list(argv)
    while left:
        word = left.pop(0)
        if word == "--":
            words += left
            break
        if len(word) < 2 or word[0] != "-":
            words.append(word)
            continue
        name, equals, value = _flag(word)
        if name not in (*_VALUES, *_FLAGS):
            raise BadInput(f"unexpected argument {word[:64]!a} found", _usage())
        if name in _VALUES and not equals:
            if not left:
                raise BadInput(f"a value is required for --{name} but none was supplied")
            value = left.pop(0)
        given.setdefault(name, []).append(value)
    return given, words


def _flag(word: str) -> tuple[str, bool, str]:
    """A flag's long name, whether its value is in the same word, and that."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name, bool(equals), value
    name, value = _LETTERS.get(word[1], word), word[2:]
    return name, bool(value), value.removeprefix("=")


def _last(given: dict[str, list[str]], name: str) -> str:
    return given.get(name, [""])[-1]


def _env(env: Mapping[bytes, bytes], name: bytes) -> str:
    return env.get(name, b"").decode("utf-8", "surrogateescape")


def _port(text: str) -> int:
    """NETAVARK_DNS_PORT; its error is netavark's own."""
    if not text:
        return 53
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        raise BadInput(f"Invalid NETAVARK_DNS_PORT {text[:64]}: invalid digit found in string")
    if len(digits) > 9 or int(digits) > 65535:
        raise BadInput(f"Invalid NETAVARK_DNS_PORT {text[:64]}: number too large to fit in target type")
    return int(digits)


def _usage() -> str:
    return f"commands are {', '.join(COMMANDS)}"
