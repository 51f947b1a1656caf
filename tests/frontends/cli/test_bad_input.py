"""What cannot be done is refused: the exit status of the contract, one line and a hint, nothing left behind.

The cases are in ``cases.py``. Every second one asks for its error as JSON.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from subprocess import CompletedProcess
from typing import Any

import pytest

from frontends.cli.cases import FLAGS, FOREIGN, GROUPS, LISTENERS, NAMES, SCENE, Case
from frontends.cli.cases_life import LIVES, OPTIONS
from harness import REPO, Host, differences, settle, snapshot
from harness.host import PYTHON
from weft.frontends.cli import spec
from weft.frontends.cli.main import main

WEFT = str(REPO / "weft")
CODES = {
    1: ("failed", "kernel", "store"),
    2: ("bad-input",),
    3: ("not-found",),
    4: ("conflict", "not-ours", "exhausted"),
    5: ("not-permitted", "not-yet", "unsupported"),
    126: ("command-not-executable",),
    127: ("command-not-found",),
}
TABLES = ("network", "container", "endpoint", "publish", "journal")
#: Steers a terminal: title, colour, the 8-bit CSI; breaks a line; turns its direction around.
HOSTILE = "a\x1b]0;owned\x07\x1b[31m\u009b1m\r\nb\u202egnp.\u2066\x7f"
#: weft started as root of another kind. Files stay readable, wherever the checkout is.
NOBODY = (
    "setpriv --reuid=65534 --regid=65534 --clear-groups"
    " --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
)


@pytest.fixture(scope="module")
def scene() -> Iterator[Host]:
    """A machine with two networks, three containers, and much that is not weft's."""
    with Host() as machine:
        machine.sh(FOREIGN)
        for kind, address, port in LISTENERS:
            machine.serve(port, address=address, kind=kind)
        for command in SCENE:
            machine.weft(*command.split())
        assert settle(machine, lambda: machine.weft_json("inspect", "done")[0]["state"] == "exited")
        yield machine


def records(host: Host) -> dict[str, Any]:
    """What weft has on record, and the logs that it keeps.

    Read inside: SQLite resolves symlinks itself, and takes a path by /proc/PID/root for the outer machine's.
    """
    read = (
        "import json, sqlite3; d = sqlite3.connect('file:/var/lib/weft/weft.db?mode=ro', uri=True);"
        f"found = {{t: d.execute('SELECT * FROM ' + t).fetchall() for t in {TABLES}}};"
        "print(json.dumps(found, default=repr))"
    )
    found: dict[str, Any] = json.loads(host.run([*PYTHON, "-c", read]).stdout)
    return found | {"logs": sorted(os.listdir(host.path("/var/lib/weft/logs")))}


def check_text(done: CompletedProcess[str], status: int, says: str) -> None:
    """One line and at most a hint, both harmless to a terminal; nothing on stdout."""
    assert (done.returncode, done.stdout) == (status, ""), done
    first, *rest = done.stderr.splitlines()
    assert first.startswith("weft: error: ") and says in first, done
    assert len(rest) <= 1 and all(re.match("hint: .", line) for line in rest), done
    assert done.stderr.endswith("\n") and done.stderr.replace("\n", "").isprintable(), done


def check_json(done: CompletedProcess[str], status: int, says: str) -> None:
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.count("\n") == 1 and done.stderr.replace("\n", "").isprintable(), done
    said = json.loads(done.stderr)
    assert list(said) == ["error"] and sorted(said["error"]) == ["code", "hint", "message"]
    assert said["error"]["code"] in CODES[1 if status == 125 else status]
    assert says in said["error"]["message"] and "internal error" not in done.stderr, done


def quietly_refused(capsys: pytest.CaptureFixture[str], words: Sequence[str], status: int, says: str) -> None:
    """The same in this process, for what is refused without a look at the machine: see ``untouched``."""
    code = main(words)
    said = capsys.readouterr()
    check_text(CompletedProcess(list(words), code, said.out, said.err), status, says)


def check_all(host: Host, cases: Sequence[Case]) -> None:
    for number, case in enumerate(cases):
        words = shlex.split(case.command)
        if number % 2 and "--format" not in words:
            check_json(host.weft("--format", "json", *words, check=False), case.status, case.says)
        else:
            check_text(host.weft(*words, check=False), case.status, case.says)


ALL = GROUPS | {"lives": LIVES}


