"""Other people's forward chains, as dockerd, ufw and administrators write them, without those programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foreign.daemons import needs
from foreign.town import Town
from harness import REPO, Host, Lan, settle

#: What dockerd 20.10 leaves for its bridge docker0, in the words of nft.
DOCKER = """
table ip filter {
	chain DOCKER { }
	chain DOCKER-ISOLATION-STAGE-2 {
		oifname "docker0" counter drop
		counter return
	}
	chain DOCKER-ISOLATION-STAGE-1 {
		iifname "docker0" oifname != "docker0" counter jump DOCKER-ISOLATION-STAGE-2
		counter return
	}
	chain DOCKER-USER { counter return; }
	chain FORWARD {
		type filter hook forward priority filter; policy %s;
		counter jump DOCKER-USER
		counter jump DOCKER-ISOLATION-STAGE-1
		oifname "docker0" ct state related,established counter accept
		oifname "docker0" counter jump DOCKER
		iifname "docker0" oifname != "docker0" counter accept
		iifname "docker0" oifname "docker0" counter accept
	}
}
"""
UFW = """
table ip filter {
	chain ufw-user-forward { }
	chain ufw-after-logging-forward { counter log prefix "[UFW BLOCK] "; }
	chain ufw-reject-forward { counter reject; }
	chain ufw-track-forward { }
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter jump ufw-user-forward
		counter jump ufw-after-logging-forward
		counter jump ufw-reject-forward
		counter jump ufw-track-forward
	}
}
"""
PLAIN = """
table inet mine {
	chain forward {
		type filter hook forward priority filter; policy %s;
		ct state established,related accept
		iifname "tun7" accept
		%s
	}
}
"""


#: A network of libvirt's with NAT, by its iptables driver.
LIBVIRT = """
table ip filter {
	chain LIBVIRT_FWI {
		oifname "virbr0" ip daddr 192.168.122.0/24 ct state related,established counter accept
		oifname "virbr0" counter reject
	}
	chain LIBVIRT_FWO {
		iifname "virbr0" ip saddr 192.168.122.0/24 counter accept
		iifname "virbr0" counter reject
	}
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
		counter jump LIBVIRT_FWI
		counter jump LIBVIRT_FWO
	}
}
"""


@pytest.fixture
def town(host: Host) -> Iterator[Town]:
    with Town(host) as made:
        yield made


def test_beside_docker(town: Town) -> None:
    """Its policy drops, its bridges stay closed to ours as ours to them, and at the end all is as it was."""
    town.host.nft(DOCKER % "drop")
    other = town.bridge_of_others()
    before = town.rules("ip", "filter")
    town.settle_in()
    assert town.works()
    assert not town.gets("c", other)
    assert not town.gets("other", town.address)
    # Whoever is published is reached, by Docker's members too, and gets his answer back to them.
    assert town.host.fetch(f"http://{Lan.HOST}:8080/", netns="other").body == "c"
    assert town.rules("ip", "filter") != before
    town.host.weft("rm", "-f", "c")
    town.host.weft("net", "rm", "blue")
    assert town.rules("ip", "filter") == before


def test_isolated_from_docker_also_where_nothing_is_dropped(town: Town) -> None:
    """dockerd leaves the policy alone when the host forwarded already, which weft sees to."""
    town.host.nft(DOCKER % "accept")
    other = town.bridge_of_others()
    town.settle_in()
    assert town.works()
    assert not town.gets("c", other)
    assert not town.gets("other", town.address)


def test_beside_libvirt(town: Town) -> None:
    town.host.nft(LIBVIRT)
    other = town.bridge_of_others("virbr0", "192.168.122")
    town.settle_in()
    assert town.works()
    assert not town.gets("c", other)
    assert not town.gets("other", town.address)
    assert town.host.fetch(f"http://{Lan.HOST}:8080/", netns="other").body == "c"


def test_the_administrators_rules_come_first(town: Town) -> None:
    town.host.nft(DOCKER % "drop")
    town.settle_in()
    town.host.nft(f'insert rule ip filter DOCKER-USER iifname "{town.bridge}" ip daddr {Lan.FAR} drop')
    assert not town.reaches_out()
    assert town.is_reached()


def test_ufw_rejects_after_us_and_its_own_rules_before(town: Town) -> None:
    town.host.nft(UFW)
    town.settle_in()
    assert town.works()
    town.host.nft(f'add rule ip filter ufw-user-forward oifname "{town.bridge}" drop')
    assert not town.is_reached()


@pytest.mark.parametrize(
    ("policy", "last"), [("drop", ""), ("accept", "counter reject"), ("accept", "counter drop")]
)
def test_an_administrators_own_table(town: Town, policy: str, last: str) -> None:
    town.host.nft(PLAIN % (policy, last))
    before = town.rules("inet", "mine")
    town.settle_in()
    assert town.works()
    town.host.weft("rm", "-f", "c")
    town.host.weft("net", "rm", "blue")
    assert town.rules("inet", "mine") == before


def test_a_table_that_drops_nothing_is_left_alone(town: Town) -> None:
    town.host.nft(PLAIN % ("accept", ""))
    before = town.rules("inet", "mine")
    town.settle_in()
    assert town.works()
    assert town.rules("inet", "mine") == before


def test_two_networks_and_the_chain_goes_with_the_last(town: Town) -> None:
    town.host.nft(DOCKER % "drop")
    town.settle_in()
    town.host.weft("net", "create", "red")
    town.host.weft("net", "rm", "red")
    assert town.works()
    assert town.rules("ip", "filter").count(f'"{town.bridge}"') == 3


@pytest.mark.parametrize(
    "harm",
    [
        "flush chain ip filter WEFT-FORWARD",
        "flush chain ip filter FORWARD",
        "flush chain ip filter FORWARD\ndelete chain ip filter WEFT-FORWARD",
        "delete table ip filter",
    ],
)
def test_mended_whatever_was_done_to_it(town: Town, harm: str) -> None:
    town.host.nft(DOCKER % "drop")
    town.settle_in()
    town.host.nft(harm)
    if harm.startswith("delete table"):
        town.host.nft(DOCKER % "drop")  # dockerd starts anew
    assert not town.reaches_out()
    town.mend()
    assert town.works()
    mended = town.rules("ip", "filter")
    town.mend()
    assert town.rules("ip", "filter") == mended


def test_what_a_lost_bridge_leaves_is_collected(town: Town) -> None:
    """Its network was forgotten, as with a database that is gone."""
    town.host.nft(DOCKER % "drop")
    before = town.rules("ip", "filter")
    town.host.weft("net", "create", "blue")
    town.host.ip("link", "del", town.bridge)
    town.host.sh("rm /var/lib/weft/*")
    town.host.weft("gc")
    assert town.rules("ip", "filter") == before


def test_watched(town: Town) -> None:
    """`weft watch` answers what is done to the chain."""
    town.host.nft(DOCKER % "drop")
    town.settle_in()
    whole = town.rules("ip", "filter")
    watch = town.host.popen([str(REPO / "weft"), "watch"])
    try:
        for harm in ("flush chain ip filter WEFT-FORWARD", "flush ruleset"):
            town.host.nft(harm)
            if harm == "flush ruleset":
                town.host.nft(DOCKER % "drop")
            assert settle(town.host, lambda: town.rules("ip", "filter") == whole, 20)
            assert town.works()
    finally:
        watch.end()


def test_each_family_where_the_network_has_it(town: Town) -> None:
    for family in ("ip", "ip6"):
        town.host.nft((DOCKER % "drop").replace("table ip ", f"table {family} "))
    families = ("ip", "ip6")
    for name, options, wanted in (
        ("four", (), [3, 0]),
        ("six", ("--subnet", "fd07::/64"), [0, 3]),
        ("both", ("--ipv6",), [3, 3]),
    ):
        town.host.weft("net", "create", name, "--bridge", f"br-{name}", *options)
        assert [town.rules(f, "filter").count(f'"br-{name}"') for f in families] == wanted
    town.lan.serve(8086, "box6", address="::")
    for port, name in (8006, "six"), (8046, "both"):
        town.host.weft("run", "--name", f"c-{name}", "--network", name, "-p", f"[::]:{port}:80")
        town.host.serve(80, name, netns=f"c-{name}", address="::")
        assert town.host.fetch(f"http://[{Lan.FAR6}]:8086/", netns=f"c-{name}").body == "box6"
        assert town.lan.fetch(f"http://[{Lan.HOST6}]:{port}/").body == name


@pytest.mark.parametrize("kind", ["docker", "ufw", "plain"])
def test_the_commands_shown_do_the_same(town: Town, kind: str) -> None:
    if kind != "plain":
        needs("iptables-nft")
    table = {"docker": DOCKER % "drop", "ufw": UFW, "plain": PLAIN % ("accept", "counter reject")}[kind]
    name = ("inet", "mine") if kind == "plain" else ("ip", "filter")
    host = town.host
    host.nft(table)
    before = town.rules(*name)
    create = ("net", "create", "blue", "--bridge", "br.b")
    script = host.weft(*create, "--dry-run").stdout
    host.weft(*create)
    wanted = town.rules(*name)
    gone = host.weft("net", "rm", "blue", "--dry-run").stdout
    host.weft("net", "rm", "blue")
    host.sh(script)
    # iptables counts what it adds, nft does not.
    assert town.rules(*name) == wanted
    host.sh(gone)
    assert town.rules(*name) == before


def test_iptables_reads_what_weft_wrote(town: Town) -> None:
    """An expression that it does not know would make it, and with it dockerd, refuse the whole table."""
    needs("iptables-nft")
    town.host.sh("iptables-nft -P FORWARD DROP\niptables-nft -N DOCKER-ISOLATION-STAGE-2")
    town.settle_in()
    bridge = town.bridge
    assert town.host.run(["iptables-nft", "-S", "WEFT-FORWARD"]).stdout.splitlines() == [
        "-N WEFT-FORWARD",
        f"-A WEFT-FORWARD -i {bridge} -j DOCKER-ISOLATION-STAGE-2",
        f"-A WEFT-FORWARD -i {bridge} -j ACCEPT",
        f"-A WEFT-FORWARD -o {bridge} -j ACCEPT",
    ]
    assert town.works()


def test_iptables_legacy(town: Town) -> None:
    needs("iptables-legacy")
    town.host.sh(
        "iptables-legacy -P FORWARD DROP\n"
        "iptables-legacy -A FORWARD -j REJECT --reject-with icmp-host-prohibited"
    )
    before = town.host.run(["iptables-legacy", "-S"]).stdout
    town.settle_in()
    assert town.works()
    town.host.run(["iptables-legacy", "-F", "WEFT-FORWARD"])
    assert not town.reaches_out()
    town.mend()
    assert town.works()
    town.host.weft("rm", "-f", "c")
    town.host.weft("net", "rm", "blue")
    assert town.host.run(["iptables-legacy", "-S"]).stdout == before


def test_a_bridge_name_that_iptables_would_take_for_many(town: Town) -> None:
    town.host.nft(DOCKER % "drop")
    refused = town.host.weft("net", "create", "blue", "--bridge", "br+", check=False)
    assert refused.returncode == 2
    assert "iptables takes a +" in refused.stderr


def test_a_namespace_with_a_way_out_of_its_own(town: Town) -> None:
    """Connected, it keeps the default route that it has; where that goes, weft's takes over."""
    town.bridge_of_others("br9", "172.30.0")
    town.settle_in("--ipv6")
    town.host.weft("net", "create", "red")
    way = ("route", "get", Lan.FAR)
    for network, ifname in (("blue", "weft0"), ("red", "weft1")):
        town.host.weft("net", "connect", network, "netns:other", "--ifname", ifname)
        assert town.host.ip(*way, netns="other").split()[2] == "172.30.0.1"
        assert town.host.weft("repair").returncode == 0
    assert town.gets("other", town.address)
    town.host.ip("route", "del", "default", "via", "172.30.0.1", netns="other")
    assert town.reaches_out("other")
    for network in ("blue", "red"):
        said = town.host.weft("net", "disconnect", network, "netns:other")
        assert "warning" not in said.stderr
    assert town.host.ip("route", netns="other").splitlines()[0].startswith("172.30.0.0/16")
