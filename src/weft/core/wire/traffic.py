"""Queueing disciplines and filters (rtnetlink(7), tc-tbf(8), tc-u32(8), tc-mirred(8)).

Headers linux/pkt_sched.h, linux/pkt_cls.h; net/sched/sch_tbf.c, cls_u32.c, act_mirred.c. In pairs as far as
weft reads them back: what a discipline is, and a tbf's rate and burst.
"""

from __future__ import annotations

from _struct import Struct

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    attr,
    attrs,
    get_string,
    nested,
    split,
    string,
    u32,
    u64,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.wire.buffer import Message

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC, RTM_NEWTFILTER = 36, 37, 38, 44
TC_H_ROOT, TC_H_INGRESS, TC_H_CLSACT = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000
_TCMSG = Struct("=BxxxiIII")
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_TC_LINKLAYER_ETHERNET = 1
#: tc_ratespec twice, then limit, buffer, mtu.
_TBF = Struct("=BBHhHIBBHhHIIII")
_U32_SEL, _U32_ACT, _U32_TERMINAL = 5, 7, 1
_SEL = Struct(">BBBxHHhhI")
_ACT_KIND, _ACT_OPTIONS = 1, 2
_MIRRED_PARMS, _STOLEN, _EGRESS_REDIR = 2, 4, 1
_MIRRED = Struct("=IIiiiiI")
_HANDLE = 0x10000
#: ETH_P_ALL in network order, and the first priority.
_ALL = (1 << 16) | 0x0300
_U32_MAX = 0xFFFFFFFF


class Shape(Record):
    """A token bucket: rate in bytes a second, burst and limit (what may wait) in bytes."""

    rate: int
    burst: int
    limit: int


def _tc(ifindex: int, handle: int, parent: int, info: int = 0) -> bytes:
    return _TCMSG.pack(0, ifindex, handle, parent, info)


def new_tbf(ifindex: int, shape: Shape) -> Message:
    """A token bucket filter as a link's root."""
    low = min(shape.rate, _U32_MAX)
    rate = (0, _TC_LINKLAYER_ETHERNET, 0, -1, 0, low)
    parms = _TBF.pack(*rate, 0, 0, 0, 0, 0, 0, shape.limit, 0, 0)
    options = [attr(_TBF_PARMS, parms), u32(_TBF_BURST, shape.burst)]
    if shape.rate > _U32_MAX:
        options.append(u64(_TBF_RATE64, shape.rate))
    payload = _tc(ifindex, _HANDLE, TC_H_ROOT) + string(_TCA_KIND, "tbf") + nested(_TCA_OPTIONS, *options)
    return RTM_NEWQDISC, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, payload


def del_root(ifindex: int) -> Message:
    """A link's root discipline away."""
    return RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, _tc(ifindex, 0, TC_H_ROOT)


def del_ingress(ifindex: int) -> Message:
    """That for what comes in away."""
    return RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, _tc(ifindex, 0, TC_H_INGRESS)


def new_ingress(ifindex: int) -> Message:
    """The discipline to which filters for what comes in by a link belong."""
    payload = _tc(ifindex, TC_H_CLSACT, TC_H_INGRESS) + string(_TCA_KIND, "ingress")
    return RTM_NEWQDISC, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, payload


def new_redirect(ifindex: int, to: int) -> Message:
    """All that comes in by a link goes out by another one. u32 rather than matchall, which fewer kernels
    have."""
    selector = _SEL.pack(_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + bytes(16)  # one key, that matches anything
    parms = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _EGRESS_REDIR, to)
    action = nested(1, string(_ACT_KIND, "mirred"), nested(_ACT_OPTIONS, attr(_MIRRED_PARMS, parms)))
    options = nested(_TCA_OPTIONS, attr(_U32_SEL, selector), nested(_U32_ACT, action))
    payload = _tc(ifindex, 0, TC_H_CLSACT, _ALL) + string(_TCA_KIND, "u32") + options
    return RTM_NEWTFILTER, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, payload


def dump_qdiscs(ifindex: int) -> Message:
    """The disciplines of a link."""
    return RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, _tc(ifindex, 0, 0)


class Qdisc(Record):
    """A discipline that is there; rate and burst are a tbf's, burst in ticks of the kernel's."""

    ifindex: int
    kind: str
    rate: int = 0
    limit: int = 0


def get_qdisc(data: bytes) -> Qdisc:
    """WireError."""
    (_, ifindex, _, _, _), found = split(data, _TCMSG)
    kind = get_string(found.get(_TCA_KIND, b""))
    if kind != "tbf":
        return Qdisc(ifindex, kind)
    options = attrs(found.get(_TCA_OPTIONS, b""))
    parms = options.get(_TBF_PARMS, b"")
    if len(parms) < _TBF.size:
        raise WireError(f"a tbf's parameters of {len(parms)} bytes")
    values = _TBF.unpack_from(parms)
    wide = options.get(_TBF_RATE64)
    return Qdisc(ifindex, kind, int.from_bytes(wide, "little") if wide else values[5], values[12])
