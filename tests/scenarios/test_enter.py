"""Commands in new namespaces, named or not, and in containers: ``weft ns unshare`` and ``ns exec``."""

from __future__ import annotations

import pytest

from harness import REPO, Host, diff, settle, snapshot
from weft.core.model.namespace import TYPES

WEFT = str(REPO / "weft")
LOOK = f"for t in {' '.join(TYPES)}; do readlink /proc/self/ns/$t; done"
UNSHARE = {
    "net": ["--net"],
    "mnt": ["--mount"],
    "pid": ["--pid", "--fork"],
    "user": ["--user", "-r"],
    "time": ["--time", "--fork"],
}


def seen(host: Host, *argv: str) -> list[str]:
    return host.run([*argv, "sh", "-c", LOOK]).stdout.split()


@pytest.mark.parametrize("kind", TYPES)
def test_one_new_namespace_of_each_type(host: Host, kind: str) -> None:
    own = seen(host)
    for argv in (
        [WEFT, "ns", "unshare", f"--{kind}", "--"],
        ["unshare", *UNSHARE.get(kind, [f"--{kind}"]), "--"],
    ):
        inside = seen(host, *argv)
        assert [t for t, a, b in zip(TYPES, own, inside, strict=True) if a != b] == [kind]


def test_all_at_once_as_unshare_does_it(host: Host) -> None:
    maps = "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"
    look = f"id; {maps}; ls /sys/class/net; ls -d /proc/[0-9]*; echo $$"
    ours = [WEFT, "ns", "unshare", *[f"--{t}" for t in TYPES], "--", "sh", "-c", look]
    theirs = [
        "unshare",
        "-mnuipCTr",
        "--fork",
        "--mount-proc",
        "sh",
        "-c",
        f"mount -t sysfs sysfs /sys; {look}",
    ]
    said = host.run(ours)
    strip = lambda text: [line for line in text.splitlines() if not line.startswith("/proc/")]  # noqa: E731
    assert strip(said.stdout) == strip(host.run(theirs).stdout) and "lo" in strip(said.stdout)
    assert said.stderr == "" and said.stdout.splitlines()[-1] == "1" and "/proc/1\n" in said.stdout


def test_clocks(host: Host) -> None:
    def uptime(*clock: str) -> float:
        flags = [word for c in clock for word in ("--clock", c)]
        return float(
            host.weft("ns", "unshare", "--time", *flags, "--", "cat", "/proc/uptime").stdout.split()[0]
        )

    before = uptime()
    assert 86400 <= uptime("+1d") - before < 86460
    assert 3600 <= uptime("boottime=+0.5h", "monotonic=7s") * 2 - before * 2 < 3720
    assert -30 <= uptime("-30s") - before < 30
    for words in (
        ["--time", "--clock", "+1y"],
        ["--time", "--clock", "realtime=1s"],
        ["--net", "--clock", "1s"],
    ):
        assert host.weft("ns", "unshare", *words, "--", "true", check=False).returncode == 2
    too_early = host.weft("ns", "unshare", "--time", "--clock", "boottime=-9999d", "--", "true", check=False)
    assert too_early.returncode == 2 and "before 0" in too_early.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [("--pid -- sh -c 'exit 7'", 7), ("--pid -- nope", 127), ("--net -- /etc", 126), ("--net -- nope", 127),
     ("-- true", 2), ("--net --name ../x -- true", 2), ("--net --name all -- true", 2),
     ("--net --name '' -- true", 2),
     ("--net -w /nowhere -- true", 2), ("--pid -w /nowhere -- true", 2)],
)  # fmt: skip
def test_how_it_ends(host: Host, words: str, status: int) -> None:
    assert host.run(["sh", "-c", f"exec {WEFT} ns unshare {words}"], check=False).returncode == status
    assert not host.path("/run/weft/ns").exists() or not list(host.path("/run/weft/ns").iterdir())


def test_what_a_pid_1_leaves_is_gone_with_it(host: Host) -> None:
    before = snapshot(host)["processes"]
    script = "setsid sleep 1000 & setsid sh -c 'sleep 1000 & :' ; exit 4"
    assert host.weft("ns", "unshare", "--pid", "--mnt", "--", "sh", "-c", script, check=False).returncode == 4
    assert settle(host, lambda: snapshot(host)["processes"] == before)


