"""This host as the engine sees it, as far as commands are started, watched and looked at."""

from __future__ import annotations

import posix

from weft.linux import files
from weft.linux.paths import environment, is_file, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import SocketType as Door
    from collections.abc import Iterator, Sequence
    from typing import Any

    from weft.core.boundary import Process
    from weft.core.model.launch import Launch
    from weft.core.wire.cri import Entry


def launcher() -> str:
    """The ``weft`` program itself, for what it starts as processes of their own."""
    found = environment("WEFT_PROGRAM")
    if found:
        return found
    package = __file__.rpartition("/")[0]
    beside = package.rsplit("/", 2)[0] + "/weft"
    # PREFIX/lib/pythonX.Y/site-packages/weft: the program is PREFIX/bin/weft.
    return beside if is_file(beside) else package.rsplit("/", 4)[0] + "/bin/weft"


class Watched:
    """The part of LinuxMachine (core/boundary.Machine) that knows monitors, logs, terminals, the DNS server,
    and who others are."""

    def __init__(self, root: str, state_dir: str, run_dir: str) -> None:
        self._root = root
        self.state_dir = state_dir
        self.run_dir = run_dir

    def start(self, launch: Launch, fresh: bool = True) -> Process:
        if launch.log:
            from weft.services.monitor import Monitored

            make_directories(launch.log.rpartition("/")[0], 0o700)
            if fresh:
                self.remove_logs(launch.log)  # of an earlier container of that name, if a crash left them
            return Monitored(launch, (launcher(), self._root), self.run_dir)
        from weft.linux import launch as starter
        from weft.linux import process

        return starter.start(launch, process.Foreground)

    def activate_plugin(self, name: str, service: str) -> None:
        from weft.linux.plugins import PLUGINS

        PLUGINS.activate(name, service)

    def call_plugin(self, name: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
        from weft.linux.plugins import PLUGINS

        return PLUGINS.call(name, method, body)

    def docker_name(self, inode: int) -> tuple[str, str]:
        from weft.linux.engines import docker_name

        return docker_name(inode)

    def wait_mounted(self, path: str, seconds: float) -> bool:
        from weft.linux.mounts import wait_mounted

        return wait_mounted(path, seconds)

    def start_again(self, launch: Launch) -> Process:
        from weft.services.monitor import Again

        return Again(launch, (launcher(), self._root), self.run_dir)

    def await_restart(self, name: str, milliseconds: int) -> None:
        from weft.services.monitor import become_waiting

        become_waiting((launcher(), self._root), name, milliseconds)

    def remove_door(self, name: str) -> None:
        from weft.linux import door

        files.remove(door.path(self.run_dir, name))

    def is_me(self, pid: int | None, started: int | None) -> bool:
        from weft.linux import ends

        return pid == posix.getpid() and ends.alive(pid, started)

    def signal(self, pid: int | None, started: int | None, number: int) -> bool:
        from weft.linux import ends

        return ends.send(pid, started, number)

    def wait_ended(
        self, processes: Sequence[tuple[int, int]], seconds: float | None
    ) -> list[tuple[int, int]]:
        from weft.linux import ends

        return ends.wait(processes, seconds)

    def wake(self, pid: int | None, started: int | None) -> None:
        from weft.linux import ends

        ends.wake(pid, started)

    def remove_logs(self, path: str) -> None:
        from weft.linux import logs

        for file in logs.files(path):
            files.remove(file)

    def read_log(self, path: str, since: bytes, tail: int) -> Iterator[Entry]:
        """A log's entries; ``tail`` lines at most, -1: all."""
        from weft.linux import logs

        return logs.read(path, since, tail)

    def follow_log(
        self, path: str, since: bytes, tail: int, watcher: tuple[int, int]
    ) -> Iterator[Entry | None]:
        """The same, and what comes until the process ``watcher`` has ended; None: nothing more for now."""
        from weft.linux import logs

        return logs.follow(path, since, tail, watcher)

    def has_log(self, path: str) -> bool:
        from weft.linux import logs

        return bool(logs.files(path))

    def changes_of_state(self, until: int | None) -> Iterator[None]:
        """Once now, whenever somebody has written to the database, and at a time (nanoseconds since 1970):
        that is the end."""
        from weft.linux import logs

        return logs.changes(self.state_dir, "weft.db", until)

    def door(self, name: str) -> Door:
        """The way to look at a container. Conflict when it has no monitor."""
        from weft.linux import door

        return door.connect(self.run_dir, name)

    def look_on(self, door: Door, terminal: bool, stdin: bool, keys: bytes) -> int | None:
        """Our streams become a container's, until its command ends (its status) or the keys are typed (-1).
        None when its monitor has gone."""
        from weft.linux import terminal as terminals

        return terminals.look_on(door, terminals.Ends(terminal, stdin, keys))

    def on_terminal(
        self, launch: Launch, pid: int | None, started: int | None, stdin: bool, keys: bytes
    ) -> int | None:
        """Our streams become the terminal of a further command in a container; its status, None when the keys
        were typed."""
        from weft.linux import session, terminal

        return session.on_terminal(launch, pid, started, terminal.Ends(True, stdin, keys))

    def detached(self, launch: Launch, pid: int | None, started: int | None) -> None:
        """Starts a further command in the background."""
        from weft.linux import session

        session.detached(launch, pid, started)

    def run_plugin(self, path: str, words: Sequence[str], data: bytes) -> tuple[int, bytes]:
        """Asks another program: its status, and what it printed. KernelError."""
        from weft.linux import plugin

        return plugin.run(path, words, data)

    def dns_alive(self) -> bool:
        from weft.linux import dns

        return dns.holder(self.run_dir) > 0

    def dns_pid(self) -> int:
        from weft.linux import dns

        return dns.holder(self.run_dir)

    def dns_log(self) -> list[str]:
        from weft.linux import dns

        return dns.said(self.run_dir)

    def start_dns(self) -> None:
        from weft.linux import dns

        dns.start(self.run_dir, launcher(), self._root)

    def stop_dns(self) -> None:
        from weft.linux import dns

        dns.stop(self.run_dir)

    def probe_dns(self, address: str, port: int) -> None:
        from weft.linux import dns

        dns.probe(address, port)

    def forward_signals(self, pid: int, started: int) -> None:
        """What is sent to this program goes to that process from now on."""
        from weft.linux import ends

        ends.forward(pid, started)

    def window(self) -> tuple[int, int]:
        """Rows and columns of the caller's terminal; zeroes without one."""
        from weft.linux import terminal

        return terminal.size(0) if posix.isatty(0) else terminal.size(1)
