"""What a command may do: its user, as the container's own files have it, capabilities, limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import Host
from linux.boxes import CAPABILITIES, FRESH, ROOT, busybox, run, said, sh, spec, started
from linux.inside import inside
from weft.core.model import isolation
from weft.core.model.errors import BadInput, CommandNotExecutable, WeftError
from weft.core.model.oci import Capabilities, Rlimit, User
from weft.linux import privileges

WHO = "id -u; id -g; id -G; echo $HOME"
STATUS = "grep -e ^Cap -e ^NoNew /proc/self/status"
NONE = "0" * 16


# -- users


@inside
@pytest.mark.parametrize("fresh", [FRESH, (*FRESH, "user")])
def test_users_as_the_container_knows_them(host: Host, fresh: tuple[str, ...]) -> None:
    busybox()
    for typed, expected in (
        ("joe", "1000 1001 1001 77 78 /home/joe"),
        ("1000", "1000 1001 1001 77 78 /home/joe"),
        ("joe:extra", "1000 77 77 /home/joe"),
        ("joe:0", "1000 0 0 /home/joe"),
        ("4321", "4321 0 0 /"),
        ("4321:1234", "4321 1234 1234 /"),
        (":joes", "0 1001 1001 /root"),
        ("root", "0 0 0 /root"),
    ):
        out = said(sh(WHO, fresh=fresh, user=User(name=typed), env=(("PATH", "/bin"),)))
        assert out.split() == expected.split(), typed
    numbers = User(1000, 1001, additional_gids=(5, 6), umask=0o27)
    assert said(sh(f"{WHO}; umask", fresh=fresh, user=numbers)).split() == "1000 1001 1001 5 6 / 0027".split()


@inside
def test_users_that_it_does_not_know(host: Host) -> None:
    busybox()
    with open(f"{ROOT}/etc/passwd", "a") as file:
        file.write("bad:x:12x:0::/:/bin/sh\nshort:x:5\n::::::\nhuge:x:99999999999:0::/:/\n-1:x:-1:0::/:/\n")
    for typed in (
        "ann",
        "bad",
        "short",
        "huge",
        "joe:nogroup",
        "-1",
        "٣",
        "4294967295",
        "0:4294967295",
        "a b",
    ):
        with pytest.raises(BadInput, match=r"user|group"):
            started(sh("true", user=User(name=typed)))
    with pytest.raises(WeftError, match="cannot take on user 70000"):
        started(sh("true", user=User(70_000), fresh=(*FRESH, "user")))


@inside
def test_files_of_users_that_are_no_files(host: Host) -> None:
    """They are as hostile as the root that they are in."""
    root = busybox()
    Path("/run/passwd").write_text("eve:x:0:0::/:/bin/sh\n")
    for make in (
        os.mkfifo,
        os.mkdir,
        lambda path: os.symlink("/run/passwd", path),
        lambda path: os.symlink("passwd", path),
        lambda path: Path(path).write_bytes(b"\xff\xfe\n" * 1000 + b"eve" * 100_000),
        lambda path: None,
    ):
        if os.path.isdir(f"{root}/etc/passwd"):
            os.rmdir(f"{root}/etc/passwd")
        elif os.path.lexists(f"{root}/etc/passwd"):
            os.unlink(f"{root}/etc/passwd")
        make(f"{root}/etc/passwd")
        with pytest.raises(BadInput, match="user 'eve'"):
            started(sh("true", user=User(name="eve")))
        uids = said(sh("exec grep ^Uid /proc/self/status", user=User(name="7")))
        assert uids.split() == ["Uid:", "7", "7", "7", "7"]


# -- capabilities


def held(capabilities: Capabilities | None, **changes: object) -> dict[str, str]:
    lines = said(sh(STATUS, capabilities=capabilities, **changes)).splitlines()
    return dict([line.split() for line in lines])


@inside
@pytest.mark.parametrize("fresh", [FRESH, (*FRESH, "user")])
def test_capabilities(host: Host, fresh: tuple[str, ...]) -> None:
    busybox()
    default = f"{privileges.mask(CAPABILITIES):016x}"
    all_three = Capabilities(CAPABILITIES, CAPABILITIES, CAPABILITIES)
    found = held(all_three, fresh=fresh)
    assert found["CapEff:"] == found["CapPrm:"] == found["CapBnd:"] == default
    assert found["CapInh:"] == found["CapAmb:"] == NONE and found["NoNewPrivs:"] == "1"
    assert held(Capabilities(), fresh=fresh)["CapBnd:"] == NONE
    # Whoever is not root loses them at execve(2), but for the ambient ones.
    user = User(1000, 1000)
    assert held(all_three, fresh=fresh, user=user)["CapEff:"] == NONE
    one = ("CAP_NET_BIND_SERVICE",)
    ambient = held(Capabilities(CAPABILITIES, one, one, one, one), fresh=fresh, user=user)
    assert ambient["CapEff:"] == ambient["CapAmb:"] == ambient["CapInh:"] == f"{1 << 10:016x}"
    with pytest.raises(BadInput, match="no capability"):
        started(sh("true", capabilities=Capabilities(("CAP_FLY",))))


@inside
def test_capabilities_that_nobody_asked_to_change(host: Host) -> None:
    busybox()
    mine = dict(
        [line.split()[:2] for line in Path("/proc/self/status").read_text().splitlines() if "Cap" in line]
    )
    assert held(None, no_new_privileges=False)["CapBnd:"] == mine["CapBnd:"]
    # More than there is to give is not given, and not asked for: runc does the same.
    every = tuple([f"CAP_{name}" for name in isolation.CAPABILITIES])
    assert held(Capabilities(every, every, every))["CapEff:"] == mine["CapBnd:"]


@inside
def test_init_and_what_they_may(host: Host) -> None:
    busybox()
    done = run(
        sh("hostname x; mount -t tmpfs x /etc; mknod /n c 1 3 && echo node; chroot / true && echo root")
    )
    assert done.out == "node\nroot\n"
    assert done.err.count("perm") + done.err.count("not permitted") >= 2


@inside
def test_a_file_whose_capabilities_are_out_of_bounds(host: Host) -> None:
    """Refused where mounts are suid, which the hint explains; ignored where no_new_privileges has made all
    of them nosuid."""
    root = busybox()
    os.unlink(f"{root}/bin/true")
    os.link(f"{root}/bin/busybox", f"{root}/bin/true")
    raw = (0x02000001).to_bytes(4, "little") + (1 << 13 | 1 << 12).to_bytes(4, "little") + bytes(12)
    os.setxattr(f"{root}/bin/true", "security.capability", raw)
    with pytest.raises(CommandNotExecutable, match="Operation not permitted") as refused:
        started(spec("true", no_new_privileges=False))
    assert "CAP_NET_ADMIN, CAP_NET_RAW" in refused.value.hint and "--cap-add" in refused.value.hint
    assert run(spec("true")).code == 0


# -- limits


@inside
def test_limits(host: Host) -> None:
    busybox()
    limits = (Rlimit("RLIMIT_NOFILE", 100, 200), Rlimit("RLIMIT_CORE", 0, 0))
    for fresh in (FRESH, (*FRESH, "user")):
        out = said(
            sh(
                "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj",
                rlimits=limits,
                oom_score_adj=500,
                fresh=fresh,
            )
        )
        assert out.split() == ["100", "200", "0", "500"]
    with pytest.raises(BadInput, match="no resource limit"):
        started(sh("true", rlimits=(Rlimit("RLIMIT_FUN", 1, 1),)))
    with pytest.raises(WeftError, match="cannot set RLIMIT_NOFILE"):
        started(sh("true", rlimits=(Rlimit("RLIMIT_NOFILE", 200, 100),)))
    with pytest.raises(WeftError, match="oom_score_adj"):
        started(sh("true", oom_score_adj=5000))


def test_every_capability_has_its_number() -> None:
    """capabilities(7), by the kernel's own header."""
    import re

    text = Path("/usr/include/linux/capability.h")
    if not text.exists():
        pytest.skip("no kernel headers here to compare with")
    numbers = {n: int(v) for n, v in re.findall(r"#define CAP_(\w+)\s+(\d+)\n", text.read_text())}
    assert numbers == {name: number for number, name in enumerate(isolation.CAPABILITIES)}
