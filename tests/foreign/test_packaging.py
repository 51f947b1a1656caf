"""What is in packaging/ does what it says, with the programs that read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreign.daemons import Bus, Daemon, needs
from foreign.town import Town
from harness import REPO, Host, settle

PACKAGING = REPO / "packaging"
NETWORKD = "/lib/systemd/systemd-networkd"
#: As some images ship it: every link is networkd's.
GREEDY = "[Match]\nName=*\n[Network]\nLinkLocalAddressing=no\n"
UPLINK = "[Match]\nName=eth-up\n[Network]\nLinkLocalAddressing=no\nKeepConfiguration=yes\n"


class Networkd(Daemon):
    """systemd-networkd. With a read-only /sys it expects no udev (path_is_read_only_fs() in its source)."""

    argv = (NETWORKD,)

    def __init__(self, host: Host) -> None:
        places = "/run/systemd/netif/links /run/systemd/netif/leases /run/systemd/network"
        host.sh(
            f"mkdir -p {places}\nchown -R systemd-network: /run/systemd/netif\n"
            "mount -o remount,bind,ro /sys\n"
        )
        super().__init__(host)

    @property
    def log(self) -> str:
        return "/run/networkd.log"

    def answers(self) -> bool:
        """It has configured the uplink."""
        index = self.host.run(["cat", "/sys/class/net/eth-up/ifindex"]).stdout.strip()
        state = self.host.path(f"/run/systemd/netif/links/{index}")
        return state.exists() and "ADMIN_STATE=configured" in state.read_text()


@pytest.fixture
def town(host: Host) -> Iterator[Town]:
    with Town(host) as made:
        yield made


def put(host: Host, source: str, target: str) -> None:
    host.write(target, (PACKAGING / source).read_text())


@pytest.mark.parametrize("shipped", [True, False], ids=["with our files", "without"])
@pytest.mark.parametrize("bridge", ["", "lab0"], ids=["derived name", "given name"])
def test_systemd_networkd(town: Town, shipped: bool, bridge: str) -> None:
    if not Path(NETWORKD).exists():
        pytest.skip(f"not installed: {NETWORKD}")
    town.host.write("/etc/systemd/network/50-all.network", GREEDY)
    town.host.write("/etc/systemd/network/40-uplink.network", UPLINK)
    if shipped:
        put(town.host, "networkd/10-weft.network", "/etc/systemd/network/10-weft.network")
        put(town.host, "networkd/weft.conf", "/etc/systemd/networkd.conf.d/weft.conf")
    town.settle_in(*(["--bridge", bridge] if bridge else []))
    rules = town.host.ip("rule")
    assert "proto 119" in rules
    with Networkd(town.host):
        if shipped:
            assert town.works()
            assert town.host.ip("rule") == rules
        else:  # otherwise this test would show nothing
            assert settle(town.host, lambda: "proto 119" not in town.host.ip("rule"), 20)
            assert not town.reaches_out()


class NetworkManager(Daemon):
    """With a read-only /sys it expects no udev either."""

    argv = ("NetworkManager", "--no-daemon")
    asked = ("nmcli", "general")

    def __init__(self, host: Host) -> None:
        host.sh("mkdir -p /run/NetworkManager\nmount -o remount,bind,ro /sys")
        super().__init__(host)

    def states(self) -> dict[str, str]:
        """What it thinks of each link."""
        lines = self.host.run(["nmcli", "-t", "-f", "DEVICE,STATE", "device"]).stdout.splitlines()
        return dict(line.split(":", 1) for line in lines)


def test_networkmanager(town: Town) -> None:
    """It would else make a connection of each port, for its DHCP client."""
    needs("NetworkManager", "dbus-daemon", hint="apt-get install network-manager; not by ./test")
    put(town.host, "networkmanager/90-weft.conf", "/etc/NetworkManager/conf.d/90-weft.conf")
    town.settle_in()
    with Bus(town.host), NetworkManager(town.host) as manager:
        town.host.weft("run", "--name", "later", "--network", "blue")
        ports = [line.split()[0].partition("@")[0] for line in town.host.ip("-br", "link").splitlines()]
        ours = [name for name in ports if name.startswith(("wb", "wv"))]
        assert len(ours) == 3
        assert settle(town.host, lambda: manager.states().keys() >= set(ports))
        assert {name: manager.states()[name] for name in ours} == dict.fromkeys(ours, "unmanaged")
        assert town.works()


@pytest.mark.parametrize("name", ["weft-repair.service", "weft-watch.service"])
def test_units(host: Host, name: str) -> None:
    needs("systemd-analyze")
    text = (PACKAGING / "systemd" / name).read_text()
    # The program is found by name where it is installed; here it is in the checkout.
    host.write(f"/run/units/{name}", text.replace("=weft ", f"={REPO}/weft "))
    said = host.run(["systemd-analyze", "verify", "--man=no", f"/run/units/{name}"], check=False)
    assert (said.returncode, [line for line in said.stderr.splitlines() if name in line]) == (0, [])


def test_no_unit_takes_the_mounts_away() -> None:
    """Names of namespaces are mounts: any of these would hide them from the host (systemd.exec(5))."""
    apart = ("PrivateTmp", "ProtectHome", "ProtectSystem", "PrivateMounts", "PrivateNetwork", "DynamicUser")
    for unit in (PACKAGING / "systemd").iterdir():
        for line in unit.read_text().splitlines():
            assert line.startswith("#") or not line.startswith(apart), f"{unit.name}: {line}"


def test_every_file_is_documented() -> None:
    page = (REPO / "docs/living-with-others.md").read_text()
    for file in PACKAGING.rglob("*"):
        assert file.is_dir() or str(file.relative_to(REPO)) in page, file