@pytest.mark.parametrize("group", ALL)
def test_refused_and_nothing_left(scene: Host, group: str) -> None:
    before, known = snapshot(scene, wait=False), records(scene)
    check_all(scene, ALL[group])
    assert differences(scene, before, wait=False) == []
    assert records(scene) == known


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is refused in this process: whoever would look at the machine or its records fails."""

    def open_work(*_: object) -> None:
        raise AssertionError("not refused before that")

    monkeypatch.setattr("weft.wiring.open_work", open_work)


@pytest.mark.usefixtures("untouched")
def test_refused_before_anything_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    for case in (*NAMES, *FLAGS, *OPTIONS):
        quietly_refused(capsys, shlex.split(case.command), case.status, case.says)


def test_refused_before_anything_is_touched(host: Host) -> None:
    """A part of the same, by the program itself: not even weft's own directories are made."""
    before = snapshot(host, wait=False)
    check_all(host, (*NAMES, *FLAGS, *OPTIONS)[::7])
    assert differences(host, before, wait=False) == []
    assert list(host.path("/var/lib/weft").iterdir()) == []
    assert not host.path("/run/weft").exists()


@pytest.mark.parametrize("family", ["inet", "bridge"])
def test_a_table_of_the_same_name(host: Host, family: str) -> None:
    host.nft(f'table {family} weft {{ comment "somebody\'s"; chain c {{ }}; }}')
    host.weft("ps")
    before = snapshot(host, wait=False)
    says = f"the firewall table {family} weft exists and is not this root's (somebody's)"
    for command in ("net create blue", "run --name a", "run -- true"):
        check_text(host.weft(*command.split(), check=False), 4, says)
    assert differences(host, before, wait=False) == []


# -- rights


def test_without_root(scene: Host) -> None:
    """Neither another user nor a root without the capabilities gets anything done; help is for everybody."""
    before, known = snapshot(scene, wait=False), records(scene)
    commands = (
        "net create x",
        "net ls",
        "net rm -f blue",
        "net inspect blue",
        "run --network blue",
        "run -d --network blue -- sleep 1000",
        "exec job true",
        "ps",
        "inspect web",
        "logs job",
        "port web",
        "rm -f job",
        "map",
        "--dry-run rm -f job",
    )
    for command in commands:
        done = scene.run([*NOBODY.split(), WEFT, *command.split()], check=False)
        check_text(done, 5, "weft needs root to change networks")
    for capability in ("net_admin", "sys_admin"):
        less = ["setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}", WEFT]
        for command in ("net rm -f blue", "run --network blue", "ps"):
            done = scene.run([*less, *command.split()], check=False)
            check_text(done, 5, "weft needs the capabilities CAP_NET_ADMIN and CAP_SYS_ADMIN")
    for command in ("version", "--help", "run --help", "completion bash"):
        assert scene.run([*NOBODY.split(), WEFT, *command.split()]).stdout
    assert differences(scene, before, wait=False) == []
    assert records(scene) == known


def test_root_of_a_user_namespace_only(scene: Host) -> None:
    """It has all capabilities, and none over this machine's network."""
    before = snapshot(scene, wait=False)
    scene.sh("mkdir -m 0777 /run/ours")
    done = scene.run(
        [*NOBODY.split(), "unshare", "--map-root-user", WEFT, "--root", "/run/ours/w", "net", "create", "x"],
        check=False,
    )
    check_text(done, 5, "nf_tables cannot be read without CAP_NET_ADMIN")
    assert differences(scene, before, wait=False) == []


# -- what the kernel lacks


def test_kernel_features_that_are_missing(host: Host) -> None:
    """Each is named, whenever in a command it is missed, and what was made until then is taken back."""

    def lacking(fault: str, *command: str) -> CompletedProcess[str]:
        call = fault.partition(":")[0]
        trace = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={fault}"]
        return host.run([*trace, WEFT, *command], check=False)

    host.weft("ps")
    before = snapshot(host, wait=False)
    socket = "socket:error=EPROTONOSUPPORT"
    check_text(lacking(f"{socket}:when=1", "net", "create", "x"), 5, "the kernel has no route netlink")
    check_text(lacking(f"{socket}:when=2", "net", "create", "x"), 5, "the kernel has no netfilter netlink")
    host.sh("mount -t tmpfs none /proc/sys/net/ipv4")
    check_text(host.weft("net", "create", "x", check=False), 5, "has no sysctl net/ipv4/ip_forward")
    host.sh("umount /proc/sys/net/ipv4")
    assert differences(host, before, wait=False) == []
    for command in ("net create x", "run --name a --network x", "rm a"):
        host.weft(*command.split())
    before = snapshot(host, wait=False)
    done = lacking("unshare:error=EINVAL", "run", "--network", "x", "-p", "8080:80")
    check_text(done, 5, "the kernel has no network namespaces")
    assert differences(host, before, wait=False) == []


