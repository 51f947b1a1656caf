"""``weft ns ls``, ``identify``, ``pids``, ``same``: what ``ip netns`` and ``lsns`` say of the same machine,
both ways, and what neither of them can say."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness import Host, Process, settle
from scenarios.life import running
from weft.core.model.namespace import TYPES

KEYS = {
    *"inode type names pids nprocs command user owner parent nsid held_by container".split(),
    *"state former links here".split(),
}
STRANGE = "\x1b]0;x\x07\u202e$(id)"


def sleeper(host: Host, *enter: str) -> Process:
    """A ``sleep`` inside what these words enter, once it is there."""
    process = host.popen([*enter, "sleep", "1000"])

    def asleep() -> bool:
        found = host.run(["pgrep", "-x", "sleep"], check=False).stdout.split()
        return len(found) == sum(p.poll() is None for p in host.processes)

    assert settle(host, asleep)
    return process


def sleepers(host: Host) -> list[int]:
    return sorted(map(int, host.run(["pgrep", "-x", "sleep"]).stdout.split()))


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    """Names by ``ip``, by weft, by hand; processes in namespaces of each type; a veth; another user."""
    with Host() as host:
        host.sh(
            f"""
            ip netns add blue
            ip netns add red
            ip link add v0 type veth peer name v1 netns blue
            ip netns set red 9
            ln -s /proc/1/ns/net /run/netns/first
            touch /run/netns/plain
            ln -s /proc/4000000/ns/net /run/netns/dangling
            touch '/run/netns/{STRANGE}'
            unshare --net mount --bind /proc/self/ns/net '/run/netns/{STRANGE}'
            """
        )
        host.weft("ns", "add", "green")
        sleeper(host, "ip", "netns", "exec", "red")
        sleeper(host, "ip", "netns", "exec", "red")
        sleeper(host, "unshare", "--net", "setpriv", "--reuid=65534", "--clear-groups")
        everything = "--net --mount --uts --ipc --cgroup --time --user --map-root-user --pid --fork".split()
        sleeper(host, "unshare", *everything)
        sleeper(host, "unshare", "--user", "--map-root-user", "unshare", "--user", "--map-root-user", "--net")
        yield host


def rows(host: Host, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = host.weft_json("ns", "ls", *words)
    return found


def by_name(host: Host, name: str) -> dict[str, Any]:
    (row,) = [row for row in rows(host) if name in row["names"]]
    return row


# -- agreement


@pytest.mark.parametrize("kind", TYPES)
def test_what_lsns_lists(machine: Host, kind: str) -> None:
    """Both ways, number for number; each of the two programs counts itself where it is."""
    columns = "NS,NPROCS,PID,COMMAND,USER,ONS,PNS"
    said = json.loads(machine.run(["lsns", "-J", "-t", kind, "-o", columns, "-u"]).stdout)["namespaces"]
    theirs = {int(row["ns"]): row for row in said}
    listed = {row["inode"]: row for row in rows(machine, "--type", kind)}
    assert set(theirs) == {inode for inode, row in listed.items() if row["nprocs"]}
    assert len(theirs) > 1
    for inode, row in theirs.items():
        ours = listed[inode]
        assert int(row["nprocs"]) == ours["nprocs"]
        assert (int(row["pid"]), row["command"], row["user"]) == (
            ours["pids"][0],
            ours["command"],
            ours["user"],
        )
        assert int(row["ons"]) == (ours["owner"] or 0)
        assert int(row["pns"]) == (ours["parent"] or 0)


def test_what_ip_netns_lists(machine: Host) -> None:
    theirs = {os.fsencode(name) for name in os.listdir(machine.path("/run/netns"))}
    assert len(machine.ip("netns", "list").strip().split("\n")) == len(theirs), "ip hides some names"
    ours = [name for row in rows(machine) for name in row["names"]]
    assert {os.fsencode(name) for name in ours} == theirs
    assert len(ours) == len(theirs)
    assert [row["names"] for row in rows(machine) if row["state"] == "stale"] == [["dangling"], ["plain"]]
    assert "first" in next(row for row in rows(machine) if row["here"])["names"]


def test_ids(machine: Host) -> None:
    theirs = json.loads(machine.ip("-j", "netns", "list-id"))
    named = {row["nsid"]: row.get("name") for row in theirs}
    ours = {row["nsid"]: row["names"] for row in rows(machine) if row["nsid"] is not None}
    assert ours == {nsid: [name] for nsid, name in named.items()}
    assert ours[9] == ["red"] and len(ours) == 2


def test_identify_and_pids_as_ip_says_them(machine: Host) -> None:
    for pid in [1, *sleepers(machine)]:
        theirs = machine.ip("netns", "identify", str(pid)).split()
        ours = machine.weft("ns", "identify", str(pid)).stdout.split()
        assert sorted(ours) == sorted(theirs)
    assert machine.weft("ns", "identify", str(sleepers(machine)[0])).stdout == "red\n"
    for name in ("red", "blue", "green"):
        assert machine.weft("ns", "pids", name).stdout == machine.ip("netns", "pids", name)
    assert len(machine.weft("ns", "pids", "red").stdout.split()) == 2


def test_identify_without_a_pid_says_where_one_is(machine: Host) -> None:
    assert machine.weft("ns", "identify").stdout == "first\n"
    weft = str(Path(__file__).parents[2] / "weft")
    assert machine.run([weft, "ns", "identify"], netns="green").stdout == machine.ip(
        "netns", "identify", netns="green"
    )


def test_identify_of_every_type(machine: Host) -> None:
    pid = sleepers(machine)[0]
    lines = [
        line.split() for line in machine.weft("ns", "identify", str(pid), "--type", "all").stdout.splitlines()
    ]
    assert [line[0] for line in lines] == list(TYPES)
    for kind, inode, *names in lines:
        assert machine.run(["readlink", f"/proc/{pid}/ns/{kind}"]).stdout == f"{kind}:[{inode}]\n"
        assert names == (["red"] if kind == "net" else [])
    listed = machine.weft_json("ns", "identify", str(pid), "--type", "all")
    assert [(row["type"], str(row["inode"]), *row["names"]) for row in listed] == [
        tuple(line) for line in lines
    ]


def test_two_share_a_namespace_exactly_when_the_links_agree(machine: Host) -> None:
    pids = [1, *sleepers(machine)]
    for kind in ("net", "user", "mnt"):
        links = {pid: machine.run(["readlink", f"/proc/{pid}/ns/{kind}"]).stdout for pid in pids}
        for a, b in pairwise(pids):
            status = machine.weft("ns", "same", str(a), str(b), "--type", kind, check=False).returncode
            assert status == int(links[a] != links[b])
    red = str(sleepers(machine)[0])
    assert machine.weft("ns", "same", "red", red).returncode == 0
    assert machine.weft("ns", "same", "netns:red", f"/proc/{red}/ns/net").returncode == 0
    assert machine.weft("ns", "same", "host", "1", "--type", "all").stdout == ""
    assert machine.weft("ns", "same", "1", red, "--type", "all", check=False).stdout == "net mnt\n"
    assert machine.weft_json("ns", "same", "1", "1") == {"same": True, "differing": []}


def test_pids_inside_and_outside(machine: Host) -> None:
    """NSpid: what is 1 inside has another number here (scenario A3)."""
    row = next(row for row in rows(machine, "--type", "pid") if not row["here"])
    (pid,) = row["pids"]
    assert machine.weft("ns", "pids", str(pid), "--type", "pid").stdout == f"{pid} 1\n"
    assert machine.weft_json("ns", "pids", str(pid), "--type", "pid") == [{"pid": pid, "nspid": [pid, 1]}]
    assert row["parent"] == next(r["inode"] for r in rows(machine, "--type", "pid") if r["here"])
    assert machine.weft("ns", "pids", "-q", str(pid), "--type", "pid").stdout == f"{pid}\n"


# -- what is shown


def test_the_contract_s_keys_and_filters(machine: Host) -> None:
    listed = rows(machine, "--type", "all")
    assert all(set(row) == KEYS for row in listed)
    assert {row["type"] for row in listed} == set(TYPES)
    red = by_name(machine, "red")
    for key in KEYS - {"held_by", "container", "former", "links", "parent"}:
        value = red[key][0] if isinstance(red[key], list) else red[key]
        assert red["inode"] in [row["inode"] for row in rows(machine, "--filter", f"{key}={value}")], key
    assert [row["names"] for row in rows(machine, "--filter", "nsid=9")] == [["red"]]
    held = rows(machine, "--filter", "held_by=mount", "--filter", "nprocs=2")
    assert [row["names"] for row in held] == [["red"]]
    nobody = machine.weft("ns", "ls", "--filter", "colour=red", check=False)
    assert (nobody.returncode, "--filter" in nobody.stderr) == (2, True)


def test_names_alone(machine: Host) -> None:
    said = machine.weft("ns", "ls", "-q").stdout.splitlines()
    listed = rows(machine)
    assert said == [row["names"][0] if row["names"] else str(row["inode"]) for row in listed]
    assert {"blue", "green", "red", "plain"} <= set(said)


def test_the_table(machine: Host) -> None:
    lines = machine.weft("ns", "ls").stdout.splitlines()
    assert lines[0].split() == "NS TYPE NPROCS PID USER NAMES HELD BY COMMAND".split()
    red = next(line for line in lines if " red " in line).split()
    assert red[1:6] == ["net", "2", str(sleepers(machine)[0]), "root", "red"]
    # unshare(1) made a copy of the mount that does not go with the name.
    (copy,) = [h["pid"] for h in by_name(machine, "red")["held_by"] if h["kind"] == "mount" and h["pid"]]
    assert " ".join(red[6:]) == f"name, mount /run/netns/red of {copy} sleep 1000"
    assert any(line.split()[:1] == ["-"] and "plain (stale)" in line for line in lines)
    shown = "\n".join(lines)
    assert "\\x1b]0;x\\x07\\x202e$(id)" in shown
    assert not set(shown) & set("\x1b\x07\u202e")


def test_the_tree(machine: Host) -> None:
    """A user namespace with what it owns below it, and pid namespaces within each other."""
    text = machine.weft("ns", "ls", "--tree", "--type", "all").stdout
    lines = text.splitlines()
    deep = {line.strip(" │├└─").split()[0]: len(line) - len(line.lstrip(" │├└─")) for line in lines}
    listed = [row for row in rows(machine, "--type", "all") if row["inode"]]
    assert len(lines) >= len(listed)
    user = {row["inode"]: row for row in listed if row["type"] == "user"}
    for row in listed:
        name = f"{row['type']}:[{row['inode']}]"
        if row["owner"] in user:
            assert deep[name] > deep[f"user:[{row['owner']}]"]
    (lonely,) = [row for row in user.values() if not row["pids"]]
    assert [h["kind"] for h in lonely["held_by"]] == ["child"]
    refused = machine.weft("ns", "ls", "--tree", "-q", check=False)
    assert refused.returncode == 2


# -- lives


def test_a_name_that_is_taken_off_and_what_lives_on(host: Host) -> None:
    host.weft("ns", "add", "blue", "red")
    inode = by_name(host, "blue")["inode"]
    process = sleeper(host, "ip", "netns", "exec", "blue")
    said = host.weft("ns", "rm", "blue", "red")
    assert "1 process lives on" in said.stderr
    (row,) = [row for row in rows(host) if row["state"] == "leaked"]
    assert (row["inode"], row["former"], row["names"]) == (inode, ["blue"], [])
    assert row["held_by"] == [{"kind": "process", "pid": row["pids"][0], "where": ""}]
    assert "blue (removed)" in host.weft("ns", "ls").stdout
    process.end()
    assert settle(host, lambda: not rows(host, "--filter", "state=leaked"))


def test_leaked_through_a_socket_alone(host: Host) -> None:
    host.weft("ns", "add", "blue")
    # It goes away from where its socket stays.
    leave = """
