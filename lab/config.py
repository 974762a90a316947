"""Configs, small frozen dataclasses, as plain JSON values and back: nothing lost, nothing guessed."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NUMBERS = (int, float)


def to_json(config) -> dict:
    """A dataclass as a dict that `json` can write: nested ones as dicts too, tuples as lists.

    Where a field may hold one of several dataclasses, its dict carries `"kind"`, the name of its class.

    >>> from lab.nn.config import TransformerConfig
    >>> to_json(TransformerConfig(vocab_size=10))["width"]
    192
    """
    hints = get_type_hints(type(config))
    return {f.name: _plain(getattr(config, f.name), hints[f.name]) for f in fields(config)}


def from_json(cls, values: Mapping, types: Mapping[str, type] | None = None):
    """The config of class `cls` that `to_json` made `values` of.

    `types` says the class of a field that is declared `Any`. Keys that are left out take the field's default, so a
    config written before a field was added can still be read.

    Raises ValueError for an unknown key, a missing one without default, and a value of another type; the
    message names the key with its place, what was given and what was expected.
    """
    return _dataclass(cls, values, cls.__name__, types or {})


def _plain(value, hint):
    if is_dataclass(value):
        kind = {"kind": type(value).__name__} if len(_dataclasses(hint)) > 1 else {}
        return kind | to_json(value)
    if isinstance(value, tuple):
        return [_plain(item, Any) for item in value]
    return value


def _dataclass(cls, values, place: str, types: Mapping[str, type]):
    if not isinstance(values, Mapping):
        raise ValueError(f"{place}: expected an object with the fields of {cls.__name__}, got {values!r}")
    known = {f.name: f for f in fields(cls)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"{place}: unknown keys {unknown}; {cls.__name__} has {sorted(known)}")
    needed = {f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(needed - values.keys()):
        raise ValueError(f"{place}: the keys {missing} are missing; {cls.__name__} needs {sorted(needed)}")
    hints = get_type_hints(cls) | dict(types)
    try:
        return cls(**{name: _typed(value, hints[name], f"{place}.{name}") for name, value in values.items()})
    except TypeError as error:  # a comparison in a __post_init__
        raise ValueError(f"{place}: {error}") from None


def _typed(value, hint, place: str):
    """`value` as the annotation `hint` has it, or a ValueError."""
    if hint is Any:
        return value
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and NoneType in options:
        return None
    if classes := _dataclasses(hint):
        return _one_of(classes, value, place)
    for option in options:
        if get_origin(option) is tuple and isinstance(value, list | tuple):
            items = get_args(option)
            items = items[:1] * len(value) if items[1:] == (...,) else items
            if len(items) == len(value):
                pairs = enumerate(zip(value, items, strict=True))
                return tuple(_typed(item, kind, f"{place}[{i}]") for i, (item, kind) in pairs)
        elif get_origin(option) is Literal and any(
            value == one and type(value) is type(one) for one in get_args(option)
        ):
            return value
        elif option is float and isinstance(value, NUMBERS) and not isinstance(value, bool):
            return value  # a whole number stays one, so that what comes back is equal and prints the same
        elif option in (bool, int, str) and type(value) is option:
            return value
    expected = " or ".join(map(_name, options))
    raise ValueError(f"{place}: expected {expected}, got {value!r}")


def _name(option) -> str:
    if get_origin(option) is Literal:
        return f"one of {', '.join(map(repr, get_args(option)))}"
    return "None" if option is NoneType else getattr(option, "__name__", str(option))


def _one_of(classes: dict[str, type], value, place: str):
    """The dataclass that `value` is: the only one there can be, or that of its `"kind"`."""
    if len(classes) == 1:
        return _dataclass(*classes.values(), value, place, {})
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in classes:
        raise ValueError(f"{place}: expected an object of kind {' or '.join(classes)}, got {kind or value!r}")
    return _dataclass(classes[kind], {k: v for k, v in value.items() if k != "kind"}, place, {})


def _dataclasses(hint) -> dict[str, type]:
    """The dataclasses that a field annotated `hint` can hold, by name."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return {option.__name__: option for option in options if is_dataclass(option)}