def test_a_full_bridge(host: Host) -> None:
    """The kernel's limit is met by ports that weft does not know of, too."""
    host.weft("net", "create", "x", "--bridge", "full")
    ports = "".join(f"link add p{n} master full type veth peer name q{n}\n" for n in range(1023))
    host.run(["ip", "-batch", "-"], input=ports)
    for command in ("run --network x --name a", "run --network x --name a -p 8080:80 -- true"):
        done = host.weft(*command.split(), check=False)
        check_text(done, 4, "Exchange full")
        assert "1023 ports" in done.stderr
    assert host.weft_json("ps", "-a") == []
    assert len(host.ip("-br", "link", "show", "master", "full").splitlines()) == 1023
    assert not list(host.path("/run/netns").iterdir())
    assert host.weft("loopback", "list", check=False).returncode == 3, "a proxy without ports"


# -- the caller's surroundings


def test_a_current_directory_that_is_gone(scene: Host) -> None:
    gone = "mkdir /run/gone && cd /run/gone && rmdir /run/gone && exec "
    for command, status, says in (
        (f"{WEFT} run --network blue -- true", 2, "current directory"),
        (f"{WEFT} exec job true", 2, "current directory"),
        (f"{WEFT} --root here ps", 1, "--root here"),
    ):
        check_text(scene.run(["sh", "-c", gone + command], check=False), status, says)
    assert scene.run(["sh", "-c", f"{gone}{WEFT} ps -q"]).stdout.split() == ["job", "web"]
    assert scene.run(["sh", "-c", f"{gone}{WEFT} exec -w / job pwd"]).stdout == "/\n"
    relative = shlex.quote(os.path.relpath(WEFT, "/run/gone"))
    assert scene.run(["sh", "-c", f"{gone}{relative} ps -q"]).stdout.split() == ["job", "web"]


def test_a_root_that_is_not_utf8(scene: Host) -> None:
    done = scene.run([WEFT, "--root", "/run/\udcff", "net", "create", "x"], check=False)
    check_text(done, 2, "'/run/\\udcff' is not UTF-8")
    assert scene.sh("ls /run | LC_ALL=C grep -c '[^ -~]' || true") == "0\n"


def test_few_descriptors(scene: Host) -> None:
    """Wherever they run out, it is one line."""
    ended = set()
    for limit in range(4, 20):
        done = scene.run(["sh", "-c", f"ulimit -n {limit}; exec {WEFT} ps -q"], check=False)
        ended.add(done.returncode)
        if done.returncode:
            says = "unable to open database file" if limit < 6 else "Too many open files"
            check_text(done, 1, says)
        else:
            assert (done.stdout.split(), done.stderr) == (["job", "web"], "")
    assert ended == {0, 1}


def test_errors_of_a_command_that_has_json_among_its_own_words(scene: Host) -> None:
    for words in ("run --network blue -- nope --format json", "exec web nope --format=json"):
        check_text(scene.weft(*words.split(), check=False), 127, "command 'nope' is not found")


# -- hostile words


