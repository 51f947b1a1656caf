"""Terminals: received from a container, made raw, measured, and passed through (termios(3), ioctl_tty(2))."""

from __future__ import annotations

import posix
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC
from _socket import SocketType as Socket
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any
else:
    import _signal as signal  # as in linux/process

_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414
_CHUNK = 1 << 14
_GONE = POLLERR | POLLHUP
#: What a terminal is put back before.
_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT)


def receive(console: Socket) -> int:
    """The end of a terminal that a container's process hands out (linux/pty.py). KernelError."""
    room = CMSG_SPACE(4)
    _, found, _, _ = console.recvmsg(1, room, MSG_CMSG_CLOEXEC)
    if not found:
        from weft.core.model.errors import KernelError

        raise KernelError("the container's process gave no terminal")
    return int.from_bytes(found[0][2][:4], "little")


def size(fd: int) -> tuple[int, int]:
    """Rows and columns; zeroes where it is no terminal."""
    from fcntl import ioctl

    try:
        raw = ioctl(fd, _TIOCGWINSZ, bytes(8))
    except OSError:
        return 0, 0
    return int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:4], "little")


def set_size(fd: int, rows: int, columns: int) -> None:
    """Tells a terminal its size, and its foreground processes by SIGWINCH; nothing where it is not known."""
    from fcntl import ioctl

    if rows and columns:
        try:
            ioctl(fd, _TIOCSWINSZ, b"".join([n.to_bytes(2, "little") for n in (rows, columns, 0, 0)]))
        except OSError:
            pass  # it has been hung up


