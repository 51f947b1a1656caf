"""Libraries that are not weft's: found though the program starts without site-packages (-S).

They are wanted by few commands, and imported there. Where they may be is what site(3) would say: the
packages of the environment that weft is installed in, then the system's own.
"""

from __future__ import annotations

import sys

from weft.core.model.errors import Unsupported
from weft.linux.paths import is_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

#: Package, as pip and Debian call it, by its top module.
_PACKAGES = {"dns": ("weft[dns]", "python3-dnspython")}


def find(package: str, module: str) -> ModuleType | None:
    """A module of a library; None when it is not installed, or is not what it should be."""
    if module in sys.modules:
        return sys.modules[module]
    for place in _places():
        if is_there(f"{place}/{package}/__init__.py"):
            if place not in sys.path:
                sys.path.append(place)
            try:
                return __import__(module, fromlist=[package])
            except ImportError:
                return None
    return None


def need(package: str, module: str) -> ModuleType:
    """The same; Unsupported, with how to install it."""
    found = find(package, module)
    if found is None:
        extra, debian = _PACKAGES.get(package, (package, f"python3-{package}"))
        raise Unsupported(
            f"the Python library {package} is not installed",
            f"apt install {debian}, or pip install '{extra}'",
        )
    return found


def _places() -> list[str]:
    """Where packages may be: weft's own environment, /usr/local, Debian's."""
    major, minor = sys.version_info[:2]
    package = __file__.rpartition("/weft/")[0]
    found = [f"/usr/local/lib/python{major}.{minor}/dist-packages", "/usr/lib/python3/dist-packages"]
    found.append(f"/usr/lib/python{major}.{minor}/site-packages")
    # A checkout has its sources there, and no packages.
    return [package, *found] if package.endswith("-packages") else found
