"""A seccomp filter as a program of the kernel's classic BPF (seccomp(2), linux/filter.h).

The kernel hands a program the architecture, the system call's number, and its six arguments (struct
seccomp_data). Numbers are looked for by binary search over ranges that end alike. Where a system call has
several rules, one without arguments holds whatever the others say; else the first that matches.
"""

from __future__ import annotations

from weft.core.model.errors import BadInput, Unsupported
from weft.core.oci.syscalls import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.oci import Seccomp, SyscallArg, SyscallRule

#: By the specification's name: AUDIT_ARCH_* (linux/audit.h), the table of numbers, whether registers have
#: 64 bits.
ARCHITECTURES = {
    "SCMP_ARCH_X86_64": (0xC000003E, "x86_64", True),
    "SCMP_ARCH_X86": (0x40000003, "x86", False),
    "SCMP_ARCH_AARCH64": (0xC00000B7, "aarch64", True),
    "SCMP_ARCH_ARM": (0x40000028, "arm", False),
}
#: uname -m to what is of course allowed.
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
#: SECCOMP_RET_* (linux/seccomp.h).
ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_REFUSES = (
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
)
#: What an argument is compared by.
OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)
_EPERM, _ENOSYS = 1, 38
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_JEQ, _JGT, _JGE = 0x15, 0x25, 0x35
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
#: From this bit on numbers are x32's (asm/unistd.h).
_X32 = 0x40000000
#: Above all that is numbered in the order of its coming: arm's own (__ARM_NR_BASE).
_PRIVATE = 10_000
#: BPF_MAXINSNS.
_MOST = 4096
_LOW = 0xFFFFFFFF


def code_of(action: str, number: int) -> int:
    """What the filter returns for an action; ``number`` is its errno, -1 for EPERM."""
    data = (_EPERM if number < 0 else number) if action in _WITH_NUMBER else 0
    return ACTIONS[action] | data


def compile(seccomp: Seccomp, machine: str) -> bytes:
    """The filter as an array of struct sock_filter for a ``machine`` (uname -m).

    Other architectures than the machine's and those listed are ended by it; x32 is told ENOSYS, as by a
    kernel that is built without. Unsupported for a machine whose numbers weft does not know; BadInput when
    it is longer than the kernel takes.
    """
    if machine not in NATIVE:
        raise Unsupported(
            f"weft knows no system call numbers of {machine}", "use --security-opt seccomp=unconfined"
        )
    code = _Code()
    entry = code.returns(ACTIONS["SCMP_ACT_KILL_PROCESS"])
    native = NATIVE[machine]
    for name in (*[a for a in dict.fromkeys(seccomp.architectures) if a != native], native):
        if name in ARCHITECTURES:  # no process of this machine is of any other
            mark, table, wide = ARCHITECTURES[name]
            entry = code.jump(_JEQ, mark, _body(code, seccomp, table, wide), entry)
    code.load(_ARCH, entry)
    if len(code.steps) > _MOST:
        raise BadInput(f"the seccomp filter takes {len(code.steps)} steps; the kernel takes {_MOST}")
    return code.bytes()


def _body(code: _Code, seccomp: Seccomp, table: str, wide: bool) -> int:
    """One architecture's part: where it begins."""
    ranges = _ranges(seccomp, numbers(table))
    if table == "x86_64":
        ranges = [r for r in ranges if r[0] < _X32] + [(_X32, (), ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS)]
    return code.load(_NUMBER, _search(code, ranges, wide))


#: From which number on, the rules with arguments, and what is returned when none of them matches.
_Range = tuple[int, tuple["SyscallRule", ...], int]


def _ranges(seccomp: Seccomp, table: dict[str, int]) -> list[_Range]:
    default = code_of(seccomp.default_action, seccomp.default_errno)
    rules: dict[int, list[SyscallRule]] = {}
    for rule in seccomp.syscalls:
        for name in rule.names:
            if name in table:
                rules.setdefault(table[name], []).append(rule)
    found: list[_Range] = [(0, (), default)]
    for number in sorted(rules):
        one = _outcome(rules[number], default)
        if found[-1][1:] != one:
            found.append((number, *one))
        if number + 1 not in rules and one != ((), default):
            found.append((number + 1, (), default))
    if rules and seccomp.default_action in _REFUSES:
        # What is newer than the list was written is not refused but unknown, so that programs do without it
        # (as runc does it: libcontainer/seccomp/patchbpf).
        newest = max([number for number in rules if number < _PRIVATE], default=0)
        found = [r for r in found if r[0] <= newest or r[0] >= _PRIVATE]
        found += [(newest + 1, (), ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS)]
        found.sort(key=lambda r: r[0])
    return found


