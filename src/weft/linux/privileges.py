"""What a container's command may do: who it is, its capabilities and limits (capabilities(7), credentials(7),
runtime-spec, config.md, process)."""

from __future__ import annotations

import os

from weft.core.model.errors import BadInput, KernelError
from weft.core.model.isolation import CAPABILITIES
from weft.core.record import Record
from weft.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from weft.core.model.oci import Capabilities, Process, Rlimit

_MAX_FILE = 1 << 20  # of /etc/passwd: a root from outside may hold anything


class Who(Record):
    """Whom a command runs as; ``home`` is "" when /etc/passwd does not say."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = ""


def look_up(process: Process, homeless: bool = True) -> Who:
    """The user, by the numbers or by the /etc/passwd and /etc/group of the root that is in place now;
    ``homeless``: where is their home? BadInput."""
    user = process.user
    if not user.name:
        return Who(user.uid, user.gid, user.additional_gids, _home(user.uid) if homeless else "")
    name, colon, group = user.name.partition(":")
    row = _row("/etc/passwd", name or "0", 7)
    if row is None and not _is_number(name or "0"):
        raise BadInput(f"user {name!a} is not in the container's /etc/passwd", "give it as a number")
    uid = int(row[2]) if row else int(name or "0")
    groups = tuple(_groups_of(row[0])) if row and not colon else ()
    gid = _gid(group) if colon else int(row[3]) if row else 0
    home = row[5] if row else ""
    return Who(_checked(uid, name), _checked(gid, group), (*groups, *user.additional_gids), home)


def _gid(group: str) -> int:
    row = _row("/etc/group", group, 4)
    if row is None and not _is_number(group):
        raise BadInput(f"group {group!a} is not in the container's /etc/group", "give it as a number")
    return int(row[2]) if row else int(group)


def _checked(number: int, name: str) -> int:
    if number >= (1 << 32) - 1:
        raise BadInput(f"user or group {name!a}: {number} is no id")
    return number


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _rows(path: str, fields: int) -> Iterable[list[str]]:
    """Lines of passwd(5) or group(5) that have all their fields, ids being numbers."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may be a fifo
    except OSError:
        return
    try:
        text = os.read(fd, _MAX_FILE).decode(errors="surrogateescape")
    except OSError:
        return
    finally:
        os.close(fd)
    for line in text.split("\n"):
        row = line.split(":")
        ids = row[2:3] if fields == 4 else row[2:4]
        if len(row) == fields and all(_is_number(i) and len(i) <= 10 for i in ids):
            yield row


def _row(path: str, name: str, fields: int) -> list[str] | None:
    """That of a name; or, where no name is like it, of a number."""
    rows = list(_rows(path, fields))
    named = [row for row in rows if row[0] == name]
    return next(iter([*named, *[row for row in rows if _is_number(name) and int(row[2]) == int(name)]]), None)


def _groups_of(name: str) -> list[int]:
    return [int(row[2]) for row in _rows("/etc/group", 4) if name in row[3].split(",")]


def _home(uid: int) -> str:
    row = _row("/etc/passwd", str(uid), 7)
    return row[5] if row else ""


def check(process: Process) -> None:
    """BadInput for an unknown capability or limit; loads what is needed later, when the root is another."""
    if process.capabilities is not None:
        caps = process.capabilities
        mask((*caps.bounding, *caps.permitted, *caps.effective, *caps.inheritable, *caps.ambient))
    for one in process.rlimits:
        _limit_number(one.type)


# limits


def limit(rlimits: Iterable[Rlimit]) -> None:
    """setrlimit(2). BadInput for an unknown one, KernelError."""
    for one in rlimits:
        import resource

        values = [resource.RLIM_INFINITY if v >= (1 << 63) - 1 else v for v in (one.soft, one.hard)]
        try:
            resource.setrlimit(_limit_number(one.type), (values[0], values[1]))
        except (OSError, ValueError) as error:
            said = f"cannot set {one.type} to {one.soft}:{one.hard}: {error}"
            raise KernelError(said, hint="raising a hard limit takes CAP_SYS_RESOURCE") from None


