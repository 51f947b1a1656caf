"""``weft serve --docker``: weft as a network and IPAM plug-in of dockerd."""

from __future__ import annotations

import json
import sys

from weft.core.model.errors import WeftError
from weft.engine import docker, docker_ipam
from weft.frontends.docker import ipam, network, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.engine.work import Work
    from weft.frontends.docker.words import Body

SOCKET = "/run/docker/plugins/weft.sock"
#: A service, the key under which its failures are told (drivers/remote/api, ipams/remote/api), its methods.
_SERVICES = {"NetworkDriver": ("Err", network.METHODS), "IpamDriver": ("Error", ipam.METHODS)}
#: Seconds until a container's first process is there: it is started after its networks were joined.
_STARTS = 60.0
#: Seconds after which it is looked whether it still is to be: Docker takes back what it could not start.
_LOOKS = 2.0


class Door:
    """Answers dockerd's requests; each opens what weft knows anew."""

    __slots__ = ("_open", "_say")

    def __init__(self, open_work: Callable[[], Work], say: Callable[[str], None]) -> None:
        self._open = open_work
        self._say = say

    def __call__(self, method: str, data: bytes) -> tuple[int, bytes, Callable[[], None] | None]:
        """Status and body of an answer, and what is to be done after it was sent."""
        service, _, name = method.partition(".")
        if method == "Plugin.Activate":
            return self._activate()
        key, methods = _SERVICES.get(service, ("Err", {}))
        action = methods.get(name)
        if action is None:
            return 404, _json({"Err": f"weft has no method {method[:64]!a}"}), None
        try:
            body = words.read(data)
            answer = action(self._open(), body)
        except WeftError as error:
            self._say(f"{method}: {error.message}")
            return 200, _json({key: _told(error)}), None
        except Exception as error:
            self._say(f"{method}: internal error: {type(error).__name__}: {error}")
            return 500, _json({"Err": f"internal error: {type(error).__name__}"}), None
        rest = (lambda: self._name(body)) if method == "NetworkDriver.Join" else None
        return 200, _json(answer), rest

    def _activate(self) -> tuple[int, bytes, None]:
        """dockerd has found weft, for the first time since it was started."""
        try:
            docker_ipam.restarted(self._open())
        except WeftError as error:
            return 500, _json({"Err": _told(error)}), None
        return 200, _json({"Implements": list(_SERVICES)}), None

    def _name(self, body: Body) -> None:
        """Finds out whose the sandbox is that was joined, once its first process is there."""
        key = words.text(body, "SandboxKey")
        work, name = self._open(), f"docker:{key.rpartition('/')[2]}"
        try:
            for _ in range(int(_STARTS / _LOOKS)):
                if work.machine.wait_mounted(key, _LOOKS):
                    docker.learn(work, name)
                    return
                if not work.store.has_container(name):
                    return
        except WeftError as error:
            self._say(f"{key}: {error.message}")

    def begin(self) -> None:
        """What an earlier service, which was killed, has not found out."""
        work = self._open()
        for sandbox in docker.unnamed(work):
            docker.learn(work, sandbox.name)


def _told(error: WeftError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _json(answer: Body) -> bytes:
    return json.dumps(answer).encode()


def serve(root: str, path: str, say: Callable[[str], None]) -> None:
    """Serves until it is told to end. Conflict, BadInput, NotPermitted, StoreError."""
    from weft.wiring import open_work, serve_plugin

    door = Door(lambda: open_work(root, say), say)
    door.begin()

    def ready() -> None:
        sys.stdout.write(f"ready: {path}\n")
        sys.stdout.flush()

    serve_plugin(path, door, ready)
