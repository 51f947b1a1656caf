"""What holds a container in: seccomp profiles, working directories, what starts it; and donors."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from harness import Host, differences, settle, snapshot
from scenarios.bundles import ROOT, bundle, config, furnish, sweep
from scenarios.life import WEFT, state

BLUE = ("--network", "blue")
SLEEP = ("--", "sleep", "1000")
#: Docker's form: conditions, and architectures by map.
DOCKERS = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"name": "rmdir", "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["sethostname"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    ],
}
#: The OCI's form: architectures by list.
OCIS = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}],
}


@pytest.fixture(scope="module")
def ground() -> Iterator[Host]:
    with Host("confined") as made:
        furnish(made)
        made.weft("net", "create", "blue", "--subnet", "10.1.0.0/24")
        made.weft("run", "--rm", *BLUE, "--", "true")  # the bridge takes its MAC from its first port
        made.sh("for f in subuid subgid; do echo weft:100000:65536 >/etc/$f; done")
        yield made
    sweep()


@pytest.fixture
def host(ground: Host) -> Iterator[Host]:
    yield ground
    names = ground.weft("ps", "-aq").stdout.split()
    if names:
        ground.weft("rm", "-f", *names)


# -- seccomp=FILE


def confined(host: Host, profile: object, *flags: str) -> str:
    host.write("/run/profile.json", json.dumps(profile))
    script = "cd /tmp; rm -rf x; mkdir x 2>&1; busybox rmdir x 2>&1; grep Seccomp: /proc/self/status"
    flags = (*flags, "--security-opt", "seccomp=/run/profile.json", "--rootfs", ROOT)
    return host.weft("run", "--rm", *BLUE, *flags, "--", "sh", "-c", script.replace("rm -rf x; ", "")).stdout


def test_a_profile_of_dockers_form(host: Host) -> None:
    said = confined(host, DOCKERS).splitlines()
    assert "No space left" in said[0] and "Operation not permitted" in said[1]
    assert said[2].split() == ["Seccomp:", "2"]
    # The second rule is not meant for who has that capability: there is nothing to remove.
    assert "No such file" in confined(host, DOCKERS, "--cap-add", "SYS_ADMIN").splitlines()[1]


def test_a_profile_of_the_ocis_form(host: Host) -> None:
    said = confined(host, OCIS).splitlines()
    assert "Read-only file system" in said[0] and "No such file" in said[1]


def test_a_profile_that_says_nothing(host: Host) -> None:
    """Docker's way to say unconfined."""
    assert confined(host, {}).splitlines()[-1].split() == ["Seccomp:", "0"]
    host.sh(f"rmdir {ROOT}/tmp/x 2>/dev/null || true")


def test_a_profile_is_what_it_was(host: Host) -> None:
    """Further commands and later starts are behind the same filter, whatever becomes of the file."""
    host.write("/run/profile.json", json.dumps(OCIS))
    flags = ("--security-opt", "seccomp=/run/profile.json", "--rootfs", ROOT)
    host.weft("run", "-d", "--name", "c", *BLUE, *flags, *SLEEP)
    host.run(["rm", "/run/profile.json"])
    for _ in range(2):
        refused = host.weft("exec", "c", "mkdir", "/tmp/x", check=False)
        assert refused.returncode == 1 and "Read-only file system" in refused.stderr
        host.weft("restart", "c")
    (found,) = host.weft_json("inspect", "c")
    (sleeper,) = [pid for pid in found["pids"] if host.read(f"/proc/{pid}/comm") == "sleep\n"]
    assert "Seccomp:\t2" in host.read(f"/proc/{sleeper}/status")


