"""``weft dns``: what the DNS server answers, and where; ``dns-serve``: the server itself."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.frontends.cli.main import out, safe, work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.engine.work import Work
    from weft.frontends.cli.args import Args


def control(args: Args) -> int:
    """``weft dns [start|stop]``: printed plans call it with ``start``."""
    from weft.engine import dns

    verb = args.words[0] if args.words else "show"
    if verb not in ("show", "start", "stop"):
        raise BadInput(f"`weft dns {verb}`: not start or stop")
    work = work_for(args, looks=verb == "show")
    if verb == "start":
        dns.start(work)
    elif verb == "stop":
        work.machine.stop_dns()
    else:
        _show(args, work)
    return 0


def _show(args: Args, work: Work) -> None:
    from weft.engine import dns

    pid, rows, log = dns.status(work)
    if args.one("format") == "json":
        import json

        out(json.dumps({"pid": pid, "networks": rows, "log": log}))
        return
    out(f"running, pid {pid}" if pid else "not running" + (": the next command starts it" if rows else ""))
    for row in rows:
        servers = " ".join(row["servers"]) or ("none: internal" if row["internal"] else "the host's")
        listen = " ".join([_listen(a, row["port"]) for a in row["addresses"]])
        out(f"{row['network']}  {listen}  members {row['members']}  asks {servers}")
    for line in log:
        out(f"said: {safe(line)}")


def _listen(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def serve(args: Args) -> int:
    """``weft dns-serve FD``."""
    from weft.wiring import dns_serve

    tells = int(args.words[0])
    try:
        dns_serve(args.one("root"), tells)
    except Exception as error:
        _last_words(tells, f"{type(error).__name__}: {error}")
        raise
    return 0


def _last_words(tells: int, text: str) -> None:
    import posix

    try:
        posix.write(tells, text.encode("utf-8", "replace"))
    except OSError:
        pass  # its starter has heard that it answers, and gone
