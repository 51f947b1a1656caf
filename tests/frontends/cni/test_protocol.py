"""The protocol of CNI, spoken without any engine: ADD, CHECK, DEL, GC, STATUS, VERSION of all plug-ins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from frontends.cni.runtime import OWN, REFERENCE, Failed, Runtime, install, podman, whole
from harness import Host


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host("cni") as made:
        made.run(["rm", "-rf", "/etc/cni", "/etc/containers"])
        install(made)
        for number in range(1, 6):
            made.ip("netns", "add", f"c{number}")
        yield made


@pytest.fixture
def runtime(host: Host) -> Iterator[Runtime]:
    """Afterwards nothing of any test is left."""
    yield Runtime(host)
    try:
        nothing_left(host)
    except AssertionError:
        sweep(host)  # one test's failure is not the next one's
        raise


def nothing_left(host: Host) -> None:
    assert links(host) == ["lo"]
    assert host.weft("net", "ls", "-q").stdout == ""
    assert host.weft_json("ps", "-a") == []
    assert "weft" not in host.nft("list", "tables")
    for number in range(1, 6):
        assert links(host, f"c{number}") == ["lo"]
    found = host.run(["find", "/var/lib/cni", "/run/cni", "-type", "f"], check=False).stdout.split()
    assert [
        path for path in found if not path.endswith(("lock", "last_reserved_ip.0", "last_reserved_ip.1"))
    ] == []


def sweep(host: Host) -> None:
    for name in host.weft("net", "ls", "-q").stdout.split():
        host.weft("net", "rm", "-f", name)
    host.run(["rm", "-rf", "/var/lib/cni", "/run/cni"])
    for number in range(1, 6):
        host.ip("netns", "del", f"c{number}")
        host.ip("netns", "add", f"c{number}")


def links(host: Host, netns: str | None = None) -> list[str]:
    found = json.loads(host.ip("-j", "link", netns=netns))
    return [one["ifname"] for one in found]


def addresses(host: Host, netns: str, ifname: str = "eth0") -> list[str]:
    (found,) = json.loads(host.ip("-j", "addr", "show", "dev", ifname, netns=netns))
    return [f"{a['local']}/{a['prefixlen']}" for a in found["addr_info"] if a["scope"] != "link"]


def member(host: Host, container: str) -> Any:
    (found,) = [row for row in host.weft_json("ps", "-a") if row["name"] == f"cni:{container}"]
    return found


# -- a whole chain, as engines write it


def test_podmans_list_by_the_reference_names(host: Host, runtime: Runtime) -> None:
    """bridge, portmap, firewall, tuning one after the other: two containers reach each other."""
    listing = podman()
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    mac = "02:11:22:33:44:55"
    first = runtime.add(
        listing, "one", "c1", args="K8S_POD_NAME=shop;IgnoreUnknown=1", portMappings=ports, mac=mac
    )
    runtime.add(listing, "two", "c2", ips=["10.88.0.77"])
    assert first["cniVersion"] == "0.4.0"
    assert [one["name"] for one in first["interfaces"]][::2] == ["cni-pod", "eth0"]
    assert first["interfaces"][2] == {"name": "eth0", "mac": mac, "sandbox": "/run/netns/c1"}
    assert first["ips"] == [
        {"version": "4", "interface": 2, "address": "10.88.0.2/16", "gateway": "10.88.0.1"}
    ]
    assert addresses(host, "c1") == ["10.88.0.2/16"]
    assert addresses(host, "c2") == ["10.88.0.77/16"]
    assert host.pings("10.88.0.77", netns="c1")
    server = host.serve(80, "in c1", netns="c1")
    assert host.fetch("http://127.0.0.1:8080/").body.startswith("in c1")
    assert host.fetch("http://10.88.0.1:8080/", netns="c2").body.startswith("in c1")
    server.end()
    row = member(host, "one")
    assert row["publish"][0]["host_port"] == 8080
    assert row["hostname"] == "shop"
    runtime.check(listing, "one", "c1")
    runtime.check(listing, "two", "c2")
    # It is one host: weft's own commands name it, enter it, and keep its port and address.
    shown = host.weft("ns", "exec", "--ns", "net", "cni:one", "--", "ip", "-o", "addr").stdout
    assert "10.88.0.2/16" in shown
    assert "cni:one" in host.weft("link", "whose", first["interfaces"][1]["name"]).stdout
    taken = host.weft("run", "--network", "pod", "--ip", "10.88.0.77", check=False)
    assert taken.returncode == 4, taken.stderr
    assert "cni:two" in taken.stderr
    assert host.weft("run", "--network", "pod", "-p", "0.0.0.0:8080:80", check=False).returncode == 4
    with pytest.raises(Failed, match="is in network pod already") as twice:
        runtime.add(listing, "one", "c1")
    assert twice.value.code == 101
    runtime.delete(listing, "one", "c1")
    runtime.delete(listing, "one", "c1")
    runtime.delete(listing, "two")  # the namespace is not told, as with `ctr`


@pytest.mark.parametrize("version", ["0.3.1", "1.1.0"])
def test_all_in_one_in_each_version(host: Host, runtime: Runtime, version: str) -> None:
    """One call does what the chain does; the answer is in the version that was asked for."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.5.0.0/24"}], [{"subnet": "fd00:5::/64"}]]}
    listing = whole(version=version, ipam=ipam, dns={"nameservers": ["192.0.2.9"]})
    rates = {
        "ingressRate": 8_000_000,
        "ingressBurst": 800_000,
        "EgressRate": 4_000_000,
        "EgressBurst": 400_000,
    }
    ports = [
        {"HostPort": 8081, "ContainerPort": 53, "Protocol": "UDP", "HostIP": ""}
    ]  # as containerd writes them
    result = runtime.add(listing, "one", "c1", portMappings=ports, bandwidth=rates, aliases=["shop"])
    assert result["cniVersion"] == version
    assert result["ips"][0].get("version") == ("4" if version < "1" else None)
    assert ("mtu" in result["interfaces"][0]) == (version == "1.1.0")
    assert [r["dst"] for r in result["routes"]] == ["0.0.0.0/0", "::/0"]
    assert result["dns"] == {"nameservers": ["192.0.2.9"]}
    assert addresses(host, "c1") == [ip["address"] for ip in result["ips"]]
    assert len(result["ips"]) == 2
    ends = [one["name"] for one in result["interfaces"]]
    assert "rate 8Mbit" in host.run(["tc", "qdisc", "show", "dev", ends[1]]).stdout
    queue = next(name for name in links(host) if name.startswith("wq"))
    assert "rate 4Mbit" in host.run(["tc", "qdisc", "show", "dev", queue]).stdout
    assert "mirred" in host.run(["tc", "filter", "show", "dev", ends[1], "ingress"]).stdout
    assert {p["host_ip"] for p in member(host, "one")["publish"]} == {"0.0.0.0", "::"}
    if version not in ("0.3.0", "0.3.1"):
        runtime.check(listing, "one", "c1")
    runtime.delete(listing, "one", "c1")


