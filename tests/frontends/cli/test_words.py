"""Help, completion and the reference page: all made from one table, and all true."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import REPO, Host
from weft.frontends.cli import args as arguments
from weft.frontends.cli import spec, words
from weft.frontends.cli.main import main

GROUPS = sorted({name.partition(" ")[0] for name in (*spec.COMMANDS, *spec.NOT_YET) if " " in name})
REFERENCE = REPO / "docs" / "reference.md"


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a command line prints that needs no machine."""
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


# -- help


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_at_every_level(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    top = said(capsys, flag)
    assert top == said(capsys)
    for name, (_, flags, _, what, example) in spec.COMMANDS.items():
        assert f"  {name} " in top and what in top
        for argv in ([*name.split(), flag], [flag, *name.split()], [*name.split(), "--root", "/r", flag]):
            text = said(capsys, *argv)
            assert text.startswith(f"usage: weft {name}") and what in text
            assert text.endswith(f"example:\n  {example}\n")
        for names, metavar, meaning in flags:
            assert names.split()[0] in text and (metavar.startswith("!") or meaning in text)
    for group in GROUPS:
        assert said(capsys, group, flag) == said(capsys, flag, group)
        text = said(capsys, group, flag)
        for name in (*spec.COMMANDS, *spec.NOT_YET):
            if " " in name:
                assert (name in text) == name.startswith(f"{group} ")
    assert "example:\n  weft " in top and "example:\n  weft net " in said(capsys, "net", flag)


def test_help_of_a_command_is_not_that_of_what_it_runs(host: Host) -> None:
    assert host.weft("run", "--", "/usr/bin/printf", "%s", "--help").stdout == "--help"
    assert host.weft("run", "echo", "-h").stdout == "-h\n"
    assert host.weft("run", "--help", "--", "ip").stdout.startswith("usage: weft run")


def test_every_example_parses() -> None:
    for name, (*_, example) in {**spec.COMMANDS, **spec.HIDDEN}.items():
        if example:
            program, *argv = shlex.split(example.partition(" > ")[0])
            command, rest, args = arguments.find_command(argv)
            assert (program, command) == ("weft", name)
            parsed = arguments.parse(command, rest, args)
            assert not parsed.on("help")
        else:
            assert name in spec.HIDDEN


def test_every_command_has_its_function() -> None:
    for _, _, target, *_ in (*spec.COMMANDS.values(), *spec.HIDDEN.values()):
        module, _, function = target.partition(":")
        room = __import__(f"weft.frontends.cli.{module}", fromlist=[function])
        assert callable(getattr(room, function)), target


def test_a_command_is_either_built_or_not() -> None:
    names = [*spec.COMMANDS, *spec.HIDDEN, *spec.NOT_YET]
    assert len(names) == len(set(names))


# -- reference


def test_the_reference_page_is_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    page = said(capsys, "reference")
    assert page == words.reference()
    assert REFERENCE.read_text() == page, "run: ./weft reference > docs/reference.md"
    for name in spec.COMMANDS:
        assert f"\n## weft {name}\n" in page
    for name in spec.NOT_YET:
        assert f"`{name}`" in page


# -- completion


@pytest.fixture(scope="module")
def shells() -> Iterator[Host]:
    """A machine with a network and two containers, where ``weft`` is in PATH."""
    with Host() as machine:
        for command in ("net create blue", "run --name web --network blue", "run --name db --network blue"):
            machine.weft(*command.split())
        machine.sh(f"mkdir /run/bin; ln -s {REPO}/weft /run/bin/weft")
        yield machine


def path_of(shell: str) -> str:
    found = shutil.which(shell)
    if not found:
        pytest.skip(f"{shell} is not installed: its completion is not tried")
    return found


def in_shell(host: Host, shell: str, *argv: str, script: str = "") -> list[str]:
    env = {"PATH": f"/run/bin:{os.environ['PATH']}"}
    return host.run([path_of(shell), *argv], input=script, env=env).stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_of_that_shell(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], host: Host
) -> None:
    script = tmp_path / f"weft.{shell}"
    script.write_text(said(capsys, "completion", shell))
    done = host.run([path_of(shell), "-n", str(script)])
    assert (done.stdout, done.stderr) == ("", "")


