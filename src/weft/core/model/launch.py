"""A command to start in a container's namespaces."""

from __future__ import annotations

from weft.core.record import Record

#: A /sys of this network namespace, with the cgroups that the old one carried: commands for a shell.
OWN_SYS = (
    "mount -t sysfs -o nosuid,nodev,noexec sysfs /mnt",
    "mount --rbind /sys/fs/cgroup /mnt/fs/cgroup || true",
    "umount -l /sys",
    "mount --move /mnt /sys",
)


class Launch(Record):
    """What to run and what it sees: a named network namespace, name files, a host name; "" is the host's.

    ``name`` is the container's. ``log`` is the file that takes stdout and stderr of a detached command
    ("": the caller's own).
    """

    netns: str
    hostname: str
    hosts: str
    resolv: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str
    log: str = ""
    name: str = ""

    def shell(self) -> str:
        """The command line it equals."""
        from shlex import join, quote

        files = [(self.hosts, "/etc/hosts"), (self.resolv, "/etc/resolv.conf")]
        steps = [
            "set -e",
            *(OWN_SYS if self.netns else ()),
            *[f"[ ! -e {to} ] || mount --bind -o ro {quote(path)} {to}" for path, to in files if path],
            *([f"hostname {quote(self.hostname)}"] if self.hostname else []),
            f"cd {quote(self.cwd)}",
            f"exec env -i -- {join([f'{k}={v}' for k, v in self.env])} {join(self.argv)}",
        ]
        inner = quote("; ".join(steps))
        head = f"mkdir -p -m 0700 {quote(self.log.rpartition('/')[0])}\n" if self.log else ""
        tail = f" >>{quote(self.log)} 2>&1 </dev/null &" if self.log else ""
        inside = f"nsenter --net=/run/netns/{self.netns} " if self.netns else ""
        enter = f"{inside}unshare --mount --propagation slave --uts --ipc"
        return f"{head}{enter} sh -c {inner}{tail}"