def test_weft_chooses_the_addresses(host: Host, runtime: Runtime) -> None:
    """Without ``ipam``; a network that is there is joined, whoever made it, and stays."""
    host.weft("net", "create", "blue", "--subnet", "10.6.0.0/24")
    host.weft("run", "--name", "web", "--network", "blue")
    result = runtime.add(whole(), "one", "c1", aliases=["shop"], ips=["10.6.0.40"])
    assert result["ips"][0]["address"] == "10.6.0.40/24"
    assert host.weft("ns", "exec", "web", "--", "ping", "-c1", "-W2", "shop").returncode == 0
    with pytest.raises(Failed, match="is taken by container"):
        runtime.add(whole(), "two", "c2", ips=["10.6.0.40"])
    second = runtime.add(whole("red", ipam={"type": "weft", "subnet": "10.7.0.0/24"}), "one", "c1", "eth1")
    assert second["ips"][0]["address"] == "10.7.0.2/24"
    assert sorted(member(host, "one")["networks"]) == ["blue", "red"]
    runtime.delete(whole("red"), "one", "c1", "eth1")
    runtime.delete(whole(), "one", "c1")
    assert [row["name"] for row in host.weft_json("net", "ls")] == ["blue"]
    host.weft("net", "rm", "-f", "blue")


