"""The program as it is started: what it imports, where it finds itself, whatever its streams are.

``tests/golden/imports.txt`` holds what the hot commands import of the standard library (weft's own modules
are in src/weft/hot.py). A line that is missing or too many there is
an import that was added or dropped: it is placed by hand, once its cost has been looked at (house rule: all
of weft's own together under 10 ms).
"""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import pytest

from harness import REPO, Host, settle
from harness.host import ENVIRONMENT, PYTHON

WEFT = REPO / "weft"
GOLDEN = REPO / "tests" / "golden" / "imports.txt"
RECORDER = Path(__file__).with_name("recorder.py")
#: In this order, on a machine where weft has run before.
HOT = {
    "run": "run -d --name net --network blue -p 8080:80",
    "command": "run -d --name job --network blue -- sleep 1000",
    "exec": "exec job true",
    "ls": "net ls",
    "ps": "ps",
    "rm": "rm net",
}
#: Python 3.12 brought os.setns, so that some commands need it no more.
VARIES = {"_ctypes"}
#: Each takes a good part of what all of weft may take.
HEAVY = frozenset(
    "argparse ast asyncio base64 collections contextlib copy ctypes dataclasses datetime decimal difflib"
    " email enum fnmatch functools getpass glob hashlib heapq http importlib inspect ipaddress json locale"
    " logging multiprocessing operator optparse pathlib pickle platform pprint queue random re selectors"
    " shlex"
    " shutil signal site socket sqlite3 ssl string subprocess sysconfig tempfile textwrap threading token"
    " tokenize traceback types typing unittest urllib uuid weakref xml zipfile".split()
)


@pytest.fixture(scope="module")
def imports() -> dict[str, list[tuple[str, str, str]]]:
    """command -> ("asked" or "loaded", module, its file)."""
    found = {}
    with Host() as machine:
        for command in ("net create blue", "run --name before --network blue", "rm before"):
            machine.weft(*command.split())
        for name, command in HOT.items():
            machine.run([*PYTHON, str(RECORDER), "/run/notes", str(WEFT), *command.split()])
            lines = [(line + " ").split(" ", 2) for line in machine.read("/run/notes").splitlines()]
            found[name] = [(how, module, path.strip()) for how, module, path in lines]
    return found


# -- imports


def test_what_the_hot_commands_import(imports: dict[str, list[tuple[str, str, str]]]) -> None:
    """The modules of the standard library that weft's own code asks for."""
    users: dict[str, list[str]] = {}
    for command, noted in imports.items():
        own = {m for how, m, _ in noted if how == "asked" and m.partition(".")[0] != "weft"}
        for module in own - VARIES:
            users.setdefault(module, []).append(command)
    found = [f"{module}: {' '.join(commands)}" for module, commands in sorted(users.items())]
    golden = [line for line in GOLDEN.read_text().splitlines() if line and line[0] != "#"]
    assert found == golden, "tests/golden/imports.txt says otherwise:\n" + "\n".join(found)


def test_nothing_heavy_is_loaded_for_whatever_reason(
    imports: dict[str, list[tuple[str, str, str]]],
) -> None:
    for command, noted in imports.items():
        assert len(noted) > 100
        loaded = {module for how, module, _ in noted if how == "loaded"}
        assert loaded & HEAVY == set(), command


def test_nothing_is_third_party(imports: dict[str, list[tuple[str, str, str]]]) -> None:
    library = os.path.dirname(os.__file__)
    homes = (f"{REPO}/src/weft/", f"{library}/", str(RECORDER))
    for noted in imports.values():
        for how, _, path in noted:
            if how == "loaded" and path != "None":
                assert path.startswith(homes) and "-packages/" not in path


