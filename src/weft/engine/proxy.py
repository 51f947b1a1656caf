"""The loopback proxy's life: it comes with the first published port that covers 127.x, goes with the last.

The root's value ``proxy_port`` is stored while a proxy should run, or may: a command that finds none
has nothing to look after.
"""

from __future__ import annotations

from weft.core.drivers import bridge as driver
from weft.core.firewall.elements import proxy_element
from weft.core.model.errors import WeftError
from weft.core.ops.base import Op
from weft.core.ops.loopback import LoopbackStop
from weft.core.plan.plan import Plan
from weft.engine.work import PROXY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.publish import Publish
    from weft.engine.work import Work

#: Where the loopback proxy listens if that port is free: below the ephemeral range.
PREFERRED = 7765
_KEY = "proxy_port"


def start(work: Work) -> tuple[Op, ...]:
    """Starts the loopback proxy. Its port is on record before there can be a proxy."""
    port = work.machine.free_proxy_port(int(work.store.get(_KEY) or PREFERRED))
    if not work.dry:
        with work.store.write():
            work.store.put(_KEY, str(port))
    return driver.proxy_wants(port)


def stop(work: Work) -> tuple[Op, ...]:
    """Ends it, and takes out the element that leads there."""
    known = work.store.get(_KEY)
    element = proxy_element(int(known)).undo() if known else None
    return LoopbackStop(), *([element] if isinstance(element, Op) else [])


def forget(work: Work, plan: Plan) -> None:
    """In the transaction that journals a removal: with a plan that stops the proxy its record goes."""
    if any(isinstance(op, LoopbackStop) for op in plan.ops):
        work.store.put(_KEY, "")


def mend(work: Work) -> None:
    """Brings a proxy that was killed back with all its ports, and ends one that nothing needs any more.

    Called with the lock held and no crashed command's entry open. What cannot be mended is only remarked:
    it must not keep people from other commands.
    """
    if work.dry:
        return
    try:
        needed = work.store.needs_proxy()
        if needed and work.machine.proxy_alive():
            return
        for error in work.machine.revert(Plan(stop(work))):
            work.say(f"warning: {error}")
        if needed:
            work.say("the loopback proxy was killed: starting it again")
            _restart(work)
        else:
            with work.store.write():
                work.store.put(_KEY, "")
    except WeftError as error:
        work.say(f"warning: ports published on 127.x are not served: {error}")


def _restart(work: Work) -> None:
    held: list[Op] = []
    for endpoint in work.store.published():
        wants = zip(endpoint.publish, driver.loopback_wants(endpoint), strict=True)
        held += [op for publish, op in wants if _is_free(work, publish)]
    work.settle(work.make(PROXY, "", Plan((*start(work), *held)), lambda: None))


def _is_free(work: Work, publish: Publish) -> bool:
    """One port that somebody took meanwhile does not keep the others down."""
    try:
        work.machine.probe_port(publish)
    except WeftError as error:
        work.say(f"warning: published port {publish} stays without its proxy: {error}")
        return False
    return True
