"""A disk that is full: what is new is refused in one line, what is to go goes."""

from __future__ import annotations

from harness import Host

STATE = "/var/lib/weft"


def fill(host: Host) -> None:
    """Not one more block."""
    host.run(["sh", "-c", f"cat /dev/zero > {STATE}/filler 2>/dev/null; exit 0"])
    left = host.run(["stat", "-f", "-c", "%a", STATE]).stdout.strip()
    assert left == "0", f"{left} blocks are left"


def test_removal_works_on_a_full_disk() -> None:
    """However many one by one: what they write to the log does not add up."""
    names = [f"c{number}" for number in range(8)]
    with Host(state_size="4m") as host:
        host.weft("net", "create", "blue")
        for name in names:
            host.weft("run", "-d", "--network", "blue", "--name", name, "--", "sleep", "600")
        assert host.path(f"{STATE}/ballast").stat().st_blocks * 512 >= 256 * 1024, "allocated, no holes"
        fill(host)
        refused = host.weft("net", "create", "red", check=False)
        assert refused.returncode == 1
        assert "full" in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
        assert [row["name"] for row in host.weft_json("net", "ls")] == ["blue"], "nothing half made"
        for name in names:
            host.weft("rm", "-f", name)
        host.weft("net", "rm", "blue")
        assert host.weft_json("ps", "-a") == []
        assert host.weft_json("net", "ls") == []
        assert not host.path(f"{STATE}/ballast").exists()

        host.run(["rm", f"{STATE}/filler"])
        host.weft("net", "create", "red")
        host.weft("net", "rm", "red")
        assert host.path(f"{STATE}/ballast").stat().st_size >= 256 * 1024, "made again once there is room"


def test_a_database_that_was_closed_opens_on_a_full_disk() -> None:
    """Its log and its shared memory are made anew, and take room."""
    with Host(state_size="4m") as host:
        host.weft("net", "create", "blue")
        checkpoint = (
            "import sqlite3; d = sqlite3.connect('/var/lib/weft/weft.db'); d.execute('SELECT 1'); d.close()"
        )
        host.run(["/usr/bin/python3", "-c", checkpoint])
        fill(host)
        assert [row["name"] for row in host.weft_json("net", "ls")] == ["blue"]
        host.weft("net", "rm", "blue")
        assert host.weft_json("net", "ls") == []
