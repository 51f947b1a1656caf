"""A damaged database: said by every command, and made anew from the kernel by `weft repair`."""

from __future__ import annotations

import random
from typing import Any

import pytest

from harness import Host, diff
from harness.asks import ask

DATABASE = "/var/lib/weft/weft.db"


def told(host: Host) -> dict[str, Any]:
    """All that weft says of its world, but times and what no kernel keeps."""
    networks = {
        row["name"]: host.weft_json("net", "inspect", row["name"]) for row in host.weft_json("net", "ls")
    }
    containers = list(host.weft_json("ps", "-a"))
    for found in networks.values():
        for one in found if isinstance(found, list) else [found]:
            one.pop("created", None)
    for row in containers:
        for gone in ("created", "started_at", "command"):
            row.pop(gone, None)
    return {"networks": networks, "containers": containers}


def world(host: Host) -> None:
    host.weft("net", "create", "blue", "--subnet", "10.1.0.0/24", "--ipv6")
    host.weft("net", "create", "red", "--internal", "--subnet", "10.2.0.0/24", "--subnet", "10.3.0.0/16")
    host.weft(
        "net", "create", "far", "--nat", "routed", "--subnet", "10.9.0.0/25", "--isolated", "--mtu", "1400"
    )
    host.weft("net", "edit", "far", "-o", "dns=true", "-o", "dns_port=5300")
    host.weft(
        "run",
        "-d",
        "--network",
        "blue",
        "--name",
        "web",
        "-p",
        "8080:80",
        "-p",
        "0.0.0.0:81:81",
        "-p",
        "0.0.0.0:53:5353/udp",
        "--",
        "sleep",
        "600",
    )
    host.weft("run", "-d", "--network", "red", "--name", "db", "--", "sleep", "600")
    host.weft("run", "--network", "far", "--name", "app")
    host.weft("net", "connect", "blue", "app")
    host.weft("run", "-d", "--network", "container:web", "--name", "side", "--", "sleep", "600")
    host.ip("netns", "add", "strange")
    host.weft("net", "connect", "blue", "netns:strange")


def wreck(host: Host) -> None:
    host.write(DATABASE, "no database, but as long as one is\n" * 100)
    for part in ("-wal", "-shm"):
        host.path(DATABASE + part).unlink(missing_ok=True)


def kernel(host: Host) -> str:
    return "\n".join(
        [
            host.ip("link"),
            host.ip("rule"),
            host.ip("-6", "rule"),
            host.nft("list", "ruleset"),
        ]
    )


def test_a_world_is_read_back_from_the_kernel() -> None:
    with Host() as host:
        world(host)
        before, stood = told(host), kernel(host)
        wreck(host)
        for command in (["ps"], ["net", "ls"], ["rm", "-f", "web"], ["net", "create", "new"]):
            refused = host.weft(*command, check=False)
            assert refused.returncode == 1, refused
            assert "weft repair" in refused.stderr, refused.stderr
            assert "Traceback" not in refused.stderr
        done = host.weft("repair")
        assert "weft.db.damaged-1" in done.stderr
        assert host.path(f"{DATABASE}.damaged-1").read_text().startswith("no database")
        assert {row["name"]: row["pid"] is None for row in before["containers"]} == {
            name: name not in ("web", "db", "side") for name in ("web", "db", "side", "app", "netns:strange")
        }
        after = told(host)
        assert after["networks"] == before["networks"]
        for row, was in zip(after["containers"], before["containers"], strict=True):
            assert diff(was, row) == [], row["name"]
        assert after == before
        assert kernel(host) == stood, "what stood was right, and nobody touched it"
        assert done.stdout == ""

        # It is as good as the old one.
        assert ask(host, "10.9.0.1", "app", netns="app").said == "10.9.0.2"
        host.serve(81, "web", netns="web")
        assert host.fetch("http://10.1.0.2:81").body == "web"
        host.weft("net", "disconnect", "blue", "netns:strange")
        host.weft("rm", "-f", "web", "side", "db", "app")
        host.weft("net", "rm", "blue", "red", "far")
        assert "weft" not in host.nft("list", "ruleset")
        assert "wv" not in host.ip("link")
        assert host.sh("find /sys/fs/cgroup -path '*/weft/*'") == "", "nor their groups"


def test_the_database_of_a_flushed_machine_stays_closed() -> None:
    """Without the firewall nothing tells an internal network: none is opened by a guess."""
    with Host() as host:
        host.weft("net", "create", "red", "--internal", "--subnet", "10.2.0.0/24")
        host.weft("run", "--network", "red", "--name", "db")
        wreck(host)
        host.nft("flush", "ruleset")
        host.weft("repair")
        assert host.weft_json("net", "ls")[0]["name"] == "red"
        assert 'elements = { "wb' in host.nft("list", "set", "inet", "weft", "internal").replace("\n", " ")
        assert host.weft_json("ps", "-a")[0]["name"] == "db"