class Raw:
    """``with Raw(fd):`` what is typed comes byte by byte, and nothing of it is a signal.

    It is as before again whatever happens, a signal that ends this program included. Nothing is changed where
    it is no terminal.
    """

    __slots__ = ("_before", "_fd", "_handlers")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Raw:
        import termios

        if not posix.isatty(self._fd):
            return self
        self._before = termios.tcgetattr(self._fd)
        for number in _ENDS:
            self._handlers[number] = signal.signal(number, self._end)
        mode = termios.tcgetattr(self._fd)
        # cfmakeraw(3)
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)
        return self

    def _restore(self) -> None:
        import termios

        if self._before is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            except termios.error:
                pass  # it has been hung up
            self._before = None

    def _end(self, number: int, _: object) -> None:
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        posix.kill(posix.getpid(), number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


class Keys:
    """Looks for the detach keys in what is typed. What may be their beginning is kept back for a moment."""

    __slots__ = ("_held", "_keys")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def take(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be passed on, and whether the keys have been typed."""
        data = self._held + data
        place = data.find(self._keys) if self._keys else -1
        if place >= 0:
            return data[:place], True
        held = next((n for n in range(len(self._keys) - 1, 0, -1) if data.endswith(self._keys[:n])), 0)
        self._held = data[len(data) - held :]
        return data[: len(data) - held], False


class Ends:
    """What one who looks at a command has: standard streams, the keys that leave it, its signals.

    ``terminal``: the command has one, and this one's is to be raw. ``stdin``: what is typed goes to it.
    """

    __slots__ = ("_wakes", "keys", "stdin", "terminal", "winch")

    def __init__(self, terminal: bool, stdin: bool, keys: bytes) -> None:
        self.terminal, self.stdin = terminal, stdin
        self.keys = Keys(keys if terminal else b"")
        self._wakes = -1
        self.winch = False

    def listen(self) -> int:
        """A descriptor that becomes readable when the window's size changes."""
        self._wakes, wake = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGWINCH, lambda *_: None)
        return self._wakes

    def size(self) -> tuple[int, int]:
        """That of our terminal."""
        found = size(0)
        return found if found[0] else size(1)


def write_all(fd: int, data: bytes) -> None:
    """All of it, also where that has to wait. OSError."""
    while data:
        try:
            data = data[posix.write(fd, data) :]
        except BlockingIOError:
            waiting = poll()
            waiting.register(fd, POLLOUT)
            waiting.poll()


def look_on(sock: Socket, ends: Ends) -> int | None:
    """Passes all through between a monitor's socket (services/attached) and our streams.

    The command's status; -1 when the detach keys were typed, None when the monitor has gone.
    """
    with Raw(0 if ends.terminal and ends.stdin else -1):
        return _Looking(sock, ends).run()


class _Looking:
    __slots__ = ("_code", "_ends", "_sock", "_stdin", "_wakes")

    def __init__(self, sock: Socket, ends: Ends) -> None:
        self._sock, self._ends = sock, ends
        self._stdin = ends.stdin
        self._code: int | None = None
        self._wakes = ends.listen()

    def run(self) -> int | None:
        self._resize()
        while True:
            waiting = poll()
            waiting.register(self._wakes, POLLIN)
            waiting.register(self._sock.fileno(), POLLIN)
            if self._stdin:
                waiting.register(0, POLLIN)
            ready = dict(waiting.poll())
            if self._wakes in ready:
                posix.read(self._wakes, 1 << 12)
                self._resize()
            if self._sock.fileno() in ready and not self._hear():
                return self._code
            if 0 in ready and self._type():
                return -1

    def _resize(self) -> None:
        if self._ends.terminal:
            rows, columns = self._ends.size()
            if rows:
                self._send(f"w{rows} {columns}".encode())

    def _send(self, packet: bytes) -> None:
        """The socket blocks while the command does not read: there is nobody else to serve."""
        try:
            self._sock.send(packet)
        except OSError:
            self._stdin = False  # the end comes by what is read

    def _type(self) -> bool:
        """Passes on what was typed; whether the detach keys were."""
        try:
            data = posix.read(0, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._stdin = False
            if not self._ends.terminal:
                self._send(b"e")
            return False
        data, leave = self._ends.keys.take(data)
        if data:
            self._send(b"i" + data)
        return leave

    def _hear(self) -> bool:
        """Shows what the command wrote; whether there is more to come."""
        try:
            packet = self._sock.recv(1 << 17)
        except OSError:
            packet = b""
        word, data = packet[:1], packet[1:]
        if word == b"x":
            self._code = int(data)
        elif word in (b"o", b"r"):
            write_all(1 if word == b"o" else 2, data)
        return bool(packet)


def relay(master: int, ends: Ends, ended: Callable[[], int | None], child: int) -> int | None:
    """The same for a terminal of which we have the master's end, and a child that has the other.

    Its status (``ended`` reaps it); None when the detach keys were typed.
    """
    with Raw(0 if ends.stdin else -1):
        return _Relay(master, ends, child).run(ended)


class _Relay:
    __slots__ = ("_ended", "_ends", "_master", "_open", "_stdin", "_typed", "_wakes")

    def __init__(self, master: int, ends: Ends, child: int) -> None:
        self._master, self._ends = master, ends
        self._ended = posix.pidfd_open(child)
        self._stdin = ends.stdin
        self._open = True
        self._typed = b""
        self._wakes = ends.listen()
        posix.set_blocking(master, False)

    def run(self, ended: Callable[[], int | None]) -> int | None:
        set_size(self._master, *self._ends.size())
        while True:
            ready = dict(self._awaited().poll())
            if self._wakes in ready:
                posix.read(self._wakes, 1 << 12)
                set_size(self._master, *self._ends.size())
            if 0 in ready and self._type():
                return None
            if self._typed:
                self._pass_on()
            if ready.get(self._master, 0) & (POLLIN | _GONE):
                self._show()
            if self._ended in ready:
                while self._open and self._show():
                    pass
                return ended()

    def _awaited(self) -> Any:
        waiting = poll()
        for fd in (self._wakes, self._ended):
            waiting.register(fd, POLLIN)
        if self._stdin and not self._typed:
            waiting.register(0, POLLIN)
        if self._open:
            waiting.register(self._master, POLLIN | (POLLOUT if self._typed else 0))
        return waiting

    def _type(self) -> bool:
        try:
            data = posix.read(0, _CHUNK)
        except OSError:
            data = b""
        self._stdin = bool(data)
        self._typed, leave = self._ends.keys.take(data)
        return leave

    def _pass_on(self) -> None:
        try:
            self._typed = self._typed[posix.write(self._master, self._typed) :]
        except BlockingIOError:
            pass
        except OSError:
            self._typed = b""

    def _show(self) -> bool:
        """Shows a piece of what there is; whether there was any."""
        try:
            data = posix.read(self._master, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            self._open = False  # EIO: nobody has the other end
            return False
        write_all(1, data)
        return bool(data)


def drain(master: int) -> None:
    """Reads a terminal that nobody looks at any more, until nobody writes to it."""
    posix.set_blocking(master, True)
    try:
        while posix.read(master, _CHUNK):
            pass
    except OSError:
        pass
