"""What a runtime says in the environment (CNI specification, section 2: parameters)."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.names import check_ifname
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
#: Which variables a command needs beside itself.
_NEEDS = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_ID = _LETTERS | frozenset("_.-")
#: weft's name for it, ``cni:ID``, is in a link's alias, which holds 255 bytes.
_LONGEST_ID = 96
#: Of a variable: the kernel's own limit is 128 KiB (MAX_ARG_STRLEN).
_LONGEST = 1 << 16


class Call(Record):
    """``plugin`` is the name that was called, ``args`` the pairs of CNI_ARGS, ``path`` where plug-ins are."""

    plugin: str
    command: str
    container: str = ""
    netns: str = ""
    ifname: str = ""
    args: tuple[tuple[str, str], ...] = ()
    path: tuple[str, ...] = ()

    def arg(self, key: str) -> str:
        """A value of CNI_ARGS; "" when it is not there."""
        return next((v for k, v in self.args if k == key), "")

    @property
    def member(self) -> str:
        """What the container is called in weft's networks."""
        return f"cni:{self.container}"


def read(plugin: str, environment: Mapping[bytes, bytes]) -> Call:
    """The call. BadInput names the variables that are missing or wrong."""
    values = {name: _text(environment, name) for name in _names()}
    command = values["CNI_COMMAND"]
    if command not in COMMANDS:
        raise BadInput(f"CNI_COMMAND {command[:32]!a} is not one of {', '.join(COMMANDS)}")
    missing = [name for name in _NEEDS[command] if not values[name]]
    if missing:
        raise BadInput(f"required env variables [{','.join(missing)}] missing")
    if not _NEEDS[command]:  # libcni asks for the version with placeholders in the others
        return Call(plugin, command, path=_path(values["CNI_PATH"]))
    return Call(
        plugin,
        command,
        _container(values["CNI_CONTAINERID"]),
        _netns(values["CNI_NETNS"]),
        _ifname(values["CNI_IFNAME"]),
        _args(values["CNI_ARGS"]),
        _path(values["CNI_PATH"]),
    )


def _path(text: str) -> tuple[str, ...]:
    return tuple([p for p in text.split(":") if p.startswith("/")])


def _names() -> tuple[str, ...]:
    return ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")


def _text(environment: Mapping[bytes, bytes], name: str) -> str:
    raw = environment.get(name.encode(), b"")
    if len(raw) > _LONGEST:
        raise BadInput(f"{name} is longer than {_LONGEST} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{name} is not UTF-8") from None


def _container(text: str) -> str:
    """CNI specification: a letter or digit, then those and ``_``, ``.``, ``-``."""
    if text and (text[0] not in _LETTERS or frozenset(text) - _ID):
        raise BadInput(f"CNI_CONTAINERID {text[:64]!a} is not valid", "letters, digits, _ . -")
    if len(text) > _LONGEST_ID:
        raise BadInput(f"CNI_CONTAINERID is longer than {_LONGEST_ID}")
    return text


def _netns(text: str) -> str:
    if text and (not text.startswith("/") or len(text) >= 4096 or not text.isprintable()):
        raise BadInput(f"CNI_NETNS {text[:64]!a} is not an absolute path")
    return text


def _ifname(text: str) -> str:
    if not text:
        return ""
    if text == "lo":  # of the plug-in loopback
        return text
    try:
        return check_ifname(text)
    except BadInput as error:
        raise BadInput(f"CNI_IFNAME: {error}") from None


def _args(text: str) -> tuple[tuple[str, str], ...]:
    """``K=V;K=V``."""
    found = []
    for pair in text.split(";") if text else ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise BadInput(f"CNI_ARGS: {pair[:64]!a} is not KEY=VALUE")
        found.append((key, value))
    return tuple(found)
