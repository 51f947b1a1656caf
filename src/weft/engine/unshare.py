"""A command in new namespaces that are given a name, so that they can be entered again."""

from __future__ import annotations

from weft.core.model.errors import WeftError
from weft.core.ops.netns import NetnsAttach, NsBind
from weft.core.plan.plan import Plan
from weft.engine import namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.boundary import Process
    from weft.core.model.enter import Command
    from weft.core.model.unshare import Fresh
    from weft.core.ops.base import Op
    from weft.engine.work import Work


def kept(work: Work, name: str, fresh: Fresh) -> Fresh:
    """With the places where they are kept: the network namespace where ``ip netns`` looks, others beside each
    other."""
    folder = f"{work.machine.run_dir}/ns/{name}"
    places = [(t, f"/run/netns/{name}" if t == "net" else f"{folder}/{t}") for t in fresh.types]
    return fresh._replace(files=tuple(places))


def check(work: Work, name: str) -> None:
    """That the name can be given. BadInput, Conflict."""
    with work.machine.lock():
        work.recover()
        namespace.check_new(work, (name,))


def run(work: Work, name: str, fresh: Fresh, command: Command) -> int:
    """Runs a command in new namespaces of that name; its status. They outlive it, but for a pid namespace,
    which ends with its pid 1.

    When the command cannot be executed nothing is left. BadInput, Conflict, and what the machine raises.
    """
    child = _start(work, name, fresh, command)
    try:
        return work.machine.attend(child, fresh, command.argv[0])
    except WeftError:
        namespace.remove(work, (name,))
        raise


def _start(work: Work, name: str, fresh: Fresh, command: Command) -> Process:
    with work.machine.lock():
        work.recover()
        namespace.check_new(work, (name,))
        child = work.machine.start_unshared(fresh, command, work.say)
        try:
            ops: list[Op] = []
            for kind, path in fresh.files:
                source = f"/proc/{child.pid}/ns/{kind}"
                ops.append(NetnsAttach(name, source) if kind == "net" else NsBind(path, source))
            namespace.make(work, (name,), Plan(tuple(ops)), "made")
        except BaseException:
            child.cancel()
            raise
    return child