def test_a_profile_goes_to_other_runtimes(host: Host) -> None:
    host.write("/run/profile.json", json.dumps(DOCKERS))
    flags = ("--security-opt", "seccomp=/run/profile.json", "--rootfs", ROOT, "--network", "none")
    said = json.loads(host.weft("spec", *flags, "--", "mkdir", "/tmp/x").stdout)
    assert said["linux"]["seccomp"]["syscalls"][0] == DOCKERS["syscalls"][0]
    for runtime in ("runc", "crun"):
        words = ("--runtime", runtime, *flags, "--", "mkdir", "/tmp/x")
        done = host.weft("run", "--rm", *words, check=False)
        assert (done.returncode, "No space left" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("profile", "said", "status"),
    [
        ("", "is not JSON", 2),
        ("{", "is not JSON", 2),
        ("[]", "is not a JSON object", 2),
        ("[" * 100000, "nested too deep", 2),
        (b"\xff{}".decode("utf-8", "surrogateescape"), "is not UTF-8", 2),
        ('{"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}', "defaultAction: is missing", 2),
        ('{"defaultAction": "SCMP_ACT_MAYBE"}', "defaultAction: 'SCMP_ACT_MAYBE' is not one of", 2),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}', "syscalls: is an object, not an array", 2),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO"}]}',
            "syscalls[0]: names no system call",
            2,
        ),
        ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "needs a listener", 5),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"]}', "is no architecture", 2),
        (" " * ((1 << 20) + 1), "larger than", 2),
        (None, "No such file", 2),
        ("DIRECTORY", "Is a directory", 2),
        ("FIFO", "is not JSON", 2),
        (
            json.dumps(
                {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [
                        {
                            "names": ["read"],
                            "action": "SCMP_ACT_LOG",
                            "args": [{"index": 1, "value": n, "op": "SCMP_CMP_EQ"}],
                        }
                        for n in range(3000)
                    ],
                }
            ),
            "the kernel takes 4096",
            2,
        ),
    ],
    ids=lambda value: str(value)[:24],
)
def test_profiles_that_are_none(host: Host, profile: str | None, said: str, status: int) -> None:
    host.sh("rm -rf /run/bad; mkdir -p /run/weft")
    if profile in ("DIRECTORY", "FIFO"):
        host.run(["mkdir" if profile == "DIRECTORY" else "mkfifo", "/run/bad"])
    elif profile is not None:
        host.path("/run/bad").write_text(profile, encoding="utf-8", errors="surrogateescape")
    before = snapshot(host)
    words = ("--security-opt", "seccomp=/run/bad", "--", "true")
    done = host.weft("run", "--name", "z", *BLUE, *words, check=False)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert said in done.stderr and len(done.stderr.splitlines()) <= 2, done.stderr
    assert differences(host, before) == []
    dry = host.weft("run", "--dry-run", "--name", "z", *BLUE, *words, check=False)
    assert (dry.returncode, dry.stdout) == (status, ""), "refused when it is read, not when it is installed"


# -- ways out


@pytest.mark.parametrize("way", ["flag", "bundle", "exec"])
def test_a_working_directory_that_is_a_way_out(host: Host, way: str) -> None:
    """CVE-2024-21626: a descriptor that weft or its caller has open of the host's directories."""
    host.write("/run/secret", "secret")
    host.sh(f"ln -sfn /proc/self/fd {ROOT}/leak")
    if way == "exec":
        host.weft("run", "-d", "--name", "c", *BLUE, "--rootfs", ROOT, *SLEEP)
    # What weft opens itself is among the first, what its caller left open are 7 to 9.
    ways = [("/proc/self/fd", n) for n in (range(3, 13) if way == "exec" else (3, 4, 5, 6, 8, 9))]
    ways += [("/proc/1/fd", 9), ("/leak", 9)]
    for folder, number in ways:
        cwd = f"{folder}/{number}"
        script = "cat run/secret ../run/secret ../../run/secret; ls"
        if way == "bundle":
            made = config("sh", "-c", script, id="out")
            made["process"]["cwd"] = cwd
            words = ["run", "--rm", "--bundle", bundle(host, made)]
        elif way == "flag":
            words = ["run", "--rm", *BLUE, "--rootfs", ROOT, "-w", cwd, "--", "sh", "-c", script]
        else:
            words = ["exec", "-w", cwd, "c", "--", "sh", "-c", script]
        argv = f'exec 9</; exec 8</run; exec 7</run/secret; exec {WEFT} "$@"'
        done = host.run(["sh", "-c", argv, "sh", *words], check=False)
        assert done.returncode != 0 and done.stdout == "", (words, done)
        assert done.stderr.startswith("weft: error: "), done.stderr


