"""The plug-in loopback: lo is up, with the addresses that the kernel gives it. It keeps nothing."""

from __future__ import annotations

from weft.core.model.address import Address
from weft.core.model.errors import NotFound
from weft.core.ops.link import LinkUp
from weft.core.plan.plan import Plan
from weft.frontends.cni import result as res
from weft.frontends.cni.checking import differs
from weft.frontends.cni.result import Interface, Ip, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.cni.call import Call
    from weft.frontends.cni.field import Loose


def add(call: Call, conf: Loose) -> Result:
    """ADD."""
    from weft.wiring import bare_machine, look_inside

    before = res.previous(conf)
    bare_machine().apply(Plan((LinkUp("lo", call.netns),)))
    if before is not None:
        return before
    link = look_inside(call.netns).link("lo")
    own = [] if link is None else link.addresses
    ips = tuple([Ip(address, prefix, None, 0) for address, prefix in own if _is_loopback(address)])
    return Result((Interface("lo", "00:00:00:00:00:00", call.netns),), ips)


def _is_loopback(address: Address) -> bool:
    return address.loopback


def delete(call: Call) -> None:
    """DEL: lo goes with its namespace; until then somebody may want it."""


def check(call: Call) -> None:
    """CHECK."""
    from weft.wiring import look_inside

    link = look_inside(call.netns).link("lo")
    if link is None:
        raise NotFound("there is no lo")
    if not link.up:
        raise differs("loopback interface is down")