import ctypes, os, socket, sys
s = socket.socket()
ctypes.CDLL(None).setns(os.open('/proc/1/ns/net', 0), 0)
print(flush=True)
sys.stdin.read()
"""
    read, write = os.pipe()
    process = host.popen(["/usr/bin/python3", "-ISc", leave], netns="blue", stdin=read)
    os.close(read)
    assert process.stdout and process.stdout.readline() == "\n"
    host.weft("ns", "rm", "blue")
    (row,) = rows(host, "--filter", "state=leaked")
    assert [(h["kind"], h["pid"]) for h in row["held_by"]] == [("socket", process.inner_pid())]
    assert (row["former"], row["pids"]) == (["blue"], [])
    os.close(write)
    assert settle(host, lambda: not rows(host, "--filter", "state=leaked"))


def test_stale_names_are_cleared(host: Host) -> None:
    host.sh(
        "ip netns add blue; umount /run/netns/blue; touch /run/netns/plain; ln -s /nowhere /run/netns/link"
    )
    stale = ["blue", "link", "plain"]
    assert [row["names"] for row in rows(host, "--filter", "state=stale")] == [[name] for name in stale]
    assert host.weft("ns", "rm", *stale).stdout.split() == stale
    assert host.ip("netns", "list") == ""
    assert not rows(host, "--filter", "state=stale")


def test_wefts_own_containers(host: Host) -> None:
    host.weft("net", "create", "blue")
    host.weft("run", "--name", "quiet", "--network", "blue")
    host.weft("run", "-d", "--name", "job", "--network", "blue", "--", "sleep", "1000")
    ids = {row["name"]: row["id"] for row in host.weft_json("ps")}
    found = {row["container"]["name"]: row for row in rows(host) if row["container"]}
    assert {name: row["container"] for name, row in found.items()} == {
        name: {"engine": "weft", "name": name, "id": ids[name]} for name in ("quiet", "job")
    }
    mounts = [row["container"]["name"] for row in rows(host, "--type", "mnt") if row["container"]]
    assert mounts == ["job"]
    pid, command = found["job"]["pids"]
    assert [running(host, "weft-init"), running(host, "sleep 1000")] == [[pid], [command]]
    for target in ("job", "weft:job", str(pid), str(command)):
        assert host.weft("ns", "pids", target).stdout == f"{pid}\n{command}\n"
        assert host.weft("ns", "same", target, str(pid), "--type", "all").returncode == 0
    assert host.weft("ns", "pids", "quiet").stdout == ""
    assert rows(host, "--filter", "container=quiet")[0]["names"] == ["quiet"]


def test_names_of_other_types(host: Host) -> None:
    """Where weft keeps them, as NAME/TYPE."""
    place = "/run/weft/ns/blue/uts"
    host.sh(
        f"mkdir -p /run/weft/ns/blue; touch {place}; unshare --uts mount --bind /proc/self/ns/uts {place}"
    )
    (row,) = [row for row in rows(host, "--type", "uts") if row["names"]]
    assert (row["names"], row["pids"], row["here"]) == (["blue"], [], False)
    assert host.weft("ns", "same", "blue", place, "--type", "uts").returncode == 0
    assert host.weft("ns", "same", "blue", "host", "--type", "uts", check=False).returncode == 1


@contextlib.contextmanager
def cgroup(path: str) -> Iterator[Path]:
    """A cgroup below one of the test's own."""
    base = next(
        p for p in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup") if os.path.exists(f"{p}/cgroup.procs")
    )
    top = Path(base) / f"weft-test-{os.getpid()}"
    place = top / path
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        for directory in (place, *place.parents):
            if directory.is_relative_to(top):
                directory.rmdir()


