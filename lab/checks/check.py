"""The one mechanism of all checks: a function is asked questions, and its answers judged one property at a time."""

import copy
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from lab.checks.drawing import shorten
from lab.checks.numbers import Unreadable, close, differing, told
from lab.checks.report import CheckReport, Example, Property

GIVEN = ("torch", "numpy")
NOT_THEIRS = re.compile(f"^{re.escape(str(Path(__file__).parents[1]))}|site-packages")
Examples = Iterator[Example | None]


class Case:
    """One question to a reader's function: its arguments by name, in the order in which they are passed.

    >>> import torch
    >>> case = Case(lengths=torch.tensor([1, 2]), T=3)
    >>> print(case, case["T"], case.but(T=4))
    fn(lengths=[1, 2], T=3) 3 fn(lengths=[1, 2], T=4)
    """

    def __init__(self, called: str = "fn", /, **arguments):
        self.called, self.arguments = called, arguments

    def __getitem__(self, name: str):
        return self.arguments[name]

    def __iter__(self) -> Iterator:
        return iter(self.arguments.values())

    def but(self, **changed) -> "Case":
        """The same question with some arguments changed."""
        return type(self)(self.called, **(self.arguments | changed))

    def __str__(self) -> str:
        shown = {name: v.tolist() if isinstance(v, Tensor) else v for name, v in self.arguments.items()}
        return shorten(f"{self.called}({', '.join(f'{name}={value!r}' for name, value in shown.items())})")


class Check:
    """What must hold of a reader's function. Its properties are judged in turn, each on cases from small to large.

    The first cases are put to `fn` at once. That every answer is what is `wanted` is the first property: `read(case,
    answer)` turns it into what is judged, or raises `Unreadable`. Where none can be read nothing else is judged. A
    function that raises fails a property and does not stop the check; it gets copies, so it may write to them.

    `right(case)` is what should have come; `compare(case, right, answer, note)` gives an `Example` where they are
    not the same. `given` says whether `fn` gets its tensors as "torch" or as "numpy".

    >>> read = lambda case, answer: np.float64(answer)
    >>> squares = [Case(x=x) for x in (0, 1, 2, 3)]
    >>> check = Check("square", lambda x: x + x, "a number", read, squares, right=lambda case: case["x"] ** 2)
    >>> held = check.expect("x times x", mistakes=lambda case: [("as if x were doubled", 2 * case["x"])])
    >>> print(held, check.report)
    False square: failed, 1 of 2 properties hold
      ✓ the answer is a number
      ✗ x times x
          fn(x=1)
          expected    actual
          [1]         [2]
          as if x were doubled
    """

    def __init__(
        self, name: str, fn: Callable, wanted, read, cases, *, right=None, compare=differing, given="torch"
    ):
        self.name, self.fn, self.read, self.right, self.compare = name, fn, read, right, compare
        self.convert = one_of("given", given, GIVEN) == "numpy"
        self.answers: list[tuple[Case, object]] = []
        example = None
        for case in cases:
            try:
                self.answers.append((case, self.ask(case)))
            except Exception as error:
                example = example or _interrupted(case, wanted, error)
        self.properties = [Property(f"the answer is {wanted}", example is None, example)]

    def ask(self, case: Case):
        """Put one more question to the function; its answer as `read` gives it."""
        arguments = map(_copied, case)
        if not self.convert:
            return self.read(case, self.fn(*arguments))
        with np.errstate(all="ignore"):  # overflow is in the report, and need not be told twice
            return self.read(case, self.fn(*map(_as_numpy, arguments)))

    def judge(self, name: str, find: Callable, cases: Iterable[Case] | None = None, *, of=None) -> bool:
        """Whether the property `name` holds: the first `Example` of `find(case, answer)`, if any, shows where not.

        `find` goes through its comparisons, and may give None for one in which all is well.
        `cases` are asked. Without them the first answers are judged: all, or those `of` some cases.
        No case at all: the property is not judged, and does not hold.
        """
        if cases is None:
            answers = [(c, lambda a=a: a) for c, a in self.answers if of is None or c in of]
        else:
            answers = [(c, partial(self.ask, c)) for c in cases if self.answers]
        example = None
        for case, answer in answers:
            try:
                example = next((found for found in find(case, answer()) if found), None)
            except Exception as error:  # `find` may use the reader's object, as the check of a tokenizer does
                example = _interrupted(case, "an answer", error)
            if example is not None:
                break
        held = bool(answers) and example is None
        self.properties.append(Property(name, held, example))
        return held

    def expect(self, name: str, cases=None, *, right=None, mistakes=None, note: str = "", of=None) -> bool:
        """Whether each answer is `right(case)`, that of the check where no other is given; cases as in `judge`.

        `mistakes(case)` gives well-known ones, as pairs (what to say, what comes of it): the first that explains a
        wrong answer is the example's note, else `note`.
        """

        def find(case: Case, answer: object) -> Examples:
            expected = (right or self.right)(case)
            if example := self.compare(case, expected, answer, note):
                known = mistakes(case) if mistakes else ()
                explained = [said for said, wrong in known if np.all(close(wrong, answer))]
                yield self.compare(case, expected, answer, explained[0]) if explained else example

        return self.judge(name, find, cases, of=of)

    @property
    def report(self) -> CheckReport:
        return CheckReport(self.name, tuple(self.properties))


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """`value` itself; ValueError where it is none of the choices."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}; expected one of {tuple(choices)}")
    return value


def own_line(error: BaseException) -> str:
    """The last line of the reader's own that an error came by, such as "line 2: return x / 0"; "" if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.line and not NOT_THEIRS.search(frame.filename)]
    lines = [f"line {frame.lineno}: {frame.line}" for frame in own if frame.filename == own[0].filename]
    return lines[-1] if lines else ""


def _interrupted(case: Case, wanted: str, error: Exception) -> Example:
    happened = "raised " + traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, Unreadable):
        return told(case, wanted, str(error))
    return told(case, wanted, happened, own_line(error))


def _copied(value: object) -> object:
    """A copy (`copy.deepcopy` of a tensor takes five times as long)."""
    if isinstance(value, dict):
        return {name: _copied(v) for name, v in value.items()}
    if isinstance(value, Tensor):
        return value.clone()
    return copy.deepcopy(value) if isinstance(value, list) else value


def _as_numpy(value: object) -> object:
    if isinstance(value, dict):
        return {name: _as_numpy(v) for name, v in value.items()}
    return value.numpy() if isinstance(value, Tensor) else value
