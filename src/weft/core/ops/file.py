"""The hosts file of a network: one inode, shared by all members (hosts(5))."""

from __future__ import annotations

from weft.core.ops.base import Final, Op, quote

#: What stands in every hosts file before the members.
HOSTS_HEAD = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


class HostsFile(Op):
    """Makes the hosts file of a network, with the lines that every hosts file has."""

    path: str
    kind = "file"

    def describe(self) -> str:
        return f"make the hosts file {self.path}"

    def shell(self) -> tuple[str, ...]:
        path = quote(self.path)
        where = self.path.rpartition("/")[0]
        return (
            f"mkdir -p -m 0700 {quote(where.rpartition('/')[0])}",
            f"mkdir -p -m 0755 {quote(where)}",
            f"printf %s {quote(HOSTS_HEAD)} > {path}",
        )

    def undo(self) -> Op:
        return HostsFileDel(self.path)


class HostsFileDel(Op):
    """Removes the hosts file of a network."""

    path: str
    kind = "file"

    def describe(self) -> str:
        return f"remove the hosts file {self.path}"

    def shell(self) -> tuple[str, ...]:
        return (f"rm -f {quote(self.path)}",)

    def undo(self) -> Final:
        return Final("removed files are gone")


class HostsAdd(Op):
    """Adds a member: one line at the end of the file, so that a join costs the same at any size."""

    path: str
    address: str
    names: tuple[str, ...]
    kind = "file"

    @property
    def line(self) -> str:
        """The line, hosts(5)."""
        return f"{self.address}\t{' '.join(self.names)}"

    def describe(self) -> str:
        return f"name {self.address} {' '.join(self.names)}"

    def shell(self) -> tuple[str, ...]:
        return (f"printf '%s\\n' {quote(self.line)} >> {quote(self.path)}",)

    def undo(self) -> Op:
        return HostsDel(self.path, (self.address,))


class HostsDel(Op):
    """Takes members out, by address. The inode stays: it is bound into every member's /etc/hosts.

    Lines become comments, so that whoever is reading meanwhile sees the others where they were.
    """

    path: str
    addresses: tuple[str, ...]
    kind = "file"

    def describe(self) -> str:
        return f"forget the name of {', '.join(self.addresses)}"

    def shell(self) -> tuple[str, ...]:
        path = quote(self.path)
        gone = " || ".join(f'$1 == "{a}"' for a in self.addresses)
        script = (
            f'{gone} {{ $0 = "#" substr($0, 2) }} {{ held = held $0 "\\n" }} '
            '!/^(#|$)/ { printf "%s", held; held = "" }'
        )
        return (f"rest=$(awk '{script}' {path}) && printf '%s\\n' \"$rest\" > {path}",)

    def undo(self) -> Final:
        return Final("the member is gone")


class OwnHosts(Op):
    """The hosts file of one container, where its network's does not do: several networks, or lines of its
    own."""

    path: str
    lines: tuple[str, ...]
    kind = "file"

    def describe(self) -> str:
        return f"make the hosts file {self.path}"

    def shell(self) -> tuple[str, ...]:
        path, where = quote(self.path), self.path.rpartition("/")[0]
        text = HOSTS_HEAD + "".join([line + "\n" for line in self.lines])
        return (
            f"mkdir -p -m 0700 {quote(where.rpartition('/')[0])}",
            f"mkdir -p -m 0755 {quote(where)}",
            f"printf %s {quote(text)} > {path}",
        )

    def undo(self) -> Op:
        return HostsFileDel(self.path)


class HostsCopy(Op):
    """Adds all members of a network to a hosts file of a container's own: a copy costs no more than
    reading."""

    path: str
    source: str
    kind = "file"

    def describe(self) -> str:
        return f"copy the names of {self.source} to {self.path}"

    def shell(self) -> tuple[str, ...]:
        head = len(HOSTS_HEAD.splitlines())
        members = f"tail -n +{head + 1} {quote(self.source)} | grep -v '^\\(#\\|$\\)'"
        return (f"{members} >> {quote(self.path)} || true",)

    def undo(self) -> Op:
        return HostsUncopy(self.path, self.source)


class HostsUncopy(Op):
    """Takes all members of a network out of a hosts file of a container's own, by their addresses."""

    path: str
    source: str
    kind = "file"

    def describe(self) -> str:
        return f"forget the names of {self.source} in {self.path}"

    def shell(self) -> tuple[str, ...]:
        head = len(HOSTS_HEAD.splitlines())
        script = (
            f"NR == FNR {{ if (FNR > {head} && !/^(#|$)/) gone[$1] = 1; next }} "
            '$1 in gone { $0 = "#" substr($0, 2) } { held = held $0 "\\n" } '
            '!/^(#|$)/ { printf "%s", held; held = "" }'
        )
        source, path = quote(self.source), quote(self.path)
        return (f"rest=$(awk {quote(script)} {source} {path}) && printf '%s\\n' \"$rest\" > {path}",)

    def undo(self) -> Final:
        return Final("the container has left that network")


class HostsSwitch(Op):
    """Shows a container another hosts file: by /etc/netns/NAME, and over /etc/hosts of its process ``pid``.

    ``started``: the process's start time, as ``pid`` may be another's by now. Without a process ``pid`` is 0.
    """

    name: str
    path: str
    old: str
    pid: int = 0
    started: int = 0
    kind = "file"

    def describe(self) -> str:
        return f"show {self.name} the hosts file {self.path}"

    def shell(self) -> tuple[str, ...]:
        link = f"ln -sfn {quote(self.path)} /etc/netns/{quote(self.name)}/hosts"
        if not self.pid:
            return (link,)
        inner = quote(f"umount -l /etc/hosts; mount --bind -o ro {quote(self.path)} /etc/hosts")
        return (link, f"nsenter --target={self.pid} --mount sh -c {inner}")

    def undo(self) -> Op:
        return HostsSwitch(self.name, self.old, self.path, self.pid, self.started)


class FileMove(Op):
    """Renames a file, and those beside it that have a number behind its name: a rotated log. Fine when there
    is none."""

    path: str
    to: str
    kind = "file"

    def describe(self) -> str:
        return f"rename {self.path} to {self.to}"

    def shell(self) -> tuple[str, ...]:
        path, to = quote(self.path), quote(self.to)
        return (f'for f in {path} {path}.[0-9]*; do [ ! -e "$f" ] || mv -T "$f" {to}"${{f#{path}}}"; done',)

    def undo(self) -> Op:
        return FileMove(self.to, self.path)
