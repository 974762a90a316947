"""What is not part of lab: objectives, positions, tokenizers of somebody's own. A run names them, no more."""

import hashlib
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType


def is_outside(cls: type) -> bool:
    """Whether a class is somebody's own."""
    return cls.__module__.partition(".")[0] not in ("lab", "builtins")


def class_name(cls: type) -> str:
    """`"module:Class"`."""
    return f"{cls.__module__}:{cls.__qualname__}"


class OutsideNeeded(ValueError):
    """A run was made with a class that is not part of lab, and that was not handed over."""


def find_outside(named: Mapping, outside: Sequence[type]) -> type:
    """The class of `outside` that `named` names, or that has the same source under another module's name.

    Warns where its source has changed since. Raises OutsideNeeded where it is not among them.
    """
    name = named["class"]
    alike = [cls for cls in outside if cls.__qualname__ == name.partition(":")[2]]
    for cls in alike:
        if source_hash(cls) == named["source"]:
            return cls
    for cls in alike:
        if class_name(cls) == name:
            warnings.warn(f"{name} has changed since this was saved", stacklevel=2)
            return cls
    raise OutsideNeeded(f"{name} is not part of lab: hand over that class with outside=[...]")


def named_class(name: str) -> type:
    """The class that a person names as `file.py:Class` or `module:Class`: their own words make it be imported.

    Raises ValueError for what is not there.
    """
    place, _, attribute = name.rpartition(":")
    path = Path(place if place.endswith(".py") else f"{place}.py")
    if path.is_file():
        spec = spec_from_file_location(path.stem, path)
        module = sys.modules[path.stem] = module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        try:
            module = import_module(place)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{name!r} names neither the file {path} nor a module: {error}") from error
    if not isinstance(getattr(module, attribute, None), type):
        raise ValueError(f"{module.__name__} has no class {attribute!r}")
    return getattr(module, attribute)


@cache
def source_hash(cls: type) -> str:
    """The SHA-256 of the source of a class, and of the functions and classes of its module that it uses.

    Raises ValueError where the source cannot be read.
    """
    found, ahead = {}, [cls]
    while ahead:
        thing = ahead.pop()
        if thing.__qualname__ not in found:
            found[thing.__qualname__] = _source(thing)
            ahead += _used(thing)
    return hashlib.sha256("\n".join(found[name] for name in sorted(found)).encode()).hexdigest()


def _source(thing: type | FunctionType) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # of a class in a notebook Python knows no source, but of its methods
        methods = [function for function in vars(thing).values() if isinstance(function, FunctionType)]
        if not methods:
            raise ValueError(
                f"the source of {class_name(thing)} cannot be read: put it into a file"
            ) from None
        return "\n".join(map(inspect.getsource, methods))


def _used(thing: type | FunctionType) -> list:
    """The functions and classes of its own module that a class or function names, bases among them."""
    parts = [*vars(thing).values(), *thing.__bases__] if isinstance(thing, type) else [thing]
    parts = [getattr(part, "__func__", part) for part in parts]  # of class methods
    functions = [part for part in parts if isinstance(part, FunctionType)]
    named = [f.__globals__.get(name) for f in functions for name in _names(f.__code__)]
    own = [part for part in (*parts, *named) if isinstance(part, type | FunctionType)]
    return [part for part in own if part.__module__ == thing.__module__ and part.__qualname__.isidentifier()]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
