"""docs/walkthroughs.md, run as it stands: the classic commands and weft's work, and leave the same behind."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from harness import Host
from harness.host import REPO

PAGE = (REPO / "docs/walkthroughs.md").read_text()
SECTIONS = dict(re.findall(r"^## \d+\. (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M))
#: A `docker` that knows one container, and the state file in which weft reads its name.
DOCKER_ID = "5ec0ffee" * 8
#: Docker's network by hand and weft's differ in all that weft adds; there only the members are compared.
APART = "Docker's bridge network by hand"


def blocks(title: str, kind: str) -> str:
    """The script of a section's blocks of one kind, "" when it has none."""
    return "".join(re.findall(rf"^```sh {kind}\n(.*?)^```$", SECTIONS[title], re.S | re.M))


def told(host: Host, script: str) -> str:
    # What stays in the background must not hold the test's pipe.
    script = script.replace("sleep 60 &", "sleep 60 >/dev/null 2>&1 &")
    return host.run(["sh", "-e"], input=f'weft() {{ {REPO}/weft "$@"; }}\n{script}', timeout=60).stdout


def docker(host: Host) -> None:
    """A process in a network namespace of its own that the engine's files call web."""
    process = host.popen(["unshare", "--net", "sleep", "600"])
    pid = process.inner_pid()
    state = {"ID": DOCKER_ID, "Name": "/web", "State": {"Running": True, "Pid": pid}}
    host.write(f"/var/lib/docker/containers/{DOCKER_ID}/config.v2.json", json.dumps(state))
    host.write("/run/bin/docker", f"#!/bin/sh\necho {pid}\n", 0o755)


def picture(host: Host) -> dict[str, Any]:
    """What both ways must agree in: by namespace the interfaces, without what is random or weft's mark."""
    found = {}
    for name in ["", *host.run(["ls", "/run/netns"], check=False).stdout.split()]:
        argv = ["ip", *(["-n", name] if name else []), "-j", "-d", "addr"]
        links = json.loads(host.run(argv).stdout)
        names = {link["ifname"]: link for link in links}
        rows = [
            (
                # A switch's port has whatever name its maker gave it.
                "(port)" if link.get("master") else ifname,
                link.get("linkinfo", {}).get("info_kind", ""),
                "UP" in link["flags"],
                link.get("master", ""),
                sorted((a["local"], a["prefixlen"]) for a in link["addr_info"] if a["family"] == "inet"),
            )
            for ifname, link in names.items()
        ]
        routes = json.loads(host.run(["ip", *(["-n", name] if name else []), "-j", "route"]).stdout)
        found[name] = (
            sorted(rows),
            sorted((r["dst"], r.get("gateway", ""), r["dev"]) for r in routes),
        )
    return found


def ways() -> list[str]:
    return [title for title in SECTIONS if blocks(title, "weft")]


def test_every_section_has_both_ways() -> None:
    assert len(ways()) == len(SECTIONS) == PAGE.count("```sh by-hand") == 7
    contents = PAGE.partition("\n## ")[0]
    for title in SECTIONS:
        assert f"[{title}](#" in contents


@pytest.mark.parametrize("title", ways())
def test_both_ways_leave_the_same(title: str) -> None:
    pictures = {}
    for way in ("by-hand", "weft"):
        with Host() as host:
            env = "PATH=/run/bin:$PATH\n"
            if "docker" in blocks(title, way):
                docker(host)
            said = told(host, env + blocks(title, way))
            if check := blocks(title, "check"):
                told(host, env + check)
            if "whose" in blocks(title, "weft"):
                assert "web" in said
                assert "eth0" in said
            if "docker" in blocks(title, way):
                assert "lo:" in said
            pictures[way] = picture(host)
    if title == APART:
        pictures = {way: {"ns1": found["ns1"], "": _bridge(found[""])} for way, found in pictures.items()}
    assert pictures["weft"] == pictures["by-hand"]


def _bridge(found: Any) -> Any:
    return [row for row in found[0] if row[0] in ("lxcbr0", "(port)")]