def on_terminal(host: Host, *words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit status and all that a command writes, with stdout and stderr on a terminal."""
    ours, theirs = os.openpty()
    process = host.popen([WEFT, *words], stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            said += chunk
    except OSError:  # EIO: the last writer has gone
        pass
    os.close(ours)
    return process.wait(20), said.decode(errors="surrogateescape").replace("\r\n", "\n")


def harmless(text: str) -> bool:
    return all(c.isprintable() or c in "\n\t" for c in text)


@pytest.mark.parametrize(
    "before",
    [
        "{}",
        "--{}",
        "-{}",
        "net {}",
        "net create {}",
        "net create x --subnet {}",
        "net create x --subnet 192.168.20.0/24 --gateway {}",
        "net create x --bridge {}",
        "net create x --mtu {}",
        "net create x --label {}=v",
        "net create x --driver {}",
        "net create x {}",
        "net rm {}",
        "net inspect {}",
        "run --name {}",
        "run --network {}",
        "run --network blue:{}=1",
        "run --network blue:ip={}",
        "run --network blue:mac={}",
        "run --ip {}",
        "run -p {}",
        "run -p 8080:80/{}",
        "run --hostname {}",
        "run --network-alias {}",
        "run --dns {}",
        "run --dns-search {}",
        "run --network blue -w {} -- true",
        "run --network blue -- {}",
        "run --network blue -- /run/{}",
        "exec {} true",
        "exec job {}",
        "rm {}",
        "logs {}",
        "port {}",
        "ps --filter {}",
        "ps --format {}",
        "ps --all={}",
        "map --format {}",
        "--show {} net create x",
        "--root /etc/passwd/{} ps",
        "completion {}",
    ],
)
def test_hostile_words_in_errors(scene: Host, before: str) -> None:
    words = [word.replace("{}", HOSTILE) for word in before.split()]
    status, said = on_terminal(scene, *words)
    assert status in (1, 2, 3, 127) and said.startswith("weft: error: "), said
    assert harmless(said) and "internal error" not in said, ascii(said)
    assert len(said.splitlines()) <= 2 and said.count("hint: ") == len(said.splitlines()) - 1, ascii(said)


def test_hostile_words_in_output(scene: Host) -> None:
    """A command's words are anybody's: into a pipe as they are, on a terminal escaped."""
    scene.sh(f"mkdir {shlex.quote('/run/w' + HOSTILE)}")
    odd = ("-e", f"E={HOSTILE}", "-w", "/run/w" + HOSTILE)
    run = ("run", "-d", "--name", "odd", "--network", "red", *odd, "--", "sh", "-c", "sleep 1000", HOSTILE)
    colours = {"TERM": "xterm-256color", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    try:
        for words in (
            ("--dry-run", *run),
            ("--show", "commands", *run),
            ("ps",),
            ("ps", "--format", "json"),
            ("inspect", "odd"),
            ("map",),
            ("--dry-run", "exec", "odd", "true", HOSTILE),
            ("--show", "commands", "exec", *odd, "odd", "true", HOSTILE),
        ):
            status, said = on_terminal(scene, *words, env=colours)
            assert status == 0 and harmless(said), ascii(said)
        shown = scene.weft("ps").stdout
        assert "sleep 1000" in shown and harmless(shown)
        assert scene.weft_json("inspect", "odd")[0]["command"][-1] == HOSTILE
    finally:
        scene.weft("rm", "-f", "odd", check=False)


# -- all flags and commands of the table


@pytest.mark.usefixtures("untouched")
def test_every_flag_is_held_to_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not built is refused, a value that is missing or given twice too, for each flag there is."""
    for command, (_, flags, *_) in spec.COMMANDS.items():
        for names, metavar, _ in (*flags, *spec.GLOBAL):
            long = names.split()[0]
            for name in names.split():
                start = [*command.split(), name]
                if metavar.startswith("!"):
                    quietly_refused(capsys, [*start, "v"], 5, f"{long} is not built yet")
                elif metavar:
                    quietly_refused(capsys, start, 2, f"flag {long} needs a value")
                    if not metavar.endswith("..."):
                        quietly_refused(capsys, [*start, "v", name, "v"], 2, f"flag {long} is given twice")
            if not metavar:
                quietly_refused(capsys, [*command.split(), f"{long}=maybe"], 2, "takes true or false")


@pytest.mark.usefixtures("untouched")
def test_every_command_of_the_contract_that_is_not_built(capsys: pytest.CaptureFixture[str]) -> None:
    for command in spec.NOT_YET:
        words = command.split()
        quietly_refused(capsys, [*words, "a", "--flag"], 5, f"`weft {command}` is not built yet")
        quietly_refused(capsys, ["--root", "/r", *words], 5, f"`weft {command}` is not built yet")


@pytest.mark.usefixtures("untouched")
def test_every_command_counts_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    for command, (takes, *_) in spec.COMMANDS.items():
        words = command.split()
        quietly_refused(capsys, [*words, "--nope"], 2, "unknown flag '--nope'")
        if takes and not takes.startswith("["):
            first = takes.split()[0].rstrip(".").removesuffix("|--all")
            quietly_refused(capsys, words, 2, f"`weft {command}` needs {first}")
        if "..." not in takes:
            extra = [*["w"] * len(takes.split()), "more"]
            quietly_refused(capsys, [*words, *extra], 2, f"`weft {command}` does not take 'more'")
