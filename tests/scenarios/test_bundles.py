"""OCI bundles run by weft itself, by weft through runc and crun, and by those alone: the same comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness import Host, settle
from scenarios.bundles import ROOT, bundle, config, furnish, sweep
from scenarios.life import WEFT

RUNTIMES = ("runc", "crun")
#: Weft by itself, and through others.
WAYS = ("", *RUNTIMES)
SCRIPT = """
id; pwd; hostname; umask; env | sort
grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status
ulimit -n; ulimit -c; cat /proc/self/oom_score_adj
while read -r a b c d point options e; do
  case $point in /etc/*|/dev/console) continue;; esac
  echo "mount $point $options"
done < /proc/self/mountinfo
for file in /proc/kcore /proc/keys /sys/firmware; do
  echo "$file: $(ls -A $file 2>&1 | wc -l) $(cat $file 2>/dev/null | wc -c)"
done
touch /proc/sys/kernel/domainname 2>&1; touch /nothing 2>&1; touch /data/file && echo written
ls /ro; touch /ro/x 2>&1
cd /dev; ls -ld zero full random tty fuse ptmx shm | while read -r mode n own grp rest; do
  echo "$mode $own $grp ${rest##* }"
done
cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax
mkdir /tmp/refused; echo $?
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host("bundles") as made:
        furnish(made)
        made.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
        made.sh("mkdir -p /run/data /run/ro && touch /run/ro/seen")
        yield made
        for way in RUNTIMES:  # of a test that failed
            for name in made.run(["ls", f"/run/{way}"], check=False).stdout.split():
                made.run([way, "delete", "--force", name], check=False)
    sweep()


@pytest.fixture(autouse=True)
def nothing_is_left(host: Host) -> Iterator[None]:
    yield
    assert settle(host, lambda: not _left(host)), _left(host)


def _left(host: Host) -> str:
    own = host.weft("ps", "-aq").stdout
    files = host.run(
        ["find", "/run/weft/oci", "/run/netns", "-mindepth", "1", "-not", "-name", ".state"], check=False
    )
    return own + files.stdout


def weft(host: Host, way: str, *words: str, **options: Any) -> Any:
    """``weft run`` by itself or through a runtime."""
    through = ["--runtime", way] if way else []
    return host.weft("run", "--rm", *through, *words, **{"check": False, **options})


def alone(host: Host, runtime: str, made: dict[str, Any]) -> Any:
    return host.run([runtime, "run", "--bundle", bundle(host, made), made["hostname"]])


def full() -> dict[str, Any]:
    """All that a config.json says, as far as this machine can do it."""
    made = config("sh", "-c", SCRIPT, id="all")
    process, linux = made["process"], made["linux"]
    process |= {
        "cwd": "/tmp",
        "user": {"uid": 5, "gid": 6, "umask": 0o27, "additionalGids": [7, 8]},
        "noNewPrivileges": True,
        "oomScoreAdj": 100,
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ],
    }
    process["env"].append("GREETING=hello world")
    process["capabilities"] = {k: ["CAP_CHOWN", "CAP_KILL"] for k in ("bounding", "permitted")} | {
        "effective": []
    }
    made["root"]["readonly"] = True
    made["mounts"] += [
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "nodev", "mode=1777"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec"]},
        {
            "destination": "/data",
            "type": "tmpfs",
            "source": "x",
            "options": ["mode=777", "noatime", "size=64k"],
        },
        {"destination": "/ro", "type": "none", "source": "/run/ro", "options": ["rbind", "ro"]},
        {
            "destination": "/tmp",
            "type": "tmpfs",
            "source": "x",
            "options": ["nosuid", "nodev", "noexec", "mode=1777"],
        },
    ]
    linux |= {
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/nothing"],
        "readonlyPaths": ["/proc/sys", "/proc/bus"],
        "sysctl": {"net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "9000"},
        "devices": [
            {
                "path": "/dev/fuse",
                "type": "c",
                "major": 10,
                "minor": 229,
                "fileMode": 0o640,
                "uid": 5,
                "gid": 6,
            }
        ],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
        },
    }
    return made


@pytest.mark.parametrize("way", WAYS)
def test_a_bundle_runs_as_by_a_runtime_alone(host: Host, way: str) -> None:
    """Weft by itself does as runc, but that set-user-id bits mean nothing anywhere."""
    # In a root that is not written to; runc gives a tmpfs the mode of what it covers.
    host.sh(f"mkdir -p {ROOT}/data {ROOT}/ro && chmod 777 {ROOT}/data")
    theirs = alone(host, way or "runc", full())
    ours = weft(host, way, "--network", "none", "--bundle", bundle(host, full()))
    assert "refused': No space left" in theirs.stderr
    assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr)
    assert _normal(ours.stdout) == _normal(theirs.stdout)


def _normal(said: str) -> list[str]:
    """Without the safe ways of mounts, which weft has more of."""
    rows = []
    for row in said.splitlines():
        head, _, options = row.rpartition(" ")
        kept = [o for o in options.split(",") if o != "nosuid"]
        masked = head in ("mount /sys/firmware", "mount /proc/keys")
        rows.append(f"{head} {kept[0] if masked else kept}" if row.startswith("mount ") else row)
    return rows


@pytest.mark.parametrize("way", WAYS)
def test_namespaces_by_their_paths(host: Host, way: str) -> None:
    """Those that are given are joined, those without a path are new, and those not listed are the host's."""
    holder = host.popen(["unshare", "--net", "--ipc", "--uts", "sh", "-c", "echo; exec sleep 100"])
    assert holder.stdout and holder.stdout.readline()
    pid = holder.inner_pid()
    kinds = {"network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "pid": "pid", "cgroup": "cgroup"}
    script = "for k in net ipc uts mnt pid cgroup user; do readlink /proc/self/ns/$k; done"
    made = config("sh", "-c", script, id="paths")
    made["linux"]["namespaces"] = [
        {"type": "network", "path": f"/proc/{pid}/ns/net"},
        {"type": "ipc", "path": f"/proc/{pid}/ns/ipc"},
        {"type": "mount"},
        {"type": "pid"},
        {"type": "cgroup"},
    ]
    del made["hostname"]
    made["hostname"] = ""
    del made["mounts"][2]  # sysfs of a network namespace that is not its own
    path = bundle(host, made, "paths")
    found = weft(host, way, "--bundle", path).stdout.split()
    own = {k: host.run(["readlink", f"/proc/1/ns/{k}"]).stdout.strip() for k in kinds.values()}
    given = {k: host.run(["readlink", f"/proc/{pid}/ns/{k}"]).stdout.strip() for k in kinds.values()}
    assert len(found) == 7
    assert found[0] == given["net"] != own["net"]
    assert found[1] == given["ipc"] != own["ipc"]
    assert found[2] == own["uts"]
    assert found[3] not in (own["mnt"], given["mnt"])
    assert found[4] not in (own["pid"], given["pid"])
    assert found[5] != own["cgroup"]
    assert found[6] == host.run(["readlink", "/proc/1/ns/user"]).stdout.strip()
    holder.end()


@pytest.mark.parametrize("way", WAYS)
def test_a_bundle_is_in_wefts_networks(host: Host, way: str) -> None:
    # Not `cat`: busybox's passes pages of the file on (sendfile), and what is in the pipe is zeroed with them
    # when the container goes and its line is cut off.
    hosts = 'while read -r line; do echo "$line"; done </etc/hosts'
    made = config("sh", "-c", f"ip -o -4 addr; {hosts}; hostname", id="web")
    said = weft(host, way, "--network", "blue:ip=192.168.10.44", "--bundle", bundle(host, made)).stdout
    assert "192.168.10.44/24" in said
    assert "192.168.10.44\t" in said and said.endswith("web\n")


def test_what_a_hook_would_have_done_weft_does_itself(host: Host) -> None:
    """A bundle that runc brings into a network by weft's hook is in it when weft runs it, too."""
    host.weft(
        "spec",
        "--rootfs",
        ROOT,
        "--network",
        "blue:ip=192.168.10.45",
        "--name",
        "sp",
        "--",
        "ip",
        "-o",
        "addr",
    )
    said = host.weft(
        "spec", "--rootfs", ROOT, "--network", "blue:ip=192.168.10.45", "--", "ip", "-o", "addr"
    ).stdout
    host.write("/run/bundles/spec/config.json", said)
    made = json.loads(said)
    assert made["annotations"] == {"weft.network": "blue:ip=192.168.10.45"}
    assert [h["args"] for h in made["hooks"]["createRuntime"]] == [["weft", "oci-hook"]]
    for runtime in RUNTIMES:
        done = host.run([runtime, "run", "--bundle", "/run/bundles/spec", "sp"])
        assert "192.168.10.45/24" in done.stdout
    for way in WAYS:
        assert "192.168.10.45/24" in weft(host, way, "--bundle", "/run/bundles/spec").stdout


def test_spec_says_what_run_does(host: Host) -> None:
    """The same flags, by weft and by a runtime with the config.json that weft writes of them."""
    flags = [
        "--network",
        "none",
        "--rootfs",
        ROOT,
        "--hostname",
        "box",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "--user",
        "5:6",
    ]
    flags += [
        "--cap-add",
        "NET_ADMIN",
        "--cap-drop",
        "KILL",
        "--tmpfs",
        "/data",
        "-v",
        "/run/ro:/ro:ro",
        "--read-only",
    ]
    script = (
        "id; pwd; hostname; env; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; ls /ro; touch /ro/x /y"
    )
    command = ["--", "sh", "-c", f"exec 2>&1; {script}; unshare -U; mount -t tmpfs x /tmp; cat /proc/kcore"]
    ours = host.weft("run", "--rm", *flags, *command, check=False)
    host.sh("mkdir -p /run/bundles/same && rm -f /run/bundles/same/*")
    host.weft("spec", "--bundle", "/run/bundles/same", *flags, *command)
    for runtime in RUNTIMES:
        theirs = host.run([runtime, "run", "--bundle", "/run/bundles/same", "same"], check=False)
        assert theirs.stdout == ours.stdout
    again = host.weft("spec", "--bundle", "/run/bundles/same", check=False)
    assert again.returncode == 4 and "exists already" in again.stderr
    nowhere = host.weft("spec", "--bundle", "/run/nowhere", check=False)
    assert (nowhere.returncode, "mkdir -p /run/nowhere" in nowhere.stderr) == (2, True), "as runc spec has it"


# -- through a runtime


@pytest.mark.parametrize("way", RUNTIMES)
def test_statuses_through_a_runtime(host: Host, way: str) -> None:
    host.write(f"{ROOT}/plain", "#!/bin/sh\n")
    for argv, status in (
        (("true",), 0),
        (("sh", "-c", "kill -9 $$; exit 3"), 3),  # pid 1 is safe from itself
        (("nosuch",), 127),
        (("/plain",), 126),
    ):
        for flags in ((), ("-d",)) if status in (3, 127) else ((),):
            done = weft(host, way, "--name", "c", "--network", "blue", "--rootfs", ROOT, *flags, "--", *argv)
            assert done.returncode == (status if status > 100 or not flags else 0), (argv, flags, done.stderr)
            assert settle(host, lambda: not _left(host))


@pytest.mark.parametrize("way", RUNTIMES)
def test_a_life_through_a_runtime(host: Host, way: str) -> None:
    flags = ["--name", "c", "--network", "blue", "--rootfs", ROOT, "--runtime", way]
    host.weft(
        "run",
        "-d",
        *flags,
        "--",
        "sh",
        "-c",
        "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.1; done",
    )
    (found,) = host.weft_json("inspect", "c")
    listed = host.run([way, "--root", "/run/weft/oci/.state", "list"]).stdout
    assert "c" in [line.split()[0] for line in listed.splitlines()]
    assert found["state"] == "running"
    assert host.run(["cat", f"/proc/{found['pid']}/comm"]).stdout == "sh\n"
    assert host.weft("exec", "c", "hostname").stdout == "c\n"
    assert settle(host, lambda: host.weft("logs", "c").stdout == "up\n")
    host.weft("stop", "c")
    assert host.weft_json("inspect", "c")[0]["exit_code"] == 4
    assert host.weft("logs", "c").stdout == "up\nbye\n"
    host.weft("rm", "c")
    host.weft("run", "-d", *flags, "--", "sleep", "100")
    host.weft("rm", "-f", "c")
    assert "sleep 100" not in host.run(["ps", "-eo", "args"]).stdout


@pytest.mark.parametrize("way", RUNTIMES)
def test_a_terminal_through_a_runtime(host: Host, way: str) -> None:
    flags = ["--name", "c", "--network", "blue", "--rootfs", ROOT, "--runtime", way]
    host.weft("run", "-d", "-t", *flags, "--", "sh", "-c", "tty; echo $((1 + 1)) >&2; exit 6")
    assert host.weft("wait", "c").stdout == "6\n"
    assert host.weft("logs", "c").stdout.split() == ["/dev/pts/0", "2"]
    host.weft("rm", "c")


def test_one_that_is_killed_with_its_weft(host: Host) -> None:
    """The next command takes back what the killed one left, the runtime's own part too."""
    words = [
        "run",
        "--name",
        "c",
        "--network",
        "blue",
        "--rootfs",
        ROOT,
        "--runtime",
        "runc",
        "--",
        "sleep",
        "100",
    ]
    process = host.popen([WEFT, *words])
    assert settle(host, lambda: "sleep 100" in host.run(["ps", "-eo", "args"]).stdout.splitlines())
    assert settle(host, lambda: host.weft_json("inspect", "c")[0]["state"] == "running")
    process.kill()
    process.wait()
    host.weft("rm", "-f", "c")
    assert "sleep 100" not in host.run(["ps", "-eo", "args"]).stdout.splitlines()
    process.end()


# -- refused


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("--bundle", "/run/nowhere"), "/run/nowhere/config.json: No such file", 2),
        (("--bundle", "/run/bundles/bad"), "linux.namespaces[0].type: 'net' is not one of", 2),
        (("--bundle", "/run/bundles/hooked"), "hooks.poststart: weft runs no hooks by itself", 5),
        (("--bundle", "/run/bundles/hosted", "--network", "blue"), "--network conflicts with config.json", 2),
        (("--bundle", "/run/bundles/hosted", "-p", "80:80"), "--publish conflicts with config.json", 2),
        (("--bundle", "/run/bundles/fine", "--rootfs", ROOT), "--rootfs conflicts with --bundle", 2),
        (("--bundle", "/run/bundles/fine", "-e", "A=B"), "--env conflicts with --bundle", 2),
        (("--bundle", "/run/bundles/rootless"), "/run/bundles/rootless/nothing", 2),
        (("--bundle", "/run/bundles/fine", "--runtime", "nosuch"), "there is no runtime 'nosuch'", 3),
        (("--bundle", "/run/bundles/fine", "--runtime", "a/b"), "is not a runtime's name", 2),
        (("--bundle", "/run/bundles/fine", "--runtime", "/bin/false"), "the runtime failed: status 1", 125),
        (("--runtime", "runc", "--", "true"), "cannot run on the host's files", 2),
        (("--runtime", "runc", "--rootfs", ROOT, "--user", "who", "--", "true"), "user 'who' is not in", 2),
    ],
)
def test_refusals(host: Host, words: tuple[str, ...], said: str, status: int) -> None:
    fine = config("true", id="fine")
    bad, hooked, hosted, rootless = [json.loads(json.dumps(fine)) for _ in range(4)]
    bad["linux"]["namespaces"][0]["type"] = "net"
    hooked["hooks"] = {"poststart": [{"path": "/bin/true"}]}
    hosted["linux"]["namespaces"].pop(1)
    rootless["root"]["path"] = "nothing"
    for name, made in {
        "fine": fine,
        "bad": bad,
        "hooked": hooked,
        "hosted": hosted,
        "rootless": rootless,
    }.items():
        bundle(host, made, name)
    done = host.weft("run", "--rm", *words, check=False)
    assert said in done.stderr, done.stderr
    assert done.returncode == status
    assert done.stdout == ""