def test_names_are_served_where_a_network_wants_it(host: Host, runtime: Runtime) -> None:
    listing = whole(ipam={"type": "weft", "subnet": "10.6.0.0/24"}, options={"dns": "true"})
    assert runtime.add(listing, "one", "c1", aliases=["shop"])["dns"] == {"nameservers": ["10.6.0.1"]}
    assert runtime.add(listing, "two", "c2")["ips"][0]["address"] == "10.6.0.3/24"
    found = host.run(["dig", "+short", "+time=2", "@10.6.0.1", "shop"], netns="c2", check=False)
    if found.returncode != 127:
        assert found.stdout.strip() == "10.6.0.2"
    runtime.delete(listing, "one", "c1")
    runtime.delete(listing, "two", "c2")


# -- ptp, macvlan, loopback


def test_ptp_has_the_gateway_as_its_only_neighbour(host: Host, runtime: Runtime) -> None:
    plugin = {"type": "ptp", "ipMasq": True, "ipam": {"type": "host-local", "subnet": "10.8.0.0/24"}}
    listing = {"cniVersion": "1.0.0", "name": "straight", "plugins": [plugin]}
    result = runtime.add(listing, "one", "c1")
    runtime.add(listing, "two", "c2")
    assert [one.get("sandbox", "") for one in result["interfaces"]] == ["", "/run/netns/c1"]
    routes = host.ip("route", netns="c1").splitlines()
    assert [line.strip() for line in routes] == [
        "10.8.0.0/24 via 10.8.0.1 dev eth0 src 10.8.0.2",
        "10.8.0.1 dev eth0 scope link src 10.8.0.2",
    ]
    assert host.pings("10.8.0.1", netns="c1")
    assert host.pings("10.8.0.3", netns="c1")
    assert "10.8.0.3" not in host.ip("neigh", netns="c1")
    runtime.check(listing, "one", "c1")
    host.weft("repair")
    runtime.check(listing, "one", "c1")
    runtime.delete(listing, "one", "c1")
    runtime.delete(listing, "two", "c2")


def test_macvlan(host: Host, runtime: Runtime) -> None:
    host.sh(
        "ip link add up0 type veth peer name far0 netns c5\nip link set up0 up\nip -n c5 link set far0 up"
    )
    host.ip("addr", "add", "10.9.0.1/24", "dev", "far0", netns="c5")
    ipam = {"type": "host-local", "subnet": "10.9.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    listing = {
        "cniVersion": "1.0.0",
        "name": "lan",
        "plugins": [{"type": "macvlan", "master": "up0", "mode": "bridge", "ipam": ipam}],
    }
    result = runtime.add(listing, "one", "c1")
    assert [one["name"] for one in result["interfaces"]] == ["eth0"]
    assert result["ips"] == [{"interface": 0, "address": "10.9.0.2/24", "gateway": "10.9.0.1"}]
    assert "default via 10.9.0.1" in host.ip("route", netns="c1")
    assert host.pings("10.9.0.1", netns="c1")
    runtime.check(listing, "one", "c1")
    runtime.delete(listing, "one", "c1")
    host.ip("link", "del", "up0")


