"""Seccomp: the numbers and the programs against libseccomp's, the rules against a reading one by one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.oci.filters import expected, libseccomps, number_of, run
from weft.core.model.errors import BadInput, Unsupported
from weft.core.model.oci import Seccomp, SyscallArg, SyscallRule
from weft.core.oci.profile import read_profile
from weft.core.oci.seccomp import ACTIONS, ARCHITECTURES, NATIVE, OPERATORS, compile
from weft.core.oci.syscalls import numbers
from weft.linux import seccomp as hands

X86_64 = ARCHITECTURES["SCMP_ARCH_X86_64"][0]
ALLOW, ENOSYS = 0x7FFF0000, 0x00050026
MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
#: Values at which the default filter's comparisons turn.
EDGES = (
    0,
    1,
    8,
    9,
    16,
    40,
    0x11,
    0x20000,
    0x20008,
    0x10000000,
    0x7E020000,
    0xFFFFFFFF,
    1 << 32,
    (1 << 64) - 1,
)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_numbers_are_libseccomps(arch: str) -> None:
    known = {name: number_of(arch, name) for name in numbers(ARCHITECTURES[arch][1])}
    # -1: newer than libseccomp. Below: calls that i386 also has through socketcall(2) and ipc(2).
    compared = {name: number for name, number in known.items() if number >= 0}
    assert len(compared) > 300
    table = numbers(ARCHITECTURES[arch][1])
    assert {name: table[name] for name in compared} == compared
    unknown = {n for n, number in known.items() if number == -1} - {"uretprobe", "uprobe"}
    assert all(table[name] > 450 for name in unknown)
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "held", [frozenset(), frozenset({"CAP_SYS_CHROOT"}), frozenset({"CAP_SYS_ADMIN", "CAP_SYS_PTRACE"}), None]
)
def test_the_default_filter_ends_as_libseccomps_of_the_same_rules(
    machine: str, held: frozenset[str] | None
) -> None:
    rules = hands.default(held, machine, (6, 1))
    ours, theirs = compile(rules, machine), libseccomps(rules, MACHINES[machine])
    chance = random.Random(5)
    for arch in MACHINES[machine]:
        mark, table, wide = ARCHITECTURES[arch]
        told = {number: name for name, number in numbers(table).items()}
        for number in range(450):
            for _ in range(2):
                args = [
                    chance.choice((*EDGES, chance.getrandbits(64))) & (-1 if wide else 0xFFFFFFFF)
                    for _ in range(6)
                ]
                args = [a & ((1 << 64) - 1) for a in args]
                one = run(ours, mark, number, args)
                if told.get(number) != "uretprobe":  # which Debian's does not know
                    assert one == run(theirs, mark, number, args), (arch, number, told.get(number), args)
                if number in told:
                    assert one == expected(rules, told[number], args), (arch, told[number], args)


def test_what_is_newer_than_the_list_is_unknown_rather_than_refused() -> None:
    program = compile(hands.default(frozenset(), "x86_64", (6, 1)), "x86_64")
    assert run(program, X86_64, numbers("x86_64")["removexattrat"], [0] * 6) == ALLOW
    assert [run(program, X86_64, n, [0] * 6) for n in (500, 5000, 0x3FFFFFFF)] == [ENOSYS] * 3


def test_x32_and_other_architectures() -> None:
    program = compile(Seccomp("SCMP_ACT_ALLOW", architectures=("SCMP_ARCH_X32", "SCMP_ARCH_S390X")), "x86_64")
    assert run(program, X86_64, 0, [0] * 6) == ALLOW
    assert run(program, X86_64, 0x40000000, [0] * 6) == ENOSYS
    assert run(program, X86_64, 0xFFFFFFFF, [0] * 6) == ENOSYS
    for mark in (0x40000003, 0xC00000B7, 0x80000016, 0):
        assert run(program, mark, 0, [0] * 6) == ACTIONS["SCMP_ACT_KILL_PROCESS"]
    with pytest.raises(Unsupported, match="riscv64"):
        compile(Seccomp("SCMP_ACT_ALLOW"), "riscv64")


def test_a_user_namespace_cannot_be_made_through_the_default_filter() -> None:
    """unshare, clone with any CLONE_NEW flag, and clone3, whose flags no filter can see."""
    program = compile(hands.default(frozenset({"CAP_SYS_CHROOT"}), "x86_64", (6, 1)), "x86_64")
    table = numbers("x86_64")
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert run(program, X86_64, table["clone"], [flag | 17, 0, 0, 0, 0, 0]) == 0x00050001
        assert run(program, X86_64, table["clone"], [flag | (1 << 40), 0, 0, 0, 0, 0]) == 0x00050001
    assert run(program, X86_64, table["clone"], [0x003D0F00, 0, 0, 0, 0, 0]) == ALLOW  # pthread_create
    assert run(program, X86_64, table["clone3"], [0] * 6) == ENOSYS  # so that callers fall back to clone
    for name in (
        "unshare",
        "setns",
        "mount",
        "umount2",
        "pivot_root",
        "bpf",
        "keyctl",
        "io_uring_setup",
        "reboot",
    ):
        assert run(program, X86_64, table[name], [0] * 6) == 0x00050001, name
    assert run(program, X86_64, table["socket"], [40, 1, 0, 0, 0, 0]) == 0x00050001
    assert run(program, X86_64, table["socket"], [2, 1, 0, 0, 0, 0]) == ALLOW


@pytest.mark.parametrize("machine", NATIVE)
def test_the_shipped_filters_are_current(machine: str) -> None:
    for held, name in hands.VARIANTS.items():
        with open(f"{hands._DATA}/seccomp-{machine}-{name}.bpf", "rb") as file:
            assert file.read() == compile(hands.default(held, machine, (4, 8)), machine)
    newer = compile(hands.default(frozenset(), machine, (99, 0)), machine)
    assert newer == compile(hands.default(frozenset(), machine, (4, 8)), machine)


def test_the_capabilities_that_make_a_difference() -> None:
    import json

    named: set[str] = set()
    for file in ("seccomp.json", "seccomp-amendments.json"):
        with open(f"{hands._DATA}/{file}") as opened:
            for rule in json.load(opened)["syscalls"]:
                for condition in ("includes", "excludes"):
                    named.update((rule.get(condition) or {}).get("caps", ()))
    assert named == hands.CONDITIONS


# -- any rules

_NAMES = ("read", "clone", "personality", "socket", "ioctl", "futex_waitv", "execveat", "getpid")
_values = st.sampled_from(EDGES) | st.integers(0, (1 << 64) - 1)
_args = st.builds(
    SyscallArg,
    index=st.integers(0, 5),
    value=_values,
    op=st.sampled_from(OPERATORS),
    value_two=_values,
)
_rules = st.builds(
    SyscallRule,
    names=st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3).map(tuple),
    action=st.sampled_from(list(ACTIONS)),
    errno=st.integers(-1, 4095),
    args=st.lists(_args, max_size=3).map(tuple),
)
_filters = st.builds(
    Seccomp,
    default_action=st.sampled_from(list(ACTIONS)),
    default_errno=st.integers(-1, 4095),
    syscalls=st.lists(_rules, max_size=8).map(tuple),
)


@given(filter=_filters, data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_rules_end_as_they_read(filter: Seccomp, data: st.DataObject) -> None:
    program = compile(filter, "x86_64")
    table = numbers("x86_64")
    newest = max([table[n] for r in filter.syscalls for n in r.names], default=-1)
    near = sorted({a.value for r in filter.syscalls for a in r.args} | {0})
    for name in _NAMES:
        value = (
            st.sampled_from(near) | st.sampled_from(near).map(lambda v: min(v + 1, (1 << 64) - 1)) | _values
        )
        args = data.draw(st.lists(value, min_size=6, max_size=6))
        if table[name] <= newest:
            assert run(program, X86_64, table[name], args) == expected(filter, name, args)


def test_a_filter_with_far_jumps() -> None:
    """Each system call with an answer of its own, and long conditions: no jump reaches over all of it."""
    table = numbers("x86_64")
    names = [n for n in table if table[n] < 400]
    rules = [
        SyscallRule((name,), "SCMP_ACT_ERRNO", 1 + i, (SyscallArg(i % 6, i << 20, "SCMP_CMP_GE"),))
        for i, name in enumerate(names)
    ]
    filter = Seccomp("SCMP_ACT_ALLOW", syscalls=tuple(rules))
    program = compile(filter, "x86_64")
    assert len(program) // 8 > 2000
    for i, name in enumerate(names):
        for value in ((i << 20) - 1, i << 20, 1 << 40):
            args = [max(value, 0)] * 6
            assert run(program, X86_64, table[name], args) == expected(filter, name, args)


def test_a_filter_that_is_too_long_for_the_kernel() -> None:
    args = tuple([SyscallArg(i, i << 33 | 5, "SCMP_CMP_NE") for i in range(6)])
    rules = tuple([SyscallRule((name,), "SCMP_ACT_ALLOW", args=args) for name in numbers("x86_64")])
    with pytest.raises(BadInput, match=r"takes \d+ steps; the kernel takes 4096"):
        compile(Seccomp("SCMP_ACT_ERRNO", syscalls=rules), "x86_64")


# -- profiles

ANY: tuple[frozenset[str], str, tuple[int, int]] = (frozenset(), "x86_64", (6, 1))


def test_conditions_of_a_profile() -> None:
    data = b"""{"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 7,
      "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                  {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
      "syscalls": [
        {"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_X", "CAP_Y"]}},
        {"names": ["b"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_X", "CAP_Y"]}},
        {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.10"}},
        {"name": "e", "action": "SCMP_ACT_ERRNO", "excludes": {"minKernel": "5.10"}, "errno": "ENOTTY"},
        {"names": ["f"], "action": "SCMP_ACT_ERRNO", "args": null, "errnoRet": 9, "errno": "EPERM"}]}"""

    def left(*given: object) -> str:
        found = read_profile(data, *given)  # type: ignore[arg-type]
        assert found is not None
        return "".join([n for r in found.syscalls for n in r.names])

    assert left(frozenset(), "x86_64", (5, 9)) == "bef"
    assert left(frozenset({"CAP_X"}), "x86_64", (5, 10)) == "df"
    assert left(frozenset({"CAP_X", "CAP_Y"}), "aarch64", (6, 0)) == "acdf"
    assert left(None, "x86_64", (4, 99)) == "aef"
    found = read_profile(data, *ANY)
    assert found is not None
    assert found.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert found.default_errno == 7
    assert [r.errno for r in found.syscalls if "f" in r.names] == [9]
    assert read_profile(b"{}", *ANY) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[]", "the seccomp profile is not a JSON object"),
        (b'{"defaultAction": "allow"}', "defaultAction: 'allow' is not one of SCMP_ACT_KILL"),
        (b'{"syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG"}]}', "defaultAction: is missing"),
        (b'{"defaultAction": "SCMP_ACT_NOTIFY"}', "defaultAction: SCMP_ACT_NOTIFY needs a listener"),
        (b'{"defaultAction": "SCMP_ACT_LOG", "listenerPath": "/x"}', "listenerPath: SCMP_ACT_NOTIFY needs"),
        (b'{"defaultAction": "SCMP_ACT_LOG", "syscalls": 5}', "syscalls: is a number, not an array"),
        (
            b'{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"action": "SCMP_ACT_LOG"}]}',
            r"syscalls\[0\]: names no",
        ),
        (b'{"defaultAction": "SCMP_ACT_LOG", "flags": ["X"]}', r"flags\[0\]: 'X' is not one of"),
        (b'{"defaultAction": "SCMP_ACT_LOG", "archMap": [{}]}', r"archMap\[0\].architecture: is missing"),
        (b'{"defaultAction": "SCMP_ACT_LOG", "architectures": ["x86"]}', r"architectures\[0\]: 'x86' is no"),
        (
            b'{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_ARM"], "archMap": [{"a": 1}]}',
            "archMap: stands beside architectures",
        ),
    ],
)
def test_a_profile_that_is_none(text: bytes, said: str) -> None:
    with pytest.raises((BadInput, Unsupported), match=said):
        read_profile(text, *ANY)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('"args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]', r"args\[0\].index: 6 is not in 0 to 5"),
        ('"args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]', r"args\[0\].value: -1 is not in"),
        (
            '"args": [{"index": 0, "value": 18446744073709551616, "op": "SCMP_CMP_EQ"}]',
            "18446744073709551616 is",
        ),
        (
            '"args": [{"index": 0, "value": 1.5, "op": "SCMP_CMP_EQ"}]',
            "value: is a number, not a whole number",
        ),
        ('"args": [{"index": 0, "value": 0, "op": "="}]', r"args\[0\].op: '=' is not one of SCMP_CMP_NE"),
        ('"args": [{"index": 0, "op": "SCMP_CMP_EQ"}]', r"args\[0\].value: is missing"),
        ('"errnoRet": 4096', "errnoRet: 4096 is not in 0 to 4095"),
        ('"errno": "EWHAT"', "errno: 'EWHAT' is no error's name"),
        ('"name": "b"', "name: stands beside names"),
        ('"excludes": {"minKernel": "new"}', r"excludes.minKernel: 'new' is not a version"),
        ('"includes": {"caps": "CAP_X"}', r"includes.caps: is a string, not an array"),
        ('"includes": []', r"includes: is an array, not an object"),
    ],
)
def test_a_rule_that_is_none(rule: str, said: str) -> None:
    text = '{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG", %s}]}'
    with pytest.raises(BadInput, match=rf"^syscalls\[0\]\..*{said.lstrip('^')}|{said}"):
        read_profile((text % rule).encode(), *ANY)
