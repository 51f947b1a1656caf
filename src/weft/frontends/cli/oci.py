"""``weft oci-hook`` and ``weft spec``: other runtimes' containers in weft's networks, and weft's in their
words."""

from __future__ import annotations

import os

from weft.core.model.errors import BadInput
from weft.frontends.cli.main import work_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.oci.state import ContainerState
    from weft.frontends.cli.args import Args

_LARGEST = 1 << 20
_HINT = "it is for the hooks createRuntime and poststop of an OCI runtime (docs/oci.md)"


def hook(args: Args) -> int:
    """``weft oci-hook``: the container's state comes on stdin; 0, or why it cannot be connected."""
    from weft.engine import hook as engine
    from weft.frontends.cli.run import _join

    state = _state()
    if not engine.check_stage(state):
        engine.detach(work_for(args), state)
        return 0
    wish = engine.wanted(state, _join)
    if wish.joins:
        runtime, waits = _runtime()
        engine.attach(work_for(args), runtime, state, wish, waits)
    return 0


def _state() -> ContainerState:
    from weft.core.oci.state import read_annotations, read_state

    if os.isatty(0):
        raise BadInput("`weft oci-hook` reads a container's state from stdin", _HINT)
    data = _all_of(0)
    if not data.strip():
        raise BadInput("there is no container's state on stdin", _HINT)
    state = read_state(data)
    if state.annotations is not None or state.status == "stopped":
        return state
    try:
        fd = os.open(f"{state.bundle}/config.json", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BadInput(f"{state.bundle}/config.json: {error.strerror}") from None
    try:
        return state._replace(annotations=read_annotations(_all_of(fd)))
    finally:
        os.close(fd)


def _all_of(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 1 << 16):
        data += chunk
        if len(data) > _LARGEST:
            raise BadInput(f"that is larger than {_LARGEST} bytes")
    return data


def _runtime() -> tuple[str, bool]:
    """Who runs the hook: its parent's own name; and whether that waits for all of its children, as ``crun
    run`` does in the foreground."""
    from weft.engine.hook import RUNTIMES

    try:
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
            program, *words = file.read(1 << 16).decode("utf-8", "replace").split("\0")
    except OSError:
        program, words = "", []
    name = program.rpartition("/")[2]
    waits = name == "crun" and "run" in words and not {"-d", "--detach"}.intersection(words)
    return name if name in RUNTIMES else RUNTIMES[-1], waits
