"""Ways into namespaces that exist, and what is done inside (setns(2), nsenter(1), ip-netns(8))."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.core.model.namespace import TYPES
from weft.core.record import Record

#: What nsenter(1) and unshare(1) call each type.
OPTION = {kind: "mount" if kind == "mnt" else kind for kind in TYPES}


class Command(Record):
    """What to execute inside. Environment and directory are the caller's but for ``env``, which is added, and
    ``cwd``, where "" is the caller's own."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = ""

    def words(self) -> str:
        """It as a shell writes it."""
        from shlex import join

        given = ["env", "--", *[f"{k}={v}" for k, v in self.env]] if self.env else []
        return join([*given, *self.argv])


class Way(Record):
    """How to get in: ``files`` are namespaces by type and path, ``pid`` is a process whose namespaces are
    meant: ``types`` of them, or all that differ from ours.

    ``started`` names that very process, in clock ticks since boot; 0 when whoever has the pid is meant.
    ``view`` is a name: a mount namespace is made with its /sys and with /etc/netns/NAME over /etc, as by
    ``ip netns exec``.
    """

    shown: str
    files: tuple[tuple[str, str], ...] = ()
    pid: int = 0
    started: int = 0
    types: tuple[str, ...] = ()
    view: str = ""

    def shell(self, command: Command) -> str:
        """The command line it equals."""
        from shlex import quote

        mounts = (self.pid and (not self.types or "mnt" in self.types)) or "mnt" in dict(self.files)
        cwd = quote(command.cwd) if command.cwd else '"$PWD"'
        # In another mount namespace one starts in its root.
        there = f" --wdns={cwd}" if mounts else ""
        cd = f"cd {quote(command.cwd)} && " if command.cwd and not mounts else ""
        spaces = self._nsenter()
        enter = f"nsenter {spaces}{there} -- " if spaces else ""
        if self.view:
            enter += f"ip netns exec {quote(self.view)} "
        return f"{cd}exec {enter}{command.words()}"

    def _nsenter(self) -> str:
        from shlex import quote

        if self.pid:
            return " ".join([f"--target={self.pid}", *([f"--{OPTION[t]}" for t in self.types] or ["--all"])])
        # `ip netns exec` enters the network namespace by itself.
        files = [(t, path) for t, path in self.files if t != "net" or not self.view]
        return " ".join([f"--{OPTION[t]}={quote(path)}" for t, path in files])


def parse_types(text: str) -> tuple[str, ...]:
    """``net,mnt`` or ``all``; () when nothing is said. BadInput."""
    if text == "all":
        return TYPES
    found = text.split(",") if text else []
    for word in found:
        if word not in TYPES:
            raise BadInput(f"{word!a} is no type of namespace", f"one of {', '.join(TYPES)}, or all")
    return tuple([t for t in TYPES if t in found])
