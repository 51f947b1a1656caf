"""``weft ns exec``, ``enter``, ``unshare``: commands inside namespaces, that exist or are made for them."""

from __future__ import annotations

import os

from weft.core.model.enter import Command, parse_types
from weft.core.model.errors import BadInput, NotPermitted
from weft.core.model.namespace import TYPES
from weft.core.model.target import parse_target
from weft.engine import way as engine
from weft.frontends.cli.main import printer, say, show, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.unshare import Fresh
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

_USAGE = "usage: weft ns exec [--ns TYPE,...] TARGET|--all [--] CMD..."


def _command(args: Args, argv: list[str], extra: tuple[tuple[str, str], ...] = ()) -> Command:
    env = list(extra)
    for pair in args.many("env"):
        key, equals, value = pair.partition("=")
        if not key or "\0" in pair:
            raise BadInput(f"--env {pair!a} is not KEY=VALUE")
        if equals:
            env.append((key, value))
    given = args.one("workdir")
    try:
        cwd = os.path.abspath(given) if given else ""
    except FileNotFoundError:
        raise BadInput("the current directory does not exist any more", "give --workdir from /") from None
    return Command(tuple(argv), tuple(env), cwd)


def execute(args: Args) -> int:
    """``weft ns exec``: joins and becomes the command."""
    if not args.tail:
        raise BadInput("`weft ns exec` needs a command", _USAGE)
    types, command = parse_types(args.one("ns")), _command(args, args.tail)
    if args.on("all"):
        return _everywhere(args, types, command)
    return _enter(args, types, command)


def _enter(args: Args, types: tuple[str, ...], command: Command) -> int:
    target = parse_target(args.words[0])
    work = work_for(args, looks=True)
    with work.machine.lock():
        work.recover()
        way = engine.way_in(work, target, types)
    show(work, lambda: way.shell(command))
    return 0 if work.dry else work.machine.enter(way, command, work.say)


def _everywhere(args: Args, types: tuple[str, ...], command: Command) -> int:
    work = work_for(args, looks=True)
    with work.machine.lock():
        work.recover()
        ways = engine.everywhere(work, types)
    for way in ways:
        show(work, lambda way=way: f"({way.shell(command)})")  # type: ignore[misc]
    return 0 if work.dry else work.machine.enter_all(ways, command, work.say)


# shells


def enter(args: Args) -> int:
    """``weft ns enter``: a shell, whose prompt says where."""
    types = parse_types(args.one("ns"))
    return _enter(args, types, _shell(args, args.words[0], args.on("dry-run")))


def _shell(args: Args, where: str, dry: bool = False) -> Command:
    """$SHELL, else /bin/sh. Only letters that no shell expands get into its prompt."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    harmless = "".join([c if c.isascii() and (c.isalnum() or c in "/:._-") else "?" for c in where])
    prompt = f"({harmless}) "
    if shell.rpartition("/")[2] != "bash" or dry:
        return _command(args, [shell], (("PS1", f"{prompt}# " if os.geteuid() == 0 else f"{prompt}$ "),))
    return _command(args, [shell, "--rcfile", f"/proc/self/fd/{_start_file(prompt)}"])


def _start_file(prompt: str) -> int:
    """bash's own start files would set the prompt anew: a file in memory that comes after them."""
    fd = os.memfd_create("weft-prompt", 0)
    files = "for weft_rc in /etc/bash.bashrc ~/.bashrc; do [ -r $weft_rc ] && . $weft_rc; done; unset weft_rc"
    os.write(fd, f"{files}\nPS1='{prompt}'\"$PS1\"\nexec {fd}<&-\n".encode())
    return fd


# new ones


def unshare(args: Args) -> int:
    """``weft ns unshare``."""
    fresh = _fresh(args)
    name = args.one("name")
    where = name or "new " + ",".join(fresh.types)
    dry = args.on("dry-run")
    command = _command(args, args.tail) if args.tail else _shell(args, where.replace(" ", ":"), dry)
    if args.many("name"):
        return _named(args, name, fresh, command)
    if os.geteuid() != 0:
        return _as_anybody(args, fresh, command)
    work = work_for(args, looks=True)
    with work.machine.lock():
        work.recover()
    show(work, lambda: fresh.shell(command))
    return 0 if work.dry else work.machine.unshare(fresh, command, work.say)


def _fresh(args: Args) -> Fresh:
    from weft.core.model.unshare import Fresh, parse_clocks

    types = tuple([t for t in TYPES if args.on(t)])
    if not types:
        raise BadInput(
            "`weft ns unshare` needs a type of namespace",
            f"one or more of {', '.join([f'--{t}' for t in TYPES])}",
        )
    clocks = parse_clocks(args.many("clock"))
    if clocks and "time" not in types:
        raise BadInput("--clock needs --time", "clocks are shifted in a time namespace of their own")
    return Fresh(types, clocks)


def _named(args: Args, name: str, fresh: Fresh, command: Command) -> int:
    from weft.engine import unshare as engine_of_new

    work: Work = work_for(args)
    engine_of_new.check(work, name)
    fresh = engine_of_new.kept(work, name, fresh)
    show(work, lambda: fresh.shell(command))
    return 0 if work.dry else engine_of_new.run(work, name, fresh, command)


def _as_anybody(args: Args, fresh: Fresh, command: Command) -> int:
    """A user namespace of one's own needs no root, where the kernel lets anybody make one."""
    if "user" not in fresh.types:
        raise NotPermitted("weft needs root to make namespaces", "run it with sudo, or add --user")
    from weft.machine import unshare

    shown = printer(args)
    if shown is not None:
        shown.write(fresh.shell(command) + "\n")
    return 0 if args.on("dry-run") else unshare(fresh, command, say)
