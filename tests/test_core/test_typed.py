"""Dataclasses from JSON and YAML values, and what is said of wrong ones."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest

from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.core.typed import FormerNames, Range, current_names, decode, encode, expected


class Fit(enum.Enum):
    PAD = "pad"
    CROP = "crop"


class Span(NamedTuple):
    low: float
    high: Annotated[float, Range(minimum=0)]


_SPAN = Span(0.0, 1.0)


@dataclass(frozen=True)
class Part:
    width: Annotated[int, Range(minimum=1, maximum=9)]
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.rate > self.width:
            raise ValueError("rate above width")


@dataclass(frozen=True)
class Whole:
    name: str
    part: Part = field(default_factory=lambda: Part(3, 0.25))
    maybe: Part | None = None
    parts: tuple[Part, ...] = ()
    pair: tuple[int, str] = (0, "")
    names: list[str] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)
    by_layer: Mapping[int, float] = field(default_factory=dict)
    span: Span = _SPAN
    fit: Fit = Fit.PAD
    kind: Literal["a", "b", 1] = "a"
    mixed: int | str = 0
    path: Path = Path(".")
    color: Annotated[bool, FormerNames("colour")] = False
    anything: Any = None


@dataclass(frozen=True)
class Outer:
    inner: Whole


FULL = Whole(
    name="x",
    part=Part(4, 1.0),
    maybe=Part(2),
    parts=(Part(1, 0.0), Part(5, 5.0)),
    pair=(7, "seven"),
    names=["a"],
    ranks={"q": 8},
    by_layer={3: 0.5},
    span=Span(-math.inf, 2.0),
    fit=Fit.CROP,
    kind=1,
    mixed="text",
    path=Path("a/b"),
    color=True,
    anything={"k": [1, None]},
)


def test_what_was_written_is_read_back():
    assert decode(Whole, json.loads(json.dumps(encode(FULL), allow_nan=False)), "x.json") == FULL
    assert decode(Whole, {"name": "x"}, "x.json") == Whole("x")


def test_nothing_may_be_left_out_of_a_complete_value():
    assert decode(Part, {"width": 1, "rate": 1}, "x", complete=True) == Part(1, 1.0)
    with pytest.raises(ArtifactError, match="`rate`"):
        decode(Part, {"width": 1}, "x", complete=True)


def test_a_section_given_in_part_keeps_the_rest_of_its_default():
    assert decode(Whole, {"name": "", "part": {"width": 8}}, "x").part == Part(8, 0.25)
    assert decode(Whole, {"name": "", "part": {"rate": 3}}, "x").part == Part(3, 3.0)


@pytest.mark.parametrize(
    ("value", "key", "noun"),
    [
        ({}, "name", "a string"),
        ({"nam": 1, "name": ""}, "nam", "`name`"),
        ({"name": 3}, "name", "3"),
        ({"name": None}, "name", "None"),
        ({"name": "", "part": 3}, "part", "keys and values"),
        ({"name": "", "part": {"width": 10}}, "part.width", "10"),
        ({"name": "", "part": {"width": True}}, "part.width", "True"),
        ({"name": "", "part": {"width": 2.0}}, "part.width", "an integer"),
        ({"name": "", "part": {"rate": 4}}, "part", "rate above width"),
        ({"name": "", "part": {"rate": True}}, "part.rate", "a number"),
        ({"name": "", "part": {"rate": "1e-4"}}, "part.rate", "1e-4"),
        ({"name": "", "part": {"rate": 10**400}}, "part.rate", "a number"),
        ({"name": "", "maybe": {"rate": 1}}, "maybe.width", "missing"),
        ({"name": "", "parts": {}}, "parts", "a list"),
        ({"name": "", "parts": [{"width": 1}, {"width": 0}]}, r"parts\[1\].width", "at least 1"),
        ({"name": "", "pair": [1]}, "pair", "2"),
        ({"name": "", "pair": [1, 2]}, r"pair\[1\]", "a string"),
        ({"name": "", "names": "abc"}, "names", "a list"),
        ({"name": "", "ranks": {"q": "8"}}, "ranks.q", "an integer"),
        ({"name": "", "by_layer": {"x": 1}}, "by_layer.x", "an integer"),
        ({"name": "", "span": [0, -1]}, r"span\[1\]", "at least 0"),
        ({"name": "", "span": [0, "NaN"]}, r"span\[1\]", "nan|NaN"),
        ({"name": "", "fit": "crap"}, "fit", "Did you mean `crop`"),
        ({"name": "", "kind": True}, "kind", "'a'"),
        ({"name": "", "mixed": 1.5}, "mixed", "an integer or a string"),
        ({"name": "", "colour": True, "color": True}, "colour", "`color`"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(value, key, noun):
    with pytest.raises(ArtifactError, match=rf"^x\.json: `{key}`[\s\S]*({noun})"):
        decode(Whole, value, "x.json")


def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigError) as refused:
        decode(Whole, {"pat": 1, "names": [1, "a", 2]}, "x.yaml", error=ConfigError)
    assert len(refused.value.what.splitlines()) == 4
    assert "`path`" in refused.value.fix or "`part`" in refused.value.fix


def test_something_else_than_keys_and_values_is_refused():
    with pytest.raises(ArtifactError, match=r"^x\.json.*\[\]"):
        decode(Whole, [], "x.json")


def test_a_long_value_is_cut():
    with pytest.raises(ArtifactError) as refused:
        decode(Whole, {"name": ["word"] * 9999}, "x.json")
    assert len(str(refused.value)) < 200


def test_yaml_is_what_people_write():
    part = decode(Part, {"width": 1, "rate": "1e-4"}, "x.yaml", yaml=True)
    assert part.rate == 1e-4
    assert decode(Whole, {"name": None}, "x.yaml", yaml=True).name == ""


def test_former_names_become_current_ones_in_every_section():
    assert current_names(Outer, {"inner": {"colour": 1}}) == {"inner": {"color": 1}}
    assert current_names(Whole, {"colour": 1, "other": 2}) == {"color": 1, "other": 2}
    assert current_names(Whole, {"colour": 1, "color": 2}) == {"colour": 1, "color": 2}
    assert decode(Whole, {"name": "", "colour": True}, "x").color


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (Range(), [0, -1e300], [math.nan, math.inf, -math.inf]),
        (Range(minimum=0, below=1), [0, 0.99], [-1e-9, 1, 10**400]),
        (Range(above=0, maximum=1), [1e-9, 1], [0, 1.01, -(10**400)]),
    ],
)
def test_a_range_holds_what_lies_in_it(bounds, inside, outside):
    assert all(value in bounds for value in inside)
    assert not any(value in bounds for value in outside)


def test_what_is_expected_is_said_with_its_range():
    assert expected(Annotated[int, Range(minimum=1, maximum=65_536)]) == (
        "an integer at least 1 and at most 65,536"
    )
