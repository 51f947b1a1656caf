"""Other people's drivers: programs in a directory of plug-ins, asked as netavark asks them (API 1.0.0)."""

from __future__ import annotations

import posix

from weft.core.model.errors import BadInput, WeftError
from weft.core.model.jsontext import dump, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.engine.work import Work
    from weft.frontends.netavark.read import Place, Wish

_SHOWN = 1000


def find(driver: str, directories: Sequence[str]) -> str:
    """The program of a driver. BadInput when there is none."""
    plain = "/" not in driver and driver not in (".", "..") and driver.isprintable()
    for directory in directories if plain else ():
        path = f"{directory}/{driver}"
        try:
            if posix.stat(path).st_mode & 0o170111 > 0o100000:  # a regular file that somebody may execute
                return path
        except OSError:
            continue
    raise BadInput(f'failed to find driver or plugin "{driver[:64]}"')


def ask(work: Work, path: str, command: str, netns: str, wish: Wish, place: Place) -> Any:
    """What a plug-in answers to setup; of teardown nothing is read. WeftError, as netavark words it."""
    top = wish.plain.value()
    given = {
        "container_id": wish.id,
        "container_name": wish.name,
        "port_mappings": top.get("port_mappings"),
        "network": place.net.plain.value(),
        "network_options": place.plain.value(),
    }
    return call(work, path, [command, netns], given, read=command == "setup")


def call(work: Work, path: str, words: Sequence[str], given: Any, read: bool = True) -> Any:
    """One call of a plug-in."""
    name = path.rpartition("/")[2]
    data = dump(given).encode()
    status, out = work.machine.run_plugin(path, words, data)
    if status:
        raise WeftError(f'plugin "{name}" failed: exit code {status}, message: {_message(out)}')
    if not read:
        return None
    try:
        found = load(out.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeftError(f'plugin "{name}": JSON Decoding error: {str(error)[:_SHOWN]}') from None
    if not isinstance(found, dict):
        raise WeftError(f'plugin "{name}": JSON Decoding error: invalid type: expected a map')
    return found


def _message(out: bytes) -> str:
    text = out.decode("utf-8", "replace")
    try:
        found = load(text)
        said = found.get("error") if isinstance(found, dict) else None
    except (ValueError, RecursionError):
        said = None
    return (said if isinstance(said, str) else text.strip())[:_SHOWN]
