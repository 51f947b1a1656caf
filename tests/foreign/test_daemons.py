"""The real dockerd, firewalld and ufw on one host with weft: whoever came first, restarted, or flushed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foreign.daemons import Docker, Firewalld, needs
from foreign.town import Town
from harness import Host, Lan, settle

pytestmark = pytest.mark.campaign


@pytest.fixture
def town(host: Host) -> Iterator[Town]:
    with Town(host) as made:
        yield made


@pytest.fixture
def crowd(town: Town) -> Iterator[tuple[Town, Docker]]:
    """dockerd runs, with the container d1, published at 9000, and d2, which publishes nothing."""
    needs("dockerd", "docker", "iptables")
    with Docker(town.host) as docker:
        docker.run("d1", "-p", "9000:80")
        docker.run("d2")
        yield town, docker


def addresses(docker: Docker) -> dict[str, str]:
    ask = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return {n: docker.host.run(["docker", "inspect", "-f", ask, n]).stdout.strip() for n in ("d1", "d2")}


def both_work_apart(town: Town, docker: Docker) -> None:
    """Docker's containers and weft's: out, in, by published ports to each other, and not otherwise."""
    assert town.works()
    assert town.reaches_out("d1")
    assert town.is_reached(9000, "d1")
    apart(town, docker)
    assert town.host.fetch(f"http://{Lan.HOST}:9000/", netns="c").body == "d1"
    assert town.host.fetch(f"http://{Lan.HOST}:8080/", netns="d1").body == "c"


def apart(town: Town, docker: Docker) -> None:
    assert not town.gets("c", addresses(docker)["d2"])
    for name in ("d1", "d2"):
        assert not town.gets(name, town.address)


def test_docker_was_first(crowd: tuple[Town, Docker]) -> None:
    town, docker = crowd
    assert "-P FORWARD DROP" in town.host.run(["iptables", "-S", "FORWARD"]).stdout
    before = town.rules("ip", "filter")
    town.settle_in()
    both_work_apart(town, docker)
    town.host.weft("rm", "-f", "c")
    town.host.weft("net", "rm", "blue")
    assert town.rules("ip", "filter") == before


def test_docker_is_restarted(crowd: tuple[Town, Docker]) -> None:
    town, docker = crowd
    town.settle_in()
    docker.restart()
    for name in ("d1", "d2"):
        docker.again(name)
    assert town.reaches_out()
    both_work_apart(town, docker)
    assert "incompatible" not in town.host.read(docker.log)


def test_docker_comes_later(town: Town) -> None:
    needs("dockerd", "docker", "iptables")
    town.settle_in()
    with Docker(town.host) as docker:
        docker.run("d1", "-p", "9000:80")
        docker.run("d2")
        assert town.works()
        town.mend()
        both_work_apart(town, docker)
        # A bridge that Docker makes afterwards is one of its own at once.
        town.host.run(["docker", "network", "create", "-o", "com.docker.network.bridge.name=later", "later"])
        address = docker.run("d3", "--network", "later")
        assert not town.gets("c", address)
        assert not town.gets("d3", town.address)


def test_docker_comes_later_and_drops(town: Town) -> None:
    """An administrator may set the policy himself, any day."""
    needs("dockerd", "docker", "iptables")
    town.settle_in()
    with Docker(town.host) as docker:
        town.host.run(["iptables", "-P", "FORWARD", "DROP"])
        assert not town.reaches_out()
        town.mend()
        assert town.works()
        docker.restart()
        assert town.works()


def test_all_rules_are_flushed_beside_docker(crowd: tuple[Town, Docker]) -> None:
    """dockerd comes back by a restart, weft by a repair, in any order."""
    town, docker = crowd
    town.settle_in()
    for first in ("docker", "weft"):
        town.host.nft("flush", "ruleset")
        assert not town.works()
        if first == "weft":
            town.mend()
            assert town.works()
        docker.restart()
        for name in ("d1", "d2"):
            docker.again(name)
        town.mend()
        both_work_apart(town, docker)


def test_docker_with_the_older_tables(town: Town) -> None:
    """iptables-legacy, as on hosts that chose it."""
    needs("dockerd", "docker", "iptables-legacy")
    town.host.sh(
        "ln -sf /usr/sbin/iptables-legacy /etc/alternatives/iptables\n"
        "ln -sf /usr/sbin/ip6tables-legacy /etc/alternatives/ip6tables"
    )
    with Docker(town.host) as docker:
        docker.run("d1", "-p", "9000:80")
        docker.run("d2")
        town.settle_in()
        both_work_apart(town, docker)
        docker.restart()
        assert town.works()
        town.host.weft("rm", "-f", "c")
        town.host.weft("net", "rm", "blue")
        assert "WEFT" not in town.host.run(["iptables-legacy-save"]).stdout


def test_a_docker_container_joins_a_weft_network(crowd: tuple[Town, Docker]) -> None:
    town, docker = crowd
    town.settle_in()
    docker.run("d3", "--network", "none")
    for name in ("d2", "d3"):
        assert not town.gets(name, town.address)
        town.host.weft("net", "connect", "blue", f"docker:{name}")
        assert town.gets(name, town.address)
        assert town.reaches_out(name)
    # d2 keeps the default route that Docker gave it; d3 had none.
    ways = [town.host.ip("route", "get", Lan.FAR, netns=name).split()[4] for name in ("d2", "d3")]
    assert ways == ["eth0", "eth0"]
    assert town.host.ip("route", "get", Lan.FAR, netns="d2").split()[2] == "172.17.0.1"
    assert not town.gets("d3", addresses(docker)["d2"])
    for name in ("d2", "d3"):
        town.host.weft("net", "disconnect", "blue", f"docker:{name}")
        assert not town.gets(name, town.address)


@pytest.fixture
def walled(town: Town) -> Iterator[tuple[Town, Firewalld]]:
    needs("firewalld", "firewall-cmd", "dbus-daemon")
    with Firewalld(town.host) as firewalld:
        yield town, firewalld


def test_firewalld_was_first(walled: tuple[Town, Firewalld]) -> None:
    town, firewalld = walled
    town.settle_in()
    assert firewalld.trusted() == [town.bridge]
    assert town.works()
    firewalld.reload()
    assert town.works()
    firewalld.restart()
    assert town.works()
    town.host.weft("rm", "-f", "c")
    town.host.weft("net", "rm", "blue")
    assert firewalld.trusted() == []
    firewalld.reload()
    assert firewalld.trusted() == []


def test_firewalld_comes_later(town: Town) -> None:
    needs("firewalld", "firewall-cmd", "dbus-daemon")
    town.settle_in()
    with Firewalld(town.host) as firewalld:
        assert not town.reaches_out()
        town.mend()
        assert town.works()
        firewalld.reload()
        assert town.works()
        firewalld.host.run(["firewall-cmd", "--complete-reload"])
        assert town.works()


def test_firewalld_died_and_its_table_stays(town: Town) -> None:
    """All is refused then, and nobody is left to ask: that is said, and a network can be removed still."""
    needs("firewalld", "firewall-cmd", "dbus-daemon")
    with Firewalld(town.host) as firewalld:
        town.settle_in()
        firewalld.process.kill()
        firewalld.process.wait(10)
        refused = town.host.weft("net", "create", "red", check=False)
        assert (refused.returncode, "not running" in refused.stderr) == (1, True)
        assert "nft delete table inet firewalld" in refused.stderr
        assert [n["name"] for n in town.host.weft_json("net", "ls")] == ["blue"]
        town.host.weft("rm", "-f", "c")
        town.host.weft("net", "rm", "blue")
        town.host.nft("delete", "table", "inet", "firewalld")
        town.settle_in()
        assert town.works()
        # What was permanent of a network that went meanwhile is collected.
        town.host.weft("rm", "-f", "c")
        town.host.weft("net", "rm", "blue")
        firewalld.start()
        assert len(firewalld.trusted()) == 1
        town.host.weft("gc")
        firewalld.reload()
        assert firewalld.trusted() == []


def test_told_twice_is_no_error(walled: tuple[Town, Firewalld]) -> None:
    """Another may have done the same meanwhile; what is done by hand is not undone halfway."""
    town, firewalld = walled
    town.settle_in("--bridge", "lab0")
    town.host.run(["firewall-cmd", "--permanent", "--zone=trusted", "--remove-interface=lab0"])
    town.host.weft("rm", "-f", "c")
    town.host.weft("net", "rm", "blue")
    town.host.run(["firewall-cmd", "--permanent", "--zone=trusted", "--add-interface=lab0"])
    town.settle_in("--bridge", "lab0")
    assert firewalld.trusted() == ["lab0"]
    assert town.works()


def test_the_administrators_zone_stays(walled: tuple[Town, Firewalld]) -> None:
    town, firewalld = walled
    town.host.run(["firewall-cmd", "--zone=dmz", "--add-interface=lab0"])
    town.settle_in("--bridge", "lab0")
    assert firewalld.trusted() == []
    assert not town.reaches_out()


def test_docker_with_ipv6(town: Town) -> None:
    needs("dockerd", "docker", "ip6tables")
    six = ("--experimental", "--ip6tables", "--ipv6", "--fixed-cidr-v6", "fd77::/64")
    with Docker(town.host, *six) as docker:
        docker.run("d1")
        assert "DOCKER-ISOLATION-STAGE-2" in town.host.run(["ip6tables", "-S"]).stdout
        town.settle_in("--ipv6")
        town.host.run(["ip6tables", "-P", "FORWARD", "DROP"])
        assert town.host.pings(Lan.FAR6, netns="c")
        ask = "{{.NetworkSettings.GlobalIPv6Address}}"
        theirs = town.host.run(["docker", "inspect", "-f", ask, "d1"]).stdout.strip()
        assert settle(town.host, lambda: town.host.pings(theirs), 10)  # past duplicate address detection
        assert not town.host.pings(theirs, netns="c", timeout=1)
        docker.restart()
        assert town.host.pings(Lan.FAR6, netns="c")


def test_firewalld_and_docker(walled: tuple[Town, Firewalld]) -> None:
    """A reload of firewalld takes iptables' rules away too; dockerd hears of it and makes its own again."""
    needs("dockerd", "docker", "iptables")
    town, firewalld = walled
    with Docker(town.host) as docker:
        docker.run("d1", "-p", "9000:80")
        docker.run("d2")
        town.settle_in()
        both_work_apart(town, docker)
        firewalld.reload()
        whole = ("-A FORWARD -j DOCKER-USER", "-A FORWARD -i docker0 -o docker0 -j ACCEPT", "--dport 80 -j")
        assert settle(town.host, lambda: all(r in town.host.run(["iptables-save"]).stdout for r in whole))
        town.mend()
        both_work_apart(town, docker)


def test_the_commands_for_firewalld(walled: tuple[Town, Firewalld]) -> None:
    town, firewalld = walled
    script = town.host.weft("net", "create", "blue", "--bridge", "br.b", "--dry-run").stdout
    town.host.sh(script)
    assert firewalld.trusted() == ["br.b"]


@pytest.mark.parametrize("order", ["before", "after"])
def test_ufw(town: Town, order: str) -> None:
    """``ufw enable`` denies what is routed unless told otherwise."""
    needs("ufw", "iptables")
    enable = ["ufw", "--force", "enable"]
    if order == "before":
        town.host.run(enable)
    town.settle_in()
    if order == "after":
        town.host.run(enable)
        assert not town.reaches_out()
        town.mend()
    assert "deny (routed)" in town.host.run(["ufw", "status", "verbose"]).stdout
    assert town.works()
    town.host.run(["ufw", "reload"])
    assert town.works()
    # The administrator's own word counts.
    town.host.run(["ufw", "route", "deny", "in", "on", Lan.UPLINK, "out", "on", town.bridge])
    assert not town.is_reached()
    assert town.reaches_out()
    town.host.run(["ufw", "disable"])
    assert town.works()