@pytest.mark.parametrize("flags", [(), ("--cap-add", "SYS_PTRACE", "--userns", "private")])
def test_the_program_that_starts_it_cannot_be_had(host: Host, flags: tuple[str, ...]) -> None:
    """CVE-2019-5736: a command that is /proc/self/exe, or that lies in wait for who enters, gets hold of what
    runs weft. (With CAP_SYS_PTRACE over the host's user namespace one may look into all that one sees.)"""
    interpreter = host.run(["readlink", "-f", "/usr/bin/python3"]).stdout.strip()
    digest = host.run(["sha256sum", interpreter, WEFT]).stdout
    run = ("run", "--rm", *BLUE, "--rootfs", ROOT, *flags, "--")
    # What would be executed is the container's own program, or nothing.
    host.sh(f"ln -sfn /proc/self/exe {ROOT}/bin/me")
    done = host.weft(*run, "/bin/me", "-c", "print(1)", check=False)
    assert done.returncode in (126, 127) and done.stdout == "", done
    lurk = """
        end=$(($(cut -d. -f1 /proc/uptime) + 2))
        while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do
            for p in /proc/[0-9]*; do
                case $(readlink $p/exe) in ''|*/busybox) continue;; *) echo GOT $(readlink $p/exe);; esac
                ( echo '#!' >$p/exe ) 2>/dev/null && echo WROTE $p
            done
        done
    """
    host.sh(f"ln -sf busybox {ROOT}/bin/cut")
    watcher = host.popen([WEFT, *run[:-1], "--name", "c", "--", "sh", "-c", lurk])
    assert settle(host, lambda: "c" in host.weft("ps", "-q").stdout.split())
    entered = 0
    while watcher.poll() is None:
        entered += host.weft("exec", "c", "true", check=False).returncode == 0
    assert entered and watcher.stdout and watcher.stdout.read() == ""
    assert host.run(["sha256sum", interpreter, WEFT]).stdout == digest
    watcher.end()


# -- donors


KINDS = ("pid", "ipc", "network")


@pytest.mark.parametrize("kind", KINDS)
def test_donors_that_cannot_give(host: Host, kind: str) -> None:
    """Gone, itself, ended, without a process, or without one of its own: nothing is made for the joiner."""
    host.weft("run", "--name", "over", *BLUE, "--ipc", "shareable", "--", "true")
    host.weft("run", "--name", "bare", *BLUE)
    host.weft("run", "-d", "--name", "hosts", "--network", "host", "--pid", "host", "--ipc", "host", *SLEEP)
    before = snapshot(host)
    cases = [
        ("gone", 3, "no container 'gone'"),
        ("z", 2, "own"),
        ("over", 4, "is not running" if kind != "network" else "over"),
        ("hosts", 4, "host"),
    ]
    if kind != "network":
        cases.append(("bare", 4, "has no process"))
    for donor, status, said in cases:
        flags = (f"--{kind}", f"container:{donor}", *(() if kind == "network" else BLUE))
        done = host.weft("run", "--name", "z", *flags, "--", "true", check=False)
        assert (done.returncode, done.stdout) == (status, ""), (donor, done.stderr)
        assert said in done.stderr and len(done.stderr.splitlines()) <= 2, (donor, done.stderr)
        assert "z" not in host.weft("ps", "-aq").stdout.split()
    assert differences(host, before) == []


