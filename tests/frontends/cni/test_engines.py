"""containerd and Podman themselves, with weft as their plug-ins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any

import pytest

from frontends.cni.runtime import OWN, install
from harness import Host, settle

pytestmark = pytest.mark.campaign
SOCKET = "/run/ctd.sock"
CTR = ("ctr", "-a", SOCKET)
CONF = "/etc/cni/net.d"
BOX = "/run/box"
TOML = f"""version = 2
root = "/run/ctd/root"
state = "/run/ctd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{SOCKET}"
"""
PODMAN = (
    "podman --root /run/pr --runroot /run/prr --storage-driver vfs --cgroup-manager cgroupfs --runtime crun"
).split()
CONTAINERS = f"""[network]
network_backend = "cni"
cni_plugin_dirs = ["{OWN}"]
network_config_dir = "/run/netd"
[engine]
events_logger = "none"
enable_port_reservation = false
"""


FURNISH = f"""
rm -rf /etc/cni /etc/containers
mount -t tmpfs tmpfs /opt
mkdir -p /opt/cni /etc/cni/net.d /run/netd {BOX}/bin {BOX}/proc {BOX}/dev {BOX}/sys {BOX}/etc {BOX}/tmp
ln -s {OWN} /opt/cni/bin
cp /bin/busybox {BOX}/bin/
"""


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("cni-engines") as made:
        # crun refuses hybrid cgroups, and the mount may be there more than once.
        made.sh("while mountpoint -q /sys/fs/cgroup/unified; do umount /sys/fs/cgroup/unified; done")
        made.sh(FURNISH)
        install(made)
        for name in ("sh", "ip", "ping", "wget", "httpd", "sleep"):
            made.run(["ln", "-s", "busybox", f"{BOX}/bin/{name}"])
        yield made
        assert made.weft_json("net", "ls") == []
        assert "weft" not in made.nft("list", "tables")


def addresses(host: Host, network: str) -> dict[str, str]:
    """Members of a network, and their first addresses."""
    (found,) = host.weft_json("net", "inspect", network)
    return {e["container"]: e["addresses"][0].partition("/")[0] for e in found["endpoints"]}


def containerd(host: Host) -> Any:
    host.write("/run/ctd.toml", TOML)
    process = host.popen(["containerd", "-c", "/run/ctd.toml"], stdout=-3, stderr=-3)
    assert settle(host, lambda: host.run([*CTR, "version"], check=False).returncode == 0, timeout=30)
    return process


def configure(host: Host, *plugins: dict[str, Any]) -> None:
    conf = {"cniVersion": "1.0.0", "name": "pods", "plugins": list(plugins)}
    host.write(f"{CONF}/10-weft.conflist", json.dumps(conf))


def start(host: Host, name: str) -> None:
    host.run([*CTR, "run", "-d", "--cni", "--rootfs", BOX, name, "/bin/sleep", "600"])


def removed(host: Host, name: str) -> None:
    argv = [*CTR, "task", "rm", "-f", name]
    settle(host, lambda: host.run(argv, check=False).returncode == 0, timeout=20)


def stop(host: Host, *names: str) -> None:
    for name in names:
        host.run([*CTR, "task", "kill", "-s", "KILL", name], check=False)
    for name in names:
        removed(host, name)
        host.run([*CTR, "container", "rm", name], check=False)


def test_ctr_run(host: Host) -> None:
    """A container has an address; two reach each other; containerd killed in between changes nothing."""
    configure(host, {"type": "weft", "ipam": {"type": "weft", "subnet": "10.70.0.0/24"}})
    engine = containerd(host)
    said = host.run([*CTR, "run", "--rm", "--cni", "--rootfs", BOX, "once", "/bin/ip", "-o", "addr"]).stdout
    assert "10.70.0.2/24" in said
    assert host.weft_json("ps", "-a") == []  # DEL came, without a namespace
    start(host, "one")
    start(host, "two")
    found = addresses(host, "pods")
    assert sorted(found) == ["cni:default-one", "cni:default-two"]
    ping = ["/bin/ping", "-c1", "-W2", found["cni:default-two"]]
    host.run([*CTR, "task", "exec", "--exec-id", "a", "one", *ping])
    engine.kill()
    engine.wait()
    engine = containerd(host)
    host.run([*CTR, "task", "exec", "--exec-id", "b", "one", *ping])
    stop(host, "one", "two")
    # ctr, which would have called DEL, is long gone: what nobody told, gc finds.
    host.weft("gc")
    assert host.weft_json("ps", "-a") == []
    engine.end()


def test_forty_at_once_by_the_chain_of_names(host: Host) -> None:
    """As the documentation of containerd has it: bridge, portmap, with host-local."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.71.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "promiscMode": False,
        "ipam": ipam,
    }
    configure(host, bridge, {"type": "portmap", "capabilities": {"portMappings": True}})
    engine = containerd(host)
    names = [f"c{number}" for number in range(40)]
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda name: start(host, name), names))
    assert len(set(addresses(host, "pods").values())) == 40
    stop(host, *names)
    host.weft("gc")
    engine.end()


def podman(host: Host, *words: str, check: bool = True) -> str:
    host.write("/run/containers.conf", CONTAINERS)
    env = {"CONTAINERS_CONF": "/run/containers.conf"}
    return host.run([*PODMAN, *words], env=env, check=check, timeout=120).stdout


def run(host: Host, *words: str) -> str:
    flags = list(takewhile(lambda word: word.startswith("-"), words))
    command = words[len(flags) :]
    return podman(host, "run", *flags, "--cgroups=disabled", "--rootfs", BOX, *command)


def test_podman_by_its_cni_backend(host: Host) -> None:
    """run, publish, a MAC, IPv6, two networks, restart, remove."""
    podman(
        host, "network", "create", "blue", "--subnet", "10.44.0.0/24", "--ipv6", "--subnet", "fd00:44::/64"
    )
    serve = "echo hi >/tmp/index.html; httpd -f -p 80 -h /tmp"
    mac = "02:11:22:33:44:66"
    publish = ("-d", "--name=web", "--network=blue", "--publish=8080:80", f"--mac-address={mac}")
    run(host, *publish, "/bin/sh", "-c", serve)
    page = lambda url: host.run(["curl", "-s", "--max-time", "5", url], check=False).stdout  # noqa: E731
    assert settle(host, lambda: page("http://127.0.0.1:8080/index.html") == "hi\n", timeout=20)
    assert run(host, "--rm", "--network=blue", "/bin/wget", "-qO-", "http://10.44.0.2/index.html") == "hi\n"
    both = run(host, "--rm", "--network=blue,podman", "/bin/ip", "-o", "addr")
    assert "fd00:44::" in both
    assert "eth1    inet 10.88." in both
    (row,) = host.weft_json("ps", "-a")
    assert row["labels"]["io.kubernetes.pod.name"] == "web"
    assert "(web)" in host.weft("ps", "-a").stdout
    podman(host, "restart", "-t", "0", "web")
    assert settle(host, lambda: page("http://127.0.0.1:8080/index.html") == "hi\n", timeout=20)
    podman(host, "rm", "-f", "-t", "0", "web")
    assert host.weft_json("ps", "-a") == []
