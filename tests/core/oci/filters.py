"""Two other opinions about seccomp filters: an emulation of classic BPF, and libseccomp itself."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from functools import cache

from weft.core.model.oci import Seccomp
from weft.core.oci.seccomp import ACTIONS, ARCHITECTURES, code_of

_MASK = 0xFFFFFFFF


def run(program: bytes, arch: int, number: int, args: Sequence[int]) -> int:
    """What a filter returns (Documentation/networking/filter.rst), checked as the kernel checks it."""
    steps = _steps(program)
    data = struct.pack("<IIQ6Q", number & _MASK, arch, 0, *args)
    at = accumulator = 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        match code:
            case 0x06:
                return value
            case 0x20:
                assert value % 4 == 0
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case 0x15 | 0x25 | 0x35 | 0x45:
                holds = {
                    0x15: accumulator == value,
                    0x25: accumulator > value,
                    0x35: accumulator >= value,
                    0x45: accumulator & value != 0,
                }[code]
                at += yes if holds else no
            case _:
                raise AssertionError(f"opcode {code:#x}")


@cache
def _steps(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("<HBBI", program[: len(program) - len(program) % 8]))


_OPERATORS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


@cache
def library() -> ctypes.CDLL:
    """libseccomp, with the types of what is called."""
    found = ctypes.CDLL("libseccomp.so.2")
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_init.argtypes = (ctypes.c_uint32,)
    found.seccomp_release.argtypes = (ctypes.c_void_p,)
    found.seccomp_arch_add.argtypes = found.seccomp_arch_remove.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    found.seccomp_arch_exist.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    found.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    found.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    found.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )
    found.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return found


def number_of(arch: str, name: str) -> int:
    """libseccomp's number of a system call; negative where the architecture has none, or it knows none."""
    return int(library().seccomp_syscall_resolve_name_arch(ARCHITECTURES[arch][0], name.encode()))


def libseccomps(seccomp: Seccomp, architectures: Sequence[str]) -> bytes:
    """The program that libseccomp makes of the same rules, as runc has it do that."""
    its = library()
    default = code_of(seccomp.default_action, seccomp.default_errno)
    filter = its.seccomp_init(default)
    assert filter
    try:
        for name, (mark, _, _) in ARCHITECTURES.items():
            there = its.seccomp_arch_exist(filter, mark) == 0
            if name in architectures and not there:
                assert its.seccomp_arch_add(filter, mark) == 0
            if name not in architectures and there:
                assert its.seccomp_arch_remove(filter, mark) == 0
        for rule in seccomp.syscalls:
            action = code_of(rule.action, rule.errno)
            if action == default:
                continue
            tests = [
                _Comparison(a.index, _OPERATORS[a.op.removeprefix("SCMP_CMP_")], a.value, a.value_two)
                for a in rule.args
            ]
            array = (_Comparison * len(tests))(*tests)
            for name in rule.names:
                number = its.seccomp_syscall_resolve_name(name.encode())
                if number != -1:  # __NR_SCMP_ERROR
                    its.seccomp_rule_add_array(filter, action, number, len(tests), ctypes.byref(array))
        fd = os.memfd_create("filter")
        try:
            assert its.seccomp_export_bpf(filter, fd) == 0
            return os.pread(fd, 1 << 20, 0)
        finally:
            os.close(fd)
    finally:
        its.seccomp_release(filter)


def expected(seccomp: Seccomp, name: str, args: Sequence[int]) -> int:
    """What the rules say about a system call, read one by one."""
    rules = [r for r in seccomp.syscalls if name in r.names]
    for rule in [r for r in rules if not r.args] + rules:
        if all(_holds(a.op, args[a.index], a.value, a.value_two) for a in rule.args):
            return code_of(rule.action, rule.errno)
    return code_of(seccomp.default_action, seccomp.default_errno)


def _holds(op: str, found: int, value: int, value_two: int) -> bool:
    return {
        "SCMP_CMP_NE": found != value,
        "SCMP_CMP_LT": found < value,
        "SCMP_CMP_LE": found <= value,
        "SCMP_CMP_EQ": found == value,
        "SCMP_CMP_GE": found >= value,
        "SCMP_CMP_GT": found > value,
        "SCMP_CMP_MASKED_EQ": found & value == value_two,
    }[op]


assert ACTIONS["SCMP_ACT_ALLOW"] == 0x7FFF0000
