"""Third-party drivers' operations: calls, and the interface that a driver hands out taken into its
namespace."""

from __future__ import annotations

import errno
import os

from weft.core.model.address import parse_address, parse_prefix, parse_subnet
from weft.core.model.errors import BadInput, NotFound, PeerError, WeftError, WireError
from weft.core.model.names import check_ifname
from weft.core.ops import remote as r
from weft.core.ops.address import AddressAdd
from weft.core.ops.base import Names
from weft.core.ops.hop import RouteAdd
from weft.core.ops.link import LinkUp
from weft.core.ops.route import DefaultRoute
from weft.core.wire import rtnetlink as rt
from weft.linux import netns
from weft.linux.netlink import Netlink, Refusal
from weft.linux.plugins import PLUGINS
from weft.linux.procfs import Procfs
from weft.linux.refusals import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.ops.base import Message, Op
    from weft.linux.execute import Hands

_SOURCE = "weft source="
_ROUTES = 1000


def do(hands: Hands, op: Op) -> None:
    """Does one. PeerError, WireError, NotFound, BadInput."""
    if isinstance(op, r.RemoteNetworkAdd):
        PLUGINS.call(op.driver, "NetworkDriver.CreateNetwork", op.body)
    elif isinstance(op, r.RemoteNetworkDel):
        PLUGINS.call(op.driver, "NetworkDriver.DeleteNetwork", {"NetworkID": op.id})
    elif isinstance(op, r.RemoteReleased):
        _release(op)
    elif isinstance(op, r.RemoteJoin):
        _join(hands, op)
    elif isinstance(op, r.RemoteLeave):
        _leave(hands, op)


def _release(op: r.RemoteReleased) -> None:
    """All of it, whatever of it is refused; then the first refusal."""
    failed = []
    calls = [("ReleaseAddress", {"PoolID": op.pool, "Address": address}) for address in op.addresses]
    for method, body in [*calls, *([("ReleasePool", {"PoolID": op.pool})] if op.whole else [])]:
        try:
            PLUGINS.call(op.driver, f"IpamDriver.{method}", body)
        except WeftError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _join(hands: Hands, op: r.RemoteJoin) -> None:
    """All or nothing: what fails halfway is taken back."""
    create = "NetworkDriver.CreateEndpoint"
    try:
        answer = PLUGINS.call(op.driver, create, op.body)
    except PeerError:
        # One of that id may be left of a container whose end nobody told, as after a reboot.
        _forget(op)
        answer = PLUGINS.call(op.driver, create, op.body)
    try:
        _check_interface(op, answer)
        joined = PLUGINS.call(op.driver, "NetworkDriver.Join", op.joining)
        source, routes = _read(op, joined)
        _take(hands, op, source)
        _send(hands, op.where, routes)
        PLUGINS.call(op.driver, "NetworkDriver.ProgramExternalConnectivity", {**op.ids, "Options": {}})
    except BaseException:
        _give_back(hands, op.where, op.mark)
        _forget(op)
        raise


def _forget(op: r.RemoteJoin | r.RemoteLeave) -> list[WeftError]:
    failed = []
    for method in ("RevokeExternalConnectivity", "Leave", "DeleteEndpoint"):
        try:
            PLUGINS.call(op.driver, f"NetworkDriver.{method}", op.ids)
        except WeftError as error:
            failed.append(error)
    return failed


def _check_interface(op: r.RemoteJoin, answer: dict[str, Any]) -> None:
    """A driver may fill in what it was not given, which is nothing (libnetwork, drivers/remote/driver.go)."""
    interface = answer.get("Interface")
    if interface is not None and not isinstance(interface, dict):
        raise WireError(f"the driver {op.driver} answered CreateEndpoint with no Interface")
    for key, sent in op.body["Interface"].items():
        said = (interface or {}).get(key)
        if said and sent and said != sent:
            raise WireError(f"the driver {op.driver} changed the {key} that it was given")


def _text(op: r.RemoteJoin, body: dict[str, Any], key: str) -> str:
    found = body.get(key)
    if found is not None and not isinstance(found, str):
        raise WireError(f"the driver {op.driver} answered Join with a {key} that is no text")
    return found or ""


