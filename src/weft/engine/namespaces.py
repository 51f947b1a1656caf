"""Every namespace there is, as plain lists and dictionaries (a contract of the command line), and who is in
which."""

from __future__ import annotations

from weft.core.model.errors import BadInput, NotFound
from weft.core.model.namespace import TYPES, EngineName
from weft.core.model.target import Target, parse_target
from weft.engine.target import process_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from weft.core.model.namespace import NsFact
    from weft.engine.work import Work


def types(word: str) -> tuple[str, ...]:
    """What ``--type`` means: one type, or all. BadInput."""
    if word == "all":
        return TYPES
    if word not in TYPES:
        raise BadInput(f"--type {word!a} is no type of namespace", f"one of {', '.join(TYPES)}, all")
    return (word,)


def rows(work: Work, wanted: Iterable[str]) -> list[dict[str, Any]]:
    """All namespaces of these types. ``container`` is weft's own where it has one, else an engine's."""
    removed = [(n.name, n.handle) for n in work.store.namespaces() if n.removed and n.handle]
    by_name, by_pid = _own(work)
    found = []
    for fact in work.machine.find_namespaces(tuple(wanted), removed):
        own = [by_name[name] for name in fact.names if name in by_name and fact.type == "net"]
        # A process of weft's that is where weft is too shares the host's.
        own += [by_pid[pid] for pid in fact.pids if pid in by_pid and not fact.here]
        found.append(_row(fact, own[0] if own else fact.container))
    return found


def _own(work: Work) -> tuple[dict[str, EngineName], dict[int, EngineName]]:
    """weft's containers by the name of their network namespace, and by their first process."""
    containers = work.store.containers()
    called = {sandbox.name: EngineName("weft", sandbox.name, sandbox.id) for sandbox, _ in containers}
    pids = {
        state.pid: called[sandbox.name]
        for sandbox, state in containers
        if state.pid is not None and work.machine.alive(state.pid, state.started)
    }
    return called, pids


def _row(fact: NsFact, container: EngineName | None) -> dict[str, Any]:
    return {
        "inode": fact.inode,
        "type": fact.type,
        "state": "stale" if fact.stale else "leaked" if fact.leaked else "ok",
        "here": fact.here,
        "names": list(fact.names),
        "former": list(fact.former),
        "pids": list(fact.pids),
        "nprocs": len(fact.pids),
        "command": fact.command,
        "user": fact.user,
        "owner": fact.owner or None,
        "parent": fact.parent or None,
        "nsid": fact.nsid,
        "links": list(fact.links),
        "held_by": [{"kind": h.kind, "pid": h.pid or None, "where": h.where} for h in fact.held_by],
        "container": container and {"engine": container.engine, "name": container.name, "id": container.id},
    }


def identify(work: Work, pid: int | None, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The namespaces of a process, or of weft itself, and the names that they have. NotFound."""
    inodes = _of_process(work, pid)
    names = _names(work)
    return [{"type": t, "inode": inodes[t], "names": names.get(inodes[t], [])} for t in wanted if t in inodes]


def _of_process(work: Work, pid: int | None) -> dict[str, int]:
    inodes = work.machine.inodes_of(pid)
    if not inodes:
        raise NotFound(f"no process {pid}, or it has ended", "ps -e lists them")
    return inodes


def _names(work: Work) -> dict[int, list[str]]:
    """The names under /run/netns by inode."""
    found: dict[int, list[str]] = {}
    for name in work.machine.netns_names():
        inode = work.machine.netns_inode(name)
        if inode:
            found.setdefault(inode, []).append(name)
    return found


def inode(work: Work, text: str, kind: str) -> int:
    """The namespace of a type that a TARGET means, by inode. NotFound; BadInput for one of another type."""
    target = parse_target(text)
    if target.kind == "path":
        found, number = work.machine.namespace_at(target.value)
        if found != kind:
            what = f"a {found} namespace, not a {kind} namespace" if found else "no namespace"
            raise BadInput(
                f"{target.value!a} is {what}", f"--type {found}" if found else "as /proc/PID/ns/net"
            )
        return number
    named = _named(work, target, kind)
    if named:
        return named
    pid = None if target.kind == "host" else process_of(work, target)
    inodes = _of_process(work, pid)
    if kind not in inodes:
        raise NotFound(f"{target} has no {kind} namespace that can be seen")
    return inodes[kind]


def _named(work: Work, target: Target, kind: str) -> int:
    """The namespace behind a name: of its own type only, but for a container with a process. 0: it is not
    meant by a name."""
    if target.kind not in ("name", "netns", "weft"):
        return 0
    if target.kind != "netns" and work.store.has_container(target.value):
        state = work.store.container(target.value)[1]
        if work.machine.alive(state.pid, state.started):
            return work.machine.inodes_of(state.pid).get(kind, 0)
    elif target.kind == "weft":
        raise NotFound(f"no container {target.value!a}", "`weft ps -a` lists them")
    # Where `weft ns unshare --name` keeps the others of a name.
    kept = (
        work.machine.netns_inode(f"{work.machine.run_dir}/ns/{target.value}/{kind}") if kind != "net" else 0
    )
    if kept:
        return kept
    if kind != "net":
        raise BadInput(
            f"{target} is the name of a network namespace alone",
            f"a pid, a container or a path say which {kind} namespace",
        )
    return work.machine.pin(target.value)


def pids(work: Work, target: str, kind: str) -> list[dict[str, Any]]:
    """The processes in a namespace, each with its pids from outside to inside (NSpid of proc(5))."""
    wanted = inode(work, target, kind)
    inside = work.machine.processes([wanted], kind).get(wanted, [])
    return [{"pid": pid, "nspid": work.machine.nspid(pid)} for pid in inside]


def differing(work: Work, one: str, other: str, wanted: Sequence[str]) -> list[str]:
    """The types in which two targets do not share a namespace."""
    return [kind for kind in wanted if inode(work, one, kind) != inode(work, other, kind)]
