"""Published ports on 127.0.0.1: what the loopback proxy is told (see services/loopback)."""

from __future__ import annotations

from weft.core.ops.base import Final, Op, quote


class LoopbackStart(Op):
    """Starts the one loopback proxy of the host, listening on 127.0.0.1 at this port."""

    port: int
    kind = "loopback"

    def describe(self) -> str:
        return f"start the loopback proxy on 127.0.0.1:{self.port}"

    def shell(self) -> tuple[str, ...]:
        return (f"weft loopback start {self.port}",)

    def undo(self) -> Op:
        return LoopbackStop()


class LoopbackStop(Op):
    """Ends the loopback proxy."""

    kind = "loopback"

    def describe(self) -> str:
        return "stop the loopback proxy"

    def shell(self) -> tuple[str, ...]:
        return ("weft loopback stop",)

    def undo(self) -> Final:
        return Final("the proxy starts again with the next publish that needs it")


class LoopbackAdd(Op):
    """Holds a published port against other programs, and serves it on 127.x where it covers that."""

    proto: str
    address: str
    port: int
    target: str
    target_port: int
    kind = "loopback"

    def describe(self) -> str:
        return f"hold {self.address}:{self.port}/{self.proto} for {self.target}:{self.target_port}"

    def shell(self) -> tuple[str, ...]:
        words = f"{self.proto} {self.address} {self.port} {self.target} {self.target_port}"
        return (f"weft loopback add {words}",)

    def undo(self) -> Op:
        return LoopbackDel(self.proto, self.address, self.port)


class LoopbackDel(Op):
    """Lets a published port go."""

    proto: str
    address: str
    port: int
    kind = "loopback"

    def describe(self) -> str:
        return f"let {self.address}:{self.port}/{self.proto} go"

    def shell(self) -> tuple[str, ...]:
        return (f"weft loopback del {quote(self.proto)} {self.address} {self.port}",)

    def undo(self) -> Final:
        return Final("the port is free")
