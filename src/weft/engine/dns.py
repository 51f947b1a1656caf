"""The DNS server's life: it comes with the first network that wants it, and goes with the last.

What it answers it reads in the database itself, after each change of it; so nothing is told to it. The root's
value ``dns`` is stored while it should run, or may: see ``Work.mend_dns``.
"""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.model.errors import WeftError
from weft.core.ops.dns import DnsStart
from weft.core.ops.netns import ResolvConf
from weft.engine.work import DNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.model.network import Network, Sandbox
    from weft.core.ops.base import Op
    from weft.engine.work import Work


def check(work: Work, network: Network) -> None:
    """Conflict when somebody else answers where this network is to be answered: before anything is made."""
    if network.option("dns") == "true" and not network.dns:
        work.say(f"warning: names are not answered in network {network.name}: this host is not its gateway")
    if network.dns and not work.dry:
        for pool in network.pools:
            work.machine.probe_dns(str(pool.gateway), network.dns_port)


def wants(network: Network) -> tuple[Op, ...]:
    """What a network's plan has to have for it, last of all."""
    return (DnsStart(),) if network.dns else ()


def networks_of(work: Work, name: str) -> list[Network]:
    """The networks that a container is in."""
    return [work.store.network(e.network) for e in work.store.endpoints_of(name)]


def servers(work: Work, sandbox: Sandbox, before: Sequence[Network], after: Sequence[Network]) -> list[Op]:
    """What a container, and all that share its network namespace, see of name servers when its networks have
    changed."""
    if sandbox.target or not any(n.dns for n in (*before, *after)):
        return []  # a namespace of somebody else's has files of his
    shown = sandbox
    if not sandbox.dns and not all(n.internal for n in after):
        # Without weft's DNS server it has the host's, as if it started now.
        shown = sandbox._replace(dns=work.machine.upstreams()[0])
    old, new = driver.resolv_conf(shown, before), driver.resolv_conf(shown, after)
    if old == new:
        return []
    return [ResolvConf(name, new, old) for name in (sandbox.name, *work.store.joiners(sandbox.name))]


def note(work: Work, network: Network) -> None:
    """In the transaction that stores a network."""
    if network.dns:
        work.store.put(DNS, "true")


def mend(work: Work) -> None:
    """Starts a server that was killed, and ends one that nobody wants any more. The lock is held.

    What cannot be mended is only remarked: it must not keep people from other commands.
    """
    if work.dry:
        return
    try:
        if work.store.wants_dns():
            work.say("the DNS server did not run: starting it again")
            work.machine.start_dns()
            return
        work.machine.stop_dns()
        with work.store.write():
            work.store.put(DNS, "")
    except WeftError as error:
        work.say(f"warning: names are not answered: {error}")


def start(work: Work) -> None:
    """``weft dns start``, as printed plans have it."""
    with work.machine.lock():
        work.machine.start_dns()


def status(work: Work) -> tuple[int, list[dict[str, Any]], list[str]]:
    """The server's pid (0: it does not run), what it answers, and what it could not do."""
    rows: list[dict[str, Any]] = []
    for network in work.store.answered_networks():
        rows.append(
            {
                "network": network.name,
                "addresses": [str(p.gateway) for p in network.pools],
                "port": network.dns_port,
                "internal": network.internal,
                "servers": network.option("dns_servers").split(),
                "inside": network.option("dns_inside") == "true",
                "members": work.store.count_endpoints(network.name),
            }
        )
    return work.machine.dns_pid(), rows, work.machine.dns_log()
