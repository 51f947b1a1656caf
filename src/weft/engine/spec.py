"""A container's Spec: what was asked of it, completed by what its networks are."""

from __future__ import annotations

from weft.core.model.oci import Mount, Namespace, Process, Spec
from weft.core.ops.netns import ETC_NETNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.network import Sandbox

#: Where ip-netns(8) keeps named ones.
_RUN_NETNS = "/run/netns"
_NAMES = ("bind", "ro", "optional")


def asked(command: tuple[str, ...], env: tuple[tuple[str, str], ...] = (), cwd: str = "/") -> Spec:
    """What a container is when nothing is asked of it but a command."""
    return Spec(
        Process(command, env, cwd),
        namespaces=(Namespace("net"), Namespace("mnt"), Namespace("uts"), Namespace("ipc")),
    )


def complete(spec: Spec, sandbox: Sandbox, hosts: str) -> Spec:
    """With its network namespace, its name, and the files of names that are its own."""
    host = sandbox.mode == "host"
    kept = tuple([n for n in spec.namespaces if n.type != "net"])
    net = () if host else (Namespace("net", f"{_RUN_NETNS}/{sandbox.name}"),)
    resolv = f"{ETC_NETNS}/{sandbox.name}/resolv.conf"
    files = () if host else ((hosts, "/etc/hosts"), (resolv, "/etc/resolv.conf"))
    return spec._replace(
        hostname=spec.hostname or sandbox.hostname,
        cgroups_path=sandbox.cgroup,
        namespaces=(*net, *kept),
        mounts=(*spec.mounts, *[Mount(to, source, "", _NAMES) for source, to in files if source]),
    )