def test_the_surroundings_cannot_change_what_is_imported(tmp_path: Path) -> None:
    for trap in ("os.py", "struct.py", "sitecustomize.py", "usercustomize.py", "weft/__init__.py"):
        path = tmp_path / trap
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('trapped')\n")
    env = ENVIRONMENT | {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONSTARTUP": "os.py"}
    for command in (["version"], ["completion", "bash"]):
        done = subprocess.run(
            [WEFT, *command], cwd=tmp_path, env=env, capture_output=True, check=True, text=True
        )
        assert (done.stderr, "weft" in done.stdout) == ("", True)


# -- installed


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``pip install .`` into a virtual environment; the build's needs come from this one, not the network."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    packages = os.path.dirname(os.path.dirname(pytest.__file__))
    subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "--python",
                venv / "bin" / "python",
                "--disable-pip-version-check",
            ),
            *("install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", REPO),
        ],
        check=True,
        timeout=120,
        env=ENVIRONMENT | {"PYTHONPATH": packages},
    )
    return venv / "bin" / "weft"


def test_the_installed_program_is_the_same_file(installed: Path) -> None:
    assert installed.read_bytes() == WEFT.read_bytes()
    assert installed.read_bytes().startswith(b"#!/usr/bin/python3 -IS\n")
    assert os.access(installed, os.X_OK) and not installed.is_symlink()


def test_the_installed_program_works(installed: Path, host: Host) -> None:
    """Called by a link to it, with its proxy and its monitor, which it starts by its own path."""
    host.sh(f"mkdir /run/bin; ln -s {installed} /run/bin/weft")
    program = "/run/bin/weft"
    assert host.run([program, "version"]).stdout == host.weft("version").stdout
    host.run([program, "net", "create", "blue"])
    host.run([program, "run", "--name", "web", "--network", "blue", "-p", "8080:80"])
    host.run([program, "run", "-d", "--name", "job", "--network", "blue", "--", "sh", "-c", "exit 7"])

    def ended() -> bool:
        return host.run([program, "ps", "-aq", "--filter", "exit_code=7"]).stdout == "job\n"

    assert settle(host, ended)
    proxies = host.run(["pgrep", "-af", "loopback-serve"]).stdout
    assert str(installed) in proxies and str(WEFT) not in proxies
    host.run([program, "net", "rm", "-f", "blue"])


@pytest.mark.parametrize("tail", ["site-packages", "dist-packages"])
def test_packages_are_found_beside_the_program(tmp_path: Path, tail: str) -> None:
    """Under its prefix: where pip, and where Debian's Python put them."""
    packages = tmp_path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / tail
    packages.mkdir(parents=True)
    (packages / "weft").symlink_to(REPO / "src" / "weft")
    (tmp_path / "bin").mkdir()
    shutil.copy(WEFT, tmp_path / "bin" / "weft")
    said = subprocess.run([tmp_path / "bin" / "weft", "version"], capture_output=True, check=True, text=True)
    assert said.stdout.startswith("weft ")


