"""Data of nf_tables: a value, or a verdict (struct nft_data in net/netfilter/nf_tables_api.c)."""

from __future__ import annotations

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import attr, attrs, be32, get_be32, get_string, nested, string

_DATA_VALUE = 1
_DATA_VERDICT = 2
_VERDICT_CODE = 1
_VERDICT_CHAIN = 2


class Verdict(Record):
    """What becomes of the packet: NF_ACCEPT, NF_DROP, NFT_JUMP to a chain."""

    code: int
    chain: str | None = None


def put_data(kind: int, data: bytes | Verdict) -> bytes:
    """An nft_data attribute: a value, or a verdict. WireError for a NUL in the chain's name."""
    if isinstance(data, Verdict):
        chain = b"" if data.chain is None else string(_VERDICT_CHAIN, data.chain)
        code = be32(_VERDICT_CODE, data.code & 0xFFFFFFFF)
        return nested(kind, nested(_DATA_VERDICT, code + chain))
    return nested(kind, attr(_DATA_VALUE, data))


def _get_verdict(data: bytes) -> Verdict:
    found = attrs(data)
    if _VERDICT_CODE not in found:
        raise WireError("an nft verdict without a code")
    code, chain = get_be32(found[_VERDICT_CODE]), found.get(_VERDICT_CHAIN)
    signed = code - (1 << 32) if code >> 31 else code
    return Verdict(signed, None if chain is None else get_string(chain))


def get_data(data: bytes) -> bytes | Verdict:
    """The payload of an nft_data attribute. WireError."""
    found = attrs(data)
    if _DATA_VALUE in found:
        return found[_DATA_VALUE]
    if _DATA_VERDICT in found:
        return _get_verdict(found[_DATA_VERDICT])
    raise WireError("nft data that is neither a value nor a verdict")


def get_value(data: bytes) -> bytes:
    """The payload of an nft_data attribute that must be a value. WireError."""
    found = get_data(data)
    if isinstance(found, Verdict):
        raise WireError("an nft verdict in place of a value")
    return found