def _outcome(rules: Sequence[SyscallRule], default: int) -> tuple[tuple[SyscallRule, ...], int]:
    plain = next((r for r in rules if not r.args), None)
    if plain is not None:
        return (), code_of(plain.action, plain.errno)
    return tuple(rules), default


def _search(code: _Code, ranges: Sequence[_Range], wide: bool) -> int:
    if len(ranges) == 1:
        _, rules, otherwise = ranges[0]
        label = code.returns(otherwise)
        for rule in reversed(rules):
            label = _rule(code, rule, label, wide)
        return label
    middle = len(ranges) // 2
    above = _search(code, ranges[middle:], wide)
    below = _search(code, ranges[:middle], wide)
    return code.jump(_JGE, ranges[middle][0], above, below)


def _rule(code: _Code, rule: SyscallRule, otherwise: int, wide: bool) -> int:
    label = code.returns(code_of(rule.action, rule.errno))
    for arg in reversed(rule.args):
        label = _compare(code, arg, label, otherwise, wide)
    return label


def _compare(code: _Code, arg: SyscallArg, yes: int, no: int, wide: bool) -> int:
    """Where a comparison begins: of the upper half first, of the lower where that leaves it open."""
    op, value = arg.op.removeprefix("SCMP_CMP_"), arg.value
    if op in ("NE", "LT", "LE"):
        op, yes, no = {"NE": "EQ", "LT": "GE", "LE": "GT"}[op], no, yes
    low, high = _ARGUMENTS + 8 * arg.index, _ARGUMENTS + 8 * arg.index + 4
    if op == "MASKED_EQ":
        label = _masked(code, low, value & _LOW, arg.value_two & _LOW, yes, no)
        return _masked(code, high, value >> 32, arg.value_two >> 32, label, no) if wide else label
    label = code.load(low, code.jump({"EQ": _JEQ, "GE": _JGE, "GT": _JGT}[op], value & _LOW, yes, no))
    if not wide:
        return label
    label = code.jump(_JEQ, value >> 32, label, no)
    if op != "EQ":
        label = code.jump(_JGT, value >> 32, yes, label)
    return code.load(high, label)


def _masked(code: _Code, offset: int, mask: int, wanted: int, yes: int, no: int) -> int:
    if not mask:
        return no if wanted else yes
    return code.load(offset, code.step(_AND, mask, code.jump(_JEQ, wanted, yes, no)))


class _Code:
    """A program, written from its end: a label is how many steps there are from it on.

    Jumps go forward only, a conditional one 255 steps at most.
    """

    __slots__ = ("_returns", "steps")

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int, int]] = []
        self._returns: dict[int, int] = {}

    def returns(self, value: int) -> int:
        """A return of that value, near enough to jump to."""
        label = self._returns.get(value, 0)
        if not label or len(self.steps) - label > 200:
            label = self._returns[value] = self._add(_RETURN, 0, 0, value)
        return label

    def jump(self, code: int, value: int, yes: int, no: int) -> int:
        """A conditional jump."""
        yes = self._near(yes)
        no = self._near(no)
        here = len(self.steps)
        return self._add(code, here - yes, here - no, value)

    def load(self, offset: int, then: int) -> int:
        """Loads a word of struct seccomp_data, and goes on there."""
        return self.step(_LOAD, offset, then)

    def step(self, code: int, value: int, then: int) -> int:
        """A step that the next follows."""
        if then != len(self.steps):
            self._add(_JUMP, 0, 0, len(self.steps) - then)
        return self._add(code, 0, 0, value)

    def bytes(self) -> bytes:
        """As struct sock_filter has it, on machines that are little-endian."""
        rows = reversed(self.steps)
        return b"".join(
            [c.to_bytes(2, "little") + bytes((t, f)) + k.to_bytes(4, "little") for c, t, f, k in rows]
        )

    def _near(self, label: int) -> int:
        """The same, or a way there that is near."""
        if len(self.steps) - label < 250:
            return label
        code, _, _, value = self.steps[label - 1]
        if code == _RETURN:
            return self._add(_RETURN, 0, 0, value)
        return self._add(_JUMP, 0, 0, len(self.steps) - label)

    def _add(self, code: int, yes: int, no: int, value: int) -> int:
        self.steps.append((code, yes, no, value))
        return len(self.steps)
