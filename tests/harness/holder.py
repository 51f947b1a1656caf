"""A process that does nothing but be in namespaces of its own, made by unshare(1); and a terminal."""

from __future__ import annotations

import os
import pty
import select
import time
from collections.abc import Mapping, Sequence

from harness.host import Host, Process

_SAY = "read -r pid _ </proc/self/stat; echo $pid; exec sleep 1000"


def holder(host: Host, *flags: str) -> int:
    """Its pid, as the host's /proc shows it."""
    process = host.popen(["unshare", *flags, "--", "sh", "-c", _SAY])
    assert process.stdout
    return int(process.stdout.readline())


class Terminal:
    """A command on a terminal of its own, in a session of its own."""

    def __init__(self, host: Host, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._master, slave = pty.openpty()
        self.said = ""
        argv = ["setsid", "--ctty", *argv]
        self.process: Process = host.popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str, timeout: float = 20) -> None:
        """Until it has said this, since the last time."""
        deadline = time.monotonic() + timeout
        while text not in self.said:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._master], [], [], left)[0], (
                f"{text!r} not in {self.said!r}"
            )
            try:
                data = os.read(self._master, 65536)
            except OSError:  # all have closed it
                data = b""
            assert data, f"{text!r} not in {self.said!r}"
            self.said += data.decode(errors="replace")
        self.said = self.said.partition(text)[2]

    def end(self) -> int:
        """Its status."""
        status = self.process.wait(20)
        os.close(self._master)
        return status
