"""A plan: operations in order, what takes them back, and how both are written to the journal."""

from __future__ import annotations

from weft.core.ops.base import Final, Op
from weft.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.core.model.oci import Spec


class Plan(Record):
    """Operations in the order of doing. ``undo`` is their way back, last first."""

    ops: tuple[Op, ...]

    def undo(self) -> Plan:
        """The plan that takes this one back: what cannot or need not be undone is left out."""
        return Plan(tuple([u for u in [op.undo() for op in reversed(self.ops)] if not isinstance(u, Final)]))

    def describe(self) -> str:
        """One line an operation."""
        return "".join([op.describe() + "\n" for op in self.ops])


def batched(plans: Sequence[tuple[Op, ...]], size: int = 200) -> Plan:
    """Many like plans as one, ``size`` at a time side by side: equal steps become neighbours, so
    that the hands send them together. The order within each plan stays.

    ``size`` bounds the descriptors that are open at once (two a namespace).
    """
    ops: list[Op] = []
    for start in range(0, len(plans), size):
        chunk = [(_stage(op), op) for plan in plans[start : start + size] for op in plan]
        chunk.sort(key=lambda pair: pair[0])
        ops += [op for _, op in chunk]
    return Plan(tuple(ops))


_STAGES = {
    **dict.fromkeys(("OwnHosts", "EtcNetns"), 0),
    **dict.fromkeys(("NetnsAdd", "NetnsAttach"), 1),
    **{"VethAdd": 2, "SublinkAdd": 2, "ElementAdd": 3},
    **dict.fromkeys(("HostsAdd", "HostsSwitch"), 9),
    "HostsCopy": 10,
}


def _stage(op: Op) -> int:
    """What comes before what in an attach; everything inside the namespace is one stage."""
    return _STAGES.get(type(op).__name__, 5)


def _pack(value: Any) -> Any:
    if isinstance(value, Record):
        kind = type(value)
        return ("@", kind.__module__, kind.__name__, *[_pack(v) for v in value._astuple()])
    if isinstance(value, tuple):
        return tuple([_pack(v) for v in value])
    return value


def dump(plan: Plan) -> str:
    """The plan as the text of a Python literal: only tuples, strings, numbers, None."""
    return repr(_pack(plan.ops))


def dump_value(value: Record | tuple[Record, ...]) -> str:
    """A value as such a text."""
    return repr(_pack(value))


def load_value(text: str) -> Any:
    """The value that ``dump_value`` wrote. ValueError or SyntaxError when the text is not one."""
    return _load(text, "a value")


def dump_spec(spec: Spec) -> str:
    """A Spec as such a text."""
    return repr(_pack(spec))


def load_spec(text: str) -> Spec:
    """The Spec that ``dump_spec`` wrote. ValueError or SyntaxError when the text is not one."""
    from weft.core.model.oci import Spec  # much to import, and not for every command

    spec = _load(text, "a spec")
    if not isinstance(spec, Spec):
        raise ValueError("the text is not a spec")
    return spec


def _load(text: str, what: str) -> Any:
    import _ast  # its types take the interpreter a millisecond to make

    try:
        tree: Any = compile(text, what, "eval", _ast.PyCF_ONLY_AST)
        return _unpack(_literal(tree.body))
    except (ArithmeticError, AttributeError, ImportError, LookupError, MemoryError, RecursionError) as error:
        raise ValueError(f"the text is not {what} ({type(error).__name__})") from None
    except TypeError as error:
        raise ValueError(f"the text is not {what} ({error})") from None


def _literal(node: Any) -> Any:
    """As ast.literal_eval, without the 4 ms of importing it, and less of it."""
    import _ast

    if isinstance(node, _ast.Constant):
        return node.value
    if isinstance(node, _ast.Tuple):
        return tuple([_literal(one) for one in node.elts])
    if isinstance(node, _ast.UnaryOp) and isinstance(node.op, _ast.USub):
        value = _literal(node.operand)
        if type(value) is int:
            return -value
    raise ValueError(f"{type(node).__name__} is not a literal of it")


def _unpack(value: Any) -> Any:
    if not isinstance(value, tuple):
        if value is None or isinstance(value, (str, int, bytes)):
            return value
        raise ValueError(f"{type(value).__name__} is not a value of a plan")
    if not value or value[0] != "@":
        return tuple([_unpack(v) for v in value])
    module, name = str(value[1]), str(value[2])
    if not module.startswith("weft.core."):
        raise ValueError(f"{module} is not a module of values")
    kind = getattr(__import__(module, fromlist=[name]), name)
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise ValueError(f"{module}.{name} is not a value")
    return kind(*[_unpack(v) for v in value[3:]])


def load(text: str) -> Plan:
    """The plan that ``dump`` wrote. ValueError or SyntaxError when the text is not one."""
    ops = _load(text, "a plan")
    if not isinstance(ops, tuple) or not all(isinstance(op, Op) and type(op) is not Op for op in ops):
        raise ValueError("the text is not a plan")
    return Plan(ops)
