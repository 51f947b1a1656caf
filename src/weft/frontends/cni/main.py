"""``weft-cni``: one program for all that weft offers as plug-ins of CNI, by the name that it is called by.

stdin has the configuration, the environment the rest; stdout gets one JSON object, stderr remarks. The exit
status is 0, or 1 with an error object (CNI specification 1.1.0, sections 2 to 5).
"""

from __future__ import annotations

import posix
import sys

from weft.core.model.errors import BadInput, WeftError
from weft.frontends.cni import answer, call
from weft.frontends.cni.answer import BAD_ENVIRONMENT, IO_FAILURE, UNDECODABLE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.work import Work
    from weft.frontends.cni.call import Call
    from weft.frontends.cni.field import Loose
    from weft.frontends.cni.result import Result

#: A configuration with all that a runtime adds to it.
_LARGEST = 1 << 20
MAIN = ("bridge", "ptp", "macvlan", "weft")
IPAM = ("host-local", "static")
CHAINED = ("portmap", "firewall", "bandwidth", "tuning")
_OWN = ("weft", "weft-cni")


def say(text: str) -> None:
    """A remark, to stderr, with nothing in it that could steer a terminal."""
    shown = "".join([c if c.isprintable() else f"\\x{ord(c):02x}" for c in text])
    try:
        sys.stderr.write(f"weft: {shown}\n")
    except (OSError, AttributeError):
        pass  # nobody can read it, which changes nothing about the work


def main(called: str, stdin: bytes) -> tuple[int, str]:
    """One call: the exit status and what stdout gets. Never a traceback."""
    version = ""
    try:
        found = call.read(called, posix.environ)
    except BadInput as error:
        return 1, answer.error_text(Failure(BAD_ENVIRONMENT, error.message, error.hint), version)
    try:
        conf = _config(stdin, found)
        version = conf.get("cniVersion").text()
        if found.command == "VERSION":
            return 0, answer.versions_text(version)
        answer.check_version(version, found.command)
        result = _do(found, conf)
        return 0, "" if result is None else _text(result, version)
    except WeftError as error:
        return 1, answer.error_text(error, version)
    except RecursionError:
        return 1, answer.error_text(Failure(UNDECODABLE, "the configuration is nested too deep"), version)
    except Exception as error:
        if b"WEFT_DEBUG" in posix.environ:
            raise
        return 1, answer.error_text(_unforeseen(error), version)


def _text(result: Result, version: str) -> str:
    from weft.frontends.cni.result import text

    return text(result, version)


def _unforeseen(error: Exception) -> WeftError:
    if isinstance(error, OSError):
        return Failure(IO_FAILURE, f"{error.filename or 'weft'}: {error.strerror}")
    return WeftError(
        f"internal error: {type(error).__name__}: {error}", "please report it; WEFT_DEBUG=1 shows more"
    )


def _config(stdin: bytes, found: Call) -> Loose:
    """The configuration. Failure when it cannot be read as one."""
    from weft.frontends.cni.field import document

    if found.command == "VERSION" and not stdin.strip():
        stdin = b"{}"
    try:
        if len(stdin) > _LARGEST:
            raise BadInput(f"the configuration is larger than {_LARGEST} bytes")
        conf = document(stdin, "the configuration")
        conf.get("cniVersion").text()
    except BadInput as error:
        raise Failure(UNDECODABLE, error.message, error.hint) from None
    return conf


def _kind(found: Call, conf: Loose) -> str:
    """What is asked for: by the name that was called, or, of weft's own names, by the configuration.

    As ``ipam.type`` it is called with the configuration of the plug-in that asks.
    """
    if found.plugin not in _OWN:
        return found.plugin
    kind = conf.get("type").text("weft")
    if kind in _OWN:
        return "weft"
    if conf.get("ipam").get("type").text() in _OWN:
        return "weft-ipam"
    raise conf.get("type").wrong(f"{kind[:64]!a} is not what {found.plugin} is called for")


