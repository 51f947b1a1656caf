"""``attach``, ``logs``, ``wait``, ``stop``, ``kill``, ``start``, ``restart``, ``rename``, ``events``."""

from __future__ import annotations

import posix
import sys

from weft.core.model.errors import BadInput, Conflict, NotFound, WeftError
from weft.core.model.policy import parse_detach_keys, parse_health, parse_policy, parse_signal
from weft.frontends.cli.main import out, put, safe, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from weft.core.model.policy import Policy
    from weft.core.model.state import Event
    from weft.core.wire.cri import Entry
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args

_LATE = b"\xff"


def policy(args: Args) -> Policy:
    """What the flags of ``run`` say of how a container lives."""
    if args.one("detach-keys"):
        parse_detach_keys(args.one("detach-keys"))
    health = parse_health(
        args.one("health-cmd"),
        args.one("health-interval"),
        args.one("health-timeout"),
        args.one("health-start-period"),
        args.one("health-start-interval"),
        args.one("health-retries"),
    )
    return parse_policy(
        args.one("restart"),
        args.one("stop-signal"),
        args.one("stop-timeout"),
        health,
        args.many("log-opt"),
        args.on("interactive"),
        args.on("rm"),
    )


def check_terminal(args: Args) -> None:
    """BadInput when a terminal is to be passed through and there is none."""
    if args.on("tty") and args.on("interactive") and not args.on("detach") and not posix.isatty(0):
        raise BadInput("the input device is not a terminal", "leave --tty out, or detach with -d")


class Door:
    """The way to look at a container, opened before its command begins."""

    __slots__ = ("_args", "_name", "_work", "opened")

    def __init__(self, work: Work, name: str, args: Args) -> None:
        self._work, self._name, self._args = work, name, args
        self.opened: Any = None

    def open(self) -> None:
        """Conflict when it has no monitor."""
        self.opened = self._machine.door(self._name)

    @property
    def _machine(self) -> Any:
        return self._work.machine

    def look_on(self, stdin: bool) -> int:
        """Until the command ends, whose status it is, or the detach keys are typed."""
        work, name = self._work, self._name
        keys = parse_detach_keys(self._args.one("detach-keys"))
        _, state = work.store.container(name)
        spec = work.store.spec(name)
        terminal = spec is not None and spec.process.terminal
        if state.pid is not None and not (terminal and stdin) and self._args.one("sig-proxy") != "false":
            self._machine.forward_signals(state.pid, state.started)
        work.store.close()
        code = self._machine.look_on(self.opened, terminal, stdin, keys)
        if code is None:
            raise WeftError(
                f"the monitor of container {name} was killed", "`weft ps -a` says what became of it"
            )
        if code < 0:
            work.say(f"detached: container {name} goes on")
        return max(0, int(code))


def attach(args: Args) -> int:
    """``weft attach``: our streams become a container's; its status."""
    from weft.engine.lifecycle import living

    parse_detach_keys(args.one("detach-keys"))
    if args.one("sig-proxy", "true") not in ("true", "false"):
        raise BadInput(f"--sig-proxy {args.one('sig-proxy')!a} is not true or false")
    work = work_for(args)
    one = living(work, args.words[0])
    name = one.sandbox.name
    if one.state.word != "running":
        raise Conflict(f"container {name} is {one.state.word}: there is nothing to attach to")
    if one.state.pid is None:
        raise Conflict(f"container {name} has no process")
    spec = work.store.spec(name)
    stdin = one.life.policy.stdin and not args.on("no-stdin")
    if spec is not None and spec.process.terminal and stdin and not posix.isatty(0):
        raise BadInput("the input device is not a terminal", "leave the input out with --no-stdin")
    door = Door(work, name, args)
    door.open()
    return door.look_on(stdin)


# logs


def _since(text: str, what: str, work: Work) -> bytes:
    from weft.core.model.clock import parse_time, shown

    return shown(parse_time(text, work.machine.now_ns(), what)).encode()


def logs(args: Args) -> int:
    """``weft logs``: as it was written, byte for byte, each stream to its own."""
    from weft.engine.lifecycle import living

    tail = args.one("tail", "all")
    if tail != "all" and not (tail.isascii() and tail.isdigit() and len(tail) < 10):
        raise BadInput(f"--tail {tail!a} is not a number of lines, or all")
    work = work_for(args)
    since = _since(args.one("since"), "--since", work) if args.one("since") else b""
    until = _since(args.one("until"), "--until", work) if args.one("until") else _LATE
    one = living(work, args.words[0])
    path, lines = work.log_file(one.sandbox.name), -1 if tail == "all" else int(tail)
    machine: Any = work.machine
    if not machine.has_log(path):
        raise NotFound(
            f"container {one.sandbox.name} has no log",
            "only a detached command (`weft run -d ... CMD`) has one",
        )
    work.store.close()
    if args.on("follow"):
        entries = machine.follow_log(path, since, lines, one.watcher)
    else:
        entries = machine.read_log(path, since, lines)
    _print_log(entries, until, args.on("timestamps"))
    return 0


def _print_log(entries: Iterable[Entry | None], until: bytes, stamps: bool) -> None:
    begins = {b"stdout": True, b"stderr": True}
    for entry in entries:
        if entry is None:
            sys.stdout.flush()
            continue
        if entry.time > until:
            break
        data = entry.data
        if stamps and begins[entry.stream]:
            data = entry.time + b" " + data
        begins[entry.stream] = entry.full
        if entry.stream == b"stdout":
            put(data)
        else:
            sys.stdout.flush()
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()


# what is done to containers


def _done(work: Work, names: Iterable[str]) -> int:
    for name in names:
        if not work.dry:
            out(name)
    return 0


