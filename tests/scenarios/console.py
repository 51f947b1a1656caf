"""Somebody at a terminal: a command inside a machine with a pty as its controlling terminal."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from typing import Self

from harness import Host
from scenarios.life import WEFT


class Console:
    """``weft WORDS`` on a terminal; what it shows is read by ``expect``."""

    def __init__(
        self, host: Host, *words: str, rows: int = 30, columns: int = 100, program: tuple[str, ...] = (WEFT,)
    ) -> None:
        self.ours, self.theirs = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.theirs)
        self.seen = b""
        self.host = host
        argv = ["setsid", "-c", "-w", *program, *words]
        self.process = host.popen(argv, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end()
        os.close(self.ours)
        os.close(self.theirs)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str | bytes) -> None:
        os.write(self.ours, text.encode() if isinstance(text, str) else text)

    def expect(self, text: str | bytes, timeout: float = 10) -> str:
        """Reads until it shows this; all up to there."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + timeout
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.ours], [], [], left)[0]:
                raise AssertionError(f"{wanted!r} is not in {self.seen!r}")
            self.seen += os.read(self.ours, 1 << 16)
        place = self.seen.index(wanted) + len(wanted)
        found, self.seen = self.seen[:place], self.seen[place:]
        return found.decode(errors="replace")

    def ends(self, timeout: float = 10) -> int:
        """Its exit status; the terminal is as it was before."""
        deadline = time.monotonic() + timeout
        ended = os.pidfd_open(self.process.pid)
        ready: list[int] = []
        while ended not in ready:
            ready = select.select([ended, self.ours], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, self.seen
            if self.ours in ready:
                self.seen += os.read(self.ours, 1 << 16)
        os.close(ended)
        while select.select([self.ours], [], [], 0)[0]:
            self.seen += os.read(self.ours, 1 << 16)
        assert termios.tcgetattr(self.theirs) == self.before, "the terminal is not as it was"
        return self.process.wait()

    @property
    def raw(self) -> bool:
        return not termios.tcgetattr(self.theirs)[3] & termios.ICANON
