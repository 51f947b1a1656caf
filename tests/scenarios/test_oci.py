"""Other runtimes' containers in weft's networks, by a hook, and weft's in their words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness import Host, Process, settle
from scenarios.bundles import CGROUP, SAID, bundle, config, furnish, sweep

BOTH = ("createRuntime", "poststop")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host("oci") as made:
        furnish(made)
        made.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
        made.weft("net", "create", "red", "--subnet", "192.168.20.0/24")
        yield made
    sweep()


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest, host: Host) -> Iterator[str]:
    yield request.param
    for name in host.run(["ls", f"/run/{request.param}"], check=False).stdout.split():
        host.run([request.param, "delete", "--force", name], check=False)
    own = host.weft("ps", "-aq").stdout.split()
    if own:
        host.weft("rm", "-f", *own)
    assert members(host, "blue") == members(host, "red") == []


def members(host: Host, network: str) -> list[str]:
    (found,) = host.weft_json("net", "inspect", network)
    return [e["container"] for e in found["endpoints"]]


def go(host: Host, runtime: str, made: dict[str, Any], check: bool = True) -> Any:
    """Runs a container to its end."""
    path = bundle(host, made)
    host.write(SAID, "")
    done = host.run([runtime, "run", "--bundle", path, made["hostname"]], check=check)
    done.stderr += host.read(SAID)
    return done


def started(host: Host, runtime: str, made: dict[str, Any]) -> Process:
    """Runs one that says ``ready``."""
    path = bundle(host, made)
    process = host.popen([runtime, "run", "--bundle", path, made["hostname"]])
    assert process.stdout
    line = process.stdout.readline()
    assert line == "ready\n", line + (process.stderr.read() if process.stderr else "")
    return process


def idle(id: str, **notes: str) -> dict[str, Any]:
    named = {f"weft.{key}": value for key, value in notes.items()}
    return config("sh", "-c", "echo ready; exec sleep 100", id=id, notes=named, hooks=BOTH)


# -- the hook


def test_a_hook_connects_a_container_and_its_end_disconnects_it(host: Host, runtime: str) -> None:
    notes = {"weft.network": "blue:ip=192.168.10.77,ifname=lan0;red"}
    made = config("ip", "-o", "addr", id="web", notes=notes, hooks=BOTH)
    said = go(host, runtime, made).stdout
    assert "lan0    inet 192.168.10.77/24" in said
    assert "eth0    inet 192.168.20." in said
    assert members(host, "blue") == members(host, "red") == []
    assert "web" not in json.dumps(host.weft_json("ps", "-a"))


def test_while_it_runs_it_is_a_member_like_others(host: Host, runtime: str) -> None:
    if runtime == "crun":  # waits for all that hooks leave running
        refused = go(host, runtime, idle("web", network="blue", publish="8080:80"), check=False)
        assert "`crun run` would wait for the proxy" in refused.stderr
        host.weft("run", "--name", "first", "-p", "8081:80")
    process = started(host, runtime, idle("web", network="blue", publish="8080:80", hostname="shop"))
    name = f"{runtime}:web"
    assert members(host, "blue") == [name]
    (row,) = [r for r in host.weft_json("ps", "-a") if r["name"] == name]
    address = row["networks"]["blue"]["addresses"][0].partition("/")[0]
    assert row["state"] == "running"
    assert row["publish"][0]["host_port"] == 8080
    # Others reach it, also by its name; and it reaches them.
    assert host.weft("run", "--rm", "--network", "blue", "--", "ping", "-c1", "-W2", "shop").returncode == 0
    host.run([runtime, "exec", "web", "ping", "-c1", "-W2", "192.168.10.1"])
    # It can be called by its name, for another network and wherever a namespace is meant.
    host.weft("net", "connect", "red", name)
    assert members(host, "red") == [name]
    assert address in host.weft("ns", "exec", "--ns", "net", name, "--", "ip", "-o", "-4", "addr").stdout
    spaces = host.weft_json("ns", "ls")
    assert {"engine": runtime, "name": "web", "id": "web"} in [s["container"] for s in spaces]
    # Its life is its runtime's.
    assert host.weft("rm", "-f", name, check=False).returncode == 2
    assert name not in host.weft("ps", "-aq").stdout
    assert host.weft_json("inspect", name)[0]["state"] == "running"
    host.run([runtime, "kill", "web", "KILL"])
    assert process.wait(20) == 137
    assert members(host, "blue") == []
    process.end()


def test_what_cannot_be_connected_does_not_start(host: Host, runtime: str) -> None:
    """The reason is on stderr, and nothing is left: no member, no container."""
    for notes, said in (
        ({"weft.network": "red;green"}, "no network 'green'"),
        ({"weft.network": "blue:ip=10.0.0.1"}, "10.0.0.1 is outside the subnet"),
        ({"weft.network": "blue;blue"}, "blue is given twice"),
        ({"weft.network": "blue:colour=red"}, "is not one of ip, mac"),
        ({"weft.publish": "8080:80"}, "weft.publish needs weft.network"),
    ):
        done = go(host, runtime, config("echo", "ran", id="web", notes=notes, hooks=BOTH), check=False)
        assert done.returncode != 0
        assert "ran" not in done.stdout
        assert said in done.stderr, (notes, done.stderr)
        host.run([runtime, "delete", "--force", "web"], check=False)
        assert members(host, "blue") == members(host, "red") == []


def test_hooks_twice(host: Host, runtime: str) -> None:
    """prestart and createRuntime both, poststop twice: the second finds nothing to do."""
    made = config(
        "ip", "-o", "-4", "addr", id="web", notes={"weft.network": "blue"}, hooks=(*BOTH, "prestart")
    )
    made["hooks"]["poststop"] *= 2
    said = go(host, runtime, made).stdout
    assert said.count("192.168.10.") == 2  # the address and its broadcast
    assert members(host, "blue") == []


def test_one_whose_end_nobody_told(host: Host, runtime: str) -> None:
    """Without poststop, or with its runtime killed: gc takes it out, and so does the next of its name."""
    made = config("true", id="web", notes={"weft.network": "blue"}, hooks=BOTH[:1])
    go(host, runtime, made)
    assert members(host, "blue") == [f"{runtime}:web"]
    go(host, runtime, made)
    assert members(host, "blue") == [f"{runtime}:web"]
    host.weft("gc")
    assert members(host, "blue") == []


def test_another_of_the_same_name_under_another_root(host: Host, runtime: str) -> None:
    process = started(host, runtime, idle("web", network="blue"))
    made = idle("web", network="blue")
    made["linux"]["cgroupsPath"] = f"/{CGROUP}/other"
    other = bundle(host, made, "other")
    done = host.run([runtime, "--root", "/run/elsewhere", "run", "--bundle", other, "web"], check=False)
    assert done.returncode != 0
    assert members(host, "blue") == [f"{runtime}:web"]
    host.run([runtime, "--root", "/run/elsewhere", "delete", "--force", "web"], check=False)
    assert members(host, "blue") == [f"{runtime}:web"]
    host.run([runtime, "kill", "web", "KILL"])
    assert settle(host, lambda: members(host, "blue") == [])
    process.end()


def test_a_container_in_the_hosts_network_or_in_wefts(host: Host, runtime: str) -> None:
    host.weft("run", "--name", "own", "--network", "red")
    for path, said in (("", "host's own network namespace"), ("/run/netns/own", "of container own")):
        made = config("true", id="web", notes={"weft.network": "blue"}, hooks=BOTH)
        spaces = made["linux"]["namespaces"]
        spaces[1] = {"type": "network", "path": path}
        if not path:
            del spaces[1]
            made["mounts"].pop()  # sysfs belongs to another network namespace
        done = go(host, runtime, made, check=False)
        assert done.returncode != 0 and said in done.stderr, done.stderr
        host.run([runtime, "delete", "--force", "web"], check=False)
    host.weft("rm", "-f", "own")


@pytest.mark.parametrize(
    ("state", "said", "status"),
    [
        ("", "there is no container's state on stdin", 2),
        (" \n", "there is no container's state on stdin", 2),
        ("{", "the container's state is not JSON", 2),
        ("[" * 100000, "the container's state is nested too deep", 2),
        ("{}", "id: is missing", 2),
        ('{"id": "../x", "status": "stopped"}', "id: '../x' is not a container's id", 2),
        ('{"id": "x", "status": "gone"}', "status: 'gone' is not one of", 2),
        ('{"id": "x", "status": "creating", "pid": "5"}', "pid: is a string, not a whole number", 2),
        ('{"id": "x", "status": "running", "pid": 5, "annotations": {}}', "runs already", 2),
        ('{"id": "x", "status": "created", "annotations": {"weft.network": "blue"}}', "state has no pid", 2),
        (
            '{"id": "x", "status": "created", "pid": 4194304, "bundle": "/nowhere"}',
            "/nowhere/config.json: No such",
            2,
        ),
        (
            '{"id": "x", "status": "created", "pid": 4194304, "annotations": {"weft.network": "blue"}}',
            "no process 4194304",
            3,
        ),
        ('{"id": "x", "status": "created", "pid": 4194304, "annotations": {"other": "y"}}', "", 0),
        ('{"id": "x", "status": "stopped"}', "", 0),
        ('{"id": "x", "status": "stopped", "pid": null, "annotations": 5}', "annotations: is a number", 2),
        ("x" * (1 << 20) + "x", "larger than", 2),
    ],
)
def test_any_state_on_stdin(host: Host, state: str, said: str, status: int) -> None:
    done = host.weft("oci-hook", input=state, check=False)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert (done.stderr == "") == (status == 0)
    assert members(host, "blue") == []
