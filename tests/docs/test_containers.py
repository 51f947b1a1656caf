"""docs/containers.md, typed as it stands: every command says what the page says.

``...`` stands for anything, a line of it for any lines. Inodes of namespaces, pids and times are others each
time; but what is one number on the page is one number here.
"""

from __future__ import annotations

import re

from harness import Host
from harness.host import ENVIRONMENT, REPO

PAGE = (REPO / "docs/containers.md").read_text()
#: The page's pids are numbers of four digits, and so are the machine's from here on.
FIRST_PID = 4100
_END = "\x01"
_VARIES = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z)|(?P<inode>\b402653\d{4}\b)|(?P<pid>\b4\d{3}\b)|(?P<any>\.\.\.)"
)
_LIKE = {"time": r"\d{4}-\d\d-\d\dT[\d:.]+Z", "any": ".*?"}


def commands() -> list[tuple[str, list[str]]]:
    """The page's commands in their order, with the lines that they are to say."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.S | re.M):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found[-1][0].endswith("\\"):
                found[-1] = (f"{found[-1][0]}\n{line}", [])
            else:
                found[-1][1].append(line)
    return found


def typed(host: Host, lines: list[str]) -> list[str]:
    """What each command says on both its outputs, typed into one shell."""
    host.sh(
        f"mkdir /run/bin; ln -s {REPO}/weft /run/bin/weft; echo {FIRST_PID} >/proc/sys/kernel/ns_last_pid"
    )
    script = "".join([f"printf '\\001'\n{line}\n" for line in lines])
    host.write("/run/page.sh", f"exec 2>&1\n{script}")
    env = {"PATH": f"/run/bin:{ENVIRONMENT['PATH']}"}
    said = host.run(["sh", "/run/page.sh"], env=env, check=False, timeout=60).stdout
    # The machine's cgroups are below the one that it is in itself.
    return re.sub(r"/weft-test-machine-\d+", "", said).split(_END)[1:]


class Numbers:
    """Which of the page's numbers is which of the machine's."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self._found: list[str] = []

    def pattern(self, line: str) -> str:
        """One expected line as a pattern with a group for each number that varies."""
        if line == "...":
            return "(?:.*\n)*?"
        made, at = "", 0
        for found in _VARIES.finditer(line):
            made += re.escape(line[at : found.start()])
            kind, at = str(found.lastgroup), found.end()
            if kind in _LIKE:
                made += _LIKE[kind]
            else:
                self._found.append(found[0])
                made += r"(\d+)"
        return f"{made}{re.escape(line[at:])}\n"

    def agree(self, expected: list[str], said: str) -> bool:
        """Whether that was said; numbers that are new are learnt."""
        self._found = []
        plain = "".join([line.rstrip() + "\n" for line in said.splitlines()])
        match = re.fullmatch("".join([self.pattern(line) for line in expected]), plain)
        if match is None:
            return False
        for there, here in zip(self._found, match.groups(), strict=True):
            if self.known.setdefault(there, here) != here:
                return False
        return len(set(self.known.values())) == len(self.known)


def test_every_command_says_what_the_page_says() -> None:
    page = commands()
    assert len(page) > 60
    with Host() as host:
        said = typed(host, [command for command, _ in page])
    numbers = Numbers()
    for (command, expected), here in zip(page, said, strict=True):
        assert numbers.agree(expected, here), f"$ {command}\n{here}\nand not\n" + "\n".join(expected)


def test_its_contents() -> None:
    sections = re.findall(r"^## (\d+)\. (.+)$", PAGE, re.M)
    for number, title in sections:
        anchor = re.sub(r"[^a-z0-9 -]", "", f"{number} {title}".lower()).replace(" ", "-")
        assert f"{number}. [{title}](#{anchor})" in PAGE
    assert [int(number) for number, _ in sections] == list(range(1, len(sections) + 1))


def test_the_comparison_can_fail() -> None:
    """What is not said, is said otherwise, or is two numbers where the page has one, does not pass."""
    numbers = Numbers()
    assert numbers.agree(["pid 4112 of net:[4026532754]", "..."], "pid 17 of net:[99]  \nmore\n")
    assert numbers.agree(["4112"], "17\n")
    assert not numbers.agree(["4112"], "18\n")
    assert not Numbers().agree(["4112", "4113"], "17\n17\n")
    assert not Numbers().agree(["Seccomp: 2"], "Seccomp: 0\n")
    assert not Numbers().agree(["a"], "a\nb\n")
    assert not Numbers().agree(["a", "b"], "a\n")
