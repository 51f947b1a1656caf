"""The printed commands: any shell takes them, words stay words; and nft reads what netlink sends."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.ops.strategies import IFNAMES, NAMES, PATHS, PLANS, PRINTABLE, STRATEGIES
from harness import REPO, Host, diff, snapshot
from weft.core.emit.shell import HEAD, lines, script
from weft.core.firewall.tables import tables
from weft.core.model.launch import Launch
from weft.core.model.oci import Namespace, Process, Spec
from weft.core.ops.base import Op
from weft.core.ops.file import HostsAdd, HostsDel, HostsFile, HostsFileDel
from weft.core.ops.link import BridgeAdd, LinkDel, LinkGroupDel
from weft.core.ops.loopback import LoopbackStart
from weft.core.ops.netns import EtcNetns, EtcNetnsDel
from weft.core.ops.nft import TableAdd
from weft.linux import files

ROOT = "0123abcd"
SENDER = f"""
import sys
sys.path.insert(0, {str(REPO / "src")!r})
from weft.core.firewall.tables import tables
from weft.core.plan.plan import Plan
from weft.linux.execute import Hands
Hands("/run/weft", "weft").apply(Plan(tables({ROOT!r})))
"""
few = settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])


def sh(text: str, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["/bin/sh", *options], input=text, capture_output=True, text=True, check=False, **more
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done


@pytest.mark.parametrize("kind", STRATEGIES, ids=lambda kind: kind.__name__)
@few
@given(data=st.data())
def test_a_shell_can_read_it(kind: type[Op], data: st.DataObject) -> None:
    op = data.draw(STRATEGIES[kind])
    assert op.shell() and all(op.shell())
    assert sh("\n".join(lines(op)) + "\n", "-n").stderr == ""


@few
@given(PLANS, PRINTABLE, PRINTABLE)
def test_a_whole_script(plan: Any, program: str, root: str) -> None:
    text = script(plan.ops, program, root)
    assert text.startswith(HEAD) and HEAD.splitlines()[:2] == ["#!/bin/sh", "set -e"]
    sh(text, "-n")


#: Every program becomes a function that says its words.
SPIES = "".join(
    [
        f"{name}() {{ printf '%s\\0' {name} \"$@\"; }}\n"
        for name in ("ip", "nft", "sysctl", "mkdir", "ln", "rm")
    ]
)


#: nsenter says the script that it would have a shell run.
LAST_WORD = """nsenter() { while [ "$1" != -c ]; do shift; done; printf %s "$2"; }\n"""


def heard(text: str) -> list[str]:
    return sh(SPIES + text).stdout.split("\0")


@few
@given(PRINTABLE, IFNAMES)
def test_words_stay_words(text: str, ifname: str) -> None:
    """An alias, a path: whatever stands in it, it is one word of one command and nothing is expanded."""
    bridge = BridgeAdd(ifname, "02:00:00:00:00:01", 1500, "weft:0123456789abcdef", text)
    words = heard("\n".join(bridge.shell()))
    assert words.count("ip") >= 3 and text in words and ifname in words
    path = f"/{text}/run/hosts/blue"
    assert path in heard("\n".join(HostsFileDel(path).shell()))
    assert heard("\n".join(HostsFile(path).shell()[:2]))[-2] == f"/{text}/run/hosts"


@few
@given(PATHS, PRINTABLE, NAMES)
def test_how_weft_calls_itself(program: str, root: str, name: str) -> None:
    (line,) = lines(LoopbackStart(7765), program, root)
    assert sh(f"set -- {line}\nprintf '%s\\0' \"$@\"").stdout.split("\0")[:-1] == [
        program, "--root", root, "loopback", "start", "7765",
    ]  # fmt: skip
    assert lines(LoopbackStart(7765)) == ("weft loopback start 7765",)


@few
@given(st.lists(PRINTABLE, min_size=1, max_size=4), PRINTABLE, PRINTABLE)
def test_a_command_keeps_its_words(argv: list[str], value: str, cwd: str) -> None:
    process = Process(tuple(argv), (("A", value), ("-x", value)), f"/{cwd}")
    spec = Spec(process, namespaces=(Namespace("net", "/run/netns/c"), Namespace("mnt")), hostname="h")
    launch = Launch(spec, "c", f"/{cwd}/l")
    sh(launch.shell(), "-n")
    inner = sh(LAST_WORD + launch._replace(log="").shell()).stdout
    sh(inner, "-n")
    start = inner.index("\nexec env ") + len("\nexec ")
    words = sh(f"set -- {inner[start:]}\nprintf '%s\\0' \"$@\"").stdout.split("\0")[:-1]
    assert words == ["env", "-i", "--", f"A={value}", f"-x={value}", *argv]


def test_what_is_gone_already_stops_nothing(host: Host) -> None:
    """Removals that meet nothing, and a directory that somebody else uses too."""
    host.write("/etc/netns/a/nsswitch.conf", "")
    ops: tuple[Op, ...] = (LinkDel("wv0", "weft:0123456789abcdef"), LinkGroupDel(77), EtcNetnsDel("a"))
    host.run(["/bin/sh"], input=script(ops) + "ip link add name reached type bridge\n")
    assert "reached" in host.ip("link")
    assert host.path("/etc/netns/a/nsswitch.conf").exists()


@few
@given(PRINTABLE, st.lists(st.tuples(st.integers(1, 30), NAMES), min_size=1, max_size=8), st.integers(1, 30))
def test_hosts_files_both_ways(tmp_path_factory: Any, folder: str, members: Any, gone: int) -> None:
    """The shell's file and the hands' file are byte for byte the same, and the inode stays."""
    top = tmp_path_factory.mktemp("hosts")
    name = folder.replace("/", "_").strip(".")[:20] or "x"
    ours, theirs = f"{top}/{name}/run/hosts/blue", f"{top}/sh-{name}/run/hosts/blue"
    files.make_hosts(ours)
    sh(script((HostsFile(theirs),)))
    inode = Path(theirs).stat().st_ino
    for number, member in members:
        files.add_hosts(ours, HostsAdd(ours, f"10.0.0.{number}", (member,)).line + "\n")
        sh(script((HostsAdd(theirs, f"10.0.0.{number}", (member,)),)))
    files.remove_hosts(ours, (f"10.0.0.{gone}", "10.0.0.1"))
    sh(script((HostsDel(theirs, (f"10.0.0.{gone}", "10.0.0.1")),)))
    assert Path(theirs).read_bytes() == Path(ours).read_bytes()
    assert Path(theirs).stat().st_ino == inode


@few
@given(st.text("nameserver 1.2\n'\"$`\\%", max_size=40), PRINTABLE)
def test_name_files_keep_their_text(resolv: str, path: str) -> None:
    made, linked, written = EtcNetns("a", f"/{path}", resolv).shell()
    assert heard(f"{made}\n{linked}")[-3] == f"/{path}"
    assert sh(written.rpartition(" > ")[0]).stdout == resolv


# -- the firewall's tables: nft's text and netlink's messages


@pytest.fixture
def pair() -> Iterator[tuple[Host, Host]]:
    """The tables by netlink on the first machine, by ``nft -f`` on the second."""
    with Host() as sent, Host() as read:
        sent.run(["/usr/bin/python3", "-IS", "-c", SENDER])
        read.run(["/bin/sh"], input=script(tables(ROOT)))
        yield sent, read


def ruleset(machine: Host) -> Any:
    return json.loads(machine.nft("-j", "list", "ruleset"))


def without_handles(value: Any) -> Any:
    if isinstance(value, list):
        return [without_handles(item) for item in value]
    if isinstance(value, dict):
        return {key: without_handles(item) for key, item in value.items() if key != "handle"}
    return value


def by_chain(found: Any) -> dict[str, list[Any]]:
    """Rules in their order within each chain; the rest by itself: chains are listed as they were made."""
    groups: dict[str, list[Any]] = {}
    for item in found["nftables"]:
        ((kind, body),) = item.items()
        if kind != "metainfo":
            place = "chain" if kind == "rule" else "name"
            groups.setdefault(f"{kind} {body['family']} {body[place]}", []).append(body)
    return groups


def test_tables_are_the_same(pair: tuple[Host, Host]) -> None:
    sent, read = [by_chain(without_handles(ruleset(machine))) for machine in pair]
    assert len(sent) > 30
    assert sent == read
    assert pair[0].nft("list", "ruleset") == pair[1].nft("list", "ruleset")
    assert diff(snapshot(pair[0]), snapshot(pair[1])) == []


def expressions(machine: Host) -> list[str]:
    """Every rule, set and chain as the kernel holds it, in nft's own notation for messages."""
    text = machine.nft("--debug=netlink", "list", "ruleset")
    text = re.sub(r"\b(handle|userdata) [^\n]*", "", text)
    rules = re.split(r"\n(?=(?:inet|bridge|ip) weft )", text)
    return [re.sub(r"[ \t]+\n", "\n", rule).strip() for rule in rules]


def test_expressions_are_the_same(pair: tuple[Host, Host]) -> None:
    sent, read = expressions(pair[0]), expressions(pair[1])
    rules = sum(len(table.rules) for table in tables(ROOT))
    assert sum("weft " in block and "[ " in block for block in sent) >= rules
    assert sent == read


def test_nft_reloads_its_own_listing(pair: tuple[Host, Host]) -> None:
    """Whoever saves and restores the ruleset with nft gets the same tables back."""
    for machine in pair:
        before, text = snapshot(machine), machine.nft("list", "ruleset")
        machine.nft("flush", "ruleset")
        assert diff(before, snapshot(machine))
        machine.nft(text)
        assert diff(before, snapshot(machine)) == []


def test_a_second_load_is_refused(pair: tuple[Host, Host]) -> None:
    for machine in pair:
        before = snapshot(machine)
        for table in tables(ROOT):
            assert isinstance(table, TableAdd)
            again = machine.run(["/bin/sh"], input=script((table,)), check=False)
            assert again.returncode and "File exists" in again.stderr
        assert machine.run(["/usr/bin/python3", "-IS", "-c", SENDER], check=False).returncode
        assert diff(before, snapshot(machine)) == []