def test_a_container_of_docker(host: Host) -> None:
    """By its cgroup and Docker's own file; no Docker is there."""
    id = "ab" * 32
    host.write(f"/var/lib/docker/containers/{id}/config.v2.json", json.dumps({"ID": id, "Name": "/web"}))
    with cgroup(f"docker/{id}") as place:
        process = sleeper(host, "unshare", "--net", "--uts")
        (place / "cgroup.procs").write_text(str(process.outer_pid()))
        (row,) = rows(host, "--filter", "container=docker")
        assert row["container"] == {"engine": "docker", "name": "web", "id": id}
        assert "docker:web" in host.weft("ns", "ls").stdout
        pid = process.inner_pid()
        assert row["pids"] == [pid]
        for target in ("docker:web", f"docker:{id}", f"docker:{id[:12]}"):
            assert host.weft("ns", "pids", target).stdout == f"{pid}\n"
        assert host.weft("ns", "same", "docker:web", str(pid), "--type", "all").returncode == 0
        assert host.weft("ns", "adopt", "named", "docker:web").returncode == 0
        assert by_name(host, "named")["container"]["name"] == "web"
        process.end()


# -- what cannot be


def test_what_is_refused(machine: Host) -> None:
    plain = "/run/netns/plain"
    for command, status, says in (
        ("ns pids nope", 3, "no network namespace nope"),
        ("ns pids 3999999", 3, "no process 3999999"),
        ("ns identify 3999999", 3, "no process 3999999"),
        ("ns identify red", 2, "is not a pid"),
        ("ns identify 0", 2, "is not a pid"),
        ("ns ls --type mount", 2, "is no type of namespace"),
        ("ns pids --type all 1", 2, "--type"),
        ("ns pids plain", 2, "is no namespace"),
        (f"ns pids {plain}", 2, "is no namespace"),
        ("ns pids /proc/1/ns/uts", 2, "is a uts namespace, not a net namespace"),
        ("ns pids /nowhere", 3, "no file '/nowhere'"),
        ("ns pids ../red", 2, "not valid"),
        ("ns pids red --type uts", 2, "is the name of a network namespace alone"),
        ("ns pids docker:nope", 3, "docker has no running container 'nope'"),
        ("ns pids rocket:nope", 2, "is no engine"),
        ("ns same red nope", 2, "no network namespace nope"),
        ("ns same red 3999999", 2, "no process 3999999"),
        ("ns same red", 2, "TARGET"),
    ):
        told = machine.weft(*command.split(), check=False)
        assert (told.returncode, told.stdout) == (status, ""), command
        assert says in told.stderr, (command, told.stderr)
        assert told.stderr.startswith("weft: error: ")


