"""Docker's JSON read: nothing of it is believed. Fields that are missing or null are as good as empty."""

from __future__ import annotations

import json

from weft.core.model.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Body = dict[str, Any]

#: Protocol numbers (IANA), as Docker gives them in port mappings.
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
_MAPPINGS = 10_000


def read(data: bytes) -> Body:
    """A request's body. An empty one is an empty object: so dockerd asks again after a connection was lost.
    BadInput."""
    if not data.strip():
        return {}
    try:
        found = json.loads(data)
    except RecursionError:
        raise BadInput("the request is nested too deep") from None
    except (ValueError, UnicodeDecodeError):
        raise BadInput("the request is not JSON") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput("the request is not a JSON object")
    return found


def text(body: Body, key: str, needed: bool = False) -> str:
    """A text. BadInput for anything else, or for one that is needed and not there."""
    found = body.get(key)
    if found is None:
        found = ""
    if not isinstance(found, str):
        raise BadInput(f"{key} is not a text")
    if needed and not found:
        raise BadInput(f"{key} is missing")
    if (
        len(found) > 4096
        or any(c in found for c in "\0\n\r")
        or any("\ud800" <= c <= "\udfff" for c in found)
    ):
        raise BadInput(f"{key} is not a text that weft can use")
    return found


def flag(body: Body, key: str) -> bool:
    """A truth value, which Docker also writes as text."""
    found = body.get(key)
    if found in (None, "", False, "false", "0"):
        return False
    if found in (True, "true", "1"):
        return True
    raise BadInput(f"{key} is neither true nor false")


def table(body: Body, key: str) -> Body:
    """An object."""
    found = body.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput(f"{key} is not an object")
    return found


def objects(body: Body, key: str) -> list[Body]:
    """A list of objects."""
    found = body.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadInput(f"{key} is not a list of objects")
    return found


def pairs(body: Body, key: str) -> list[tuple[str, str]]:
    """An object of texts: what -o gave."""
    found = table(body, key)
    return [(name, text(found, name)) for name in found]


def number(body: Body, key: str, most: int) -> int:
    """A whole number from 0 to ``most``."""
    found = body.get(key)
    if found is None:
        return 0
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= most:
        raise BadInput(f"{key} is not a number from 0 to {most}")
    return found


def mappings(options: Body, six: bool) -> list[str]:
    """The port mappings of an endpoint as ``-p`` has them. Without a host address all are meant: those
    of IPv6 too, where the container has it."""
    found: list[str] = []
    listed = objects(options, "com.docker.network.portmap")
    if len(listed) > _MAPPINGS:
        raise BadInput(f"more than {_MAPPINGS} port mappings")
    for one in listed:
        proto = _PROTOCOLS.get(number(one, "Proto", 255), "")
        if not proto:
            raise BadInput(f"port mapping of the protocol {one.get('Proto')!a}")
        inner, low = number(one, "Port", 65535), number(one, "HostPort", 65535)
        high = number(one, "HostPortEnd", 65535)
        outer = f"{low}-{high}" if high > low else str(low or "")
        found += [f"{host}:{outer}:{inner}/{proto}" for host in hosts(text(one, "HostIP"), six)]
    return found


def hosts(given: str, six: bool) -> Sequence[str]:
    """The addresses of a mapping as they are written before a port."""
    if not given:
        return ("0.0.0.0", "[::]") if six else ("0.0.0.0",)
    return (f"[{given}]",) if ":" in given else (given,)