def test_names_that_stay(host: Host) -> None:
    host.weft("ns", "add", "first")
    host.weft("ns", "rm", "first")
    host.weft("ns", "unshare", "--uts", "--name", "warm", "--", "true")
    host.weft("ns", "rm", "warm")
    before = snapshot(host)
    kinds = [f"--{t}" for t in TYPES if t not in ("pid", "user")]
    inside = seen(host, WEFT, "ns", "unshare", *kinds, "--name", "green", "--")
    assert "green" in host.ip("netns", "list")
    assert seen(host, WEFT, "ns", "exec", "green") == inside
    some = dict(zip(TYPES, seen(host, WEFT, "ns", "exec", "--ns", "uts,net", "green"), strict=True))
    wanted, own = dict(zip(TYPES, inside, strict=True)), dict(zip(TYPES, seen(host), strict=True))
    assert some == {**own, "net": wanted["net"], "uts": wanted["uts"]}
    taken = host.weft("ns", "unshare", "--uts", "--name", "green", "--", "true", check=False)
    assert taken.returncode == 4
    assert host.weft("ns", "rm", "green").stdout == "green\n"
    assert settle(host, lambda: not diff(before, snapshot(host)))
    assert host.weft("ns", "exec", "green", "true", check=False).returncode == 3


def test_a_named_pid_namespace_ends_with_its_pid_1(host: Host) -> None:
    process = host.popen(
        [WEFT, "ns", "unshare", "--pid", "--name", "p", "--", "sh", "-c", "echo up; read -r _"], stdin=-1
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    assert host.weft("ns", "exec", "p", "sh", "-c", "kill -0 1 && echo $$").stdout != ""
    process.communicate("\n")
    ended = host.weft("ns", "exec", "p", "true", check=False)
    assert ended.returncode == 3 and "pid 1" in ended.stderr
    assert host.weft("ns", "rm", "--all").stdout == "p\n"


def test_a_user_namespace_needs_no_root(host: Host) -> None:
    nobody = ["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", WEFT, "ns", "unshare"]
    script = "id -u; cat /proc/self/uid_map"
    for flags in (["--user"], ["--user", "--net", "--pid"]):
        assert host.run([*nobody, *flags, "--", "sh", "-c", script]).stdout.split() == ["0", "0", "4711", "1"]
    refused = host.run([*nobody, "--net", "--", "true"], check=False)
    assert refused.returncode == 5 and "--user" in refused.stderr


def test_a_containers_namespaces(host: Host) -> None:
    host.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
    host.weft("run", "-d", "--name", "job", "--network", "blue", "--", "sleep", "1000")
    host.weft("run", "--name", "bare", "--network", "blue")
    pid = host.weft_json("inspect", "job")[0]["pid"]
    for target in ("job", "weft:job", str(pid)):
        assert host.weft("ns", "exec", target, "hostname").stdout == "job\n"
        assert seen(host, WEFT, "ns", "exec", target) == seen(host, "nsenter", "-a", "-t", str(pid))
    assert "192.168.10.3" in host.weft("ns", "exec", "bare", "ip", "-br", "addr").stdout
    assert host.weft("ns", "exec", "weft:nope", "true", check=False).returncode == 3


@pytest.mark.parametrize("words", ["--net --uts", "--pid --mnt --ipc", "--net --uts --name kept"])
def test_printed_commands_do_the_same(host: Host, words: str) -> None:
    command = ("--", "sh", "-c", "ls /sys/class/net; echo /proc/[0-9]* | wc -w; hostname")
    script = host.weft("ns", "unshare", "--dry-run", *words.split(), *command).stdout
    assert not host.path("/run/netns/kept").exists()
    name = host.weft("ns", "unshare", "--uts", "--", "hostname").stdout.strip()
    assert host.sh(script).split()[-1] == name
    if "kept" in words:
        assert "kept" in host.ip("netns")
        host.sh(
            "umount -l /run/weft/ns/kept/uts /run/netns/kept\n"
            "rm /run/netns/kept /run/weft/ns/kept/uts; rmdir /run/weft/ns/kept"
        )
    assert host.weft("ns", "unshare", *words.split(), *command).stdout.split()[0] == "lo"
