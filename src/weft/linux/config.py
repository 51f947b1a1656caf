"""The administrator's file: /etc/weft/weft.toml, or DIR/weft.toml with --root DIR."""

from __future__ import annotations

import posix

from weft.core.model.errors import BadInput, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ipam.pool import AutoPool

CONFIG = "/etc/weft/weft.toml"
_LIMIT = 1 << 20


def pools(root: str = "") -> tuple[AutoPool, ...]:
    """Where automatic subnets come from. BadInput naming the line, StoreError when it cannot be read."""
    from weft.core.ipam.pool import DEFAULT_POOLS

    path = f"{root}/weft.toml" if root else CONFIG
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return DEFAULT_POOLS
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    try:
        data = posix.read(fd, _LIMIT + 1)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    finally:
        posix.close(fd)
    if len(data) > _LIMIT:
        raise BadInput(f"{path} is larger than {_LIMIT} bytes")
    return _parse(data, path)


def _parse(data: bytes, path: str) -> tuple[AutoPool, ...]:
    from weft.core.ipam.config import parse

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(f"{path} line {line}: a byte that is not UTF-8") from None
    return parse(text, path)
