"""What is in packaging/ does what it says, with the programs that read it."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreign.daemons import Daemon, needs
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


def test_networkmanager_is_told_of_both_names() -> None:
    parser = configparser.ConfigParser()
    parser.read(PACKAGING / "networkmanager/90-weft.conf")
    assert parser["device-weft"]["managed"] == "0"
    names = parser["device-weft"]["match-device"].split(";")
    assert names == ["interface-name:wb*", "interface-name:wv*"]


def test_every_file_is_documented() -> None:
    page = (REPO / "docs/living-with-others.md").read_text()
    for file in PACKAGING.rglob("*"):
        assert file.is_dir() or str(file.relative_to(REPO)) in page, file
