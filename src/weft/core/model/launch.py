"""A container's command, ready to be started."""

from __future__ import annotations

from weft.core.model.oci import Spec
from weft.core.model.policy import Policy
from weft.core.record import Record

#: A /sys of this network namespace, with the cgroups that the old one carried: commands for a shell.
OWN_SYS = (
    "mount -t sysfs -o nosuid,nodev,noexec sysfs /mnt",
    "mount --rbind /sys/fs/cgroup /mnt/fs/cgroup || true",
    "umount -l /sys",
    "mount --move /mnt /sys",
)


class Launch(Record):
    """What to start, complete: no other container is named in it any more.

    ``name`` is the container's. ``log`` is the file that takes stdout and stderr of a detached command
    ("": the caller's own). ``size`` is that of its terminal, in rows and columns.
    """

    spec: Spec
    name: str = ""
    log: str = ""
    policy: Policy = Policy()
    size: tuple[int, int] = (0, 0)

    @property
    def argv(self) -> tuple[str, ...]:
        """The command."""
        return self.spec.process.args

    @property
    def env(self) -> tuple[tuple[str, str], ...]:
        """Its environment, all of it."""
        return self.spec.process.env

    @property
    def cwd(self) -> str:
        """Its working directory, inside."""
        return self.spec.process.cwd

    @property
    def netns(self) -> str:
        """The name of the network namespace it joins; "": the host's."""
        net = self.spec.namespace("net")
        return net.path.rpartition("/")[2] if net else ""

    def shell(self) -> str:
        """The command line it equals."""
        from shlex import join, quote

        spec = self.spec
        steps = [
            "set -e",
            *(OWN_SYS if self.netns else ()),
            *[f"[ ! -e {m.destination} ] || {_bind(m.source, m.destination)}" for m in spec.mounts],
            *([f"hostname {quote(spec.hostname)}"] if spec.hostname else []),
            f"cd {quote(self.cwd)}",
            f"exec env -i -- {join([f'{k}={v}' for k, v in self.env])} {join(self.argv)}",
        ]
        inner = quote("; ".join(steps))
        head = f"mkdir -p -m 0700 {quote(self.log.rpartition('/')[0])}\n" if self.log else ""
        tail = f" >>{quote(self.log)} 2>&1 </dev/null &" if self.log else ""
        inside = f"nsenter --net=/run/netns/{self.netns} " if self.netns else ""
        enter = f"{inside}unshare --mount --propagation slave --uts --ipc"
        return f"{head}{enter} sh -c {inner}{tail}"


def _bind(source: str, destination: str) -> str:
    from shlex import quote

    return f"mount --bind -o ro {quote(source)} {quote(destination)}"