def test_loopback(host: Host, runtime: Runtime) -> None:
    conf = {"cniVersion": "0.4.0", "name": "cni-loopback", "type": "loopback"}
    result = runtime.call("ADD", conf, "one", "/run/netns/c4", "lo")
    assert result["interfaces"] == [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/c4"}]
    assert [ip["address"] for ip in result["ips"]] == ["127.0.0.1/8", "::1/128"]
    assert runtime.call("CHECK", conf, "one", "/run/netns/c4", "lo") is None
    assert runtime.call("DEL", conf, "one", "", "lo") is None


# -- addresses from elsewhere, and for others


def test_host_locals_files_are_its_own(host: Host, runtime: Runtime) -> None:
    """What the real plug-in has given out is not given out again, and the other way round."""
    host.sh(
        "mkdir -p /var/lib/cni/networks/net9\n"
        "printf 'old\\r\\neth0' > /var/lib/cni/networks/net9/10.10.0.2\n"
        "printf 10.10.0.2 > /var/lib/cni/networks/net9/last_reserved_ip.0"
    )
    conf: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net9", "type": "bridge"}
    conf["ipam"] = {"type": "host-local", "subnet": "10.10.0.0/24", "rangeEnd": "10.10.0.4"}
    result = runtime.call("ADD", conf, "one", "/run/netns/c1", plugin="host-local")
    assert result == {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.10.0.3/24", "gateway": "10.10.0.1"}],
        "dns": {},
    }
    assert host.read("/var/lib/cni/networks/net9/10.10.0.3") == "one\neth0"  # read with universal newlines
    assert runtime.call("CHECK", conf, "one", "/run/netns/c1", plugin="host-local") is None
    # A weft network of that name has its own members.
    host.weft("net", "create", "net9", "--subnet", "10.10.0.0/24")
    host.weft("run", "--name", "web", "--network", "net9", "--ip", "10.10.0.4")
    with pytest.raises(Failed, match="no IP addresses available in range set") as full:
        runtime.call("ADD", conf, "two", "/run/netns/c2", plugin="host-local")
    assert full.value.code == 102
    assert runtime.call("DEL", conf, "one", "", plugin="host-local") is None
    assert runtime.call("DEL", conf, "one", "", plugin="host-local") is None
    host.weft("net", "rm", "-f", "net9")
    conf["ipam"] = {"type": "weft", "subnet": "10.10.0.0/24"}
    assert (
        runtime.call("ADD", conf, "two", "/run/netns/c2", plugin="weft")["ips"][0]["address"]
        == "10.10.0.4/24"
    )
    gone = {**conf, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []}
    assert runtime.call("GC", gone, plugin="weft") is None


def test_a_foreign_ipam_is_run_and_taken_back(host: Host, runtime: Runtime) -> None:
    """Found in CNI_PATH by its type; after a failure its DEL is called."""
    script = (
        "#!/bin/sh\necho $CNI_COMMAND >>/run/ipam.log\n[ $CNI_COMMAND = ADD ] || exit 0\ncat /run/ipam.json\n"
        "exit $(cat /run/ipam.rc)\n"
    )
    host.write(f"{OWN}/ours", script, 0o755)
    host.write("/run/ipam.rc", "0")
    given = {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.11.0.5/24", "gateway": "10.11.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.11.0.9"}],
    }
    host.write("/run/ipam.json", json.dumps(given))
    plugin = {"type": "bridge", "bridge": "br9", "isGateway": True, "ipam": {"type": "ours"}}
    listing = {"cniVersion": "1.0.0", "name": "far", "plugins": [plugin]}
    runtime.add(listing, "one", "c1")
    assert addresses(host, "c1") == ["10.11.0.5/24"]
    assert "192.0.2.0/24 via 10.11.0.9" in host.ip("route", netns="c1")
    with pytest.raises(Failed, match="is taken"):  # it gives the same address twice
        runtime.add(listing, "two", "c2")
    assert host.read("/run/ipam.log").split() == ["ADD", "ADD", "DEL"]
    host.write("/run/ipam.json", json.dumps({"cniVersion": "1.0.0", "code": 42, "msg": "no more"}))
    host.write("/run/ipam.rc", "3")
    with pytest.raises(Failed, match="ours: no more") as refused:
        runtime.add(listing, "two", "c2")
    assert refused.value.code == 42
    for nonsense in ("", "[]", "{", '{"ips": 3}', '{"ips": [{"address": "10.0.0.300/24"}]}'):
        host.write("/run/ipam.rc", "0")
        host.write("/run/ipam.json", nonsense)
        with pytest.raises(Failed):
            runtime.add(listing, "two", "c2")
    runtime.delete(listing, "one", "c1")
    with pytest.raises(Failed, match="failed to find plugin 'theirs'"):
        runtime.add({**listing, "plugins": [{**plugin, "ipam": {"type": "theirs"}}]}, "one", "c1")


def test_static(host: Host, runtime: Runtime) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.12.0.9/24", "gateway": "10.12.0.254"}]}
    listing = whole("fixed", ipam=ipam)
    assert runtime.add(listing, "one", "c1")["ips"][0]["gateway"] == "10.12.0.254"
    runtime.add(listing, "two", "c2", ips=["10.12.0.10/24"])
    runtime.delete(listing, "one", "c1")
    runtime.delete(listing, "two", "c2")


# -- GC, STATUS, VERSION, CHECK


def test_gc_takes_out_who_is_not_named(host: Host, runtime: Runtime) -> None:
    listing = {**podman(version="1.1.0")}
    for number in (1, 2, 3):
        runtime.add(listing, f"id{number}", f"c{number}")
    host.weft("net", "connect", "pod", "/run/netns/c4")  # not CNI's
    runtime.collect(listing, ("id2", "eth0"), ("id3", "eth9"))
    (network,) = host.weft_json("net", "inspect", "pod")
    assert sorted(e["container"] for e in network["endpoints"]) == ["cni:id2", "path:/run/netns/c4"]
    with pytest.raises(Failed, match="valid-attachments is missing"):
        runtime.call("GC", {**listing["plugins"][0], "name": "pod", "cniVersion": "1.1.0"})
    host.weft("net", "disconnect", "pod", "/run/netns/c4")
    runtime.delete(listing, "id2")
    assert host.run(["ls", "/var/lib/cni/networks/pod"]).stdout.split() == ["last_reserved_ip.0", "lock"]


def test_check_compares(host: Host, runtime: Runtime) -> None:
    """Whatever somebody changes is found."""
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    ipam = {"type": "host-local", "subnet": "10.13.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    listing = whole(ipam=ipam)
    runtime.add(listing, "one", "c1", portMappings=ports)
    runtime.check(listing, "one", "c1")
    for change, back, said in (
        ("ip -n c1 link set eth0 mtu 1400", "ip -n c1 link set eth0 mtu 1500", "MTU"),
        (
            "ip -n c1 addr add 10.13.0.9/24 dev eth0; ip -n c1 addr del 10.13.0.2/24 dev eth0",
            "",
            "match addr",
        ),
    ):
        host.sh(change)
        with pytest.raises(Failed, match=said):
            runtime.check(listing, "one", "c1")
        host.sh(back)
    runtime.delete(listing, "one", "c1")
    runtime.kept.clear()
    with pytest.raises(Failed, match="prevResult is missing"):
        runtime.check(listing, "one", "c1")


def test_status_and_version(host: Host, runtime: Runtime) -> None:
    for name in ("weft", "bridge", "host-local", "portmap", "loopback"):
        said = runtime.call("VERSION", {"cniVersion": "0.4.0"}, plugin=name)
        assert said["cniVersion"] == "0.4.0"
        assert said["supportedVersions"][-2:] == ["1.0.0", "1.1.0"]
    conf = {"cniVersion": "1.1.0", "name": "pods", "type": "weft"}
    assert runtime.call("STATUS", conf) is None
    small = {"type": "host-local", "subnet": "10.14.0.0/30"}
    listing = whole("pods", ipam=small)
    runtime.add(listing, "one", "c1")
    with pytest.raises(Failed, match="no IP addresses") as full:
        runtime.call("STATUS", {**conf, "ipam": small})
    assert full.value.code == 51
    runtime.delete(listing, "one", "c1")
    assert "CNI protocol versions supported" in host.run([f"{OWN}/bridge"]).stderr


def test_an_open_network_is_reached_by_its_addresses(host: Host, runtime: Runtime) -> None:
    """As pods have to be: from outside, from another open network, and the host's services from within."""
    host.sh("ip link add far1 netns c5 type veth peer name up1\nip addr add 192.0.2.1/24 dev up1")
    host.sh("ip link set up1 up\nip -n c5 addr add 192.0.2.2/24 dev far1\nip -n c5 link set far1 up")
    host.ip("route", "add", "default", "via", "192.0.2.1", netns="c5")
    local = {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}]}
    lists = [
        whole(
            name,
            ipMasq=False,
            ingressPolicy=policy,
            ipam={**local, "subnet": subnet},
        )
        for name, policy, subnet in (
            ("pods", "open", "10.20.0.0/24"),
            ("more", "open", "10.21.0.0/24"),
            ("shut", "same-bridge", "10.22.0.0/24"),
        )
    ]
    for number, listing in enumerate(lists, 1):
        runtime.add(listing, f"id{number}", f"c{number}")
    server, service = host.serve(80, "a pod", netns="c1"), host.serve(81, "a node")
    assert host.fetch("http://10.20.0.2/", netns="c5").client == "192.0.2.2"
    assert host.fetch("http://10.20.0.2/", netns="c2").client == "10.21.0.2"
    assert host.fetch("http://192.0.2.1:81/", netns="c2").ok
    for url, netns in (
        ("http://10.20.0.2/", "c3"),
        ("http://192.0.2.1:81/", "c3"),
        ("http://10.22.0.2/", "c5"),
    ):
        assert not host.fetch(url, netns=netns, timeout=0.3).ok, (url, netns)
    host.weft("repair")
    assert host.fetch("http://10.20.0.2/", netns="c5").ok
    server.end()
    service.end()
    for number, listing in enumerate(lists, 1):
        runtime.delete(listing, f"id{number}", f"c{number}")
    host.ip("link", "del", "up1")


