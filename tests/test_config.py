"""Configs become JSON and come back equal; what does not fit is refused by name."""

import json
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from lab import runs
from lab.config import Above, AtLeast, AtMost, Below, from_json, shown, to_json, validate
from lab.nn.config import TransformerConfig
from lab.train import TrainConfig


@dataclass(frozen=True)
class Circle:
    radius: float


@dataclass(frozen=True)
class Square:
    side: float
    label: str | None = None


@dataclass(frozen=True)
class Drawing:
    shape: Circle | Square
    first: Circle
    spare: Square | None = None
    size: tuple[int, int] = (1, 2)
    scales: tuple[float, ...] = ()
    other: Any = None


DRAWING = Drawing(Square(0.1, "a"), Circle(3), Square(1e-300), (5, 6), (1.5, 2, 1 / 3))
CONFIGS = [
    DRAWING,
    Drawing(Circle(1.0), Circle(2.0)),
    TransformerConfig(vocab_size=7, width=12, num_heads=3, num_key_value_heads=1, rotary_base=1 / 7),
    TrainConfig(steps=3, other_lr=1, optimizer="adamw", compile=True, evaluate_every=2, patience=1),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_comes_back_equal_and_prints_the_same(config):
    text = json.dumps(to_json(config))
    again = from_json(type(config), json.loads(text))
    assert again == config and repr(again) == repr(config) and json.dumps(to_json(again)) == text


def test_only_where_there_is_a_choice_is_the_kind_written_and_what_is_left_out_takes_its_default():
    values = to_json(DRAWING)
    assert values["shape"] == {"kind": "Square", "side": 0.1, "label": "a"}
    assert values["first"] == {"radius": 3}
    assert from_json(TrainConfig, {"steps": 5}) == TrainConfig(steps=5)


@dataclass(frozen=True)
class Sizes:
    width: Annotated[int, AtLeast(1)] = 64
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.0
    rate: Annotated[float, Above(0)] | None = None
    share: Annotated[float, AtMost(1)] = 1
    norm: Literal["rms", "layer"] = "rms"
    tied: bool = False

    __post_init__ = validate


@pytest.mark.parametrize(
    "field, refused, allowed",
    [
        ("width", (0, -1, 1.0, True, "8", None), (1, 10**12)),
        ("dropout", (-0.1, 1, 1.0, math.nan, "0", True), (0, 0.5, 0.999)),
        ("rate", (0, -1.0, math.inf, False), (None, 1, 1e-300)),
        ("share", (1.1, math.nan), (1, -5, 0.3)),
        ("norm", ("batch", None, 1), ("rms", "layer")),
        ("tied", (0, 1, "yes", None), (True, False)),
    ],
)
def test_a_config_refuses_what_its_annotations_do_not_allow_and_names_the_field(field, refused, allowed):
    for value in refused:
        with pytest.raises(ValueError, match=f"{field} must be .*got {re.escape(repr(value))}"):
            Sizes(**{field: value})
    for value in allowed:
        assert getattr(Sizes(**{field: value}), field) == value


def test_a_long_value_is_shown_by_its_beginning():
    with pytest.raises(ValueError, match=r"corpus must be .*got \['abc', 'abc'.*\.\.\.$") as error:
        runs.Data(corpus=["abc"] * 50_000)
    assert len(str(error.value)) < 150
    assert shown("a" * 58) == f"'{'a' * 58}'" and shown(None) == "None"


def drawing(**change):
    return lambda: from_json(Drawing, to_json(DRAWING) | change)


REFUSED = [
    (drawing(colour=1), "colour"),
    (drawing(first=None), "first"),
    (drawing(first={}), "radius"),
    (drawing(first={"radius": "3"}), "radius"),
    (drawing(first={"radius": True}), "radius"),
    (drawing(spare={"side": 1, "label": 2}), "label"),
    (drawing(shape={"side": 1}), "Circle or Square"),
    (drawing(shape={"kind": "Star"}), "Star"),
    (drawing(shape=[1]), "shape"),
    (drawing(size=[1, 2, 3]), "size"),
    (drawing(size=[1, 2.0]), "size"),
    (drawing(size="ab"), "size"),
    (drawing(scales=[1, None]), "scales"),
    *[(lambda values=values: from_json(Drawing, values), "Drawing") for values in ({}, [1], None, "x")],
    (lambda: from_json(TransformerConfig, {"vocab_size": 5, "width": 5}), "width 5"),
]


@pytest.mark.parametrize(("call", "named"), REFUSED)
def test_what_does_not_fit_is_refused_by_its_name(call, named):
    with pytest.raises(ValueError, match=named):
        call()


class Foreign:
    """What somebody made elsewhere."""

    def __init__(self, slope=2):
        self.slope = slope

    def to_json(self):
        return {"slope": self.slope}


def test_what_comes_from_outside_is_kept_by_name_and_asked_for_again():
    values = json.loads(json.dumps(to_json(Drawing(Circle(1.0), Circle(2.0), other=Foreign(5)))))
    assert values["other"]["settings"] == {"slope": 5} and len(values["other"]["source"]) == 64
    assert from_json(Drawing, values, outside=[Foreign]).other.slope == 5
    with pytest.raises(ValueError, match="Foreign"):
        from_json(Drawing, values)