def _read(op: r.RemoteJoin, joined: dict[str, Any]) -> tuple[str, list[Op]]:
    """The interface's name, and what is routed by it. WireError."""
    name = joined.get("InterfaceName")
    try:
        source = check_ifname(_text(op, name if isinstance(name, dict) else {}, "SrcName"))
        routes = _static(op, joined)
        for version, key in ((4, "Gateway"), (6, "GatewayIPv6")):
            text = _text(op, joined, key)
            if text and version in op.defaults:
                routes.append(DefaultRoute(parse_address(text, key), op.ifname, op.where))
    except BadInput as error:
        raise WireError(f"the driver {op.driver} answered Join: {error.message}") from None
    return source, routes


def _static(op: r.RemoteJoin, joined: dict[str, Any]) -> list[Op]:
    """Static routes: RouteType 0 is by a next hop, 1 directly by the interface."""
    found: list[Op] = []
    listed = joined.get("StaticRoutes")
    for one in listed if isinstance(listed, list) else ():
        if not isinstance(one, dict) or len(found) >= _ROUTES:
            raise WireError(f"the driver {op.driver} answered Join with StaticRoutes that are none")
        to, hop = parse_subnet(_text(op, one, "Destination"), "route"), _text(op, one, "NextHop")
        via = parse_address(hop, "next hop") if hop and one.get("RouteType") != 1 else None
        found.append(RouteAdd(to, via, op.ifname, op.where))
    return found


def _take(hands: Hands, op: r.RemoteJoin, source: str) -> None:
    """The interface into its namespace: moved, named and marked, addressed, up."""
    six = any(":" in address for address in op.addresses)
    try:
        fd = netns.open_fd(op.where)
        try:
            _move(hands.route, hands.route.index(source), fd, op.ifname)
        finally:
            os.close(fd)
        link = hands.route_in(op.where)
        for change in (rt.add_altname(op.ifname, op.mark), rt.set_link(_alias(op.ifname, source))):
            _must(link, change)
    except Refusal as error:
        raise PeerError(
            f"the interface {source} of the driver {op.driver} cannot be taken: {error}"
        ) from None
    key = f"net/ipv6/conf/{op.ifname}/disable_ipv6"
    hands.within(op.where, lambda: Procfs().write(key, "0" if six else "1"))
    parsed = [parse_prefix(text, "address") for text in op.addresses]
    addresses: list[Op] = [AddressAdd(op.ifname, address, prefix, op.where) for address, prefix in parsed]
    _send(hands, op.where, [*addresses, LinkUp(op.ifname, op.where)])


def _alias(ifname: str, source: str) -> rt.Link:
    return rt.Link(ifname=ifname, alias=_SOURCE + source)


def _must(link: Netlink, message: Message) -> None:
    """Refusal."""
    refused = link.attempt([message])
    if refused:
        raise refused[0]


def _send(hands: Hands, where: str, ops: Sequence[Op]) -> None:
    """What is done inside. KernelError."""
    link = hands.route_in(where)
    names = Names(link.index, lambda _: -1)
    for op in ops:
        try:
            for message in op.encode(names):
                _must(link, message)
        except Refusal as error:
            raise explain(op, error) from None


def _move(link: Netlink, index: int, fd: int, ifname: str) -> None:
    """An interface, down, into the namespace behind a descriptor under another name. Refusal."""
    _must(link, rt.set_link(rt.Link(ifindex=index, flags=0, change=rt.IFF_UP)))
    _must(link, rt.set_link(rt.Link(ifindex=index, netns_fd=fd, ifname=ifname)))


def _leave(hands: Hands, op: r.RemoteLeave) -> None:
    _give_back(hands, op.where, op.mark)
    failed = _forget(op)
    if failed:
        raise failed[-1]


def _give_back(hands: Hands, where: str, mark: str) -> None:
    """The interface back to the host, under its own name, as libnetwork does; where the namespace has
    gone it went with it."""
    try:
        link = hands.route_in(where)
        found = rt.get_link(link.ask(rt.get_link_request(name=mark)))
        source = (found.alias or "").removeprefix(_SOURCE)
        link.attempt([rt.del_altname(found.ifname or "", mark)])
        _move(link, found.ifindex, hands.home, check_ifname(source))
    except (NotFound, BadInput):
        pass
    except Refusal as error:
        if error.errno not in (errno.ENODEV, errno.ENOENT):
            raise PeerError(f"the interface cannot be given back: {error}") from None