# -- the chained ones alone


def test_tuning_puts_back_what_was(host: Host, runtime: Runtime) -> None:
    """Also of an interface that is not weft's."""
    host.sh("ip -n c1 link add eth0 type veth peer name eth9\nip -n c1 link set eth0 up")
    was = json.loads(host.ip("-j", "link", "show", "dev", "eth0", netns="c1"))[0]
    conf = {
        "cniVersion": "1.0.0",
        "name": "any",
        "type": "tuning",
        "mac": "02:aa:bb:cc:dd:ee",
        "mtu": 1300,
        "promisc": True,
        "allmulti": True,
        "txQLen": 77,
        "sysctl": {"net.ipv4.conf.IFNAME.arp_notify": "1", "net/core/somaxconn": "500"},
        "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}]},
    }
    result = runtime.call("ADD", conf, "one", "/run/netns/c1")
    assert result["interfaces"] == [{"name": "eth0", "mac": "02:aa:bb:cc:dd:ee", "sandbox": "/run/netns/c1"}]
    now = json.loads(host.ip("-j", "-d", "link", "show", "dev", "eth0", netns="c1"))[0]
    assert (now["address"], now["mtu"], now["txqlen"]) == ("02:aa:bb:cc:dd:ee", 1300, 77)
    assert {"PROMISC", "ALLMULTI"} <= set(now["flags"])
    assert host.sysctl("net.core.somaxconn", netns="c1") == "500"
    assert runtime.call("CHECK", conf, "one", "/run/netns/c1") is None
    host.ip("link", "set", "eth0", "mtu", "1290", netns="c1")
    with pytest.raises(Failed, match="mtu is 1300, current value is 1290"):
        runtime.call("CHECK", conf, "one", "/run/netns/c1")
    assert runtime.call("DEL", conf, "one", "/run/netns/c1") is None
    now = json.loads(host.ip("-j", "link", "show", "dev", "eth0", netns="c1"))[0]
    assert [now[k] for k in ("address", "mtu", "flags")] == [was[k] for k in ("address", "mtu", "flags")]
    assert runtime.call("DEL", conf, "one", "") is None
    for key, value in (
        ("sysctl", {"kernel.hostname": "x"}),
        ("sysctl", {"net.ipv4.conf.all.route_localnet": "1"}),
    ):
        with pytest.raises(Failed, match="sysctl"):
            runtime.call("ADD", {**conf, key: value}, "one", "/run/netns/c1")
    host.ip("link", "del", "eth0", netns="c1")


