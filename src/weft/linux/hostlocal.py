"""The files of CNI's host-local: one an address, named by it, with its owner inside; a lock, and what was
given out last (plugins/ipam/host-local/backend/disk of containernetworking/plugins)."""

from __future__ import annotations

import posix
from fcntl import LOCK_EX, flock

from weft.core.model.errors import BadInput, StoreError
from weft.linux.paths import make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_DIGITS = frozenset("0123456789abcdefABCDEF.:")
#: As host-local writes it.
_BREAK = "\r\n"
_LARGEST = 4096


class Ledger:
    """One network's directory. ``with ledger.locked():`` around all that reads or writes it."""

    __slots__ = ("_fd", "_folder")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._fd = -1

    def locked(self) -> Ledger:
        """The same, to be entered."""
        return self

    def __enter__(self) -> Ledger:
        try:
            make_directories(self._folder, 0o755)
            self._fd = posix.open(
                f"{self._folder}/lock",
                posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW,
                0o600,
            )
            flock(self._fd, LOCK_EX)
            self._unlink(self._part)  # of one that was killed
        except OSError as error:
            raise StoreError(f"ipam.dataDir: cannot lock {self._folder}: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        posix.close(self._fd)
        self._fd = -1

    def names(self) -> frozenset[str]:
        """The addresses that are somebody's."""
        return frozenset([n for n in self._list() if not frozenset(n) - _DIGITS])

    def _list(self) -> list[str]:
        try:
            return posix.listdir(self._folder)
        except OSError as error:
            raise StoreError(f"ipam.dataDir: cannot read {self._folder}: {error.strerror}") from None

    def _read(self, name: str) -> str:
        """ "" for what is not there, or is no plain file."""
        try:
            fd = posix.open(
                f"{self._folder}/{name}",
                posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK,
            )
        except OSError:
            return ""
        try:
            return posix.read(fd, _LARGEST).decode("utf-8", "replace")
        except OSError:
            return ""
        finally:
            posix.close(fd)

    def owner(self, name: str) -> tuple[str, str]:
        """Container and interface of an address; old files have no interface."""
        container, _, ifname = self._read(name).strip().partition("\n")
        return container.strip(), ifname.strip()

    def of(self, container: str, ifname: str) -> list[str]:
        """The addresses of a container's interface."""
        found = [(name, self.owner(name)) for name in sorted(self.names())]
        return [name for name, owner in found if owner in ((container, ifname), (container, ""))]

    def take(self, name: str, container: str, ifname: str) -> bool:
        """Gives an address to a container; False when somebody has it. A crash leaves it whole or not at
        all."""
        try:
            self._write(self._part, f"{container}{_BREAK}{ifname}")
            try:
                posix.link(self._part, f"{self._folder}/{name}")
            except FileExistsError:
                return False
            finally:
                posix.unlink(self._part)
        except OSError as error:
            raise StoreError(f"ipam.dataDir: cannot write {self._folder}/{name}: {error.strerror}") from None
        return True

    @property
    def _part(self) -> str:
        """What is written whole before it gets its name."""
        return f"{self._folder}/.weft"

    def _unlink(self, path: str) -> None:
        try:
            posix.unlink(path)
        except FileNotFoundError:
            pass

    def _write(self, path: str, text: str) -> None:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC | posix.O_NOFOLLOW
        fd = posix.open(path, flags, 0o644)
        try:
            posix.write(fd, text.encode())
        finally:
            posix.close(fd)

    def drop(self, name: str) -> None:
        """Takes an address back."""
        if frozenset(name) - _DIGITS:
            raise BadInput(f"{name!a} is not an address")
        try:
            self._unlink(f"{self._folder}/{name}")
        except OSError as error:
            raise StoreError(f"ipam.dataDir: cannot remove {self._folder}/{name}: {error.strerror}") from None

    def last(self, place: int) -> str:
        """What the set of ranges number ``place`` gave out last; "" when it has given none."""
        return self._read(f"last_reserved_ip.{place}").strip()

    def set_last(self, place: int, text: str) -> None:
        """Notes that."""
        path = f"{self._folder}/last_reserved_ip.{place}"
        try:
            self._write(self._part, text)
            posix.rename(self._part, path)
        except OSError as error:
            raise StoreError(f"ipam.dataDir: cannot write {path}: {error.strerror}") from None
