"""Namespaces as objects: made and named, or anybody's; entered, and run in."""

from __future__ import annotations

import os

from weft.core.model.enter import Command, parse_types
from weft.core.model.errors import BadInput, NotFound
from weft.core.model.target import parse_target
from weft.engine import namespace as namespaces
from weft.engine import way as ways
from weft.frontends.api.handle import Handle, finish, quiet
from weft.wiring import open_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, NoReturn, ParamSpec, Self, TypeVar

    from weft.core.model.enter import Way
    from weft.engine.work import Work

    P = ParamSpec("P")
    T = TypeVar("T")

#: What one thread of many cannot join (setns(2)): EINVAL, EUSERS.
_ALONE = frozenset(("user", "time"))
#: And what it would have to stay in, or cannot be in itself.
_APART = _ALONE | {"mnt", "pid"}


class Namespace(Handle):
    """A network namespace and what goes with it. ``Namespace(name)`` makes one; ``Namespace.get`` takes any.

    Safe to use from many threads at once: only ``remove``, ``forget`` and ``adopt`` are for the thread that
    made the object.
    """

    __slots__ = ("_bare", "_way")
    _way: Way
    #: The same without a view of its own.
    _bare: Way

    def __init__(self, name: str, *, root: str = "") -> None:
        """Makes a network namespace under /run/netns. BadInput, Conflict."""
        work = open_work(root, quiet)
        namespaces.add(work, (name,))
        super().__init__(name, work)
        self._set_way(ways.named(work, name), root)

    @classmethod
    def get(cls, target: str | int, types: str = "", *, root: str = "") -> Self:
        """An existing one by TARGET, as on the command line: a name, a pid, a path, ``docker:web``, ``host``.

        ``types`` are those that are meant (``net,mnt``, ``all``), else as ``weft ns exec`` chooses. A process
        is this very one: when another has its pid later, that is NotFound, as for what is not there.
        """
        work = open_work(root, quiet, looks=True)
        with work.machine.lock():
            work.recover()
            way = ways.way_in(work, parse_target(str(target)), parse_types(types))
        if way.pid and not way.started:
            way = way._replace(started=work.machine.started(way.pid))
        return cls._of(str(target), work, way, root)

    @classmethod
    def adopt(cls, name: str, target: str | int, *, root: str = "") -> Self:
        """Names a network namespace that exists (``weft ns adopt``). BadInput, Conflict, NotFound."""
        work = open_work(root, quiet)
        namespaces.adopt(work, name, str(target))
        return cls._of(name, work, ways.named(work, name), root)

    @classmethod
    def _of(cls, name: str, work: Work, way: Way, root: str) -> Self:
        found = cls.__new__(cls)
        Handle.__init__(found, name, work)
        found._set_way(way, root)
        return found

    def _set_way(self, way: Way, root: str) -> None:
        self._root = root
        self._way, self._bare = way, way._replace(view="") if way.view else way

    # what there is

    @property
    def inode(self) -> int:
        """The number by which the kernel shows the network namespace (``net:[N]``); 0 when it is gone."""
        if self._way.pid:
            return self._work.machine.inodes_of(self._way.pid).get("net", 0)
        path = dict(self._way.files).get("net", "/proc/thread-self/ns/net" if not self._way.files else "")
        return self._work.machine.netns_inode(path) if path else 0

    @property
    def pids(self) -> list[int]:
        """The processes in the network namespace."""
        inode = self.inode
        return self._work.machine.processes([inode]).get(inode, [])

    def remove(self) -> None:
        """Takes the name off, as ``weft ns rm``; what runs inside lives on. NotFound.

        BadInput for one that was not taken by its name: there is nothing to remove.
        """
        if not self._named:
            raise BadInput(f"{self.name} is no name of a namespace", "only a name can be taken off")
        namespaces.remove(self._work, (self.name.removeprefix("netns:"),))

    def forget(self) -> None:
        """Takes the name off a namespace that lives on without it; Conflict when nothing else holds it."""
        namespaces.forget(self._work, self.name.removeprefix("netns:"))

    @property
    def _named(self) -> bool:
        return (
            not self._way.pid
            and any(not p.startswith("/proc/") for _, p in self._way.files)
            and (not self.name.startswith("/"))
        )

    def __exit__(self, *error: Any) -> None:
        if self._named:
            super().__exit__(*error)

    # inside

    def entered(self) -> AbstractContextManager[None]:
        """``with ns.entered():`` the calling thread is inside, and outside again however that ends.

        Its network, UTS, IPC and cgroup namespaces: what one thread can leave again. Other threads, and
        those that it starts while inside, are where they were started. Can be nested.
        """
        return self._work.machine.entered(self._way)

    def spawn(self, argv: Sequence[str], *, view: bool = False, **options: Any) -> subprocess.Popen[Any]:
        """Starts a command inside; takes what ``subprocess.Popen`` takes.

        By name: in the network namespace alone, which is as fast as outside; with ``view`` it also sees its
        /sys and /etc/netns/NAME over /etc, as from ``weft ns exec``. FileNotFoundError, PermissionError.
        """
        from subprocess import Popen

        if options.get("preexec_fn") is not None:
            raise BadInput("preexec_fn is not taken: it would fork the whole program", "use call() instead")
        if _ALONE & self._kinds():
            return Popen(self._program(argv, options.pop("shell", False)), **options)
        return self._work.machine.beside(self._way if view else self._bare, lambda: Popen(argv, **options))

    def _kinds(self) -> set[str]:
        """The types of namespaces, other than ours, that one gets into."""
        if not self._way.pid:
            return {t for t, _ in self._way.files}
        here = self._work.machine.inodes_of(os.getpid())
        there = self._work.machine.inodes_of(self._way.pid)
        wanted = self._way.types or tuple(there)
        return {t for t in wanted if there.get(t) != here.get(t)}

    def _program(self, argv: Sequence[str], shell: bool) -> list[str]:
        """weft itself, which is but one thread."""
        from weft.watched import launcher

        if self._way.pid and self._work.machine.started(self._way.pid) != self._way.started:
            raise NotFound(f"process {self._way.pid} has ended, and another has its pid now")
        words = ["/bin/sh", "-c", argv] if shell else [argv] if isinstance(argv, str) else argv
        types = self._way.types or tuple([t for t, _ in self._way.files])
        chosen = ["--ns", ",".join(types)] if types else []
        root = ["--root", self._root] if self._root else []
        target = str(self._way.pid or self.name)
        return [launcher(), *root, "ns", "exec", *chosen, target, "--", *[str(w) for w in words]]

    def run(
        self,
        argv: Sequence[str],
        *,
        view: bool = False,
        input: str | bytes | None = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Runs a command inside to its end, as ``subprocess.run`` does; ``timeout`` in seconds.

        Raises what that raises (CalledProcessError, TimeoutExpired), and what ``spawn`` does.
        """

        def spawn(**more: Any) -> subprocess.Popen[Any]:
            return self.spawn(argv, view=view, **more)

        return finish(spawn, input, capture_output, timeout, check, options)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function inside; its result, or the exception that it raises.

        In a thread of its own. Where a mount, pid, user or time namespace is another, in a forked child: then
        what is given back is pickled, and what the function changes is not seen here.
        """

        def action() -> T:
            return function(*args, **kwargs)

        if _APART & self._kinds():
            return self._work.machine.apart(self._way, action)
        return self._work.machine.beside(self._bare, action)

    def exec(self, argv: Sequence[str]) -> NoReturn:
        """This program becomes a command inside, as by ``weft ns exec``.

        CommandNotFound, CommandNotExecutable.
        """
        os._exit(self._work.machine.enter(self._way, Command(tuple(argv)), quiet))