def _limit_number(name: str) -> int:
    import resource

    number: int | None = getattr(resource, name, None) if name.startswith("RLIMIT_") else None
    if number is None:
        raise BadInput(f"{name!a} is no resource limit", "as RLIMIT_NOFILE")
    return number


def adjust_oom(score: int | None) -> None:
    """/proc/self/oom_score_adj (proc(5)). KernelError."""
    if score is None:
        return
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(score).encode())
        finally:
            os.close(fd)
    except OSError as error:
        said = f"cannot set oom_score_adj to {score}: {error.strerror}"
        raise KernelError(said, error.errno or 0, "lowering it takes CAP_SYS_RESOURCE") from None


# capabilities


def mask(names: Iterable[str]) -> int:
    """Capabilities as a number. BadInput for an unknown one."""
    found = 0
    for name in names:
        plain = name.removeprefix("CAP_")
        if plain not in CAPABILITIES:
            raise BadInput(f"{name!a} is no capability", "capabilities(7) lists them")
        found |= 1 << CAPABILITIES.index(plain)
    return found


def _bounding() -> int:
    """The bounding set, of which root's capabilities are made; without the help of /proc, which is the
    container's by now."""
    found = number = 0
    try:
        while True:
            found |= libc.prctl(libc.PR_CAPBSET_READ, number) << number
            number += 1
    except OSError:
        return found  # EINVAL: the kernel knows no more


def _bound(wanted: int, has: int) -> None:
    for number in range(has.bit_length()):
        if has & ~wanted & 1 << number:
            libc.prctl(libc.PR_CAPBSET_DROP, number)


def confine(process: Process, who: Who, lock: Callable[[], None]) -> None:
    """Makes the calling process that user with those capabilities; ``lock`` installs the seccomp filter.

    After it nothing but execve(2) is to be done. KernelError, BadInput.
    """
    caps = process.capabilities
    step = "the capability bounding set"
    try:
        if caps is not None:
            held = _bounding()
            _bound(mask(caps.bounding), held)
            libc.prctl(libc.PR_SET_KEEPCAPS, 1)
        step = f"user {who.uid}, group {who.gid}"
        _become(process, who)
        if not process.no_new_privileges:
            step = "the seccomp filter"
            lock()  # it takes CAP_SYS_ADMIN
        step = "the capabilities"
        if caps is not None:
            _take(caps, held)
        if process.no_new_privileges:
            step = "no_new_privs"
            libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
            step = "the seccomp filter"
            lock()
    except OSError as error:
        said = f"cannot take on {step}: {error.strerror or os.strerror(error.errno or 0)}"
        hint = "it has no place in the user namespace's mappings" if error.errno == 22 else ""
        raise KernelError(said, error.errno or 0, hint) from None


def _become(process: Process, who: Who) -> None:
    try:
        os.setgroups(who.groups)
    except PermissionError:
        if who.groups:
            raise  # else it is a user namespace that denies setgroups(2)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    if process.user.umask >= 0:
        os.umask(process.user.umask)


def _take(caps: Capabilities, held: int) -> None:
    libc.prctl(libc.PR_SET_KEEPCAPS, 0)
    sets = [mask(names) & held for names in (caps.effective, caps.permitted, caps.inheritable)]
    ambient = mask(caps.ambient) & sets[1] & sets[2]
    libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_CLEAR_ALL)
    libc.capset(sets[0], sets[1], sets[2])
    for number in range(ambient.bit_length()):
        if ambient >> number & 1:
            libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_RAISE, number)


# the command


def explain(path: str) -> str:
    """Why a file must not be executed: a hint, or ""."""
    missing = _wanted(path)
    return (
        f"the file is to have {missing}, which the container may not: --cap-add gives it" if missing else ""
    )


def _wanted(path: str) -> str:
    """The capabilities of a file that are not in our bounding set (capabilities(7), file capabilities)."""
    try:
        raw = os.getxattr(path, "security.capability")
    except OSError:
        return ""
    low, high = (int.from_bytes(raw[at : at + 4], "little") for at in (4, 12))
    wanted = low | high << 32
    may = _bounding()
    return ", ".join([f"CAP_{name}" for n, name in enumerate(CAPABILITIES) if wanted & ~may & 1 << n])
