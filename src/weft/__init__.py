"""weft: Docker's networks without Docker."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.api import Container, Namespace, Network, Switch, run, wire

__version__ = "0.1.0"
__all__ = ["Container", "Namespace", "Network", "Switch", "__version__", "run", "wire"]


def __getattr__(name: str) -> object:
    """The library's objects, imported when first used: the program itself needs none of them."""
    if name in ("Container", "Namespace", "Network", "Switch", "run", "wire"):
        from weft.frontends import api

        return getattr(api, name)
    raise AttributeError(f"module 'weft' has no attribute {name!r}")