def test_a_donor_starts_again_under_its_joiners(host: Host) -> None:
    """Its network is held by its mount: address and interfaces stay, and so does what joiners have open."""
    host.weft("run", "-d", "--name", "a", *BLUE, *SLEEP)
    host.weft("run", "-d", "--name", "j", "--network", "container:a", *SLEEP)
    host.weft("run", "-d", "--name", "b", *BLUE, *SLEEP)
    space = host.weft("exec", "j", "readlink", "/proc/self/ns/net").stdout
    address = host.weft("exec", "j", "ip", "-o", "addr").stdout
    ping = host.popen([WEFT, "exec", "j", "--", "ping", "-n", "-i0.05", "10.1.0.1"])
    assert ping.stdout and ping.stdout.readline() and ping.stdout.readline()
    for again in (("restart", "-t", "0", "a"), ("stop", "-t", "0", "a"), ("start", "a")):
        host.weft(*again)
        assert state(host, "j")[0] == "running"
        assert host.weft("exec", "j", "ip", "-o", "addr").stdout == address
        assert host.weft("exec", "j", "readlink", "/proc/self/ns/net").stdout == space
        assert host.weft("exec", "b", "--", "ping", "-c1", "-W2", "a").returncode == 0
    assert host.weft("exec", "a", "readlink", "/proc/self/ns/net").stdout == space
    ping.send_signal(2)
    assert " 0% packet loss" in ping.communicate(timeout=10)[0]
    ping.end()


@pytest.mark.parametrize("kind", ["pid", "ipc"])
def test_a_joiner_starts_again_with_its_donor(host: Host, kind: str) -> None:
    """By the donor's name: it shares what that has now, and says why when that cannot be."""
    host.weft("run", "-d", "--name", "a", *BLUE, "--ipc", "shareable", *SLEEP)
    host.weft("run", "-d", "--name", "j", *BLUE, f"--{kind}", "container:a", *SLEEP)

    def of(name: str) -> int:
        return int(host.weft_json("inspect", name)[0]["namespaces"][kind])

    before = of("a")
    assert of("j") == before
    # Held open, so that its number is not another's when it is gone.
    pid = host.weft_json("inspect", "a")[0]["pid"]
    held = host.popen(["sh", "-c", f"exec 9</proc/{pid}/ns/{kind}; echo; exec sleep 1000"])
    assert held.stdout
    assert held.stdout.readline() == "\n"
    host.weft("restart", "-t", "0", "j")
    assert of("j") == before
    host.weft("restart", "-t", "0", "a")
    assert of("a") != before
    host.weft("restart", "-t", "0", "j")
    assert of("j") == of("a") != before
    held.end()
    host.weft("stop", "-t", "0", "j", "a")
    refused = host.weft("start", "j", check=False)
    assert (refused.returncode, "a is not running" in refused.stderr) == (4, True), refused.stderr
    assert state(host, "j")[0] == "exited"
    host.weft("rename", "a", "new")
    host.weft("start", "new", "j")
    assert of("j") == of("new")


def test_a_restart_policy_finds_the_donor_again(host: Host) -> None:
    """The monitor starts the command again: in what its donor has by then."""
    host.weft("run", "-d", "--name", "a", *BLUE, *SLEEP)
    policy = ("--restart", "always")
    host.weft("run", "-d", "--name", "j", *BLUE, *policy, "--pid", "container:a", *SLEEP)
    first = host.weft_json("inspect", "j")[0]["pid"]
    host.run(["kill", "-9", str(first)])

    def again() -> bool:
        (found,) = host.weft_json("inspect", "j")
        return found["state"] == "running" and found["pid"] not in (None, first)

    assert settle(host, again)
    spaces = [host.weft_json("inspect", name)[0]["namespaces"]["pid"] for name in ("a", "j")]
    assert spaces[0] == spaces[1]
