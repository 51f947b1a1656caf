"""A command to start in a container's namespaces."""

from __future__ import annotations

from weft.core.record import Record


class Launch(Record):
    """What to run and what it sees: a named network namespace, name files, a host name.

    ``log`` is the file that takes stdout and stderr of a detached command ("": the caller's own).
    """

    netns: str
    hostname: str
    hosts: str
    resolv: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str
    log: str = ""

    def shell(self) -> str:
        """The command line it equals."""
        from shlex import join, quote

        steps = [
            "umount -l /sys; mount -t sysfs sysfs /sys",
            f"mount --bind -o ro {quote(self.hosts)} /etc/hosts",
            f"mount --bind -o ro {quote(self.resolv)} /etc/resolv.conf",
            f"hostname {quote(self.hostname)}",
            f"cd {quote(self.cwd)}",
            f"exec env -i {join([f'{k}={v}' for k, v in self.env])} {join(self.argv)}",
        ]
        inner = quote("; ".join(steps))
        tail = f" >{quote(self.log)} 2>&1 </dev/null &" if self.log else ""
        return f"nsenter --net=/run/netns/{self.netns} unshare --mount --uts --ipc sh -c {inner}{tail}"
