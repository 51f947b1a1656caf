"""nf_tables over nfnetlink: tables, chains, sets, rules (linux/netfilter/nf_tables.h); elements are
in nft_element.py and stand here too.

What the kernel does with them: net/netfilter/nf_tables_api.c. All changes go between batch_begin()
and batch_end(), and happen together or not at all. Comments are in the userdata (nft_udata.py).
"""

from __future__ import annotations

from sys import byteorder as _native

from weft.core.model.errors import WireError
from weft.core.record import Record
from weft.core.wire.buffer import (
    BE32,
    BE64,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    SBE32,
    STRING,
    attr,
    attrs,
    be32,
    be64,
    get_be32,
    get_fields,
    iter_attrs,
    nested,
    put_fields,
    split,
    string,
)
from weft.core.wire.nft_element import (
    DATATYPES,
    NFGENMSG,
    NFT_DATA_VERDICT,
    NFT_SET_ELEM_CATCHALL,
    NFT_SET_ELEM_INTERVAL_END,
    Element,
    Elements,
    byteorder_of,
    concat_type,
    datatype,
    field_lengths,
    genmsg,
    get_element,
    get_elements,
    pack_key,
    put_element,
    put_elements,
    split_elements,
)
from weft.core.wire.nft_udata import (
    UDATA_SET_COMMENT,
    UDATA_SET_DATABYTEORDER,
    UDATA_SET_KEYBYTEORDER,
    get_comment,
    get_udata,
    put_comment,
    put_udata,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from weft.core.wire.buffer import Column, Message
    from weft.core.wire.nft_expr import Expr

#: What stands here from other modules.
__all__ = [
    "DATATYPES",
    "Element",
    "Elements",
    "NFT_DATA_VERDICT",
    "NFT_SET_ELEM_CATCHALL",
    "NFT_SET_ELEM_INTERVAL_END",
    "NLM_F_CREATE",
    "NLM_F_EXCL",
    "NLM_F_REPLACE",
    "concat_type",
    "datatype",
    "field_lengths",
    "get_element",
    "get_elements",
    "pack_key",
    "put_element",
    "put_elements",
]

NFPROTO_UNSPEC = 0
NFPROTO_INET = 1
NFPROTO_IPV4 = 2
NFPROTO_ARP = 3
NFPROTO_NETDEV = 5
NFPROTO_BRIDGE = 7
NFPROTO_IPV6 = 10

NF_INET_PRE_ROUTING = 0
NF_INET_LOCAL_IN = 1
NF_INET_FORWARD = 2
NF_INET_LOCAL_OUT = 3
NF_INET_POST_ROUTING = 4
NF_NETDEV_INGRESS = 0
NF_NETDEV_EGRESS = 1

NFNL_MSG_BATCH_BEGIN = 16
NFNL_MSG_BATCH_END = 17
NFNL_SUBSYS_NFTABLES = 10
NFNLGRP_NFTABLES = 7

NFT_MSG_NEWTABLE = 0
NFT_MSG_GETTABLE = 1
NFT_MSG_DELTABLE = 2
NFT_MSG_NEWCHAIN = 3
NFT_MSG_GETCHAIN = 4
NFT_MSG_DELCHAIN = 5
NFT_MSG_NEWRULE = 6
NFT_MSG_GETRULE = 7
NFT_MSG_DELRULE = 8
NFT_MSG_NEWSET = 9
NFT_MSG_GETSET = 10
NFT_MSG_DELSET = 11
NFT_MSG_NEWSETELEM = 12
NFT_MSG_GETSETELEM = 13
NFT_MSG_DELSETELEM = 14
NFT_MSG_NEWGEN = 15
NFT_MSG_GETGEN = 16

NFT_TABLE_F_DORMANT = 1
NFT_TABLE_F_OWNER = 2

NFT_SET_ANONYMOUS = 0x01
NFT_SET_CONSTANT = 0x02
NFT_SET_INTERVAL = 0x04
NFT_SET_MAP = 0x08
NFT_SET_TIMEOUT = 0x10
NFT_SET_EVAL = 0x20
NFT_SET_OBJECT = 0x40
NFT_SET_CONCAT = 0x80

_CHANGE = NLM_F_REQUEST | NLM_F_ACK
_MAKE = NLM_F_CREATE | NLM_F_EXCL
_DUMP = NLM_F_REQUEST | NLM_F_DUMP
_TABLE_USERDATA = 6
_CHAIN_HOOK = 4
_CHAIN_USERDATA = 12
_RULE_EXPRESSIONS = 4
_RULE_USERDATA = 7
_SET_DESC = 9
_SET_DESC_CONCAT = 2
_SET_USERDATA = 13


def _kind(message: int) -> int:
    return NFNL_SUBSYS_NFTABLES << 8 | message


def _remark(kind: int, comment: str | None) -> bytes:
    return b"" if comment is None else attr(kind, put_comment(comment))


def _named(what: str, fields: dict[str, Any], *needed: str) -> dict[str, Any]:
    """A message that leaves out what names its object is no answer of nf_tables."""
    missing = [field for field in needed if field not in fields]
    if missing:
        raise WireError(f"an nft {what} without {', '.join(missing)}")
    return fields


class Table(Record):
    """A table."""

    family: int
    name: str
    flags: int = 0
    comment: str | None = None
    handle: int | None = None


_TABLE: tuple[Column, ...] = ((1, "name", STRING), (2, "flags", BE32), (4, "handle", BE64))


def put_table(table: Table) -> bytes:
    """nfgenmsg and attributes. WireError for text that does not fit."""
    return genmsg(table.family) + put_fields(table, _TABLE) + _remark(_TABLE_USERDATA, table.comment)


def get_table(data: bytes) -> Table:
    """The payload of NFT_MSG_NEWTABLE or NFT_MSG_DELTABLE. WireError."""
    (family, _, _), found = split(data, NFGENMSG)
    fields = _named("table", get_fields(found, _TABLE), "name")
    return Table(family, comment=get_comment(found.get(_TABLE_USERDATA)), **fields)


class Chain(Record):
    """A chain: a base chain when it has a hook, which takes a priority and a type."""

    family: int
    table: str
    name: str
    hook: int | None = None
    priority: int | None = None
    type: str | None = None
    policy: int | None = None
    comment: str | None = None
    device: str | None = None
    handle: int | None = None


_CHAIN: tuple[Column, ...] = (
    (1, "table", STRING),
    (2, "handle", BE64),
    (3, "name", STRING),
    (5, "policy", BE32),
    (7, "type", STRING),
)
_HOOK: tuple[Column, ...] = ((1, "hook", BE32), (2, "priority", SBE32), (3, "device", STRING))


def put_chain(chain: Chain) -> bytes:
    """nfgenmsg and attributes. WireError for text that does not fit, and for half a hook."""
    found = genmsg(chain.family) + put_fields(chain, _CHAIN)
    if chain.hook is not None:
        found += nested(_CHAIN_HOOK, put_fields(chain, _HOOK))
    elif chain.priority is not None or chain.device is not None:
        raise WireError(f"chain {chain.name} has a priority or a device, and no hook")
    return found + _remark(_CHAIN_USERDATA, chain.comment)


def get_chain(data: bytes) -> Chain:
    """The payload of NFT_MSG_NEWCHAIN or NFT_MSG_DELCHAIN. WireError."""
    (family, _, _), found = split(data, NFGENMSG)
    fields = _named("chain", get_fields(found, _CHAIN), "table", "name")
    if _CHAIN_HOOK in found:
        hook = get_fields(attrs(found[_CHAIN_HOOK]), _HOOK)
        fields.update(_named("hook", hook, "hook"))
    return Chain(family, comment=get_comment(found.get(_CHAIN_USERDATA)), **fields)


class Set(Record):
    """A set; a map when it has a data type. ``key_type`` and ``key_len`` are concat_type()'s answer.

    ``set_id`` names it within its batch. ``concat`` is field_lengths()' answer, for intervals over a
    concatenation (with NFT_SET_CONCAT and NFT_SET_INTERVAL). ``userdata`` is what nft keeps there
    beside the comment: None for the byte orders by which it prints the keys. ``size`` is the most that
    it may hold; a hash without it grows while it is dumped, and then elements come twice or not at all.
    """

    family: int
    table: str
    name: str
    flags: int = 0
    key_type: int = 0
    key_len: int = 0
    data_type: int | None = None
    data_len: int | None = None
    set_id: int | None = None
    concat: tuple[int, ...] = ()
    comment: str | None = None
    userdata: bytes | None = None
    handle: int | None = None
    size: int | None = None


_SET: tuple[Column, ...] = (
    (1, "table", STRING),
    (2, "name", STRING),
    (3, "flags", BE32),
    (4, "key_type", BE32),
    (5, "key_len", BE32),
    (6, "data_type", BE32),
    (7, "data_len", BE32),
    (10, "set_id", BE32),
    (16, "handle", BE64),
)
_DESC: tuple[Column, ...] = ((1, "size", BE32),)


def _byteorders(key_type: int, data_type: int | None) -> bytes:
    """As nft writes them, by which it lists ``mark`` or ``ifname`` in the order of this machine."""
    key = byteorder_of(key_type).to_bytes(4, _native)
    found = put_udata(UDATA_SET_KEYBYTEORDER, key)
    if data_type is None:
        return found
    return found + put_udata(UDATA_SET_DATABYTEORDER, byteorder_of(data_type).to_bytes(4, _native))


def _put_set_userdata(item: Set) -> bytes:
    data = item.userdata
    if data is None:
        data = _byteorders(item.key_type, item.data_type)
    if item.comment is not None:
        data += put_comment(item.comment, UDATA_SET_COMMENT)
    return attr(_SET_USERDATA, data) if data else b""


def _put_desc(item: Set) -> bytes:
    found = put_fields(item, _DESC)
    if item.concat:
        found += nested(_SET_DESC_CONCAT, *[nested(1, be32(1, length)) for length in item.concat])
    return nested(_SET_DESC, found) if found else b""


def put_set(item: Set) -> bytes:
    """nfgenmsg and attributes. WireError for text that does not fit."""
    return genmsg(item.family) + put_fields(item, _SET) + _put_desc(item) + _put_set_userdata(item)


def _get_set_userdata(data: bytes, key_type: int, data_type: int | None) -> dict[str, Any]:
    items = get_udata(data)
    if items is None:
        return {"userdata": data}
    rest = b"".join([put_udata(kind, value) for kind, value in items if kind != UDATA_SET_COMMENT])
    usual = rest == _byteorders(key_type, data_type)
    return {"userdata": None if usual else rest, "comment": get_comment(data, UDATA_SET_COMMENT)}


def _get_desc(data: bytes) -> dict[str, Any]:
    found = attrs(data)
    lengths = [attrs(field).get(1) for _, field in iter_attrs(found.get(_SET_DESC_CONCAT, b""))]
    concat = tuple([get_be32(length) for length in lengths if length is not None])
    return {**get_fields(found, _DESC), "concat": concat}


def get_set(data: bytes) -> Set:
    """The payload of NFT_MSG_NEWSET or NFT_MSG_DELSET. WireError."""
    (family, _, _), found = split(data, NFGENMSG)
    fields = _named("set", get_fields(found, _SET), "table", "name")
    if _SET_DESC in found:
        fields.update(_get_desc(found[_SET_DESC]))
    kinds = fields.get("key_type", 0), fields.get("data_type")
    fields.update(_get_set_userdata(found.get(_SET_USERDATA, b""), *kinds))
    return Set(family, **fields)


class RuleDef(Record):
    """A rule: its expressions, in order. ``position`` is the handle of the rule beside which it goes."""

    family: int
    table: str
    chain: str
    expressions: tuple[Expr, ...] = ()
    comment: str | None = None
    handle: int | None = None
    position: int | None = None


_RULE: tuple[Column, ...] = (
    (1, "table", STRING),
    (2, "chain", STRING),
    (3, "handle", BE64),
    (6, "position", BE64),
)


def put_rule(rule: RuleDef) -> bytes:
    """nfgenmsg and attributes. WireError for text or expressions that do not fit."""
    from weft.core.wire.nft_expr import put_exprs  # an element needs none of it

    head = genmsg(rule.family) + put_fields(rule, _RULE)
    found = head + put_exprs(_RULE_EXPRESSIONS, rule.expressions)
    return found + _remark(_RULE_USERDATA, rule.comment)


def get_rule(data: bytes) -> RuleDef:
    """The payload of NFT_MSG_NEWRULE or NFT_MSG_DELRULE. WireError."""
    from weft.core.wire.nft_expr import get_exprs

    (family, _, _), found = split(data, NFGENMSG)
    fields = _named("rule", get_fields(found, _RULE), "table", "chain")
    expressions = get_exprs(found.get(_RULE_EXPRESSIONS, b""))
    comment = get_comment(found.get(_RULE_USERDATA))
    return RuleDef(family, expressions=expressions, comment=comment, **fields)


def batch_begin() -> Message:
    """Opens a transaction of nf_tables."""
    return NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, bytes((0, 0, 0, NFNL_SUBSYS_NFTABLES))


def batch_end() -> Message:
    """Commits it; without this message nothing happens."""
    return NFNL_MSG_BATCH_END, NLM_F_REQUEST, bytes((0, 0, 0, NFNL_SUBSYS_NFTABLES))


def new_table(table: Table, flags: int = _MAKE) -> Message:
    """Makes a table. WireError as put_table()."""
    return _kind(NFT_MSG_NEWTABLE), _CHANGE | flags, put_table(table)


def new_chain(chain: Chain, flags: int = _MAKE) -> Message:
    """Makes a chain. WireError as put_chain()."""
    return _kind(NFT_MSG_NEWCHAIN), _CHANGE | flags, put_chain(chain)


def new_set(item: Set, flags: int = _MAKE) -> Message:
    """Makes a set. The kernel refuses one without an id, and looks at ids only after names, so that
    one will do for all. WireError as put_set()."""
    numbered = item if item.set_id is not None else item._replace(set_id=1)
    return _kind(NFT_MSG_NEWSET), _CHANGE | flags, put_set(numbered)


def new_rule(rule: RuleDef, flags: int = NLM_F_CREATE | NLM_F_APPEND) -> Message:
    """Adds a rule at the end of its chain; at the start without NLM_F_APPEND. WireError as put_rule()."""
    return _kind(NFT_MSG_NEWRULE), _CHANGE | flags, put_rule(rule)


def new_elements(
    family: int, table: str, name: str, elements: Iterable[Element], flags: int = _MAKE
) -> tuple[Message, ...]:
    """Adds elements, in as many messages as it takes. WireError for what does not fit."""
    kind = _kind(NFT_MSG_NEWSETELEM)
    payloads = split_elements(family, table, name, elements)
    return tuple([(kind, _CHANGE | flags, payload) for payload in payloads])


def del_elements(family: int, table: str, name: str, elements: Iterable[Element]) -> tuple[Message, ...]:
    """Deletes elements, in as many messages as it takes. WireError for what does not fit."""
    kind = _kind(NFT_MSG_DELSETELEM)
    return tuple([(kind, _CHANGE, payload) for payload in split_elements(family, table, name, elements)])


def flush_set(family: int, table: str, name: str) -> Message:
    """Deletes all elements of a set."""
    return _kind(NFT_MSG_DELSETELEM), _CHANGE, put_elements(Elements(family, table, name))


def _names(family: int, *names: str | None) -> bytes:
    """nfgenmsg, the table as attribute 1, and what is in it as attribute 2."""
    found = [string(kind, name) for kind, name in enumerate(names, 1) if name is not None]
    return genmsg(family) + b"".join(found)


def del_table(family: int, name: str) -> Message:
    """Deletes a table with all that is in it."""
    return _kind(NFT_MSG_DELTABLE), _CHANGE, _names(family, name)


def del_chain(family: int, table: str, name: str) -> Message:
    """Deletes a chain, which must be empty and not jumped to."""
    return _kind(NFT_MSG_DELCHAIN), _CHANGE, _names(family, table) + string(3, name)


def del_set(family: int, table: str, name: str) -> Message:
    """Deletes a set with its elements, which no rule may look up."""
    return _kind(NFT_MSG_DELSET), _CHANGE, _names(family, table, name)


def del_rule(family: int, table: str, chain: str, handle: int) -> Message:
    """Deletes one rule."""
    return _kind(NFT_MSG_DELRULE), _CHANGE, _names(family, table, chain) + be64(3, handle)


def flush_chain(family: int, table: str, chain: str) -> Message:
    """Deletes all rules of a chain."""
    return _kind(NFT_MSG_DELRULE), _CHANGE, _names(family, table, chain)


def get_table_request(family: int, name: str) -> Message:
    """Asks for one table."""
    return _kind(NFT_MSG_GETTABLE), NLM_F_REQUEST, _names(family, name)


def dump_tables(family: int = NFPROTO_UNSPEC) -> Message:
    """Asks for all tables of a family, or of all."""
    return _kind(NFT_MSG_GETTABLE), _DUMP, genmsg(family)


def dump_chains(family: int = NFPROTO_UNSPEC) -> Message:
    """Asks for all chains of a family, or of all."""
    return _kind(NFT_MSG_GETCHAIN), _DUMP, genmsg(family)


def dump_sets(family: int = NFPROTO_UNSPEC, table: str | None = None) -> Message:
    """Asks for all sets, or for those of one table."""
    return _kind(NFT_MSG_GETSET), _DUMP, _names(family, table)


def dump_rules(family: int, table: str | None = None, chain: str | None = None) -> Message:
    """Asks for all rules, or for those of one table or chain."""
    return _kind(NFT_MSG_GETRULE), _DUMP, _names(family, table, chain)


def dump_elements(family: int, table: str, name: str) -> Message:
    """Asks for all elements of a set."""
    return _kind(NFT_MSG_GETSETELEM), _DUMP, _names(family, table, name)
