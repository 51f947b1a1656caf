"""docs/dns.md: what its blocks say to type works as written."""

from __future__ import annotations

import re

from harness import Host
from harness.host import REPO

PAGE = (REPO / "docs/dns.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)


def test_the_first_block(host: Host) -> None:
    said = host.run(
        ["sh", "-e"], input=BLOCKS[0], env={"PATH": f"{REPO}:/usr/sbin:/usr/bin:/sbin:/bin"}
    ).stdout
    assert re.search(r"Name:\twww.blue\nAddress: 10\.\d+\.0\.2\n", said)
    assert re.search(r"^running, pid \d+$", said, re.MULTILINE)
    host.weft("rm", "-f", "web")


def test_the_block_for_podman(host: Host) -> None:
    host.sh(
        "mount -t tmpfs tmpfs /usr/local && mkdir /usr/local/bin /usr/local/libexec\n"
        f"ln -s {REPO}/weft /usr/local/bin/weft"
    )
    host.sh(BLOCKS[1])
    assert '"version"' in host.run(["/usr/local/libexec/weft/aardvark-dns", "version"]).stdout


def test_every_option_is_told() -> None:
    from weft.core.drivers.options import EDITABLE

    assert all(f"| `{key}` |" in PAGE for key in EDITABLE)
