"""Containers as objects: started, looked at, run in, stopped.

>>> with weft.run(["python3", "-m", "http.server", "80"], network="blue", memory="64m") as web:
...     web.run(["id"], user="nobody", capture_output=True, text=True).stdout
...     [line.data for line in web.logs()]

Commands are started by the ``weft`` program, not by a fork of the one that uses the library: they outlive it.
"""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.engine import inspect, removal
from weft.engine.reaping import reap
from weft.frontends.api import program
from weft.frontends.api.handle import Handle, finish, quiet
from weft.wiring import open_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, Self, TypedDict, Unpack

    from weft.core.wire.cri import Entry
    from weft.engine.work import Work

    Words = str | Iterable[str]

    class Options(TypedDict, total=False):
        """The flags of ``weft run`` by their names; what may be repeated is a text, several, or a mapping."""

        domainname: str
        add_host: Words | Mapping[str, str]
        sysctl: Words | Mapping[str, str]
        env: Words | Mapping[str, str]
        workdir: str
        user: str
        tty: bool
        interactive: bool
        init: bool
        rm: bool
        rootfs: str
        read_only: bool
        volume: Words
        tmpfs: Words
        shm_size: str
        pid: str
        ipc: str
        uts: str
        userns: str
        cgroupns: str
        memory: str | int
        cpus: str | float
        pids_limit: int
        cap_add: Words
        cap_drop: Words
        privileged: bool
        security_opt: Words
        ulimit: Words | Mapping[str, str]
        restart: str
        stop_signal: str
        stop_timeout: int
        health_cmd: str
        health_interval: str
        health_timeout: str
        health_retries: int
        health_start_period: str
        health_start_interval: str
        log_opt: Words | Mapping[str, str]
        bundle: str
        runtime: str

    class Everything(Options, total=False):
        """And those of its first network, and of names."""

        ip: Words
        network_alias: Words
        publish: Words
        hostname: str
        dns: Words
        dns_search: Words


def run(
    command: Sequence[str] = (),
    name: str = "",
    *,
    network: Words = "",
    root: str = "",
    **options: Unpack[Everything],
) -> Container:
    """Starts a command in a container of its own, as ``weft run -d`` does; without one, a container without a
    process.

    ``network`` and all options are as that takes them (``weft run --help``), with ``_`` for ``-``: a memory
    limit is ``memory="64m"``, a volume ``volume=["/srv:/srv:ro"]``, a variable ``env={"A": "1"}``. Raises as
    that fails: BadInput, NotFound, Conflict, CommandNotFound, CommandNotExecutable, Unsupported, KernelError.
    """
    if isinstance(command, str):
        raise BadInput(f"the command {command!a} is one text, not a list of words", "as ['sh', '-c', 'TEXT']")
    given = program.flags({"name": name, "network": network, **options})
    detach = ["--detach"] if command or "bundle" in options else []
    made = program.ask(root, ["run", *detach, *given, "--", *command])
    return Container(name, open_work(root, quiet), root) if name else Container.get(made, root=root)


def _mend(work: Work) -> None:
    """Ends what crashed commands and killed monitors left."""
    with work.machine.lock():
        work.recover()
        reap(work)


