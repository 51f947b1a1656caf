"""The state of a container as runtimes tell it to their hooks (runtime-spec, runtime.md, State)."""

from __future__ import annotations

from weft.core.oci.fields import parse
from weft.core.record import Record

_STATUS = ("creating", "created", "running", "stopped")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-+")
_PID_MAX = 1 << 22


class ContainerState(Record):
    """``pid`` 0: it has none. ``annotations`` None: not told."""

    id: str
    status: str
    pid: int
    bundle: str
    annotations: tuple[tuple[str, str], ...] | None = None

    def note(self, key: str) -> str:
        """An annotation; "" when there is none."""
        return dict(self.annotations or ()).get(key, "")


def read_state(data: bytes) -> ContainerState:
    """What a runtime says on a hook's stdin. BadInput."""
    found = parse(data, "the container's state")
    id = found.need("id")
    if not id.text() or frozenset(id.text()) - _PLAIN or len(id.text()) > 90 or not id.text().strip("."):
        raise id.wrong(f"{id.text()[:64]!a} is not a container's id")
    bundle = found.get("bundle").text()
    notes = found.get("annotations")
    return ContainerState(
        id=id.text(),
        status=found.need("status").one_of(_STATUS),
        pid=found.get("pid").number(0, _PID_MAX),
        bundle=bundle if bundle.startswith("/") else "",
        annotations=tuple([(key, one.text()) for key, one in notes.members()]) if notes else None,
    )


def write_state(state: ContainerState) -> bytes:
    """The same for hooks that weft runs itself."""
    import json

    said = {
        "ociVersion": "1.1.0",
        "id": state.id,
        "status": state.status,
        "bundle": state.bundle,
        "annotations": dict(state.annotations or ()),
    }
    return json.dumps(said | ({"pid": state.pid} if state.pid else {})).encode()


def read_annotations(data: bytes) -> tuple[tuple[str, str], ...]:
    """Those of a config.json, where the state does not tell them."""
    notes = parse(data, "config.json").get("annotations")
    return tuple([(key, one.text()) for key, one in notes.members()])
