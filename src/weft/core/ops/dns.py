"""The host's one DNS server (services/dns)."""

from __future__ import annotations

from weft.core.ops.base import Final, Op


class DnsStart(Op):
    """Starts it where it does not run. What it is to answer stands in the database."""

    kind = "dns"

    def describe(self) -> str:
        return "start the DNS server"

    def shell(self) -> tuple[str, ...]:
        return ("weft dns start",)

    def undo(self) -> Final:
        return Final("it ends by itself when no network wants it")