def test_bandwidth_comes_and_goes_in_a_chain(host: Host, runtime: Runtime) -> None:
    listing = podman()
    listing["plugins"].append({"type": "bandwidth", "capabilities": {"bandwidth": True}})
    rates = {
        "ingressRate": 8_000_000,
        "ingressBurst": 80_000,
        "egressRate": 16_000_000,
        "egressBurst": 80_000,
    }
    result = runtime.add(listing, "one", "c1", bandwidth=rates)
    queue = result["interfaces"][-1]["name"]
    runtime.check(listing, "one", "c1")
    assert host.pings("10.88.0.1", netns="c1")
    host.ip("link", "del", result["interfaces"][1]["name"])
    host.weft("repair")  # with the cable its queues
    runtime.check(listing, "one", "c1")
    host.run(["tc", "qdisc", "del", "dev", queue, "root"])
    with pytest.raises(Failed, match="does not send 16000000 bit/s"):
        runtime.check(listing, "one", "c1")
    runtime.delete(listing, "one", "c1")


def test_firewall_isolates(host: Host, runtime: Runtime) -> None:
    listing = podman()
    listing["plugins"][2]["ingressPolicy"] = "isolated"
    runtime.add(listing, "one", "c1")
    runtime.add(listing, "two", "c2")
    runtime.check(listing, "one", "c1")
    assert not host.pings("10.88.0.3", netns="c1", timeout=0.3)
    assert host.pings("10.88.0.1", netns="c1")
    runtime.delete(listing, "one", "c1")
    runtime.delete(listing, "two", "c2")


