"""Tracked connections to published ports (conntrack(8)): those from before a change would go on as they
went."""

from __future__ import annotations

from weft.core.ops.base import Final, Op


class ConntrackFlush(Op):
    """Forgets the connections to published ports, by (protocol, host address, host port).

    A UDP client that goes on sending from one port is one connection for ever: without this it would reach
    what answered before. 0.0.0.0 and :: are all addresses of this host.
    """

    ports: tuple[tuple[str, str, int], ...]
    kind = "conntrack"

    def describe(self) -> str:
        shown = ", ".join([f"{host}:{port}/{proto}" for proto, host, port in self.ports[:5]])
        more = f" and {len(self.ports) - 5} more" if len(self.ports) > 5 else ""
        return f"forget the tracked connections to {shown}{more}"

    def shell(self) -> tuple[str, ...]:
        lines = []
        for proto, host, port in self.ports:
            family = "ipv6" if ":" in host else "ipv4"
            only = "" if host in ("0.0.0.0", "::") else f" --orig-dst {host}"
            # conntrack(8) may not be installed, and none may be tracked: both are fine
            words = f"conntrack -D -f {family} -p {proto} --orig-port-dst {port}{only}"
            lines.append(f"{words} >/dev/null 2>&1 || true")
        return tuple(lines)

    def undo(self) -> Final:
        return Final("forgotten connections are tracked anew")
