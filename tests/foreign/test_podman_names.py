"""Podman itself, with Debian's netavark, and ``weft-aardvark`` where that looks for aardvark-dns."""

from __future__ import annotations

import shutil

import pytest

from foreign.daemons import needs
from harness import Host, settle
from harness.host import REPO

pytestmark = pytest.mark.campaign

_CONFIG = """
[engine]
helper_binaries_dir=["/run/helpers"]
cgroup_manager="cgroupfs"
runtime="crun"
events_logger="none"
[network]
network_backend="netavark"
network_config_dir="/run/nets"
"""
_NETAVARK = "/usr/lib/podman/netavark"
_APPLETS = ("sh", "sleep", "nslookup")


class Podman:
    def __init__(self, host: Host) -> None:
        self.host = host
        # Hybrid cgroups: crun refuses them.
        host.sh("while umount /sys/fs/cgroup/unified 2>/dev/null; do :; done")
        host.sh(
            "mkdir -p /run/helpers /run/rootfs/bin /run/rootfs/etc /run/rootfs/proc /run/rootfs/sys"
            " /run/rootfs/dev /run/rootfs/run /run/rootfs/tmp\n"
            f"ln -s {_NETAVARK} /run/helpers/netavark\n"
            f"ln -s {REPO}/weft /run/helpers/aardvark-dns\n"
            f"cp {shutil.which('busybox')} /run/rootfs/bin/busybox\n"
            + "".join(f"ln -s busybox /run/rootfs/bin/{name}\n" for name in _APPLETS)
        )
        host.write("/run/containers.conf", _CONFIG)

    def __call__(self, *args: str, check: bool = True) -> str:
        argv = ["podman", "--root", "/run/pr", "--runroot", "/run/prr", "--storage-driver", "vfs", *args]
        return self.host.run(argv, env={"CONTAINERS_CONF": "/run/containers.conf"}, check=check).stdout

    def run(self, name: str, *flags: str) -> None:
        words = ("run", "-d", "--name", name, *flags, "--cgroups=disabled", "--rootfs", "/run/rootfs")
        self(*words, "/bin/sleep", "1000")

    def resolve(self, who: str, name: str) -> str:
        said = self("exec", who, "nslookup", name, check=False)
        return said.partition("Name:")[2].partition("Address: ")[2].split("\n")[0].strip()


@pytest.fixture
def podman(host: Host) -> Podman:
    needs("podman", "crun", "busybox")
    if not shutil.which(_NETAVARK):
        pytest.skip("no netavark")
    return Podman(host)


def test_two_containers_find_each_other(podman: Podman) -> None:
    podman("network", "create", "--subnet", "10.55.0.0/24", "blue")
    podman("network", "create", "--subnet", "10.56.0.0/24", "--internal", "red")
    podman.run("one", "--network", "blue", "--network-alias", "first")
    podman.run("two", "--network", "blue", "--network", "red")
    podman.run("three", "--network", "red")
    assert podman.resolve("one", "two") == "10.55.0.3"
    assert podman.resolve("two", "first") == "10.55.0.2"
    assert podman.resolve("two", "three") == "10.56.0.3"
    assert podman.resolve("three", "one") == ""
    pid = podman.host.read("/run/containers/networks/aardvark-dns/aardvark.pid")
    assert "python" in podman.host.run(["readlink", f"/proc/{pid}/exe"]).stdout
    podman("rm", "-f", "-t0", "one")
    podman.run("one", "--network", "blue:ip=10.55.0.77")
    assert podman.resolve("two", "one") == "10.55.0.77"
    podman.host.run(["kill", "-9", pid])
    podman.run("four", "--network", "blue")  # netavark starts it again
    assert podman.resolve("four", "one") == "10.55.0.77"
    podman("rm", "-f", "-t0", "one", "two", "three", "four")
    folder = podman.host.path("/run/containers/networks/aardvark-dns")
    assert settle(podman.host, lambda: not list(folder.iterdir()))
