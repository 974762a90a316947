"""Numbers of any make: read from an answer, compared, and drawn side by side where they differ."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lab.checks.drawing import marked, sentence, tables
from lab.checks.report import Example

RTOL, ATOL = 1e-4, 1e-5  # an answer in float32 passes
COLUMNS = 8


class Unreadable(ValueError):
    """An answer that cannot be judged; the message says what came instead of what was asked for."""


def as_array(answer: object) -> np.ndarray:
    """What a reader's function returned, NumPy, torch or nested lists, as a NumPy array."""
    if isinstance(answer, Tensor):
        return answer.detach().cpu().numpy()
    if answer is None:
        raise Unreadable("None: does the function return its result?")
    try:
        array = np.array(answer)
    except ValueError:
        raise Unreadable("rows of different lengths") from None
    if array.dtype == object:
        raise Unreadable(f"{type(answer).__name__}, which is not an array of numbers: {answer!r}")
    return array


def real_numbers(answer: object, shape: tuple[int, ...], name: str = "") -> np.ndarray:
    """What a reader's function returned as float64 of this shape, or `Unreadable`."""
    return _numbers(_detached(answer), shape, name, "fiu", "real numbers").astype(np.float64)


def reals(shape: Callable) -> Callable:
    """What reads an answer as real numbers of the shape `shape(case)`."""
    return lambda case, answer: real_numbers(answer, tuple(shape(case)))


def whole_numbers(answer: object, shape: tuple[int | None, ...], name: str = "") -> np.ndarray:
    """The same as int64; a size of None may be any."""
    return _numbers(answer, shape, name, "iu", "whole numbers").astype(np.int64)


def one_number(answer: object) -> np.ndarray:
    """The one real number that an answer is, whatever its shape, as `(1,)`."""
    array = as_array(answer)
    if array.size != 1:
        raise Unreadable(f"{array.shape}; expected one number")
    return real_numbers(array.reshape(1), (1,))


def _numbers(answer: object, shape: tuple, name: str, kinds: str, wanted: str) -> np.ndarray:
    array = as_array(answer)
    if array.size and array.dtype.kind not in kinds:
        raise Unreadable(f"{name} holds {array.dtype}; expected {wanted}".removeprefix(" holds "))
    if array.ndim != len(shape) or any(s not in (None, n) for n, s in zip(array.shape, shape, strict=True)):
        raise Unreadable(f"{name} has shape {array.shape}; expected {shape}".removeprefix(" has "))
    return array


def _detached(answer: object) -> object:
    if isinstance(answer, Tensor):
        return answer.detach().cpu().double() if answer.is_floating_point() else answer
    if isinstance(answer, list | tuple):
        return [_detached(part) for part in answer]
    return answer.tolist() if isinstance(answer, np.ndarray) and answer.ndim == 0 else answer


def parts(answer: object, names: Sequence[str]) -> list:
    """The things that an answer is made of: attributes of these names, or as many things in a tuple or list."""
    if all(hasattr(answer, name) for name in names):
        return [getattr(answer, name) for name in names]
    if not isinstance(answer, tuple | list) or len(answer) != len(names):
        raise Unreadable(f"{type(answer).__name__}; expected ({', '.join(names)})")
    return list(answer)


def close(expected: object, actual: object) -> np.ndarray:
    """Where two arrays agree, but for rounding in float32; NaN agrees with NaN."""
    return np.isclose(actual, expected, rtol=RTOL, atol=ATOL, equal_nan=True)


def differing(
    call: object, expected: object, actual: object, note: str = "", wrong: np.ndarray | None = None
) -> Example | None:
    """The example in which two arrays of one shape differ; None where they agree.

    `wrong` marks what differs; without it that is what is not `close`. Arrays are drawn as rows of their
    last axis; of many columns those around the first difference are shown.

    >>> print(differing("fn()", [[1.0, 2.0]], [[1.5, 2.0]]).actual)
    [1.5] 2
    """
    expected, actual = (np.atleast_1d(np.asarray(a, dtype=np.float64)) for a in (expected, actual))
    wrong = ~close(expected, actual) if wrong is None else np.broadcast_to(wrong, expected.shape)
    if not wrong.any():
        return None
    left, right, marks = (a.reshape(-1, a.shape[-1]) for a in (expected, actual, wrong))
    width = left.shape[1]
    start = max(0, min(int(marks.any(axis=0).argmax()) - 2, width - COLUMNS))
    shown = slice(start, min(start + COLUMNS, width))
    left, right, marks = (a[:, shown] for a in (left, right, marks))
    if width > COLUMNS:
        note = f"{note + '; ' if note else ''}columns {shown.start} to {shown.stop - 1} of {width}"
    places = [tuple(place) for place in np.argwhere(marks).tolist()]
    return Example(str(call), *marked(left.tolist(), right.tolist(), places), note)


def unequal(call: object, expected: Sequence, actual: Sequence, note: str = "") -> Example | None:
    """The example in which two lists of rows are not the same."""
    return None if expected == actual else Example(str(call), *tables(expected, actual), note)


def told(call: object, expected: object, actual: object, note: str = "") -> Example:
    """An example in words."""
    return Example(str(call), sentence(str(expected)), sentence(str(actual)), note)


def apart(ask: Callable, alone: Callable, axis: int = 0, name: str = "row") -> Callable:
    """Finds where part `i` of an answer along `axis` is not what comes of `alone(case, i)`, a part of the question."""

    def find(case: object, whole: np.ndarray) -> Iterator[Example | None]:
        for i in range(whole.shape[axis]):
            note = f"{name} {i} asked alone, and among the others"
            yield differing(case, ask(alone(case, i)), whole.take([i], axis), note)

    return find


def tokens(*rows: Sequence[float]) -> Tensor:
    """Rows of numbers, one a token, as the tensor `(1, 1, T, E)` of one row of a batch and one head."""
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Random normal numbers with one decimal, so that an example can be read and typed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(10).round().div(10)
