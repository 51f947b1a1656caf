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
        from weft.core.model.script import start

        return start(self)
