"""What the checks of arithmetic share: numbers of any make are read, compared, and drawn side by side."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lab.checks.drawing import marked
from lab.checks.masks import CONVENTIONS
from lab.checks.report import Case, Example, Property, Unreadable, as_array, ask, judge

GIVEN = ("torch", "numpy")
RTOL, ATOL = 1e-4, 1e-5  # an answer in float32 passes
COLUMNS = 8


class Asked:
    """A reader's function that has been asked a few simple things, and can be asked more.

    `answered` is the property that those first answers are what is `wanted`. Where none of them can be read,
    no other property is judged; else each asks questions of its own, and fails where the function raises.
    """

    def __init__(self, fn: Callable, given: str, wanted: str, read: Callable, cases: Sequence[Case]):
        self.fn, self.read = handed(fn, given), read
        self.answered, answers = ask(self.fn, cases, wanted, read)
        self.readable = bool(answers)

    def __call__(self, case: Case):
        return self.read(case, self.fn(*map(_copied, case.arguments.values())))

    def judge(self, name: str, cases: Sequence[Case], find: Callable) -> Property:
        """The property `name`: `find(case)` gives an `Example` of where it fails, or None."""
        return judge(name, [(case, None) for case in cases if self.readable], lambda case, _: find(case))

    def expect(
        self, name: str, cases: Sequence[Case], expected: Callable, explain: Callable | None = None
    ) -> Property:
        """The property that each answer is `expected(case)`; `explain(case, answer)` adds a note."""

        def find(case: Case) -> Example | None:
            answer = self(case)
            note = explain(case, answer) if explain else ""
            return differing(str(case), expected(case), answer, note)

        return self.judge(name, cases, find)


def handed(fn: Callable, given: str) -> Callable:
    """`fn`, which gets torch tensors as they are, or as NumPy arrays; ValueError for another `given`."""
    if given not in GIVEN:
        raise ValueError(f"unknown given {given!r}; expected one of {GIVEN}")
    if given == "torch":
        return fn

    def with_arrays(*arguments):
        with np.errstate(all="ignore"):  # overflow is in the report, and need not be told twice
            return fn(*map(_as_numpy, arguments))

    return with_arrays


def _copied(value: object) -> object:
    """A copy, for a function may write to its arguments (`copy.deepcopy` takes five times as long)."""
    if isinstance(value, dict):
        return {name: _copied(v) for name, v in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def _as_numpy(value: object) -> object:
    if isinstance(value, dict):
        return {name: _as_numpy(v) for name, v in value.items()}
    return value.numpy() if isinstance(value, Tensor) else value


def spoken(may_attend: Sequence | Tensor | None, convention: str) -> Tensor | None:
    """A mask, `True` = may attend, as the reader's `convention` writes it; ValueError for an unknown one."""
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; expected one of {CONVENTIONS}")
    if may_attend is None:
        return None
    mask = torch.as_tensor(may_attend, dtype=torch.bool)
    mask = mask if mask.dim() == 4 else mask[None, None]  # (B, 1, T, S)
    return mask if convention == "may_attend" else ~mask


def tokens(*rows: Sequence[float]) -> Tensor:
    """Rows of numbers, one a token, as the tensor `(1, 1, T, E)` of one row of a batch and one head."""
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Random normal numbers with one decimal, so that an example can be read and typed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(10).round().div(10)


def real_numbers(answer: object, shape: tuple[int, ...], name: str = "") -> np.ndarray:
    """What a reader's function returned as float64 of this shape, or `Unreadable`."""
    array = as_array(_detached(answer))
    if array.dtype.kind not in "fiu":
        raise Unreadable(f"{name} holds {array.dtype}; expected real numbers".lstrip())
    if array.shape != shape:
        raise Unreadable(f"{name} has shape {array.shape}; expected {shape}".removeprefix(" has "))
    return array.astype(np.float64)


def _detached(answer: object) -> object:
    if isinstance(answer, Tensor):
        return answer.detach().cpu().double() if answer.is_floating_point() else answer
    if isinstance(answer, list | tuple):
        return [_detached(part) for part in answer]
    return answer.tolist() if isinstance(answer, np.ndarray) and answer.ndim == 0 else answer


def close(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Where two arrays agree, but for rounding in float32; NaN agrees with NaN."""
    return np.isclose(actual, expected, rtol=RTOL, atol=ATOL, equal_nan=True)


def differing(
    call: str, expected: object, actual: object, note: str = "", wrong: np.ndarray | None = None
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
    return Example(call, *marked(left.tolist(), right.tolist(), places), note)