BASH = """
source <(weft completion bash)
complete -p weft
while read -r line; do
    read -ra COMP_WORDS <<< "$line"
    [[ $line != *' ' ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _weft
    echo "${COMPREPLY[*]}"
done <<'END'
%s
END
"""
NAMED = {
    "weft n": "net ns",
    "weft sw": "switch",
    "weft switch pl": "plug",
    "weft ns ex": "exec",
    "weft ns unshare --cl": "--clock",
    "weft ver": "version",
    "weft net cr": "create",
    "weft net create x --su": "--subnet",
    "weft net create x --gat": "--gateway",
    "weft run --netw": "--network --network-alias",
    "weft run --nam": "--name",
    "weft exec web --work": "--workdir",
    "weft ps --fo": "--format",
    "weft rm w": "web",
    "weft exec d": "db",
    "weft net rm b": "blue",
    "weft net inspect b": "blue",
    "weft completion z": "zsh",
    "weft frob": "",
}


def test_bash_completes(shells: Host) -> None:
    # An IFS of nothing keeps a blank at the end, which is where a new word begins.
    script = BASH.replace("read -r line", "IFS= read -r line") % "\n".join(["weft rm ", "weft ", *NAMED])
    complete, names, firsts, *rest = in_shell(shells, "bash", "--norc", script=script)
    assert complete == "complete -o default -F _weft weft"
    assert names.split() == ["db", "web"]
    assert firsts.split() == list(dict.fromkeys(name.partition(" ")[0] for name in spec.COMMANDS))
    assert dict(zip(NAMED, rest, strict=True)) == NAMED


def test_bash_completes_every_flag(shells: Host) -> None:
    lines = [f"weft {name} --" for name in spec.COMMANDS]
    _, *rest = in_shell(shells, "bash", "--norc", script=BASH % "\n".join(lines))
    for (_, flags, *_), found in zip(spec.COMMANDS.values(), rest, strict=True):
        built = [f[0].split()[0] for f in (*flags, *spec.GLOBAL) if f[1][:1] != "!"]
        assert set(found.split()) == set(built)


def test_zsh_takes_it(shells: Host) -> None:
    script = "autoload -U compinit; compinit -u -D; source <(weft completion zsh); print -r -- $_comps[weft]"
    assert in_shell(shells, "zsh", "-fc", script) == ["_bash_complete -o default -F _weft"]


def test_fish_completes(shells: Host) -> None:
    asked = "".join([f"complete -C {shlex.quote(line)}; echo END\n" for line in NAMED])
    script = f"weft completion fish | source\n{asked}"
    offered = "\n".join([row.partition("\t")[0] for row in in_shell(shells, "fish", "-N", script=script)])
    assert [part.split() for part in offered.split("END")][:-1] == [n.split() for n in NAMED.values()]


# -- colour


def test_no_colour_where_none_is_wanted(shells: Host) -> None:
    """None into a pipe, whatever the surroundings say; none on a terminal with NO_COLOR."""
    forced = {"TERM": "xterm-256color", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    for command in ("ps", "net ls", "map", "--help", "net inspect blue", "rm nope"):
        done = shells.weft(*command.split(), env=forced, check=False)
        assert "\x1b" not in done.stdout + done.stderr
        ours, theirs = os.openpty()
        env = {"TERM": "xterm-256color", "NO_COLOR": "1"}
        shells.popen([str(REPO / "weft"), *command.split()], stdout=theirs, stderr=theirs, env=env).wait(20)
        os.close(theirs)
        assert b"\x1b" not in os.read(ours, 1 << 16)
        os.close(ours)