def _do(found: Call, conf: Loose) -> Result | None:
    kind = _kind(found, conf)
    if found.command in ("ADD", "CHECK"):
        from weft.frontends.cni.interface import check_netns

        check_netns(found)
    if kind == "loopback":
        return _loopback(found, conf)
    if found.ifname == "lo":
        raise Failure(BAD_ENVIRONMENT, "CNI_IFNAME: 'lo' is the loopback's")
    from weft.frontends.cni.config import name_of

    name_of(conf)
    from weft.wiring import open_work

    work = open_work("", say, looks=found.command in ("CHECK", "STATUS"), brief=True)
    if kind in MAIN:
        return _interface(work, found, conf, kind)
    if kind in CHAINED:
        return _chained(work, found, conf, kind)
    return _ipam(work, found, conf)


def _loopback(found: Call, conf: Loose) -> Result | None:
    from weft.frontends.cni import loopback

    if found.command == "ADD":
        return loopback.add(found, conf)
    if found.command == "CHECK":
        loopback.check(found)
    return None


def _interface(work: Work, found: Call, conf: Loose, kind: str) -> Result | None:
    from weft.frontends.cni import interface

    if found.command == "ADD":
        return interface.add(work, found, conf, kind)
    steps = {
        "DEL": interface.delete,
        "CHECK": interface.check,
        "GC": interface.collect,
        "STATUS": interface.status,
    }
    steps[found.command](work, found, conf, kind)
    return None


def _chained(work: Work, found: Call, conf: Loose, kind: str) -> Result | None:
    from weft.frontends.cni import chained, tuning

    add = {"portmap": chained.add_ports, "firewall": chained.add_guard, "bandwidth": chained.add_rates}
    if found.command == "ADD":
        return {**add, "tuning": tuning.add}[kind](work, found, conf)
    others = {
        "DEL": {"portmap": chained.delete_ports, "bandwidth": chained.delete_rates, "tuning": tuning.delete},
        "CHECK": {
            "portmap": chained.check_ports,
            "firewall": chained.check_guard,
            "bandwidth": chained.check_rates,
            "tuning": tuning.check,
        },
        "GC": {"tuning": tuning.collect},
    }
    step = others.get(found.command, {}).get(kind)
    if step is not None:
        step(work, found, conf)
    return None


def _ipam(work: Work, found: Call, conf: Loose) -> Result | None:
    """An IPAM for another plug-in: addresses, routes and name servers, and no interface."""
    from weft.frontends.cni import config, interface, ipam
    from weft.frontends.cni.result import Result

    name = config.name_of(conf)
    given = ipam.parse(conf, found, name, whole=False)
    if found.command == "ADD":
        got = ipam.add(work, given, found, conf, name)
        return Result((), got.ips, got.routes, got.dns)
    if found.command == "DEL":
        ipam.remove(given, found, conf)
    elif found.command == "CHECK":
        ipam.check(given, found, conf)
    elif found.command == "GC":
        ipam.sweep(given, found, conf, interface.attachments(conf))
    else:
        ipam.status(given, found, conf)
    return None


def _about(called: str) -> str:
    return f"CNI {called} plugin of weft\nCNI protocol versions supported: {', '.join(answer.VERSIONS)}\n"


def _stdin() -> bytes:
    data = b""
    while len(data) <= _LARGEST and (chunk := posix.read(0, 1 << 16)):
        data += chunk
    return data


def entry() -> None:
    """The program: exits without tearing the interpreter down, which would take 2 ms."""
    while (fd := posix.open("/dev/null", posix.O_RDWR)) < 3:
        posix.set_inheritable(fd, True)
    posix.close(fd)
    called = sys.argv[0].rpartition("/")[2]
    if b"CNI_COMMAND" not in posix.environ:
        posix.write(2, _about(called).encode())
        posix._exit(0)
    try:
        status, text = main(called, _stdin())
    except OSError as error:
        status, text = 1, answer.error_text(Failure(IO_FAILURE, f"stdin: {error.strerror}"), "")
    _write(text.encode())
    posix._exit(status)


def _write(data: bytes) -> None:
    try:
        while data:
            data = data[posix.write(1, data) :]
    except OSError as error:
        say(f"error: stdout: {error.strerror}")
        posix._exit(1)
