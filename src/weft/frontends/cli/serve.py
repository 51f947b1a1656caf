"""``weft serve``: what keeps answering another engine."""

from __future__ import annotations

from weft.core.model.errors import BadInput
from weft.frontends.cli.main import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.cli.args import Args


def serve(args: Args) -> int:
    """``weft serve --docker [--socket PATH]``."""
    if not args.on("docker"):
        raise BadInput("`weft serve` needs to be told whom: --docker")
    if args.on("dry-run"):
        raise BadInput("`weft serve` makes nothing itself: there is nothing to show", "leave --dry-run out")
    # By its name: doors are strangers to one another, and this one only leads to the other.
    door = __import__("weft.frontends.docker.main", fromlist=["serve"])
    path = args.one("socket") or door.SOCKET
    if not path.startswith("/"):
        raise BadInput(f"--socket {path!a} is not an absolute path")
    door.serve(args.one("root"), path, say)
    return 0
