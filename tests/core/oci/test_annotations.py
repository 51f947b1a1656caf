"""What annotations ask for, before anything is looked up."""

from __future__ import annotations

import pytest

from weft.core.model.errors import BadInput
from weft.core.oci.state import ContainerState, read_state, write_state
from weft.engine.hook import networks, wanted
from weft.frontends.cli.run import _join


def asked(**notes: str) -> ContainerState:
    named = tuple([(f"weft.{key}", value) for key, value in notes.items()])
    return ContainerState("web", "created", 5, "/b", (*named, ("org.example", "x")))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("blue", ["blue"]),
        ("blue,red", ["blue", "red"]),
        ("blue; red ;", ["blue", "red"]),
        ("blue:ip=10.0.0.2,alias=a;red", ["blue:ip=10.0.0.2,alias=a", "red"]),
        ("", []),
        (";,", []),
    ],
)
def test_networks(text: str, found: list[str]) -> None:
    assert networks(text) == found


def test_all_annotations() -> None:
    found = wanted(asked(network="blue:ip=10.0.0.2;red", publish="80:80; 53:53/udp", hostname="shop"), _join)
    assert [j.network for j in found.joins] == ["blue", "red"]
    assert found.joins[0].addresses == ("10.0.0.2",)
    assert [(p.host_port, p.proto) for p in found.publish] == [(80, "tcp"), (53, "udp")]
    assert found.hostname == "shop"
    assert wanted(asked(), _join).joins == ()


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ({"networks": "blue"}, "annotation weft.networks is not known"),
        ({"network": "blue,blue"}, "blue is given twice"),
        ({"network": "blue:colour=red"}, "is not one of ip, mac"),
        ({"network": "blue:ip=x"}, "'x'"),
        ({"network": "blue", "publish": "80:80:80:80"}, "80:80:80:80"),
        ({"publish": "8080:80"}, "weft.publish needs weft.network"),
        ({"network": "blue", "hostname": "-x"}, "-x"),
    ],
)
def test_annotations_that_mean_nothing(notes: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        wanted(asked(**notes), _join)


def test_a_state_is_told_as_it_is_read() -> None:
    for state in (asked(network="blue"), ContainerState("x", "stopped", 0, "/b", ())):
        assert read_state(write_state(state)) == state._replace(annotations=state.annotations or ())
