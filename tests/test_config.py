"""Configs become JSON and come back equal; what does not fit is refused by name."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from lab.config import from_json, to_json
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


@pytest.mark.parametrize(
    "config",
    [
        DRAWING,
        Drawing(Circle(1.0), Circle(2.0)),
        TransformerConfig(vocab_size=7, width=12, num_heads=3, num_key_value_heads=1, rotary_base=1 / 7),
        TrainConfig(steps=3, other_lr=1, optimizer="adamw", compile=True, evaluate_every=2, patience=1),
    ],
)
def test_a_config_comes_back_equal_and_prints_the_same(config):
    text = json.dumps(to_json(config))
    again = from_json(type(config), json.loads(text))
    assert again == config and repr(again) == repr(config)
    assert json.dumps(to_json(again)) == text


def test_only_where_there_is_a_choice_is_the_kind_written():
    values = to_json(DRAWING)
    assert values["shape"] == {"kind": "Square", "side": 0.1, "label": "a"}
    assert values["first"] == {"radius": 3}


def test_a_field_declared_any_is_read_as_the_class_that_is_given():
    values = to_json(Drawing(Circle(1.0), Circle(2.0), other=Square(4.0)))
    assert from_json(Drawing, values, types={"other": Square}).other == Square(4.0)


def test_what_is_left_out_takes_its_default():
    assert from_json(TrainConfig, {"steps": 5}) == TrainConfig(steps=5)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"colour": 1}, r"Drawing: unknown keys \['colour'\]; Drawing has .*'shape'"),
        ({"first": None}, r"Drawing.first: expected an object with the fields of Circle, got None"),
        ({"first": {}}, r"Drawing.first: the keys \['radius'\] are missing; Circle needs \['radius'\]"),
        ({"first": {"radius": "3"}}, r"Drawing.first.radius: expected float, got '3'"),
        ({"first": {"radius": True}}, r"Drawing.first.radius: expected float, got True"),
        ({"spare": {"side": 1, "label": 2}}, r"Drawing.spare.label: expected str or None, got 2"),
        ({"shape": {"side": 1}}, r"Drawing.shape: expected an object of kind Circle or Square, got"),
        (
            {"shape": {"kind": "Star"}},
            r"Drawing.shape: expected an object of kind Circle or Square, got 'Star'",
        ),
        ({"size": [1, 2, 3]}, r"Drawing.size: expected tuple.*, got \[1, 2, 3\]"),
        ({"size": [1, 2.0]}, r"Drawing.size\[1\]: expected int, got 2.0"),
        ({"size": "ab"}, r"Drawing.size: expected tuple.*, got 'ab'"),
        ({"scales": [1, None]}, r"Drawing.scales\[1\]: expected float, got None"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(change, said):
    with pytest.raises(ValueError, match=said):
        from_json(Drawing, to_json(DRAWING) | change)


def test_missing_keys_and_other_things_than_objects_are_refused():
    with pytest.raises(ValueError, match=r"the keys \['first', 'shape'\] are missing"):
        from_json(Drawing, {})
    with pytest.raises(ValueError, match="expected an object"):
        from_json(Drawing, [1])


def test_the_configs_own_checks_still_hold():
    with pytest.raises(ValueError, match="width 5 does not split"):
        from_json(TransformerConfig, {"vocab_size": 5, "width": 5})
