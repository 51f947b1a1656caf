"""docs/containerd.md, typed as it stands."""

from __future__ import annotations

import json
import re

import pytest

from harness import Host, settle
from harness.host import REPO

PAGE = (REPO / "docs/containerd.md").read_text()
CONFIG = """version = 2
root = "/run/ctd/root"
state = "/run/ctd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd/containerd.sock"
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.S | re.M)


def prepared(host: Host) -> None:
    host.sh("mount -t tmpfs tmpfs /opt\nrm -rf /etc/cni\nmkdir -p /run/path")
    host.run(["ln", "-s", str(REPO / "weft"), "/run/path/weft"])
    links, _ = blocks("sh")
    host.sh(f"PATH=/run/path:$PATH\n{links}")
    (conf,) = blocks("json")
    host.write("/etc/cni/net.d/10-weft.conflist", conf)


def test_the_lines_make_a_working_plugin(host: Host) -> None:
    """Without containerd: the list's own plug-in, called as it would be."""
    prepared(host)
    (text,) = blocks("json")
    listing = json.loads(text)
    host.ip("netns", "add", "c1")
    conf = {**listing["plugins"][0], "name": listing["name"], "cniVersion": listing["cniVersion"]}
    env = {
        "CNI_CONTAINERID": "default-hello",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/x",
    }
    for command in ("ADD", "DEL"):
        given = {**env, "CNI_COMMAND": command}
        said = host.run([f"/opt/cni/bin/{conf['type']}"], input=json.dumps(conf), env=given).stdout
        assert ("10.70.0.2/24" in said) == (command == "ADD")
    assert "supported" in host.run(["/opt/cni/bin/loopback"]).stderr


@pytest.mark.campaign
def test_the_page_with_containerd(host: Host) -> None:
    prepared(host)
    host.sh("mkdir -p /run/box/bin /run/box/proc /run/box/dev /run/box/sys\ncp /bin/busybox /run/box/bin/ip")
    host.write("/run/ctd.toml", CONFIG)
    engine = host.popen(["containerd", "-c", "/run/ctd.toml"], stdout=-3, stderr=-3)
    assert settle(host, lambda: host.run(["ctr", "version"], check=False).returncode == 0, timeout=30)
    _, command = blocks("sh")
    assert "10.70.0.2/24" in host.sh(command)
    assert host.weft_json("ps", "-a") == []
    engine.end()