def test_chained_plugins_behind_somebody_elses_interface_say_so(host: Host, runtime: Runtime) -> None:
    prev = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}]}
    ports = {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "tcp"}]}
    conf = {"cniVersion": "1.0.0", "name": "any", "type": "portmap", "prevResult": prev}
    assert runtime.call("ADD", conf, "one", "/run/netns/c1") == {**prev, "dns": {}}  # nothing to publish
    with pytest.raises(Failed, match="is not in weft network any") as refused:
        runtime.call("ADD", {**conf, "runtimeConfig": ports}, "one", "/run/netns/c1")
    assert refused.value.code == 7
    assert runtime.call("DEL", {**conf, "runtimeConfig": ports}, "one", "") is None


# -- after a reboot, and after what nobody told


def test_an_end_that_nobody_told(host: Host, runtime: Runtime) -> None:
    """The namespace is gone, or another one has its place: DEL and the next ADD clean up."""
    listing = podman()
    host.ip("netns", "add", "brief")
    runtime.add(listing, "one", "brief")
    host.ip("netns", "del", "brief")
    runtime.delete(listing, "one", "brief")
    host.ip("netns", "add", "brief")
    runtime.add(listing, "two", "brief")
    host.sh("ip netns del brief\nip netns add brief")
    runtime.add(listing, "two", "brief")
    host.ip("netns", "del", "brief")
    runtime.kept.clear()
    runtime.delete(listing, "two")  # without prevResult


@pytest.mark.campaign
def test_a_reference_plugin_with_wefts_ipam(host: Host, runtime: Runtime) -> None:
    """Their ptp asks weft's host-local."""
    host.run(["cp", f"{REFERENCE}/ptp", f"{OWN}/their-ptp"])
    plugin = {"type": "their-ptp", "ipam": {"type": "host-local", "subnet": "10.15.0.0/24"}}
    listing = {"cniVersion": "1.0.0", "name": "theirs", "plugins": [plugin]}
    runtime.add(listing, "one", "c1")
    assert addresses(host, "c1") == ["10.15.0.2/24"]
    runtime.delete(listing, "one", "c1")
