"""Inside a namespace beside a program that stays outside: in a thread of its own, or in a child."""

from __future__ import annotations

import os

from weft.core.model.errors import WeftError
from weft.linux import enter, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVar

    from weft.core.model.enter import Way

    T = TypeVar("T")


def beside(way: Way, action: Callable[[], T]) -> T:
    """Runs ``action`` in a thread that has joined, and that ends with it; its result, or its exception.

    User and time namespaces cannot be joined by one thread of many (setns(2)).
    """
    # Without ``threading``, whose threads tell when they have started: that takes as long as all else here.
    from _thread import allocate_lock, start_new_thread

    found: list[T] = []
    failed: list[BaseException] = []
    ended = allocate_lock()
    ended.acquire()

    def inside() -> None:
        try:
            _join(way)
            found.append(action())
        except BaseException as error:
            failed.append(error)
        finally:
            ended.release()

    start_new_thread(inside, ())
    ended.acquire()
    if failed:
        raise failed[0]
    return found[0]


def _join(way: Way) -> None:
    """A thread that shares its directory with others cannot have a mount namespace of its own."""
    if not way.pid and not way.view and "mnt" not in dict(way.files):
        enter.join(way, lambda _: None)
        return
    home = os.getcwd()
    libc.unshare(libc.CLONE_FS)
    if "mnt" in enter.join(way, lambda _: None):
        _go_home(home)


def _go_home(home: str) -> None:
    try:
        os.chdir(home)
    except OSError:
        os.chdir("/")


def apart(way: Way, action: Callable[[], T]) -> T:
    """Runs ``action`` in a forked child that has joined; its result, or its exception, comes back pickled.

    WeftError when the child ends without a word, or what it says cannot be pickled.
    """
    import pickle
    import sys

    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or the child would write it too
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _child(way, action, write)
    os.close(write)
    with open(read, "rb") as file:
        data = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not data:
        raise WeftError(f"the call in {way.shown} ended with status {status} and no result")
    good, value = pickle.loads(data)
    if not good:
        raise value
    result: T = value
    return result


def _child(way: Way, action: Callable[[], object], write: int) -> NoReturn:
    try:
        try:
            if "pid" in enter.join(way, lambda _: None):
                _be_inside(write)
            said = (True, action())
        except BaseException as error:
            said = (False, error)
        _answer(write, said)
    finally:
        os._exit(0)


def _be_inside(write: int) -> None:
    """Whoever joins a pid namespace is outside; a child is inside. Only that one returns."""
    pid = os.fork()
    if pid == 0:
        return
    os.close(write)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def _answer(write: int, said: tuple[bool, object]) -> None:
    import pickle
    import sys

    try:
        data = pickle.dumps(said)
        pickle.loads(data)  # exceptions may be pickled and yet not come back
    except Exception as error:
        what = f"{type(said[1]).__name__}: {said[1]}" if not said[0] else f"a {type(said[1]).__name__}"
        data = pickle.dumps((False, WeftError(f"the call's {what} cannot be handed over: {error}")))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with open(write, "wb") as file:
        file.write(data)
