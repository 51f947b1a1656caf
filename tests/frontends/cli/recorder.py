"""Runs a program and notes what it imports: ``python3 -IS recorder.py FILE PROGRAM ARGUMENTS...``.

FILE gets a line for each module: ``asked NAME`` where weft's own code imports it, ``loaded NAME PATH``
where it is there in the end, for whatever reason. It is written at the exit or exec of the process that was
started, not of its children. Nothing is imported here that the interpreter has not loaded by itself.
"""

import builtins
import posix
import sys

notes, program, *arguments = sys.argv[1:]
started = posix.getpid()
asked: set[str] = set()
real_import, real_exit, real_execve = builtins.__import__, posix._exit, posix.execve


def noting_import(
    name: str, globals: dict | None = None, locals: object = None, fromlist: tuple = (), level: int = 0
) -> object:
    module = real_import(name, globals, None, fromlist, level)
    if str((globals or {}).get("__name__")).partition(".")[0] in ("weft", "__main__"):
        asked.add(name)
        asked.update([f"{name}.{part}" for part in fromlist or () if f"{name}.{part}" in sys.modules])
    return module


def note() -> None:
    if posix.getpid() != started:
        return
    lines = [f"asked {name}\n" for name in asked]
    lines += [f"loaded {name} {getattr(m, '__file__', None)}\n" for name, m in sys.modules.items()]
    with open(notes, "w", encoding="utf-8") as file:
        file.writelines(lines)


def noting_exit(status: int) -> None:
    note()
    real_exit(status)


def noting_execve(path: str, argv: list[str], env: dict[str, str]) -> None:
    note()
    real_execve(path, argv, env)


with open(program, encoding="utf-8") as file:
    code = compile(file.read(), program, "exec")
setattr(posix, "_exit", noting_exit)  # noqa: B010  # not known to the type checker as variables
setattr(posix, "execve", noting_execve)  # noqa: B010
setattr(builtins, "__import__", noting_import)  # noqa: B010
sys.argv = [program, *arguments]
exec(code, {"__name__": "__main__", "__file__": program})
