"""./demo, run on a throw-away machine: what it says, how it ends, and that it leaves nothing there."""

from __future__ import annotations

import os
import re
import signal

import pytest

from harness import REPO, Host, Process, Snapshot, differences, snapshot

DEMO = str(REPO / "demo")
TITLES = (
    "A machine of its own, and its LAN",
    "Two networks",
    "Four containers, with one command each",
    "What should be reachable is",
    "What should not be reachable is not",
    "What the usual tools see of it",
    "The whole of it as a picture",
    "All of it down in one go",
)
SAID = (
    r"\$ weft net create blue --subnet 192\.168\.10\.0/24 --gateway 192\.168\.10\.1 --bridge lxcbr0 +\d+ ms",
    r"\|  ip link add name lxcbr0 .* type bridge",
    r"\|  ip netns add web",
    r"ok      api, by name +http://web/ +-> a page of web",
    r"ok      the LAN +http://203\.0\.113\.1:8080/ +-> a page of web",
    r"ok      the machine +http://127\.0\.0\.1:9000/ +-> a page of api",
    r"ok      the far server saw the machine's address: 203\.0\.113\.1",
    r"ok      web saw its LAN client's own: 203\.0\.113\.2 ",
    r"ok      the LAN +http://10\.81\.0\.2/ +-> nothing",
    r"ok      tool, in green +http://192\.168\.10\.2/ +-> nothing",
    r"network green   bridge wb",
    r"ok      links, addresses, .*: all as before",
    r"all of it +\d+\.\d\d s",
    r"(\d+) of \1 checks passed",
)


@pytest.fixture
def before(host: Host) -> Snapshot:
    return snapshot(host, wait=False)


def on_terminal(host: Host, **env: str) -> tuple[Process, int]:
    """The demo started on a terminal of its own; the terminal's other end."""
    ours, theirs = os.openpty()
    process = host.popen([DEMO], stdout=theirs, env=env)
    os.close(theirs)
    return process, ours


def read_until(terminal: int, wanted: str) -> str:
    """What the terminal shows up to a word that must come."""
    seen = ""
    while wanted not in seen:
        try:
            seen += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # nobody has its other end any more
            pytest.fail(f"it ended before it said {wanted!r}:\n{seen}")
    return seen


def left(host: Host, before: Snapshot) -> list[str]:
    return differences(host, before, timeout=10, wait=False)


def test_shows_the_main_job_and_leaves_nothing(host: Host, before: Snapshot) -> None:
    done = host.run([DEMO], timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for number, title in enumerate(TITLES, 1):
        assert f"\n{number}. {title}\n" in done.stdout
        assert re.search(rf"^  {number}\. {title} +\d+\.\d\d s$", done.stdout, re.MULTILINE)
    for line in SAID:
        assert re.search(line, done.stdout), f"{line}\n{done.stdout}"
    assert "FAILED" not in done.stdout
    assert "\x1b" not in done.stdout
    assert left(host, before) == []


def test_one_failed_check_is_a_failure(host: Host, before: Snapshot) -> None:
    """One page is kept from it; it tells the rest of the story all the same."""
    curl = '#!/bin/sh\ncase "$*" in *127.0.0.1:9000*) exit 7;; esac\nexec /etc/curl.real "$@"\n'
    host.write("/etc/curl", curl, 0o755)
    host.sh("cp /usr/bin/curl /etc/curl.real\nmount --bind /etc/curl /usr/bin/curl")
    done = host.run([DEMO], timeout=120, check=False)
    host.sh("umount /usr/bin/curl\nrm /etc/curl /etc/curl.real")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.findall(r"FAILED  (.*)", done.stdout) == [
        "the machine            http://127.0.0.1:9000/       -> nothing"
    ]
    assert ", 1 FAILED" in done.stdout
    assert left(host, before) == []


def test_interrupted_on_a_terminal(host: Host, before: Snapshot) -> None:
    process, terminal = on_terminal(host)
    seen = read_until(terminal, "ip netns add web")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    os.close(terminal)
    assert "\x1b[1m$ weft net create blue" in seen
    assert left(host, before) == []


def test_killed_with_no_warning(host: Host, before: Snapshot) -> None:
    process, terminal = on_terminal(host, NO_COLOR="1")
    seen = read_until(terminal, "What should be reachable is")
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    os.close(terminal)
    assert "$ weft net create blue" in seen
    assert "\x1b" not in seen
    assert left(host, before) == []


def test_its_reader_has_had_enough(host: Host, before: Snapshot) -> None:
    done = host.run(["bash", "-c", f"{DEMO} | head -3; exit ${{PIPESTATUS[0]}}"], timeout=120, check=False)
    assert done.returncode == 141
    assert done.stderr == ""
    assert done.stdout.count("\n") == 3
    assert left(host, before) == []


def test_installs_what_is_missing(host: Host) -> None:
    """apt-get is asked once, for the packages of the missing commands only; here it brings nothing."""
    host.write("/run/apt-get", '#!/bin/sh\necho "$@" >> /run/asked\n', 0o755)
    host.sh("mount --bind /run/apt-get /usr/bin/apt-get\nmount --bind /dev/null /usr/bin/curl")
    done = host.run([DEMO], check=False)
    assert done.returncode == 5
    assert "still missing after their installation: curl" in done.stderr
    assert host.read("/run/asked").splitlines() == ["-q update", "-q -y install --no-install-recommends curl"]
    assert done.stdout == ""


def test_a_failed_installation_says_why(host: Host) -> None:
    host.write("/run/apt-get", '#!/bin/sh\necho "E: no such mirror"; exit 100\n', 0o755)
    host.sh("mount --bind /run/apt-get /usr/bin/apt-get\nmount --bind /dev/null /usr/bin/curl")
    done = host.run([DEMO], check=False)
    assert done.returncode == 5
    assert "`apt-get -q update` failed:\nE: no such mirror" in done.stderr


def test_needs_root(host: Host) -> None:
    done = host.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", DEMO], check=False)
    assert done.returncode == 5
    assert "try: sudo ./demo" in done.stderr
