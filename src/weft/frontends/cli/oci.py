"""``weft oci-hook``, ``weft spec``, ``weft run --bundle`` and ``--runtime``: other runtimes' containers in
weft's networks, weft's in their words, and weft's by their hands."""

from __future__ import annotations

import os

from weft.core.model.errors import BadInput, Conflict
from weft.frontends.cli.main import out, put, say, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.oci import Spec
    from weft.core.oci.state import ContainerState
    from weft.engine.request import Join, RunRequest
    from weft.frontends.cli.args import Args

_LARGEST = 1 << 20
_HINT = "it is for the hooks createRuntime and poststop of an OCI runtime (docs/oci.md)"


def hook(args: Args) -> int:
    """``weft oci-hook``: the container's state comes on stdin; 0, or why it cannot be connected."""
    from weft.engine import hook as engine
    from weft.frontends.cli.run import _join

    state = _state()
    if not engine.check_stage(state):
        engine.detach(work_for(args), state)
        return 0
    wish = engine.wanted(state, _join)
    if wish.joins:
        runtime, waits = _runtime()
        engine.attach(work_for(args), runtime, state, wish, waits)
    return 0


def _state() -> ContainerState:
    from weft.core.oci.state import read_annotations, read_state

    if os.isatty(0):
        raise BadInput("`weft oci-hook` reads a container's state from stdin", _HINT)
    data = _all_of(0)
    if not data.strip():
        raise BadInput("there is no container's state on stdin", _HINT)
    state = read_state(data)
    if state.annotations is not None or state.status == "stopped":
        return state
    return state._replace(annotations=read_annotations(_config(state.bundle)))


def _config(folder: str) -> bytes:
    """A bundle's config.json. BadInput."""
    try:
        fd = os.open(f"{folder}/config.json", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BadInput(f"{folder}/config.json: {error.strerror}") from None
    try:
        return _all_of(fd)
    except OSError as error:
        raise BadInput(f"{folder}/config.json: {error.strerror}") from None
    finally:
        os.close(fd)


def _all_of(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 1 << 16):
        data += chunk
        if len(data) > _LARGEST:
            raise BadInput(f"that is larger than {_LARGEST} bytes")
    return data


def _runtime() -> tuple[str, bool]:
    """Who runs the hook: its parent's own name; and whether that waits for all of its children, as ``crun
    run`` does in the foreground."""
    from weft.engine.hook import RUNTIMES

    try:
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
            program, *words = file.read(1 << 16).decode("utf-8", "replace").split("\0")
    except OSError:
        program, words = "", []
    name = program.rpartition("/")[2]
    waits = name == "crun" and "run" in words and not {"-d", "--detach"}.intersection(words)
    return name if name in RUNTIMES else RUNTIMES[-1], waits


# weft run


#: What a bundle says itself.
_SAID = (
    "add-host|cap-add|cap-drop|cgroupns|cpus|domainname|env|ipc|memory|pid|pids-limit|privileged|read-only|rootfs"
    "|security-opt|shm-size|sysctl|tmpfs|ulimit|user|userns|uts|volume|workdir"
).split("|")
#: What is of weft's networks.
_OF_NETWORKS = ("network", "ip", "network-alias", "publish")


def chosen(args: Args, wish: RunRequest) -> RunRequest:
    """A request with its bundle (--bundle) and by its runtime (--runtime). BadInput, Unsupported."""
    from weft.engine import bundle
    from weft.machine import Places

    if args.one("bundle"):
        wish = _bundled(args, wish)
    runtime = args.one("runtime")
    if wish.spec is None or not runtime:
        return wish
    if not wish.spec.root:
        raise BadInput(
            "--runtime: another runtime cannot run on the host's files", "give --rootfs DIR, or --bundle DIR"
        )
    return wish._replace(spec=bundle.with_runtime(wish.spec, runtime, Places(args.one("root")).run))


def _bundled(args: Args, wish: RunRequest) -> RunRequest:
    from weft.core.model.publish import parse_publish
    from weft.engine import bundle
    from weft.machine import filtered

    flag = next((name for name in _SAID if args.many(name)), "")
    if flag:
        raise BadInput(f"--{flag} conflicts with --bundle", "config.json says that")
    folder = os.path.realpath(args.one("bundle"))
    spec, joined, notes = bundle.load(_config(folder), folder, say)
    if not args.one("runtime"):
        bundle.check_own(spec)
        spec = spec._replace(cgroups_path="", init=args.on("init"))
        spec = filtered(spec) if spec.filter == "given" else spec
    where = bundle.network_mode(spec)
    asked = next((name for name in _OF_NETWORKS if args.many(name)), "")
    if where and asked:
        whose = "the network of the host" if where == "host" else where
        raise BadInput(
            f"--{asked} conflicts with config.json: it is in {whose}",
            "linux.namespaces must list a network without a path",
        )
    if joined and not where and not asked:
        wish = wish._replace(
            joins=tuple([_parse_join(text) for text in joined]),
            publish=tuple(
                [p for text in notes.get("publish", "").split(";") if text for p in parse_publish(text)]
            ),
        )
    return _with_spec(args, wish, spec, "host" if where else wish.mode)


def _parse_join(text: str) -> Join:
    from weft.frontends.cli.run import _join

    return _join(text)


def _with_spec(args: Args, wish: RunRequest, spec: Spec, mode: str) -> RunRequest:
    if spec.process.terminal:  # runtimes pass their own terminal through
        args.add("tty", "true")
        if os.isatty(0):
            args.add("interactive", "true")
    command = tuple(args.tail) or spec.process.args
    hostname = args.one("hostname") or ("" if mode else spec.hostname)
    return wish._replace(
        spec=spec._replace(process=spec.process._replace(args=command), hostname=hostname or spec.hostname),
        command=command,
        hostname=hostname,
        mode=mode,
        joins=() if mode else wish.joins,
    )


# weft spec


def spec(args: Args) -> int:
    """``weft spec``: a config.json of run's flags, to stdout or into a bundle."""
    from weft.core.oci.write import write
    from weft.engine.bundle import described
    from weft.engine.request import check
    from weft.frontends.cli.run import request
    from weft.machine import whole
    from weft.watched import launcher

    args.tail = args.tail or ["sh"]
    wish = request(args)
    check(wish)
    if wish.spec is None:
        raise BadInput("there is nothing to describe")
    if not wish.spec.root:
        say("remark: without --rootfs it is on the host's files, which only weft runs")
    found, rules = whole(wish.spec)
    data = write(described(wish, found, launcher(), rules))
    if not args.one("bundle"):
        put(data)
        return 0
    path = f"{args.one('bundle')}/config.json"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Conflict(f"{path} exists already", "remove it first") from None
    except OSError as error:
        hint = f"make it first: mkdir -p {args.one('bundle')}" if error.errno == 2 else ""
        raise BadInput(f"{path}: {error.strerror}", hint) from None
    with open(fd, "wb") as file:
        file.write(data)
    out(path)
    return 0