def test_what_an_old_copy_of_the_database_forgot_is_put_on_record() -> None:
    """The kernel knows who has which address, whatever the database says."""
    with Host() as host:
        host.weft("net", "create", "blue", "--subnet", "10.1.0.0/24")
        host.run(["sh", "-c", f"mkdir /run/old; cp {DATABASE}* /run/old/"])
        host.weft("run", "--network", "blue", "--name", "web")
        host.weft("net", "create", "red", "--subnet", "10.2.0.0/24")
        host.run(["sh", "-c", f"rm {DATABASE}*; cp /run/old/* /var/lib/weft/"])
        refused = host.weft("run", "--network", "blue", "--name", "other", check=False)
        assert refused.returncode == 4, refused
        assert "10.1.0.2" in refused.stderr
        assert host.weft_json("ps", "-a") == []
        said = host.weft("repair").stdout
        assert "container web" in said
        assert "network red" in said
        host.weft("run", "--network", "blue", "--name", "other")
        rows = {row["name"]: row for row in host.weft_json("ps", "-a")}
        assert sorted(rows) == ["other", "web"]
        assert host.pings("10.1.0.2", netns="other")
        assert host.weft("repair").stdout == ""
        host.weft("rm", "web", "other")
        assert host.weft("repair").stdout == "", "what was removed is not what was forgotten"
        assert host.weft_json("ps", "-a") == []


def mutate(raw: bytes, seed: int) -> bytes:
    """Bits flipped, pieces cut off, pages zeroed or swapped."""
    chance, data = random.Random(seed), bytearray(raw)
    kind = seed % 4
    if kind == 0:
        for _ in range(chance.choice((1, 3, 40))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[chance.randrange(len(data)) :]
    elif kind == 2:
        at = chance.randrange(0, len(data), 4096)
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    else:
        a, b = (chance.randrange(0, len(data), 4096) for _ in range(2))
        data[a : a + 4096], data[b : b + 4096] = data[b : b + 4096], data[a : a + 4096]
    return bytes(data)


COMMANDS = (
    ["ps", "-a"],
    ["net", "ls"],
    ["net", "inspect", "blue"],
    ["inspect", "web"],
    ["repair", "--dry-run"],
)


def damage_and_mend(host: Host, image: bytes, seed: int) -> None:
    for part in ("-wal", "-shm"):
        host.path(DATABASE + part).unlink(missing_ok=True)
    host.path(DATABASE).write_bytes(mutate(image, seed))
    for command in COMMANDS:
        done = host.weft(*command, check=False)
        said = done.stderr + done.stdout
        assert "Traceback" not in said, (seed, command, said)
        assert "internal error" not in said, (seed, command, said)
    made = host.weft("run", "--network", "blue", "--name", f"new{seed}", check=False)
    assert "Traceback" not in made.stderr, (seed, made.stderr)
    assert "internal error" not in made.stderr, (seed, made.stderr)
    mended = host.weft("repair", check=False)
    assert "Traceback" not in mended.stderr, (seed, mended.stderr)
    assert mended.returncode == 0, (seed, mended)
    leases = host.nft("list", "set", "bridge", "weft", "lease4").split("elements")[-1]
    addresses = [word for word in leases.replace(",", " ").split() if word.startswith("10.1.0.")]
    assert len(addresses) == len(set(addresses)), (seed, leases)
    again = host.weft("repair")
    assert again.stdout == "", (seed, again)


@pytest.fixture
def small() -> Any:
    with Host() as host:
        host.weft("net", "create", "blue", "--subnet", "10.1.0.0/24")
        host.weft("run", "--network", "blue", "--name", "web", "-p", "8080:80")
        host.weft("run", "--network", "blue", "--name", "db")
        fold = (
            f"import sqlite3; d = sqlite3.connect('{DATABASE}'); d.execute('SELECT 1 FROM meta'); d.close()"
        )
        host.run(["/usr/bin/python3", "-c", fold])
        yield host, host.path(DATABASE).read_bytes()


def test_damage_of_some_kinds(small: tuple[Host, bytes]) -> None:
    for seed in range(8):
        damage_and_mend(*small, seed)


@pytest.mark.campaign
def test_damage_of_many_kinds(small: tuple[Host, bytes]) -> None:
    for seed in range(1000, 1300):
        damage_and_mend(*small, seed)
