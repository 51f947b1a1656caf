"""What scripts read: every key of the contract, -q, --filter, and ids cut short."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator

import pytest

from harness import Host, settle
from weft.core.model.names import object_id, root_id
from weft.frontends.cli import show

SUBNET_KEYS = {"subnet", "gateway", "ip_range", "used", "free"}
ENDPOINT_KEYS = {"container", "ifname", "host_ifname", "mac", "addresses", "aliases"}
NETWORK_KEYS = set("id name driver internal ipv6 subnets options labels bridge endpoints publish".split())
CONTAINER_KEYS = set(
    "id name state pid pids exit_code created networks namespaces publish limits command".split()
)
MEMBER_KEYS = {"ifname", "mac", "addresses", "gateway"}
PUBLISH_KEYS = {"container", "proto", "host_ip", "host_port", "container_port"}
SPACES = {"net", "mnt", "uts", "ipc", "pid", "user", "cgroup", "time"}
SCENE = (
    "net create blue --subnet 192.168.10.0/24 --gateway 192.168.10.254 --bridge lxcbr0"
    " --label tier=front --label owner=",
    "net create red --subnet 10.7.0.0/29 --mtu 1400",
    "run --name web --network blue:ip=192.168.10.10,mac=02:00:00:00:00:0a,ifname=nic0,alias=www"
    " --hostname h.example -p 8080:80 -p 0.0.0.0:53:5353/udp",
    "run -d --name job --network red -- sleep 1000",
    "run -d --name done --network red -- sh -c 'exit 7'",
)


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    with Host() as host:
        for command in SCENE:
            host.weft(*shlex.split(command))
        assert settle(host, lambda: bool(host.weft("ps", "-aq", "--filter", "state=exited").stdout))
        yield host


def names(host: Host, *command: str) -> list[str]:
    return host.weft(*command).stdout.split()


# -- networks


def test_networks(machine: Host) -> None:
    listed = machine.weft_json("net", "ls")
    assert listed == machine.weft_json("net", "inspect", "blue", "red")
    assert json.loads(machine.weft("net", "inspect", "blue").stdout) == [listed[0]]
    for network in listed:
        assert set(network) >= NETWORK_KEYS
        assert all(set(subnet) >= SUBNET_KEYS for subnet in network["subnets"])
        assert all(set(endpoint) >= ENDPOINT_KEYS for endpoint in network["endpoints"])
        assert all(set(publish) >= PUBLISH_KEYS for publish in network["publish"])
    blue, red = listed
    assert (blue["name"], blue["driver"], blue["bridge"], blue["internal"]) == (
        "blue",
        "bridge",
        "lxcbr0",
        False,
    )
    assert blue["ipv6"] is False and blue["options"] == {}
    assert blue["labels"] == {"tier": "front", "owner": ""}
    (subnet,) = blue["subnets"]
    assert (subnet["subnet"], subnet["gateway"], subnet["ip_range"]) == (
        "192.168.10.0/24",
        "192.168.10.254",
        None,
    )
    # 254 that a host may have; the gateway and one container have theirs.
    assert (subnet["used"], subnet["free"]) == (2, 252)
    assert [(s["used"], s["free"]) for s in red["subnets"]] == [(2, 4)], (
        "an exited container keeps no address"
    )


def test_an_endpoint_is_what_the_kernel_shows(machine: Host) -> None:
    (endpoint,) = machine.weft_json("net", "inspect", "blue")[0]["endpoints"]
    inside = json.loads(machine.ip("-j", "address", "show", "dev", endpoint["ifname"], netns="web"))[0]
    ports = json.loads(machine.ip("-j", "link", "show", "master", "lxcbr0"))
    assert endpoint["container"] == "web" and endpoint["ifname"] == "nic0"
    assert endpoint["mac"] == inside["address"] == "02:00:00:00:00:0a"
    assert endpoint["addresses"] == [f"{a['local']}/{a['prefixlen']}" for a in inside["addr_info"]]
    assert endpoint["addresses"] == ["192.168.10.10/24"]
    assert [endpoint["host_ifname"]] == [port["ifname"] for port in ports]
    assert endpoint["aliases"] == ["www"]


# -- containers


def test_containers(machine: Host) -> None:
    every = machine.weft_json("ps", "-a")
    inspected = machine.weft_json("inspect", "done", "job", "web")
    usage = [row["limits"].pop("usage") for row in inspected]
    assert [row["limits"].pop("usage") for row in every] == [None, None, None], "a list reads no counters"
    assert every == inspected
    assert usage[1]["pids"] == 2 and usage[1]["memory"] > 0 and usage[1]["cpu_ns"] > 0
    every = machine.weft_json("ps", "-a")
    assert machine.weft_json("ps") == [row for row in every if row["name"] != "done"]
    assert json.loads(machine.weft("inspect", "web").stdout) == [every[2]]
    for container in every:
        assert set(container) >= CONTAINER_KEYS
        assert all(set(member) >= MEMBER_KEYS for member in container["networks"].values())
        assert all(set(publish) >= PUBLISH_KEYS for publish in container["publish"])
        assert abs(container["created"] - time.time()) < 600


def test_a_container_with_a_command(machine: Host) -> None:
    (job,) = machine.weft_json("inspect", "job")
    assert (job["state"], job["exit_code"], job["command"]) == ("running", None, ["sleep", "1000"])
    assert job["pid"] in job["pids"]
    assert machine.read(f"/proc/{job['pid']}/comm") == "weft-init\n"
    (command,) = [pid for pid in job["pids"] if pid != job["pid"]]
    assert machine.read(f"/proc/{command}/comm") == "sleep\n"
    assert machine.read(f"/proc/{command}/status").count(f"\nPPid:\t{job['pid']}\n") == 1
    assert set(job["namespaces"]) == SPACES
    for kind, inode in job["namespaces"].items():
        assert machine.run(["readlink", f"/proc/{job['pid']}/ns/{kind}"]).stdout == f"{kind}:[{inode}]\n"
    assert list(job["networks"]) == ["red"] and job["networks"]["red"]["gateway"] == "10.7.0.1"


def test_a_container_without_a_process(machine: Host) -> None:
    (web,) = machine.weft_json("inspect", "web")
    assert (web["state"], web["pid"], web["pids"], web["command"]) == ("running", None, [], [])
    inode = machine.run(["stat", "-c", "%i", "/run/netns/web"]).stdout
    assert web["namespaces"] == {"net": int(inode)}
    member = web["networks"]["blue"]
    assert (member["ifname"], member["gateway"], member["addresses"]) == (
        "nic0",
        "192.168.10.254",
        ["192.168.10.10/24"],
    )


def test_a_container_that_has_exited(machine: Host) -> None:
    (done,) = machine.weft_json("inspect", "done")
    assert (done["state"], done["exit_code"], done["pid"], done["pids"]) == ("exited", 7, None, [])
    assert (done["networks"], done["namespaces"], done["publish"]) == ({}, {}, [])


def test_ports(machine: Host) -> None:
    ports = machine.weft_json("port", "web")
    assert ports == machine.weft_json("inspect", "web")[0]["publish"]
    assert ports == machine.weft_json("net", "inspect", "blue")[0]["publish"]
    assert ports == [
        {"container": "web", "proto": "tcp", "host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80},
        {"container": "web", "proto": "udp", "host_ip": "0.0.0.0", "host_port": 53, "container_port": 5353},
    ]
    said = machine.weft("port", "web").stdout
    assert said == "80/tcp -> 127.0.0.1:8080\n5353/udp -> 0.0.0.0:53\n"
    assert machine.weft_json("port", "job") == []


def test_a_list_of_nothing(host: Host) -> None:
    for command in ("net ls", "ps", "ps -a"):
        assert host.weft_json(*command.split()) == []
        assert host.weft("-q", *command.split()).stdout == ""
        assert len(host.weft(*command.split()).stdout.splitlines()) == 1, "the titles"


def test_format_json_stands_anywhere(machine: Host) -> None:
    found = machine.weft("ps", "--format", "json").stdout
    for command in ("--format json ps", "--format=json ps", "ps --format=json"):
        assert machine.weft(*command.split()).stdout == found


# -- -q and --filter


def test_quiet(machine: Host) -> None:
    assert names(machine, "net", "ls", "-q") == ["blue", "red"]
    assert names(machine, "ps", "--quiet") == ["job", "web"]
    assert names(machine, "ps", "-aq", "--format", "json") == ["done", "job", "web"]
    assert names(machine, "inspect", "-q", "web", "job") == ["web", "job"]
    assert names(machine, "net", "inspect", "-q", "red") == ["red"]


def test_quiet_while_something_is_made(machine: Host) -> None:
    assert names(machine, "net", "create", "green", "-q") == ["green"]
    assert names(machine, "run", "-q", "--name", "a", "--network", "green") == ["a"]
    assert names(machine, "run", "-dq", "--name", "b", "--network", "green", "--", "true") == ["b"]
    assert names(machine, "rm", "-f", "a", "b") == ["a", "b"]
    (made,) = names(machine, "run", "--name", "a", "--network", "green")
    assert machine.weft_json("inspect", made)[0]["name"] == "a"
    assert names(machine, "net", "rm", "-f", "green") == ["green"]


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("net ls --filter name=blue", "blue"),
        ("net ls --filter label=tier", "blue"),
        ("net ls --filter label=tier=front", "blue"),
        ("net ls --filter label=owner=", "blue"),
        ("net ls --filter label=tier=back", ""),
        ("net ls --filter labels=tier", "blue"),
        ("net ls --filter internal=false", "blue red"),
        ("net ls --filter internal=true", ""),
        ("net ls --filter mtu=1400 --filter driver=bridge", "red"),
        ("net ls --filter mtu=1400 --filter name=blue", ""),
        ("net ls --filter subnets=10.7.0.0/29", "red"),
        ("net ls --filter endpoints=web", "blue"),
        ("net inspect blue red --filter name=red", "red"),
        ("ps --filter networks=blue", "web"),
        ("ps --filter state=running", "job web"),
        ("ps --filter state=exited", ""),
        ("ps -a --filter state=exited", "done"),
        ("ps -a --filter exit_code=7", "done"),
        ("ps -a --filter command=sleep", "job"),
        ("ps --filter publish=8080", "web"),
        ("ps --filter hostname=h.example", "web"),
        ("inspect web job --filter name=job", "job"),
    ],
)
def test_filter(machine: Host, command: str, found: str) -> None:
    assert [row["name"] for row in machine.weft_json(*command.split())] == found.split()


def test_every_key_can_be_filtered_by(machine: Host) -> None:
    """And the list of keys that the refusal of another one gives is the list of keys that there are."""
    assert {*machine.weft_json("net", "ls")[0], "label"} == set(show._NETWORK_KEYS.split())
    assert set(machine.weft_json("ps")[0]) == set(show._CONTAINER_KEYS.split())
    for command, keys in (("net ls", show._NETWORK_KEYS), ("ps", show._CONTAINER_KEYS)):
        wishes = [word for key in keys.split() for word in ("--filter", f"{key}=x")]
        assert machine.weft_json(*command.split(), *wishes) == []


def test_bad_filters(machine: Host, host: Host) -> None:
    """Also where there is nothing to filter, and where another filter leaves nothing."""
    for wish in ("colour=blue", "name", "=blue", "", "NAME=blue", "label"):
        for place, command in ((machine, "net ls"), (machine, "ps --filter name=nope"), (host, "ps -a")):
            done = place.weft(*command.split(), "--filter", wish, check=False)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"weft: error: --filter '{wish}' is not KEY=VALUE of a known key")
            assert "\nhint: keys: " in done.stderr and " name " in done.stderr
    assert machine.weft("ps", "--filter", "label=x", check=False).returncode == 2, "containers have none"


# -- ids cut short


def test_ids_cut_short(machine: Host) -> None:
    (blue,), (web,) = machine.weft_json("net", "inspect", "blue"), machine.weft_json("inspect", "web")
    for length in (4, 15):
        network, container = blue["id"][:length], web["id"][:length]
        assert names(machine, "net", "inspect", "-q", network) == ["blue"]
        assert names(machine, "inspect", "-q", container) == ["web"]
        assert machine.weft("port", container).stdout == machine.weft("port", "web").stdout
        assert machine.weft("exec", container, "hostname").stdout == "h.example\n"
        run = ("run", "--name", "short", "--network", network)
        assert names(machine, *run, "-q") == ["short"]
        assert list(machine.weft_json("inspect", "short")[0]["networks"]) == ["blue"]
        assert names(machine, "rm", machine.weft_json("inspect", "short")[0]["id"][:length]) == ["short"]
    machine.weft("net", "create", "gone")
    assert names(machine, "net", "rm", machine.weft_json("net", "inspect", "gone")[0]["id"][:6]) == ["gone"]
    assert machine.weft("inspect", web["id"] + "0", check=False).returncode == 3


def test_an_id_that_two_begin_with(host: Host) -> None:
    """Is nobody's: neither is shown, neither is removed."""
    root, seen = root_id("/var/lib/weft"), dict[str, str]()
    for number in range(1 << 16):
        name = f"c{number}"
        short = object_id(root, "container", name)[:4]
        if short in seen:
            break
        seen[short] = name
    twins = [seen[short], name]
    for one in twins:
        host.weft("run", "--name", one)
    assert [row["id"][:4] for row in host.weft_json("ps")] == [short, short]
    for command in ("inspect", "rm"):
        assert host.weft(command, short, check=False).returncode == 3
    assert sorted(names(host, "ps", "-q")) == sorted(twins)


def test_a_name_goes_before_an_id(host: Host) -> None:
    host.weft("run", "--name", "web")
    short = host.weft_json("inspect", "web")[0]["id"][:6]
    host.weft("run", "--name", short)
    assert host.weft_json("inspect", short)[0]["name"] == short
