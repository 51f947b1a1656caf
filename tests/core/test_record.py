"""Records: frozen, compared by class and fields, built like a frozen dataclass."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.record import Record


class Point(Record):
    x: int
    y: int = 0


class Pixel(Point):
    colour: str = "black"
    kind = "no annotation, no field"


class Other(Record):
    x: int
    y: int = 0


@pytest.mark.parametrize(
    ("built", "fields"),
    [
        (Point(1), (1, 0)),
        (Point(1, 2), (1, 2)),
        (Point(y=2, x=1), (1, 2)),
        (Point(1, y=2), (1, 2)),
        (Pixel(1), (1, 0, "black")),
        (Pixel(1, 2, "red"), (1, 2, "red")),
        (Pixel(1, colour="red"), (1, 0, "red")),
    ],
)
def test_fields_in_order_with_their_defaults(built: Record, fields: tuple[Any, ...]) -> None:
    assert built._astuple() == fields


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "needs the field 'x'"),
        ((1, 2, 3), {}, "takes 2 fields, got 3"),
        ((1,), {"z": 3}, "has no field 'z'"),
        ((1,), {"x": 3}, "has no field 'x'"),
        ((), {"y": 1}, "needs the field 'x'"),
    ],
)
def test_wrong_fields_are_refused(args: tuple[Any, ...], kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Point(*args, **kwargs)


def test_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del point.x
    with pytest.raises(AttributeError):
        point.z = 2
    assert point == Point(1)


def test_no_dict_behind_the_slots() -> None:
    assert not hasattr(Pixel(1), "__dict__")


def test_another_class_with_the_same_fields_is_another_value() -> None:
    assert Point(1, 2) != Other(1, 2)
    assert Point(1, 2) != (1, 2)
    assert len({Point(1, 2), Other(1, 2), Point(1, 2)}) == 2


@given(st.integers(), st.integers(), st.integers())
def test_equal_fields_are_equal_values(x: int, y: int, z: int) -> None:
    assert (Point(x, y) == Point(x, z)) == (y == z)
    assert hash(Point(x, y)) == hash(Point(x, y))


def test_replace_gives_a_new_value_of_the_same_class() -> None:
    old = Pixel(1, 2)
    new = old._replace(colour="red")
    assert (type(new), new._astuple()) == (Pixel, (1, 2, "red"))
    assert old.colour == "black"
    with pytest.raises(TypeError, match="no field"):
        old._replace(weight=3)


def test_repr_is_the_way_to_build_it() -> None:
    pixel = Pixel(1, 2, "it's")
    assert eval(repr(pixel)) == pixel


def test_copies() -> None:
    """A value that cannot be copied surprises: copy and deepcopy give the same value."""
    pixel = Pixel(1, 2)
    assert copy.copy(pixel) == pixel
    assert copy.deepcopy(pixel) == pixel
    assert pickle.loads(pickle.dumps(Point(3, 4))) == Point(3, 4)
