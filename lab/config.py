"""Configs: small frozen dataclasses that check themselves against their annotations, and go to JSON and back."""

import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from lab.outside import class_name, find_outside, source_hash


@dataclass(frozen=True)
class Bound:
    """What a number must be: `AtLeast(1)`, `Above(0)`, `Below(1)`, `AtMost(1)`."""

    words: str
    holds: Callable[[float, float], bool]
    limit: float


AtLeast = partial(Bound, "of at least", operator.ge)
Above = partial(Bound, "above", operator.gt)
Below = partial(Bound, "below", operator.lt)
AtMost = partial(Bound, "of at most", operator.le)
OR_OUTSIDE = (
    "or an object with to_json"  # `Annotated[Literal["bpe", "word"], OR_OUTSIDE]` takes one that is not lab's
)

KINDS = {int: "a whole number", float: "a number", str: "a string", NoneType: "None", bool: "True or False"}


def validate(config) -> None:
    """Raise a ValueError for a field whose value its annotation does not allow; made to be a `__post_init__`.

    An int is not a bool; a float may be written as an int, but is finite.

    >>> @dataclass(frozen=True)
    ... class Sizes:
    ...     width: Annotated[int, AtLeast(1)] = 64
    ...     dropout: Annotated[float, AtLeast(0), Below(1)] = 0.0
    ...     norm: Literal["rms", "layer"] = "rms"
    ...     __post_init__ = validate
    >>> Sizes(width=0)
    Traceback (most recent call last):
    ValueError: width must be a whole number of at least 1, got 0
    """
    for name, hint in annotations(type(config)).items():
        value = getattr(config, name)
        if not _fits(value, hint):
            raise ValueError(f"{name} must be {_said(hint)}, got {shown(value)}")


def shown(value, most: int = 60) -> str:
    """What a message shows of a value, the beginning of a long one: `[1, 1, 1, 1, ...`; it may be a whole corpus."""
    return f"{value!r:.{most}}{'...' * (len(repr(value)) > most)}"


def to_json(config) -> dict:
    """A dataclass as a dict that `json` can write: nested ones as dicts too, tuples as lists.

    Where a field may hold one of several dataclasses, its dict carries `"kind"`, the name of its class. What comes
    from outside and has a `to_json` of its own is kept with the name of its class and the hash of its source.

    >>> from lab.nn import TransformerConfig
    >>> to_json(TransformerConfig(vocab_size=10))["width"]
    192
    """
    return {name: _plain(getattr(config, name), hint) for name, hint in annotations(type(config)).items()}


def from_json(cls, values: Mapping, outside: Sequence[type] = ()):
    """The config of class `cls` that `to_json` made `values` of; `outside` holds the classes that are not lab's.

    A key that is left out takes the field's default, so what was written before a field was added can still be read.

    Raises ValueError for an unknown key, a missing one without default, a value that the field does not allow, and a
    class from outside that was not given; the message names the key, what was given and what was expected.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{cls.__name__}: expected an object with its fields, got {shown(values)}")
    hints = annotations(cls)
    if unknown := sorted(values.keys() - hints.keys()):
        raise ValueError(f"{cls.__name__} has no {unknown}; it has {sorted(hints)}")
    needed = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(needed - values.keys()):
        raise ValueError(f"{cls.__name__} needs {missing}, which are missing")
    config = cls(**{name: _built(value, hints[name], outside) for name, value in values.items()})
    validate(config)
    return config


def from_outside(thing) -> dict:
    """How a class or an object that is not lab's is named in a run: its class, its settings, the hash of its source."""
    cls, settings = type(thing), {}
    if inspect.isclass(thing):
        cls = thing
    elif hasattr(thing, "to_json"):
        settings = thing.to_json()
    elif is_dataclass(thing):
        settings = to_json(thing)
    return {"class": class_name(cls), "settings": settings, "source": source_hash(cls)}


@cache
def annotations(cls: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def _options(hint) -> tuple:
    """The annotations of which one must fit."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fits(value, hint) -> bool:
    if hint is Any:
        return True
    options, origin = _options(hint), get_origin(hint)
    if len(options) > 1:
        return any(_fits(value, option) for option in options)
    if origin is Annotated:
        kind, *bounds = get_args(hint)
        if OR_OUTSIDE in bounds:
            return _fits(value, kind) or hasattr(value, "to_json")
        return _fits(value, kind) and all(bound.holds(value, bound.limit) for bound in bounds)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(hint))
    if origin is tuple:
        if not isinstance(value, tuple) or len(value) != len(items := _items(hint, value)):
            return False
        return all(_fits(one, item) for one, item in zip(value, items, strict=True))
    if hint is float:
        return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
    return type(value) is hint if hint in KINDS else isinstance(value, origin or hint)


def _said(hint) -> str:
    """The annotation in words."""
    options, origin = _options(hint), get_origin(hint)
    if len(options) > 1:
        return " or ".join(map(_said, options))
    if origin is Annotated:
        kind, *bounds = get_args(hint)
        if OR_OUTSIDE in bounds:
            return f"{_said(kind)} {OR_OUTSIDE}"
        return f"{_said(kind)} {' and '.join(f'{bound.words} {bound.limit}' for bound in bounds)}"
    if origin is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    return KINDS.get(hint) or f"a {getattr(hint, '__name__', hint)}"


def _plain(value, hint):
    if is_dataclass(value) and not hasattr(value, "to_json"):
        several = len(_dataclasses(hint)) > 1
        return ({"kind": type(value).__name__} if several else {}) | to_json(value)
    if isinstance(value, tuple):
        return [_plain(item, Any) for item in value]
    return from_outside(value) if hasattr(value, "to_json") else value


def _built(value, hint, outside: Sequence[type]):
    """What `_plain` made `value` of; whether the field may hold it is left to `validate`."""
    if isinstance(value, Mapping) and value.keys() == {"class", "settings", "source"}:
        return find_outside(value, outside)(**value["settings"])
    if isinstance(value, Mapping) and (classes := _dataclasses(hint)):
        if len(classes) == 1:
            return from_json(*classes.values(), value, outside)
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in classes:
            raise ValueError(f"expected an object of kind {' or '.join(classes)}, got {shown(value)}")
        return from_json(classes[kind], {k: v for k, v in value.items() if k != "kind"}, outside)
    if isinstance(value, list):
        for option in map(_bare, _options(hint)):
            if get_origin(option) is tuple:
                items = _items(option, value) + [Any] * len(value)
                return tuple(_built(item, kind, outside) for item, kind in zip(value, items, strict=False))
    return value


def _items(hint, value: Sequence) -> list:
    """The annotations of the members of a tuple."""
    items = list(get_args(hint))
    return items[:1] * len(value) if items[1:] == [...] else items


def _bare(hint):
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _dataclasses(hint) -> dict[str, type]:
    """The dataclasses that a field annotated `hint` can hold, by name."""
    return {option.__name__: option for option in map(_bare, _options(hint)) if is_dataclass(option)}