class Container(Handle):
    """A container that exists; ``weft.run`` and ``Network.container`` make one."""

    __slots__ = ()

    @classmethod
    def get(cls, name: str, *, root: str = "") -> Self:
        """An existing container, by name or unique id prefix; NotFound."""
        work = open_work(root, quiet)
        return cls(work.store.container(name)[0].name, work, root)

    @classmethod
    def all(cls, *, root: str = "") -> list[Self]:
        """All containers, those that have exited too (``weft ps -a``)."""
        work = open_work(root, quiet)
        _mend(work)
        return [cls(sandbox.name, work, root) for sandbox, _ in work.store.containers()]

    @property
    def info(self) -> dict[str, Any]:
        """What ``weft inspect`` shows of it."""
        _mend(self._work)
        return inspect.containers(self._work, (self.name,))[0]

    @property
    def state(self) -> str:
        """``running``, ``paused``, ``restarting`` or ``exited``, as it is now."""
        return str(self.info["state"])

    @property
    def pid(self) -> int | None:
        """Its first process, on the host; None without one."""
        found: int | None = self.info["pid"]
        return found

    @property
    def exit_code(self) -> int | None:
        """The status of its command, 128+N for signal N; None while it runs."""
        found: int | None = self.info["exit_code"]
        return found

    @property
    def address(self) -> str:
        """Its address, without the prefix length; "" when it has exited."""
        endpoint = self._work.store.endpoint(self.name)
        return str(endpoint.address) if endpoint else ""

    # its life

    def wait(self) -> int:
        """Waits until it has ended for good; its exit code. Conflict for one without a process."""
        from weft.engine import lifecycle

        return next(lifecycle.wait(self._work, [self.name]))

    def stop(self, seconds: int | None = None) -> None:
        """Asks it to end, and kills it after ``seconds`` (None: as it was told; -1: never)."""
        from weft.engine import lifecycle

        lifecycle.stop(self._work, [self.name], seconds)

    def kill(self, signal: str | int = "KILL") -> None:
        """Sends its first process a signal, by name or number. BadInput; Conflict when it has none."""
        from weft.core.model.policy import parse_signal
        from weft.engine import lifecycle

        lifecycle.kill(self._work, [self.name], parse_signal(str(signal)))

    def start(self) -> None:
        """Starts it again when it has exited. Conflict when what it had is another's by now."""
        program.ask(self._root, ["start", self.name])

    def restart(self, seconds: int | None = None) -> None:
        """Stops it, as ``stop`` does, and starts it again."""
        limit = program.flags({"time": seconds})
        program.ask(self._root, ["restart", *limit, self.name])

    def pause(self) -> None:
        """Stops all its processes where they are. Conflict, Unsupported."""
        from weft.engine import pause

        pause.pause(self._work, [self.name])

    def unpause(self) -> None:
        """Lets them go on. Conflict when it is not paused."""
        from weft.engine import pause

        pause.unpause(self._work, [self.name])

    def rename(self, name: str) -> None:
        """Gives it another name, and this object. BadInput; Conflict unless it has exited."""
        from weft.engine import lifecycle

        self.name = lifecycle.rename(self._work, self.name, name)

    def remove(self, force: bool = True) -> None:
        """Removes it; processes inside are killed unless ``force`` is off: then Conflict names them."""
        removal.remove(self._work, (self.name,), force)

    # what it does

    def logs(self, *, follow: bool = False, since: str = "", tail: int = -1) -> Iterator[Entry]:
        """What it has written, in pieces: of ``stream`` stdout or stderr, ``data`` at a ``time`` (RFC 3339).

        ``since`` is a time or how long ago (``10m``), ``tail`` lines at most (-1: all); ``follow`` goes on
        until it ends. BadInput.
        """
        from weft.core.model.clock import parse_time, shown
        from weft.engine.lifecycle import living

        machine: Any = self._work.machine
        begin = shown(parse_time(since, machine.now_ns(), "since")).encode() if since else b""
        one = living(self._work, self.name)
        path = self._work.log_file(one.sandbox.name)
        if not follow:
            yield from machine.read_log(path, begin, tail)
            return
        for entry in machine.follow_log(path, begin, tail, one.watcher):
            if entry is not None:
                yield entry

    def stats(self, seconds: float = 0.2) -> dict[str, Any]:
        """What it uses (``weft stats``): sizes in bytes, CPU in per cent of one, over so many ``seconds``."""
        from time import sleep

        from weft.engine import stats

        before = stats.sample(self._work, (self.name,))
        sleep(seconds)
        return stats.rows(self._work, before, stats.sample(self._work, (self.name,)))[0]

    def top(self) -> list[dict[str, Any]]:
        """Its processes, with their pids outside and inside. Conflict when it has exited."""
        from weft.engine import top

        return top.rows(self._work, self.name)

    # inside

    def spawn(
        self,
        argv: Sequence[str],
        *,
        user: str = "",
        workdir: str = "",
        env: Mapping[str, str] | None = None,
        privileged: bool = False,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Starts a command inside, as ``weft exec`` does; else it takes what ``subprocess.Popen`` takes.

        ``env`` is added to what it has. Where it cannot be started its status is 125, 126 or 127, and stderr
        says why.
        """
        from subprocess import Popen

        inside = {"user": user, "workdir": workdir, "env": env, "privileged": privileged}
        words = ["exec", *program.flags(inside), self.name, "--", *argv]
        return Popen(program.argv(self._root, *words), **options)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Runs a command inside to its end, as ``subprocess.run`` does; ``timeout`` in seconds.

        Raises what that raises (CalledProcessError, TimeoutExpired); takes what ``spawn`` takes.
        """

        def spawn(**more: Any) -> subprocess.Popen[Any]:
            return self.spawn(argv, **more)

        return finish(spawn, input, capture_output, timeout, check, options)

    # its networks

    def publish(self, network: str, *specs: str) -> list[str]:
        """Publishes ports on one of its networks; as ``IP:PORT:PORT/PROTO``, with those chosen by weft."""
        from weft.engine import publish

        return [str(p) for p in publish.publish(self._work, network, self.name, specs)]

    def unpublish(self, network: str, *specs: str) -> None:
        """Takes published ports back. NotFound."""
        from weft.engine import publish

        publish.unpublish(self._work, network, self.name, specs)
