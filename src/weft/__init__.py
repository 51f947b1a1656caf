"""weft: Docker's networks without Docker."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.api import Container, Network
    from weft.frontends.api_wires import Switch, wire

__version__ = "0.1.0"
__all__ = ["Container", "Network", "Switch", "__version__", "wire"]


def __getattr__(name: str) -> object:
    """The library's objects, imported when first used: the program itself needs none of them."""
    if name in ("Container", "Network"):
        from weft.frontends import api

        return getattr(api, name)
    if name in ("Switch", "wire"):
        from weft.frontends import api_wires

        return getattr(api_wires, name)
    raise AttributeError(f"module 'weft' has no attribute {name!r}")
