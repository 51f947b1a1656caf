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