# -- byte code


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the program, run once; its module ``words``, which ``weft version`` needs."""
    shutil.copy(WEFT, tmp_path / "weft")
    shutil.copytree(REPO / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "weft", tmp_path / "src" / "weft" / "frontends" / "cli" / "words.py"


def version(program: Path) -> str:
    return subprocess.run([program, "version"], capture_output=True, check=True, text=True).stdout


def word(number: float) -> bytes:
    return int(number).to_bytes(4, "little")


def test_byte_code_is_written_and_used(checkout: tuple[Path, Path]) -> None:
    program, source = checkout
    assert version(program).startswith("weft ")
    every = [Path(cache_from_source(str(path))) for path in (source, source.with_name("spec.py"))]
    assert all(path.exists() for path in every)
    other = compile(source.read_text().replace('out(f"weft {', 'out(f"woven {'), str(source), "exec")
    head = MAGIC_NUMBER + word(0) + word(source.stat().st_mtime) + word(source.stat().st_size)
    every[0].write_bytes(head + marshal.dumps(other))
    assert version(program).startswith("woven ")


@pytest.mark.parametrize("stale", ["time", "size", "magic", "empty", "missing", "directory"])
def test_byte_code_that_is_stale_is_not_used(checkout: tuple[Path, Path], stale: str) -> None:
    program, source = checkout
    version(program)
    cached, good = Path(cache_from_source(str(source))), source.stat()
    current = cached.read_bytes()
    other = marshal.dumps(compile("raise SystemExit('stale')", str(source), "exec"))
    time, size = word(good.st_mtime - (stale == "time")), word(good.st_size + (stale == "size"))
    magic = b"\0\0\r\n" if stale == "magic" else MAGIC_NUMBER
    cached.unlink()
    if stale == "directory":
        cached.mkdir()
    elif stale != "missing":
        cached.write_bytes(b"" if stale == "empty" else magic + word(0) + time + size + other)
    assert version(program).startswith("weft ")
    if stale != "directory":
        assert cached.read_bytes() == current, "it is written anew"


def test_a_source_that_has_changed(checkout: tuple[Path, Path]) -> None:
    program, source = checkout
    version(program)
    source.write_text(source.read_text().replace('out(f"weft {', 'out(f"woven {'))
    assert version(program).startswith("woven ")


# -- streams


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    with Host() as host:
        host.weft("net", "create", "blue", "--label", f"long={'x' * 20_000}")
        host.weft(
            "run", "-d", "--name", "job", "--network", "blue", "--", "sh", "-c", "seq 100000; exec sleep 1000"
        )
        assert settle(host, lambda: host.weft("logs", "--tail", "1", "job").stdout == "100000\n")
        yield host


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(machine: Host, closed: str) -> None:
    """What weft opens never gets a standard number: there its own words would go into kernel objects."""
    look = "'seen=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo \"$seen\" >> /run/fds'"
    steps = (
        f"net create odd {closed}",
        f"run -d --name odd --network odd -p 8080:80 {closed}",
        f"exec odd sh -c {look} {closed}",
        f"exec job sh -c {look} {closed}",
        f"run --rm --name fore --network odd {closed} -- sh -c {look}",
        f"rm nope {closed}",
        f"ps {closed}",
        f"net rm -f odd {closed}",
    )
    machine.sh("rm -f /run/fds")
    for step in steps:
        done = machine.run(["sh", "-c", f"exec {WEFT} {step}"], check=False)
        assert done.returncode == (3 if step.startswith("rm nope") else 0), done
        assert done.stderr == "" or done.stderr.startswith(("weft: ", "hint: ")), done
    shown = machine.read("/run/fds").splitlines()
    assert len(shown) == 9
    for number, sign in enumerate(("<&-", ">&-", "2>&-")):
        if sign in closed.split():
            assert shown[number::3] == ["/dev/null"] * 3
    assert machine.weft("ps", "-q").stdout == "job\n"


READS = (
    "ps",
    "net ls",
    "net ls --format json",
    "net inspect blue",
    "logs job",
    "map",
    "--help",
    "completion bash",
)


@pytest.mark.parametrize("command", READS)
def test_a_reader_that_has_gone(machine: Host, command: str) -> None:
    """As with `weft ps | head -0`: no words about it, the status that the shell gives for SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    process = machine.popen([str(WEFT), *command.split()], stdout=write)
    os.close(write)
    assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 141


@pytest.mark.parametrize("command", READS)
def test_a_full_stdout(machine: Host, command: str) -> None:
    with open("/dev/full", "w") as full:
        process = machine.popen([str(WEFT), *command.split()], stdout=full)
        said = process.communicate(timeout=20)[1]
    expected = "weft: error: cannot write to stdout: No space left on device\n"
    if "json" in command:
        assert '"message": "cannot write to stdout: No space left on device"' in said
    else:
        assert said == expected
    assert process.returncode == 1


@pytest.mark.parametrize("where", ["/dev/full", "gone"])
def test_what_was_asked_for_is_done_all_the_same(machine: Host, where: str) -> None:
    """That nobody can read what weft says is no reason to leave things half made."""
    read, write = os.pipe()
    os.close(read)
    if where == "/dev/full":
        os.close(write)
        write = os.open("/dev/full", os.O_WRONLY)
    for command in (
        "--show commands net create odd",
        "--show commands run -d --name odd --network odd -p 8080:80 -- sleep 1000",
        "rm nope",
        "net rm -f odd",
    ):
        process = machine.popen([str(WEFT), *command.split()], stderr=write)
        process.communicate(timeout=20)
        assert process.returncode == (3 if command == "rm nope" else 0), command
    process = machine.popen([str(WEFT), "net", "create", "odd"], stdout=write)
    assert process.wait(20) == (1 if where == "/dev/full" else 141)
    os.close(write)
    assert machine.weft("net", "rm", "odd").stdout == "odd\n"