def wait(args: Args) -> int:
    """``weft wait``: exit codes, a line each."""
    from weft.engine.lifecycle import wait as codes

    for code in codes(work_for(args), args.words):
        out(str(code))
        sys.stdout.flush()
    return 0


def stop(args: Args) -> int:
    """``weft stop``."""
    from weft.engine.lifecycle import parse_seconds
    from weft.engine.lifecycle import stop as end

    seconds = parse_seconds(args.one("time"))
    work = work_for(args)
    return _done(work, end(work, args.words, seconds))


def kill(args: Args) -> int:
    """``weft kill``."""
    from weft.engine.lifecycle import kill as send

    number = parse_signal(args.one("signal", "KILL"))
    work = work_for(args)
    return _done(work, send(work, args.words, number))


def start(args: Args) -> int:
    """``weft start``; with -a its status."""
    from weft.engine import again

    parse_detach_keys(args.one("detach-keys"))
    work = work_for(args)
    if not args.on("attach"):
        return _done(work, again.start_all(work, args.words))
    if len(args.words) > 1:
        raise BadInput("one container can be attached to, not several")
    name = work.store.container(args.words[0])[0].name
    if work.store.container(name)[1].word != "exited":
        return attach(args)
    life, spec = work.store.life(name), work.store.spec(name)
    stdin = life.policy.stdin and args.on("interactive")
    if spec is not None and spec.process.terminal and stdin and not posix.isatty(0):
        raise BadInput("the input device is not a terminal")
    door = Door(work, name, args)
    machine: Any = work.machine
    again.start(work, name, machine.window(), door.open)
    return 0 if work.dry or door.opened is None else door.look_on(stdin)


def restart(args: Args) -> int:
    """``weft restart``."""
    from weft.engine.lifecycle import parse_seconds
    from weft.engine.lifecycle import restart as over

    seconds = parse_seconds(args.one("time"))
    work = work_for(args)
    return _done(work, over(work, args.words, seconds))


def rename(args: Args) -> int:
    """``weft rename``."""
    from weft.engine.lifecycle import rename as name

    work = work_for(args)
    return _done(work, [name(work, args.words[0], args.words[1])])


# what monitors become


def finished(args: Args) -> int:
    """What a monitor becomes: ``weft finished NAME PID CODE`` puts the outcome on record.

    Without CODE it asks whether that process is on record: 0, else 1.
    """
    from weft.engine.removal import finish, recorded

    name, pid, *code = args.words
    work = work_for(args)
    if not code:
        return 0 if recorded(work, name, int(pid)) else 1
    pause = finish(work, name, int(pid), int(code[0]))
    if pause is not None:
        work.machine.await_restart(name, pause)
    return 0


def once_more(args: Args) -> int:
    """What a monitor becomes when its command is to be started again: ``weft again NAME``."""
    from weft.engine.again import once_more
    from weft.engine.removal import finish

    work, name = work_for(args), args.words[0]
    try:
        once_more(work, name)
    except WeftError as error:
        # As if it had started and ended so: the policy says what comes of it.
        pause = finish(work, name, None, error.status if error.status in (126, 127) else 125)
        if pause is not None:
            work.machine.await_restart(name, pause)
    return 0


def health(args: Args) -> int:
    """What a monitor runs when a container's health changes: NAME PID STATUS FAILURES OUTPUT."""
    from weft.engine.lifecycle import note_health

    name, pid, status, failures, *said = args.words
    note_health(work_for(args), name, int(pid), status, int(failures), " ".join(said))
    return 0


# events


_EVENT_KEYS = "action container event id name network type"


def _wanted(args: Args) -> Callable[[Event], bool]:
    wishes: dict[str, list[str]] = {}
    for wish in args.many("filter"):
        key, equals, value = wish.partition("=")
        if not equals or key not in _EVENT_KEYS.split():
            raise BadInput(f"--filter {wish!a} is not KEY=VALUE of a known key", f"keys: {_EVENT_KEYS}")
        wishes.setdefault("action" if key == "event" else key, []).append(value)

    def fits(event: Event) -> bool:
        facts = {"type": event.type, "action": event.action, "name": event.name, "id": event.id}
        facts[event.type] = event.name
        return all(
            facts.get(key, dict(event.attributes).get(key)) in values for key, values in wishes.items()
        )

    return fits


def events(args: Args) -> int:
    """``weft events``: a line, or a JSON object, for each, until it is interrupted or ``--until`` is over."""
    from weft.core.model.clock import parse_time

    fits = _wanted(args)
    work = work_for(args)
    now = work.machine.now_ns()
    since = parse_time(args.one("since"), now, "--since") if args.one("since") else now
    until = parse_time(args.one("until"), now, "--until") if args.one("until") else None
    write = _json if args.one("format") == "json" else _line
    for event in _stream(work, since, until):
        if fits(event):
            write(event)
    return 0


def _stream(work: Work, since: int, until: int | None) -> Iterator[Event]:
    number = 0
    machine: Any = work.machine
    for _ in machine.changes_of_state(None if until is None else until):
        for event in work.store.events(number):
            number = event.number
            if event.time >= since and (until is None or event.time <= until):
                yield event
        sys.stdout.flush()


def _json(event: Event) -> None:
    import json

    from weft.core.model.clock import shown

    row = {
        "time": shown(event.time),
        "type": event.type,
        "action": event.action,
        "name": event.name,
        "id": event.id,
        "attributes": dict(event.attributes),
    }
    out(json.dumps(row))


def _line(event: Event) -> None:
    from weft.core.model.clock import shown

    more = ", ".join([f"{key}={value}" for key, value in event.attributes])
    said = f"{event.type} {event.action} {event.name}" + (f" ({more})" if more else "")
    out(f"{shown(event.time)} {safe(said)}")
