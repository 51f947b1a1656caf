"""From argv and standard input to JSON on standard output: the program that Podman takes for netavark.

An error is one object with the one key ``error`` on standard output, and status 1: Podman refuses other keys.
Remarks go to standard error, which Podman passes on.
"""

from __future__ import annotations

import posix
import sys

from weft.core.model.errors import BadInput, WeftError
from weft.core.model.jsontext import dump
from weft.frontends.netavark import args, read
from weft.frontends.netavark.read import MOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.oci.fields import Field
    from weft.engine.work import Work
    from weft.frontends.netavark.args import Line

#: The netavark whose command line, input and output this is: Podman compares it with what it needs.
PROTOCOL = "2.1.0"
_SIGINT, _SIGTERM = 2, 15


def entry() -> None:
    """The program; ends without tearing the interpreter down."""
    status, text = run(sys.argv[1:])
    data = text.encode()
    try:
        while data:
            data = data[posix.write(1, data) :]
    except OSError:
        status = status or 1
    posix._exit(status)


def run(argv: Sequence[str]) -> tuple[int, str]:
    """One command: its exit status, and what it prints."""
    try:
        return 0, _dispatch(args.read(argv, posix.environ))
    except WeftError as error:
        said = f"{error.message} ({error.hint})" if error.hint else error.message
    except KeyboardInterrupt:
        said = "interrupted"
    except Exception as error:
        if b"WEFT_DEBUG" in posix.environ:
            raise
        said = f"internal error: {type(error).__name__}: {error}"
    return 1, dump({"error": said[:4096]}) + "\n"


def _dispatch(line: Line) -> str:
    if line.asked or line.command == "version":
        return _told(line)
    if line.command in ("setup", "teardown", "update"):
        if not line.config:
            raise BadInput(f"--config not specified but required for netavark {line.command}")
        return _networks(line)
    if line.command == "create":
        from weft.frontends.netavark import create

        return dump(create.create(_input(line), line.plugins, open_work)) + "\n"
    if line.command == "dhcp-proxy":
        raise BadInput("weft has no DHCP proxy", "Podman's own netavark-dhcp-proxy needs netavark")
    return _reload(line)


def _told(line: Line) -> str:
    from weft.frontends.netavark import words

    if line.asked == "help":
        return words.HELP
    if line.asked == "version":
        return f"netavark {PROTOCOL}\n"
    return dump(words.version(PROTOCOL)) + "\n"


def _networks(line: Line) -> str:
    from weft.frontends.netavark import act, translate

    translate.check_firewall(line.firewall)
    if line.command == "update":
        act.update(open_work(), line, line.words[0], line.dns_servers or "")
        return ""
    if line.command == "teardown":
        from _signal import SIG_IGN, signal  # type: ignore[import-not-found]  # signal takes 2 ms

        signal(_SIGTERM, SIG_IGN)
        signal(_SIGINT, SIG_IGN)
    try:
        wish = read.read(_input(line))
    except BadInput as error:
        raise BadInput(f"failed to load network options: {error.message}", error.hint) from None
    work = open_work()
    if line.firewall == "iptables":
        say("the firewall driver iptables is not weft's: its own nftables tables are used")
    if line.command == "teardown":
        act.teardown(work, line, wish)
        return ""
    return dump(act.setup(work, line, wish)) + "\n"


def _input(line: Line) -> Field:
    """Standard input, or a file. BadInput."""
    try:
        fd = posix.open(line.file, posix.O_RDONLY | posix.O_CLOEXEC) if line.file else 0
        parts, size = [], 0
        while size <= MOST and (part := posix.read(fd, 1 << 16)):
            parts.append(part)
            size += len(part)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", 22) or 22
        raise BadInput(f"IO error: {posix.strerror(number)} (os error {number})") from None
    return read.document(b"".join(parts))


def _reload(line: Line) -> str:
    """``firewall-reload`` mends once; ``firewalld-reload`` stays and mends whenever something is amiss."""
    from weft.engine import repair, watch

    work = open_work()
    if line.command == "firewall-reload":
        done = repair.repair(work)
        if done.failed:
            raise WeftError("; ".join(done.failed))
        return ""
    from time import monotonic

    def tell(done: repair.Report) -> None:
        for text in (*done.mended[:1], *done.failed):
            say(text)

    with work.machine.heard() as heard:
        watch.watch(work, heard, monotonic, tell)
    return ""


def open_work() -> Work:
    """The engine, whose warnings Podman's user sees; the rest where RUST_LOG asks for more."""
    from weft.wiring import open_work

    return open_work("", say, brief=True)


def say(text: str) -> None:
    """A remark: warnings always, others where netavark would tell as much."""
    level = posix.environ.get(b"RUST_LOG", b"").rpartition(b"=")[2].lower()
    if text.startswith("warning") or level in (b"info", b"debug", b"trace"):
        plain = "".join([c if c.isprintable() else "?" for c in text])
        try:
            posix.write(2, f"weft: {plain}\n".encode("utf-8", "replace"))
        except OSError:
            pass
