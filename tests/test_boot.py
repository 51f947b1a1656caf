"""The program's own way to import: from one file a command, which is never older than the source."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import Host, imports
from harness.host import PYTHON, REPO
from weft.hot import HOT

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from weft import boot
print(boot.preload(sys.argv[1], "ps"))
boot._warm_up(sys.argv[1], ["ps", "-a"])
import weft.frontends.cli.words as words, weft.engine.work as work
print(work.__loader__.__name__ if isinstance(work.__loader__, type) else "general", work.__spec__.origin)
print(work.Work.__doc__.splitlines()[0], work.__package__, sys.modules["weft.engine"].work is work)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources without byte code."""
    shutil.copytree(REPO / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "src"


def loaded(tree: Path) -> list[str]:
    """What a fresh interpreter says: was the file good, who loaded the engine, what is in it."""
    done = subprocess.run([*PYTHON, "-c", CODE, str(tree)], check=True, capture_output=True, text=True)
    good, loader, said = done.stdout.splitlines()
    assert loader.split()[1] == str(tree / "weft/engine/work.py")
    return [good, loader.split()[0], said]


def hot(tree: Path) -> Path:
    (found,) = (tree / "weft/__pycache__").glob("hot-ps.*.bin")
    return found


SAID = "One command's work: the wishes, the machine, and how to tell the user. weft.engine True"


def test_the_first_call_writes_the_file_and_the_second_reads_it(tree: Path) -> None:
    assert loaded(tree) == ["False", "general", SAID]
    assert loaded(tree) == ["True", "_Loaded", SAID]


def test_an_edited_source_is_seen_at_once(tree: Path) -> None:
    loaded(tree)
    source = tree / "weft/engine/work.py"
    source.write_text(source.read_text().replace('"""One command\'s work', '"""One changed work'))
    changed = SAID.replace("command's", "changed")
    assert loaded(tree) == ["False", "general", changed]
    assert loaded(tree) == ["True", "_Loaded", changed]


def test_a_changed_list_is_heeded(tree: Path) -> None:
    loaded(tree)
    path = tree / "weft/hot.py"
    path.write_text(path.read_text() + "# changed\n")
    assert loaded(tree) == ["False", "general", SAID]
    assert loaded(tree) == ["True", "_Loaded", SAID]


@pytest.mark.parametrize("keep", [0, 5, 11, 40, 5000, -1])
def test_a_damaged_file_is_written_anew(tree: Path, keep: int) -> None:
    loaded(tree)
    path = hot(tree)
    path.write_bytes(path.read_bytes()[:keep])
    assert loaded(tree)[1:] == ["general", SAID]
    assert loaded(tree) == ["True", "_Loaded", SAID]


def test_a_place_where_nothing_can_be_written(tree: Path) -> None:
    loaded(tree)
    path = hot(tree)
    path.unlink()
    path.mkdir()  # as good as read-only: root may write anywhere
    assert loaded(tree) == ["False", "general", SAID]
    assert not list(path.parent.glob("*.bin.*"))


def test_the_lists_are_what_the_commands_import() -> None:
    assert imports.measured() == HOT


def test_a_command_that_is_not_hot_has_no_file(host: Host) -> None:
    host.weft("version")
    host.weft("map")
    assert not list((REPO / "src/weft/__pycache__").glob("hot-map*"))
    assert not list((REPO / "src/weft/__pycache__").glob("hot-version*"))