def test_rm_says_what_keeps_a_namespace_alive(host: Host) -> None:
    """Processes inside, an open file and a socket of processes elsewhere; a name without any is silent."""
    host.weft("ns", "add", "red", "blue", "green", "plain")
    inside = host.popen(["ip", "netns", "exec", "red", "sleep", "600"])
    opened = host.popen(["sh", "-c", "exec 7</run/netns/blue; echo ready; exec sleep 600"])
    script = "import os, socket\nhere = os.open('/proc/self/ns/net', 0)\n"
    script += "import ctypes; setns = ctypes.CDLL(None).setns\n"
    script += "setns(os.open('/run/netns/green', 0), 0); s = socket.socket(); setns(here, 0)\n"
    script += "os.closerange(3, s.fileno()); print('ready', flush=True); input()"
    dialled = host.popen(["python3", "-c", script], stdin=subprocess.PIPE)
    for process in (opened, dialled):
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    pid = inside.inner_pid()
    assert settle(host, lambda: str(pid) in host.ip("netns", "pids", "red"))
    done = host.weft("ns", "rm", "red", "blue", "green", "plain")
    said = done.stderr.splitlines()
    assert done.stdout.split() == ["red", "blue", "green", "plain"]
    assert f"weft: red: 1 process lives on (pid {pid}) in net:[" in said[0]
    assert said[1].startswith(f"weft: blue: file fd 7 of pid {opened.inner_pid()} keeps net:[")
    assert said[2].startswith("weft: green: socket fd ")
    assert f"of pid {dialled.inner_pid()} keeps net:[" in said[2]
    assert len(said) == 3
